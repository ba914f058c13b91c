"""`bursar rates`: give rates of exchange, one by one or from a file, and list them.

Invariants: a file is read to its end before anything is recorded; importing the same file again records nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from bursar import Remote, remote
from ledger.cli.checkpoint import book_option, json_option
from ledger.cli.database import BadValue, chosen_book, database_option, errors_in_one_line, plain, require_file

Function = TypeVar("Function", bound=Callable[..., Any])
DAYS_TAKEN = 92
SHOWN_MAX = 10


def _place_options(function: Function) -> Function:
    """Where the book is: in a database of one's own, or behind a server."""
    url = click.option(
        "--url", default=None, envvar="BURSAR_URL", metavar="URL", help="Ask this server instead of a database."
    )
    key = click.option(
        "--key", "api_key", default=None, envvar=["BURSAR_API_KEY", "BURSAR_KEY"], metavar="KEY",
        help="With --url, the key of finance or an admin; better given as BURSAR_API_KEY.",
    )  # fmt: skip
    return database_option(book_option(url(key(json_option(function)))))


def _giving_options(function: Function) -> Function:
    """What every way of giving rates takes."""
    age = click.option(
        "--max-age-days", type=click.IntRange(0, 92), default=7, show_default=True,
        help="How long after its day a rate may be used, where no later one is there.",
    )  # fmt: skip
    reason = click.option("--reason", default=None, metavar="TEXT", help="Why; its digest stands in the log.")
    return age(reason(function))


@click.group(name="rates")
def command() -> None:
    """Give rates of exchange, so that agents spend in other currencies than their budget's, and list them.

    \b
    For example:
      bursar rates add EUR USD 1.0842 --source treasury
      bursar rates import eurofxref-hist.csv --source ecb
      bursar rates list --base EUR --quote USD
    """


@command.command(name="add")
@click.argument("base", metavar="BASE")
@click.argument("quote", metavar="QUOTE")
@click.argument("rate", metavar="RATE")
@click.option("--from", "day", default=None, metavar="DAY", help="The first day it holds.  [default: today]")
@click.option("--source", default="manual", show_default=True, metavar="NAME", help="Where it is from.")
@_giving_options
@_place_options
def add(base: str, quote: str, rate: str, day: str | None, **given: Any) -> None:
    """Say that one BASE is worth RATE of QUOTE, from today or another day on.

    For a pair and a day that has a rate, this one holds from now on; what was converted before stays as recorded.
    """
    from ledger.core.command_rates import GivenRate
    from ledger.core.rate import RateInvalid, check_pair, day_number, day_text, rate_text

    try:
        check_pair(base, quote)
        rate = rate_text(rate)
        number = None if day is None else day_number(day)
    except (RateInvalid, ValueError) as error:
        raise BadValue(str(error)) from error
    with _place(given) as place:
        number = place.today() if number is None else number
        index = place.give((GivenRate(base=base, quote=quote, rate=rate, day=number),), given)
    if given["as_json"]:
        shown = {"base": base, "quote": quote, "rate": rate, "valid_from": day_text(number), "log_index": index}
        click.echo(json.dumps(shown))
        return
    click.echo(f"1 {base} is {rate} {quote} from {day_text(number)} on; record {index} of the log says so.")


@command.command(name="import")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--source", default="ecb", show_default=True, metavar="NAME", help="Where the rates are from.")
@click.option(
    "--format", "form", type=click.Choice(("ecb", "csv")), default="ecb", show_default=True,
    help="ecb: a day each line, for one euro. csv: the columns base, quote, rate, valid_from.",
)  # fmt: skip
@click.option(
    "--currency", "currencies", multiple=True, metavar="CODE", help="Only rates of these; may be given again."
)
@click.option(
    "--since", default=None, metavar="DAY", help=f"From this day on.  [default: the file's last {DAYS_TAKEN}]"
)
@_giving_options
@_place_options
def import_verb(file: Path, form: str, currencies: tuple[str, ...], since: str | None, **given: Any) -> None:
    """Give the rates of a file, such as the European Central Bank's eurofxref-hist.csv (unpacked).

    What is there already is left alone, so the same file can be imported every day. A rate that the file has
    otherwise is corrected, on record.
    """
    from ledger.core.rate import day_number, day_text
    from ledger.services.giving_rates import by_record, span, unknown_rates
    from ledger.services.rate_files import RateFileInvalid, read_rates

    try:
        found = read_rates(file, form)
        first = None if since is None else day_number(since)
    except RateFileInvalid as error:
        raise BadValue(f"{file.name}: {error}") from error
    except ValueError as error:
        raise BadValue(str(error)) from error
    except OSError as error:
        raise BadValue(f"{file} cannot be read: {error.strerror}") from error
    rates = found.rates
    if currencies:
        rates = [one for one in rates if {one.base, one.quote} & set(currencies)]
    if first is None and rates:
        first = span(rates)[1] - DAYS_TAKEN
    older = sum(1 for one in rates if first is not None and one.day < first)
    rates = [one for one in rates if first is None or one.day >= first]
    if not rates:
        raise BadValue(f"{file.name} has no rates that these options choose")
    indexes: list[int] = []
    count = 0
    with _place(given) as place:
        known = place.known(*span(rates))
        for part in by_record(unknown_rates(rates, known, given["source"], given["max_age_days"])):
            indexes.append(place.give(part, given))
            count += len(part)
    if given["as_json"]:
        shown = {"rates": count, "already": len(rates) - count, "older": older, "records": indexes}
        click.echo(json.dumps(shown | {"unknown": list(found.unknown)}))
        return
    first_day, last_day = map(day_text, span(rates))
    records = "1 record" if len(indexes) == 1 else f"{len(indexes)} records"
    click.echo(f"Gave {count} of {len(rates)} rates from {first_day} to {last_day}, by {records} of the log.")
    if len(rates) > count:
        click.echo(f"{len(rates) - count} were there already.")
    if older:
        click.echo(f"Left out {older} rates of days before {first_day}; --since takes them too.")
    if found.unknown:
        click.echo(f"Left out what is no currency here: {', '.join(map(plain, found.unknown))}.", err=True)


@command.command(name="list")
@click.option("--base", default=None, metavar="CODE", help="Only rates of this currency.")
@click.option("--quote", default=None, metavar="CODE", help="Only rates in this currency.")
@click.option("--from", "first", default=None, metavar="DAY", help="From this day on.")
@click.option("--to", "last", default=None, metavar="DAY", help="Up to this day, included.")
@_place_options
def list_verb(base: str | None, quote: str | None, first: str | None, last: str | None, **given: Any) -> None:
    """List the rates that are there, by pair and day: of each the one that was given last."""
    from ledger.core.rate import day_number

    try:
        for day in (first, last):
            _ = None if day is None else day_number(day)
    except ValueError as error:
        raise BadValue(str(error)) from error
    with _place(given) as place:
        for item in place.listed(base=base, quote=quote, first=first, last=last):
            if given["as_json"]:
                click.echo(json.dumps(item))
                continue
            pair = f"{item['base']}/{item['quote']}"
            click.echo(
                f"{pair}  {item['valid_from']}  {item['rate']:>14}  {item['source']}, for {item['max_age_days']} days, "
                f"record {item['log']['index']}"
            )


@contextmanager
def _place(given: dict[str, Any]) -> Iterator[_Database | _Server]:
    """Where the rates are given and read."""
    if given["url"] is not None:
        if given["api_key"] is None:
            raise BadValue("give the key to ask the server with, as BURSAR_API_KEY or --key")
        with remote(given["url"], given["api_key"]) as server:
            yield _Server(server)
        return
    from ledger.services.giving_rates import owners_rates

    with errors_in_one_line():
        database_url = given["database_url"]
        require_file(database_url)
        chosen = chosen_book(database_url, given["book"])
        with owners_rates(database_url, chosen.book_id) as rates:
            yield _Database(rates)


class _Database:
    """The book, in the hands of the database's owner."""

    def __init__(self, rates: Any) -> None:
        self._rates = rates

    def today(self) -> int:
        """The day, in the book's time zone."""
        return int(self._rates.today())

    def known(self, first: int, last: int) -> Any:
        """What is there for days from ``first`` to ``last``."""
        return self._rates.known(first, last)

    def give(self, rates: Any, given: dict[str, Any]) -> int:
        """Give rates by one record; its log index."""
        from ledger.core.outcome import Status

        outcome = self._rates.give(
            rates, source=given["source"], max_age_days=given["max_age_days"], reason=given["reason"]
        )
        if outcome.status is not Status.DONE:
            raise BadValue(outcome.detail)
        return int(outcome.log_index)

    def listed(self, **wanted: str | None) -> Iterator[dict[str, Any]]:
        """Rates as the API shows them."""
        from ledger.core.rate import day_number, day_text
        from ledger.storage.queries_rates import RateFilter

        days = [None if wanted[name] is None else day_number(str(wanted[name])) for name in ("first", "last")]
        for row in self._rates.listed(RateFilter(wanted["base"], wanted["quote"], *days)):
            base, _, quote = row.pair.partition("/")
            yield {
                "base": base,
                "quote": quote,
                "rate": row.rate,
                "valid_from": day_text(row.day),
                "source": row.source,
                "max_age_days": row.max_age_days,
                "log": {"index": row.changed_index},
            }


class _Server:
    """A server, asked as finance or an admin."""

    def __init__(self, server: Remote) -> None:
        self._server = server

    def today(self) -> int:
        """The day, in the book's time zone."""
        import time

        from ledger.core.rate import day_of

        return day_of(self._server.get("/v1/book")["timezone"], time.time_ns() // 1_000)

    def known(self, first: int, last: int) -> Any:
        """What is there for days from ``first`` to ``last``."""
        from ledger.core.rate import day_number, day_text, pair_of
        from ledger.services.giving_rates import Known

        query = {"from": day_text(first), "to": day_text(last)}
        return {
            (pair_of(item["base"], item["quote"]), day_number(item["valid_from"])): Known(
                item["rate"], item["source"], item["max_age_days"]
            )
            for page in self._server.pages("/v1/rates", **query)
            for item in page
        }

    def give(self, rates: Any, given: dict[str, Any]) -> int:
        """Give rates by one record; its log index."""
        from ledger.core.rate import day_text

        body = {
            "rates": [
                {"base": one.base, "quote": one.quote, "rate": one.rate, "valid_from": day_text(one.day)}
                for one in rates
            ],
            "source": given["source"],
            "max_age_days": given["max_age_days"],
        }
        if given["reason"] is not None:
            body["reason"] = given["reason"]
        return int(self._server.post("/v1/rates", body)["log"]["index"])

    def listed(self, **wanted: str | None) -> Iterator[dict[str, Any]]:
        """Rates as the API shows them."""
        names = {"first": "from", "last": "to"}
        query = {names.get(name, name): value for name, value in wanted.items() if value is not None}
        for page in self._server.pages("/v1/rates", **query):
            yield from page
