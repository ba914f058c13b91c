"""Three teams, twelve months, two currencies: a year of calls, refunds, invoices, mistakes and month ends, whose every
figure is checked against numbers that were written by hand, and by beancount and hledger.

The story runs once for each database (``tests/support/year_story.py``): agents through the HTTP API, finance through it
and through the real command. Then these tests look at the books, and change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bursar.command import bursar
from tests.support import plain_text
from tests.support.databases import DATABASE_KINDS, postgresql_database, sqlite_url
from tests.support.plain_text import needs_hledger
from tests.support.year_calls import MONTHS
from tests.support.year_desk import YearDesk, year_desk
from tests.support.year_figures import (
    ACCOUNTS,
    ENDS,
    OUTCOMES,
    PAYABLES,
    QUARTERS,
    SPEND,
    STATEMENTS,
    TEAMS,
    figures,
    table,
)
from tests.support.year_story import OPENED, live

SCOPES = list(dict.fromkeys((row[0], row[1]) for row in table(STATEMENTS, 2)))


@pytest.fixture(scope="module", params=DATABASE_KINDS)
def year(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[YearDesk]:
    """The year, lived once on each database."""
    directory = tmp_path_factory.mktemp("year")
    if request.param == "sqlite":
        with year_desk(sqlite_url(directory), directory, OPENED, live) as made:
            yield made
        return
    server = request.getfixturevalue("postgres_server")
    with postgresql_database(server) as url, year_desk(url, directory, OPENED, live) as made:
        yield made


def rows(report: Any, name: str) -> list[dict[str, Any]]:
    """The rows of one table of a report."""
    found: list[dict[str, Any]] = next(one["rows"] for one in report["tables"] if one["name"] == name)
    return found


def said(cell: Any) -> str:
    """A cell as it is printed."""
    return str(cell["amount"]) if isinstance(cell, dict) else str(cell)


def amount_in(balances: list[dict[str, str]], currency: str) -> Decimal:
    """One currency of the balances of a statement; one that is not there is zero."""
    return sum((Decimal(one["amount"]) for one in balances if one["currency"] == currency), Decimal())


def test_every_account_at_each_quarters_end(year: YearDesk) -> None:
    """As it is told now, and as it was told when the quarter's last month was closed, which is the same: nothing that
    came later counts for it."""
    for at, day in enumerate(ENDS):
        for size in ("", f"&at_size={year.indexes[f'{MONTHS[3 * at + 2]} size']}"):
            report = year.read(f"reports/trial-balance?as_of={day}{size}")
            found = {
                (row["account"], row["currency"]): Decimal(said(row["debit"])) - Decimal(said(row["credit"]))
                for row in rows(report, "accounts")
            }
            assert found == figures(ACCOUNTS, at), day
            for total in rows(report, "totals"):
                assert total["debit"] == total["credit"], day


def test_the_income_statement_month_by_month(year: YearDesk) -> None:
    """Spending by category, and what came back, each in the month that it counts for."""
    report = year.read("reports/income?period=2026&per=month")
    found = [
        (row["section"], row["category"], row["currency"], *(said(row[month]) for month in MONTHS))
        for row in rows(report, "lines")
    ]
    assert found == table(SPEND, 3)
    for row in rows(report, "lines"):
        assert Decimal(said(row["total"])) == sum(Decimal(said(row[month])) for month in MONTHS)


def test_what_is_owed_and_who_spent_it(year: YearDesk) -> None:
    """Payables by age, and chargeback by team."""
    columns = ("payee", "currency", "owed", "days_0_to_30", "days_31_to_60", "days_61_to_90", "days_over_90", "credit")
    owed = rows(year.read("reports/payables?as_of=2026-12-31"), "payees")
    assert [tuple(said(row[name]) for name in columns) for row in owed] == table(PAYABLES, 2)
    spent = rows(year.read("reports/chargeback?by=team&period=2026"), "spend")
    assert [(row["team"], row["currency"], said(row["amount"])) for row in spent] == table(TEAMS, 2)


def test_what_a_success_cost(year: YearDesk) -> None:
    """The new prompt's are cheaper, and six runs are too few to say more."""
    report = year.read("reports/outcomes?by=label.prompt&period=2026")
    columns = ("label.prompt", "currency", "with_outcome", "successes", "spent", "cost_per_run", "cost_per_success")
    assert [tuple(said(row[name]) for name in columns) for row in rows(report, "costs")] == table(OUTCOMES, 2)
    assert {row["verdict"] for row in rows(report, "comparisons")} == {"not_enough_data"}


def test_whatever_spending_is_told_by_it_is_the_same(year: YearDesk) -> None:
    """By team, agent, payee, category, budget, resource, run or label, by day or by month: the expenses of the trial
    balance."""
    everything = {"USD": "1786.35", "EUR": "974.60"}
    for by in ("team", "agent", "payee", "category", "budget", "resource", "run", "label.prompt"):
        for per in ("day", "month"):
            report = year.read(f"reports/chargeback?by={by}&period=2026&per={per}")
            assert {row["currency"]: said(row["amount"]) for row in rows(report, "totals")} == everything, by
            for currency, total in everything.items():
                of_it = [Decimal(said(row["amount"])) for row in rows(report, "spend") if row["currency"] == currency]
                assert sum(of_it) == Decimal(total), (by, per)


@pytest.mark.parametrize(("scope", "currency"), SCOPES, ids=[" ".join(scope) for scope in SCOPES])
def test_statements_lead_from_one_to_the_next(year: YearDesk, scope: str, currency: str) -> None:
    """Opening + lines = closing, in quarters and in months, of the book in parts of a few; the closing of one is the
    opening of the next; and those of the quarters are the figures written by hand."""
    by_quarter = [figures(STATEMENTS, at).get((scope, currency), Decimal()) for at in range(len(QUARTERS))]
    halves = [f"{month}-{days}" for month in MONTHS[4:7] for days in ("01..{0}-17", "18..{0}-30")]
    in_parts = [part.format(part[:7]) for part in halves if not part.startswith("2026-05-18")]
    for periods in (QUARTERS, MONTHS, in_parts) if scope == "book" else (QUARTERS, MONTHS):
        before = None
        for number, period in enumerate(periods):
            made = year.read(f"statements?scope={scope}&period={period}")
            opening, closing = (amount_in(made[name], currency) for name in ("opening", "closing"))
            lines = [one["amount"] for one in made["lines"] if one["amount"]["currency"] == currency]
            assert opening + amount_in(lines, currency) == closing, period
            if periods is not in_parts:
                assert before is None or opening == before, period
            before = closing
            if periods is QUARTERS:
                assert closing == by_quarter[number], period


def test_what_is_held_over_new_year(year: YearDesk) -> None:
    """Stands apart on support's statement: 52.50 may be spent, 9.00 of it is held."""
    (held,) = year.read("statements?scope=budget:support&period=2026-12")["holds"]
    assert (held["authorization"], said(held["held"]), held["agent"]) == (
        year.known["2026-12 held"],
        "9.00",
        "triage",
    )


def test_closed_months_are_what_they_were(year: YearDesk) -> None:
    """June's statements are made again, and have the digests that were recorded (those of all closings are when the
    books are verified, below); and June has both figures, as it was closed twice."""
    done = CliRunner().invoke(bursar, ["periods", "2026-06", "--verify", "--database-url", year.app.database_url])
    assert done.exit_code == 0, done.output
    periods = {one["period"]: one for one in year.read("periods?limit=50")["items"]}
    assert [periods[month]["state"] for month in MONTHS] == ["closed"] * 12
    june = [
        amount_in(
            year.read(f"statements?scope=budget:support&period=2026-06&at_size={year.indexes[name]}")["closing"], "USD"
        )
        for name in ("2026-06 first size", "2026-06 size")
    ]
    assert june == [Decimal("52.00"), Decimal("44.00")]


def test_both_sides_of_what_came_too_late(year: YearDesk) -> None:
    """A line that landed behind a closed month says for when it was meant; one that corrects another names it, and the
    other names it in turn; what was said of August when it was closed names nothing."""
    september = year.read("statements?scope=agent:crawler&period=2026-09")["lines"]
    landed = [line for line in september if line.get("meant_for")]
    assert [(line["kind"], said(line["amount"]), line["day"], line["meant_for"][:10]) for line in landed] == [
        ("charge", "6.00", "2026-09-01", "2026-08-20"),
        ("refund", "-1.00", "2026-09-01", "2026-08-25"),
    ]
    (back,) = landed[1]["corrects"] if isinstance(landed[1]["corrects"], list) else [landed[1]["corrects"]]
    assert (back["day"], said(back["cost"])) == ("2026-08-05", "40.00")
    size = year.indexes["2026-08 size"]
    for at_size, expected in ((f"&at_size={size}", []), ("", [("2026-09-01", "-1.00")])):
        august = year.read(f"statements?scope=agent:crawler&period=2026-08{at_size}")
        assert [
            (one["day"], said(one["cost"])) for line in august["lines"] for one in line.get("corrected_by") or []
        ] == expected
        # Eight times 50.00, less 4 in February, 60 for the dataset, less 2 in April, and 5 more and 2 less in May.
        assert said(august["closing"][0]) == "457.00"


def test_what_landed_is_of_the_month_before_by_days_of_utc(year: YearDesk) -> None:
    """Midnight in Paris is the evening before in UTC: openai's 82.00 of August have 1.00 less in its own figures, which
    is where openai took it off."""
    asked = "payee=openai&currency=USD&starts_at=2026-08-01T00:00:00Z&ends_at=2026-09-01T00:00:00Z"
    lines = year.read(f"reconciliations/lines?{asked}")["items"]
    assert [(line["kind"], said(line["amount"])) for line in lines] == [
        ("settlement", "40.00"), ("settlement", "20.00"), ("settlement", "22.00"), ("refund", "-1.00"),
    ]  # fmt: skip


def test_nothing_is_wrong_with_the_books(year: YearDesk) -> None:
    """`bursar verify` decides every record again, makes the statements of every closing, and finds nothing."""
    done = CliRunner().invoke(bursar, ["verify", "--statements", "--database-url", year.app.database_url])
    assert done.exit_code == 0, done.output


def test_beancount_has_the_same_books(year: YearDesk, tmp_path: Path) -> None:
    """``bean-check`` finds nothing wrong with the journal of all, nor with that of the year, which adds up to the
    hand-written figures."""
    for asked in ((), ("--period", "2026")):
        file = tmp_path / f"year{len(asked)}.beancount"
        year.run("ada", "journal", *asked, "-o", file)
        assert plain_text.bean_check(file) == (0, ""), asked
    assert plain_text.beancount_balances(file.read_bytes()) == figures(ACCOUNTS, 3)


@needs_hledger
def test_hledger_has_the_same_books(year: YearDesk, tmp_path: Path) -> None:
    """At the end of every quarter, out of one journal."""
    file = tmp_path / "year.journal"
    year.run("ada", "journal", "--format", "hledger", "-o", file)
    assert plain_text.hledger(file, "check", "--strict") == (0, "")
    for at, following in enumerate(("2026-04-01", "2026-07-01", "2026-10-01", "2027-01-01")):
        assert plain_text.hledger_balances(file, "-e", following) == figures(ACCOUNTS, at), following
