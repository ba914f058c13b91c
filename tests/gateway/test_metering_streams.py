"""Streams as providers send them: usage, end, failure and what the client saw."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.metering import StreamMeter, meter_answer
from gateway.metering.visible import TEXT_CHARACTERS_MAX
from gateway.tokens import COUNTED_CHARACTERS
from gateway.wires import Wire

Event = tuple[str, dict[str, Any]]


def fed(wire: Wire, *events: Event) -> StreamMeter:
    """A meter that was fed these events."""
    meter = StreamMeter(wire)
    for event, data in events:
        meter.feed(event, data)
    return meter


def chunk(delta: dict[str, Any] | None = None, *, finish: str | None = None, **more: Any) -> Event:
    """A chat chunk with one choice."""
    choice = {"index": more.pop("index", 0), "delta": delta or {}, "finish_reason": finish}
    return "", {"id": "c1", "model": "gpt", "choices": [choice], **more}


def last(usage: Any) -> Event:
    """OpenAI's last chunk: no choices, and the usage."""
    return "", {"id": "c1", "model": "gpt", "choices": [], "usage": usage}


DONE: Event = ("done", {})
USAGE = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}


def test_a_chat_stream_with_its_usage_at_the_end() -> None:
    """usage is null in every chunk and stands in a last one without choices; the tier is the last one said."""
    meter = fed(
        Wire.CHAT,
        chunk({"role": "assistant", "content": ""}, usage=None, service_tier="default"),
        chunk({"content": "Héllo"}, usage=None),
        chunk({"content": " you"}, usage=None),
    )
    assert (meter.usage, meter.ended, meter.usage_is_final) == (None, False, False)
    assert (meter.output_text_bytes, meter.output_pieces, meter.visible_text(6)) == (10, 2, "Héllo ")
    for event in (chunk(finish="stop", usage=None), last(USAGE), DONE):
        meter.feed(*event)
    assert meter.usage == meter_answer(Wire.CHAT, {"id": "c1", "model": "gpt", "usage": USAGE})
    assert (meter.ended, meter.usage_is_final, meter.failed) == (True, True, "")


def test_a_chat_stream_with_running_usage_takes_the_last() -> None:
    """Cumulative counts are not added up; cut in between, they are not the whole."""
    first = {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}
    meter = fed(Wire.CHAT, chunk({"content": "a"}, usage=first))
    assert meter.usage is not None
    assert (meter.usage.counts["output_tokens"], meter.usage_is_final) == (1, False)
    for event in (chunk({"content": "b"}, usage=USAGE), chunk(finish="stop", usage=USAGE)):
        meter.feed(*event)
    assert (meter.usage.counts["output_tokens"], meter.usage_is_final, meter.ended) == (4, True, True)


def test_groq_puts_usage_and_errors_under_a_name_of_its_own() -> None:
    """x_groq.usage, in the last chunk with a choice."""
    meter = fed(Wire.CHAT, chunk(finish="stop", x_groq={"id": "r", "usage": USAGE}))
    assert meter.usage is not None
    assert meter.usage.counts == {"input_tokens": 10, "output_tokens": 4}
    assert fed(Wire.CHAT, chunk(x_groq={"error": "over capacity"})).failed == "over capacity"


def test_a_zero_in_a_stream_is_a_zero() -> None:
    """Explicit zeros are never replaced by an estimate."""
    meter = fed(
        Wire.CHAT, chunk({"content": "text"}), chunk(finish="stop"), last({"prompt_tokens": 0, "completion_tokens": 0})
    )
    assert meter.usage is not None
    assert meter.usage.counts == {"input_tokens": 0, "output_tokens": 0}
    assert meter.usage_is_final


def test_a_chat_stream_ends_when_every_choice_has() -> None:
    """With n choices one may end long before the other."""
    meter = fed(Wire.CHAT, chunk({"content": "a"}), chunk({"content": "b"}, index=1), chunk(finish="length"))
    assert not meter.ended
    meter.feed(*chunk(finish="stop", index=1))
    assert meter.ended
    assert meter.visible_text(10) == "ab"


def test_a_chat_stream_has_not_ended_before_all_choices_that_were_asked_for_have() -> None:
    """One may end before another has begun; only the provider's own mark says that no other comes."""
    meter = StreamMeter(Wire.CHAT, choices=2)
    for event in (chunk({"content": "a"}), chunk(finish="stop")):
        meter.feed(*event)
    assert not meter.ended
    meter.feed("done", {})
    assert meter.ended


@pytest.mark.parametrize(
    ("delta", "text"),
    [
        ({"content": "abc"}, "abc"),
        ({"content": [{"type": "text", "text": "ab"}, {"type": "thinking", "thinking": [{"text": "c"}]}]}, "abc"),
        ({"refusal": "no"}, "no"),
        ({"reasoning_content": "hm"}, "hm"),
        ({"reasoning": "hm", "reasoning_details": [{"text": "hm"}]}, "hm"),
        ({"reasoning_details": [{"summary": "so"}]}, "so"),
        ({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]}, "f{}"),
        ({"tool_calls": [{"custom": {"name": "g", "input": "x"}}]}, "gx"),
        ({"function_call": {"name": "f", "arguments": "1"}}, "f1"),
        ({"audio": {"transcript": "hi", "data": "AAAA"}}, "hi"),
        ({"content": None, "tool_calls": None}, ""),
        ({"content": 7, "tool_calls": [7]}, ""),
    ],
)
def test_all_visible_output_of_a_chat_chunk_counts(delta: dict[str, Any], text: str) -> None:
    """Text, thinking, refusals, names and arguments of calls; sound by its bytes only."""
    meter = fed(Wire.CHAT, chunk(delta))
    assert meter.visible_text(100) == text
    assert meter.output_text_bytes == len(text) + (4 if "audio" in delta else 0)


RESPONSE = {"id": "r1", "model": "gpt-5", "status": "in_progress", "service_tier": "auto", "usage": None}


def ended_response(status: str, **more: Any) -> Event:
    """A last event of the Responses API."""
    usage = {"input_tokens": 9, "output_tokens": 6, "total_tokens": 15}
    response = RESPONSE | {"status": status, "usage": usage, "service_tier": "flex", **more}
    return f"response.{status}", {"type": f"response.{status}", "response": response}


@pytest.mark.parametrize("status", ["completed", "incomplete", "failed"])
def test_a_responses_stream_ends_in_one_of_three_ways(status: str) -> None:
    """Each carries the usage and the tier that served, which is not the one that the first event repeats."""
    meter = fed(
        Wire.RESPONSES,
        ("response.created", {"type": "response.created", "response": RESPONSE}),
        ("response.output_item.added", {"item": {"type": "function_call", "name": "look"}}),
        ("response.function_call_arguments.delta", {"delta": '{"a'}),
        ("response.reasoning_summary_text.delta", {"delta": "because"}),
        ("response.output_text.delta", {"delta": "So"}),
        ("response.output_text.done", {"text": "So"}),
    )
    assert (meter.usage, meter.ended) == (None, False)
    assert meter.visible_text(100) == 'look{"abecauseSo'
    meter.feed(
        *ended_response(status, error={"code": "server_error", "message": "broke"} if status == "failed" else None)
    )
    assert meter.usage is not None
    assert (meter.usage.counts, meter.usage.tier) == ({"input_tokens": 9, "output_tokens": 6}, "flex")
    assert (meter.ended, meter.usage_is_final) == (True, True)
    assert meter.failed == ("broke" if status == "failed" else "")


def test_tools_of_a_responses_stream_are_counted_once() -> None:
    """The items stand in events of their own and again in the last event."""
    search = {"type": "web_search_call", "action": {"type": "search"}}
    item = ("response.output_item.done", {"item": search})
    meter = fed(Wire.RESPONSES, item, item, ended_response("completed", output=[search, search]))
    assert meter.usage is not None
    assert meter.usage.counts["web_searches"] == 2
    cut = fed(Wire.RESPONSES, item, ended_response("completed"))
    assert cut.usage is not None
    assert cut.usage.counts["web_searches"] == 1


START = {"id": "msg_1", "model": "claude", "usage": {
    "input_tokens": 25, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 7,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 7},
    "output_tokens": 1, "service_tier": "standard"}}  # fmt: skip


def anthropic(*after: Event) -> StreamMeter:
    """A stream of Anthropic's as it begins, and what comes after."""
    return fed(
        Wire.MESSAGES,
        ("message_start", {"type": "message_start", "message": START}),
        ("ping", {"type": "ping"}),
        ("content_block_start", {"content_block": {"type": "thinking", "thinking": ""}}),
        ("content_block_delta", {"delta": {"type": "thinking_delta", "thinking": "hm "}}),
        ("content_block_delta", {"delta": {"type": "signature_delta", "signature": "c2ln"}}),
        ("content_block_start", {"content_block": {"type": "tool_use", "name": "f", "input": {}}}),
        ("content_block_delta", {"delta": {"type": "input_json_delta", "partial_json": '{"x":1}'}}),
        ("content_block_delta", {"delta": {"type": "text_delta", "text": "done"}}),
        *after,
    )


def delta(usage: dict[str, Any], stop: str | None = None) -> Event:
    """A message_delta."""
    return "message_delta", {"type": "message_delta", "delta": {"stop_reason": stop}, "usage": usage}


def test_anthropic_usage_is_cumulative_and_may_come_several_times() -> None:
    """Later counts replace earlier ones; what a delta leaves out, or calls null, stays; nothing is added up."""
    meter = anthropic()
    assert meter.usage is not None
    assert (meter.usage.counts["input_tokens"], meter.usage_is_final, meter.ended) == (132, False, False)
    assert meter.visible_text(100) == 'hm f{"x":1}done'
    meter.feed(*delta({"output_tokens": 10}))
    meter.feed(*delta({"output_tokens": 20, "input_tokens": None, "cache_creation": None}))
    assert (meter.usage.counts["output_tokens"], meter.usage_is_final) == (20, False)
    meter.feed(
        *delta(
            {"output_tokens": 42, "cache_read_input_tokens": 100, "server_tool_use": {"web_search_requests": 1}},
            "end_turn",
        )
    )
    assert meter.usage_is_final
    meter.feed("message_stop", {"type": "message_stop"})
    assert meter.ended
    assert meter.usage.counts == {
        "input_tokens": 132, "output_tokens": 42, "cache_read_tokens": 100, "cache_write_tokens": 7,
        "cache_write_1h_tokens": 7, "web_searches": 1,
    }  # fmt: skip
    assert (meter.usage.model, meter.usage.response_id) == ("claude", "msg_1")


def test_a_later_input_count_of_anthropic_wins() -> None:
    """A tool that runs at the provider adds input while the answer is made."""
    meter = anthropic(delta({"output_tokens": 5, "input_tokens": 3_000}, "end_turn"))
    assert meter.usage is not None
    assert meter.usage.counts["input_tokens"] == 3_107


@pytest.mark.parametrize(
    ("wire", "event", "failed"),
    [
        (Wire.CHAT, ("", {"error": {"message": "overloaded", "code": 503}}), "overloaded"),
        (Wire.CHAT, ("error", {"message": "gone"}), "gone"),
        (Wire.RESPONSES, ("error", {"type": "error", "code": "x", "message": "rate"}), "rate"),
        (Wire.MESSAGES, ("error", {"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}}), "Busy"),
        (Wire.CHAT, ("", {"error": {}}), ""),
        (Wire.CHAT, ("", {"error": {"type": 1}}), "the provider reported an error"),
    ],
)
def test_errors_after_200(wire: Wire, event: Event, failed: str) -> None:
    """The stream failed, in the provider's words, and the usage is not the whole."""
    meter = fed(wire, event)
    assert (meter.failed, meter.ended, meter.usage, meter.usage_is_final) == (failed, False, None, False)


@pytest.mark.parametrize("wire", Wire)
@pytest.mark.parametrize(
    "data", [{}, {"choices": 7}, {"choices": [None]}, {"response": []}, {"usage": []}, {"delta": 1}]
)
def test_odd_events_do_no_harm(wire: Wire, data: dict[str, Any]) -> None:
    """A provider may send anything."""
    names = ("", "message_start", "message_delta", "content_block_delta", "response.completed", "response.x.delta")
    meter = fed(wire, *((name, data) for name in names))
    assert (meter.usage, meter.output_text_bytes) == (None, 0) or meter.output_text_bytes == 0


def test_what_is_kept_is_bounded_and_what_is_counted_is_not() -> None:
    """A stream may be longer than we want to remember."""
    meter = fed(Wire.CHAT, *[chunk({"content": "é" * 300_000})] * 5)
    assert len(meter.visible_text(10**9)) == TEXT_CHARACTERS_MAX
    assert meter.output_text_bytes == 3_000_000
    kept = len(meter.visible_text().encode())
    assert meter.output_bytes_dropped == 3_000_000 - kept == 1_000_000
    assert meter.visible_text(-1) == ""


def test_what_is_kept_is_what_is_counted() -> None:
    """A longer text would not be counted but bounded by its bytes, all of it."""
    assert TEXT_CHARACTERS_MAX == COUNTED_CHARACTERS


def test_what_is_no_text_is_seen_and_not_kept() -> None:
    meter = fed(Wire.CHAT, chunk({"audio": {"transcript": "hm", "data": "AAAA"}}))
    assert (meter.visible_text(), meter.output_text_bytes, meter.output_bytes_dropped) == ("hm", 6, 4)
