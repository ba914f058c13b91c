"""What is known of one call, for whoever watches: metrics, log lines, traces.

Owns ``CallFacts`` and the ports of telemetry. Invariants: nothing here is a prompt, an answer or a key, and nothing
here decides anything; what a client chose freely is taken only in a form that can be shown.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from gateway.spend import RELEASED, SETTLED, UNKNOWN, Spend
from gateway.usage import Usage
from gateway.wires import Wire
from ledger.core.outcome import DENIALS

DENIED: Final = "denied"
REFUSED: Final = "refused"
FAILED: Final = "failed"
LEFT: Final = "left"
ANSWERED: Final = "answered"
OUTCOMES: Final = {
    SETTLED: "the provider answered, and the cost is settled",
    UNKNOWN: "the call was sent, and its hold stays because nobody here knows what it did cost",
    RELEASED: "the provider cannot have billed anything: it was not reached, or refused with 3xx or 4xx",
    DENIED: "a policy, a limit, a budget, or a cost that nothing bounds or prices",
    REFUSED: "not a call that could be asked for: its form, its key, a bound of this server",
    FAILED: "Bursar itself could not decide or failed; nothing was forwarded",
    LEFT: "the client left before the call was forwarded",
}
"""How a call can end."""
_DENIALS: Final = frozenset(status.value for status in DENIALS)
_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}")
_KEY_PREFIXES: Final = ("bk_", "sk-")


class Trace(Protocol):
    """One call's place in a trace."""

    @property
    def id(self) -> str:
        """The trace's id, as 32 hexadecimal digits."""

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """The trace headers that the call to the provider carries."""


class Telemetry(Protocol):
    """Where spans and measurements go. Nothing in it raises, and nothing in it waits but ``stop``."""

    def begin(self, facts: CallFacts, headers: Sequence[tuple[bytes, bytes]]) -> Trace | None:
        """Begin the span of a call, below whatever its client's ``traceparent`` names."""

    def end(self, facts: CallFacts) -> None:
        """End the span of a call, and count it."""

    async def stop(self, seconds: float) -> None:
        """Send what is left, in at most so many seconds."""


@dataclass(slots=True)
class CallFacts:
    """One request to the gateway. Times are of ``time.monotonic``; 0 is not yet."""

    request_id: str
    method: str
    path: str
    began_at: float = field(default_factory=time.monotonic)
    provider: str = ""
    base_url: str = ""
    wire: Wire | None = None
    model: str = ""
    agent: str = ""
    run: str = ""
    stream: bool = False
    output_limit: int | None = None
    spend: Spend | None = None
    code: str = ""
    status: int = 0
    has_left: bool = False
    forwarded_at: float = 0.0
    first_byte_at: float = 0.0
    ended_at: float = 0.0
    provider_status: int = 0
    usage: Usage | None = None
    cost: int | None = None
    is_estimated: bool = False
    finish_reasons: tuple[str, ...] = ()
    trace: Trace | None = None

    @property
    def authorization(self) -> str:
        """The id of the decision on record, or of one that may be; "" where there is none."""
        spend = self.spend
        if spend is None or not spend.was_asked or self.has_left:
            return ""
        outcome = spend.outcome
        return spend.id if outcome is None or spend.approved or outcome.status in DENIALS else ""

    @property
    def currency(self) -> str:
        """The currency of the cost."""
        return self.spend.currency if self.spend is not None else ""

    @property
    def outcome(self) -> str:
        """One of ``OUTCOMES``; ``answered`` for a question that costs nothing."""
        if self.has_left:
            return LEFT
        if self.spend is not None and self.spend.end:
            return self.spend.end
        if self.code:
            return DENIED if self.code in _DENIALS else FAILED if self.status >= 500 else REFUSED
        return ANSWERED if self.wire is None else FAILED

    @property
    def seconds(self) -> float:
        """From the request to its end."""
        return self.ended_at - self.began_at

    def tokens(self, kind: str) -> int:
        """How many ``input_tokens`` or ``output_tokens`` the call used; 0 while nobody knows."""
        return self.usage.counts.get(kind, 0) if self.usage is not None else 0


def shown_model(name: str) -> str:
    """The name of a model as logs and spans have it; "" for what looks like no model: a client may write anything
    there, its key by mistake too."""
    return name if _MODEL.fullmatch(name) is not None and not name.startswith(_KEY_PREFIXES) else ""
