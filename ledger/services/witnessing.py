"""A witness of a book: looks at its checkpoints from elsewhere, and tells when they are not of one growing log.

Owns ``Witness``. Invariants: a checkpoint is taken only if a trusted key signed it and it is proved to extend the last
one; a new key is trusted only if a checkpoint that a trusted key signed covers the record that names it; what was found
wrong is kept with both notes, because they are the evidence.
"""

import time
from collections.abc import Iterable
from typing import Any, Final, Protocol

from ledger.core.canonical import is_canonical, parse
from ledger.core.merkle import leaf_hash
from ledger.core.notes import COSIGNATURE, Checkpoint, Note, NoteInvalid, VerifierKey, parse_verifier_key
from ledger.core.proofs import ProofInvalid, check_consistency, check_inclusion
from ledger.services.ed25519 import NotSigned, Opened, SigningPair, is_signed_by, open_checkpoint
from ledger.services.witness_state import WitnessState

FORK: Final = "fork"
ROLLBACK: Final = "rollback"
BAD_SIGNATURE: Final = "bad_signature"
UNKNOWN_KEY: Final = "unknown_key"
UNPROVED: Final = "unproved"
PAGES_MAX: Final = 50
ROTATIONS_MAX: Final = 16


class Server(Protocol):
    """Where checkpoints come from. What it cannot answer, it raises; ``refused`` tells what to make of that."""

    def get(self, path: str, **query: str | int | bool) -> Any:
        """The JSON of an answer."""


class Alarm(Exception):
    """The log is not what it was said to be. ``kind`` names how; ``evidence`` are the notes and proofs that show it."""

    def __init__(self, kind: str, sentence: str, evidence: dict[str, Any]) -> None:
        super().__init__(sentence)
        self.kind = kind
        self.evidence = evidence

    def content(self) -> dict[str, Any]:
        """The alarm as it is kept and told."""
        return {"kind": self.kind, "sentence": str(self), "evidence": self.evidence}


class Refusal(Exception):
    """The server refused to answer what every server answers: there is no such thing, it says."""


class Witness:
    """Looks at one book through ``server`` and remembers in ``state``."""

    def __init__(self, server: Server, state: WitnessState) -> None:
        self._server = server
        self.state = state

    def trust_first(self) -> VerifierKey:
        """Trust the key that the server names, where none is trusted yet. Raises whatever the server raises."""
        key = parse_verifier_key(self._server.get("/v1/checkpoints/key")["verifier_key"])
        self.state.keys.append(key)
        return key

    def look(self) -> tuple[Checkpoint, list[VerifierKey]]:
        """Look at the newest checkpoint and take it; it, and the keys that were learned on the way. Raises Alarm,
        Refusal where there is none yet, and whatever the server raises."""
        note = self._server.get("/v1/checkpoints/latest")["note"]
        learned: list[VerifierKey] = []
        for _ in range(ROTATIONS_MAX):
            try:
                opened = open_checkpoint(note, self.state.keys)
                break
            except NotSigned as error:
                followed = self._follow_rotation()
                if not followed:
                    raise self._alarm(
                        UNKNOWN_KEY, f"{error}; if its key was rotated, trust the new one with --key", note
                    ) from error
                learned += followed
            except NoteInvalid as error:
                raise self._alarm(BAD_SIGNATURE, f"the newest checkpoint is not good: {error}", note) from error
        else:
            raise self._alarm(UNKNOWN_KEY, "the signing key was rotated more often than is followed", note)
        self._take(opened)
        return opened.checkpoint, learned

    def _take(self, opened: Opened) -> None:
        """Check that a checkpoint extends the last one, and remember it. Raises Alarm."""
        last, new = self.state.checkpoint, opened.checkpoint
        # The log's own lines only: what witnesses added is theirs to show.
        own = {key.id for key in opened.signers}
        note = Note(opened.note.text, tuple(line for line in opened.note.signatures if line.id in own)).write()
        if last is not None:
            if new.origin != last.origin:
                raise self._alarm(FORK, f"the log calls itself {new.origin}, and was {last.origin}", note)
            if new.size < last.size:
                raise self._alarm(
                    ROLLBACK, f"the log was set back: it has {new.size} records and had {last.size}", note
                )
            self._check_extends(last, new, note)
        self.state.saw(note, new)
        self.state.alarm = None

    def _check_extends(self, last: Checkpoint, new: Checkpoint, note: str) -> None:
        proof: list[str] = []
        if new.size > last.size:
            try:
                answer = self._server.get("/v1/proofs/consistency", first=last.size, second=new.size)
            except Refusal as error:
                raise self._alarm(
                    UNPROVED, f"the server does not prove that {new.size} records begin with {last.size}: {error}", note
                ) from error
            proof = answer["proof"]
        try:
            hashes = [bytes.fromhex(given) for given in proof]
            check_consistency(
                first=last.size, second=new.size, first_root=last.root, second_root=new.root, proof=hashes
            )
        except (ProofInvalid, ValueError, TypeError) as error:
            raise self._alarm(
                FORK,
                f"the log of {new.size} records does not begin with the one of {last.size} that was seen: {error}",
                note,
                proof=proof,
            ) from error

    def _alarm(self, kind: str, sentence: str, note: str, **more: Any) -> Alarm:
        alarm = Alarm(kind, sentence, {"seen": self.state.note, "now": note, **more})
        self.state.alarm = alarm.content()
        return alarm

    # Rotations.

    def _follow_rotation(self) -> list[VerifierKey]:
        """Learn the next key from a checkpoint that a trusted key and it both signed; none where there is no such."""
        last = self.state.checkpoint
        for stored in self._newer(last.size if last is not None else 0):
            try:
                opened = open_checkpoint(stored["note"], self.state.keys)
            except NoteInvalid:
                continue
            learned = [key for key in self._candidates(opened.note) if self._is_recorded(key, opened.checkpoint)]
            if learned:
                self._take(opened)
                self.state.keys += learned
                return learned
        return []

    def _newer(self, size: int) -> Iterable[dict[str, Any]]:
        cursor: dict[str, str] = {}
        for _ in range(PAGES_MAX):
            page = self._server.get("/v1/checkpoints", limit=200, **cursor)
            for stored in page["items"]:
                if stored["size"] < size:
                    return
                yield stored
            if page["next_cursor"] is None:
                return
            cursor = {"cursor": page["next_cursor"]}

    def _candidates(self, note: Note) -> list[VerifierKey]:
        """Keys that the server names, that are not trusted and did sign this note."""
        told = [parse_verifier_key(key["verifier_key"]) for key in self._server.get("/v1/checkpoints/key")["keys"]]
        return [
            key
            for key in told
            if key not in self.state.keys and any(is_signed_by(key, note.text, line) for line in note.signatures)
        ]

    def _is_recorded(self, key: VerifierKey, checkpoint: Checkpoint) -> bool:
        """Whether the log of a trusted checkpoint has the record that makes this key sign."""
        keys = self._server.get("/v1/checkpoints/key")["keys"]
        index = next((told["log"]["index"] for told in keys if told["verifier_key"] == key.text()), None)
        if index is None or index >= checkpoint.size:
            return False
        given = self._server.get("/v1/proofs/inclusion", index=index, size=checkpoint.size)
        packed = self._server.get("/v1/proofs/record", index=index)["records"][0]["record"].encode()
        try:
            hashes = [bytes.fromhex(text) for text in given["proof"]]
            check_inclusion(
                leaf=leaf_hash(packed), index=index, size=checkpoint.size, proof=hashes, root=checkpoint.root
            )
        except (ProofInvalid, ValueError):
            return False
        body = parse(packed) if is_canonical(packed) else {}
        return body.get("kind") == "signing_key" and body.get("public_key") == key.public_key.hex()


def cosign(pair: SigningPair, name: str, note: str, *, now: int | None = None) -> tuple[str, str]:
    """(the note with the witness's line behind its own, the witness's verifier key) for a checkpoint that was checked;
    ``now`` in seconds since 1970."""
    text = note[: note.rfind("\n\n") + 1]
    line = pair.cosign(name, text, int(time.time()) if now is None else now)
    return note + line.line(), pair.verifier(name, COSIGNATURE).text()


def compare(first: WitnessState, second: WitnessState, server: Server | None = None) -> str | None:
    """What two witnesses of one book tell together: None where they saw one log, a sentence where they saw two.

    A size that both saw decides; else ``server`` is asked for the proof from one's checkpoint to the other's. Raises
    LookupError, with a sentence, where neither can tell, and whatever the server raises.
    """
    one, other = first.checkpoint, second.checkpoint
    if one is None or other is None:
        raise LookupError("one of the witnesses has not seen a checkpoint yet")
    if one.origin != other.origin:
        raise LookupError(f"they watch different logs: {one.origin} and {other.origin}")
    roots = dict(first.seen)
    shared = [(size, root) for size, root in second.seen if size in roots]
    for size, root in shared:
        if roots[size] != root:
            return f"FORK: with {size} records one witness saw root {roots[size]} and the other {root}"
    shorter, longer = sorted((one, other), key=lambda checkpoint: checkpoint.size)
    if any(size == shorter.size for size, _ in shared):
        return None
    if server is None:
        raise LookupError("they saw no checkpoint of the same size; name the server with --url to ask it for a proof")
    try:
        answer = server.get("/v1/proofs/consistency", first=shorter.size, second=longer.size)
        hashes = [bytes.fromhex(text) for text in answer["proof"]]
        check_consistency(
            first=shorter.size, second=longer.size, first_root=shorter.root, second_root=longer.root, proof=hashes
        )
    except (Refusal, ProofInvalid, ValueError) as error:
        return f"FORK: the log of {longer.size} records does not begin with that of {shorter.size}: {error}"
    return None
