"""What the calls of each agent and model did generate lately, so that a stream may start on less than it can cost.

Invariant: only ever a hint for how much to hold first; what it says decides no limit.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final

KEPT: Final = 32
PAIRS_MAX: Final = 4096
LEAST: Final = 8
"""Fewer calls than this say nothing."""


class OutputHistory:
    """The last output sizes (tokens) of each (book, agent, model), of one process; the least used are forgotten."""

    def __init__(self) -> None:
        self._sizes: OrderedDict[tuple[int, str, str], deque[int]] = OrderedDict()

    def add(self, book_id: int, agent: str, model: str, output_tokens: int) -> None:
        """Remember what a call generated."""
        sizes = self._sizes.setdefault((book_id, agent, model), deque(maxlen=KEPT))
        sizes.append(output_tokens)
        self._sizes.move_to_end((book_id, agent, model))
        if len(self._sizes) > PAIRS_MAX:
            self._sizes.popitem(last=False)

    def expected(self, book_id: int, agent: str, model: str) -> int | None:
        """Tokens that nine in ten of its calls stayed within; None where too few are known."""
        sizes = self._sizes.get((book_id, agent, model))
        if sizes is None or len(sizes) < LEAST:
            return None
        return sorted(sizes)[len(sizes) * 9 // 10]
