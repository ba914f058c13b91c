"""`bursar journal`: the journal for other programs, from the database or a server, whole or since the last time.

Invariant: the cursor file moves only once what it stands for is written, so that a run that broke off is made again and
leaves nothing out.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click

from bursar import remote
from ledger.cli.checkpoint import book_option
from ledger.cli.database import BadValue, chosen_book, database_option, errors_in_one_line, require_file
from ledger.cli.export import Unchanged
from ledger.cli.whole_file import write_whole
from ledger.services.journal.cursor import BEGINNING_NAME, parse_cursor
from ledger.services.journal.formats import FORMATS
from ledger.services.journal.making import BALANCES

NEXT_HEADER = "bursar-journal-next"
_SUFFIXES = {f".{form.suffix}": form.name for form in reversed(FORMATS.values())}


class _Found(NamedTuple):
    """What will be written, and the cursor that it goes to."""

    pieces: Iterable[bytes]
    next: str


@click.command(name="journal")
@click.option(
    "--format", "form", type=click.Choice(list(FORMATS)), default=None,
    help="How it is written; left out, what the name of the file says.",
)  # fmt: skip
@click.option(
    "--since", default=None, metavar="CURSOR", allow_from_autoenv=False,
    help=f"Carry on where an export ended: the cursor that it told, or {BEGINNING_NAME}.",
)  # fmt: skip
@click.option(
    "--cursor-file", type=click.Path(path_type=Path, dir_okay=False), default=None,
    help="Carry on from the cursor in this file, from the beginning where there is none, and keep the next one there.",
)  # fmt: skip
@click.option(
    "--period", default=None, metavar="PERIOD",
    help="Only what counts for 2026-11, 2026-Q4, 2026, 2026-11-05, or 2026-11-01..2026-11-15 (both days included).",
)  # fmt: skip
@click.option(
    "--at-size", type=click.IntRange(min=1), default=None, help="Of the first so many records of the log only."
)
@click.option(
    "--balances", type=click.Choice(BALANCES), default=None,
    help="Balances at month ends, by which beancount and hledger check: with them (what a whole journal has), without "
    "them (what a piece has), or nothing else.",
)  # fmt: skip
@click.option(
    "--header/--no-header", default=None,
    help="A line with the names of the columns; left out, only where it begins with the first record.",
)  # fmt: skip
@click.option(
    "-o", "--out", type=click.Path(path_type=Path, dir_okay=False), default=None, help="Write it to this file."
)
@database_option
@book_option
@click.option("--url", default=None, envvar="BURSAR_URL", metavar="URL", help="Ask this server instead of a database.")
@click.option(
    "--key", "api_key", default=None, envvar=["BURSAR_API_KEY", "BURSAR_KEY"], metavar="KEY",
    help="With --url, the key to ask with.",
)  # fmt: skip
def command(
    form: str | None,
    since: str | None,
    cursor_file: Path | None,
    out: Path | None,
    database_url: str,
    book: str | None,
    url: str | None,
    api_key: str | None,
    **asked: Any,
) -> None:
    """Write the journal for other programs: beancount, hledger, a general CSV, FOCUS 1.4 (CSV or Parquet), or inference
    calls with OpenTelemetry's names.

    Every export tells the cursor that it goes to, on standard error; with --since or --cursor-file the next one carries
    on there, and pieces put end to end are the same as one export of all. The status is 3, and nothing is written, when
    there is nothing new.

    \b
    For example:
      bursar journal -o acme.beancount && bean-check acme.beancount
      bursar journal --format hledger --period 2026-11 -o november.journal
      bursar journal --format focus-parquet --cursor-file focus.cursor -o focus-$(date +%F).parquet
    """
    if since is not None and cursor_file is not None:
        raise BadValue("give --since or --cursor-file: both say where to carry on")
    chosen = form or (_SUFFIXES.get(out.suffix.lower()) if out is not None else None)
    if chosen is None:
        raise BadValue(f"say how it is written with --format: {', '.join(FORMATS)}")
    if cursor_file is not None:
        since = _kept(cursor_file)
    asked = {name: value for name, value in (asked | {"since": since}).items() if value is not None}
    source = _from_server(url, api_key, chosen, asked) if url is not None else None
    with source or _from_database(database_url, book, chosen, asked) as found:
        if since is not None and _is_same(since, found.next):
            raise Unchanged(f"nothing was recorded since {found.next}, and nothing was written")
        write_whole(found.pieces, out)
    if cursor_file is not None:
        write_whole([f"{found.next}\n".encode()], cursor_file)
    click.echo(f"the next export carries on with --since {found.next}", err=True)


def _kept(cursor_file: Path) -> str:
    try:
        text = cursor_file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return BEGINNING_NAME
    except (OSError, UnicodeDecodeError) as error:
        raise BadValue(f"{cursor_file} cannot be read: {error}") from error
    try:
        return str(parse_cursor(text))
    except ValueError as error:
        raise BadValue(f"{cursor_file}: {error}") from error


def _is_same(since: str, following: str) -> bool:
    try:
        return parse_cursor(since) == parse_cursor(following)
    except ValueError:
        return False


@contextlib.contextmanager
def _from_server(url: str, api_key: str | None, form: str, asked: dict[str, Any]) -> Iterator[_Found]:
    if api_key is None:
        raise BadValue("give the key to ask the server with, as BURSAR_API_KEY or --key")
    query = {name: str(value).lower() if isinstance(value, bool) else value for name, value in asked.items()}
    with remote(url, api_key) as server, server.download("/v1/journal", **query, format=form) as told:
        following = told.header(NEXT_HEADER)
        try:
            yield _Found(told, str(parse_cursor(following)))
        except ValueError as error:
            raise click.ClickException(f"{url} did not say how far its journal goes; is it a Bursar server?") from error


@contextlib.contextmanager
def _from_database(database_url: str, book: str | None, form: str, asked: dict[str, Any]) -> Iterator[_Found]:
    from ledger.services.journal.formats import make_journal
    from ledger.services.journal.making import JournalRefused, Journals
    from ledger.services.journal.reading import JournalBroken
    from ledger.services.statements.making import Statements
    from ledger.storage.engine import create_engine
    from ledger.storage.side_writer import SideWriter

    with errors_in_one_line():
        require_file(database_url)
        chosen = chosen_book(database_url, book)
        engine, side = create_engine(database_url, pool_size=2), SideWriter(database_url)
        try:
            journals = Journals(engine, Statements(engine, side))
            made = make_journal(journals, chosen.book_id, FORMATS[form], progress=_progress, **asked)
            yield _Found(FORMATS[form].write(made), str(made.end))
        except JournalRefused as error:
            raise BadValue(str(error)) from error
        except JournalBroken as error:
            raise click.ClickException(str(error)) from error
        finally:
            side.close()
            engine.dispose()


def _progress(done: int, total: int) -> None:
    """Tell a person at a terminal that the lines of a long log are being written."""
    if total - done > 20_000 and sys.stderr.isatty():
        click.echo(f"\rreading the log: {done:,} of {total:,} records ", nl=False, err=True)
