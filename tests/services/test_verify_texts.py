"""Free texts that are gone: `verify` tells those that were redacted on record from those that somebody took away."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from ledger.core.canonical import canonical_bytes, parse, text_digest
from ledger.core.command_redactions import Redact
from ledger.services.checkpoints import CheckpointSettings
from ledger.services.owner_checkpoints import owner_desk
from ledger.services.verify import verify_books
from ledger.services.verify_against import read_claim
from ledger.services.verify_findings import BookReport
from ledger.storage.migrate import upgrade
from ledger.storage.proof_reader import LogPage, ProofReader
from ledger.storage.side_writer import SideWriter
from tests.services.live_world import LiveWorld
from tests.services.stored_book import Row, StoredBook
from tests.services.test_verify import rehashed
from tests.support.databases import DATABASE_KINDS, postgresql_database, sqlite_url


@pytest.fixture(scope="module", params=DATABASE_KINDS)
def book(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoredBook]:
    """A book with every kind of record, made once for each database."""
    if request.param == "sqlite":
        stored = StoredBook(sqlite_url(tmp_path_factory.mktemp("verify-texts")))
        yield stored
        stored.close()
        return
    with postgresql_database(request.getfixturevalue("postgres_server")) as url:
        stored = StoredBook(url)
        yield stored
        stored.close()


def verified(book: StoredBook, **options: Any) -> BookReport:
    """The report on the book."""
    (report,) = verify_books(book.url, differences_max=1_000, **options)
    return report


def found(report: BookReport) -> list[tuple[str, int | None, str, str]]:
    """What is wrong, without the values."""
    return [(one.table, one.log_index, one.key, one.what) for one in report.differences]


def test_a_text_that_is_gone_without_a_record_is_named(book: StoredBook) -> None:
    """By record and field; the first, one in the middle and the last."""
    rows = book.rows("texts")
    for at in (0, len(rows) // 2, len(rows) - 1):
        with book.with_rows("texts", rows[:at] + rows[at + 1 :]):
            report = verified(book)
        key = f"field={rows[at]['field']}"
        what = "the text is gone, and no redaction on record says so"
        assert found(report) == [("texts", rows[at]["log_index"], key, what)]
        assert (report.texts, report.texts_missing) == (len(rows) - 1, 1)


def test_every_text_gone_is_named(book: StoredBook) -> None:
    """However many there are; those that were redacted are not among them."""
    rows = book.rows("texts")
    with book.with_rows("texts", []):
        report = verified(book)
    assert sorted((one.log_index, one.key) for one in report.differences) == [
        (row["log_index"], f"field={row['field']}") for row in rows
    ]
    assert report.texts_redacted == len(book.rows("redactions"))


def test_a_copy_without_texts_is_verified_as_one(book: StoredBook) -> None:
    """Where it is said that there are none, those that lack are counted; one that is there is compared all the same."""
    rows, redacted = book.rows("texts"), len(book.rows("redactions"))
    with book.with_rows("texts", []):
        report = verified(book, without_texts=True)
    assert (report.verified, report.texts) == (True, 0)
    assert (report.texts_missing, report.texts_redacted) == (len(rows), redacted)
    with book.with_rows("texts", [rows[0] | {"content": "another"}]):
        report = verified(book, without_texts=True)
    assert [one.table for one in report.differences] == ["texts"]


def test_a_redacted_text_that_came_back_is_named(book: StoredBook) -> None:
    """Even if it is the very text that the log has the digest of: with the record that redacted it."""
    rows, redactions = book.rows("texts"), book.rows("redactions")
    kept = next(row for row in rows if row["field"] == "intent")
    moved = book.rows("log_records")
    at = next(one["created_index"] for one in redactions if one["field"] == "intent")
    # The redaction made to name a text that is there, with every hash right: it could only be an operator's lie.
    body = parse(moved[at]["body"])
    before = body["texts"]
    body["texts"] = [[kept["log_index"], "intent"]]
    body["request"]["record"] = kept["log_index"]
    forged = _forged(moved, at, body)
    with _with_log(book, forged, redactions, before[0], kept["log_index"]):
        report = verified(book)
    what = f"the text is still there, although record {at} redacted it"
    assert ("texts", kept["log_index"], "field=intent", what) in found(report)
    gone = "the text is gone, and no redaction on record says so"
    assert ("texts", before[0][0], "field=intent", gone) in found(report)


def test_a_redaction_of_what_never_was_is_named(book: StoredBook) -> None:
    """A record that has no evidence cannot lose any."""
    redactions, moved = book.rows("redactions"), book.rows("log_records")
    at = next(one["created_index"] for one in redactions if one["field"] == "intent")
    body = parse(moved[at]["body"])
    before, index = body["texts"], body["texts"][0][0]
    body["texts"] = [[index - 1, "intent"]]
    body["request"]["record"] = index - 1
    with _with_log(book, _forged(moved, at, body), redactions, before[0], index - 1):
        report = verified(book)
    what = f"redacts the intent of record {index - 1}, which never had any"
    assert ("log_records", at, "", what) in found(report)


def _forged(rows: list[Row], at: int, body: dict[str, Any]) -> list[Row]:
    made = [dict(row) for row in rows]
    made[at]["body"] = canonical_bytes(body)
    return made


@contextlib.contextmanager
def _with_log(book: StoredBook, rows: list[Row], redactions: list[Row], text: list[Any], index: int) -> Iterator[None]:
    """The book with these records, rightly hashed, and one redaction's row moved to another record."""
    made, head = rehashed(rows)
    moved = [row | {"log_index": index} if [row["log_index"], row["field"]] == text else row for row in redactions]
    with (
        book.with_rows("log_records", made),
        book.with_row("book_heads", 0, **head),
        book.with_rows("redactions", moved),
    ):
        yield


def test_a_redaction_that_comes_while_the_log_is_read_is_no_difference(
    book: StoredBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text may be read before its redaction (and be gone at the end), or be gone before its redaction is read."""
    whole = verified(book)
    gone = {(row["log_index"], row["field"]): row for row in book.rows("redactions")}
    read = ProofReader.log_page
    taken: list[tuple[int, str]] = []

    def seen_before(reader: ProofReader, start: int, stop: int) -> LogPage:
        """The page as it was before the redactions: the texts were there, and their records said so."""
        page = read(reader, start, stop)
        texts = list(page.texts)
        for (index, field), row in gone.items():
            if start <= index < stop:
                taken.append((index, field))
                texts.append((index, field, *_content(book, row)))
        return page._replace(texts=sorted(texts))

    monkeypatch.setattr(ProofReader, "log_page", seen_before)
    monkeypatch.setattr("ledger.services.verify_log.PAGE_RECORDS", 7)
    monkeypatch.setattr("ledger.services.verify_log.text_digest", _digest_said)
    report = verified(book)
    assert report.verified, found(report)
    assert sorted(taken) == sorted(gone)
    assert (report.texts, report.texts_redacted) == (whole.texts, whole.texts_redacted)


def _content(book: StoredBook, row: Row) -> tuple[bytes, str]:
    body = parse(book.rows("log_records")[row["log_index"]]["body"])
    return b"", f"digest:{body['request'][row['field']]}"


def _digest_said(salt: bytes, text: str) -> str:
    return text.removeprefix("digest:") if text.startswith("digest:") else text_digest(salt, text)


def test_small_pages_give_the_same(book: StoredBook, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few texts are looked at again at once."""
    rows = book.rows("texts")
    monkeypatch.setattr("ledger.services.verify_texts.KEYS_PER_TRANSACTION", 1)
    monkeypatch.setattr("ledger.services.verify_log.PAGE_RECORDS", 3)
    with book.with_rows("texts", rows[::2]):
        report = verified(book)
    assert len(report.differences) == len(rows[1::2])
    assert verified(book).verified


@pytest.fixture
def world(database_url: str) -> Iterator[LiveWorld]:
    """A book that goes on, on either database."""
    upgrade(database_url)
    made = LiveWorld(database_url, "acme")
    yield made
    made.close()


def redact(world: LiveWorld, *indexes: int) -> None:
    """Redact intents, as the server does."""
    texts = tuple((index, "intent") for index in indexes)
    done = world.do(Redact, world.admin, texts=texts, before=2**50, reason="old")
    assert done.status.value == "done", done


def test_a_text_that_goes_before_its_redaction_is_read(world: LiveWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """The head is read, then a text goes, then its record is read: the redaction lies behind what is read so far."""
    asked = [world.authorize(world.crawler, "1", intent=f"ask {number}") for number in range(3)]
    standing, done = ProofReader.standing, []

    def first_then_redact(reader: ProofReader) -> Any:
        found = standing(reader)
        if not done:
            done.append(True)
            redact(world, asked[0].log_index)
        return found

    monkeypatch.setattr(ProofReader, "standing", first_then_redact)
    (report,) = verify_books(world.url, book="acme")
    assert report.verified, [difference.sentence() for difference in report.differences]
    assert (done, report.texts_redacted, report.records) == ([True], 1, asked[2].log_index + 2)


def test_a_state_knows_what_was_there(world: LiveWorld, tmp_path: Path) -> None:
    """Texts that were redacted since the checkpoint are found gone for a reason, without reading their records again;
    and what a run without texts let pass is told of by one with them."""
    asked = [world.authorize(world.crawler, "1", intent=f"ask {number}") for number in range(4)]
    redact(world, asked[0].log_index)
    state = tmp_path / "state"
    (first,) = verify_books(world.url, book="acme", state=state)
    assert (first.verified, first.texts_redacted, first.texts) == (True, 1, 4)
    with owner_desk(world.url, CheckpointSettings(), sources=world.sources) as desk:
        note = desk.checkpointer.make(world.book_id).note
    # The key that signs came with the checkpoint: the state is of a log that is shorter, so it is made anew.
    (again,) = verify_books(world.url, book="acme", state=state)
    claim = read_claim("checkpoint", note)
    redact(world, asked[1].log_index, asked[2].log_index)
    (since,) = verify_books(world.url, book="acme", state=state, since=(claim,))
    assert since.verified, [difference.sentence() for difference in since.differences]
    assert (since.trusted, since.texts_redacted, since.texts) == (again.records, 3, 3)
    with SideWriter(world.url).transaction() as connection:
        connection.execute(text("DELETE FROM texts WHERE log_index = :index"), {"index": asked[3].log_index})
    (allowed,) = verify_books(world.url, book="acme", state=state, without_texts=True)
    assert (allowed.verified, allowed.texts_missing) == (True, 1)
    (told,) = verify_books(world.url, book="acme", state=state, since=(claim,))
    assert [(one.table, one.log_index) for one in told.differences] == [("texts", asked[3].log_index)]
