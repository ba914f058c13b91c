"""Which facts the commands on months, and on what is flagged, lack. Invariant: as in ``missing``."""

from typing import Any, Final

from ledger.core.command_closing import ApproveReopening, ClosePeriod, Explain, RequestReopening
from ledger.core.principal import Agent
from ledger.core.seeking import Seeker


def _seek_close(seeker: Seeker, asked: ClosePeriod, own_agent: Agent | None) -> None:
    seeker.periods()
    snapshot = seeker.snapshot
    # The record right behind those that the statements stand on tells that their month was over.
    if 0 < asked.size < snapshot.head.size and asked.size not in snapshot.bodies:
        seeker.needs.bodies.add(asked.size)


def _seek_reopen(seeker: Seeker, asked: RequestReopening | ApproveReopening, own_agent: Agent | None) -> None:
    seeker.periods()


def _seek_explain(seeker: Seeker, asked: Explain, own_agent: Agent | None) -> None:
    snapshot = seeker.snapshot
    # Of the authorization nothing but its flags.
    if asked.authorization not in snapshot.authorizations:
        seeker.needs.authorizations.add(asked.authorization)
    if asked.authorization not in snapshot.explanations:
        seeker.needs.explanations.add(asked.authorization)


SEEK: Final[dict[type, Any]] = {
    ClosePeriod: _seek_close,
    RequestReopening: _seek_reopen,
    ApproveReopening: _seek_reopen,
    Explain: _seek_explain,
}
"""What each command refers to, beside its caller."""
