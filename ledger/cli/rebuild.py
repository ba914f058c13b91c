"""`bursar rebuild`: what statements are read from, made again out of the log."""

from __future__ import annotations

from pathlib import Path

import click

from ledger.cli.checkpoint import book_option
from ledger.cli.database import chosen_book, database_option, errors_in_one_line, require_file


@click.command(name="rebuild")
@database_option
@book_option
@click.option(
    "--archive",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=None,
    help="The directory with the archives into which records were detached (bursar partitions).",
)
def command(database_url: str, book: str | None, archive: Path | None) -> None:
    """Take away the lines and daily totals that statements are read from, and make them again out of the log.

    They follow from the log and nothing else, so nothing can get lost; `bursar verify` says when it is needed. A server
    goes on meanwhile, and answers statements again once it is done. Lines of records that were detached are made again
    with their archives only; without them nothing is taken away.

    \b
    For example:
      bursar rebuild --database-url sqlite:///bursar.db
    """
    from ledger.services.archive_files import Archives, ArchiveUnfit
    from ledger.services.lining import Liner, LinesUnavailable
    from ledger.storage.engine import create_engine
    from ledger.storage.queries_log import head
    from ledger.storage.side_writer import SideWriter

    with errors_in_one_line():
        require_file(database_url)
        chosen = chosen_book(database_url, book)
        engine, side = create_engine(database_url, pool_size=2), SideWriter(database_url)
        try:
            liner = Liner(engine, side, Archives(archive) if archive is not None else None)
            liner.rebuild(chosen.book_id)
            with engine.connect() as connection:
                found = head(connection, chosen.book_id)
            size = found.size if found is not None else 0
            liner.catch_up(chosen.book_id, size)
        except (LinesUnavailable, ArchiveUnfit) as error:
            raise click.ClickException(str(error)) from error
        finally:
            side.close()
            engine.dispose()
    click.echo(f"The lines of book {chosen.name} stand for its {size} records again.")
