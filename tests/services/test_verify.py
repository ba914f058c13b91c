"""`verify` proves a right book and finds every wrong one: whatever is changed, taken away or added, in any table."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ledger.core.canonical import canonical_bytes, parse
from ledger.core.changeset import LOG, PROJECTION
from ledger.core.invariants import Difference
from ledger.core.journal import KINDS
from ledger.core.merkle import Frontier
from ledger.services import verify_book, verify_log
from ledger.services.verify import NoSuchBook, verify_books
from ledger.services.verify_projections import BESIDE_THE_LOG, COMPARED
from ledger.storage import proof_reader, tables_finance, tables_proofs, tables_webhooks
from ledger.storage.scratch import Scratch
from ledger.storage.tables import metadata
from tests.services.stored_book import StoredBook, other_value
from tests.support.databases import DATABASE_KINDS, postgresql_database, sqlite_url

COLUMNS = [
    (name, column.name)
    for name, table in metadata.tables.items()
    if table.info["sort"] in (LOG, PROJECTION)
    for column in table.columns
]
PROVED = [name for name, table in metadata.tables.items() if table.info["sort"] in (LOG, PROJECTION)]
LOG_INDEXES = ("changed_index", "created_index", "log_index")


@pytest.fixture(scope="module", params=DATABASE_KINDS)
def book(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoredBook]:
    """A book with every kind of record, made once for each database."""
    if request.param == "sqlite":
        stored = StoredBook(sqlite_url(tmp_path_factory.mktemp("verify")))
        yield stored
        stored.close()
        return
    with postgresql_database(request.getfixturevalue("postgres_server")) as url:
        stored = StoredBook(url)
        yield stored
        stored.close()


def differences(book: StoredBook, limit: int = 1_000) -> list[Difference]:
    """Everything that is found in the database; empty only if all of it is verified."""
    reports = list(verify_books(book.url, differences_max=limit))
    found = [difference for report in reports for difference in report.differences]
    assert bool(found) == (not all(report.verified for report in reports))
    return found


def tables(found: list[Difference]) -> set[str]:
    """The tables that are named."""
    return {difference.table for difference in found}


def test_a_book_with_every_kind_of_record_verifies(book: StoredBook) -> None:
    """All records are counted, and the root is the head's."""
    (report,) = verify_books(book.url)
    head = book.rows("book_heads")[0]
    assert report.verified, [difference.sentence() for difference in report.differences]
    assert (report.name, report.records, report.root) == ("acme", head["size"], head["root"].hex())
    assert {row["kind"] for row in book.rows("log_records")} == set(KINDS)
    assert (report.texts, report.texts_missing) == (len(book.rows("texts")), 0)
    assert report.texts_redacted == len(book.rows("redactions"))
    for table in PROVED:
        assert book.rows(table), f"the story leaves {table} empty, so nothing is proved about it"


def test_every_table_is_compared_or_declared_side() -> None:
    """A table that nobody compares must say that nothing depends on it."""
    sorts: dict[str, set[str]] = {}
    for name, table in metadata.tables.items():
        sorts.setdefault(table.info["sort"], set()).add(name)
    behind_the_log = {spec.name for spec in tables_finance.SPECS}
    assert sorts["projection"] == {spec.name for spec in (*COMPARED, *BESIDE_THE_LOG)} | behind_the_log
    assert sorts["log"] == {"log_records"}
    sides = (*tables_webhooks.SIDE_TABLES, *tables_proofs.SIDE_TABLES)
    assert sorts["side"] == {"texts", "book_secrets", "log_archives", *(table.name for table in sides)}


@pytest.mark.slow
@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=lambda name: name)
def test_a_changed_value_is_found(book: StoredBook, table: str, column: str) -> None:
    """Of the first and of the last row; a log index also when it claims to lie ahead of everything. Slow, because each
    change is committed; the campaign in tests/tamper changes every column, every time."""
    rows = book.rows(table)
    last = len(rows) - 1
    values = [(at, other_value(rows[at][column], metadata.tables[table].columns[column])) for at in sorted({0, last})]
    if column in LOG_INDEXES:
        values += [(last, 10**12), (last, -1)]
    for at, value in values:
        with book.with_row(table, at, **{column: value}):
            found = differences(book)
        assert table in tables(found), (at, value, [difference.sentence() for difference in found])


@pytest.mark.parametrize("table", PROVED)
def test_a_row_taken_away_is_found(book: StoredBook, table: str) -> None:
    """The first, one in the middle, and the last."""
    rows = book.rows(table)
    for at in sorted({0, len(rows) // 2, len(rows) - 1}):
        with book.with_rows(table, rows[:at] + rows[at + 1 :]):
            found = differences(book)
        assert table in tables(found), at


@pytest.mark.parametrize("table", [name for name in PROVED if name not in ("books", "book_heads")])
@pytest.mark.parametrize("index", ["as it was", "ahead of the log"])
def test_a_row_too_many_is_found(book: StoredBook, table: str, index: str) -> None:
    """A copy of the last row under another key, also when it claims to be younger than the log."""
    rows = book.rows(table)
    columns = metadata.tables[table].columns
    copy = dict(rows[-1])
    key = [column.name for column in metadata.tables[table].primary_key.columns][-1]
    # The record that reverses is of one reversal only, by the database's own word.
    once = {"created_index"} if table == "reversals" else set()
    for column in {key, "id", "name", "account_no", "position", *once} & set(copy):
        copy[column] = other_value(copy[column], columns[column])
    if index == "ahead of the log":
        copy |= {column: 10**12 for column in LOG_INDEXES if column in copy}
    with book.with_rows(table, [*rows, copy]):
        found = differences(book)
    assert table in tables(found)


def test_an_emptied_table_is_found(book: StoredBook) -> None:
    """Not only rows that differ."""
    for table in PROVED:
        with book.with_rows(table, []):
            assert table in tables(differences(book)), table


def test_rows_of_a_book_that_does_not_exist_are_found(book: StoredBook) -> None:
    """In every table but the two of the log's heads, which make a book."""
    for table in PROVED:
        rows = book.rows(table)
        with book.with_rows(table, [*rows, rows[-1] | {"book_id": 5}]):
            assert table in tables(differences(book)), table


def test_bodies_that_changed_places_are_found(book: StoredBook) -> None:
    """With their leaf hashes or without."""
    rows = book.rows("log_records")
    for columns in (("body",), ("body", "leaf_hash"), ("body", "leaf_hash", "kind", "subject", "recorded_at")):
        swapped = [dict(row) for row in rows]
        for column in columns:
            swapped[-1][column], swapped[-4][column] = rows[-4][column], rows[-1][column]
        with book.with_rows("log_records", swapped):
            found = differences(book)
        assert found[0].table == "log_records"
        assert found[0].log_index == rows[-4]["log_index"]


def test_every_byte_of_a_body_counts(book: StoredBook) -> None:
    """Each byte flipped by itself; the first difference names the record."""
    rows = book.rows("log_records")
    at = next(index for index, row in enumerate(rows) if row["kind"] == "settlement")
    body = rows[at]["body"]
    for place in range(0, len(body), 41):
        flipped = body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]
        with book.with_row("log_records", at, body=flipped):
            found = differences(book)
        assert (found[0].table, found[0].log_index, found[0].column) == ("log_records", at, "leaf_hash")
        assert ("book_heads", "root") in {(one.table, one.column) for one in found}


def rehashed(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of the log with the leaf hashes of their bodies, and what the head must say of them."""
    frontier = Frontier()
    made = []
    for row in rows:
        leaf = hashlib.sha256(b"\x00" + row["body"]).digest()
        frontier.append(leaf)
        made.append(row | {"leaf_hash": leaf})
    head = {"size": len(rows), "root": frontier.root(), "frontier": frontier.to_bytes()}
    return made, head | {"recorded_at": rows[-1]["recorded_at"]}


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("settlement", "amount", "1"),
        ("hold", "approved", "7"),
        ("allocation", "amount", "5"),
        ("denial", "authorization", "auth_00000000000000000000000000"),
        ("key", "role", "admin"),
        ("budget", "agents", ["crawler"]),
        ("hold", "format", 2),
        ("hold", "note", None),
        ("hold", "note", 2**60),
    ],
)
def test_a_forged_record_is_found_although_every_hash_is_right(
    book: StoredBook, kind: str, field: str, value: Any
) -> None:
    """What it says does not follow from the records before it, or its rows are not there."""
    rows = book.rows("log_records")
    at = max(index for index, row in enumerate(rows) if row["kind"] == kind)
    rows[at] = rows[at] | {"body": canonical_bytes(parse(rows[at]["body"]) | {field: value})}
    made, head = rehashed(rows)
    with book.with_rows("log_records", made), book.with_row("book_heads", 0, **head):
        found = differences(book)
    assert found
    assert not {"leaf_hash", "root", "frontier"} & {difference.column for difference in found}


def test_a_body_that_is_not_canonical_is_found(book: StoredBook) -> None:
    """A space says nothing, and is refused all the same."""
    rows = book.rows("log_records")
    rows[9] = rows[9] | {"body": rows[9]["body"].replace(b'":', b'": ', 1)}
    made, head = rehashed(rows)
    with book.with_rows("log_records", made), book.with_row("book_heads", 0, **head):
        found = differences(book)
    assert (found[0].log_index, found[0].what) == (9, "the body cannot be read: the body is not in canonical form")


def test_a_log_that_lost_its_end_is_found(book: StoredBook) -> None:
    """By the head; and, when the head was set back too, by the rows that came after. (When all of these were set back
    as well, only a checkpoint kept elsewhere can tell.)"""
    rows = book.rows("log_records")
    with book.with_rows("log_records", rows[:-2]):
        found = differences(book)
    assert found[0].what == f"missing: {len(rows) - 2} to {len(rows) - 1}"
    made, head = rehashed(rows[:-2])
    with book.with_rows("log_records", made), book.with_row("book_heads", 0, **head):
        found = differences(book)
    assert "api_keys" in tables(found)


def test_a_head_that_counts_too_much_ends_soon(book: StoredBook) -> None:
    """Nobody walks through a million million records that are not there."""
    with book.with_row("book_heads", 0, size=10**12):
        found = differences(book)
    assert tables(found) >= {"log_records", "book_heads"}


def test_texts_may_not_be_changed(book: StoredBook) -> None:
    """Another text in its place is not the one of the log. (Texts that are gone: ``test_verify_texts``.)"""
    for column, value in (("content", "other"), ("salt", b"other"), ("field", "other"), ("log_index", 0)):
        with book.with_row("texts", 2, **{column: value}):
            assert tables(differences(book)) == {"texts"}, column
    with book.with_row("texts", 2, log_index=10**12):
        assert tables(differences(book)) == {"texts"}


def test_the_work_stops_at_the_limit(book: StoredBook) -> None:
    """And says so."""
    rows = [row | {"balance": row["balance"] + 1} for row in book.rows("accounts")]
    with book.with_rows("accounts", rows):
        (report,) = verify_books(book.url, differences_max=3)
    assert (len(report.differences), report.complete, report.verified) == (3, False, False)


def test_a_difference_names_table_key_column_and_both_values(book: StoredBook) -> None:
    """That is what somebody needs to look."""
    row = book.rows("accounts")[2]
    with book.with_row("accounts", 2, balance=row["balance"] + 5):
        found = differences(book)
    assert [difference.sentence() for difference in found] == [
        f"accounts (account_no=2) column balance: is not what the log gives; expected {row['balance']}, "
        f"found {row['balance'] + 5}"
    ]


def test_small_pages_and_a_small_memory_give_the_same(book: StoredBook, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a long book meets: many pages, and rows that were written out and are read back."""
    (whole,) = verify_books(book.url)
    monkeypatch.setattr(verify_log, "PAGE_RECORDS", 3)
    monkeypatch.setattr(proof_reader, "PAGE_ROWS", 2)
    monkeypatch.setattr(verify_book, "Scratch", partial(Scratch, entries=1))
    (report,) = verify_books(book.url)
    assert report.verified, [difference.sentence() for difference in report.differences]
    assert (report.records, report.root, report.texts) == (whole.records, whole.root, whole.texts)
    with book.with_row("authorizations", 1, settled=1):
        assert tables(differences(book)) == {"authorizations"}


def test_leaves_alone_are_proved_up_to_the_root(book: StoredBook) -> None:
    """Hashes are found out, and what lies beside the log is not looked at."""
    (whole,) = verify_books(book.url)
    (report,) = verify_books(book.url, leaves_only=True)
    assert (report.verified, report.records, report.root) == (True, whole.records, whole.root)
    with book.with_row("accounts", 1, balance=1):
        assert next(iter(verify_books(book.url, leaves_only=True))).verified
    rows = book.rows("log_records")
    for table, at, changes in (
        ("log_records", 5, {"body": rows[5]["body"] + b" "}),
        ("log_records", 5, {"leaf_hash": bytes(32)}),
        ("log_records", 5, {"log_index": 10**12}),
        ("book_heads", 0, {"root": bytes(32)}),
        ("book_heads", 0, {"frontier": b""}),
        ("book_heads", 0, {"size": 10**12}),
        ("book_heads", 0, {"size": 10}),
    ):
        with book.with_row(table, at, **changes):
            (report,) = verify_books(book.url, leaves_only=True)
        assert not report.verified, changes


def test_progress_ends_at_the_size(book: StoredBook) -> None:
    """Whoever waits sees how far it is."""
    told: list[tuple[str, int, int]] = []
    (report,) = verify_books(book.url, progress=lambda *place: told.append(place))
    assert told[-1] == ("acme", report.records, report.records)


def test_a_book_that_is_not_there_is_said_so(book: StoredBook) -> None:
    """Rather than verified as nothing."""
    with pytest.raises(NoSuchBook):
        list(verify_books(book.url, book="other"))


def test_the_book_is_as_it_was(book: StoredBook) -> None:
    """What the tests above changed was put back, so each of them found its own change only."""
    assert differences(book) == []


def test_bytes_that_are_no_text_are_a_difference(tmp_path: Path) -> None:
    """SQLite keeps any bytes in a column of texts, and any text in a column of numbers."""
    book = StoredBook(sqlite_url(tmp_path))
    for table, column, value in (
        ("names", "name", "CAST(X'FF' AS TEXT)"),
        ("authorizations", "payee", "CAST(X'C3' AS TEXT)"),
        ("log_records", "subject", "CAST(X'FF' AS TEXT)"),
        ("log_records", "recorded_at", "'late'"),
        ("log_records", "body", "'text'"),
        ("accounts", "balance", "'much'"),
        ("accounts", "changed_index", "1.5"),
        ("book_heads", "size", "'many'"),
        ("texts", "salt", "'salt'"),
        ("transfers", "amount", "2.5"),
    ):
        before = book.rows(table)
        book.set_last(table, column, value)
        found = differences(book)
        assert table in tables(found), (table, column)
        book.put(table, before)
        assert differences(book) == []
    book.close()
