"""What a statement says in words, for documents that people read: HTML, PDF and workbooks.

Owns the words for kinds of lines and flags, and what stands in each row and block; a form only lays them out, and does
no arithmetic. Invariant: every figure that JSON has of a line is said here too, and moments to the second.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from ledger.core.moment import SECOND, moment_text
from ledger.core.statement import (
    ACCOUNT,
    AGENT,
    BOOK,
    REVERSAL,
    HoldLine,
    Line,
    Link,
    Statement,
    Subtotals,
    Totals,
)
from ledger.services.pages.figures import Figures
from ledger.services.pages.letters import visible
from ledger.services.statements.overview import CHARTS_MAX, NONE, Overview
from ledger.services.statements.text_form import MEASURES_SAID

KINDS: Final = {
    "reprice": "Price correction",
    "deallocation": "Given back",
    "lapse": "Lapsed",
    "budget_closure": "Budget closed",
    "invoice": "Invoice: tax and credits",
    "invoice_void": "Invoice taken back",
    "payment": "Paid",
    "history": "Taken over",
    "payment_reversal": "Payment reversed",
    "pending_approval": "Waiting for approval",
}
"""Kinds of lines and states of holds whose name does not say it by itself."""
FLAGS: Final = {
    "overrun": "settled above its hold",
    "late": "settled after its end",
    "mismatch": "settled as something else than was asked",
    "unauthorized": "not authorized",
    "unknown": "outcome was not known in time",
    "partial": "approved for less than was asked",
    "forced": "forced by an admin",
    "estimated": "settled by an estimate",
    "unpriced": "usage without a price",
    "repriced": "price corrected later",
    "gateway": "carried out by the gateway",
}
SEPARATOR: Final = " \u00b7 "


class LineWords(NamedTuple):
    """One row. ``day`` and ``time`` are when it counts for, in the book's time zone; ``subject`` what it was for,
    ``details`` whose it is and where it stands, ``notes`` what to look at."""

    day: str
    time: str
    kind: str
    subject: str
    details: str
    notes: str
    currency: str
    amount: str
    balance: str


class SubtotalWords(NamedTuple):
    """One row of a block of subtotals."""

    name: str
    lines: str
    currency: str
    amount: str


class Wording:
    """The words of one statement."""

    def __init__(self, statement: Statement, figures: Figures) -> None:
        self._statement = statement
        self._figures = figures
        self._zone = ZoneInfo(statement.timezone)

    @property
    def title(self) -> str:
        """What it is of."""
        scope = self._statement.scope
        return "Statement of the whole book" if scope.kind == BOOK else f"Statement of {scope.kind} {scope.name}"

    @property
    def period(self) -> str:
        """Its days."""
        period = self._statement.period
        if period.first == period.last:
            return period.first.isoformat()
        return f"{period.first.isoformat()} to {period.last.isoformat()}"

    @property
    def balance_is(self) -> str:
        """What its balance is."""
        return f"The balance is {MEASURES_SAID[self._statement.measure]}."

    @property
    def currencies_are(self) -> str:
        """Which currency the figures are in, where it is one."""
        currencies = self._statement.currencies
        return f"All amounts are in {currencies[0]}." if len(currencies) == 1 else ""

    @property
    def spent(self) -> str:
        """What subtotals and charts add up."""
        return "Change" if self._statement.scope.kind == ACCOUNT else "Spent"

    def charts_note(self, overview: Overview) -> str:
        """What charts leave out, if anything."""
        if sum(any(days.values()) for days in overview.spent_on.values()) <= CHARTS_MAX:
            return ""
        return f"Charts are drawn of the {CHARTS_MAX} currencies with the most lines; the subtotals have all."

    def line(self, line: Line) -> LineWords:
        """One line."""
        is_own = self._statement.scope.kind == AGENT
        details = [
            ("agent", None if is_own else line.agent), ("run", line.run), ("budget", line.budget),
            ("labels", ", ".join(f"{name}={value}" for name, value in line.labels)),
            ("approved by", ", ".join(line.approved_by)), ("approvals", ", ".join(line.approvals)),
            ("against", line.other_account), ("", line.authorization), ("record", str(line.log_index)),
        ]  # fmt: skip
        subject = SEPARATOR.join(name for name in (line.payee, line.resource, line.category) if name)
        return LineWords(
            line.day.isoformat(),
            self._time(line.effective_at),
            kind_said(line.kind),
            visible(subject or (line.budget or "")),
            visible(_joined(details)),
            _sentence(self._notes(line)),
            line.currency,
            self._figures.aligned(line.amount, line.currency),
            self._figures.aligned(line.balance, line.currency),
        )

    def _notes(self, line: Line) -> Iterator[str]:
        for flag in line.flags:
            yield FLAGS.get(flag, flag)
        if line.cost and abs(line.cost) != abs(line.amount):
            yield f"spent {self._figures.plain(line.cost, line.currency)}"
        if line.meant_for is not None:
            yield f"meant for {self._moment(line.meant_for)}, whose month is closed"
        if line.is_backdated:
            yield f"recorded {self._moment(line.recorded_at)}"
        if line.meant_for is not None:
            yield f"meant for {self._moment(line.meant_for)}, whose month was closed"
        if line.corrects is not None:
            yield f"{'reverses' if line.kind == REVERSAL else 'corrects'} {self._link(line.corrects)}"
        for link in line.corrected_by:
            yield f"{'reversed' if link.kind == REVERSAL else 'corrected'} by {self._link(link)}"

    def _link(self, link: Link) -> str:
        what = " ".join(name for name in (link.category, link.payee) if name) or link.budget or ""
        cost = self._figures.plain(link.cost, link.currency)
        return f"record {link.log_index} of {link.day.isoformat()}: {what} {cost} {link.currency}".replace("  ", " ")

    def hold(self, hold: HoldLine) -> LineWords:
        """One hold; it has no balance."""
        ends = None if hold.expires_at is None else self._moment(hold.expires_at)
        details = [
            ("agent", hold.agent), ("run", hold.run), ("budget", hold.budget), ("ends", ends),
            ("", hold.authorization), ("record", str(hold.log_index)),
        ]  # fmt: skip
        notes = [FLAGS.get(flag, flag) for flag in hold.flags]
        opened = self._moment(hold.opened_at)
        return LineWords(
            opened[:10],
            opened[11:],
            kind_said(hold.state),
            visible(SEPARATOR.join(name for name in (hold.payee, hold.resource, hold.category) if name)),
            _joined(details),
            _sentence(notes),
            hold.currency,
            self._figures.aligned(hold.held, hold.currency),
            "",
        )

    def subtotals(self, totals: Totals) -> Iterator[tuple[str, list[SubtotalWords]]]:
        """The blocks of subtotals: title and rows."""
        for title, subtotals, said in (
            ("By kind of line", totals.movements, kind_said),
            (f"{self.spent} by payee", totals.by_payee, _named),
            (f"{self.spent} by category", totals.by_category, _named),
            (f"{self.spent} by agent", totals.by_agent, _named),
        ):
            if subtotals:
                yield title, list(self._subtotals(subtotals, said))

    def _subtotals(self, subtotals: Subtotals, said: Callable[[str], str]) -> Iterator[SubtotalWords]:
        for (name, currency), found in sorted(subtotals.items()):
            yield SubtotalWords(said(name), f"{found.lines:,}", currency, self._figures.aligned(found.amount, currency))

    def called(self, totals: Totals) -> list[tuple[str, str]]:
        """What to look at, and how many lines."""
        counted = [(FLAGS.get(flag, flag), number) for flag, number in sorted(totals.flags.items())]
        counted += [
            ("recorded later than they count for", totals.backdated),
            ("corrections of other lines", totals.corrections),
            ("corrected by other lines", totals.corrected),
        ]
        return [(_sentence([what]), f"{number:,}") for what, number in counted if number]

    def log(self) -> list[tuple[str, str]]:
        """What the statement stands on."""
        log, signed = self._statement.log, self._statement.checkpoint
        rows = [
            ("Records", f"{log.size}"),
            ("Merkle root", log.root.hex()),
            ("Last record of", moment_text(log.recorded_at)),
        ]
        if signed is None:
            return [*rows, ("Checkpoint before it", "none was signed")]
        return [
            *rows,
            ("Origin of the log", signed.origin),
            ("Checkpoint before it", f"{signed.size} records, signed {moment_text(signed.signed_at)}"),
            ("Root of the checkpoint", signed.root.hex()),
        ]

    def verifying(self) -> list[str]:
        """How to verify it, sentence by sentence."""
        statement = self._statement
        scope = "" if statement.scope.kind == BOOK else f" --{statement.scope.kind} {statement.scope.name}"
        return [
            f"The same statement comes from: bursar statement{scope} --period {statement.period.text} "
            f"--at-size {statement.log.size}",
            "bursar verify recomputes every record and balance from the log; bursar prove RECORD proves a single line.",
            f"GET /v1/proofs/consistency?first={statement.log.size} shows that a later, signed checkpoint begins with "
            "these records.",
        ]

    def _moment(self, microseconds: int) -> str:
        return datetime.fromtimestamp(microseconds // SECOND, self._zone).strftime("%Y-%m-%d %H:%M:%S")

    def _time(self, microseconds: int) -> str:
        return self._moment(microseconds)[11:]


def kind_said(kind: str) -> str:
    """A kind of line, or the state of a hold, in words."""
    return KINDS.get(kind) or kind.replace("_", " ").capitalize()


def _named(name: str) -> str:
    return name or NONE


def _joined(details: list[tuple[str, str | None]]) -> str:
    return SEPARATOR.join(f"{what} {value}".strip() for what, value in details if value)


def _sentence(notes: Iterator[str] | list[str]) -> str:
    text = "; ".join(notes)
    return text[:1].upper() + text[1:]
