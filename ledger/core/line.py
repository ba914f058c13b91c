"""A line before a budget as the core sees it: who stands there, by name and digest.

Owns ``Line`` and ``Waits``. Invariant: an extension stands before every authorization, so nothing but extensions is
ever before an extension.
"""

from collections.abc import Collection, Mapping
from typing import Final

Pair = tuple[str, str]
"""(principal, idempotency key)."""


class Line:
    """What a command that may wait finds in line before it: the budgets, by name, whose money authorizations and
    extensions wait for, and the digests of the requests in line. Not changed while a batch is decided."""

    __slots__ = ("authorizations", "digests", "extensions")

    def __init__(
        self, authorizations: Collection[str], extensions: Collection[str], digests: Mapping[Pair, bytes]
    ) -> None:
        self.authorizations = authorizations
        self.extensions = extensions
        self.digests = digests

    def is_before(self, budget: str, *, is_extension: bool) -> bool:
        """Whether somebody waits for the money of ``budget`` before an extension or an authorization."""
        return budget in self.extensions or (not is_extension and budget in self.authorizations)


NOBODY: Final = Line((), (), {})
"""The line before whoever stands first."""


class Waits:
    """Who began to wait in the batch at hand, or went on."""

    __slots__ = ("authorizations", "digests", "extensions")

    def __init__(self) -> None:
        self.authorizations: set[str] = set()
        self.extensions: set[str] = set()
        self.digests: dict[Pair, bytes] = {}

    def is_before(self, budget: str, *, is_extension: bool) -> bool:
        """As of ``Line``."""
        return budget in self.extensions or (not is_extension and budget in self.authorizations)
