"""A statement as one JSON object, written a few lines at a time.

Invariant: amounts are text with their currency beside them and never a JSON number; members stand in a fixed order, so
the same statement gives the same bytes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

import orjson

from ledger.core.moment import moment_text
from ledger.core.money import format_atoms
from ledger.core.statement import HoldLine, Line, Link, Statement, Subtotals, Totals

ITEMS_AT_ONCE: Final = 200


def write_json(statement: Statement) -> Iterator[bytes]:
    """The pieces of the document. Raises StatementBroken where it does not add up."""
    digits = statement.digits
    head = orjson.dumps(
        {
            **heading(statement),
            "opening": amounts(statement.opening, digits),
            "closing": amounts(statement.closing, digits),
            "held": amounts(statement.held, digits),
        }
    )
    totals = Totals()
    yield head[:-1] + b',"lines":['
    yield from _items(statement.lines(totals), lambda line: line_shown(line, digits))
    yield b'],"holds":['
    yield from _items(statement.holds(), lambda hold: hold_shown(hold, digits))
    yield b'],"totals":' + orjson.dumps(totals_shown(totals, digits)) + b"}\n"


def heading(statement: Statement) -> dict[str, Any]:
    """What a statement is of."""
    period, log, checkpoint = statement.period, statement.log, statement.checkpoint
    return {
        "book": statement.book,
        "scope": {"kind": statement.scope.kind, "name": statement.scope.name or None},
        "measure": statement.measure,
        "period": {
            "name": period.text,
            "first_day": period.first.isoformat(),
            "last_day": period.last.isoformat(),
            "timezone": statement.timezone,
            "from": moment_text(period.starts_at),
            "to": moment_text(period.ends_at),
        },
        "log": {"size": log.size, "root": log.root.hex(), "recorded_at": moment_text(log.recorded_at)},
        "checkpoint": None
        if checkpoint is None
        else {
            "size": checkpoint.size,
            "root": checkpoint.root.hex(),
            "signed_at": moment_text(checkpoint.signed_at),
            "origin": checkpoint.origin,
        },
    }


def amounts(balances: Mapping[str, int], digits: Mapping[str, int]) -> list[dict[str, str]]:
    """Balances by currency."""
    return [_amount(atoms, currency, digits) for currency, atoms in sorted(balances.items())]


def line_shown(line: Line, digits: Mapping[str, int]) -> dict[str, Any]:
    """One line."""
    return {
        "log_index": line.log_index,
        "position": line.position,
        "kind": line.kind,
        "day": line.day.isoformat(),
        "effective_at": moment_text(line.effective_at),
        "recorded_at": moment_text(line.recorded_at),
        "meant_for": None if line.meant_for is None else moment_text(line.meant_for),
        "authorization": line.authorization,
        "agent": line.agent,
        "run": line.run,
        "budget": line.budget,
        "category": line.category,
        "payee": line.payee,
        "resource": line.resource,
        "labels": dict(line.labels),
        "approvals": line.approvals,
        "approved_by": line.approved_by,
        "flags": line.flags,
        "corrects": None if line.corrects is None else _link(line.corrects, digits),
        "corrected_by": [_link(link, digits) for link in line.corrected_by],
        "other_account": line.other_account,
        "cost": _amount(line.cost, line.currency, digits),
        "amount": _amount(line.amount, line.currency, digits),
        "balance": _amount(line.balance, line.currency, digits),
    }


def hold_shown(hold: HoldLine, digits: Mapping[str, int]) -> dict[str, Any]:
    """One hold that was open."""
    return {
        "log_index": hold.log_index,
        "authorization": hold.authorization,
        "state": hold.state,
        "agent": hold.agent,
        "run": hold.run,
        "budget": hold.budget,
        "category": hold.category,
        "payee": hold.payee,
        "resource": hold.resource,
        "flags": hold.flags,
        "opened_at": moment_text(hold.opened_at),
        "expires_at": None if hold.expires_at is None else moment_text(hold.expires_at),
        "held": _amount(hold.held, hold.currency, digits),
    }


def totals_shown(totals: Totals, digits: Mapping[str, int]) -> dict[str, Any]:
    """What the lines add up to."""
    return {
        "lines": totals.lines,
        "movements": _subtotals(totals.movements, "kind", digits),
        "by_payee": _subtotals(totals.by_payee, "payee", digits),
        "by_category": _subtotals(totals.by_category, "category", digits),
        "by_agent": _subtotals(totals.by_agent, "agent", digits),
        "flags": dict(sorted(totals.flags.items())),
        "backdated": totals.backdated,
        "corrections": totals.corrections,
        "corrected": totals.corrected,
    }


def _subtotals(subtotals: Subtotals, name: str, digits: Mapping[str, int]) -> list[dict[str, Any]]:
    return [
        {name: key or None, "lines": found.lines, "amount": _amount(found.amount, currency, digits)}
        for (key, currency), found in sorted(subtotals.items())
    ]


def _link(link: Link, digits: Mapping[str, int]) -> dict[str, Any]:
    return {
        "log_index": link.log_index,
        "day": link.day.isoformat(),
        "kind": link.kind,
        "budget": link.budget,
        "category": link.category,
        "payee": link.payee,
        "cost": _amount(link.cost, link.currency, digits),
    }


def _amount(atoms: int, currency: str, digits: Mapping[str, int]) -> dict[str, str]:
    return {"amount": format_atoms(atoms, digits[currency]), "currency": currency}


def _items(items: Iterable[Any], show: Callable[[Any], Any]) -> Iterator[bytes]:
    """Items of a list with the commas between them, some at a time."""
    rest = iter(items)
    comma = b""
    while some := list(islice(rest, ITEMS_AT_ONCE)):
        yield comma + b",".join(orjson.dumps(show(item)) for item in some)
        comma = b","
