"""The decision to give rates of exchange.

Invariants: a rate is exact, between two currencies of money, and stands under the day from which it holds; a record
says each pair and day once, whichever way round; nothing that was converted before changes.
"""

from functools import partial
from typing import Any

from ledger.core.beginning import begin
from ledger.core.command_rates import GIVEN_MAX, GivenRate, GiveRates
from ledger.core.finishing import finish, first_refusal
from ledger.core.ids import is_name
from ledger.core.outcome import Outcome, Status
from ledger.core.rate import (
    AGE_DAYS_MAX,
    AHEAD_DAYS_MAX,
    FIRST_DAY,
    Rate,
    RateInvalid,
    check_pair,
    day_of,
    day_text,
    pair_of,
    rate_text,
)
from ledger.core.refusal import refuse
from ledger.core.working import Batch


def _said(given: GivenRate) -> list[str]:
    """A rate as a request and a body say it."""
    return [given.base, given.quote, given.rate, day_text(given.day)]


def _checked(batch: Batch, today: int, given: GivenRate) -> GivenRate:
    """The rate in its one form; refuses what cannot be one."""
    try:
        check_pair(given.base, given.quote)
        text = rate_text(given.rate)
    except RateInvalid as error:
        refuse(Status.RATE_INVALID, str(error))
    if not FIRST_DAY <= given.day <= today + AHEAD_DAYS_MAX:
        refuse(
            Status.RATE_INVALID,
            f"{day_text(given.day)} is no day for a rate; it may lie between {day_text(FIRST_DAY)} and a year from "
            f"today, {day_text(today)}",
        )
    return GivenRate(base=given.base, quote=given.quote, rate=text, day=given.day)


def _check_whole(asked: GiveRates) -> None:
    """Refuse what is wrong with the command as a whole."""
    if not 0 < len(asked.rates) <= GIVEN_MAX:
        refuse(Status.RATE_INVALID, f"give 1 to {GIVEN_MAX} rates at once")
    if not is_name(asked.source):
        refuse(Status.RATE_INVALID, f'"{asked.source[:80]}" cannot name a source; use a name such as ecb')
    if not 0 <= asked.max_age_days <= AGE_DAYS_MAX:
        refuse(Status.RATE_INVALID, f"max_age_days is 0 to {AGE_DAYS_MAX}, not {asked.max_age_days}")


def give_rates(batch: Batch, asked: GiveRates) -> Outcome:
    """Write down rates, on record."""
    request = {
        "rates": [_said(given) for given in asked.rates],
        "source": asked.source,
        "max_age_days": asked.max_age_days,
    }
    who, packed, replay = begin(batch, asked, request)
    if replay is not None:
        return replay
    _check_whole(asked)
    today = day_of(batch.snapshot.book.timezone, batch.now)
    checked = first_refusal(partial(_checked, batch, today, given) for given in asked.rates)
    places = {(frozenset((given.base, given.quote)), given.day) for given in checked}
    if len(places) != len(checked):
        refuse(Status.RATE_INVALID, "give each pair of currencies and day once, and one way round only")
    for given in checked:
        _keep(batch, asked, given)
    body: dict[str, Any] = {
        "rate": asked.id,
        "rates": [_said(given) for given in checked],
        "source": asked.source,
        "max_age_days": asked.max_age_days,
    }
    return finish(batch, asked, who, packed, "rate", asked.id, body, [])


def _keep(batch: Batch, asked: GiveRates, given: GivenRate) -> None:
    """The row of a pair and a day: a new one, or the one there is with the new rate."""
    key = (pair_of(given.base, given.quote), given.day)
    if batch.fact("rates", key) is None:
        row = Rate(batch.book_id, *key, given.rate, asked.source, asked.max_age_days, batch.index, batch.index)
        batch.add("rates", key, row)
        return
    row = batch.change("rates", key)
    row.rate, row.source, row.max_age_days = given.rate, asked.source, asked.max_age_days
    row.changed_index = batch.index
