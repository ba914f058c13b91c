"""`bursar partitions`: see and make the partitions that the log grows in on PostgreSQL, archive old ones, detach them.

Invariant: nothing is detached that an archive was not read back for in the same run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from ledger.cli.database import BadValue, database_option, errors_in_one_line

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line and nothing else.")


@contextmanager
def owner_engine(database_url: str) -> Iterator[Engine]:
    """A connection as whoever owns the tables, to PostgreSQL; errors as sentences."""
    from ledger.storage.engine import create_migration_engine

    with errors_in_one_line():
        engine = create_migration_engine(database_url)
        try:
            if engine.dialect.name != "postgresql":
                raise BadValue("SQLite keeps the log in one table: only PostgreSQL has partitions")
            yield engine
        finally:
            engine.dispose()


@click.group(name="partitions")
def command() -> None:
    """See and make the partitions of the log on PostgreSQL.

    The log and its transfers are kept in partitions by ranges of log indexes. A server makes them ahead of time.

    \b
    For example:
      bursar partitions list --database-url postgresql://owner@db/bursar
      bursar partitions create --database-url postgresql://owner@db/bursar
    """


@command.command(name="list")
@database_option
@json_option
def list_verb(database_url: str, as_json: bool) -> None:
    """List the partitions, and what has been detached into archives."""
    from ledger.storage import partitioning

    with owner_engine(database_url) as engine, engine.connect() as connection:
        found = partitioning.partitions(connection)
        room = partitioning.room(connection)
    head = room.head if room is not None else 0
    for part in found:
        use = "not begun" if part.low > head else "in use" if part.high > head else "full in the largest book"
        if as_json:
            click.echo(json.dumps({**part._asdict(), "use": use}))
        else:
            click.echo(
                f"{part.low:>14} to {part.high:<14} {part.size_bytes / 1e6:>12,.1f} MB  {use}  {part.log_records}"
            )


@command.command(name="create")
@database_option
def create(database_url: str) -> None:
    """Make the partitions that are lacking ahead of every book's head. Servers do it by themselves."""
    from ledger.storage import partitioning

    made = 0
    with owner_engine(database_url) as engine:

        def make(connection: Connection) -> None:
            nonlocal made
            made = partitioning.add_partitions(connection)

        partitioning.with_brief_lock(engine, make)
    click.echo(f"Made {made} partition{'' if made == 1 else 's'}." if made else "There is room enough already.")
