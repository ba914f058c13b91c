"""How checkpoints, signing keys and proofs are shown.

Invariant: only public halves of keys come here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ledger.core.moment import moment_text
from ledger.core.notes import ED25519, VerifierKey, parse_checkpoint, parse_note
from ledger.core.outcome import Outcome
from ledger.core.signing_key import SigningKey, current_key
from ledger.services.cosigning import cosigned_note, readable
from ledger.services.ed25519 import public_pem
from ledger.services.proving import Consistency, Inclusion
from ledger.storage.checkpoint_rows import StoredCheckpoint, StoredCosignature


def checkpoint_shown(stored: StoredCheckpoint, cosigned: list[StoredCosignature]) -> dict[str, Any]:
    """A checkpoint as answers have it."""
    note = parse_note(stored.note)
    return {
        "origin": parse_checkpoint(note.text).origin,
        "size": stored.size,
        "root": stored.root.hex(),
        "keys": [signature.id.hex() for signature in note.signatures],
        "note": cosigned_note(stored, cosigned),
        "cosignatures": [
            {"name": seen.line.name, "key": seen.key, "seen_at": moment_text(seen.seen_at)}
            for seen in map(readable, cosigned)
            if seen is not None
        ],
        "created_at": moment_text(stored.created_at),
    }


def keys_shown(keys: list[SigningKey]) -> dict[str, Any]:
    """Every key that ever signed; there is one at least."""
    current = current_key(keys) or keys[-1]
    return {
        "origin": current.name,
        "verifier_key": current.verifier().text(),
        "pem": public_pem(current.public_key),
        "keys": [
            {
                "id": key.id,
                "origin": key.name,
                "algorithm": key.algorithm,
                "verifier_key": key.verifier().text(),
                "pem": public_pem(key.public_key),
                "current": key is current,
                "made_by": key.made_by,
                "created_at": moment_text(key.created_at),
                "log": {"index": key.created_index},
            }
            for key in reversed(keys)
        ],
    }


def signing_key_answer(outcome: Outcome, scale: Mapping[str, int]) -> dict[str, Any]:
    """The answer to making another key sign."""
    body = outcome.body or {}
    shown = {
        "id": body["signing_key"],
        "origin": body["name"],
        "algorithm": body["algorithm"],
        "verifier_key": VerifierKey(body["name"], ED25519, bytes.fromhex(body["public_key"])).text(),
        "replaces": body.get("replaces"),
    }
    return {**shown, "log": {"index": outcome.log_index, "leaf_hash": outcome.leaf_hash.hex()}}


def inclusion_shown(made: Inclusion, about: Mapping[str, Any]) -> dict[str, Any]:
    """A proof of inclusion; ``about`` may name a transfer of the record."""
    shown: dict[str, Any] = {
        "index": made.index,
        "size": made.size,
        "leaf_hash": made.leaf.hex(),
        "root": made.root.hex(),
        "proof": [given.hex() for given in made.proof],
    }
    return shown | {name: about[name] for name in ("position", "transfer") if name in about}


def consistency_shown(made: Consistency) -> dict[str, Any]:
    """A proof of consistency."""
    return {
        "first": made.first,
        "second": made.second,
        "first_root": made.first_root.hex(),
        "second_root": made.second_root.hex(),
        "proof": [given.hex() for given in made.proof],
    }
