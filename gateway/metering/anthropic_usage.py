"""Usage as Anthropic's Messages API reports it: tokens read from and written to the cache stand outside input_tokens.

Sources: Anthropic's API reference (Messages, ``usage``), its pages on prompt caching (lifetimes of writes), on the web
search and web fetch tools (a fetch has no fee), on compaction (the totals at the top leave compaction out, so what is
billed is their sum) and on the advisor tool (billed at the advisor's own model, outside the totals).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.metering.fields import UsageFields, mapping, text
from gateway.metering.tiers import served_tier
from gateway.usage import Usage
from gateway.wires import Wire

_LIFETIMES: Final = {
    "cache_creation.ephemeral_5m_input_tokens": "cache_write_5m_tokens",
    "cache_creation.ephemeral_1h_input_tokens": "cache_write_1h_tokens",
}
_ITERATIONS: Final = "iterations"
_COUNTED_AT_THE_TOP: Final = "message"
_ADDED: Final = "compaction"
_ITERATIONS_MAX: Final = 256


def anthropic_usage(body: Mapping[str, Any], usage: Mapping[str, Any]) -> Usage:
    """The usage of one message. ``body`` is the message (id, model), ``usage`` its usage as far as it is known."""
    fields = UsageFields(usage, apart=(_ITERATIONS,))
    counts = _counts(fields)
    unknown = list(fields.unknown())
    model, tier = text(body.get("model")), served_tier(Wire.MESSAGES, body, usage)
    others = []
    for iteration in _iterations(usage):
        kind, named = text(iteration.get("type")), text(iteration.get("model"))
        if kind == _COUNTED_AT_THE_TOP or not kind:
            continue
        inner = UsageFields(iteration, root=f"usage.{_ITERATIONS}")
        part = _counts(inner)
        unknown += inner.unknown()
        if named and named != model:
            others.append(Usage(counts=part, model=named, tier=tier))
            continue
        if kind != _ADDED:
            # Whether the top counts this sort is not known: it is added, so that it is not free, and it is named.
            unknown.append(f"usage.{_ITERATIONS}.{kind[:48]}")
        for key, count in part.items():
            counts[key] = counts.get(key, 0) + count
    if len(usage.get(_ITERATIONS) or ()) > _ITERATIONS_MAX:
        unknown.append(f"usage.{_ITERATIONS}")
    return Usage(
        counts=counts,
        model=model,
        response_id=text(body.get("id")),
        tier=tier,
        unknown=tuple(dict.fromkeys(unknown)),
        others=tuple(others),
    )


def _iterations(usage: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = usage.get(_ITERATIONS)
    return [mapping(item) for item in found[:_ITERATIONS_MAX]] if isinstance(found, list) else []


def _counts(fields: UsageFields) -> dict[str, int]:
    """The counts of one usage object, totals with their parts; zeros are left out but for the two totals."""
    fresh, output = fields.take("input_tokens") or 0, fields.take("output_tokens") or 0
    read = fields.take("cache_read_input_tokens") or 0
    total = fields.take("cache_creation_input_tokens") or 0
    lifetimes = {key: fields.take(path) or 0 for path, key in _LIFETIMES.items()}
    # A total without its lifetimes was written for five minutes, the default; lifetimes without a total are the total.
    written = max(total, sum(lifetimes.values()))
    searches = fields.take("server_tool_use.web_search_requests") or 0
    executions = fields.take("server_tool_use.code_execution_requests") or 0
    fields.forget("server_tool_use.web_fetch_requests")
    parts = {
        "cache_read_tokens": read,
        "cache_write_tokens": written,
        **lifetimes,
        "output_reasoning_tokens": fields.take("output_tokens_details.thinking_tokens") or 0,
        "web_searches": searches,
        "code_executions": executions,
    }
    return {
        "input_tokens": fresh + read + written,
        "output_tokens": output,
        **{key: count for key, count in parts.items() if count},
    }
