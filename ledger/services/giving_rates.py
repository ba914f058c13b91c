"""Giving rates in bulk: only what is new, a record for each day.

Invariant: what is there already is not given again, so that the same file twice leaves the log as it was.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import NamedTuple

from sqlalchemy import Engine

from ledger.core import ids
from ledger.core.command import Caller
from ledger.core.command_rates import GIVEN_MAX, GivenRate, GiveRates
from ledger.core.outcome import Outcome
from ledger.core.rate import Rate, day_of, pair_of
from ledger.services.authorizer import Authorizer
from ledger.services.sources import Sources
from ledger.storage.engine import create_engine
from ledger.storage.queries_log import book_by_id
from ledger.storage.queries_rates import RateFilter, all_rates


class Known(NamedTuple):
    """A rate that is there for a pair and a day, as far as a file can say otherwise."""

    rate: str
    source: str
    max_age_days: int


KnownRates = dict[tuple[str, int], Known]


def span(rates: list[GivenRate]) -> tuple[int, int]:
    """The first and the last day of rates, at least one."""
    days = [given.day for given in rates]
    return min(days), max(days)


def unknown_rates(rates: Iterable[GivenRate], known: KnownRates, source: str, max_age_days: int) -> list[GivenRate]:
    """Those that are not there already, or are there otherwise."""
    return [
        given
        for given in rates
        if known.get((pair_of(given.base, given.quote), given.day)) != Known(given.rate, source, max_age_days)
    ]


def by_record(rates: Iterable[GivenRate]) -> Iterator[tuple[GivenRate, ...]]:
    """Rates in order of their days, as each record gives them: those of one day, as many as one may give."""
    for _, of_day in groupby(rates, key=lambda given: given.day):
        given = tuple(of_day)
        for start in range(0, len(given), GIVEN_MAX):
            yield given[start : start + GIVEN_MAX]


def known_of(rows: Iterable[Rate]) -> KnownRates:
    """What is there, by pair and day."""
    return {(row.pair, row.day): Known(row.rate, row.source, row.max_age_days) for row in rows}


class OwnersRates:
    """The rates of one book, in the hands of the database's owner."""

    def __init__(self, engine: Engine, authorizer: Authorizer, book_id: int) -> None:
        self._engine = engine
        self._authorizer = authorizer
        self._book_id = book_id

    def today(self) -> int:
        """The day, in the book's time zone. Raises LookupError for a book that is gone."""
        with self._engine.connect() as connection:
            book = book_by_id(connection, self._book_id)
        if book is None:
            raise LookupError(f"there is no book {self._book_id}")
        return day_of(book.timezone, self._authorizer.sources.now_us())

    def listed(self, wanted: RateFilter) -> list[Rate]:
        """Those that are there, by pair and day."""
        with self._engine.connect() as connection:
            return list(all_rates(connection, self._book_id, wanted))

    def known(self, first: int, last: int) -> KnownRates:
        """Those that are there for days from ``first`` to ``last``."""
        return known_of(self.listed(RateFilter(first=first, last=last)))

    def give(self, rates: tuple[GivenRate, ...], *, source: str, max_age_days: int, reason: str | None) -> Outcome:
        """Give them, by one record. Raises ServiceError."""
        return self._authorizer.decide_now(
            self._book_id,
            GiveRates(
                caller=Caller(None, as_owner=True),
                id=self._authorizer.sources.new_id(ids.RATE),
                rates=rates,
                source=source,
                max_age_days=max_age_days,
                reason=reason,
            ),
        )


@contextmanager
def owners_rates(database_url: str, book_id: int, *, sources: Sources | None = None) -> Iterator[OwnersRates]:
    """The rates of a book. Raises ServiceError, StorageError."""
    engine = create_engine(database_url, pool_size=1)
    authorizer = Authorizer(database_url, sources=sources)
    authorizer.start()
    try:
        yield OwnersRates(engine, authorizer, book_id)
    finally:
        authorizer.stop(deadline_seconds=10.0)
        engine.dispose()
