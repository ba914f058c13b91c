"""`bursar take-over`: begin a book with what was there before: opening balances and history.

Owns the verbs. Invariants: everything goes through a running server, with an idempotency key that is made of the row,
so that a run that was broken off is completed by the next one and nothing doubles; `--dry-run` sends nothing; whatever
was not taken over is named with its line and the reason.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, Final

import click

from bursar import Remote, remote
from ledger.cli.take_over.rows import FileUnusable, Outcome, read_csv, read_json
from ledger.cli.take_over.sending import Report, send_history, send_openings, sorted_out
from ledger.cli.take_over.sources import (
    LABELS,
    LABELS_KEPT,
    LITELLM_COLUMNS,
    OPENING_COLUMNS,
    LiteLLM,
    history_rows,
    litellm_rows,
    opening_rows,
    read_mapping,
)

SHOWN_MAX: Final = 20
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
Sender = Callable[[Remote, Iterable[Outcome], Report], None]


class CannotTakeOver(click.ClickException):
    """The file or the mapping cannot be worked with; nothing was sent from where it says on."""

    exit_code = 2


def _options(verb: Any) -> Any:
    """The file, the server, and how the report is written."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Write the report as JSON, with all refusals."),
        click.option("--dry-run", is_flag=True, help="Read the file and say what would be sent; needs no server."),
        click.option(
            "--key", default=None, envvar=["BURSAR_API_KEY", "BURSAR_KEY"], metavar="KEY",
            help="A key of finance; better given as BURSAR_API_KEY.",
        ),
        click.option(
            "--url", default="http://127.0.0.1:8000", show_default=True, envvar="BURSAR_URL", metavar="URL",
            help="Where the server is.",
        ),
        click.argument("file", type=_FILE),
    ):  # fmt: skip
        verb = option(verb)
    return verb


@click.group(name="take-over")
def command() -> None:
    """Begin a book with what was there before it: opening balances, and spend of earlier days.

    A row that was taken over before is found again by a key that is made of it, as long as the same person runs the
    command: after an interruption, or with a longer file, run it again.
    """


@command.command(name="opening")
@_options
def opening(file: Path, **options: Any) -> None:
    """Record opening balances out of a CSV: account, currency, debit or credit, and perhaps effective_at.

    Each becomes an adjustment against equity:opening. What a payee is owed is a credit of payables:PAYEE, what is in
    the bank a debit of assets:bank, credit with a payee a debit of assets:prepaid:PAYEE.
    """
    _run(opening_rows(_records(file, OPENING_COLUMNS)), send_openings, options)


@command.command(name="history")
@_options
@click.option("--mapping", default=None, type=_FILE, metavar="FILE", help="Which column is what (YAML).")
def history(file: Path, mapping: Path | None, **options: Any) -> None:
    """Take over spend of earlier days out of a CSV.

    Columns are effective_at, amount, currency, payee, category, and perhaps agent, budget, run, resource and id; a
    mapping says which they are in a file that names them otherwise. Each row is an expense against equity:opening, for
    its own day: it counts in no limit, and is owed to nobody.
    """
    try:
        how = read_mapping(mapping)
    except FileUnusable as error:
        raise CannotTakeOver(str(error)) from error
    _run(history_rows(_records(file, how.needed, delimiter=how.delimiter), how), send_history, options)


@command.command(name="litellm")
@_options
@click.option("--payee", default=None, metavar="NAME", help="For every row; left out, the provider that was called.")
@click.option("--category", default="inference", show_default=True, metavar="NAME", help="For every row.")
@click.option("--budget", default=None, metavar="NAME", help="Show it as spent by this budget.")
@click.option("--agent", default=None, metavar="NAME", help="Whose spend it is; left out, nobody's.")
@click.option(
    "--label", "labels", multiple=True, type=click.Choice(LABELS),
    help="Keep this of each row as a label; may be given again.  [default: team, key, tags]",
)  # fmt: skip
def litellm(
    file: Path, payee: str | None, category: str, budget: str | None, agent: str | None, labels: tuple[str, ...],
    **options: Any,
) -> None:  # fmt: skip
    """Take over LiteLLM's spend logs: its table LiteLLM_SpendLogs as CSV, or what its API returns as JSON.

    Spend is taken as the decimals that the file says, rounded half to even at the ninth. Labels stay in the log for
    good, so those that name persons (user, end_user) are kept only when they are asked for.
    """
    how = LiteLLM(category, payee, budget, agent, labels or LABELS_KEPT)
    _run(litellm_rows(_records(file, LITELLM_COLUMNS), how), send_history, options)


def _records(file: Path, needed: Collection[str], *, delimiter: str = ",") -> Any:
    if file.suffix in (".json", ".jsonl"):
        return read_json(file)
    return read_csv(file, needed=needed, delimiter=delimiter)


def _run(outcomes: Iterable[Outcome], send: Sender, options: dict[str, Any]) -> None:
    report = Report()
    try:
        if options["dry_run"]:
            for row in sorted_out(outcomes, report):
                report.take(row)
        else:
            if options["key"] is None:
                raise click.UsageError("give the key of whoever takes over, as BURSAR_API_KEY or --key")
            with remote(options["url"], options["key"]) as server:
                send(server, outcomes, report)
    except FileUnusable as error:
        raise CannotTakeOver(f"{error}; {report.taken} rows were taken over before that") from error
    _show(report, dry_run=options["dry_run"], as_json=options["as_json"])
    if report.refused:
        raise SystemExit(1)


def _show(report: Report, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        content = {
            "dry_run": dry_run,
            **{name: getattr(report, name) for name in ("taken", "there", "waiting", "nothing", "refused")},
            "totals": {currency: format(total, "f") for currency, total in sorted(report.totals.items())},
            "rounded": {"rows": report.rounded_rows, "amount": format(report.rounded, "f")},
            "refusals": [{"line": one.line, "why": one.why} for one in report.refusals],
        }
        click.echo(json.dumps(content, indent=2))
        return
    click.echo(f"{'To take over' if dry_run else 'Taken over'}: {report.taken}")
    for count, words in (
        (report.there, "There already"),
        (report.waiting, "Waiting for a second person"),
        (report.nothing, "Nothing spent"),
    ):
        if count:
            click.echo(f"{words}: {count}")
    for currency, total in sorted(report.totals.items()):
        click.echo(f"Together: {total:f} {currency}")
    if report.rounded_rows:
        click.echo(f"Rounded at the last digit: {report.rounded_rows} rows, by {report.rounded:f} in all")
    if report.refused:
        click.echo(f"Refused: {report.refused}", err=True)
        for one in report.refusals[:SHOWN_MAX]:
            click.echo(f"  line {one.line}: {one.why}", err=True)
        if report.refused > SHOWN_MAX:
            click.echo(f"  and {report.refused - SHOWN_MAX} more; --json names all of them", err=True)
