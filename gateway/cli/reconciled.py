"""What `bursar gateway reconcile` prints: the calls, what becomes of them, and the totals.

Invariant: the totals are of the calls above them; a text that came from an agent or a bill is never taken for a command
to the terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.cli.reconciling import EXACT, KEEP, RELEASE, SETTLE, Matches, Step, shown

FAILED: Final = "failed"
ELSEWHERE: Final = "resolved meanwhile"


@dataclass(frozen=True, slots=True)
class Result:
    """A step and what became of it: settle, release or keep, ``failed``, or ``resolved meanwhile`` by somebody else."""

    step: Step
    outcome: str
    why: str


def totals_of(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Per currency and kind, how many calls and how much: ``known`` of those whose cost a bill named (what was billed
    and not settled before), ``settled``, ``released`` (what was held), ``still unknown`` (what is held)."""
    found: dict[tuple[str, str], tuple[int, Decimal]] = {}

    def add(kind: str, currency: str, amount: Decimal) -> None:
        count, total = found.get((kind, currency), (0, Decimal(0)))
        found[kind, currency] = (count + 1, EXACT.add(total, amount))

    for result in results:
        step, call = result.step, result.step.call
        if step.action == SETTLE and not step.guess:
            add("known", call.currency, step.amount or Decimal(0))
        if result.outcome == SETTLE:
            add("settled", call.currency, step.amount or Decimal(0))
        elif result.outcome == RELEASE:
            add("released", call.currency, call.held)
        elif result.outcome == ELSEWHERE:
            add(ELSEWHERE, call.currency, call.held)
        else:
            add("still unknown", call.currency, call.held)
    order = ("known", "settled", "released", ELSEWHERE, "still unknown")
    return [
        {
            "what": kind,
            "currency": currency,
            "calls": found[kind, currency][0],
            "amount": shown(found[kind, currency][1]),
        }
        for kind, currency in sorted(found, key=lambda item: (order.index(item[0]), item[1]))
    ]


def plain(results: Sequence[Result], matches: Matches | None, *, now: int, dry_run: bool) -> dict[str, Any]:
    """All of it as one JSON object; amounts are decimal text."""
    said: dict[str, Any] = {
        "dry_run": dry_run,
        "calls": [_plain_call(result, now) for result in results],
        "totals": totals_of(results),
    }
    if matches is not None:
        said["other_bill_lines"] = {
            "lines": matches.other_lines,
            "cost": {currency: shown(cost) for currency, cost in sorted(matches.other_cost.items())},
        }
    return said


def _plain_call(result: Result, now: int) -> dict[str, Any]:
    step, call = result.step, result.step.call
    said: dict[str, Any] = {
        "authorization": call.authorization,
        "agent": call.agent,
        "model": call.model,
        "payee": call.payee,
        "currency": call.currency,
        "held": shown(call.held),
        "age_seconds": call.age_seconds(now),
        "unknown": call.said_unknown,
        "action": step.action,
        "outcome": result.outcome,
        "why": result.why,
        "bill_lines": [f"{line.bill}:{line.number}" for line in step.lines],
    }
    if step.amount is not None:
        said["amount"] = shown(step.amount)
    return said


def show(results: Sequence[Result], matches: Matches | None, *, now: int, done: bool) -> None:
    """The calls as a table, with what is to become of them or, when ``done``, what became; then the totals."""
    console = Console() if sys.stdout.isatty() else Console(width=240)
    if not results:
        console.print("No call's outcome is unknown.")
    else:
        _table(console, ("call", "agent", "model", "held", "age", "what", "amount", "why"), (
            _row(result, now) for result in results
        ))  # fmt: skip
    if not done:
        return
    if results:
        console.print()
        _table(console, ("", "calls", "amount"), (
            (total["what"], total["calls"], f"{total['amount']} {total['currency']}") for total in totals_of(results)
        ))  # fmt: skip
    if matches is not None and matches.other_lines:
        cost = ", ".join(f"{shown(cost)} {currency}" for currency, cost in sorted(matches.other_cost.items()))
        console.print(f"{matches.other_lines} lines of the bill are about other calls{f' ({cost})' if cost else ''}.")


def _row(result: Result, now: int) -> tuple[object, ...]:
    call, amount = result.step.call, result.step.amount
    held = f"{shown(call.held)} {call.currency}"
    open_still = "" if call.said_unknown else " (its time runs)"
    return (
        call.authorization, call.agent or "-", call.model or "-", held, f"{_age(call.age_seconds(now))}{open_still}",
        result.outcome, "-" if amount is None else f"{shown(amount)} {call.currency}", result.why or "-",
    )  # fmt: skip


def _age(seconds: int) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def _table(console: Console, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column in ("held", "amount", "calls") else "left")
    for row in rows:
        table.add_row(*(_printable(value) for value in row))
    console.print(table)


def _printable(value: object) -> Text:
    return Text("".join(one if one.isprintable() else "·" for one in str(value)))


__all__ = ["ELSEWHERE", "FAILED", "KEEP", "Result", "plain", "show", "totals_of"]
