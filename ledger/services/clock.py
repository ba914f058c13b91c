"""The clock rule: a decision's time comes from the database's clock and never runs away.

Owns the bound on jumps ahead. Invariant: a time that is further ahead of the last one than this machine's own
forward-only clock can explain (by more than the bound) is refused, instead of expiring every hold in the book.
"""

from ledger.services.errors import ClockJumped
from ledger.services.sources import Sources


class ClockGuard:
    """Compares each reading of the database's clock with the time that passed here since the last good one.

    ``bound_seconds`` is how far ahead a reading may be. A refused reading stays refused until the clock comes back or
    the process is started anew, which is how an operator says that the clock is right.
    """

    def __init__(self, sources: Sources, *, bound_seconds: float) -> None:
        self._sources = sources
        self._bound_us = int(bound_seconds * 1_000_000)
        self._clock_us: int | None = None
        self._elapsed_us = 0

    def check(self, clock_us: int) -> int:
        """``clock_us`` if it is reasonable. Raises ClockJumped."""
        elapsed_us = self._sources.elapsed_us()
        if self._clock_us is not None:
            expected_us = self._clock_us + (elapsed_us - self._elapsed_us)
            if clock_us > expected_us + self._bound_us:
                ahead = (clock_us - expected_us) // 1_000_000
                raise ClockJumped(
                    f"the clock is {ahead} seconds ahead of the time that passed; set it right, or restart this "
                    "process if it is right"
                )
            if clock_us < expected_us - self._bound_us:
                # A clock that was set far back may be set right again, which is no jump: the book has been there.
                return clock_us
        self._clock_us, self._elapsed_us = clock_us, elapsed_us
        return clock_us
