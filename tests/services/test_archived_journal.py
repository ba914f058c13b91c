"""Exports of a book whose beginning is archived: what lies behind it is there, what needs it names the archive."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.postgres_server import PostgresServer
from ledger.services.journal.formats import FORMATS, make_journal
from ledger.services.journal.making import Journals
from ledger.services.lining import Liner
from ledger.services.statements.making import Statements
from ledger.storage.errors import RecordArchived
from tests.support import plain_text
from tests.support.archived_book import WIDTH, LongBook
from tests.support.databases import postgresql_database

ARCHIVE = "log-000000000000000-000000000000256"


@pytest.fixture(scope="module")
def whole(postgres_server: PostgresServer) -> Iterator[LongBook]:
    """The book with its whole log, and with its lines."""
    with postgresql_database(postgres_server) as url:
        made = LongBook(url)
        Liner(made.engine, made.side).catch_up(made.book_id, made.size())
        yield made
        made.close()


@pytest.fixture(scope="module")
def detached(
    whole: LongBook, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LongBook]:
    """The book without the first partition of its log. Tests leave it as it is."""
    with whole.copied(postgres_server) as made:
        made.archive(tmp_path_factory.mktemp("archives"))
        yield made


def written(book: LongBook, form: str, size: int, **asked: str) -> bytes:
    """An export."""
    journals = Journals(book.engine, Statements(book.engine, book.side))
    return b"".join(FORMATS[form].write(make_journal(journals, book.book_id, FORMATS[form], at_size=size, **asked)))


def cursor(book: LongBook, size: int) -> str:
    """The cursor at a size."""
    journals = Journals(book.engine, Statements(book.engine, book.side))
    return str(make_journal(journals, book.book_id, FORMATS["csv"], at_size=size).end)


@pytest.mark.parametrize("form", FORMATS)
def test_what_lies_behind_the_archive_is_the_same(whole: LongBook, detached: LongBook, form: str) -> None:
    """Behind a cursor, and of a period; where a period begins with balances, too."""
    size = whole.size()
    for since in (cursor(whole, WIDTH), cursor(whole, 2 * WIDTH)):
        assert written(detached, form, size, since=since) == written(whole, form, size, since=since)
    later = written(whole, form, size, since=cursor(whole, WIDTH), period="2027-02")
    assert written(detached, form, size, since=cursor(whole, WIDTH), period="2027-02") == later
    if form == "beancount":
        alone = written(detached, form, size, period="2027-02", balances="only")
        assert alone == written(whole, form, size, period="2027-02", balances="only")
        assert plain_text.beancount_errors(written(whole, form, size, period="2027-02")) == []


@pytest.mark.parametrize("form", FORMATS)
def test_what_needs_the_archive_names_it(whole: LongBook, detached: LongBook, form: str) -> None:
    """From the beginning, from a cursor within it, and of a period that begins in it: before the first byte."""
    for asked in ({}, {"since": cursor(whole, WIDTH - 1)}, {"period": "2026-11-02"}):
        with pytest.raises(RecordArchived, match=ARCHIVE):
            written(detached, form, whole.size(), **asked)
