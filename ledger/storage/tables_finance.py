"""The tables that statements and reports read: spend lines, what they add up to by day, and the holds that ended.

Projections of the log like those of a decision, but written behind it, from a cursor, and never by a decision. So no
decision waits for them and none depends on them; `bursar verify` compares them with the log up to the cursor; and
without their rows and their cursor they are made again. Invariant: every primary key and every index is led by
``book_id``.
"""

from typing import Any, Final

from sqlalchemy import CheckConstraint, PrimaryKeyConstraint, Table

from ledger.core.changeset import PROJECTION, TableSpec
from ledger.core.spend_line import SpendCursor, SpendDay, SpendHold, SpendLine
from ledger.storage.tables import _big, _index, _small, _text, metadata


def _spec(name: str, row_type: Any, key: str) -> TableSpec:
    return TableSpec(name, PROJECTION, row_type, row_type._fields, ("book_id", *key.split()), ())


SPEND_LINES: Final = _spec("spend_lines", SpendLine, "log_index position")
SPEND_DAYS: Final = _spec("spend_days", SpendDay, "day agent budget category payee currency")
SPEND_HOLDS: Final = _spec("spend_holds", SpendHold, "ended_index")
SPEND_CURSOR: Final = _spec("spend_cursor", SpendCursor, "")
SPECS: Final = (SPEND_LINES, SPEND_DAYS, SPEND_HOLDS, SPEND_CURSOR)


def _projection(spec: TableSpec, *items: Any) -> Table:
    return Table(
        spec.name,
        metadata,
        _big("book_id"),
        *items,
        PrimaryKeyConstraint(*spec.key),
        info={"sort": spec.sort},
        sqlite_with_rowid=False,
    )


_PLACE: Final = ("effective_at", "log_index", "position")
"""The order of statements."""

INVOICED: Final = "kind = 'invoice' OR kind = 'invoice_void'"
"""The lines of invoices themselves. What kinds of lines there may be is left to ``bursar verify``, because a rule of
the table would have to be made anew, with all its rows, for each kind that comes."""

spend_lines: Final = _projection(
    SPEND_LINES,
    _big("log_index"), _small("position"), _text("kind"), _text("authorization_id", null=True),
    _text("agent", null=True), _text("budget", null=True), _text("run", null=True), _text("category", null=True),
    _text("payee", null=True), _text("resource", null=True), _text("labels", null=True), _text("approvals", null=True),
    _small("flags"), _big("corrects", null=True), _text("currency"), _big("amount"), _big("spent"), _big("authority"),
    _big("owed"), _big("effective_at"), _big("recorded_at"), _big("meant_for", null=True),
    _index("spend_lines_effective", *_PLACE),
    _index("spend_lines_agent", "agent", *_PLACE, where="agent IS NOT NULL"),
    _index("spend_lines_budget", "budget", *_PLACE, where="budget IS NOT NULL"),
    _index("spend_lines_payee", "payee", *_PLACE, where="payee IS NOT NULL"),
    _index("spend_lines_run", "run", *_PLACE, where="run IS NOT NULL"),
    _index("spend_lines_corrections", "corrects", "log_index", where="corrects IS NOT NULL"),
    _index("spend_lines_backdated", "recorded_at", "log_index", where="effective_at <> recorded_at"),
    _index("spend_lines_invoiced", "payee", "effective_at", where=INVOICED),
)  # fmt: skip

spend_days: Final = _projection(
    SPEND_DAYS,
    _big("day"), _text("agent"), _text("budget"), _text("category"), _text("payee"), _text("currency"), _big("amount"),
    _big("spent"), _big("owed"), _big("lines"), _big("changed_index"),
    CheckConstraint("lines > 0", name="lines_positive"),
    _index("spend_days_agent", "agent", "day"),
)  # fmt: skip

spend_holds: Final = _projection(
    SPEND_HOLDS,
    _big("ended_index"), _big("opened_index"), _small("span"),
    CheckConstraint("ended_index > opened_index", name="ended_after_opened"),
    _index("spend_holds_span", "span", "opened_index"),
)  # fmt: skip

spend_cursor: Final = _projection(SPEND_CURSOR, _big("next_index"))
"""How many records of the log the other three stand for; -1 while what was there before is taken away."""
