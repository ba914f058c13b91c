"""What a witness of a book sends back: its cosignature, made with a key of the test's own."""

from __future__ import annotations

from ledger.core.notes import COSIGNATURE
from ledger.services.ed25519 import SigningPair

WITNESS = SigningPair.from_seed(bytes([7] * 32))
SEEN_AT = 1_700_000_000


def cosigned(
    note: str, *, pair: SigningPair = WITNESS, name: str = "w.example.com", seen_at: int = SEEN_AT
) -> dict[str, str]:
    """The body of the request that keeps a cosignature of a checkpoint's note."""
    text = note[: note.rfind("\n\n") + 1]
    line = pair.cosign(name, text, seen_at)
    return {"key": pair.verifier(name, COSIGNATURE).text(), "note": note + line.line()}
