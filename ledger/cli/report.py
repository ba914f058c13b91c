"""`bursar report`: trial balance, income, payables, budgets, chargeback and outcomes, from the database or a server.

Invariant: as for statements, a file is put in its place once it is whole.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from bursar import remote
from ledger.cli.checkpoint import book_option
from ledger.cli.database import BadValue, chosen_book, database_option, errors_in_one_line, require_file
from ledger.cli.statement import _progress
from ledger.cli.whole_file import write_whole
from ledger.core.burning import DAYS_DEFAULT, DAYS_MAX
from ledger.core.report import PER, REPORTS, WITHOUT_OUTCOME, Asked, ReportRefused
from ledger.services.reports.formats import REPORT_FORMATS

_SUFFIXES = {f".{form.suffix}": form.name for form in REPORT_FORMATS.values()}


@click.command(name="report")
@click.argument("report", type=click.Choice(list(REPORTS)))
@click.option(
    "--period", default=None, metavar="PERIOD",
    help="2026-11, 2026-Q4, 2026, 2026-11-05 or 2026-11-01..2026-11-15; all that there is without it.",
)  # fmt: skip
@click.option(
    "--as-of", default=None, metavar="DAY",
    help="Balances at the end of this day; without it, of that of the last record.",
)  # fmt: skip
@click.option(
    "--by", default=None, metavar="WHAT",
    help="Of chargeback and outcomes: team, agent, payee, category, budget, resource, label.NAME; of chargeback, run.",
)  # fmt: skip
@click.option("--per", type=click.Choice(list(PER)), default=None, help="Cut the period into parts.")
@click.option(
    "--days", type=click.IntRange(1, DAYS_MAX), default=None,
    help=f"Of budgets: days that the rate is that of; {DAYS_DEFAULT} without it.",
)  # fmt: skip
@click.option(
    "--baseline", default=None, metavar="VALUE",
    help="Of outcomes: what the others are compared with; without it, what has most runs.",
)  # fmt: skip
@click.option(
    "--without-outcome", type=click.Choice(list(WITHOUT_OUTCOME)), default=None,
    help="Of outcomes: how runs count of which nobody said what became of them.",
)  # fmt: skip
@click.option(
    "--agent", default=None, metavar="NAME", allow_from_autoenv=False,
    help="Of chargeback and outcomes: of one agent only.",
)  # fmt: skip
@click.option(
    "--format", "form", type=click.Choice(list(REPORT_FORMATS)), default=None,
    help="How it is written; left out, what the name of the file says, or text.",
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
    help="With --url, the key to ask with; an agent's sees chargeback and outcomes of itself.",
)  # fmt: skip
def command(
    report: str,
    form: str | None,
    out: Path | None,
    at_size: int | None,
    database_url: str,
    book: str | None,
    url: str | None,
    api_key: str | None,
    **parameters: str | int | None,
) -> None:
    """Write a report over the book.

    \b
    trial-balance  every account on the side where it stands
    income         what was spent by category and month, what came back, and income
    payables       what is owed to each payee, and since when
    budgets        allocated, spent, held and available, and the day the money runs out
    chargeback     what was spent by team, agent, run, payee, category or label
    outcomes       how often runs succeed, what a success costs, and which differences are real

    Each says how many records of the log it stands on; with --at-size and that number it is the same again.

    \b
    For example:
      bursar report income --period 2026
      bursar report chargeback --by team --per month --period 2026-Q4 -o teams.csv
      bursar report outcomes --by label.prompt --period 2026-11
    """
    asked = Asked(name=report, **parameters)  # type: ignore[arg-type]
    try:
        asked.check()
    except ReportRefused as error:
        raise BadValue(f"--{error.field.replace('_', '-')}: {error}") from error
    chosen_form = form or (_SUFFIXES.get(out.suffix.lower(), "text") if out is not None else "text")
    if url is not None:
        if api_key is None:
            raise BadValue("give the key to ask the server with, as BURSAR_API_KEY or --key")
        query: dict[str, str | int] = {name: value for name, value in parameters.items() if value is not None}
        query |= {"format": chosen_form} | ({"at_size": at_size} if at_size is not None else {})
        with remote(url, api_key) as server, server.download(f"/v1/reports/{report}", **query) as pieces:
            write_whole(pieces, out)
        return
    with _from_database(database_url, book, asked, chosen_form, at_size) as pieces:
        write_whole(pieces, out)


@contextlib.contextmanager
def _from_database(
    database_url: str, book: str | None, asked: Asked, form: str, at_size: int | None
) -> Iterator[Iterable[bytes]]:
    from ledger.core.report import ReportBroken
    from ledger.services.reports.making import Reports
    from ledger.storage.engine import create_engine
    from ledger.storage.side_writer import SideWriter

    with errors_in_one_line():
        require_file(database_url)
        chosen = chosen_book(database_url, book)
        engine, side = create_engine(database_url, pool_size=2), SideWriter(database_url)
        try:
            made = Reports(engine, side).make(chosen.book_id, asked, at_size=at_size, progress=_progress)
            yield REPORT_FORMATS[form].write(made)
        except ReportRefused as error:
            raise BadValue(f"--{error.field.replace('_', '-')}: {error}") from error
        except ReportBroken as error:
            raise click.ClickException(f"{error}; run 'bursar verify'") from error
        finally:
            side.close()
            engine.dispose()
