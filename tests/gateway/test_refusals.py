"""What clients are told: in their provider's form, with a status that says whether to come again."""

import json
from typing import Any

import pytest

from gateway.refusals import Refusal, ending_events, error_body, failing_event, refusal_headers, refusal_of
from gateway.wires import Wire
from ledger.core.outcome import DENIALS, UNBOUND_DENIALS, Outcome, Status


def denial(status: Status, **reason: Any) -> Outcome:
    said = {"code": status.value, "rule": "budget_available", "detail": "the budget has too little left", **reason}
    return Outcome(status, {"authorization": "auth_1", "decision": {"reasons": [said]}})


@pytest.mark.parametrize("status", sorted(DENIALS, key=lambda one: one.value), ids=lambda one: one.value)
def test_every_denial_is_final_or_says_when_to_come_again(status: Status) -> None:
    refusal = refusal_of(denial(status), "USD")
    headers = dict(refusal_headers(refusal))
    if status in UNBOUND_DENIALS:
        assert refusal.status == 429
        assert int(headers[b"retry-after"]) >= 1
        assert b"x-should-retry" not in headers
    else:
        assert refusal.status == 403
        assert headers[b"x-should-retry"] == b"false"
    assert refusal.code == status.value
    assert headers[b"x-bursar-authorization"] == b"auth_1"


def test_the_message_names_the_rule_what_it_saw_and_what_remains() -> None:
    outcome = denial(
        Status.LIMIT_EXCEEDED, observed="1500000000", limit="1000000000", remaining="250000000",
        fits_at="2026-12-01T00:00:00Z",
    )  # fmt: skip
    message = refusal_of(outcome, "USD").message
    assert message == (
        "Bursar denied this call: budget_available: the budget has too little left (asked 1.50 USD, limit 1.00 USD, "
        "remaining 0.25 USD); it would fit at 2026-12-01T00:00:00Z"
    )


def test_counts_are_not_taken_for_money() -> None:
    outcome = denial(Status.VELOCITY, observed="61", limit="60", remaining="0", unit="count")
    assert "(asked 61, limit 60, remaining 0)" in refusal_of(outcome, "USD").message


def test_what_is_too_fast_says_when_it_fits() -> None:
    outcome = denial(Status.VELOCITY, fits_at="2026-12-01T00:00:41.2Z")
    outcome.body["time"] = "2026-12-01T00:00:00Z"  # type: ignore[index]
    assert dict(refusal_headers(refusal_of(outcome, "USD")))[b"retry-after"] == b"42"
    outcome = denial(Status.VELOCITY, fits_at="2026-12-01T00:01:00.2Z")
    outcome.body["time"] = "2026-12-01T00:00:00Z"  # type: ignore[index]
    assert dict(refusal_headers(refusal_of(outcome, "USD")))[b"retry-after"] == b"60", "no SDK obeys 61"


@pytest.mark.parametrize("status", [Status.KEY_UNKNOWN, Status.KEY_REVOKED, Status.KEY_EXPIRED])
def test_a_key_that_is_no_good_is_401(status: Status) -> None:
    assert refusal_of(Outcome(status, detail="key_1 was revoked"), "USD").status == 401


def test_openais_form() -> None:
    body = json.loads(error_body("openai", Refusal(403, "insufficient_budget", "no money", param="model"), "req_1"))
    assert body == {
        "error": {"message": "no money", "type": "permission_error", "param": "model", "code": "insufficient_budget"}
    }


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"), (401, "authentication_error"), (403, "permission_error"),
        (404, "not_found_error"), (413, "request_too_large"), (429, "rate_limit_error"), (503, "api_error"),
        (504, "timeout_error"),
    ],
)  # fmt: skip
def test_anthropics_form(status: int, kind: str) -> None:
    body = json.loads(error_body("anthropic", Refusal(status, "some_code", "why"), "req_1"))
    assert body == {
        "type": "error", "error": {"type": kind, "message": "why [some_code]"}, "request_id": "req_1",
    }  # fmt: skip


def test_a_cut_chat_stream_ends_every_choice_that_is_open() -> None:
    events = ending_events(Wire.CHAT, "no room", {"id": "c1", "model": "m", "created": 7, "open": {0, 2}})
    chunk = json.loads(events[0][1])
    assert [(one["index"], one["finish_reason"]) for one in chunk["choices"]] == [(0, "length"), (2, "length")]
    assert chunk["object"] == "chat.completion.chunk"
    assert chunk["bursar"]["reason"] == "no room"
    assert events[1] == ("", b"[DONE]")


def test_a_cut_message_closes_its_block_first() -> None:
    names = [name for name, _ in ending_events(Wire.MESSAGES, "no room", {"block": 1, "output_tokens": 9})]
    assert names == ["content_block_stop", "message_delta", "message_stop"]
    assert ending_events(Wire.MESSAGES, "no room", {"block": -1})[0][0] == "message_delta"


def test_a_cut_response_is_incomplete() -> None:
    ((name, data),) = ending_events(Wire.RESPONSES, "no room", {"response": {"id": "r1", "output": []}, "sequence": 4})
    said = json.loads(data)
    assert name == said["type"] == "response.incomplete"
    assert said["sequence_number"] == 5
    assert said["response"] == {
        "id": "r1", "output": [], "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"},
    }  # fmt: skip


@pytest.mark.parametrize("wire", [Wire.CHAT, Wire.RESPONSES, Wire.MESSAGES])
def test_a_stream_that_breaks_says_so_in_its_own_form(wire: Wire) -> None:
    name, data = failing_event(wire, Refusal(502, "upstream_broken", "it broke"), 3)
    said = json.loads(data)
    assert name == ("" if wire is Wire.CHAT else "error")
    assert "it broke" in json.dumps(said)
