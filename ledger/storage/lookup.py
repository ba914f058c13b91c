"""How one kind of need is read, and how what was found becomes known: what every room of facts shares."""

from typing import Any, NamedTuple

from ledger.core.changeset import TableSpec
from ledger.core.snapshot import Known

Row = tuple[Any, ...]


class Lookup(NamedTuple):
    """How one kind of need is read: the table, and the columns that a key names (several: any of them fits).
    ``many`` says that a key may have several rows, ``where`` which of them are meant; a partial index says the same."""

    need: str
    table: TableSpec
    keys: tuple[tuple[str, ...], ...]
    many: bool = False
    where: str = ""


def put_found(known: Known[Any, Any], wanted: set[Any], found: dict[Any, Any]) -> None:
    """Know everything that was wanted; what was not found becomes ``None``."""
    for key in wanted:
        known.put(key, found.get(key))
