"""The command on keys that sign checkpoints. A private half is made and kept by whoever asks; it never comes here."""

from dataclasses import dataclass
from typing import ClassVar

from ledger.core.command import Command


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptSigningKey(Command):
    """Sign checkpoints with another key from the next record on. ``public_key`` has 32 bytes (Ed25519); ``replaces`` is
    the id of the key that is thought to sign now (None: there is none yet); ``name`` is the origin that the book gets
    with its first key, and of no effect later."""

    operation: ClassVar[str] = "adopt_signing_key"
    public_key: bytes
    name: str
    replaces: str | None = None
