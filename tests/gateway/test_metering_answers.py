"""Whole answers: each wire's usage in the one form, row by row."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.metering import asked_tier, meter_answer
from gateway.usage import Usage
from gateway.wires import Wire


def metered(wire: Wire, usage: dict[str, Any], **body: Any) -> Usage:
    """The usage of an answer that has one."""
    found = meter_answer(wire, {"id": "resp-1", "model": "m", "usage": usage, **body})
    assert found is not None
    return found


OPENAI = {"prompt_tokens": 100, "completion_tokens": 40, "total_tokens": 140}
ROWS: list[tuple[str, Wire, dict[str, Any], dict[str, int]]] = [
    (
        "OpenAI counts cached, written and reasoning tokens inside the totals",
        Wire.CHAT,
        OPENAI
        | {
            "prompt_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 8, "audio_tokens": 5},
            "completion_tokens_details": {
                "reasoning_tokens": 30,
                "audio_tokens": 3,
                "accepted_prediction_tokens": 2,
                "rejected_prediction_tokens": 1,
            },
        },
        {
            "input_tokens": 100,
            "output_tokens": 40,
            "cache_read_tokens": 64,
            "cache_write_tokens": 8,
            "input_audio_tokens": 5,
            "output_reasoning_tokens": 30,
            "output_audio_tokens": 3,
        },
    ),
    ("an explicit zero is a zero", Wire.CHAT, {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
     {"input_tokens": 0, "output_tokens": 0}),
    ("DeepSeek's hits are one count under two names", Wire.CHAT,
     OPENAI | {"prompt_cache_hit_tokens": 60, "prompt_cache_miss_tokens": 40,
               "prompt_tokens_details": {"cached_tokens": 60}},
     {"input_tokens": 100, "output_tokens": 40, "cache_read_tokens": 60}),
    ("DeepSeek's hits alone", Wire.CHAT, OPENAI | {"prompt_cache_hit_tokens": 60, "prompt_cache_miss_tokens": 40},
     {"input_tokens": 100, "output_tokens": 40, "cache_read_tokens": 60}),
    ("Moonshot's cached tokens stand at the top", Wire.CHAT, OPENAI | {"cached_tokens": 10},
     {"input_tokens": 100, "output_tokens": 40, "cache_read_tokens": 10}),
    ("xAI counts reasoning beside completion_tokens and inside total_tokens", Wire.CHAT,
     {"prompt_tokens": 100, "completion_tokens": 40, "total_tokens": 240,
      "completion_tokens_details": {"reasoning_tokens": 100}},
     {"input_tokens": 100, "output_tokens": 140, "output_reasoning_tokens": 100}),
    ("Perplexity counts reasoning, citations and searches beside everything", Wire.CHAT,
     {"prompt_tokens": 10, "completion_tokens": 40, "total_tokens": 50, "reasoning_tokens": 7, "citation_tokens": 5,
      "num_search_queries": 3},
     {"input_tokens": 10, "output_tokens": 52, "output_reasoning_tokens": 7, "output_citation_tokens": 5,
      "web_searches": 3}),
    ("Google hides thinking in the total", Wire.CHAT,
     {"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 109},
     {"input_tokens": 35, "output_tokens": 74, "output_reasoning_tokens": 62}),
    ("Groq's times, OpenRouter's cost and proxies' estimates are no usage", Wire.CHAT,
     OPENAI | {"queue_time": 0.1, "prompt_time": 0.2, "completion_time": 0.3, "total_time": 0.6, "cost": 0.4,
               "cost_details": {"upstream_inference_cost": 0.4}, "is_byok": True,
               "pydantic_ai_gateway": {"cost_estimate": 0.1}},
     {"input_tokens": 100, "output_tokens": 40}),
    ("whole numbers may be written with a point", Wire.CHAT, {"prompt_tokens": 12.0, "completion_tokens": 3},
     {"input_tokens": 12, "output_tokens": 3}),
    ("embeddings read and write nothing", Wire.EMBEDDINGS, {"prompt_tokens": 8, "total_tokens": 8},
     {"input_tokens": 8, "output_tokens": 0}),
    ("Responses has the same sums under other names", Wire.RESPONSES,
     {"input_tokens": 50, "output_tokens": 20, "total_tokens": 70, "input_tokens_details": {"cached_tokens": 32},
      "output_tokens_details": {"reasoning_tokens": 16}},
     {"input_tokens": 50, "output_tokens": 20, "cache_read_tokens": 32, "output_reasoning_tokens": 16}),
    ("Anthropic counts cached tokens outside: the total is the sum", Wire.MESSAGES,
     {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 200, "cache_creation_input_tokens": 70,
      "cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 40},
      "output_tokens_details": {"thinking_tokens": 4}},
     {"input_tokens": 280, "output_tokens": 5, "cache_read_tokens": 200, "cache_write_tokens": 70,
      "cache_write_5m_tokens": 30, "cache_write_1h_tokens": 40, "output_reasoning_tokens": 4}),
    ("a write without a lifetime is the default one", Wire.MESSAGES,
     {"input_tokens": 10, "output_tokens": 5, "cache_creation_input_tokens": 70},
     {"input_tokens": 80, "output_tokens": 5, "cache_write_tokens": 70}),
    ("Anthropic's tools: searches and executions are counted, fetches are free", Wire.MESSAGES,
     {"input_tokens": 1, "output_tokens": 1,
      "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 3, "code_execution_requests": 4}},
     {"input_tokens": 1, "output_tokens": 1, "web_searches": 2, "code_executions": 4}),
    ("compaction stands outside Anthropic's totals", Wire.MESSAGES,
     {"input_tokens": 45_000, "output_tokens": 1_234, "iterations": [
         {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3_500, "cache_read_input_tokens": 100},
         {"type": "message", "input_tokens": 23_000, "output_tokens": 1_000},
         {"type": "message", "input_tokens": 22_000, "output_tokens": 234}]},
     {"input_tokens": 225_100, "output_tokens": 4_734, "cache_read_tokens": 100}),
]  # fmt: skip


@pytest.mark.parametrize(("wire", "usage", "counts"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_usage_in_one_form(wire: Wire, usage: dict[str, Any], counts: dict[str, int]) -> None:
    """Each provider's words as counts whose totals include their parts, with nothing left unknown."""
    found = metered(wire, usage)
    assert (found.counts, found.unknown, found.others) == (counts, (), ())
    assert (found.model, found.response_id, found.tier) == ("m", "resp-1", "standard")


@pytest.mark.parametrize("wire", Wire)
@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": None}, "free", 7, []])
def test_no_usage_is_not_zero_usage(wire: Wire, usage: Any) -> None:
    """An answer that says nothing is settled as an estimate, so it must not look like one that cost nothing."""
    assert meter_answer(wire, {"id": "x", "usage": usage}) is None
    assert meter_answer(wire, {}) is None


@pytest.mark.parametrize(
    ("wire", "usage", "unknown"),
    [
        (Wire.CHAT, {"quantum_tokens": 3}, ("usage.quantum_tokens",)),
        (Wire.CHAT, {"quantum_tokens": 0, "quantum": None, "word": "x", "flag": True}, ()),
        (Wire.CHAT, {"prompt_tokens_details": {"dream_tokens": 2}}, ("usage.prompt_tokens_details.dream_tokens",)),
        (Wire.CHAT, {"cached_tokens": -4}, ("usage.cached_tokens",)),
        (Wire.CHAT, {"prompt_tokens_details": {"audio_tokens": 1.5}}, ("usage.prompt_tokens_details.audio_tokens",)),
        (Wire.CHAT, {"prompt_tokens_details": {"audio_tokens": "x"}}, ("usage.prompt_tokens_details.audio_tokens",)),
        (Wire.MESSAGES, {"cache_creation_input_tokens": "many"}, ("usage.cache_creation_input_tokens",)),
        (Wire.CHAT, {"extra": [{"a": 1}, {"a": 0}], "more": [0, 2]}, ("usage.extra.a", "usage.more")),
        (Wire.RESPONSES, {"tool_usage": {"image_gen": {"n": 9}}}, ("usage.tool_usage.image_gen.n",)),
        (
            Wire.MESSAGES,
            {"cache_creation": {"ephemeral_24h_input_tokens": 5}},
            ("usage.cache_creation.ephemeral_24h_input_tokens",),
        ),
        (Wire.MESSAGES, {"server_tool_use": {"moon_requests": 1}}, ("usage.server_tool_use.moon_requests",)),
        (Wire.MESSAGES, {"iterations": [{"type": "message", "input_tokens": 1}]}, ()),
        (Wire.MESSAGES, {"iterations": [{"type": "dream", "input_tokens": 1}]}, ("usage.iterations.dream",)),
        (Wire.MESSAGES, {"iterations": [{"type": "compaction", "z": 1}]}, ("usage.iterations.z",)),
    ],
)  # fmt: skip
def test_what_nobody_knows_is_named(wire: Wire, usage: dict[str, Any], unknown: tuple[str, ...]) -> None:
    """A field that is not zero and not known is never free in silence, however deep it stands."""
    names = ("input_tokens", "output_tokens") if wire in (Wire.MESSAGES, Wire.RESPONSES) else ("prompt_tokens", "x")
    assert metered(wire, {names[0]: 1} | usage).unknown == unknown


@pytest.mark.parametrize(
    ("wire", "usage"),
    [
        (Wire.CHAT, {"prompt_tokens": "many", "completion_tokens": 3, "total_tokens": 9}),
        (Wire.CHAT, {"prompt_tokens": 6, "completion_tokens": -4}),
        (Wire.CHAT, {"prompt_tokens": 6, "completion_tokens": 1.5}),
        (Wire.CHAT, {"prompt_tokens": 6, "completion_tokens": float("inf")}),
        (Wire.CHAT, {"completion_tokens": 3}),
        (Wire.RESPONSES, {"input_tokens": [6], "output_tokens": 3}),
        (Wire.EMBEDDINGS, {"prompt_tokens": True}),
        (Wire.MESSAGES, {"input_tokens": {"n": 6}, "output_tokens": 3}),
        (Wire.MESSAGES, {"output_tokens": 3}),
    ],
)
def test_totals_that_are_no_counts_say_nothing(wire: Wire, usage: dict[str, Any]) -> None:
    """What was read or generated is then estimated, and never taken for nothing."""
    assert meter_answer(wire, {"id": "resp-1", "model": "m", "usage": usage}) is None


def test_a_usage_that_nests_without_end_is_flagged_and_does_no_harm() -> None:
    """What stands too deep to be read is named by where it starts."""
    deep: dict[str, Any] = {"n": 1}
    for _ in range(2_000):
        deep = {"d": deep}
    assert metered(Wire.CHAT, {"prompt_tokens": 1, "deep": deep}).unknown[0].startswith("usage.deep.d")


def test_the_advisor_is_metered_apart() -> None:
    """Another model's tokens are outside the totals and belong to its own prices."""
    usage = {
        "input_tokens": 2_390,
        "output_tokens": 121,
        "service_tier": "standard",
        "iterations": [
            {"type": "message", "input_tokens": 1_128, "output_tokens": 110},
            {"type": "advisor_message", "model": "big", "input_tokens": 2_518, "output_tokens": 22},
            {"type": "message", "input_tokens": 1_262, "output_tokens": 11},
        ],
    }
    found = metered(Wire.MESSAGES, usage)
    assert found.counts == {"input_tokens": 2_390, "output_tokens": 121}
    assert [(part.model, part.counts) for part in found.others] == [
        ("big", {"input_tokens": 2_518, "output_tokens": 22})
    ]


@pytest.mark.parametrize(
    ("output", "counts", "unknown"),
    [
        ([{"type": "web_search_call", "action": {"type": "search"}}], {"web_searches": 1}, ()),
        ([{"type": "web_search_call"}, {"type": "web_search_call"}], {"web_searches": 2}, ()),
        ([{"type": "web_search_call", "action": {"type": "open_page"}}], {}, ()),
        ([{"type": "file_search_call"}, {"type": "message"}], {"storage_searches": 1}, ()),
        ([{"type": "code_interpreter_call"}], {"code_executions": 1}, ()),
        ([{"type": "image_generation_call"}], {}, ("output.image_generation_call",)),
        ([7, None, {"type": None}], {}, ()),
    ],
)
def test_tools_of_responses_are_counted_from_the_items(output: Any, counts: dict[str, int], unknown: Any) -> None:
    """Their fees are not in the token usage."""
    found = metered(Wire.RESPONSES, {"input_tokens": 1, "output_tokens": 1}, output=output)
    assert found.counts == {"input_tokens": 1, "output_tokens": 1} | counts
    assert found.unknown == unknown


def test_search_models_search_once_a_call() -> None:
    """They report no count; a provider that reports one is believed, zero included."""
    usage = {"prompt_tokens": 1, "completion_tokens": 1}
    assert metered(Wire.CHAT, usage, model="gpt-4o-search-preview-2025-03-11").counts["web_searches"] == 1
    reported = usage | {"server_tool_use": {"web_search_requests": 0}}
    assert "web_searches" not in metered(Wire.CHAT, reported, model="openai/gpt-5-search-api").counts


@pytest.mark.parametrize(
    ("wire", "body", "usage", "tier"),
    [
        (Wire.CHAT, {"service_tier": "default"}, {}, "standard"),
        (Wire.CHAT, {"service_tier": "flex"}, {}, "flex"),
        (Wire.CHAT, {"service_tier": "priority"}, {}, "priority"),
        (Wire.CHAT, {"service_tier": None}, {}, "standard"),
        (Wire.CHAT, {"service_tier": "on_demand"}, {}, "standard"),
        (Wire.CHAT, {"service_tier": "Scale Up!"}, {}, "scale-up-"),
        (Wire.RESPONSES, {"service_tier": "auto"}, {}, "standard"),
        (Wire.MESSAGES, {}, {"service_tier": "standard"}, "standard"),
        (Wire.MESSAGES, {}, {"service_tier": "batch"}, "batch"),
        (Wire.MESSAGES, {}, {"service_tier": "priority"}, "priority"),
        (Wire.MESSAGES, {}, {"service_tier": "standard", "speed": "fast"}, "fast"),
        (Wire.MESSAGES, {}, {"service_tier": "standard", "inference_geo": "us"}, "standard+us"),
        (Wire.MESSAGES, {}, {"inference_geo": "not_available"}, "standard"),
        (Wire.CHAT, {}, {"inference_geo": "us"}, "standard"),
    ],
)
def test_the_tier_is_the_one_that_served(wire: Wire, body: Any, usage: Any, tier: str) -> None:
    """Read from the answer alone: the request's wish is not even an argument."""
    assert metered(wire, {"input_tokens": 1, "prompt_tokens": 1} | usage, **body).tier == tier


@pytest.mark.parametrize(
    ("wire", "request_body", "tier"),
    [
        (Wire.CHAT, {}, "standard"),
        (Wire.CHAT, {"service_tier": "priority"}, "priority"),
        (Wire.MESSAGES, {"service_tier": "standard_only", "speed": "fast"}, "fast"),
        (Wire.MESSAGES, {"service_tier": "auto", "inference_geo": "us"}, "standard+us"),
        (Wire.MESSAGES, {"service_tier": 7}, "standard"),
    ],
)
def test_the_tier_that_is_asked_for(wire: Wire, request_body: Any, tier: str) -> None:
    """In the same words, for the hold."""
    assert asked_tier(wire, request_body) == tier
