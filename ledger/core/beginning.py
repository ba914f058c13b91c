"""How a command begins that is no request to spend: who asks, what is asked, and whether it was answered before.

Invariant: nothing is looked at before the key is admitted.
"""

from typing import Any

from ledger.core.command import Command
from ledger.core.outcome import Outcome
from ledger.core.working import Batch, request_of


def begin(
    batch: Batch, asked: Command, request: dict[str, Any], currency: str | None = None
) -> tuple[tuple[str, str | None], Any, Outcome | None]:
    """Gate, canonical request, and the recorded answer where there is one; refuses an unknown ``currency``."""
    who = batch.admit(asked)
    if currency is not None:
        batch.digits(currency)
    for field in ("reason", "evidence"):
        text = getattr(asked, field, None)
        if text is not None:
            request[field] = batch.salted(asked, who[0], field, text)
    packed = request_of({"operation": asked.operation, **request})
    return who, packed, batch.answered(asked, who[0], packed[1])
