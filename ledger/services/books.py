"""Opening a book, and making an admin key for whoever owns the database.

Invariant: both are log records; the key's text is returned once and kept nowhere.
"""

from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ledger.core import ids
from ledger.core.book import Book
from ledger.core.command import Caller, CreateKey
from ledger.core.deciding_setup import OWNER_PERSON, open_book
from ledger.core.ids import is_name
from ledger.core.money import currency_digits
from ledger.core.needs import Needs
from ledger.core.outcome import Status
from ledger.core.roles import ADMIN
from ledger.services.authorizer import Authorizer
from ledger.services.sources import Sources
from ledger.storage.writer import open_writer


class BookRefused(ValueError):
    """A book that cannot be opened, with a sentence that says what to change."""


@dataclass(frozen=True, slots=True)
class OpenedBook:
    """A book that was just opened, and the text of its first admin key."""

    book: Book
    admin_key: str


def check_book(*, name: str, currency: str, timezone: str) -> None:
    """Raise BookRefused, with a sentence that says what to change, where a book cannot be opened with these settings.

    Asked before a database is touched, so that a typing error leaves no file behind.
    """
    if not is_name(name):
        raise BookRefused(f'"{name}" is not a name: use a-z, 0-9 and ._- , at most 64 characters')
    if currency_digits(currency) is None:
        raise BookRefused(f'"{currency}" is not an ISO 4217 currency such as USD')
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise BookRefused(f'"{timezone}" is not a time zone such as Europe/Paris') from error


def open_new_book(
    database_url: str,
    *,
    name: str,
    currency: str,
    timezone: str,
    strict_names: bool = False,
    sources: Sources | None = None,
) -> OpenedBook:
    """Open a book in a migrated database. ``currency`` is its ISO 4217 code, ``timezone`` an IANA name.

    Raises BookRefused for a bad name, currency or time zone, and StorageError when the database cannot be had. The
    caller checks beforehand that no book of that name exists.
    """
    check_book(name=name, currency=currency, timezone=timezone)
    source = sources or Sources()
    book_id = source.new_book_id()
    text, digest = source.new_key(book_id, ADMIN)
    secret = source.random_bytes(32)
    writer = open_writer(database_url)
    try:
        opening = writer.begin(book_id, Needs())
        opened_at = source.decision_time(opening.clock_us)
        book = Book(book_id, name, currency, timezone, strict_names, opened_at)
        changeset = open_book(book=book, text_secret=secret, key_id=source.new_id(ids.KEY), key_digest=digest)
        writer.write_and_commit(changeset, text_secret=secret)
    finally:
        writer.close()
    return OpenedBook(book, text)


def recover_admin_key(database_url: str, book_id: int, *, sources: Sources | None = None) -> str:
    """Make an admin key for the book's owner, on record as made by the database's owner. Returns its text.

    Raises ServiceError when the database or the book cannot be had.
    """
    source = sources or Sources()
    text, digest = source.new_key(book_id, ADMIN)
    authorizer = Authorizer(database_url, sources=source)
    authorizer.start()
    try:
        outcome = authorizer.decide_now(
            book_id,
            CreateKey(
                caller=Caller(None, as_owner=True),
                id=source.new_id(ids.KEY),
                digest=digest,
                role=ADMIN,
                person=OWNER_PERSON,
            ),
        )
    finally:
        authorizer.stop(deadline_seconds=10.0)
    if outcome.status is not Status.DONE:
        raise BookRefused(outcome.detail)
    return text
