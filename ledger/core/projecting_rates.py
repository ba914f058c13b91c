"""The fold over rates of exchange, written from the rules and not from the code that decided."""

from typing import Any, Final

from ledger.core.command_rates import GIVEN_MAX
from ledger.core.ids import is_name
from ledger.core.projecting_record import Record
from ledger.core.rate import (
    AGE_DAYS_MAX,
    AHEAD_DAYS_MAX,
    FIRST_DAY,
    Rate,
    check_pair,
    day_number,
    day_of,
    pair_of,
    rate_text,
)


def _rate(record: Record) -> None:
    body = record.body
    request, source, max_age_days = body["request"], body["source"], body["max_age_days"]
    asked = [[base, quote, rate_text(rate), day] for base, quote, rate, day in request["rates"]]
    for field, expected in (("rates", asked), ("source", request["source"]), ("max_age_days", request["max_age_days"])):
        record.expect(field, expected)
    if not 0 < len(body["rates"]) <= GIVEN_MAX:
        record.differ("a record gives no rate, or too many", f"1 to {GIVEN_MAX}", len(body["rates"]))
    if not is_name(source) or type(max_age_days) is not int or not 0 <= max_age_days <= AGE_DAYS_MAX:
        record.differ("where a rate is from, or how long it lasts, cannot be said so", "", [source, max_age_days])
    places = {(frozenset((base, quote)), day) for base, quote, _, day in body["rates"]}
    if len(places) != len(body["rates"]):
        record.differ("a pair of currencies has two rates for one day", "", body["rates"])
    for base, quote, rate, day in body["rates"]:
        _keep(record, base, quote, rate, day_number(day))


def _keep(record: Record, base: Any, quote: Any, rate: str, day: int) -> None:
    """The later record for a day holds from then on."""
    check_pair(base, quote)
    book = record.fold.book
    if book is None or not FIRST_DAY <= day <= day_of(book.timezone, record.time) + AHEAD_DAYS_MAX:
        record.differ("a rate is given for a day that can have none", "", day)
    source, max_age_days = record.body["source"], record.body["max_age_days"]
    key = (pair_of(base, quote), day)
    if record.store.rates.get(key) is None:
        row = Rate(record.fold.book_id, *key, rate, source, max_age_days, record.index, record.index)
        record.store.rates.add(key, row)
        return
    row = record.store.rates.change(key)
    row.rate, row.source, row.max_age_days, row.changed_index = rate, source, max_age_days, record.index


HANDLERS: Final = {"rate": _rate}
"""What the record of rates does."""
