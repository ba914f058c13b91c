"""`bursar policy simulate`: what a policy would have changed, had it been there.

Invariant: reads only. Status 0 when the past was judged, whatever was found; 1 when it could not be read; 2 when the
file or a value on the command line is wrong.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ledger.cli.database import BadValue, chosen_book, database_option, errors_in_one_line, require_file

if TYPE_CHECKING:
    from ledger.services.policies.simulating import Progress, Simulated

PROGRESS_FROM_RECORDS = 20_000
"""A shorter past is judged before anybody could read a progress bar."""
GRANTED = "assume-granted"


class BadPolicy(click.ClickException):
    """The file is no policy. The message is every problem, a line each, as `bursar policy check` tells them."""

    exit_code = 2


@click.command(name="simulate")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--since",
    required=True,
    metavar="WHEN",
    help="Judge requests from then on: a date, an RFC 3339 time, or how long ago (7d, 12h).",
)
@click.option("--until", default=None, metavar="WHEN", help="Judge requests before then.  [default: now]")
@database_option
@click.option("--book", default=None, metavar="NAME", help="The book; needed only where there are several.")
@click.option(
    "--approvals",
    type=click.Choice([GRANTED, "assume-refused"]),
    default=GRANTED,
    show_default=True,
    help="What persons answer where the policy newly asks them.",
)
@click.option("--examples", default=5, show_default=True, type=click.IntRange(0, 1_000), help="Examples a category.")
@click.option("--agents", default=10, show_default=True, type=click.IntRange(1, 10_000), help="Agents listed apart.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(
    file: Path,
    since: str,
    until: str | None,
    database_url: str,
    book: str | None,
    approvals: str,
    examples: int,
    agents: int,
    as_json: bool,
) -> None:
    """Judge the book's past by a policy, and tell what would have changed.

    FILE takes the place of the live policy of its name; all others, and the budgets, are as they were. Its limits count
    what it would have let through, as that really went on, and nothing of what it would have denied. Nothing is
    written, and servers may keep running.

    Dates are in the book's time zone; a period goes from --since to before --until.

    \b
    For example:
      bursar policy simulate policies/research.yaml --since 7d
      bursar policy simulate tighter.yaml --since 2026-11-01 --until 2026-12-01 --json
    """
    from ledger.cli.policy.simulated import plain, show
    from ledger.services.policies.document import PolicyFileError
    from ledger.services.policies.document_files import read_policy

    try:
        document = read_policy(file).canonical()
    except PolicyFileError as error:
        raise BadPolicy("\n".join(error.lines())) from error
    with errors_in_one_line():
        require_file(database_url)
        found = _simulated(database_url, book, document, (since, until), examples, granted=approvals == GRANTED)
    if as_json:
        click.echo(json.dumps(plain(found, agents=agents)))
    else:
        show(found, agents=agents)


def _simulated(
    database_url: str,
    book: str | None,
    document: dict[str, object],
    period: tuple[str, str | None],
    examples: int,
    *,
    granted: bool,
) -> Simulated:
    from ledger.services.policies.simulating import SimulationRefused, read_moment, simulate
    from ledger.storage.engine import create_engine
    from ledger.storage.queries_log import book_by_id

    chosen = chosen_book(database_url, book)
    # Bodies are trees without cycles, millions of them: looking for cycles at every turn costs a fifth of the time.
    gc.set_threshold(200_000, 50, 100)
    engine = create_engine(database_url, pool_size=1)
    try:
        with engine.connect() as connection:
            row = book_by_id(connection, chosen.book_id)
        timezone = row.timezone if row is not None else "UTC"
        now = time.time_ns() // 1_000
        since, until = period
        start = read_moment(since, timezone=timezone, now=now)
        stop = now if until is None else read_moment(until, timezone=timezone, now=now)
        with _progress() as progress:
            return simulate(
                engine, chosen.book_id, document, since=start, until=stop, grant=granted, examples_max=examples,
                progress=progress,
            )  # fmt: skip
    except SimulationRefused as error:
        raise BadValue(str(error)) from error
    finally:
        engine.dispose()


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """A bar on standard error, when that is a terminal and the past is long."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("judging the past", total=None)

        def tell(done: int, total: int) -> None:
            if total >= PROGRESS_FROM_RECORDS:
                bar.update(task, completed=done, total=total)

        yield tell
