"""What alerts are made of: an event to tell, and what is remembered between the records of a book."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ledger.core.money import currency_digits, format_atoms
from ledger.core.windows import DAY, calendar_bounds

BUDGET: Final = "budget"
LIMIT: Final = "limit"
AGENT: Final = "agent"
Place = tuple[str, str]
"""What is remembered about: a kind and a name."""


class Event(NamedTuple):
    """Something to tell. ``ordinal`` counts a record's events from 0; ``time`` is the record's."""

    log_index: int
    ordinal: int
    type: str
    time: str
    data: dict[str, Any]


class Memory:
    """What is remembered between the records of a book. ``values`` are canonical JSON values by place; ``changed``
    collects the places whose value is to be kept; ``units`` has the digits of what is not money."""

    def __init__(self, *, timezone: str, values: Mapping[Place, Any], units: Mapping[str, int]) -> None:
        self.timezone = timezone
        self.values: dict[Place, Any] = dict(values)
        self.changed: set[Place] = set()
        self._units = units
        self._day = (0, 0)

    def digits(self, currency: str) -> int:
        """Digits after the point of a currency or unit. Raises KeyError for one that is not known."""
        digits = currency_digits(currency)
        return self._units[currency] if digits is None else digits

    def money(self, atoms: int, currency: str) -> dict[str, str]:
        """An amount as the API writes it."""
        return {"amount": format_atoms(atoms, self.digits(currency)), "currency": currency}

    def day_of(self, moment: int) -> int:
        """When the book's day that contains ``moment`` begins; microseconds both."""
        start, end = self._day
        if not start <= moment < end:
            self._day = calendar_bounds(DAY, timezone=self.timezone, now=moment)
        return self._day[0]

    def keep(self, place: Place, value: Any) -> None:
        """Remember a value (None: nothing)."""
        if self.values.get(place) != value:
            self.values[place] = value
            self.changed.add(place)
