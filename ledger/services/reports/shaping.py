"""What the maker of a report hands over: its tables and notes, to be put under one heading."""

from typing import NamedTuple

from ledger.core.report import Table


class Made(NamedTuple):
    """Tables in order, and sentences on how to read them."""

    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()
