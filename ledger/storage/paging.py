"""Pages of a list: at most so many items, and where the next page begins.

Invariant: a page continues after the last key of the one before, never at an offset, so that what is inserted meanwhile
neither repeats an item nor hides one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

LIMIT_MAX: Final = 200
Item = TypeVar("Item")
Cursor = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """``items`` in order; ``after`` is the key to continue after, or None when there are no more."""

    items: list[Item]
    after: Cursor | None


def bounded(limit: int) -> int:
    """``limit`` if a page may be that long. Raises ValueError otherwise."""
    if not 1 <= limit <= LIMIT_MAX:
        raise ValueError(f"a page has 1 to {LIMIT_MAX} items, not {limit}")
    return limit


def page_of(rows: Sequence[Any], limit: int, make: Callable[[Any], Item], key: Callable[[Item], Cursor]) -> Page[Item]:
    """A page of ``limit`` items out of the ``limit + 1`` rows that were asked for."""
    items = [make(row) for row in rows[:limit]]
    return Page(items, key(items[-1]) if len(rows) > limit else None)
