"""What signed checkpoints say of a log that is being verified: it extends them, is older, or is another one.

Owns reading a checkpoint, a witness's state or a proof of consistency, and the verdict. Invariants: a root counts only
where a signature over it was checked, or a witness that the user keeps has seen it; what cannot be known from what was
given is said to be unknown, with what would tell; a verdict is of recomputed leaves and of nothing stored.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from ledger.core.book import book_code
from ledger.core.merkle import EMPTY_ROOT
from ledger.core.notes import NoteInvalid, VerifierKey, parse_checkpoint, parse_note, parse_verifier_key
from ledger.core.proofs import ProofInvalid, check_consistency
from ledger.core.signing_key import SigningKey, current_key
from ledger.core.tiles import Tile
from ledger.services.ed25519 import NotSigned, open_checkpoint
from ledger.services.witness_state import FORMAT as WITNESS_FORMAT

EXTENDS: Final = "extends"
OLDER: Final = "older"
FORKED: Final = "forked"
BAD_SIGNATURE: Final = "bad_signature"
UNKNOWN_KEY: Final = "unknown_key"
UNPROVED: Final = "unproved"


class ClaimUnusable(ValueError):
    """A file that says nothing signed. The message is a sentence."""


class Consistency(NamedTuple):
    """A proof that the log of ``first`` records is the beginning of that of ``second``, as a server answered it."""

    source: str
    first: int
    second: int
    first_root: bytes
    proof: tuple[bytes, ...]

    def leads_to(self, claim: "Claim") -> bool:
        """Whether it proves that the signed log begins with ``first`` records that have ``first_root``."""
        try:
            check_consistency(
                first=self.first,
                second=self.second,
                first_root=self.first_root,
                second_root=claim.root,
                proof=self.proof,
            )
        except ProofInvalid:
            return False
        return self.second == claim.size


@dataclass(frozen=True, slots=True)
class Claim:
    """A checkpoint that somebody kept: where it was read (``source``), what it says, the note; and of a witness the
    (size, root) that it saw before, and the keys that it trusts, some of them (``ended``) up to logs of a size."""

    source: str
    origin: str
    size: int
    root: bytes
    note: str
    seen: tuple[tuple[int, bytes], ...] = ()
    keys: tuple[VerifierKey, ...] = ()
    ended: tuple[tuple[VerifierKey, int], ...] = ()

    def is_of(self, book_id: int) -> bool:
        """Whether it is of this book's log: an origin ends with the code that no other book has."""
        # Rows of a tampered SQLite file may be of a book whose id is no number.
        return type(book_id) is int and self.origin.endswith(f"-{book_code(book_id)}")


class Verdict(NamedTuple):
    """What one claim says of the log: one of the words above and a sentence; ``missing`` are the records that the
    signed log had and this one has not, ``between`` the sizes between which the two logs part."""

    source: str
    verdict: str
    sentence: str
    size: int
    root: str
    missing: int = 0
    between: tuple[int, int] | None = None

    @property
    def good(self) -> bool:
        """Whether the log is what was signed, and what came after it."""
        return self.verdict == EXTENDS


def read_claim(source: str, content: str) -> Claim:
    """Read a signed note, or a witness's state. Raises ClaimUnusable."""
    try:
        if not content.lstrip().startswith("{"):
            stated = parse_checkpoint(parse_note(content).text)
            return Claim(source, stated.origin, stated.size, stated.root, content)
        state = json.loads(content)
        if state["format"] != WITNESS_FORMAT:
            raise ClaimUnusable(f"{source} is neither a signed checkpoint nor the state of a witness")
        if not state["note"]:
            raise ClaimUnusable(f"the witness whose state is {source} has not seen a checkpoint yet")
        stated = parse_checkpoint(parse_note(state["note"]).text)
        seen = tuple((int(size), bytes.fromhex(root)) for size, root in state["seen"])
        keys = tuple(parse_verifier_key(key) for key in state["keys"])
        ended = tuple((parse_verifier_key(key), int(end)) for key, end in state["ended"].items())
    except ClaimUnusable:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError, RecursionError) as error:
        raise ClaimUnusable(f"{source} cannot be read as a checkpoint or a witness's state: {error}") from error
    return Claim(source, stated.origin, stated.size, stated.root, state["note"], seen, keys, ended)


def read_consistency(source: str, content: str) -> Consistency:
    """Read what ``GET /v1/proofs/consistency`` answered. Raises ClaimUnusable."""
    try:
        given: dict[str, Any] = json.loads(content)
        first, second = int(given["first"]), int(given["second"])
        proof = tuple(bytes.fromhex(one) for one in given["proof"])
        return Consistency(source, first, second, bytes.fromhex(given["first_root"]), proof)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ClaimUnusable(f"{source} cannot be read as a proof of consistency: {error}") from error


@dataclass(slots=True)
class Against:
    """The claims about one book, and the roots of the log at their sizes: a ``TreeCheck`` of the pass over it.

    ``keys`` are those that the user trusts, in place of those on record; ``trusted`` is how many records a state stands
    for, whose roots are proved (``unproved``: those that cannot be).
    """

    claims: Sequence[Claim]
    proofs: Sequence[Consistency] = ()
    keys: Sequence[VerifierKey] = ()
    trusted: int = 0
    roots: dict[int, bytes] = field(default_factory=dict)
    _sizes: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._sizes = {claim.size for claim in self.claims} | {proof.first for proof in self.proofs}
        self._sizes |= {size for claim in self.claims for size, _ in claim.seen}
        self.roots[0] = EMPTY_ROOT

    def sizes_below(self, size: int) -> list[int]:
        """The sizes up to ``size`` whose roots the claims need where the pass does not begin at the first record: those
        of the checkpoints and proofs, and of what each witness saw the last one."""
        wanted = {claim.size for claim in self.claims} | {proof.first for proof in self.proofs}
        for claim in self.claims:
            wanted.add(max((seen for seen, _ in claim.seen if seen <= size), default=0))
        return sorted(one for one in wanted if 0 < one <= size)

    def before(self, start: int, stop: int) -> Collection[int]:
        """The sizes in the page of leaves whose roots are wanted."""
        return [size for size in self._sizes if start < size <= stop]

    def after(self, tiles: list[Tile], roots: Mapping[int, bytes]) -> None:
        """Keep the roots."""
        self.roots |= {size: root for size, root in roots.items() if size in self._sizes}

    def unsigned(self, on_record: Sequence[SigningKey]) -> list[Verdict]:
        """The verdicts that need no look at the log: of claims that no trusted key has signed. ``on_record`` are the
        keys that the log names."""
        found = [self._signature(claim, on_record) for claim in self.claims]
        return [verdict for verdict in found if verdict is not None]

    def verdicts(self, size: int, on_record: Sequence[SigningKey]) -> list[Verdict]:
        """What each claim says of the log of ``size`` records; ``on_record`` are the keys that the log names."""
        return [self._judged(claim, size, on_record) for claim in self.claims]

    def _judged(self, claim: Claim, size: int, on_record: Sequence[SigningKey]) -> Verdict:
        unsigned = self._signature(claim, on_record)
        if unsigned is None:
            return self._verdict(claim, size)
        if unsigned.verdict != UNKNOWN_KEY or self.keys or claim.keys:
            return unsigned
        # A copy that was set back and then got another key has ended the one that signed what is lost.
        found = self._verdict(claim, size)
        by = _ended_signer(claim, on_record)
        if by is None or found.verdict not in (FORKED, OLDER):
            return unsigned
        return found._replace(sentence=f"{found.sentence}; it is {by}")

    def _signature(self, claim: Claim, on_record: Sequence[SigningKey]) -> Verdict | None:
        known = current_key(on_record, claim.size)
        trusted = [*self.keys, *claim.keys] or ([known.verifier()] if known is not None else [])
        try:
            open_checkpoint(claim.note, trusted, dict(claim.ended))
        except NotSigned as error:
            return _said(claim, UNKNOWN_KEY, f"{error}; name the log's key with --key")
        except NoteInvalid as error:
            return _said(claim, BAD_SIGNATURE, str(error))
        return None

    def _verdict(self, claim: Claim, size: int) -> Verdict:
        good, bad = self._compared(claim, size)
        if bad is not None:
            return _said(claim, FORKED, _forked(good, bad), between=(good, bad))
        if claim.size > size:
            return _said(claim, OLDER, _older(claim, good, size), missing=claim.size - size)
        if claim.size not in self.roots:
            return _said(claim, UNPROVED, f"what was found ended the work before the first {claim.size} records")
        what = f"the first {claim.size} records are those that were signed, and {size - claim.size} came after them"
        return _said(claim, EXTENDS, what)

    def _compared(self, claim: Claim, size: int) -> tuple[int, int | None]:
        """(the largest size up to which this log is the signed one, the least at which it is not, or None)."""
        anchors = dict(claim.seen) | {claim.size: claim.root}
        anchors |= {proof.first: proof.first_root for proof in self.proofs if proof.leads_to(claim)}
        good = 0
        for at, root in sorted(anchors.items()):
            mine = self.roots.get(at) if at <= size else None
            if mine is None:
                continue
            if mine != root:
                return good, at
            # A root is over everything before it too.
            good = at
        return good, None


def _ended_signer(claim: Claim, on_record: Sequence[SigningKey]) -> str | None:
    """Which key on record has signed a claim that is of more records than it signs, in words."""
    for key in on_record:
        end = min((other.created_index for other in on_record if other.created_index > key.created_index), default=None)
        if end is None or end >= claim.size:
            continue
        try:
            open_checkpoint(claim.note, [key.verifier()])
        except NoteInvalid:
            continue
        return f"signed by key {key.id}, which this log ended at record {end}"
    return None


def _older(claim: Claim, good: int, size: int) -> str:
    said = (
        f"the log has {size} records and {claim.size} were signed: the last {claim.size - size} of those are not here"
    )
    if good == size:
        return f"{said}; all that is here is the beginning of the signed log"
    tell = (
        f"an earlier checkpoint, a witness's state, or the proof of consistency from {size} to {claim.size} would tell"
    )
    if good:
        return (
            f"{said}; the first {good} are the beginning of the signed log, and whether the {size - good} after them "
            f"belong to it cannot be known from this: {tell}"
        )
    return f"{said}; whether what is here is the beginning of the signed log cannot be known from this: {tell}"


def _said(claim: Claim, verdict: str, sentence: str, **more: Any) -> Verdict:
    return Verdict(claim.source, verdict, sentence, claim.size, claim.root.hex(), **more)


def _forked(good: int, bad: int) -> str:
    said = f"this is not the log that was signed: with {bad} records its root is another one"
    if good:
        return f"{said}; the first {good} records are the same, so the first that differs is from {good} to {bad - 1}"
    return f"{said}; the first record that differs is before {bad}"


def claims_of(claims: Iterable[Claim], book_id: int) -> list[Claim]:
    """Those that are of one book."""
    return [claim for claim in claims if claim.is_of(book_id)]
