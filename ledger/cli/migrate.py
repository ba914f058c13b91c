"""`bursar migrate`: bring a database's tables up to this version, or say which version they are.

Invariant: with ``--status`` nothing is changed.
"""

from __future__ import annotations

import click

from ledger.cli.database import database_option, errors_in_one_line, require_directory, require_file


@click.command(name="migrate")
@database_option
@click.option("--status", "only_status", is_flag=True, help="Change nothing; exit with 1 where an upgrade is needed.")
def command(database_url: str, only_status: bool) -> None:
    """Bring the database's tables up to this version.

    An upgrade happens whole or not at all, and running it again does nothing. Run it after installing a new version
    and before starting its servers. `bursar init` does it by itself.

    \b
    For example:
      bursar migrate --database-url sqlite:///bursar.db --status
      bursar migrate --database-url sqlite:///bursar.db
    """
    from ledger.storage.migrate import current_and_head, upgrade

    with errors_in_one_line():
        if only_status:
            require_file(database_url)
        else:
            require_directory(database_url)
        current, head = current_and_head(database_url)
        if current == head:
            click.echo(f"The database is at revision {head}, which is current.")
            return
        before = f"revision {current}" if current else "no tables yet"
        if only_status:
            click.echo(f"The database has {before}; this version needs revision {head}. Run 'bursar migrate'.")
            raise SystemExit(1)
        upgrade(database_url)
        click.echo(f"Migrated from {before} to revision {head}.")
