"""A comparison as people, spreadsheets and programs read it.

Invariants: amounts are exact decimals; a text that a spreadsheet could take for a formula stands behind an apostrophe;
nothing that a file said can control a terminal.
"""

from __future__ import annotations

import csv
import io
from typing import Any

from ledger.cli.reconcile.sides import Question
from ledger.core.money import format_atoms
from ledger.core.reconciling_booking import about
from ledger.core.reconciling_found import Comparison, Difference
from ledger.core.reconciling_lines import day_text
from ledger.services.statements.csv_form import neutral

COLUMNS = (
    "line", "kind", "found", "day", "model", "key", "response", "theirs", "ours", "difference", "currency",
    "quantities", "authorizations", "places",
)  # fmt: skip
_PLACES_SHOWN = 3


def plain(found: Comparison, question: Question, source: str, size: int, files: list[str]) -> dict[str, Any]:
    """A comparison as JSON has it."""
    return {
        "payee": question.payee,
        "currency": question.currency,
        "period": question.period.text,
        "source": source,
        "at_size": size,
        "files": files,
        "provider_total": _text(found.their_total, question) if found.billed else None,
        "ledger_total": _text(found.our_total, question),
        "difference": _text(found.their_total - found.our_total, question) if found.billed else None,
        "lines": found.lines,
        "lines_of_other_days": found.outside,
        "matched": found.matched,
        "kinds": [
            {"kind": one.kind, "count": one.count, "amount": _text(one.amount, question)} for one in found.by_kind()
        ],
        "differences": [_row(one, question) for one in found.differences],
    }


def as_csv(found: Comparison, question: Question) -> str:
    """Every difference, a line each."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for one in found.differences:
        row = _row(one, question)
        row["quantities"] = " ".join(f"{name}={theirs}/{ours}" for name, theirs, ours in one.quantities)
        for name in ("authorizations", "places"):
            row[name] = "; ".join(row[name])
        signed = ("theirs", "ours", "difference")
        writer.writerow([row[name] or "" if name in signed else neutral(str(row[name] or "")) for name in COLUMNS])
    return out.getvalue()


def as_text(found: Comparison, question: Question, source: str, size: int) -> str:
    """What people read first: both totals, the kinds, then each difference."""
    currency = question.currency
    lines = [
        f"{question.payee}, {question.period.text} (days of UTC), {source}, against the first {size} records",
        "",
    ]
    if found.billed:
        lines += [
            f"  {'the provider says':<28}{_text(found.their_total, question):>20} {currency}",
            f"  {'the ledger says':<28}{_text(found.our_total, question):>20} {currency}",
            f"  {'difference':<28}{_text(found.their_total - found.our_total, question):>20} {currency}",
            "",
        ]
    lines.append(f"  {found.matched} of {found.lines} lines match")
    if found.outside:
        lines.append(f"  {found.outside} lines are of other days and were left out")
    for kind in found.by_kind():
        name = kind.kind.replace("_", " ")
        lines.append(f"  {kind.count:>6} {name:<21}{_text(kind.amount, question):>20} {currency}")
    listed = [one for one in found.differences if not one.tolerated]
    if listed:
        lines += ["", f"  {'line':<9} {'kind':<14} {'theirs':>16} {'ours':>16} {'difference':>16}  about"]
    for one in listed:
        theirs, ours = (_text(side, question) if side is not None else "-" for side in (one.theirs, one.ours))
        apart = ", ".join(f"{name} {theirs} against {ours}" for name, theirs, ours in one.quantities)
        shown = _plain(about(one) + (f" ({apart})" if apart else ""))
        kind_name = one.kind.replace("_", " ")
        lines.append(
            f"  {one.code:<9} {kind_name:<14} {theirs:>16} {ours:>16} {_text(one.amount, question):>16}  {shown}"
        )
    if not found.differences:
        lines += ["", "  Nothing differs."]
    return "\n".join(lines) + "\n"


def _row(one: Difference, question: Question) -> dict[str, Any]:
    place = one.place
    authorizations = sorted({line.authorization for line in one.our_lines if line.authorization})
    places = [line.place for line in one.their_lines]
    more = [f"and {len(places) - _PLACES_SHOWN} more"] if len(places) > _PLACES_SHOWN else []
    return {
        "line": one.code,
        "kind": one.kind,
        "found": one.found,
        "day": None if place.id else day_text(place.day),
        "model": place.model or None,
        "key": place.key or None,
        "response": place.id or None,
        "theirs": None if one.theirs is None else _text(one.theirs, question),
        "ours": None if one.ours is None else _text(one.ours, question),
        "difference": _text(one.amount, question),
        "currency": question.currency,
        "quantities": [{"name": name, "theirs": theirs, "ours": ours} for name, theirs, ours in one.quantities],
        "authorizations": authorizations,
        "places": places[:_PLACES_SHOWN] + more,
    }


def _text(atoms: int, question: Question) -> str:
    return format_atoms(atoms, question.digits)


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
