"""`bursar partitions`: see and make the partitions that the log grows in on PostgreSQL, archive old ones, detach them.

Invariant: nothing is detached that an archive was not read back for in the same run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ledger.cli.database import BadValue, database_option, errors_in_one_line

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from ledger.services.archiving import Archiver

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

    The log and its transfers are kept in partitions by ranges of log indexes. A server makes them ahead of time. One
    that is full can be written to an archive of Parquet files, and then detached: balances, proofs and new decisions
    do without it, and `bursar verify --archive` reads it from there.

    \b
    For example:
      bursar partitions list --database-url postgresql://owner@db/bursar
      bursar partitions export --database-url postgresql://owner@db/bursar --to /archive
      bursar partitions detach --database-url postgresql://owner@db/bursar --from /archive
      bursar verify --database-url postgresql://owner@db/bursar --archive /archive
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


@command.command(name="export")
@database_option
@click.option(
    "--to",
    "directory",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The directory that keeps archives; each is a directory in it.",
)
@json_option
def export(database_url: str, directory: Path, as_json: bool) -> None:
    """Write the lowest full partition to Parquet files, and read them back.

    Nothing in the database changes. The archive has every column as it is stored, bodies as the exact bytes, and a
    manifest with the Merkle root over each book's part.
    """
    with _archiver(database_url) as archiver:
        place, spans = archiver.export(archiver.next_range(), directory)
    if as_json:
        click.echo(json.dumps({"archive": str(place), "books": [span._asdict() for span in spans]}))
        return
    click.echo(f"Wrote {place} and read it back:")
    for span in spans:
        click.echo(f"  {span.name}: records {span.start} to {span.stop - 1}, root over them {span.root}")


@command.command(name="check")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False, exists=True))
def check(directory: Path) -> None:
    """Read an archive, or every one in DIRECTORY, without a database: files, every leaf, and the root of every book."""
    from ledger.services.archive_files import Archives, ArchiveUnfit

    try:
        for archive in Archives(directory).all:
            archive.verify()
            click.echo(f"{archive.directory}: whole; its manifest has SHA-256 {archive.digest.hex()}")
    except ArchiveUnfit as error:
        raise click.ClickException(str(error)) from error


@command.command(name="detach")
@database_option
@click.option(
    "--from",
    "directory",
    required=True,
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="The directory that keeps archives.",
)
@click.option("--drop", is_flag=True, help="Drop the tables at once; else they stay beside, under another name.")
@click.option(
    "--older-than-days",
    default=90,
    show_default=True,
    type=click.IntRange(min=90, max=36_500),
    help="Leave records that are younger; repeated requests are answered from them.",
)
@json_option
def detach(database_url: str, directory: Path, drop: bool, older_than_days: int, as_json: bool) -> None:
    """Detach the lowest full partition, once its archive was compared with it row by row.

    It is refused, with the reason, while any record is needed here: by an open hold, by requests that may still be
    repeated, by alerts, or because no checkpoint and no tiles cover it. Books that have not filled the partition keep
    their records. Everybody waits for the moment that the exchange takes.
    """
    with _archiver(database_url, kept_days=older_than_days) as archiver:
        done = archiver.detach(archiver.next_range(), directory, drop=drop)
    if as_json:
        click.echo(json.dumps(done._asdict()))
        return
    where = "and dropped" if done.dropped else f"and stand beside as {done.tables[0]} and {done.tables[1]}"
    click.echo(f"The records in {done.archive} of {', '.join(done.books)} were detached {where}.")
    for name, why in done.kept.items():
        click.echo(f"  {name} keeps its records here: {why}.")


@contextmanager
def _archiver(database_url: str, *, kept_days: int = 90) -> Iterator[Archiver]:
    """What archives, as the owner of the tables; errors as sentences."""
    from ledger.services.archive_files import ArchiveUnfit
    from ledger.services.archiving import Archiver, DetachRefused
    from ledger.services.sources import Sources
    from ledger.storage.engine import create_engine
    from ledger.storage.side_writer import SideWriter

    with owner_engine(database_url) as owner:
        engine, side = create_engine(database_url, pool_size=1), SideWriter(database_url)
        try:
            yield Archiver(engine, owner, side, now=Sources().now_us(), kept_days=kept_days)
        except (ArchiveUnfit, DetachRefused) as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            raise click.ClickException(f"{error.filename or 'the archive'}: {error.strerror}") from error
        finally:
            side.close()
            engine.dispose()
