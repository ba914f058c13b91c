"""Anthropic's cost report (``GET /v1/organizations/cost_report``) and usage of messages
(``GET /v1/organizations/usage_report/messages``), as the API returns them.

A cost's ``amount`` is text in cents: "123.45" is 1.2345 dollars, a hundredth of what the same digits are in OpenAI's
costs. Input tokens are told in parts, the cached ones outside ``uncached_input_tokens``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from ledger.core.reconciling_lines import TheirLine
from ledger.services.provider_reports.pages import Result, results_of
from ledger.services.provider_reports.values import (
    ReportError,
    atoms_of,
    count_of,
    currency_of,
    day_within,
    moment_said,
    text_of,
)

CENTS: Final = 2
"""Digits after the point of a dollar that its lowest unit stands for."""
_DOLLARS: Final = "USD"


def _is_measured(name: str) -> bool:
    """Whether a field says how much, and not of what."""
    return name in ("amount", "cache_creation", "server_tool_use") or name.endswith("_tokens")


def _time_of(bucket: dict[str, Any], place: str) -> tuple[int, int]:
    return moment_said(bucket.get("starting_at"), "starting_at", place), moment_said(
        bucket.get("ending_at"), "ending_at", place
    )


def costs(files: Sequence[tuple[Path, str]], currency: str, digits: int) -> Iterator[TheirLine]:
    """Lines that bill. Raises ReportError."""
    for result in results_of(files, _time_of, _is_measured):
        said, place = result.said, result.place
        if "amount" not in said:
            raise ReportError(f"{place}: it has no amount: usage is read as anthropic-usage")
        currency_of(said.get("currency"), currency, place)
        if currency != _DOLLARS:
            raise ReportError(f"{place}: how many of its lowest unit make one {currency} is not known; only USD is")
        if not isinstance(said["amount"], str):
            raise ReportError(f"{place}: the amount is no text; Anthropic's report has cents as text")
        yield TheirLine(
            place=place,
            day=day_within(result.starts_at, result.ends_at, place),
            amount=atoms_of(said["amount"], digits, place, minor_digits=CENTS),
            model=text_of(said.get("model"), "model", place) or text_of(said.get("description"), "description", place),
            key=text_of(said.get("workspace_id"), "workspace_id", place),
        )


def usage(files: Sequence[tuple[Path, str]], currency: str, digits: int) -> Iterator[TheirLine]:
    """Lines that count. Raises ReportError."""
    for result in results_of(files, _time_of, _is_measured):
        said, place = result.said, result.place
        if "uncached_input_tokens" not in said:
            raise ReportError(f"{place}: it counts no tokens: this is no usage of messages")
        yield TheirLine(
            place=place,
            day=day_within(result.starts_at, result.ends_at, place),
            amount=None,
            model=text_of(said.get("model"), "model", place),
            key=text_of(said.get("api_key_id"), "api_key_id", place)
            or text_of(said.get("workspace_id"), "workspace_id", place),
            quantities=_quantities(result),
        )


def _quantities(result: Result) -> dict[str, int]:
    said, place = result.said, result.place
    created = said.get("cache_creation") or {}
    if not isinstance(created, dict):
        raise ReportError(f"{place}: cache_creation is no JSON object")
    written = sum(
        count_of(value, name, place)
        for name, value in (
            ("ephemeral_5m_input_tokens", created.get("ephemeral_5m_input_tokens")),
            ("ephemeral_1h_input_tokens", created.get("ephemeral_1h_input_tokens")),
            ("cache_creation_5m_input_tokens", said.get("cache_creation_5m_input_tokens")),
            ("cache_creation_1h_input_tokens", said.get("cache_creation_1h_input_tokens")),
        )
    )
    read = count_of(said.get("cache_read_input_tokens"), "cache_read_input_tokens", place)
    fresh = count_of(said["uncached_input_tokens"], "uncached_input_tokens", place)
    tools = said.get("server_tool_use") or {}
    if not isinstance(tools, dict):
        raise ReportError(f"{place}: server_tool_use is no JSON object")
    return {
        "input_tokens": fresh + read + written,
        "output_tokens": count_of(said.get("output_tokens"), "output_tokens", place),
        "cache_read_tokens": read,
        "cache_write_tokens": written,
        "web_searches": count_of(tools.get("web_search_requests"), "web_search_requests", place),
    }
