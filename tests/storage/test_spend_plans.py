"""What is read for a statement is read by the index that is meant for it, on tables that were never analyzed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert, text

from ledger.core.spend_line import SpendHold, SpendLine
from ledger.storage import queries_closing, queries_holds, queries_postings, queries_reconciliations, queries_spend
from ledger.storage.engine import create_engine
from ledger.storage.queries_authorizations import authorizations_at
from ledger.storage.queries_spend import LineScope
from ledger.storage.side_writer import SideWriter
from ledger.storage.tables import authorizations, log_records, transfers
from ledger.storage.tables_finance import spend_cursor, spend_holds, spend_lines

BOOK = 7
ROWS = 4_000
HOUR = 3_600_000_000
WATCHED = ("spend_lines", "spend_days", "spend_holds", "transfers", "authorizations")
END = ROWS * HOUR


def line(index: int) -> dict[str, Any]:
    """One of many lines of fifty agents; one in a hundred is backdated, and one in two hundred corrects another."""
    name = str(index % 50)
    correction = index % 200 == 0
    return SpendLine(
        BOOK, index, 0, "refund" if correction else "settlement", f"auth_{index}", f"agent-{name}", f"budget-{name}",
        f"run-{index % 400}", "inference", f"payee-{name}", None, None, None, 0, 1 if correction else None, "USD", 5, 5,
        -5, 5, index * HOUR - (9 * HOUR if index % 100 == 0 else 0), index * HOUR,
    )._asdict()  # fmt: skip


def authorization(index: int) -> dict[str, Any]:
    """A settled authorization."""
    return {
        "book_id": BOOK, "id": f"auth_{index}", "agent": "a", "budget": "b", "run": None, "category": "c", "payee": "p",
        "resource": None, "currency": "USD", "amount": 5, "approved": 5, "held": 0, "settled": 5, "refunded": 0,
        "state": "settled", "flags": 0, "reason": None, "on_expiry": "release", "created_at": index,
        "expires_at": None, "due_at": None, "settled_category": "c", "settled_payee": "p", "splits": None,
        "labels": None, "portions": None, "created_index": index, "changed_index": index, "metering": None,
        "repriced": 0,
    }  # fmt: skip


@pytest.fixture
def reader(migrated_url: str) -> Iterator[Connection]:
    """A connection to a database with many rows that no statistics tell of."""
    side = SideWriter(migrated_url)
    with side.transaction() as connection:
        if connection.dialect.name == "postgresql":
            for table in ("spend_lines", "spend_days", "spend_holds", "authorizations"):
                connection.execute(text(f"ALTER TABLE {table} SET (autovacuum_enabled = off)"))
        connection.execute(insert(spend_lines), [line(index) for index in range(1, ROWS)])
        connection.execute(insert(authorizations), [authorization(index) for index in range(1, ROWS)])
        holds = [SpendHold(BOOK, index, index - 3, 2)._asdict() for index in range(4, ROWS)]
        connection.execute(insert(spend_holds), holds)
        connection.execute(insert(spend_cursor).values(book_id=BOOK, next_index=ROWS))
        columns = [column.name for column in transfers.columns]
        moved = [(BOOK, i, 0, i % 50, 100, "USD", 5, 5, -5, i * HOUR, i * HOUR - (i % 100 == 0)) for i in range(ROWS)]
        connection.execute(insert(transfers), [dict(zip(columns, row, strict=True)) for row in moved])
        records = [(BOOK, i, "hold", "x", i * HOUR, i * HOUR, b"{}", bytes(32)) for i in range(ROWS)]
        names = [column.name for column in log_records.columns]
        connection.execute(insert(log_records), [dict(zip(names, row, strict=True)) for row in records])
    engine = create_engine(migrated_url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()
    side.close()


def plans(reader: Connection, ask: Callable[[], object]) -> str:
    """How the database finds what is asked for."""
    asked: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        if any(table in statement for table in WATCHED):
            asked.append((statement, parameters))

    event.listen(reader, "before_cursor_execute", note)
    ask()
    event.remove(reader, "before_cursor_execute", note)
    assert asked
    explain = "EXPLAIN QUERY PLAN" if reader.dialect.name == "sqlite" else "EXPLAIN"
    return "\n".join(
        str(row[-1])
        for statement, parameters in asked
        for row in reader.exec_driver_sql(f"{explain} {statement}", parameters)
    )


def of(column: str | None = None) -> LineScope:
    """A scope of one value, or all lines."""
    return LineScope(column, (f"{column}-7",) if column else ())


def asks(reader: Connection) -> dict[str, tuple[Callable[[], object], tuple[str, ...]]]:
    """What is asked, and the indexes that serve it (on SQLite; on PostgreSQL the primary key has the name below)."""

    def listed(scope: LineScope) -> Callable[[], object]:
        return lambda: queries_spend.list_lines(
            reader, BOOK, scope, starts_at=0, ends_at=END, size=ROWS, after=(5, 5, 0), limit=50
        )

    def spent(scope: LineScope, size: int) -> Callable[[], object]:
        return lambda: queries_spend.spent_before(reader, BOOK, scope, before=END, size=size, timezone="UTC")

    return {
        "book": (listed(of()), ("spend_lines_effective",)),
        **{name: (listed(of(name)), (f"spend_lines_{name}",)) for name in ("agent", "budget", "payee", "run")},
        "spent now": (spent(of("agent"), ROWS), ("PRIMARY", "spend_days_agent")),
        "spent then": (spent(of("agent"), 90), ("spend_lines_backdated", "spend_lines_agent", "spend_days_agent")),
        "the book then": (spent(of(), 90), ("spend_lines_backdated", "spend_lines_effective")),
        "run": (
            lambda: queries_spend.spent_of_run(reader, BOOK, "run-7", before=END, size=ROWS),
            ("spend_lines_run",),
        ),
        "any corrections": (
            lambda: queries_spend.has_corrections(reader, BOOK, size=ROWS), ("spend_lines_corrections",)
        ),
        "corrections": (
            lambda: queries_spend.corrections_of(reader, BOOK, [200, 7], size=ROWS),
            ("spend_lines_corrections",),
        ),
        "used lines": (
            lambda: queries_reconciliations.used_lines(
                reader, BOOK, "payee-7", "USD", starts_at=0, ends_at=END, size=ROWS, after=(5, 5, 0), limit=50
            ),
            ("spend_lines_payee",),
        ),
        "used in all": (
            lambda: queries_reconciliations.used_total(
                reader, BOOK, "payee-7", "USD", starts_at=0, ends_at=END, size=ROWS
            ),
            ("spend_lines_payee",),
        ),
        "used at all": (
            lambda: queries_closing.is_billed(
                reader, BOOK, "payee-7", "EUR", starts_at=0, ends_at=END, size=ROWS
            ),
            ("spend_lines_payee",),
        ),
        "booked": (
            lambda: queries_reconciliations.booked_among(reader, BOOK, "payee-7", "USD", range(5, 400)),
            ("PRIMARY",),
        ),
        "lines": (lambda: queries_spend.lines_at(reader, BOOK, range(5, 400)), ("PRIMARY",)),
        "authorizations": (
            lambda: authorizations_at(reader, BOOK, {f"auth_{index}" for index in range(5, 400)}), ("PRIMARY",)
        ),
        "holds": (
            lambda: queries_holds._ended_since(reader, BOOK, 90), ("spend_holds_span",)
        ),
        "balance": (
            lambda: queries_postings.balance_before(reader, BOOK, 7, before=300 * HOUR, size=ROWS),
            ("transfers_debit", "transfers_debit_backdated", "transfers_credit_backdated"),
        ),
        "postings": (
            lambda: queries_postings.list_in_order(reader, BOOK, 7, low=(5, 0), stop=ROWS, limit=50),
            ("transfers_debit", "transfers_credit"),
        ),
        "backdated postings": (
            lambda: queries_postings.list_backdated(
                reader, BOOK, 7, low=(5, 0, 0), ends_at=END, size=ROWS, limit=50
            ),
            ("transfers_debit_backdated", "transfers_credit_backdated"),
        ),
    }  # fmt: skip


def test_every_page_is_a_stretch_of_its_index(reader: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is read from the first row to the last."""
    monkeypatch.setattr(queries_spend, "LATER_MAX", 500)
    sqlite = reader.dialect.name == "sqlite"
    for name, (ask, indexes) in asks(reader).items():
        plan = plans(reader, ask)
        for index in indexes:
            if not sqlite and index.startswith("transfers"):
                # Each partition has an index of another name.
                continue
            assert (index if sqlite or index != "PRIMARY" else "_pkey") in plan, (name, index, plan)
        for table in WATCHED:
            assert f"Seq Scan on {table}" not in plan, (name, plan)
            assert f"Bitmap Heap Scan on {table}_p" not in plan, (name, plan)
            assert f"SCAN {table}" not in plan, (name, plan)
        if sqlite:
            assert "PRIMARY KEY (book_id=?)\n" not in f"{plan}\n", (name, plan)
