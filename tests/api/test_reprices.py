"""Metering, flags, holds that are kept, and repricing over HTTP, on both databases; and what lists and reads show."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.running_app import RunningApp, authorization, usd

METERING = {"input_tokens": "1200", "model": "gpt-5-mini", "price.input_tokens": "0.00000025"}
PRICES = {"old_price": {"output_tokens": "0.10"}, "new_price": {"output_tokens": "0.01"}, "reason": "mistyped"}


def repriced(reference: str, settled: str, amount: str, **fields: Any) -> dict[str, Any]:
    """A request to correct a price."""
    return {"authorization": reference, "settled": usd(settled), "amount": usd(amount)} | PRICES | fields


@pytest.mark.parametrize("behind", [False, True], ids=["hot", "behind"])
def test_a_settlement_says_what_it_was_metered_from(app_on: RunningApp, behind: bool) -> None:
    """One and the list show it with the flags, and the log has it in order."""
    key = app_on.make_agent("crawler", budget="research", allocated="10.00")
    held = app_on.post("/v1/authorizations", authorization("2.00"), key=key).json
    path = f"/v1/authorizations/{held['id']}"
    body = {"amount": usd("1.00"), "metering": METERING, "flags": ["unpriced", "estimated"]}
    done = app_on.post(f"{path}/settle", body, key=key, behind=behind)
    assert (done.status, done.json["flags"]) == (200, ["estimated", "unpriced"])
    listed = app_on.get("/v1/authorizations?flag=estimated", key=key).json["items"]
    for shown in (app_on.get(path, key=key).json, *listed):
        assert (shown["metering"], shown["flags"]) == (METERING, ["estimated", "unpriced"])
        assert shown["repriced"] == usd("0.00")
    assert len(listed) == 1
    assert app_on.get("/v1/authorizations?flag=repriced", key=key).json["items"] == []


@pytest.mark.parametrize(
    "more",
    [
        {"metering": {"Model": "gpt"}},
        {"metering": {"": "gpt"}},
        {"metering": {"model": 5}},
        {"metering": {"model": "a\nb"}},
        {"metering": {"model": "x" * 257}},
        {"metering": {f"n{number}": "1" for number in range(41)}},
        {"metering": ["model"]},
        {"flags": ["late"]},
        {"flags": ["estimated", "estimated"]},
        {"flags": "estimated"},
    ],
    ids=str,
)
def test_what_cannot_be_metered_is_refused(acme: RunningApp, crawler: str, more: dict[str, Any]) -> None:
    """And nothing is settled."""
    held = acme.post("/v1/authorizations", authorization("0.10"), key=crawler).json
    path = f"/v1/authorizations/{held['id']}"
    assert acme.post(f"{path}/settle", {"amount": usd("0.01")} | more, key=crawler).status == 422
    assert acme.get(path, key=crawler).json["state"] == "held"


def test_a_name_given_twice_is_refused(acme: RunningApp, crawler: str) -> None:
    """Of two values under one name nobody knows which was meant."""
    held = acme.post("/v1/authorizations", authorization("0.10"), key=crawler).json
    body = b'{"amount":{"amount":"0.01","currency":"USD"},"metering":{"model":"a","model":"b"}}'
    refused = acme.post(f"/v1/authorizations/{held['id']}/settle", body, key=crawler)
    assert (refused.status, refused.code) == (422, "duplicate_field")


@pytest.mark.parametrize("behind", [False, True], ids=["hot", "behind"])
def test_a_hold_whose_outcome_is_not_known_is_kept_and_listed(app_on: RunningApp, behind: bool) -> None:
    """By its agent or an admin, and by no other agent; page by page, among the open holds of its category."""
    key = app_on.make_agent("crawler", budget="research", allocated="10.00")
    other = app_on.make_agent("writer", budget="writing", allocated="10.00")
    kept = [
        app_on.post("/v1/authorizations", authorization("1.00", on_expiry="unknown"), key=key).json["id"]
        for _ in range(3)
    ]
    released = app_on.post("/v1/authorizations", authorization("1.00"), key=key).json["id"]
    app_on.post("/v1/authorizations", authorization("1.00", category="search"), key=key)
    first = f"/v1/authorizations/{kept[0]}/unknown"
    assert app_on.post(first, b"", key=other, behind=behind).status == 404
    done = app_on.post(first, {"reason": "the provider timed out"}, key=key, behind=behind)
    assert (done.status, done.json["state"], done.json["flags"]) == (200, "held", ["unknown"])
    assert done.json["held"] == usd("1.00")
    again = app_on.post(first, b"", key=key, behind=behind)
    assert (again.status, again.code, again.json["state"]) == (409, "wrong_state", "held")
    gives_back = app_on.post(f"/v1/authorizations/{released}/unknown", b"", key=key, behind=behind)
    assert (gives_back.status, gives_back.code) == (409, "wrong_state")
    assert "release it" in gives_back.json["detail"]
    assert app_on.post(f"/v1/authorizations/{kept[1]}/unknown", b"", key=app_on.admin_key, behind=behind).status == 200
    unknown = app_on.get("/v1/authorizations?flag=unknown", key=key).json["items"]
    assert [item["id"] for item in unknown] == [kept[1], kept[0]]
    found, cursor = [], ""
    while cursor is not None:
        more = f"&cursor={cursor}" if cursor else ""
        page = app_on.get(f"/v1/authorizations?state=held&category=inference&limit=2{more}", key=key).json
        found += [item["id"] for item in page["items"]]
        cursor = page.get("next_cursor")
    assert found == [released, *reversed(kept)]
    assert app_on.get("/v1/authorizations?category=nothing", key=key).json["items"] == []


def test_a_price_is_corrected(app_on: RunningApp) -> None:
    """The answer, the list of adjustments and the authorization say from what to what; a second try changes nothing."""
    key = app_on.make_agent("crawler", budget="research", allocated="10.00")
    finance = app_on.make("/v1/keys", {"role": "finance", "person": "fay"})["key"]
    held = app_on.post("/v1/authorizations", authorization("5.00"), key=key).json["id"]
    app_on.post(f"/v1/authorizations/{held}/settle", {"amount": usd("4.00")}, key=key)
    assert app_on.post("/v1/reprices", repriced(held, "4.00", "0.40"), key=key).status == 403
    done = app_on.post("/v1/reprices", repriced(held, "4.00", "0.40"), key=finance, idempotency_key="k")
    assert (done.status, done.json["kind"], done.json["authorization"]) == (201, "adjustment", held)
    assert done.json["reprice"] == {
        "settled": usd("4.00"),
        "amount": usd("0.40"),
        "difference": usd("-3.60"),
        "old_price": PRICES["old_price"],
        "new_price": PRICES["new_price"],
    }
    assert done.json["budget"]["available"] == usd("9.60")
    again = app_on.post("/v1/reprices", repriced(held, "4.00", "0.40"), key=finance, idempotency_key="k")
    assert (again.status, again.body, again.headers["idempotency-replayed"]) == (201, done.body, "true")
    stale = app_on.post("/v1/reprices", repriced(held, "4.00", "0.40"), key=finance)
    assert (stale.status, stale.code, stale.json["settled"]) == (409, "reprice_stale", usd("0.40"))
    refund = {"authorization": held, "amount": usd("0.41")}
    assert app_on.post("/v1/refunds", refund, key=finance).code == "refund_too_large"
    dearer = app_on.post("/v1/reprices", repriced(held, "0.40", "12.00"), key=app_on.admin_key)
    assert (dearer.status, dearer.json["flags"]) == (201, ["overrun", "repriced"])
    assert dearer.json["budget"]["available"] == usd("-2.00")
    shown = app_on.get(f"/v1/authorizations/{held}", key=key).json
    assert (shown["settled"], shown["repriced"]) == (usd("4.00"), usd("8.00"))
    listed = app_on.get("/v1/adjustments", key=finance).json["items"]
    assert [item["reprice"]["difference"] for item in listed] == [usd("11.60"), usd("-3.60")]
    assert (listed[1]["reason"], listed[1]["by"], listed[1]["payee"]) == ("mistyped", "person:fay", "openai")
    assert [item["id"] for item in app_on.get("/v1/authorizations?flag=repriced", key=finance).json["items"]] == [held]


@pytest.mark.parametrize(
    "more",
    [
        {"settled": {"amount": "1.00", "currency": "EUR"}},
        {"reason": ""},
        {"old_price": {"Output": "1"}},
        {"new_price": None},
        {"authorization": "ref_01jd3z8xk4t7q2m9v6b5n1c0fg"},
        {"amount": usd("-1.00")},
    ],
    ids=str,
)
def test_what_cannot_be_a_price_is_refused(acme: RunningApp, crawler: str, more: dict[str, Any]) -> None:
    """Two currencies, no reason, no names, nothing that was settled, less than nothing."""
    held = acme.post("/v1/authorizations", authorization("0.10"), key=crawler).json["id"]
    acme.post(f"/v1/authorizations/{held}/settle", {"amount": usd("0.05")}, key=crawler)
    assert acme.post("/v1/reprices", repriced(held, "0.05", "0.01") | more, key=acme.admin_key).status == 422
