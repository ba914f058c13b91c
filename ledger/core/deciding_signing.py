"""The decision to sign checkpoints with another key.

Invariants: which key signs is a fact of the log, so a key that came from elsewhere shows; the origin never changes; a
key that was replaced never signs again; two processes that adopt a first key at once get one key.
"""

from typing import Any

from ledger.core.changeset import row_of
from ledger.core.command_signing import AdoptSigningKey
from ledger.core.finishing import finish
from ledger.core.notes import ED25519, key_id
from ledger.core.outcome import Outcome, Status
from ledger.core.refusal import refuse
from ledger.core.signing_key import ALGORITHM_ED25519, SigningKey, current_key
from ledger.core.working import Batch, request_of


def adopt_signing_key(batch: Batch, asked: AdoptSigningKey) -> Outcome:
    """Record the public half of the key that signs from here on."""
    who = batch.admit(asked)
    packed = request_of({"operation": asked.operation})
    replay = batch.answered(asked, who[0], packed[1])
    if replay is not None:
        return replay
    known: tuple[SigningKey, ...] = batch.fact("signing_keys", ALGORITHM_ED25519) or ()
    current = current_key(known)
    signing = current.id if current is not None else None
    if asked.replaces != signing:
        refuse(Status.WRONG_STATE, f"the key that signs now is {signing or 'none'}", state=signing or "none")
    name = current.name if current is not None else asked.name
    identity = key_id(name, ED25519, asked.public_key).hex()
    if identity == signing:
        refuse(Status.WRONG_STATE, f"key {identity} signs already", state=identity)
    if any(key.id == identity for key in known):
        refuse(Status.WRONG_STATE, f"key {identity} signed before and was replaced; make a new one", state="replaced")
    row = SigningKey(
        batch.book_id, identity, name, ALGORITHM_ED25519, asked.public_key, who[0], batch.now, batch.index
    )  # fmt: skip
    batch.make("signing_keys", ALGORITHM_ED25519, (*known, row))
    batch.inserts["signing_keys"].append(row_of(row))
    body: dict[str, Any] = {
        "signing_key": identity,
        "name": name,
        "algorithm": ALGORITHM_ED25519,
        "public_key": asked.public_key.hex(),
    }
    if signing is not None:
        body["replaces"] = signing
    return finish(batch, asked, who, packed, "signing_key", identity, body, [])
