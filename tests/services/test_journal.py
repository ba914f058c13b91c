"""The journal of a book with a record of every kind, read by the programs it is for, whole and in pieces."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet
import pytest
from focus_data_toolkit.model.validator import lint_focus_1_4_structure

from ledger.core.journal import ENTRY_KINDS
from ledger.core.money import currency_digits
from ledger.core.statement import parse_scope
from ledger.services.journal import inference_form, making, pieces, reading
from ledger.services.journal.csv_form import COLUMNS
from ledger.services.journal.focus_rows import COLUMNS as FOCUS_COLUMNS
from ledger.services.journal.formats import FORMATS, file_name, make_journal
from ledger.services.journal.making import Journal, JournalRefused, Journals
from ledger.services.journal.reading import JournalBroken
from ledger.services.statements.making import Statements
from ledger.storage import queries_journal
from ledger.storage.engine import create_engine
from ledger.storage.side_writer import SideWriter
from tests.services.stored_book import StoredBook
from tests.support import plain_text
from tests.support.databases import DATABASE_KINDS, postgresql_database, sqlite_url
from tests.support.plain_text import needs_hledger

ROWS = [name for name, form in FORMATS.items() if name != "focus-parquet"]
"""Formats whose pieces can be put end to end."""


class Desk:
    """A stored book, and what makes exports of it."""

    def __init__(self, url: str) -> None:
        self.stored = StoredBook(url)
        self.book_id = self.stored.book_id
        self.engine, self.side = create_engine(url), SideWriter(url)
        self.statements = Statements(self.engine, self.side)
        self.journals = Journals(self.engine, self.statements)
        self.size = len(self.stored.rows("log_records"))

    def make(self, form: str, **asked: Any) -> Journal:
        return make_journal(self.journals, self.book_id, FORMATS[form], **asked)

    def written(self, form: str, **asked: Any) -> bytes:
        return b"".join(FORMATS[form].write(self.make(form, **asked)))

    def table(self, form: str, **asked: Any) -> list[dict[str, str]]:
        text = self.written(form, **asked).decode()
        return list(csv.DictReader(io.StringIO(text, newline="")))

    def trial_balance(self) -> plain_text.Balances:
        """Every account's balance in its currency, without zeros."""
        digits = {row["name"]: row["digits"] for row in self.stored.rows("units")}
        return {
            (row["name"], row["currency"]): Decimal(row["balance"]).scaleb(
                -(currency_digits(row["currency"]) or digits.get(row["currency"], 0))
            )
            for row in self.stored.rows("accounts")
            if row["balance"]
        }

    def close(self) -> None:
        self.side.close()
        self.engine.dispose()
        self.stored.close()


@pytest.fixture(scope="module", params=DATABASE_KINDS)
def desk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One book for the module, on each database. Tests leave it as it is."""
    if request.param == "sqlite":
        made = Desk(sqlite_url(tmp_path_factory.mktemp("journal")))
        yield made
        made.close()
        return
    with postgresql_database(request.getfixturevalue("postgres_server")) as url:
        made = Desk(url)
        yield made
        made.close()


@pytest.fixture
def sqlite_desk(tmp_path: Path) -> Iterator[Desk]:
    """A book for one test, which may change what the book's tables say."""
    made = Desk(sqlite_url(tmp_path))
    yield made
    made.close()


def test_beancount_agrees_with_the_trial_balance(desk: Desk, tmp_path: Path) -> None:
    """``bean-check`` finds nothing wrong, month-end balances included, and it all adds up to what our accounts have."""
    text = desk.written("beancount")
    file = tmp_path / "acme.beancount"
    file.write_bytes(text)
    assert plain_text.bean_check(file) == (0, "")
    assert plain_text.beancount_balances(text) == desk.trial_balance()
    names = plain_text.beancount_accounts(text)
    assert set(names.values()) == {row["name"] for row in desk.stored.rows("accounts")}
    assert len(names) == len(set(names.values()))
    assert text.count(b" balance ") >= len(desk.stored.rows("accounts"))


@needs_hledger
def test_hledger_agrees_with_the_trial_balance(desk: Desk, tmp_path: Path) -> None:
    """As beancount does, with every account and commodity declared; and money apart nets to zero."""
    file = tmp_path / "acme.journal"
    file.write_bytes(desk.written("hledger"))
    assert plain_text.hledger(file, "check", "--strict") == (0, "")
    assert plain_text.hledger_balances(file) == desk.trial_balance()
    money = plain_text.hledger_balances(file, "not:budgets", "not:authority")
    assert money
    assert sum(amount for (_, currency), amount in money.items() if currency == "USD") == 0
    status, said = plain_text.hledger(file, "print", "tag:agent=crawler", "tag:kind=refund")
    assert status == 0
    assert "refund" in said


def test_a_figure_that_was_changed_is_found_by_beancount(desk: Desk) -> None:
    """By one atom: in an entry, where it no longer balances; in both its postings, where a month's end differs; and in
    a balance."""
    text = desk.written("beancount")
    one, other = b"  3.00 USD\n", b"  3.000000001 USD\n"
    assert text.count(one) > 0
    assert any("does not balance" in error for error in plain_text.beancount_errors(text.replace(one, other, 1)))
    both = text.replace(one, other).replace(b"  -3.00 USD\n", b"  -3.000000001 USD\n")
    found = plain_text.beancount_errors(both)
    assert found
    assert all("Balance failed" in error for error in found)
    wrong = text.replace(b" 0.50 ~ 0 USD", b" 0.500000001 ~ 0 USD")
    assert wrong != text
    assert any("Balance failed" in error for error in plain_text.beancount_errors(wrong))


@needs_hledger
def test_a_figure_that_was_changed_is_found_by_hledger(desk: Desk, tmp_path: Path) -> None:
    """As by beancount."""
    text = desk.written("hledger")
    both = text.replace(b"  3.00 USD\n", b"  3.000000001 USD\n").replace(b" -3.00 USD\n", b" -3.000000001 USD\n")
    changed = (
        text.replace(b"  3.00 USD\n", b"  3.000000001 USD\n", 1),
        both,
        text.replace(b"= 0.50 USD", b"= 0.51 USD"),
    )
    file = tmp_path / "changed.journal"
    for wrong in changed:
        assert wrong != text
        file.write_bytes(wrong)
        status, said = plain_text.hledger(file, "check")
        assert status == 1
        assert "balance" in said


@pytest.mark.parametrize("period", ["2026-11-02", "2026-11-04", "2026-11-03..2026-11-30", "2026"])
def test_a_period_stands_for_itself(desk: Desk, tmp_path: Path, period: str) -> None:
    """It begins with what accounts had before it, so that both programs check what they have at its end."""
    text = desk.written("beancount", period=period)
    assert plain_text.beancount_errors(text) == []
    if period != "2026-11-02":
        assert plain_text.beancount_balances(text) == desk.trial_balance()
    if plain_text.HLEDGER is not None:
        file = tmp_path / "period.journal"
        file.write_bytes(desk.written("hledger", period=period))
        assert plain_text.hledger(file, "check", "--strict") == (0, "")


def test_a_period_before_the_book_has_nothing(desk: Desk) -> None:
    assert b"* " not in desk.written("hledger", period="2025")
    assert len(desk.table("csv", period="2025")) == 0


@pytest.mark.parametrize("form", ROWS)
@pytest.mark.parametrize("period", [None, "2026-11-04"])
def test_pieces_put_end_to_end_are_the_whole(desk: Desk, form: str, period: str | None) -> None:
    """However the log is cut; and each again is the same bytes."""
    cuts = [1, desk.size // 3, desk.size // 2, desk.size - 1, desk.size]
    since, pieces = "beginning", []
    for size in cuts:
        made = desk.make(form, since=since, at_size=size, period=period)
        piece = b"".join(FORMATS[form].write(made))
        assert piece == desk.written(form, since=since, at_size=size, period=period)
        pieces.append(piece)
        since = str(made.end)
    assert b"".join(pieces) == desk.written(form, since="beginning", period=period)
    assert desk.written(form, since=since, period=period) == b""


@pytest.mark.parametrize("form", ["beancount", "hledger"])
def test_balances_stand_behind_the_pieces(desk: Desk, form: str) -> None:
    """A whole journal is its pieces, and the balances that are kept in a file of their own."""
    pieces = desk.written(form, since="beginning")
    assert desk.written(form) == pieces + desk.written(form, balances="only")
    assert desk.written(form, balances="without") == pieces


def test_pieces_with_what_was_backdated_since_are_still_right(desk: Desk) -> None:
    """The first piece ends in a month whose balances a later one changes; only the whole asserts them."""
    backdated = [
        row["log_index"] for row in desk.stored.rows("log_records") if row["effective_at"] != row["recorded_at"]
    ]
    size = min(backdated)
    first = desk.make("beancount", since="beginning", at_size=size)
    rest = desk.written("beancount", since=str(first.end))
    whole = b"".join(FORMATS["beancount"].write(first)) + rest + desk.written("beancount", balances="only")
    assert plain_text.beancount_errors(whole) == []
    stale = (
        b"".join(FORMATS["beancount"].write(first)) + rest + desk.written("beancount", balances="only", at_size=size)
    )
    assert plain_text.beancount_errors(stale) != []


@pytest.mark.parametrize("form", FORMATS)
def test_how_much_is_read_at_once_changes_nothing(desk: Desk, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few records, accounts and rows at a time give the same bytes; and what is not written yet is not read."""
    whole = desk.written(form)
    for module, name, count in (
        (reading, "RECORDS_AT_ONCE", 7),
        (reading, "ACCOUNTS_AT_ONCE", 3),
        (making, "ACCOUNTS_AT_ONCE", 3),
        (pieces, "AT_ONCE", 2),
        (inference_form, "AT_ONCE", 2),
    ):
        monkeypatch.setattr(module, name, count)
    assert desk.written(form) == whole
    if form == "focus-parquet":
        return
    read: list[int] = []
    for name in ("transfers_between", "lines_between"):
        plain = getattr(queries_journal, name)

        def noted(*asked: Any, plain: Any = plain, **more: Any) -> Any:
            read.append(asked[2])
            return plain(*asked, **more)

        monkeypatch.setattr(queries_journal, name, noted)
    next(iter(FORMATS[form].write(desk.make(form))))
    assert 0 < len(read) < desk.size // 7 // 2


def test_every_posting_is_a_row(desk: Desk) -> None:
    """Debits and credits of every transfer with both balances after it; the last balance of each account is its own."""
    rows = desk.table("csv")
    transfers = desk.stored.rows("transfers")
    assert len(rows) == 2 * len(transfers)
    assert sum(Decimal(row["amount"]) for row in rows if row["currency"] == "USD") == 0
    last: plain_text.Balances = {}
    for row in rows:
        assert (row["debit"], row["credit"])[row["side"] == "debit"] == ""
        assert Decimal(row["debit"] or 0) - Decimal(row["credit"] or 0) == Decimal(row["amount"])
        last[row["account"], row["currency"]] = Decimal(row["balance"])
    assert {key: balance for key, balance in last.items() if balance} == desk.trial_balance()
    assert {row["kind"] for row in rows} <= set(ENTRY_KINDS)
    leaves = {str(row["log_index"]): row["leaf_hash"].hex() for row in desk.stored.rows("log_records")}
    assert all(leaves[row["log_index"]] == row["leaf_hash"] for row in rows)
    settled = next(row for row in rows if row["kind"] == "settlement" and row["run"] == "run-1" and row["labels"])
    assert (settled["agent"], settled["run"], settled["resource"]) == ("crawler", "run-1", "gpt-5-mini")
    assert settled["labels"] == "prompt=v7"
    assert settled["by"] == "agent:crawler"
    assert list(rows[0]) == list(COLUMNS)


def test_focus_is_accepted_and_adds_up(desk: Desk) -> None:
    """The linter finds nothing wrong, and what is billed is what a statement of the book says was spent."""
    rows = desk.table("focus")
    report = lint_focus_1_4_structure("Cost and Usage", rows)
    assert report.messages() == []
    assert list(rows[0]) == list(FOCUS_COLUMNS)
    closing = desk.statements.make(desk.book_id, parse_scope("book"), "2020-01-01..2030-12-31").closing
    for currency in ("USD", "EUR"):
        billed = sum(Decimal(row["BilledCost"]) for row in rows if row["BillingCurrency"] == currency)
        assert billed == Decimal(closing[currency]).scaleb(-9) != 0
    assert {row["BillingCurrency"] for row in rows} == {"USD", "EUR"}
    kinds = {row["x_Kind"]: row["ChargeCategory"] for row in rows}
    assert kinds["settlement"] == kinds["charge"] == kinds["refund"] == "Usage"
    assert {row["ChargeCategory"] for row in rows if row["x_Kind"] == "adjustment"} == {"Adjustment", "Credit"}
    invoiced = {(row["x_Category"], row["ChargeCategory"]) for row in rows if row["InvoiceId"] == "INV-1"}
    assert invoiced == {("tax", "Tax"), ("credits", "Credit"), ("inference", "Credit")}
    assert {row["ChargeCategory"] for row in rows if row["x_Kind"] == "invoice_void"} == {"Tax"}
    refund = next(row for row in rows if row["x_Kind"] == "refund")
    source = next(row for row in rows if row["x_LogIndex"] == refund["x_CorrectsLogIndex"])
    assert (refund["ChargePeriodStart"], refund["ChargeClass"]) == (source["ChargePeriodStart"], "")
    metered = next(row for row in rows if row["x_InputTokens"])
    assert (metered["ConsumedQuantity"], metered["ConsumedUnit"]) == ("100", "Tokens")
    tags = orjson.loads(next(row["Tags"] for row in rows if '"prompt"' in row["Tags"] and "run-1" in row["Tags"]))
    assert (tags["prompt"], tags["bursar/agent"]) == ("v7", "crawler")


def test_focus_as_parquet_says_the_same(desk: Desk) -> None:
    """Cell by cell, with decimals and moments as such, and the cursor in the file."""
    made = desk.make("focus-parquet")
    file = pyarrow.parquet.ParquetFile(io.BytesIO(b"".join(FORMATS["focus-parquet"].write(made))))
    assert file.schema_arrow.metadata[b"bursar.next"].decode() == str(made.end)
    read, rows = file.read().to_pylist(), desk.table("focus")
    assert len(read) == len(rows) > 20
    for ours, theirs in zip(rows, read, strict=True):
        for name, sort in FOCUS_COLUMNS.items():
            value, text = theirs[name], ours[name]
            if value is None:
                assert text == "", name
            elif sort in ("amount", "count"):
                assert Decimal(text) == value
            elif sort == "moment":
                assert text.startswith(value.strftime("%Y-%m-%dT%H:%M:%S"))
            else:
                assert text == str(value)
    assert desk.written("focus-parquet") == desk.written("focus-parquet")


def test_inference_calls_bear_the_names_of_the_conventions(desk: Desk) -> None:
    """As CSV and as lines; what is metered are numbers, what it cost is exact text."""
    rows = desk.table("otel")
    lines = [orjson.loads(line) for line in desk.written("otel-ndjson").splitlines()]
    assert [{name: str(value) for name, value in line.items()} for line in lines] == [
        {name: cell for name, cell in row.items() if cell} for row in rows
    ]
    (metered,) = [line for line in lines if "gen_ai.usage.input_tokens" in line]
    assert metered["gen_ai.usage.input_tokens"] == 100
    assert metered["gen_ai.operation.name"] == "chat"
    assert metered["gen_ai.response.model"] == "gpt-5-mini"
    assert metered["bursar.cost"] == "0.50"
    assert {line["bursar.kind"] for line in lines} == {"settlement", "charge", "refund", "reprice"}
    assert all(set(line) <= set(inference_form.COLUMNS) for line in lines)


@pytest.mark.parametrize(
    ("form", "asked", "field"),
    [
        ("csv", {"since": "12"}, "since"),
        ("csv", {"since": "12:" + "0" * 64}, "since"),
        ("csv", {"since": "99999:" + "0" * 64}, "since"),
        ("csv", {"at_size": 0}, "at_size"),
        ("csv", {"at_size": 99_999}, "at_size"),
        ("csv", {"period": "2026-13"}, "period"),
        ("csv", {"balances": "with"}, "balances"),
        ("csv", {"balances": "all"}, "balances"),
        ("beancount", {"balances": "with", "since": "beginning"}, "balances"),
        ("beancount", {"header": False}, "header"),
        ("otel-ndjson", {"header": True}, "header"),
    ],
)
def test_what_cannot_be_asked_says_what_to_change(desk: Desk, form: str, asked: dict[str, Any], field: str) -> None:
    with pytest.raises(JournalRefused) as refused:
        desk.make(form, **asked)
    assert refused.value.field == field
    assert len(str(refused.value)) > 20


def test_a_cursor_behind_the_size_is_refused(desk: Desk) -> None:
    end = desk.make("csv").end
    with pytest.raises(JournalRefused, match="at_size is from there on"):
        desk.make("csv", since=str(end), at_size=3)


def test_the_header_stands_where_it_is_asked_for(desk: Desk) -> None:
    """Once in a row of pieces; in each, or in none, for whoever wants it so."""
    half = desk.make("csv", at_size=desk.size // 2).end
    first = desk.written("csv", header=False, at_size=desk.size // 2)
    rest = desk.written("csv", header=True, since=str(half))
    names, _, rows = rest.partition(b"\r\n")
    assert names.decode().split(",") == list(COLUMNS)
    assert names + b"\r\n" + first + rows == desk.written("csv")


def test_a_file_is_named_after_what_it_is_of(desk: Desk) -> None:
    made = desk.make("hledger", period="2026-11")
    assert file_name(made, FORMATS["hledger"]) == f"acme_hledger_2026-11_0-{desk.size}.journal"


def test_parquet_without_its_library_says_what_to_install(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(JournalRefused, match="bursar-server\\[parquet\\]"):
        desk.make("focus-parquet")


def test_tables_that_say_something_else_than_the_log_give_no_journal(sqlite_desk: Desk) -> None:
    """A transfer whose amount was changed, or whose record is gone."""
    desk = sqlite_desk
    transfers = desk.stored.rows("transfers")
    changed = desk.stored.with_row("transfers", 3, amount=transfers[3]["amount"] + 1)
    with changed, pytest.raises(JournalBroken, match=f"transfers of record {transfers[3]['log_index']} are not"):
        desk.written("csv")
    records = [row for row in desk.stored.rows("log_records") if row["log_index"] != transfers[3]["log_index"]]
    with desk.stored.with_rows("log_records", records):
        for form in ("csv", "hledger"):
            with pytest.raises(JournalBroken, match=f"record {transfers[3]['log_index']} is missing"):
                desk.written(form)
