"""Which facts the command that removes texts lacks. Invariant: as in ``missing``."""

from typing import Any, Final

from ledger.core.command_redactions import Redact
from ledger.core.principal import Agent
from ledger.core.seeking import Seeker


def _seek_redact(seeker: Seeker, asked: Redact, own_agent: Agent | None) -> None:
    snapshot, needs = seeker.snapshot, seeker.needs
    seeker.agent(asked.agent)
    # Of an authorization nothing but whether it is there.
    if asked.authorization is not None and asked.authorization not in snapshot.authorizations:
        needs.authorizations.add(asked.authorization)
    indexes = {index for index, _ in asked.texts}
    if asked.record is not None:
        indexes.add(asked.record)
    needs.bodies.update(index for index in indexes if index not in snapshot.bodies)
    # A record whose body is not there may be archived, with its texts still here.
    needs.texts.update(
        text
        for text in asked.texts
        if text[0] in snapshot.bodies and snapshot.bodies[text[0]] is None and text not in snapshot.texts
    )
    needs.redactions.update(text for text in asked.texts if text not in snapshot.redactions)


SEEK: Final[dict[type, Any]] = {Redact: _seek_redact}
"""What the command refers to, beside its caller."""
