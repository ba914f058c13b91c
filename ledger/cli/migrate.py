"""`bursar migrate`: bring a database's tables up to this version, or say which version they are.

Invariant: with ``--status`` nothing is changed.
"""

from __future__ import annotations

import click

from ledger.cli.database import BadValue, database_option, errors_in_one_line, require_directory, require_file


@click.command(name="migrate")
@database_option
@click.option("--status", "only_status", is_flag=True, help="Change nothing; exit with 1 where an upgrade is needed.")
@click.option(
    "--grant-to",
    "role",
    default=None,
    metavar="ROLE",
    help="On PostgreSQL, give this role what a server needs, and take what it needs not.",
)
@click.option(
    "--partition-records",
    default=None,
    type=click.IntRange(min=256),
    metavar="N",
    help="Log indexes of a partition on PostgreSQL, a multiple of 256, for a new database.  [default: 16777216]",
)
def command(database_url: str, only_status: bool, role: str | None, partition_records: int | None) -> None:
    """Bring the database's tables up to this version.

    An upgrade happens whole or not at all, and running it again does nothing. Run it after installing a new version
    and before starting its servers. `bursar init` does it by itself.

    On PostgreSQL, run it as the role that owns the tables, and let servers connect as another, which --grant-to gives
    its rights: it can then neither change nor remove history.

    \b
    For example:
      bursar migrate --database-url sqlite:///bursar.db --status
      bursar migrate --database-url sqlite:///bursar.db
      bursar migrate --database-url postgresql://owner@db/bursar --grant-to bursar_server
    """
    from ledger.storage.migrate import current_and_head, upgrade
    from ledger.storage.partitioning import WIDTH_DEFAULT, WIDTH_MIN

    if only_status and (role is not None or partition_records is not None):
        raise BadValue("--status changes nothing: leave out --grant-to and --partition-records")
    if partition_records is not None and partition_records % WIDTH_MIN:
        raise BadValue(f"--partition-records is a multiple of {WIDTH_MIN}, so that no tile of the tree spans two")

    with errors_in_one_line():
        if only_status:
            require_file(database_url)
        else:
            require_directory(database_url)
        current, head = current_and_head(database_url)
        if current == head:
            click.echo(f"The database is at revision {head}, which is current.")
            _grant(database_url, role)
            return
        before = f"revision {current}" if current else "no tables yet"
        if only_status:
            click.echo(f"The database has {before}; this version needs revision {head}. Run 'bursar migrate'.")
            raise SystemExit(1)
        upgrade(database_url, partition_records=partition_records or WIDTH_DEFAULT)
        click.echo(f"Migrated from {before} to revision {head}.")
        _grant(database_url, role)


def _grant(database_url: str, role: str | None) -> None:
    if role is None:
        return
    from ledger.storage.engine import create_migration_engine
    from ledger.storage.rights import RoleUnfit, excess, grant

    engine = create_migration_engine(database_url)
    try:
        with engine.begin() as connection:
            grant(connection, role)
            left = excess(connection, role)
    except RoleUnfit as error:
        raise BadValue(str(error)) from error
    finally:
        engine.dispose()
    if left:
        raise click.ClickException(
            f'role "{role}" has the rights of a server, and more, by a role that it is a member of or by a grant to'
            f" PUBLIC: {'; '.join(left)}. Take that away, and run this again"
        )
    click.echo(f'Role "{role}" has the rights of a server: it can add to history, and change none of it.')
