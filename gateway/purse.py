"""What a stream holds that started on less than it can cost, and how that grows.

Invariant: what was seen is held, and ``lookahead_tokens`` more for what the provider generates before it can be
stopped; where that cannot be, the stream is cut. A provider that is faster than that has generated more, and bills it.
"""

from __future__ import annotations

from typing import Final

from gateway.estimate import Request
from gateway.holding import Holding
from gateway.metering import StreamMeter
from gateway.pricing import Tariff
from gateway.spend import Spend
from gateway.tokens import TokenCounter
from ledger.core.inference import StreamStart

EXTEND_WAIT_SECONDS: Final = 1.0
"""How long an extension may stand in line; the provider goes on meanwhile."""
UNSEEN_TOKENS: Final = 64
"""Tokens of an answer that are not in its text: where messages and calls of tools begin and end."""


class GrowingPurse:
    """The hold of one stream, extended ahead of what it consumes."""

    def __init__(
        self,
        spend: Spend,
        holding: Holding,
        request: Request,
        tariff: Tariff,
        tokens: TokenCounter,
        rules: StreamStart,
    ) -> None:
        self._spend = spend
        self._holding = holding
        self._request = request
        self._tariff = tariff
        self._tokens = tokens
        self._counted_bytes = 0
        self._counted_tokens = 0
        self._ahead = rules.lookahead_tokens
        self._step = max(rules.start_tokens, rules.lookahead_tokens, 1)

    async def covers(self, meter: StreamMeter) -> bool:
        """Extend where the next ``lookahead_tokens`` are not held; False where that is denied."""
        if self._cost(self._seen_at_most(meter) + self._ahead) <= self._spend.approved:
            return True
        # Bytes bound tokens from above, and far too high: count, now that it matters.
        counted = await self._tokens.count((meter.visible_text(),), self._request.encoding)
        self._counted_tokens = counted + meter.output_bytes_dropped
        self._counted_bytes = meter.output_text_bytes
        seen = self._seen_at_most(meter)
        if self._cost(seen + self._ahead) <= self._spend.approved:
            return True
        # A larger step asks less often; where there is no room for it, there may be for what is needed now.
        for step, seconds in ((self._step, 0.0), (0, EXTEND_WAIT_SECONDS)):
            missing = self._cost(seen + self._ahead + step) - self._spend.approved
            if missing <= 0 or await self._spend.extend(missing, seconds):
                return True
        return False

    def _seen_at_most(self, meter: StreamMeter) -> int:
        """Tokens generated so far, at most: those counted, the bytes seen since, and what cannot be seen."""
        return self._counted_tokens + meter.output_text_bytes - self._counted_bytes + UNSEEN_TOKENS

    def _cost(self, output_tokens: int) -> int:
        return self._holding.cost_of(self._tariff, output_tokens)
