"""Both sides of a comparison as the verb gets them: files on the one, a server on the other.

Invariant: every page of the ledger's side is read as of one size of the log.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from bursar import Remote
from ledger.cli.reconcile.names import Names
from ledger.core.moment import moment_of, moment_text
from ledger.core.money import parse_atoms
from ledger.core.period import Period
from ledger.core.reconciling import compare
from ledger.core.reconciling_found import Comparison
from ledger.core.reconciling_lines import DAY, OurLine, TheirLine, Tolerance, day_of, model_name
from ledger.services.provider_reports import Report

PAGE_LINES = 1_000


@dataclass(frozen=True, slots=True)
class Question:
    """What is compared, and how closely. ``total`` is that of an invoice, which stands in the place of lines."""

    payee: str
    currency: str
    digits: int
    period: Period
    tolerance: Tolerance
    names: Names
    by_day: bool = False
    total: int | None = None


def our_lines(server: Remote, question: Question) -> tuple[int, list[OurLine]]:
    """(size of the log, the ledger's lines of the period and of a day around it). Raises Refused, CannotAsk."""
    period, size, cursor = question.period, 0, None
    found: list[OurLine] = []
    while True:
        query: dict[str, str | int | bool] = {
            "payee": question.payee,
            "currency": question.currency,
            "starts_at": moment_text(max(period.starts_at - DAY, 0)),
            "ends_at": moment_text(period.ends_at + DAY),
            "limit": PAGE_LINES,
        }
        if cursor is not None:
            query |= {"cursor": cursor, "at_size": size}
        page = server.get("/v1/reconciliations/lines", **query)
        size, cursor = page["at_size"], page["next_cursor"]
        found += [_line(said, question) for said in page["items"]]
        if cursor is None:
            return size, found


def _line(said: dict[str, Any], question: Question) -> OurLine:
    agent, budget = said["agent"] or "", said["budget"] or ""
    return OurLine(
        index=said["index"],
        position=said["position"],
        kind=said["kind"],
        day=day_of(moment_of(said["effective_at"])),
        started_day=min(day_of(moment_of(said["started_at"])), day_of(moment_of(said["effective_at"]))),
        amount=parse_atoms(said["amount"]["amount"], question.digits),
        authorization=said["authorization"] or "",
        id=said["response_id"] or "",
        model=model_name(said["model"] or said["resource"] or "", question.names.models),
        key=question.names.key_of(agent, budget),
        agent=agent,
        budget=budget,
        category=said["category"] or "",
        quantities=said["quantities"],
    )


def their_lines(lines: Iterable[TheirLine], question: Question) -> list[TheirLine]:
    """The provider's lines under the names of the ledger; keys are told apart only where the names say whose they
    are."""
    made = []
    for line in lines:
        model = "" if question.by_day else model_name(line.model, question.names.models)
        made.append(replace(line, model=model, key=line.key if question.names.keys else ""))
    return made


def compared(report: Report | None, ours: list[OurLine], question: Question) -> Comparison:
    """Compare; an invoice's total is one line that is all of the period."""
    first, last = day_of(question.period.starts_at), day_of(question.period.ends_at - 1)
    if question.total is not None:
        whole = [
            replace(line, day=first, started_day=first, id="", model="", key="")
            for line in ours
            if first <= line.day <= last
        ]
        line = TheirLine("the total", first, question.total)
        return compare([line], whole, first_day=first, last_day=last, tolerance=question.tolerance)
    billed = their_lines(report.billed, question) if report is not None else []
    counted = their_lines(report.counted, question) if report is not None else []
    return compare(
        billed, ours, first_day=first, last_day=last, tolerance=question.tolerance, counted=counted
    )  # fmt: skip
