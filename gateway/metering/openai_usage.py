"""Usage as OpenAI and those who speak its wires report it: cached, audio and reasoning tokens inside the totals.

Sources: OpenAI API reference (Chat Completions, Responses and Embeddings objects); the API references of Groq,
DeepSeek, Mistral, Moonshot AI, xAI, Perplexity and OpenRouter for the names they add.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from gateway.metering.fields import UsageFields, mapping, text
from gateway.metering.tiers import served_tier
from gateway.usage import Usage
from gateway.wires import Wire

# What these say is no charge of its own: sums, times, the provider's own idea of the cost, and parts of a total that is
# billed at the total's price (OpenAI bills rejected prediction tokens as completion tokens, which count them already).
_NO_CHARGE: Final = (
    "cost",
    "cost_details",
    "cost_in_nano_usd",
    "cost_in_usd_ticks",
    "estimated_cost",
    "pydantic_ai_gateway",
    "prompt_time",
    "completion_time",
    "queue_time",
    "total_time",
    "prompt_cache_miss_tokens",
    # Mistral's note of cached tokens from before it billed them apart; what it bills stands in the details.
    "num_cached_tokens",
    "server_tool_use.web_fetch_requests",
)
_PARTS: Final = {
    "cached_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "audio_tokens": "input_audio_tokens",
    "image_tokens": "input_image_tokens",
    "video_tokens": "input_video_tokens",
}
_NO_PARTS: Final = ("text_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens")
_NAMES: Final = (("prompt", "completion"), ("input", "output"))
_TOTALS: Final = {(read, written): (f"{read}_tokens", f"{written}_tokens", "total_tokens") for read, written in _NAMES}
_FORGOTTEN: Final = {
    names: (*_NO_CHARGE, *(f"{name}_tokens_details.{part}" for name in names for part in _NO_PARTS)) for names in _NAMES
}
_INPUT_PARTS: Final = {
    details: tuple((f"{details}.{name}", key) for name, key in _PARTS.items())
    for details in (f"{read}_tokens_details" for read, _ in _NAMES)
}
_CACHE_READS: Final = (
    "prompt_cache_hit_tokens",
    "cached_tokens",
    "cached_prompt_text_tokens",
    "cache_read_input_tokens",
)
_CACHE_WRITES: Final = ("cache_creation_input_tokens", "cache_write_tokens")
# Responses' items that are billed by the call. Of a web search only the action `search` is; a page opened is not.
_TOOL_ITEMS: Final = {
    "web_search_call": "web_searches",
    "file_search_call": "storage_searches",
    "code_interpreter_call": "code_executions",
}
_SEARCHES: Final = ("num_search_queries", "server_tool_use.web_search_requests", "tool_usage.web_search.num_requests")
_REPORTED_SEARCHES: Final = frozenset(name.partition(".")[0] for name in _SEARCHES)
_TOKENS_ELSEWHERE: Final = "image_generation_call"


def openai_usage(wire: Wire, body: Mapping[str, Any], usage: Mapping[str, Any], *, items: Iterable[Any] = ()) -> Usage:
    """The usage of one answer or of the end of a stream, on the chat, responses and embeddings wires.

    ``items`` are the output items of a Responses answer, whose tools are billed by the call and not by tokens.
    """
    chat = wire is not Wire.RESPONSES
    names = _NAMES[0] if chat else _NAMES[1]
    unknown: tuple[str, ...] = ()
    counts = _only_totals(usage, *_TOTALS[names])
    if counts is not None:
        elsewhere = _tool_calls(body, None, counts, items)
    else:
        fields = UsageFields(usage)
        counts = _totals(fields, *names)
        _parts_of_input(fields, counts, f"{names[0]}_tokens_details")
        _parts_of_output(fields, counts, names)
        elsewhere = _tool_calls(body, fields.largest(*_SEARCHES), counts, items)
        fields.forget(*_FORGOTTEN[names])
        unknown = fields.unknown()
    return Usage(
        counts={key: count for key, count in counts.items() if count or key in ("input_tokens", "output_tokens")},
        model=text(body.get("model")),
        response_id=text(body.get("id")),
        tier=served_tier(wire, body, usage),
        unknown=unknown + elsewhere,
    )


def _only_totals(usage: Mapping[str, Any], read: str, written: str, total: str) -> dict[str, int] | None:
    """The two totals of a usage in which all else is zero, which most are; None where it is not, where anything else is
    to be told from a number, or where their sum says something else."""
    for name, value in usage.items():
        if value is None or (type(value) is int and (value == 0 or (value > 0 and name in (read, written, total)))):
            continue
        if type(value) is not dict:
            return None
        for part in value.values():
            if part is not None and (type(part) is not int or part):
                return None
    if not _REPORTED_SEARCHES.isdisjoint(usage):
        return None
    inputs, outputs = usage.get(read) or 0, usage.get(written) or 0
    said = usage.get(total)
    return {"input_tokens": inputs, "output_tokens": outputs} if said is None or said == inputs + outputs else None


def _totals(fields: UsageFields, read: str, written: str) -> dict[str, int]:
    """The two totals. Some providers write the other wire's names; those are taken where the wire's own are absent."""
    inputs, outputs = fields.take(f"{read}_tokens"), fields.take(f"{written}_tokens")
    other = ("input", "output") if read == "prompt" else ("prompt", "completion")
    if inputs is None:
        inputs = fields.take(f"{other[0]}_tokens")
    if outputs is None:
        outputs = fields.take(f"{other[1]}_tokens")
    return {"input_tokens": inputs or 0, "output_tokens": outputs or 0}


def _parts_of_input(fields: UsageFields, counts: dict[str, int], details: str) -> None:
    for path, key in _INPUT_PARTS[details]:
        counts[key] = fields.take(path) or 0
    # The same cached tokens may stand under several names at once: they are one count, not a sum.
    reads = fields.largest(*_CACHE_READS, f"{details}.cache_read_input_tokens")
    writes = fields.largest(*_CACHE_WRITES, f"{details}.cache_creation_tokens")
    counts["cache_read_tokens"] = max(counts["cache_read_tokens"], reads or 0)
    counts["cache_write_tokens"] = max(counts["cache_write_tokens"], writes or 0)


def _parts_of_output(fields: UsageFields, counts: dict[str, int], names: tuple[str, str]) -> None:
    details, total = f"{names[1]}_tokens_details", fields.take("total_tokens")
    inside, outside = fields.take(f"{details}.reasoning_tokens"), fields.take("reasoning_tokens")
    reasoning, citations = (outside if inside is None else inside) or 0, fields.take("citation_tokens") or 0
    counts["output_audio_tokens"] = fields.take(f"{details}.audio_tokens") or 0
    counts["output_image_tokens"] = fields.take(f"{details}.image_tokens") or 0
    counts["output_reasoning_tokens"], counts["output_citation_tokens"] = reasoning, citations
    beyond = 0 if total is None else total - counts["input_tokens"] - counts["output_tokens"]
    # OpenAI counts reasoning inside completion_tokens. xAI counts it beside them and inside total_tokens; Perplexity
    # reports it, and citations, at the top and beside everything.
    for count, beside in ((reasoning, inside is None or beyond == reasoning), (citations, True)):
        if beside:
            counts["output_tokens"] += count
            beyond -= min(count, max(beyond, 0))
    if beyond > 0:
        # Google leaves the tokens of its thinking out of completion_tokens and in total_tokens. What only the total
        # counts is taken for that: hidden, and billed as output.
        counts["output_tokens"] += beyond
        counts["output_reasoning_tokens"] += beyond


def _tool_calls(
    body: Mapping[str, Any], reported: int | None, counts: dict[str, int], items: Iterable[Any]
) -> tuple[str, ...]:
    """Count the calls of tools that cost a fee; what was billed somewhere else is named. ``reported`` is how many
    searches the usage names, None where it names none.

    Sources: OpenAI's price page, section "Built-in tools", and its guide to web search for search models in Chat
    Completions, which search once a call and report no count.
    """
    elsewhere: list[str] = []
    for item in map(mapping, items):
        kind = text(item.get("type"))
        if kind == _TOKENS_ELSEWHERE and f"output.{kind}" not in elsewhere:
            elsewhere.append(f"output.{kind}")
        key = _TOOL_ITEMS.get(kind)
        if key is not None and mapping(item.get("action")).get("type", "search") == "search":
            counts[key] = counts.get(key, 0) + 1
    # The model's own count of its calls stands in the items; a larger one in the usage includes them.
    counts["web_searches"] = max(counts.get("web_searches", 0), reported or 0)
    if reported is None and not counts["web_searches"] and _searches_always(text(body.get("model"))):
        counts["web_searches"] = 1
    return tuple(elsewhere)


def _searches_always(model: str) -> bool:
    name = model.rpartition("/")[2].lower()
    return name.startswith("gpt-") and ("-search-preview" in name or "-search-api" in name)
