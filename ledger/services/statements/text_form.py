"""A statement as plain text, for a terminal: what a person looks at first.

Invariants: columns are of one width whatever stands in them, so that lines are written as they are read; a name that is
too long for its column is cut where it is shown, and whole in every other format; no text can move the cursor or hide
what comes after it.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from ledger.core.moment import moment_text
from ledger.core.money import format_atoms
from ledger.core.statement import (
    DEBITS,
    OWED,
    REVERSAL,
    SPENT,
    UNSPENT,
    HoldLine,
    Line,
    Link,
    Statement,
    Subtotals,
    Totals,
)

MEASURES_SAID: Final = {
    UNSPENT: "what may still be spent, held amounts included",
    SPENT: "what was spent since the book began",
    OWED: "what is owed",
    DEBITS: "debits less credits",
}
"""What the balance is, in words."""
_WHAT: Final = 44
_NUMBER: Final = 18


def write_text(statement: Statement) -> Iterator[bytes]:
    """The pieces of the text. Raises StatementBroken where it does not add up."""
    digits, totals = statement.digits, Totals()
    yield _encoded(_head(statement))
    yield _encoded(_balances("Opening balance", statement.opening, digits))
    for line in statement.lines(totals):
        yield _encoded([_line(line, digits)])
    yield _encoded(_balances("Closing balance", statement.closing, digits))
    yield _encoded(_totals(totals, digits))
    first = True
    for hold in statement.holds():
        yield _encoded(["", "Held, and in no line above:"] if first else [])
        yield _encoded([_hold(hold, digits)])
        first = False


def _head(statement: Statement) -> list[str]:
    period, log, signed = statement.period, statement.log, statement.checkpoint
    made = [
        f"Statement of {statement.scope} in book {statement.book}",
        f"{period.first.isoformat()} to {period.last.isoformat()}, both included, in {statement.timezone}",
        f"The balance is {MEASURES_SAID[statement.measure]}.",
        f"As of {log.size} records, the last of {moment_text(log.recorded_at)}; root {log.root.hex()}",
    ]
    if signed is not None:
        made.append(f"Checkpoint before it: {signed.size} records, root {signed.root.hex()}")
    made += ["", _row("day", "kind", "what", "amount", "balance", "")]
    return made


def _row(day: str, kind: str, what: str, amount: str, balance: str, currency: str) -> str:
    shown = what if len(what) <= _WHAT else what[: _WHAT - 1] + "\u2026"
    return f"{day:10}  {kind:14}  {shown:{_WHAT}}  {amount:>{_NUMBER}}  {balance:>{_NUMBER}}  {currency}".rstrip()


def _line(line: Line, digits: Mapping[str, int]) -> str:
    scale = digits[line.currency]
    notes = [*line.flags]
    if line.corrects is not None:
        notes.append(_corrects(line.kind, line.corrects, digits))
    notes += [
        f"{'reversed' if link.kind == REVERSAL else 'corrected'} by {link.log_index} of {link.day.isoformat()}"
        for link in line.corrected_by
    ]
    if line.meant_for is not None:
        notes.append(f"meant for {moment_text(line.meant_for)[:10]}")
    if line.is_backdated:
        notes.append(f"recorded {moment_text(line.recorded_at)[:10]}")
    names = (line.agent, line.category, line.payee, line.resource, line.other_account)
    what = " ".join(name for name in names if name) or (line.budget or "")
    row = _row(
        line.day.isoformat(),
        line.kind,
        _plain(what),
        format_atoms(line.amount, scale),
        format_atoms(line.balance, scale),
        line.currency,
    )
    return f"{row}  [{', '.join(notes)}]" if notes else row


def _corrects(kind: str, link: Link, digits: Mapping[str, int]) -> str:
    """Which line it corrects: where and of which day, what that was for, and what it cost."""
    verb = "reverses" if kind == REVERSAL else "corrects"
    what = " ".join(name for name in (link.category, link.payee) if name) or link.budget
    cost = f"{format_atoms(link.cost, digits[link.currency])} {link.currency}"
    return f"{verb} {link.log_index} of {link.day.isoformat()}: {f'{what} ' if what else ''}{cost}"


def _hold(hold: HoldLine, digits: Mapping[str, int]) -> str:
    what = " ".join(name for name in (hold.agent, hold.category, hold.payee, hold.resource) if name)
    return _row(
        moment_text(hold.opened_at)[:10],
        "pending" if hold.state == "pending_approval" else hold.state,
        _plain(what),
        format_atoms(hold.held, digits[hold.currency]),
        "",
        hold.currency,
    )


def _balances(what: str, balances: Mapping[str, int], digits: Mapping[str, int]) -> list[str]:
    return [
        _row("", "", what, "", format_atoms(atoms, digits[currency]), currency)
        for currency, atoms in sorted(balances.items())
    ]


def _totals(totals: Totals, digits: Mapping[str, int]) -> list[str]:
    made: list[str] = []
    for title, subtotals in (
        ("By kind of line", totals.movements),
        ("Spent by payee", totals.by_payee),
        ("Spent by category", totals.by_category),
        ("Spent by agent", totals.by_agent),
    ):
        if subtotals:
            made += ["", f"{title}:", *_subtotals(subtotals, digits)]
    called = {
        **dict(sorted(totals.flags.items())),
        "recorded later than they count for": totals.backdated,
        "corrections": totals.corrections,
        "corrected": totals.corrected,
    }
    if any(called.values()):
        made += ["", "Lines to look at:"]
        made += [f"            {what}: {number}" for what, number in called.items() if number]
    return made


def _subtotals(subtotals: Subtotals, digits: Mapping[str, int]) -> Iterator[str]:
    for (name, currency), found in sorted(subtotals.items()):
        lines = f"{found.lines} line{'' if found.lines == 1 else 's'}"
        yield _row("", lines, name or "(none)", format_atoms(found.amount, digits[currency]), "", currency)


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _encoded(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
