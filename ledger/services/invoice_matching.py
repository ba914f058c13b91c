"""What an invoice claims beside what the ledger accrued for its payee in the same days and currency.

Owns the comparison. Invariant: nothing is posted and nothing decided here; a difference is for a person to explain, by
charges, refunds and adjustments.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Engine

from ledger.core.invoice import Invoice
from ledger.core.period import period_of
from ledger.core.spend_line import date_of
from ledger.services.errors import UnknownBook
from ledger.services.lining import Liner
from ledger.storage import queries_log, queries_payables


class MatchedCategory(NamedTuple):
    """Of one category (None: lines that name none, and what was accrued for categories that no line names), in
    atoms."""

    category: str | None
    billed: int
    accrued: int


class Matching(NamedTuple):
    """``also`` are the ids of other invoices over the same days; ``log_size`` is what the ledger side was read at."""

    billed: int
    accrued: int
    categories: tuple[MatchedCategory, ...]
    also: tuple[str, ...]
    log_size: int


def match_invoice(
    engine: Engine, liner: Liner, book_id: int, row: Invoice, body: Mapping[str, Any] | None, *, records_max: int
) -> Matching:
    """Compare an invoice with the ledger; ``body`` is that of its record, None where it is archived, and then lines
    have no category. Raises LinesUnavailable, UnknownBook, StorageError."""
    with engine.connect() as connection:
        book = queries_log.book_by_id(connection, book_id)
        head = queries_log.head(connection, book_id)
    if book is None or head is None:
        raise UnknownBook
    liner.catch_up(book_id, head.size, records_max=records_max)
    days = period_of(date_of(row.starts_on), date_of(row.ends_on), book.timezone)
    with engine.connect() as connection:
        accrued = queries_payables.accrued(connection, book_id, row, starts_at=days.starts_at, ends_at=days.ends_at)
        also = queries_payables.overlapping(connection, book_id, row)
    lines = () if body is None else body["lines"]
    return Matching(row.billed, sum(accrued.values()), tuple(_by_category(lines, accrued)), tuple(also), head.size)


def _by_category(lines: Iterable[Mapping[str, Any]], accrued: Mapping[str, int]) -> list[MatchedCategory]:
    billed: dict[str | None, int] = {}
    for line in lines:
        if "prepaid" not in line:
            category = line.get("category")
            billed[category] = billed.get(category, 0) + int(line["amount"])
    rest = dict(accrued)
    found = [
        MatchedCategory(category, billed[category], rest.pop(category, 0))
        for category in sorted(name for name in billed if name is not None)
    ]
    unnamed = sum(rest.values())
    if None in billed or unnamed:
        found.append(MatchedCategory(None, billed.get(None, 0), unnamed))
    return found
