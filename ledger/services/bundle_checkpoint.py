"""The checkpoint in a bundle: what it fixes, who signed it, and what that is worth.

Owns ``check_checkpoint``. Invariants: a signature counts only for the root that the records themselves give; which key
was trusted, and on whose word, is part of what is found out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ledger.core.book import book_code
from ledger.core.bundle import CHECKPOINT, MANIFEST, Manifest
from ledger.core.invariants import Difference, shown
from ledger.core.notes import Checkpoint, NoteInvalid, VerifierKey, parse_checkpoint, parse_note, parse_verifier_key
from ledger.core.proofs import ProofInvalid, check_consistency
from ledger.services.bundle_reading import Bundle
from ledger.services.ed25519 import NotSigned, open_checkpoint
from ledger.services.verify_findings import Findings
from ledger.services.verify_log import LogPass
from ledger.services.verify_proof_tables import check_note
from ledger.storage.scratch import Scratch

GIVEN: Final = "given"
BY_LOG: Final = "log"
BY_BUNDLE: Final = "bundle"


@dataclass(frozen=True, slots=True)
class Signing:
    """A bundle's checkpoint. ``size`` is the log's that it fixes (None: there is none), ``note`` its text, ``signers``
    the keys that signed and were trusted, and ``trusted`` on whose word: that of whoever verifies, of the log, or only
    of the bundle. ``notes`` are sentences on what it does not show."""

    size: int | None = None
    note: str = ""
    signers: tuple[VerifierKey, ...] = ()
    trusted: str = ""
    notes: tuple[str, ...] = ()


def check_checkpoint(
    bundle: Bundle,
    log: LogPass,
    scratch: Scratch,
    trusted: Sequence[VerifierKey],
    findings: Findings,
    *,
    alone: bool,
) -> Signing:
    """Take in the records of a bundle, stopping where its checkpoint was made to compare roots; ``scratch`` has the
    log's rows. Raises EnoughFound, BundleInvalid."""
    manifest = bundle.manifest
    if bundle.note is None:
        log.advance(manifest.size)
        if trusted:
            _differ(findings, "there is none, so none of the keys that were given has signed it")
        return Signing(notes=("there is no checkpoint: it fits together, and nobody has signed it",))
    try:
        checkpoint = parse_checkpoint(parse_note(bundle.note).text)
        if not checkpoint.origin.endswith(f"-{(code := book_code(manifest.book.book_id))}"):
            raise NoteInvalid(f"it is of {checkpoint.origin}, and the book that {MANIFEST} names has the code {code}")
        if checkpoint.size < manifest.first:
            raise NoteInvalid(f"it is of {checkpoint.size} records, and the bundle begins behind them")
    except NoteInvalid as error:
        _differ(findings, f"is not good: {error}")
        log.advance(manifest.size)
        return Signing()
    log.advance(min(checkpoint.size, manifest.size))
    _compare_root(manifest, checkpoint, log, findings)
    signing = _signing(bundle.note, checkpoint, manifest, log, scratch, trusted, findings, alone=alone)
    log.advance(manifest.size)
    return signing


def _compare_root(manifest: Manifest, checkpoint: Checkpoint, log: LogPass, findings: Findings) -> None:
    root = log.frontier.root()
    if checkpoint.size > manifest.size:
        try:
            check_consistency(
                first=manifest.size, second=checkpoint.size, first_root=root, second_root=checkpoint.root,
                proof=manifest.consistency,
            )  # fmt: skip
        except ProofInvalid as error:
            _differ(findings, f"is of a longer log, and these records are not shown to be its beginning: {error}")
        return
    if checkpoint.root != root:
        what = f"is not of these records: its root over {checkpoint.size} is another"
        findings.add(Difference(CHECKPOINT, what, None, "", "root", shown(root), shown(checkpoint.root)))
    if manifest.consistency:
        findings.add(Difference(MANIFEST, "has a proof that its checkpoint does not need", None, "", "consistency"))


def _signing(
    note: str,
    checkpoint: Checkpoint,
    manifest: Manifest,
    log: LogPass,
    scratch: Scratch,
    trusted: Sequence[VerifierKey],
    findings: Findings,
    *,
    alone: bool,
) -> Signing:
    size, later = checkpoint.size, checkpoint.size > manifest.size
    notes = []
    if size < manifest.size:
        notes.append(f"records from {size} on were recorded after the checkpoint: nobody has signed them")
    try:
        named = _named(manifest, log, alone=alone)
        if log.followed and not later:
            # As verify checks one that is stored, because importing stores it.
            check_note(note, size, log.frontier.root(), log.fold.signing_key, list(scratch.all_signing_keys()))
        keys = trusted or ([named] if named is not None else [])
        if not keys and not (log.followed or alone):
            # A record before could not be followed, which was told; which key signs is not known behind it.
            return Signing(size, note, notes=tuple(notes))
        if not keys and later:
            raise NotSigned("the log names no key up to here")
        if not keys:
            raise NoteInvalid("the log names no key, so none can have signed it")
        opened = open_checkpoint(note, keys)
    except NotSigned as error:
        if trusted or not (later or alone):
            _differ(findings, f"is not good: {error}")
            return Signing(size, note, notes=tuple(notes))
        notes.append(
            f"its checkpoint, of {size} records, is signed by a key that these do not name; give it with --key"
        )
        return Signing(size, note, notes=tuple(notes))
    except NoteInvalid as error:
        _differ(findings, f"is not good: {error}")
        return Signing(size, note, notes=tuple(notes))
    if not trusted:
        whose = "the bundle" if alone else "the log"
        notes.append(
            f"the key that signed was taken from {whose} itself: give the one that you know with --key, or anybody who "
            "can write a log could have signed this one"
        )
    return Signing(size, note, opened.signers, GIVEN if trusted else BY_BUNDLE if alone else BY_LOG, tuple(notes))


def _named(manifest: Manifest, log: LogPass, *, alone: bool) -> VerifierKey | None:
    """The key that signs a log as far as it was read, on the word of its records or, without them, of the manifest.
    Raises NoteInvalid."""
    if not alone:
        current = log.fold.signing_key
        return current.verifier() if current is not None and log.followed else None
    return None if manifest.key is None else parse_verifier_key(manifest.key)


def _differ(findings: Findings, what: str) -> None:
    findings.add(Difference(CHECKPOINT, what))
