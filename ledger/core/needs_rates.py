"""Which rates commands lack: those that are given, and those by which an amount may be converted.

Invariant: as in ``missing``. Where a rate is found, nothing older is sought.
"""

from typing import Any, Final

from ledger.core.command_rates import GiveRates
from ledger.core.money import currency_digits
from ledger.core.principal import Agent
from ledger.core.rate import day_of, days_back, leg_on, pair_of, ways
from ledger.core.seeking import Seeker


def _seek_given(seeker: Seeker, asked: GiveRates, own_agent: Agent | None) -> None:
    seeker.rates_given = True
    known = seeker.snapshot.rates
    seeker.needs.rates.update(
        key for given in asked.rates if (key := (pair_of(given.base, given.quote), given.day)) not in known
    )


def seek_rate(seeker: Seeker, base: str, quote: str, moment: int | None = None) -> bool:
    """The rates by which ``base`` is converted to ``quote`` at a moment (None: when it is decided); whether there are
    any. False while some are still to be read. Where the batch gives rates, every way is read: any of them may be open
    or closed by then."""
    if currency_digits(base) is None or currency_digits(quote) is None:
        return False
    snapshot = seeker.snapshot
    day = day_of(snapshot.book.timezone, snapshot.moment if moment is None else moment)
    found = False
    for way in ways(base, quote):
        read = [_is_read(seeker, day, *pair) for pair in way]
        if not all(read):
            return False
        if all(leg_on(day, *pair, lambda pair, day: snapshot.rates[pair, day]) is not None for pair in way):
            found = True
            if not seeker.rates_given:
                break
    return found


def _is_read(seeker: Seeker, day: int, base: str, quote: str) -> bool:
    """Whether everything about a pair is known back to the first day that has a rate; what is not, is sought."""
    known = seeker.snapshot.rates
    pairs = (pair_of(base, quote), pair_of(quote, base))
    absent = False
    for earlier in days_back(day):
        keys = [(pair, earlier) for pair in pairs]
        unread = [key for key in keys if key not in known]
        if unread:
            absent = True
            seeker.needs.rates.update(unread)
        elif not absent and any(known[key] is not None for key in keys):
            return True
    return not absent


SEEK: Final[dict[type, Any]] = {GiveRates: _seek_given}
"""What the command refers to, beside its caller."""
