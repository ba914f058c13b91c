"""A migrated database, a writer on it, and a book in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ledger.core.needs import Needs
from ledger.storage.migrate import upgrade
from ledger.storage.writer import BookWriter, open_writer
from tests.storage import rows


@pytest.fixture
def migrated_url(database_url: str) -> str:
    """A database with this version's tables."""
    upgrade(database_url)
    return database_url


@pytest.fixture
def writer(migrated_url: str) -> Iterator[BookWriter]:
    """A writer on an empty, migrated database."""
    opened = open_writer(migrated_url, lock_timeout_seconds=0.2)
    yield opened
    opened.close()


@pytest.fixture
def book_writer(writer: BookWriter) -> BookWriter:
    """A writer on a database with one book, as ``rows.setup`` makes it."""
    assert writer.begin(rows.BOOK_ID, Needs()).head is None
    writer.write_and_commit(rows.setup(), text_secret=rows.SECRET)
    return writer
