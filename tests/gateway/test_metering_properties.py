"""Whatever a provider sends, metering answers, and nothing that it reports is lost or made up."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.metering import StreamMeter, meter_answer
from gateway.pricing.units import REGISTRY, totals_of
from gateway.usage import Usage
from gateway.wires import Wire

NAMES = st.sampled_from(
    "usage x_groq prompt_tokens completion_tokens total_tokens input_tokens output_tokens prompt_tokens_details "
    "input_tokens_details output_tokens_details completion_tokens_details cached_tokens reasoning_tokens "
    "cache_creation cache_creation_input_tokens cache_read_input_tokens ephemeral_1h_input_tokens iterations type "
    "model id error choices delta content message response output service_tier speed server_tool_use "
    "web_search_requests reasoning audio tool_calls function name arguments finish_reason index item "
    "quantum_tokens".split()
)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 10**20), st.floats(), st.text(max_size=5), st.sampled_from(["compaction"])
)
BODIES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=6)),
    max_leaves=25,
)
OBJECTS = st.dictionaries(NAMES, BODIES, max_size=6)
EVENTS = st.sampled_from(
    " done error message_start message_delta message_stop content_block_start content_block_delta response.created "
    "response.completed response.failed response.output_text.delta response.output_item.done "
    "response.output_item.added".split(" ")
)


def check(usage: Usage) -> None:
    """Counts are known units, none is negative, and names are short enough to be recorded."""
    assert all(key in REGISTRY.units and type(count) is int and count >= 0 for key, count in usage.counts.items())
    assert all(name and len(name) <= 96 for name in usage.unknown)
    for part in usage.others:
        check(part)


@pytest.mark.parametrize("wire", Wire)
@given(body=OBJECTS)
@settings(max_examples=60, deadline=None)
def test_any_answer_is_metered(wire: Wire, body: dict[str, Any]) -> None:
    """Never an exception, which would leave a call that was billed without a settlement."""
    found = meter_answer(wire, body)
    if found is not None:
        check(found)


@pytest.mark.parametrize("wire", Wire)
@given(events=st.lists(st.tuples(EVENTS, OBJECTS), max_size=6))
@settings(max_examples=40, deadline=None)
def test_any_stream_is_metered(wire: Wire, events: list[tuple[str, dict[str, Any]]]) -> None:
    """Never an exception; what was seen only grows."""
    meter, seen = StreamMeter(wire), 0
    for event, data in events:
        meter.feed(event, data)
        assert meter.output_text_bytes >= seen
        seen = meter.output_text_bytes
        if meter.usage is not None:
            check(meter.usage)
    assert len(meter.visible_text(10**9)) <= seen


@given(counts=st.lists(st.integers(0, 10**6), min_size=6, max_size=6))
@settings(deadline=None)
def test_anthropic_totals_include_their_parts(counts: list[int]) -> None:
    """Input is what was fresh, read and written; every part is inside its totals."""
    fresh, read, short, long, output, thought = counts
    usage = {
        "input_tokens": fresh,
        "output_tokens": output + thought,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": short + long,
        "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long},
        "output_tokens_details": {"thinking_tokens": thought},
    }
    found = meter_answer(Wire.MESSAGES, json.loads(json.dumps({"usage": usage})))
    assert found is not None
    assert found.counts["input_tokens"] == fresh + read + short + long
    for key, count in found.counts.items():
        assert all(found.counts.get(total, count) >= count for total in totals_of(key))
