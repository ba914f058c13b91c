"""Usage as each provider writes it into an answer, and the ways in which providers were seen to write it.

Invariant: each wire has its own rule: OpenAI's totals include cached and reasoning tokens; Anthropic's `input_tokens`
leaves out what was read from or written to a cache.
"""

from typing import Any

from bench.fake_provider.calls import CHAT, EMBEDDINGS, MESSAGES, Call, Counts


def usage_of(call: Call, counts: Counts) -> Any:
    """The usage to put on the wire for what was used; None where the provider sends none, or null."""
    kind = call.behaviour.usage
    if kind in ("none", "null"):
        return None
    if call.wire == MESSAGES:
        usage = _messages(call, counts)
    elif call.wire == EMBEDDINGS:
        usage = {"prompt_tokens": counts.input, "total_tokens": counts.input}
    elif call.wire == CHAT:
        usage = _chat(counts)
    else:
        usage = _responses(counts)
    if kind == "malformed":
        return usage | {next(iter(usage)): "many"}
    if kind == "deepseek" and "prompt_tokens" in usage:
        usage |= {"prompt_cache_hit_tokens": counts.cached, "prompt_cache_miss_tokens": counts.input - counts.cached}
    if kind == "openrouter":
        usage |= {"cost": 0.0123, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.0123}}
    if call.behaviour.unknown:
        usage["quantum_tokens"] = call.behaviour.unknown
    if call.behaviour.unknown_detail:
        detail = next((part for part in usage.values() if isinstance(part, dict)), usage)
        detail["holographic_tokens"] = call.behaviour.unknown_detail
    return usage


def _chat(counts: Counts) -> dict[str, Any]:
    """https://platform.openai.com/docs/api-reference/chat/object: the totals include their details."""
    details = {"cached_tokens": counts.cached, "audio_tokens": counts.audio_in}
    if counts.write5m or counts.write1h:
        details["cache_write_tokens"] = counts.write5m + counts.write1h
    return {
        "prompt_tokens": counts.input,
        "completion_tokens": counts.output,
        "total_tokens": counts.input + counts.output,
        "prompt_tokens_details": details,
        "completion_tokens_details": {
            "reasoning_tokens": counts.reasoning,
            "audio_tokens": counts.audio_out,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _responses(counts: Counts) -> dict[str, Any]:
    """https://platform.openai.com/docs/api-reference/responses/object: the totals include their details."""
    return {
        "input_tokens": counts.input,
        "input_tokens_details": {
            "cached_tokens": counts.cached,
            "cache_write_tokens": counts.write5m + counts.write1h,
        },
        "output_tokens": counts.output,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning},
        "total_tokens": counts.input + counts.output,
    }


def _messages(call: Call, counts: Counts) -> dict[str, Any]:
    """https://docs.anthropic.com/en/api/messages: what a cache served or took stands beside `input_tokens`."""
    written = counts.write5m + counts.write1h
    usage: dict[str, Any] = {
        "input_tokens": counts.input - counts.cached - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": counts.cached,
        "cache_creation": {
            "ephemeral_5m_input_tokens": counts.write5m,
            "ephemeral_1h_input_tokens": counts.write1h,
        },
        "output_tokens": counts.output,
        "service_tier": call.tier,
    }
    if counts.reasoning:
        usage["output_tokens_details"] = {"thinking_tokens": counts.reasoning}
    if counts.searches:
        usage["server_tool_use"] = {"web_search_requests": counts.searches, "web_fetch_requests": 0}
    if call.behaviour.speed:
        usage["speed"] = call.behaviour.speed
    if call.behaviour.geo:
        usage["inference_geo"] = call.behaviour.geo
    if counts.compaction_in or counts.compaction_out:
        own = {name: usage[name] for name in list(usage)[:5]}
        none = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
        compaction = {"input_tokens": counts.compaction_in, "output_tokens": counts.compaction_out} | none
        usage["iterations"] = [{"type": "compaction", **compaction}, {"type": "message", **own}]
    return usage
