"""`bursar keys`: what whoever owns the database can do about keys without a server and without a key.

Invariant: a key is made on record only, as made by the database's owner; no key's text can be read back.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from ledger.cli.database import chosen_book, database_option, errors_in_one_line, require_file

if TYPE_CHECKING:
    from ledger.core.principal import Key

book_option = click.option(
    "--book", default=None, metavar="NAME", help="Name of the book; may be left out where there is only one."
)


@click.group(name="keys")
def command() -> None:
    """Recover an admin key as the owner of the database, or list the keys of a book.

    All other work on keys (making, rotating, revoking) is done over HTTP with an admin key: see /v1/keys.

    \b
    For example:
      bursar keys recover --database-url sqlite:///bursar.db --book acme
      bursar keys list --database-url sqlite:///bursar.db --book acme
    """


@command.command(name="recover")
@database_option
@book_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def recover(database_url: str, book: str | None, as_json: bool) -> None:
    """Make a new admin key for the book's owner, when the others are lost.

    Whoever can write to the database can do this, so it is written to the book's log as made by
    system:database-owner. Keys made before stay valid: revoke them over HTTP. Servers may keep running.

    \b
    For example:
      bursar keys recover --database-url sqlite:///bursar.db --book acme
    """
    from ledger.services.books import recover_admin_key

    with errors_in_one_line():
        require_file(database_url)
        chosen = chosen_book(database_url, book)
        text = recover_admin_key(database_url, chosen.book_id)
    if as_json:
        click.echo(json.dumps({"book": chosen.name, "admin_key": text}))
    else:
        click.echo(f"Admin key of book {chosen.name}, shown once: {text}")


@command.command(name="list")
@database_option
@book_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def list_keys(database_url: str, book: str | None, as_json: bool) -> None:
    """List a book's keys: who they are for, who made them, and whether they still open anything.

    The keys themselves are not kept, so they cannot be shown.

    \b
    For example:
      bursar keys list --database-url sqlite:///bursar.db --book acme
    """
    with errors_in_one_line():
        require_file(database_url)
        lines = keys_of(database_url, chosen_book(database_url, book).book_id)
    if as_json:
        for line in lines:
            click.echo(json.dumps(line))
        return
    width = max(len(line["principal"]) for line in lines)
    for line in lines:
        state = f"  {line['state']} {line['until']}" if "until" in line else f"  {line['state']}"
        only = f"  for run {line['run']} only" if "run" in line else ""
        click.echo(
            f"{line['id']}  {line['role']:<8}  {line['principal']:<{width}}  made {line['created_at']}{state}{only}"
        )


def keys_of(database_url: str, book_id: int) -> list[dict[str, Any]]:
    """The keys of a book in the order they were made, each as text for people and programs. Raises StorageError."""
    from ledger.core.moment import moment_text
    from ledger.services.sources import Sources
    from ledger.storage.engine import create_engine
    from ledger.storage.paging import LIMIT_MAX
    from ledger.storage.queries_principals import list_keys as page_of_keys

    now = Sources().now_us()
    rows: list[Key] = []
    engine = create_engine(database_url, pool_size=1)
    try:
        with engine.connect() as connection:
            after: str | None = None
            while True:
                page = page_of_keys(connection, book_id, after=after, limit=LIMIT_MAX)
                rows.extend(page.items)
                if page.after is None:
                    break
                after = str(page.after[0])
    finally:
        engine.dispose()
    lines = []
    for row in reversed(rows):
        line = {
            "id": row.id,
            "role": row.role,
            "principal": row.principal,
            "made_by": row.made_by,
            "created_at": moment_text(row.created_at),
            "state": "valid",
        }
        if row.run is not None:
            line["run"] = row.run
        if row.revoked_at is not None:
            line |= {"state": "revoked", "until": moment_text(row.revoked_at)}
        elif row.expires_at is not None:
            state = "valid until" if row.expires_at > now else "expired"
            line |= {"state": state, "until": moment_text(row.expires_at)}
        lines.append(line)
    return lines
