"""Statements of a book with a record of every kind: each adds up, in any scope, period and format, as of any size."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import orjson
import pytest

from ledger.core.account import available_name, held_name, spent_name
from ledger.core.canonical import parse
from ledger.core.statement import Scope, Statement, parse_scope
from ledger.services.statements.csv_form import COLUMNS, neutral, write_csv
from ledger.services.statements.formats import FORMATS, accepted, file_name
from ledger.services.statements.json_form import write_json
from ledger.services.statements.making import ScopeNotFound, StatementRefused, Statements
from ledger.storage.engine import create_engine
from ledger.storage.side_writer import SideWriter
from tests.services.stored_book import StoredBook
from tests.support.databases import DATABASE_KINDS, postgresql_database, sqlite_url


class Desk:
    """A stored book, and what makes statements of it."""

    def __init__(self, url: str) -> None:
        self.stored = StoredBook(url)
        self.book_id = self.stored.book_id
        self.engine, self.side = create_engine(url), SideWriter(url)
        self.statements = Statements(self.engine, self.side)

    def make(self, scope: str, period: str, at_size: int | None = None) -> Statement:
        return self.statements.make(self.book_id, parse_scope(scope), period, at_size=at_size)

    def close(self) -> None:
        self.side.close()
        self.engine.dispose()
        self.stored.close()


@pytest.fixture(scope="module", params=DATABASE_KINDS)
def desk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One book for the module, on each database."""
    if request.param == "sqlite":
        made = Desk(sqlite_url(tmp_path_factory.mktemp("statements")))
        yield made
        made.close()
        return
    with postgresql_database(request.getfixturevalue("postgres_server")) as url:
        made = Desk(url)
        yield made
        made.close()


def scopes(desk: Desk) -> list[str]:
    """Every scope that the book has."""
    rows = desk.stored.rows
    found = ["book"]
    found += [f"budget:{row['name']}" for row in rows("budgets")]
    found += [f"{row['kind']}:{row['name']}" for row in rows("agents")]
    found += [f"payee:{row['name']}" for row in rows("names") if row["kind"] == "payee"]
    found += [f"run:{row['name']}" for row in rows("runs")]
    found += sorted({f"account:{row['name']}" for row in rows("accounts")})
    return found


def days(desk: Desk) -> list[str]:
    """The days that lines count for, and one before and behind."""
    lines = desk.make("book", "2020-01-01..2030-12-31").lines()
    return sorted({line.day.isoformat() for line in lines})


def test_every_statement_adds_up(desk: Desk) -> None:
    """For every scope: the whole time, and each split of it, whose parts follow from one another."""
    split = days(desk)
    assert len(split) >= 2, "the story should take more than a day"
    named = scopes(desk)
    for scope in [scope for at, scope in enumerate(named) if not scope.startswith("account:") or at % 5 == 0]:
        whole = desk.make(scope, "2020-01-01..2030-12-31")
        totals = whole.totals()
        assert not any(whole.opening.values()), scope
        list(whole.holds())
        for day in split:
            before = desk.make(scope, f"2020-01-01..{day}")
            after = desk.make(scope, f"{day}..2030-12-31")
            only = desk.make(scope, day)
            kept = [before.totals(), only.totals(), after.totals()]
            assert kept[0].lines + kept[2].lines - kept[1].lines == totals.lines, (scope, day)
            for currency in whole.currencies:
                assert only.closing.get(currency, 0) == before.closing.get(currency, 0), (scope, day, currency)
                assert only.opening.get(currency, 0) == after.opening.get(currency, 0), (scope, day, currency)
                assert after.closing.get(currency, 0) == whole.closing.get(currency, 0), (scope, day, currency)


def test_closing_balances_are_those_of_the_accounts(desk: Desk) -> None:
    """A budget's is what it has available and held, a payee's what is owed, the book's what the expenses say."""
    balances = {(row["name"], row["currency"]): row["balance"] for row in desk.stored.rows("accounts")}
    currencies = {row["name"]: row["currency"] for row in desk.stored.rows("budgets")}
    for name, currency in currencies.items():
        made = desk.make(f"budget:{name}", "2020-01-01..2030-12-31")
        expected = balances[available_name(name), currency] + balances[held_name(name), currency]
        assert made.closing == {currency: expected}
        assert made.held == {currency: balances[held_name(name), currency]}
        spent = sum(total.amount for total in made.totals().by_category.values())
        assert spent == balances[spent_name(name), currency]
    expenses: dict[str, int] = {}
    for (name, currency), balance in balances.items():
        if name.startswith("expenses:"):
            expenses[currency] = expenses.get(currency, 0) + balance
    book = desk.make("book", "2020-01-01..2030-12-31")
    assert book.closing["USD"] == expenses["USD"]
    for payee in ("openai", "brave"):
        owed = desk.make(f"payee:{payee}", "2020-01-01..2030-12-31").closing
        assert owed == {"USD": -balances[f"payables:{payee}", "USD"]}


def test_the_parts_are_the_whole(desk: Desk) -> None:
    """What was spent by agents, payees, categories and days is one total: the expenses of the trial balance."""
    totals = desk.make("book", "2020-01-01..2030-12-31").totals()
    expenses = sum(
        row["balance"]
        for row in desk.stored.rows("accounts")
        if row["name"].startswith("expenses:") and row["currency"] == "USD"
    )
    for part in (totals.by_agent, totals.by_payee, totals.by_category):
        assert sum(found.amount for (_, currency), found in part.items() if currency == "USD") == expenses
    by_day = [row["amount"] for row in desk.stored.rows("spend_days") if row["currency"] == "USD"]
    assert sum(by_day) == expenses
    agents = [row["name"] for row in desk.stored.rows("agents") if row["kind"] == "agent"]
    of_agents = sum(desk.make(f"agent:{name}", "2020-01-01..2030-12-31").closing.get("USD", 0) for name in agents)
    of_nobody = sum(
        found.amount for (name, currency), found in totals.by_agent.items() if (name, currency) == ("", "USD")
    )
    assert of_agents + of_nobody == expenses


def test_a_statement_as_of_an_earlier_size_has_what_was_recorded_by_then(desk: Desk) -> None:
    """And nothing else. (That it is what it was then, byte for byte, is tried where books grow: ``tests/model``.)"""
    size = len(desk.stored.rows("log_records"))
    for at in (size, size - 40, size // 2):
        for scope in ("book", "budget:research", "team:research", "payee:openai", "account:budgets:research:held"):
            try:
                made = desk.make(scope, "2026-11", at)
            except ScopeNotFound:
                continue
            lines = list(made.lines())
            assert all(line.log_index < at for line in lines)
            assert lines == sorted(lines, key=lambda line: (line.effective_at, line.log_index, line.position))
            assert {line.log_index for line in lines} == {
                line.log_index for line in desk.make(scope, "2026-11").lines() if line.log_index < at
            }
            assert made.log.size == at


def test_holds_are_those_of_the_held_accounts_at_every_size(desk: Desk) -> None:
    """The holds that were open after each record add up to what all held accounts had then."""
    records = desk.stored.rows("log_records")
    held: dict[str, int] = {}
    for record in records:
        for debit, credit, text, currency in parse(record["body"]).get("transfers", ()):
            for name, sign in ((debit, 1), (credit, -1)):
                if name.startswith("budgets:") and name.endswith(":held"):
                    held[currency] = held.get(currency, 0) + sign * int(text)
        made = desk.make("book", "2026", record["log_index"] + 1)
        assert made.held == {currency: amount for currency, amount in sorted(held.items()) if amount}
        assert [hold.log_index for hold in made.holds()] == sorted(hold.log_index for hold in made.holds())


def test_json_and_csv_say_the_same(desk: Desk) -> None:
    """Line by line, for every scope."""
    for scope in scopes(desk):
        made = desk.make(scope, "2026")
        document = orjson.loads(b"".join(write_json(made)))
        table = list(csv.DictReader(io.StringIO(b"".join(write_csv(made)).decode(), newline="")))
        assert tuple(table[0]) == COLUMNS
        lines = [row for row in table if row["row"] == "line"]
        assert len(lines) == len(document["lines"]) == document["totals"]["lines"]
        for row, line in zip(lines, document["lines"], strict=True):
            assert (row["amount"], row["balance"]) == (line["amount"]["amount"], line["balance"]["amount"])
            assert (row["authorization"] or None, row["kind"]) == (line["authorization"], line["kind"])
        assert [row["balance"] for row in table if row["row"] == "opening"] == [
            opening["amount"] for opening in document["opening"]
        ]
        assert [row["amount"] for row in table if row["row"] == "hold"] == [
            hold["held"]["amount"] for hold in document["holds"]
        ]
        movements = sum(float(one["amount"]["amount"]) for one in document["totals"]["movements"])
        ends = [sum(float(one["amount"]) for one in document[name]) for name in ("opening", "closing")]
        assert movements == pytest.approx(ends[1] - ends[0])


def test_corrections_point_at_each_other(desk: Desk) -> None:
    """A refund and a reprice name the line they correct, which names them, on every statement that has both."""
    lines = list(desk.make("book", "2020-01-01..2030-12-31").lines())
    places = {line.log_index: line for line in lines}
    corrections = [line for line in lines if line.kind in ("refund", "reprice")]
    assert {line.kind for line in corrections} == {"refund", "reprice"}
    for line in corrections:
        assert line.corrects is not None
        source = places[line.corrects.log_index]
        assert (source.authorization, source.category, source.payee) == (line.authorization, line.category, line.payee)
        assert source.kind in ("settlement", "charge")
        assert line.log_index in [link.log_index for link in source.corrected_by]


def test_who_approved_is_on_the_line(desk: Desk) -> None:
    """Of what persons granted."""
    for line in desk.make("book", "2020-01-01..2030-12-31").lines():
        assert bool(line.approvals) == (bool(line.approved_by) or "forced" in line.flags), line


@pytest.mark.parametrize(
    ("scope", "period", "at_size", "field"),
    [
        ("budget:nothing", "2026-11", None, "scope"),
        ("agent:nobody", "2026-11", None, "scope"),
        ("agent:research", "2026-11", None, "scope"),
        ("team:nobody", "2026-11", None, "scope"),
        ("payee:nobody", "2026-11", None, "scope"),
        ("run:nothing", "2026-11", None, "scope"),
        ("account:expenses:nothing", "2026-11", None, "scope"),
        ("budget:research", "2026-11", 1, "scope"),
        ("book", "november", None, "period"),
        ("book", "2026-11", 0, "at_size"),
        ("book", "2026-11", 10**9, "at_size"),
    ],
)
def test_what_is_no_statement_is_refused(desk: Desk, scope: str, period: str, at_size: int | None, field: str) -> None:
    with pytest.raises(StatementRefused) as refused:
        desk.make(scope, period, at_size)
    assert refused.value.field == field


def test_ids_name_what_names_do(desk: Desk) -> None:
    """Wherever an id is taken the name is too, and the statement bears the name."""
    for table, kind in (("budgets", "budget"), ("runs", "run"), ("agents", "agent")):
        for row in desk.stored.rows(table):
            kind = row.get("kind", kind)
            made = desk.make(f"{kind}:{row['id']}", "2026-11")
            assert made.scope == Scope(kind, row["name"])


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "\nx", "\uff1d1"])
def test_a_text_that_could_be_a_formula_is_none_in_csv(text: str) -> None:
    assert neutral(text) == "'" + text
    assert neutral("x" + text) == "x" + text


def test_formats_are_found_by_what_is_accepted(desk: Desk) -> None:
    assert accepted("") is accepted("*/*") is FORMATS["json"]
    assert accepted("text/csv") is accepted("image/png, text/CSV;q=0.9, application/json") is FORMATS["csv"]
    assert accepted("image/png") is accepted("application/json") is FORMATS["json"]
    made = desk.make("account:expenses:inference", "2026-11-01..2026-11-15")
    assert file_name(made, FORMATS["csv"]) == "acme_account-expenses-inference_2026-11-01..2026-11-15.csv"
