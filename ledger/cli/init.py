"""`bursar init`: make the tables where there are none, open a book, and print its first admin key once.

Invariant: the key's text leaves in the output of this command and nowhere else; a wrong setting is refused before the
database is touched.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from ledger.cli.database import database_option, errors_in_one_line, require_directory

if TYPE_CHECKING:
    from ledger.services.books import OpenedBook


def initialise(database_url: str, *, book: str, currency: str, timezone: str, strict_names: bool = False) -> OpenedBook:
    """Migrate the database, and open a book in it.

    Raises click.ClickException (status 2) for a wrong setting, and (status 1) when a book of that name exists or the
    database cannot be had.
    """
    from ledger.cli.database import books_in
    from ledger.services.books import check_book, open_new_book
    from ledger.storage.migrate import upgrade

    with errors_in_one_line():
        check_book(name=book, currency=currency, timezone=timezone)
        require_directory(database_url)
        upgrade(database_url)
        if any(existing.name == book for existing in books_in(database_url)):
            raise click.ClickException(
                f'a book "{book}" exists in this database: choose another --book, '
                f"or make a new admin key for it with 'bursar keys recover --book {book}'"
            )
        return open_new_book(database_url, name=book, currency=currency, timezone=timezone, strict_names=strict_names)


@click.command(name="init")
@database_option
@click.option(
    "--book", required=True, metavar="NAME", help="Name of the book: a-z, 0-9 and ._- , at most 64 characters."
)
@click.option("--currency", required=True, metavar="CODE", help="The book's own currency, ISO 4217, such as USD.")
@click.option(
    "--timezone",
    default="UTC",
    show_default=True,
    metavar="ZONE",
    help="Where the book's days begin, such as Europe/Paris.",
)
@click.option(
    "--strict-names",
    is_flag=True,
    help="Refuse a category or payee that nobody added, instead of making it on first use.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(database_url: str, book: str, currency: str, timezone: str, strict_names: bool, as_json: bool) -> None:
    """Make a book in a new or existing database, and its first admin key.

    An empty database gets its tables; a SQLite file that does not exist is made. One database can have several books;
    none can see another. Currency and time zone are fixed for good.

    The admin key is shown once and kept nowhere: store it as you store a password.

    \b
    For example:
      bursar init --database-url sqlite:///bursar.db --book acme --currency USD --timezone Europe/Paris
      bursar serve --database-url sqlite:///bursar.db

    \b
    In a script:
      ADMIN=$(bursar init --book acme --currency USD --json | jq -r .admin_key)
    """
    opened = initialise(database_url, book=book, currency=currency, timezone=timezone, strict_names=strict_names)
    if as_json:
        click.echo(json.dumps({"book": opened.book.name, "admin_key": opened.admin_key}))
        return
    click.echo(f"Opened book {opened.book.name} ({opened.book.currency}, {opened.book.timezone}).")
    click.echo(f"Admin key, shown once: {opened.admin_key}")
    click.echo(f"Next: bursar serve --database-url {shown_url(database_url)}")


def shown_url(database_url: str) -> str:
    """The URL without its password."""
    from sqlalchemy import make_url

    return make_url(database_url).render_as_string(hide_password=True)
