"""What the verbs share: the option that names the database, the books in it, and errors that fit one line.

Invariant: whatever goes wrong with a database, the user reads one sentence that says what to change, and no traceback;
a value that was typed wrong ends with status 2, anything else with status 1.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

DEFAULT_DATABASE_URL = "sqlite:///bursar.db"
Function = TypeVar("Function", bound=Callable[..., Any])


class BadValue(click.ClickException):
    """Something typed on the command line that cannot be used. The message says what to change."""

    exit_code = 2


class BookLine(NamedTuple):
    """One book of a database."""

    book_id: int
    name: str
    currency: str


def database_option(function: Function) -> Function:
    """Add ``--database-url`` to a command."""
    option = click.option(
        "--database-url",
        default=DEFAULT_DATABASE_URL,
        show_default=True,
        metavar="URL",
        help="Where the books are: sqlite:///FILE or postgresql://USER@HOST/NAME.",
    )
    return option(function)


@contextlib.contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Turn what the storage and the services raise into click's errors, a sentence each."""
    from alembic.util import CommandError

    from ledger.services.books import BookRefused
    from ledger.services.errors import ServiceError
    from ledger.storage.errors import RecordArchived, SchemaOutdated, StorageError, UnsupportedUrl

    try:
        yield
    except (UnsupportedUrl, BookRefused) as error:
        raise BadValue(sentence(error)) from error
    except RecordArchived as error:
        raise click.ClickException(sentence(error)) from error
    except SchemaOutdated as error:
        raise click.ClickException(
            "the database has not the tables of this version: run 'bursar migrate' with the same --database-url"
        ) from error
    except (StorageError, ServiceError) as error:
        raise click.ClickException(f"the database cannot be used: {sentence(error)}") from error
    except CommandError as error:
        raise click.ClickException(
            f"the database was migrated by a version of Bursar that is newer than this one; upgrade Bursar ({error})"
        ) from error


def plain(value: Any) -> str:
    """What somebody who is not trusted wrote, with nothing in it that controls a terminal."""
    if not isinstance(value, str):
        return ascii(value)
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in value)


def sentence(error: BaseException) -> str:
    """An error's message on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def sqlite_file(database_url: str) -> Path | None:
    """The file behind a SQLite URL, or None for PostgreSQL. Raises UnsupportedUrl."""
    from ledger.storage.engine import parse_url

    url = parse_url(database_url)
    return Path(url.database) if url.drivername == "sqlite" and url.database else None


def require_file(database_url: str) -> None:
    """Refuse a SQLite file that does not exist: opening it would make an empty one in silence."""
    file = sqlite_file(database_url)
    if file is not None and not file.exists():
        raise click.ClickException(
            f"there is no database file {file}: check --database-url, or run 'bursar init' first"
        )


def require_directory(database_url: str) -> None:
    """Refuse a SQLite file that cannot be made because its directory does not exist."""
    file = sqlite_file(database_url)
    if file is not None and not file.absolute().parent.is_dir():
        raise BadValue(f"there is no directory {file.parent}: make it first, or change --database-url")


def books_in(database_url: str) -> list[BookLine]:
    """The books of a migrated database, by name. Raises StorageError."""
    from ledger.storage.engine import create_engine
    from ledger.storage.queries_log import list_books

    engine = create_engine(database_url, pool_size=1)
    try:
        with engine.connect() as connection:
            return [BookLine(book.book_id, book.name, book.currency) for book in list_books(connection)]
    finally:
        engine.dispose()


def chosen_book(database_url: str, name: str | None) -> BookLine:
    """The book of that name, or the only one when no name is given. Raises click.ClickException."""
    found = books_in(database_url)
    names = ", ".join(book.name for book in found[:20])
    if not found:
        raise click.ClickException("this database has no book: run 'bursar init' first")
    if name is None:
        if len(found) > 1:
            raise BadValue(f"this database has {len(found)} books; name one with --book: {names}")
        return found[0]
    for book in found:
        if book.name == name:
            return book
    raise BadValue(f'there is no book "{name}" in this database; it has: {names}')
