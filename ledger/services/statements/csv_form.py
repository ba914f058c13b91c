"""A statement as a CSV file: one table, each row saying in its first column what it is.

Owns the columns, whose names and order are part of the contract (``docs/statements.md``). Invariants: RFC 4180, with
CRLF and UTF-8; amounts are plain decimals; a text that a spreadsheet could take for a formula begins with an
apostrophe; the same statement gives the same bytes.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

from ledger.core.moment import moment_text
from ledger.core.money import format_atoms
from ledger.core.statement import HoldLine, Line, Statement
from ledger.services.pages.neutral import neutral

COLUMNS: Final = (
    "row", "day", "effective_at", "recorded_at", "kind", "authorization", "agent", "run", "budget", "category",
    "payee", "resource", "labels", "approved_by", "flags", "corrects", "corrected_by", "other_account", "currency",
    "cost", "amount", "balance", "log_index", "position", "corrects_kind", "corrects_day", "corrects_category",
    "corrects_payee", "corrects_cost", "meant_for",
)  # fmt: skip
ROWS_AT_ONCE: Final = 200


def write_csv(statement: Statement) -> Iterator[bytes]:
    """The pieces of the file: opening balances, lines, closing balances, holds. Raises StatementBroken where it does
    not add up."""
    yield _lines([COLUMNS])
    yield from _pieces(_rows(statement))


def _rows(statement: Statement) -> Iterator[list[str]]:
    digits = statement.digits
    yield from _balances("opening", statement.period.first.isoformat(), statement.opening, digits)
    for line in statement.lines():
        yield _line(line, digits)
    yield from _balances("closing", statement.period.last.isoformat(), statement.closing, digits)
    for hold in statement.holds():
        yield _hold(hold, digits)


def _balances(row: str, day: str, balances: Mapping[str, int], digits: Mapping[str, int]) -> Iterator[list[str]]:
    for currency, atoms in sorted(balances.items()):
        yield _row(row=row, day=day, currency=currency, balance=format_atoms(atoms, digits[currency]))


def _line(line: Line, digits: Mapping[str, int]) -> list[str]:
    scale = digits[line.currency]
    effective_at = moment_text(line.effective_at)
    recorded_at = moment_text(line.recorded_at) if line.is_backdated else effective_at
    labels = " ".join(f"{name}={value}" for name, value in line.labels) if line.labels else ""
    return [
        "line", line.day.isoformat(), effective_at, recorded_at, line.kind, line.authorization or "",
        line.agent or "", neutral(line.run or ""), line.budget or "", line.category or "", line.payee or "",
        neutral(line.resource or ""), neutral(labels), " ".join(line.approved_by), " ".join(line.flags),
        str(line.corrects.log_index) if line.corrects is not None else "",
        " ".join(str(link.log_index) for link in line.corrected_by) if line.corrected_by else "",
        line.other_account or "", line.currency, format_atoms(line.cost, scale), format_atoms(line.amount, scale),
        format_atoms(line.balance, scale), str(line.log_index), str(line.position), *_corrected(line, digits),
        moment_text(line.meant_for) if line.meant_for is not None else "",
    ]  # fmt: skip


def _corrected(line: Line, digits: Mapping[str, int]) -> tuple[str, ...]:
    """What the line corrects, in the columns that stand at the end."""
    link = line.corrects
    if link is None:
        return ("",) * 5
    cost = format_atoms(link.cost, digits[link.currency])
    return link.kind, link.day.isoformat(), link.category or "", link.payee or "", cost


def _hold(hold: HoldLine, digits: Mapping[str, int]) -> list[str]:
    return _row(
        row="hold",
        effective_at=moment_text(hold.opened_at),
        kind=hold.state,
        authorization=hold.authorization,
        agent=hold.agent,
        run=hold.run,
        budget=hold.budget,
        category=hold.category,
        payee=hold.payee,
        resource=hold.resource,
        flags=" ".join(hold.flags),
        currency=hold.currency,
        amount=format_atoms(hold.held, digits[hold.currency]),
        log_index=str(hold.log_index),
    )


_NUMBERS: Final = frozenset(("cost", "amount", "balance", "log_index", "position", "corrects_cost"))


def _row(**cells: str | None) -> list[str]:
    # A number below zero is a number and no formula; every text is looked at.
    return [(cells.get(name) or "") if name in _NUMBERS else neutral(cells.get(name) or "") for name in COLUMNS]


def _pieces(rows: Iterable[list[str]]) -> Iterator[bytes]:
    rest = iter(rows)
    while some := list(islice(rest, ROWS_AT_ONCE)):
        yield _lines(some)


def _lines(rows: Iterable[Iterable[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
