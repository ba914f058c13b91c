"""Reading rates of exchange: pages of those that are there, by pair and day.

Invariant: a page is a stretch of the primary key.
"""

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Connection, Text, literal, select, tuple_

from ledger.core.rate import Rate
from ledger.storage.paging import LIMIT_MAX, Page, bounded, page_of
from ledger.storage.tables_rates import rates


class RateFilter(NamedTuple):
    """Which rates: of a base currency, in a quote currency, from a day and up to a day, both included (days since
    1970); None: any."""

    base: str | None = None
    quote: str | None = None
    first: int | None = None
    last: int | None = None


def list_rates(
    connection: Connection, book_id: int, wanted: RateFilter, *, after: tuple[str, int] | None = None, limit: int = 50
) -> Page[Rate]:
    """Rates that fit every filter, by pair and day, continuing after a (pair, day)."""
    columns = rates.c
    conditions: list[ColumnElement[bool]] = [columns.book_id == book_id]
    if wanted.base is not None and wanted.quote is not None:
        conditions.append(columns.pair == f"{wanted.base}/{wanted.quote}")
    elif wanted.base is not None:
        # The character behind the slash ends the stretch.
        conditions += [columns.pair >= f"{wanted.base}/", columns.pair < f"{wanted.base}0"]
    elif wanted.quote is not None:
        conditions.append(columns.pair.like(f"%/{wanted.quote}"))
    if wanted.first is not None:
        conditions.append(columns.day >= wanted.first)
    if wanted.last is not None:
        conditions.append(columns.day <= wanted.last)
    if after is not None:
        conditions.append(
            tuple_(columns.pair, columns.day) > tuple_(literal(after[0], Text), literal(after[1], BigInteger))
        )
    statement = select(rates).where(*conditions).order_by(columns.pair, columns.day).limit(bounded(limit) + 1)
    rows = connection.execute(statement).all()
    return page_of(rows, limit, lambda row: Rate(*row), lambda item: (item.pair, item.day))


def all_rates(connection: Connection, book_id: int, wanted: RateFilter) -> Iterator[Rate]:
    """Every rate that fits, a page at a time."""
    after: tuple[str, int] | None = None
    while True:
        page = list_rates(connection, book_id, wanted, after=after, limit=LIMIT_MAX)
        yield from page.items
        if page.after is None:
            return
        after = (str(page.after[0]), int(page.after[1]))
