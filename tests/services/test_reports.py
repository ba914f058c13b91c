"""Reports of a book with a record of every kind: they agree with one another, and stay what they were."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import orjson
import pytest
from sqlalchemy import select

from ledger.core.command import AssignBudget, Charge, OpenRun, Refund
from ledger.core.command_outcomes import ReportOutcome
from ledger.core.report import (
    CHARGEBACK_KEYS,
    OUTCOME_KEYS,
    REPORTS,
    Asked,
    Cell,
    Report,
    ReportRefused,
    Table,
)
from ledger.services.reports.formats import REPORT_FORMATS, accepted, file_name
from ledger.services.reports.making import Reports
from ledger.storage.engine import create_engine
from ledger.storage.migrate import upgrade
from ledger.storage.side_writer import SideWriter
from ledger.storage.tables import metadata
from tests.support.databases import DATABASE_KINDS, postgresql_database, sqlite_url
from tests.support.every_kind import LiveLedger, play
from tests.support.every_payable import invoice, pay
from tests.support.ledger import OPENED_AT, SECOND

ALWAYS = "2020-01-01..2030-12-31"
KEYS = (*CHARGEBACK_KEYS, "label.prompt", "label.none")


class Desk:
    """A book that goes on, and what makes reports of it."""

    def __init__(self, url: str) -> None:
        upgrade(url)
        self.ledger = LiveLedger(url)
        play(self.ledger)
        self.engine, self.side = create_engine(url), SideWriter(url)
        self.reports = Reports(self.engine, self.side)
        self.make("chargeback")

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The rows of a table of the database."""
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(select(metadata.tables[name])).mappings()]

    def grow(self) -> None:
        """Days go by: more is spent, a charge is found that belongs to the past, something old is refunded, and of a
        run the opposite is said."""
        ledger = self.ledger
        finance = ledger.key("finance", "gus")
        old = next(
            row
            for row in self.rows("authorizations")
            if (row["budget"], row["currency"]) == ("research", "USD") and row["settled"] - row["refunded"] > 1_000_000
        )
        ledger.advance(3 * 86_400)
        worker = ledger.agent("worker", "research")
        ledger.do(AssignBudget, ledger.admin, budget="company", agents=("worker",))
        ledger.do(OpenRun, worker, name="run-late")
        spent = ledger.hold(worker, "2", budget="company", run="run-late", labels=(("prompt", "v8"),))
        ledger.settle(worker, spent, "1.5")
        on = {"budget": "company", "currency": "USD", "category": "hosting", "payee": "aws"}
        said = [
            ledger.do(Charge, finance, amount="0.75", effective_at=OPENED_AT + SECOND, **on),
            ledger.do(Refund, finance, authorization=old["id"], amount="0.001", currency=old["currency"],
                      category=old["settled_category"] or old["category"], payee=old["settled_payee"] or old["payee"]),
            ledger.do(ReportOutcome, finance, run="run-1", success=True),
            ledger.do(ReportOutcome, finance, run="run-capped", success=False),
        ]  # fmt: skip
        assert [one.status.value for one in said] == ["done"] * 4, said

    def make(self, name: str, at_size: int | None = None, **said: Any) -> Report:
        """A report; what is by something is by team unless told otherwise."""
        if name in ("chargeback", "outcomes"):
            said.setdefault("by", "team")
        return self.reports.make(self.ledger.book.book_id, Asked(name=name, **said), at_size=at_size)

    def close(self) -> None:
        self.side.close()
        self.engine.dispose()
        self.ledger.close()


@pytest.fixture(scope="module", params=DATABASE_KINDS)
def desk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One book for the module, on each database."""
    if request.param == "sqlite":
        made = Desk(sqlite_url(tmp_path_factory.mktemp("reports")))
        yield made
        made.close()
        return
    with postgresql_database(request.getfixturevalue("postgres_server")) as url:
        made = Desk(url)
        yield made
        made.close()


def table(report: Report, name: str) -> Table:
    """The table of that name."""
    return next(found for found in report.tables if found.name == name)


def rows(report: Report, name: str) -> list[dict[str, Cell]]:
    """The rows of a table, by the names of columns."""
    found = table(report, name)
    return [{column.name: cell for column, cell in zip(found.columns, row, strict=True)} for row in found.rows]


def sums(found: list[dict[str, Cell]], *columns: str, by: str = "currency") -> dict[str, list[int]]:
    """What columns add up to, by currency, without what is nothing."""
    totals: dict[str, list[int]] = {}
    for row in found:
        total = totals.setdefault(str(row[by]), [0] * len(columns))
        for at, column in enumerate(columns):
            cell = row[column]
            assert cell is None or type(cell) is int, (column, cell)
            total[at] += cell or 0
    return {key: total for key, total in totals.items() if any(total)}


def spent(desk: Desk, at_size: int | None = None, **said: Any) -> dict[str, list[int]]:
    """What chargeback says was spent."""
    return sums(rows(desk.make("chargeback", at_size, **said), "spend"), "amount")


def written(report: Report, form: str) -> bytes:
    """The whole file."""
    return b"".join(REPORT_FORMATS[form].write(report))


def all_written(report: Report) -> list[bytes]:
    """The file in every format."""
    return [written(report, form) for form in REPORT_FORMATS]


def test_every_way_of_telling_apart_adds_up_to_the_same(desk: Desk) -> None:
    """Chargeback by anything, over any parts, is what the expenses of the trial balance say; units stand beside."""
    balances = rows(desk.make("trial-balance"), "accounts")
    expenses = sums([row for row in balances if row["kind"] == "expense"], "debit", "credit")
    net = {currency: [debit - credit] for currency, (debit, credit) in expenses.items()}
    assert net
    spent_accounts = [row for row in balances if row["currency"] == "tokens" and str(row["account"]).endswith(":spent")]
    ((debit, credit),) = sums(spent_accounts, "debit", "credit").values()
    tokens = [debit - credit]
    for by in KEYS:
        for per in ("all", "month"):
            found = spent(desk, period=ALWAYS, by=by, per=per)
            assert {code: amount for code, amount in found.items() if code != "tokens"} == net, (by, per)
            assert found["tokens"] == tokens, by
    lines = rows(desk.make("income", period=ALWAYS, per="year"), "totals")
    for currency, (amount,) in net.items():
        (row,) = [row for row in lines if (row["section"], row["currency"]) == ("net_spend", currency)]
        assert row["total"] == amount


def test_parts_tile_their_period(desk: Desk) -> None:
    """Whatever is spent in the days of a period is spent in the period, in one part each."""
    period = desk.make("chargeback").parameters["period"]
    whole = spent(desk, period=period)
    for by in ("agent", "run", "label.prompt"):
        for per in ("day", "week", "month", "quarter", "year"):
            assert spent(desk, period=period, by=by, per=per) == whole, (by, per)


def test_credits_stand_apart_from_what_was_spent(desk: Desk) -> None:
    """Refunds and reprices of the story: they lower no row of spending."""
    report = desk.make("income", period=ALWAYS, per="all")
    credits = [row for row in rows(report, "lines") if row["section"] == "credits"]
    lines = [line for line in desk.rows("spend_lines") if line["corrects"] is not None]
    assert credits
    expected: dict[str, list[int]] = {}
    for line in lines:
        expected.setdefault(line["currency"], [0])[0] += line["amount"]
    assert sums(credits, ALWAYS) == {code: total for code, total in expected.items() if any(total)}
    for row in rows(report, "totals"):
        assert isinstance(row[ALWAYS], int)


def test_the_trial_balance_is_that_of_the_accounts(desk: Desk) -> None:
    """Without a day, what stands in the rows; at the end of the last day too; long before, nothing."""
    balances = {(row["name"], row["currency"]): row["balance"] for row in desk.rows("accounts") if row["balance"]}
    for said in ({}, {"as_of": "2030-01-01"}):
        found = rows(desk.make("trial-balance", **said), "accounts")
        assert {(row["account"], row["currency"]): int(row["debit"]) - int(row["credit"]) for row in found} == balances
    assert rows(desk.make("trial-balance", as_of="2020-01-01"), "accounts") == []
    for row in rows(desk.make("trial-balance"), "totals"):
        assert row["debit"] == row["credit"]


def test_what_is_owed_is_aged_to_the_last_atom(desk: Desk) -> None:
    """The buckets of every payee add up to its account, whichever day is asked for; what it owes us stands apart."""
    accounts = desk.rows("accounts")
    owed = {
        (row["name"].split(":")[1], row["currency"]): -row["balance"]
        for row in accounts
        if row["name"].startswith("payables:") and row["balance"]
    }
    for row in accounts:
        if row["name"].startswith("assets:prepaid:") and row["balance"]:
            key = row["name"].split(":")[2], row["currency"]
            owed[key] = owed.get(key, 0) - row["balance"]
    for day in (None, "2028-01-01"):
        found = rows(desk.make("payables", as_of=day), "payees")
        assert {(row["payee"], row["currency"]): int(row["owed"]) - int(row["credit"]) for row in found} == owed
        assert any(row["invoiced"] for row in found) == (day is not None), "the story's invoices are of December"
        for row in found:
            ages = [row[name] for name in ("days_0_to_30", "days_31_to_60", "days_61_to_90", "days_over_90")]
            assert sum(map(int, ages)) == row["owed"]
            assert 0 <= int(row["invoiced"]) <= int(row["owed"])
            if day is not None:
                assert ages[:3] == [0, 0, 0]


def test_what_an_invoice_claims_is_as_old_as_its_due_day(desk: Desk) -> None:
    """10.00 is spent today with a payee that claims 8.00 of it, due in 20 days, of which 3.00 is paid. After 70 days
    the 5.00 are 50 days overdue, and the 2.00 that nobody claimed are 70 days old."""
    ledger, today = desk.ledger, date.fromisoformat(desk.make("payables").parameters["as_of"])
    finance = ledger.key("finance", "inga")
    charged = ledger.do(
        Charge, finance, budget="company", amount="10", currency="USD", category="design", payee="studio"
    )
    assert charged.status.value == "done", charged
    days = {"issued_on": today, "due_on": today + timedelta(20), "starts_on": today, "ends_on": today}
    said = {name: day.isoformat() for name, day in days.items()}
    claimed = invoice(ledger, finance, "ST-1", "8", payee="studio", **said)
    pay(ledger, finance, "3", payee="studio", invoices=((claimed, "3"),))
    for ahead, ages in ((0, [7, 0, 0, 0]), (49, [5, 2, 0, 0]), (70, [0, 5, 2, 0]), (111, [0, 0, 0, 7])):
        found = rows(desk.make("payables", as_of=(today + timedelta(ahead)).isoformat()), "payees")
        (row,) = [row for row in found if row["payee"] == "studio"]
        shown = [row[name] for name in ("days_0_to_30", "days_31_to_60", "days_61_to_90", "days_over_90")]
        assert shown == [dollars * 10**9 for dollars in ages], ahead
        assert (row["owed"], row["invoiced"]) == (7 * 10**9, 5 * 10**9)


def test_a_day_to_come_moves_no_forecast(desk: Desk) -> None:
    """Money that is there now is spent from now on, whatever later day is asked for."""
    if not any(row["runs_out"] for row in rows(desk.make("budgets", days=366), "budgets")):
        desk.grow()
    found = rows(desk.make("budgets", days=366), "budgets")
    assert any(row["runs_out"] for row in found)
    assert rows(desk.make("budgets", days=366, as_of="9998-12-31"), "budgets") == found


def test_budgets_add_up_to_what_they_were_given(desk: Desk) -> None:
    """Allocated is spent, held and available; each is what the accounts say."""
    balances = {row["name"]: row["balance"] for row in desk.rows("accounts")}
    found = rows(desk.make("budgets"), "budgets")
    assert {row["budget"] for row in found} == {row["name"] for row in desk.rows("budgets")}
    for row in found:
        assert row["allocated"] == int(row["spent"]) + int(row["held"]) + int(row["available"])
        for role in ("available", "held", "spent"):
            assert row[role] == balances.get(f"budgets:{row['budget']}:{role}", 0)
    closed = {row["name"] for row in desk.rows("budgets") if row["closed_at"] is not None}
    assert {row["budget"] for row in found if row["state"] == "closed"} == closed


def test_a_report_as_of_a_size_is_the_one_that_was_made_then(desk: Desk) -> None:
    """Byte for byte, in every format, whatever was recorded since: asked of a log that ends there, and of one that
    goes on."""
    head = desk.make("chargeback").log.size
    sizes = sorted({1, head // 3, head - 7, head})
    before = {(name, size): all_written(desk.make(name, size)) for name in REPORTS for size in sizes}
    desk.grow()
    assert desk.make("chargeback").log.size > head
    for (name, size), files in before.items():
        assert all_written(desk.make(name, size)) == files, (name, size)
    newest = desk.make("outcomes").log.size
    assert spent(desk, newest, period=ALWAYS) != spent(desk, head, period=ALWAYS)


def test_outcomes_count_each_run_once(desk: Desk) -> None:
    """Every run that was opened is in one row; those with an outcome are those of which one was reported."""
    opened = {row["name"] for row in desk.rows("runs")}
    said = {row["run"]: row["success"] for row in desk.rows("run_outcomes")}
    assert len(said) >= 3
    for by in (*OUTCOME_KEYS, "label.prompt"):
        found = rows(desk.make("outcomes", by=by, period=ALWAYS), "runs")
        assert sum(int(row["runs"] or 0) for row in found) == len(opened), by
        assert sum(int(row["with_outcome"] or 0) for row in found) == len(said), by
        assert sum(int(row["successes"] or 0) for row in found) == sum(map(bool, said.values())), by
        failed = rows(desk.make("outcomes", by=by, period=ALWAYS, without_outcome="failed"), "runs")
        assert sum(int(row["with_outcome"] or 0) for row in failed) == len(opened), by


def test_formats_say_the_same(desk: Desk) -> None:
    """JSON has each row by the names of columns, CSV the same cells; nothing in CSV is a formula; the text has all."""
    for name in REPORTS:
        report = desk.make(name)
        shown = orjson.loads(written(report, "json"))
        assert shown["report"] == name
        assert [found["name"] for found in shown["tables"]] == [found.name for found in report.tables]
        cells = list(csv.DictReader(io.StringIO(written(report, "csv").decode(), newline="")))
        assert len(cells) == sum(len(found.rows) for found in report.tables)
        at = 0
        for found in shown["tables"]:
            for row in found["rows"]:
                for column, cell in row.items():
                    expected = "" if cell is None else cell["amount"] if isinstance(cell, dict) else str(cell)
                    assert cells[at][column] == expected, (name, column)
                at += 1
        assert report.tables[0].name.capitalize() in written(report, "text").decode()
        assert file_name(report, REPORT_FORMATS["csv"]).endswith(".csv")


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"name": "profits"}, "report"),
        ({"name": "income", "by": "team"}, "by"),
        ({"name": "chargeback", "by": "person"}, "by"),
        ({"name": "chargeback", "by": "label."}, "by"),
        ({"name": "chargeback", "by": None}, "by"),
        ({"name": "outcomes", "by": "run"}, "by"),
        ({"name": "outcomes", "baseline": "nobody"}, "baseline"),
        ({"name": "outcomes", "without_outcome": "guessed"}, "without_outcome"),
        ({"name": "income", "period": "soon"}, "period"),
        ({"name": "income", "per": "hour"}, "per"),
        ({"name": "chargeback", "per": "day", "period": "2000-01-01..2029-01-01"}, "per"),
        ({"name": "payables", "as_of": "2026"}, "as_of"),
        ({"name": "payables", "as_of": "never"}, "as_of"),
        ({"name": "budgets", "days": 0}, "days"),
        ({"name": "budgets", "days": 400}, "days"),
        ({"name": "chargeback", "agent": "nobody"}, "agent"),
        ({"name": "income", "at_size": 0}, "at_size"),
        ({"name": "income", "at_size": 10**9}, "at_size"),
    ],
)
def test_what_is_no_report_names_what_to_change(desk: Desk, said: dict[str, Any], field: str) -> None:
    """And says it in a sentence."""
    with pytest.raises(ReportRefused) as refused:
        desk.make(**said)
    assert refused.value.field == field
    assert len(str(refused.value)) > 20


def test_the_accept_header_chooses() -> None:
    """JSON unless something else is named that there is."""
    assert [accepted(text).name for text in ("", "*/*", "text/csv", "image/png, text/plain;q=0.5")] == [
        "json", "json", "csv", "text",
    ]  # fmt: skip
