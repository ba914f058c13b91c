"""A witness of a book: looks at its checkpoints from elsewhere, and tells when they are not of one growing log.

Owns ``Witness``. Invariants: a checkpoint is taken only if a trusted key signed it and it is proved to extend the last
one; a new key is trusted only if a checkpoint that a trusted key signed covers the record that names it, and the key
before it only up to there; a fork is said to be one only where the evidence proves it to anybody; what was found wrong
is kept with both notes.
"""

import time
from collections.abc import Iterable
from typing import Any, Final, Protocol

from ledger.core.canonical import is_canonical, parse
from ledger.core.merkle import HASH_SIZE, leaf_hash
from ledger.core.notes import (
    COSIGNATURE,
    ED25519,
    NOTE_BYTES_MAX,
    Checkpoint,
    Note,
    NoteInvalid,
    VerifierKey,
    parse_verifier_key,
)
from ledger.core.proofs import ProofInvalid, check_consistency, check_inclusion
from ledger.services.ed25519 import NotSigned, Opened, SigningPair, is_signed_by, open_checkpoint
from ledger.services.witness_state import WitnessState

FORK: Final = "fork"
ANOTHER_LOG: Final = "another_log"
ROLLBACK: Final = "rollback"
BAD_SIGNATURE: Final = "bad_signature"
UNKNOWN_KEY: Final = "unknown_key"
UNPROVED: Final = "unproved"
PAGES_MAX: Final = 50
HASHES_MAX: Final = 128
"""More than any proof has."""
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
        self._told: dict[VerifierKey, int] | None = None

    def trust_first(self) -> VerifierKey:
        """Trust the key that the server names, where none is trusted yet. Raises whatever the server raises."""
        key = parse_verifier_key(self._server.get("/v1/checkpoints/key")["verifier_key"])
        self.state.keys.append(key)
        return key

    def look(self) -> tuple[Checkpoint, list[VerifierKey]]:
        """Look at the newest checkpoint and take it; it, and the keys that were learned on the way. Raises Alarm,
        Refusal where there is none yet, and whatever the server raises."""
        self._told = None
        note = str(self._server.get("/v1/checkpoints/latest")["note"])
        learned: list[VerifierKey] = []
        for _ in range(ROTATIONS_MAX):
            try:
                opened = open_checkpoint(note, self.state.keys, self.state.ended)
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
        self._end_keys(opened)
        return opened.checkpoint, learned

    def _take(self, opened: Opened) -> None:
        """Check that a checkpoint extends the last one, and remember it. Raises Alarm."""
        last, new = self.state.checkpoint, opened.checkpoint
        # The log's own lines only: what witnesses added is theirs to show.
        own = {key.id for key in opened.signers}
        note = Note(opened.note.text, tuple(line for line in opened.note.signatures if line.id in own)).write()
        if last is not None:
            if new.origin != last.origin:
                raise self._alarm(ANOTHER_LOG, f"the log calls itself {new.origin}, and was {last.origin}", note)
            if new.size < last.size:
                raise self._alarm(
                    ROLLBACK, f"the log was set back: it has {new.size} records and had {last.size}", note
                )
            self._check_extends(last, new, note)
        self.state.saw(note, new)

    def _check_extends(self, last: Checkpoint, new: Checkpoint, note: str) -> None:
        if new.size == last.size:
            if new.root != last.root:
                raise self._alarm(FORK, f"there are two logs of {new.size} records, both signed", note)
            return
        try:
            answer = self._server.get("/v1/proofs/consistency", first=last.size, second=new.size)
        except Refusal as error:
            raise self._alarm(
                UNPROVED, f"the server does not prove that {new.size} records begin with {last.size}: {error}", note
            ) from error
        found = _compared(last, new, answer)
        if found is not None:
            raise self._alarm(*found, note, answer=answer)

    def _alarm(self, kind: str, sentence: str, note: str, *, answer: Any = None) -> Alarm:
        evidence = {"seen": self.state.note, "now": note[:NOTE_BYTES_MAX]}
        if isinstance(answer, dict):
            evidence |= {name: answer[name] for name in ("proof", "first_root") if _is_small(answer.get(name))}
        alarm = Alarm(kind, sentence, evidence)
        self.state.told(alarm.content())
        return alarm

    # Rotations.

    def _follow_rotation(self) -> list[VerifierKey]:
        """Learn the next key from a checkpoint that a trusted key and it both signed; none where there is no such."""
        last, state = self.state.checkpoint, self.state
        for stored in self._newer(last.size if last is not None else 0):
            try:
                opened = open_checkpoint(stored["note"], state.keys, state.ended)
            except NoteInvalid:
                continue
            learned = [
                key
                for key in self._told_keys()
                if key not in state.keys
                and any(is_signed_by(key, opened.note.text, line) for line in opened.note.signatures)
                and self._recorded(key, opened.checkpoint) is not None
            ]
            if learned:
                opened = open_checkpoint(stored["note"], [*state.keys, *learned], state.ended)
                self._take(opened)
                state.keys += learned
                self._end_keys(opened)
                return learned
        return []

    def _end_keys(self, opened: Opened) -> None:
        """Trust a key no further than the record that names its successor: with its private half, which may have become
        known since, anybody could go on signing. A key of which the log names none is left as it is."""
        open_keys = [key for key in self.state.keys if key.algorithm == ED25519 and key not in self.state.ended]
        if len(open_keys) < 2:
            return
        for new in (key for key in opened.signers if key in open_keys):
            record = self._recorded(new, opened.checkpoint)
            if record is None:
                continue
            index = record["index"]
            for old in open_keys:
                if self._told_keys().get(old, index) < index or record.get("replaces") == old.id.hex():
                    self.state.end(old, index)

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

    def _told_keys(self) -> dict[VerifierKey, int]:
        """The keys that the server names, and the records that it says make them sign: asked for once a look."""
        if self._told is None:
            keys = self._server.get("/v1/checkpoints/key")["keys"]
            self._told = {parse_verifier_key(told["verifier_key"]): int(told["log"]["index"]) for told in keys}
        return self._told

    def _recorded(self, key: VerifierKey, checkpoint: Checkpoint) -> dict[str, Any] | None:
        """The record that makes this key sign, if the log of a checkpoint that is trusted has it."""
        index = self._told_keys().get(key)
        if index is None or index >= checkpoint.size:
            return None
        try:
            given = self._server.get("/v1/proofs/inclusion", index=index, size=checkpoint.size)
            packed = self._server.get("/v1/proofs/record", index=index)["records"][0]["record"].encode()
            hashes = [bytes.fromhex(text) for text in given["proof"]]
            check_inclusion(
                leaf=leaf_hash(packed), index=index, size=checkpoint.size, proof=hashes, root=checkpoint.root
            )
        except (Refusal, ProofInvalid, ValueError):
            return None
        body = parse(packed) if is_canonical(packed) else {}
        named = tuple(body.get(name) for name in ("index", "kind", "signing_key", "public_key"))
        return body if named == (index, "signing_key", key.id.hex(), key.public_key.hex()) else None


def _compared(last: Checkpoint, new: Checkpoint, answer: Any) -> tuple[str, str] | None:
    """What a server's answer says of two signed checkpoints, of which ``new`` is of the longer log: None where it
    proves that the one extends the other, else (kind of alarm, sentence).

    An answer that proves nothing is no evidence against anybody. One that leads to the root of ``new`` from another
    beginning is: the root of its first records is fixed by it, and is not what was signed for them.
    """
    proof = answer.get("proof") if isinstance(answer, dict) else None
    unproved = f"the server does not prove that the log of {new.size} records begins with the one of {last.size}"
    if not isinstance(proof, list):
        return UNPROVED, f"{unproved}: its answer has no proof"
    wrong = _wrong(last, new, last.root.hex(), proof)
    if wrong is None:
        return None
    if _wrong(last, new, answer.get("first_root"), proof) is not None:
        return UNPROVED, f"{unproved}: {wrong}"
    return FORK, (
        f"the log of {new.size} records does not begin with the one of {last.size} that was signed: the proof shows "
        "another root for its beginning"
    )


def _wrong(last: Checkpoint, new: Checkpoint, first_root: Any, proof: list[Any]) -> str | None:
    """What is wrong with a proof from a root (hex) of the log of ``last``'s size to ``new``; None where nothing is."""
    try:
        check_consistency(
            first=last.size,
            second=new.size,
            first_root=bytes.fromhex(first_root),
            second_root=new.root,
            proof=[bytes.fromhex(text) for text in proof],
        )
    except (ProofInvalid, ValueError, TypeError) as error:
        return str(error)
    return None


def _is_small(value: Any) -> bool:
    """Whether a part of an answer is what it should be, and so short enough to be kept."""
    texts = value if isinstance(value, list) else [value]
    return len(texts) <= HASHES_MAX and all(isinstance(text, str) and len(text) <= 2 * HASH_SIZE for text in texts)


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
    except Refusal as error:
        raise LookupError(f"the server does not prove that what one saw extends what the other saw: {error}") from error
    found = _compared(shorter, longer, answer)
    if found is not None and found[0] != FORK:
        raise LookupError(found[1])
    return None if found is None else f"FORK: {found[1]}"
