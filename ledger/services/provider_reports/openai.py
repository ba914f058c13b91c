"""OpenAI's organization costs (``GET /v1/organization/costs``) and usage of completions and embeddings
(``GET /v1/organization/usage/completions``), as the API returns them.

A cost's ``amount.value`` is a number of dollars. ``input_tokens`` has the cached tokens among it. Grouped by line item,
costs name one as ``gpt-5-mini-2025-08-07, input``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from ledger.core.reconciling_lines import REQUESTS, TheirLine
from ledger.services.provider_reports.pages import Result, results_of
from ledger.services.provider_reports.values import (
    ReportError,
    atoms_of,
    count_of,
    currency_of,
    day_within,
    seconds_of,
    text_of,
)

_COUNTS: Final = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "input_cached_tokens": "cache_read_tokens",
    "num_model_requests": REQUESTS,
}
_USAGE_OBJECTS: Final = "organization.usage."


def _is_measured(name: str) -> bool:
    """Whether a field says how much, and not of what."""
    return name in ("amount", "quantity", "num_model_requests") or name.endswith("_tokens")


def _time_of(bucket: dict[str, Any], place: str) -> tuple[int, int]:
    return seconds_of(bucket.get("start_time"), "start_time", place), seconds_of(
        bucket.get("end_time"), "end_time", place
    )


def _key_of(result: Result) -> str:
    """The key or, where the report does not tell keys apart, the project."""
    said = result.said
    return text_of(said.get("api_key_id"), "api_key_id", result.place) or text_of(
        said.get("project_id"), "project_id", result.place
    )


def costs(files: Sequence[tuple[Path, str]], currency: str, digits: int) -> Iterator[TheirLine]:
    """Lines that bill. Raises ReportError."""
    for result in results_of(files, _time_of, _is_measured):
        said, place = result.said, result.place
        if str(said.get("object", "")).startswith(_USAGE_OBJECTS):
            raise ReportError(f"{place}: this counts usage and bills nothing; name it as openai-usage")
        amount = said.get("amount")
        if not isinstance(amount, dict):
            raise ReportError(f"{place}: it has no amount")
        currency_of(amount.get("currency"), currency, place)
        item = text_of(said.get("line_item"), "line_item", place)
        yield TheirLine(
            place=place,
            day=day_within(result.starts_at, result.ends_at, place),
            amount=atoms_of(amount.get("value"), digits, place),
            model=item.rpartition(", ")[0] or item,
            key=_key_of(result),
        )


def usage(files: Sequence[tuple[Path, str]], currency: str, digits: int) -> Iterator[TheirLine]:
    """Lines that count. Raises ReportError."""
    for result in results_of(files, _time_of, _is_measured):
        said, place = result.said, result.place
        if not any(name in said for name in _COUNTS):
            raise ReportError(f"{place}: it counts neither tokens nor requests: this is no usage of completions")
        yield TheirLine(
            place=place,
            day=day_within(result.starts_at, result.ends_at, place),
            amount=None,
            model=text_of(said.get("model"), "model", place),
            key=_key_of(result),
            quantities={ours: count_of(said[name], name, place) for name, ours in _COUNTS.items() if name in said},
        )
