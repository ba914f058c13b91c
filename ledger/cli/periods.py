"""`bursar periods`: which months are closed, one of them in full, and its statements made again and compared.

Invariant: it changes nothing of the book; what differs ends with status 1.
"""

from __future__ import annotations

import json
from typing import Any

import click
from click.core import ParameterSource

from ledger.cli.checkpoint import json_option
from ledger.cli.close import CHECK_WORDS, months_typed
from ledger.cli.database import BadValue, chosen_book, errors_in_one_line, require_file
from ledger.cli.month_places import place, place_options


@click.command(name="periods")
@click.argument("period", metavar="[PERIOD]", required=False)
@click.option("--verify", is_flag=True, help="Make the statements of what is closed again, and compare their digests.")
@place_options
@json_option
def command(
    period: str | None,
    verify: bool,
    database_url: str,
    book: str | None,
    url: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    """List the months of the book, or show PERIOD (a month, a quarter or a year) with its checks.

    With --verify, the statements of every month that is closed, or of those of PERIOD, are made again as of the size
    that its closing names, and compared with the digests on record. That needs the database.

    \b
    For example:
      bursar periods
      bursar periods 2026-11
      bursar periods --verify
    """
    names = None if period is None else months_typed(period)
    if verify:
        # A server that the environment names is for the other verbs; only one that was typed here is a mistake.
        if click.get_current_context().get_parameter_source("url") is ParameterSource.COMMANDLINE:
            raise BadValue("--verify reads the database itself: give --database-url and no --url")
        _verify(database_url, book, names, as_json=as_json)
        return
    with place(database_url, book, url, api_key) as chosen:
        if names is None:
            _print_list(chosen.months(), as_json=as_json)
            return
        for name in names:
            _print_month(chosen.month(name), as_json=as_json)


def _print_list(months: list[dict[str, Any]], *, as_json: bool) -> None:
    for month in months:
        if as_json:
            click.echo(json.dumps(month))
            continue
        click.echo(f"{month['period']}  {_state(month)}")


def _state(month: dict[str, Any]) -> str:
    closed = month["closed"]
    if closed is None:
        going_on = "" if month["is_over"] else ", going on"
        again = f", opened again by record {month['reopened_index']}" if month["reopened_index"] is not None else ""
        return f"open{going_on}{again}"
    said = f"closed by {closed['by']} at {closed['at']}, as of {closed['size']} records (record {closed['log_index']})"
    if month["reopening"] is not None:
        said += f"; {month['reopening']['requested_by']} asks to open it again"
    return said


def _print_month(month: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(month))
        return
    click.echo(f"{month['period']}  {month['first_day']} to {month['last_day']}, both included: {_state(month)}")
    for check in month["checks"]:
        said = "ok" if not check["failing"] else f"{check['failing']} {CHECK_WORDS[check['name']]}"
        if check["accepted"]:
            said += ", accepted" + (f": {check['reason']}" if check.get("reason") else "")
        click.echo(f"  {check['name']:18} {said}")
        for item in check["items"]:
            click.echo(f"    {item}")
    if month["closed"] is not None:
        click.echo(f"  {month['statements_count']} statements, digest {month['closed']['digest']}")
    for statement in month["statements"]:
        click.echo(f"    {statement['digest']}  {statement['scope']}")


def _verify(database_url: str, book: str | None, names: list[str] | None, *, as_json: bool) -> None:
    from ledger.core.statement import StatementBroken
    from ledger.services.closing import Closer
    from ledger.services.sources import Sources
    from ledger.services.statements.making import Statements
    from ledger.storage.engine import create_engine
    from ledger.storage.side_writer import SideWriter

    with errors_in_one_line():
        require_file(database_url)
        chosen = chosen_book(database_url, book)
        engine, side = create_engine(database_url, pool_size=2), SideWriter(database_url)
        try:
            closer = Closer(engine, Statements(engine, side), Sources())
            closed = [one.period.text for one in closer.months(chosen.book_id) if one.state == "closed"]
            wanted = closed if names is None else [name for name in names if name in closed]
            if not wanted:
                raise click.ClickException("none of these months is closed" if names else "no month is closed")
            found = [closer.compare(chosen.book_id, name) for name in wanted]
        except StatementBroken as error:
            raise click.ClickException(f"{error}; run 'bursar verify'") from error
        finally:
            side.close()
            engine.dispose()
    for one in found:
        if as_json:
            click.echo(json.dumps({**one._asdict(), "different": list(one.different)}))
        elif one.same and not one.different:
            click.echo(f"{one.period}  {one.statements} statements are those that its closing has the digests of.")
        else:
            said = f": {', '.join(one.different)}" if one.different else ""
            click.echo(f"{one.period}  statements are not those that its closing has the digests of{said}.")
    if not all(one.same and not one.different for one in found):
        raise click.exceptions.Exit(1)
