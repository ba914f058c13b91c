"""`bursar statement`: the statement of a budget, an agent, a payee, an account or the book, from the database or a
server.

Invariant: no statement that broke off looks like one that ends (``whole_file``).
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from bursar import remote
from ledger.cli.checkpoint import book_option
from ledger.cli.database import BadValue, chosen_book, database_option, errors_in_one_line, require_file
from ledger.cli.whole_file import write_whole
from ledger.services.pages.paper import A4, PAPERS
from ledger.services.statements.formats import FORMATS

SCOPES = ("budget", "agent", "team", "payee", "account", "run")
_SUFFIXES = {f".{form.suffix}": form.name for form in FORMATS.values()}


def _scope_options(function: Any) -> Any:
    helps = {
        "budget": "Of a budget: what was allocated, spent and is left.",
        "agent": "Of an agent: what it spent.",
        "team": "Of a team, or of an agent, with everybody below it.",
        "payee": "Of a payee: what was billed and is owed.",
        "account": "Of any account, such as expenses:search.",
        "run": "Of a run.",
    }
    for name in reversed(SCOPES):
        function = click.option(f"--{name}", default=None, metavar="NAME", allow_from_autoenv=False, help=helps[name])(
            function
        )
    return function


@click.command(name="statement")
@_scope_options
@click.option(
    "--period", required=True, metavar="PERIOD",
    help="2026-11, 2026-Q4, 2026, 2026-11-05, or 2026-11-01..2026-11-15 (both days included).",
)  # fmt: skip
@click.option(
    "--format", "form", type=click.Choice(list(FORMATS)), default=None,
    help="How it is written; left out, what the name of the file says, or text.",
)  # fmt: skip
@click.option(
    "--paper", type=click.Choice(list(PAPERS)), default=A4.name, show_default=True,
    help="What html, pdf and xlsx are laid out for.",
)  # fmt: skip
@click.option(
    "-o", "--out", type=click.Path(path_type=Path, dir_okay=False), default=None, help="Write it to this file."
)
@click.option(
    "--at-size", type=click.IntRange(min=1), default=None, help="As the first so many records of the log say."
)
@database_option
@book_option
@click.option("--url", default=None, envvar="BURSAR_URL", metavar="URL", help="Ask this server instead of a database.")
@click.option(
    "--key", "api_key", default=None, envvar=["BURSAR_API_KEY", "BURSAR_KEY"], metavar="KEY",
    help="With --url, the key to ask with; an agent's sees its own statement.",
)  # fmt: skip
def command(
    period: str,
    form: str | None,
    paper: str,
    out: Path | None,
    at_size: int | None,
    database_url: str,
    book: str | None,
    url: str | None,
    api_key: str | None,
    **scopes: str | None,
) -> None:
    """Write the statement of a budget, agent, team, payee, account or run; without any of these, of the whole book.

    Opening balance, every line with the balance after it, closing balance, subtotals, and what is held. The days are
    those of the book's time zone. What was recorded later for an earlier day is on a statement of that day that is
    taken later; with --at-size and the size that a statement names, it is the same again.

    \b
    For example:
      bursar statement --budget research --period 2026-11
      bursar statement --payee openai --period 2026-Q4 -o openai.xlsx
      bursar statement --team research --period 2026-11 --paper letter -o research.pdf
      bursar statement --agent crawler --period 2026-11 --url https://ledger.example.com
    """
    scope = _scope(scopes)
    chosen_form = form or (_SUFFIXES.get(out.suffix.lower(), "text") if out is not None else "text")
    if out is None and FORMATS[chosen_form].is_binary and _is_terminal():
        raise BadValue(
            f"{chosen_form} is nothing that a terminal shows: say where to, such as -o statement.{chosen_form}"
        )
    if url is not None:
        if api_key is None:
            raise BadValue("give the key to ask the server with, as BURSAR_API_KEY or --key")
        query: dict[str, str | int] = {"scope": scope, "period": period, "format": chosen_form, "paper": paper}
        if at_size is not None:
            query["at_size"] = at_size
        with remote(url, api_key) as server, server.download("/v1/statements", **query) as pieces:
            write_whole(pieces, out)
        return
    with _from_database(database_url, book, scope, period, chosen_form, paper, at_size) as pieces:
        write_whole(pieces, out)


def _is_terminal() -> bool:
    return sys.stdout.isatty()


def _scope(scopes: dict[str, str | None]) -> str:
    named = [(kind, name) for kind, name in scopes.items() if name is not None]
    if len(named) > 1:
        raise BadValue("name one of " + ", ".join(f"--{kind}" for kind, _ in named) + ": a statement is of one thing")
    return "book" if not named else f"{named[0][0]}:{named[0][1]}"


@contextlib.contextmanager
def _from_database(
    database_url: str, book: str | None, scope: str, period: str, form: str, paper: str, at_size: int | None
) -> Iterator[Iterable[bytes]]:
    from ledger.core.statement import StatementBroken, parse_scope
    from ledger.services.statements.making import StatementRefused, Statements
    from ledger.storage.engine import create_engine
    from ledger.storage.side_writer import SideWriter

    try:
        wanted = parse_scope(scope)
    except ValueError as error:
        raise BadValue(str(error)) from error
    with errors_in_one_line():
        require_file(database_url)
        chosen = chosen_book(database_url, book)
        engine, side = create_engine(database_url, pool_size=2), SideWriter(database_url)
        try:
            statement = Statements(engine, side).make(
                chosen.book_id, wanted, period, at_size=at_size, progress=_progress
            )
            yield FORMATS[form].pieces(statement, PAPERS[paper])
        except StatementRefused as error:
            raise BadValue(str(error)) from error
        except StatementBroken as error:
            raise click.ClickException(f"{error}; run 'bursar verify'") from error
        finally:
            side.close()
            engine.dispose()


def _progress(done: int, total: int) -> None:
    """Tell a person at a terminal that the lines of a long log are being written."""
    if total - done > 20_000 and sys.stderr.isatty():
        click.echo(f"\rreading the log: {done:,} of {total:,} records ", nl=False, err=True)
