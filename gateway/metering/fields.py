"""Reading a provider's usage object: every number in it is known, known to be no charge, or named as unknown.

Invariant: ``UsageFields`` hands out each number at most once, and ``unknown()`` names every number that is not zero and
that nobody asked for, however deep it stands; so a field that a provider adds tomorrow is flagged and not free.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any, Final

UNKNOWN_MAX: Final = 16
PATH_CHARACTERS_MAX: Final = 96
DEPTH_MAX: Final = 8


def whole(value: Any) -> int | None:
    """A count as a whole number, or None for what is none: absent, null, text, a boolean, negative or with a fraction.

    Some providers write 12.0 for 12; that is 12.
    """
    if type(value) is int:
        return value if value >= 0 else None
    if value is None or isinstance(value, bool) or not isinstance(value, Real):
        return None
    number: Any = value
    # What is not finite leaves no remainder of zero.
    return int(number) if number >= 0 and number % 1 == 0 else None


def mapping(value: Any) -> Mapping[str, Any]:
    """The value where it is an object, else an empty one."""
    return value if type(value) is dict or isinstance(value, Mapping) else {}


def text(value: Any) -> str:
    """The value where it is text, else ""."""
    return value if isinstance(value, str) else ""


class UsageFields:
    """The numbers of one usage object by their paths (``prompt_tokens_details.cached_tokens``)."""

    def __init__(self, usage: Mapping[str, Any], *, root: str = "usage", apart: Iterable[str] = ()) -> None:
        """``apart`` names members that are read elsewhere and not looked into here."""
        self._root = root
        self._left: dict[str, Any] = {}
        self._words: set[str] = set()
        self._no_counts: set[str] = set()
        self._too_deep = ""
        self._walk(usage, "", frozenset(apart), 0)

    def take(self, path: str) -> int | None:
        """The count at ``path``, or None where there is no whole number; a strange number stays unknown."""
        value = self._left.get(path)
        if value is None:
            if path in self._words:
                self._no_counts.add(path)
            return None
        count = whole(value)
        if count is not None:
            del self._left[path]
        return count

    def largest(self, *paths: str) -> int | None:
        """The largest of one count that providers report under several names; None where no name is there."""
        found = [count for count in map(self.take, paths) if count is not None]
        return max(found) if found else None

    def forget(self, *paths: str) -> None:
        """Say that these, and all below them, are no charge of their own."""
        for known in list(self._left):
            name = known
            while name:
                if name in paths:
                    del self._left[known]
                    break
                name = name.rpartition(".")[0]

    def unknown(self) -> tuple[str, ...]:
        """The paths of what is not zero and was neither taken nor forgotten, and of counts that are none, such as text;
        at most 16, in order."""
        paths = self._no_counts | {path for path, value in self._left.items() if value}
        found = sorted(f"{self._root}.{path}"[:PATH_CHARACTERS_MAX] for path in paths)
        if self._too_deep:
            found.append(f"{self._root}.{self._too_deep}"[:PATH_CHARACTERS_MAX])
        return tuple(found[:UNKNOWN_MAX])

    def _walk(self, value: Mapping[str, Any], before: str, apart: frozenset[str], depth: int) -> None:
        for name, member in value.items():
            path = f"{before}.{name}" if before else str(name)
            if type(member) is int and path not in apart:
                # The usual case. Objects in a list share their paths: there a zero replaces nothing.
                if member or path not in self._left:
                    self._left[path] = member
                continue
            if path in apart or member is None:
                continue
            if isinstance(member, bool | str):
                self._words.add(path)
                continue
            inner = member if isinstance(member, list) else [member]
            for item in inner:
                if not isinstance(item, Mapping):
                    # Of a list of numbers any that is not zero makes the list unknown.
                    if isinstance(item, Real) and (item or path not in self._left):
                        self._left[path] = item
                elif depth >= DEPTH_MAX:
                    self._too_deep = self._too_deep or path
                else:
                    self._walk(item, path, apart, depth + 1)
