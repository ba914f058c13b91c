"""Checkpoints of a book: the head of its log, signed, and kept beside it.

Owns ``Checkpointer``: which key signs, making a checkpoint, rotating the key. Invariants: only a committed head is
signed; nothing is signed that is not shown to extend the last checkpoint, so a log that was cut or rewritten under a
server stays without a signature of it, and what is unavailable for another reason is not said to be so; the key that
signs is the one that the log names, whatever is kept under its name; a private half is in no message.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from sqlalchemy import Engine

from ledger.core.book import Book, Head, book_code
from ledger.core.command import Caller, Command
from ledger.core.command_signing import AdoptSigningKey
from ledger.core.notes import Checkpoint, Note, is_key_name
from ledger.core.outcome import Outcome, Status
from ledger.core.proofs import ProofInvalid, check_consistency
from ledger.core.signing_key import SigningKey, current_key, origin_of
from ledger.services.ed25519 import KeyUnusable, SigningPair
from ledger.services.errors import ServiceError, UnknownBook
from ledger.services.proving import Prover
from ledger.services.sources import Sources
from ledger.services.tiling import LogDamaged, ProofUnavailable, Tiler
from ledger.storage import checkpoint_rows, queries_log
from ledger.storage.checkpoint_rows import StoredCheckpoint
from ledger.storage.errors import Busy
from ledger.storage.side_writer import SideWriter

ROUNDS_MAX: Final = 5
OWNER: Final = Caller(None, as_owner=True)
Decide = Callable[[int, Command], Outcome]
"""Have a command decided on a book and wait for the outcome; raises ServiceError."""


class SigningRefused(ServiceError):
    """A checkpoint is not signed. The message says why, and what to do."""


class KeyNotRecorded(ServiceError):
    """The key that would sign is not in the log yet, and whoever asks may not record one."""


@dataclass(frozen=True, slots=True)
class CheckpointSettings:
    """``origin`` begins the origin of books that have none yet; ``pair`` signs for every book in place of keys that are
    made here (from a file or the environment)."""

    origin: str = ""
    pair: SigningPair | None = field(default=None, repr=False)


class _Standing(NamedTuple):
    book: Book
    head: Head
    latest: StoredCheckpoint | None
    keys: list[SigningKey]


class Checkpointer:
    """Makes checkpoints of the books of a database. Safe to be used by several threads and processes."""

    def __init__(
        self, engine: Engine, side: SideWriter, decide: Decide, sources: Sources, settings: CheckpointSettings
    ) -> None:
        self.tiler = Tiler(engine, side)
        self.prover = Prover(engine, self.tiler)
        self._engine = engine
        self._side = side
        self._decide = decide
        self._sources = sources
        self._settings = settings

    def make(self, book_id: int, *, adopts: bool = True) -> StoredCheckpoint:
        """The checkpoint of the log as it is now, made unless it is there. Where the key that signs is not on record
        yet, it is recorded, but for whoever changes nothing (not ``adopts``). Raises KeyNotRecorded then,
        SigningRefused, ProofUnavailable and other ServiceError, StorageError."""
        for _ in range(ROUNDS_MAX):
            standing = self._standing(book_id)
            latest = standing.latest
            if latest is not None and (latest.size, latest.root) == (standing.head.size, standing.head.root):
                return latest
            self._check_extends(book_id, standing)
            key = current_key(standing.keys)
            pair = self._pair_of(book_id, key, standing.keys)
            if pair is None or key is None:
                if not adopts:
                    raise KeyNotRecorded(
                        "the key that signs is not on record yet: the server records it with its next checkpoint, or "
                        "an admin with POST /v1/checkpoints"
                    )
                self._adopt(book_id, standing, key)
                continue
            made = self._sign(book_id, standing, key, pair)
            with self._side.transaction() as connection:
                if checkpoint_rows.add(connection, book_id, made):
                    return made
            with self._engine.connect() as connection:
                stored = checkpoint_rows.of_size(connection, book_id, made.size)
            if stored is not None and stored.root == made.root:
                # Another process was first, with the same log.
                return stored
            if stored is not None:
                raise SigningRefused(f"a checkpoint of {made.size} records is stored, and it is of another log")
        raise ProofUnavailable("the key that signs was changed again and again in the meantime; ask again")

    def _standing(self, book_id: int) -> _Standing:
        with self._engine.connect() as connection:
            book = queries_log.book_by_id(connection, book_id)
            head = queries_log.head(connection, book_id)
            if book is None or head is None:
                raise UnknownBook
            latest = checkpoint_rows.latest(connection, book_id)
            return _Standing(book, head, latest, checkpoint_rows.keys(connection, book_id))

    def _check_extends(self, book_id: int, standing: _Standing) -> None:
        latest, head = standing.latest, standing.head
        if latest is None:
            return
        if head.size < latest.size:
            raise SigningRefused(
                f"the log has {head.size} records and its last checkpoint {latest.size}: it was set back, and is not "
                "signed; see docs/proofs.md"
            )
        try:
            shown = self.prover.consistency(book_id, latest.size, head.size)
            check_consistency(
                first=latest.size, second=head.size, first_root=latest.root, second_root=head.root, proof=shown.proof
            )
        except (ProofInvalid, LogDamaged) as error:
            raise SigningRefused(
                f"the log does not extend its last checkpoint, of {latest.size} records, and is not signed: {error}"
            ) from error

    # Keys.

    def _pair_of(self, book_id: int, key: SigningKey | None, keys: list[SigningKey]) -> SigningPair | None:
        """What signs now; None where a key must first be adopted. Raises SigningRefused."""
        given = self._settings.pair
        if given is not None:
            if key is not None and key.public_key == given.public_key:
                return given
            if any(known.public_key == given.public_key for known in keys):
                raise SigningRefused("the signing key of this server was replaced; give it the key that signs now")
            return None
        if key is None:
            return None
        pair = self._kept(book_id, key)
        if pair is None:
            raise SigningRefused(
                f"the private half of key {key.id} is not in this database: start the server with its file, or rotate "
                "to a new key"
            )
        return pair

    def _kept(self, book_id: int, key: SigningKey) -> SigningPair | None:
        given = self._settings.pair
        if given is not None and given.public_key == key.public_key:
            return given
        with self._engine.connect() as connection:
            secret = checkpoint_rows.secret(connection, book_id, key.public_key)
        if secret is None:
            return None
        try:
            pair = SigningPair.from_der(secret)
        except KeyUnusable:
            pair = None
        if pair is None or pair.public_key != key.public_key:
            raise SigningRefused(
                f"what is kept in signing_secrets for key {key.id} is not its private half: put it right from a "
                "backup, or rotate to a new key"
            )
        return pair

    def new_command(self, book_id: int, *, caller: Caller, idempotency_key: str = "") -> AdoptSigningKey:
        """The command that makes another key sign: the one of the settings, or a new one that is then kept. Raises
        SigningRefused, UnknownBook, StorageError. ``forget_unnamed`` takes the new one away again where the log does
        not name it after all."""
        standing = self._standing(book_id)
        return self._command(book_id, standing, caller, idempotency_key)

    def _command(self, book_id: int, standing: _Standing, caller: Caller, idempotency_key: str = "") -> AdoptSigningKey:
        name = origin_of(self._settings.origin, standing.book.name, book_code(book_id))
        if not is_key_name(name):
            raise SigningRefused(
                f"the origin would be {len(name)} characters long, which no verifier takes, and it could not be "
                "changed later: begin it with something shorter"
            )
        pair = self._settings.pair
        if pair is None:
            pair = SigningPair.from_seed(self._sources.random_bytes(32))
            with self._side.transaction() as connection:
                # Kept before the log names it: a crash between the two leaves a key that nothing names, and no name
                # without its key.
                checkpoint_rows.add_secret(
                    connection, book_id, pair.public_key, pair.to_der(), now=self._sources.now_us()
                )
        key = current_key(standing.keys)
        return AdoptSigningKey(
            caller=caller,
            idempotency_key=idempotency_key,
            public_key=pair.public_key,
            name=name,
            replaces=None if key is None else key.id,
        )

    def forget_unnamed(self, book_id: int, public_key: bytes) -> None:
        """Take away a private half whose command was decided and left no key in the log: another was first, or the
        request was a repetition. Raises StorageError."""
        with self._engine.connect() as connection:
            named = any(key.public_key == public_key for key in checkpoint_rows.keys(connection, book_id))
        if not named and self._settings.pair is None:
            with self._side.transaction() as connection:
                checkpoint_rows.drop_secret(connection, book_id, public_key)

    def _decided(self, book_id: int, command: AdoptSigningKey) -> Outcome:
        outcome = self._decide(book_id, command)
        with contextlib.suppress(Busy):
            self.forget_unnamed(book_id, command.public_key)
        return outcome

    def _adopt(self, book_id: int, standing: _Standing, key: SigningKey | None) -> None:
        outcome = self._decided(book_id, self._command(book_id, standing, OWNER))
        # Another process may have been first; the next look at the log tells.
        if outcome.status not in (Status.DONE, Status.WRONG_STATE):
            raise SigningRefused(outcome.detail or "the signing key could not be recorded")

    def rotate(self, book_id: int) -> SigningKey:
        """Make another key sign, as the owner of the database. Raises SigningRefused and other ServiceError."""
        outcome = self._decided(book_id, self.new_command(book_id, caller=OWNER))
        if outcome.status is not Status.DONE:
            raise SigningRefused(outcome.detail)
        key = current_key(self._standing(book_id).keys)
        if key is None:
            raise SigningRefused("the signing key could not be recorded")
        return key

    # Signing.

    def _sign(self, book_id: int, standing: _Standing, key: SigningKey, pair: SigningPair) -> StoredCheckpoint:
        head = standing.head
        text = Checkpoint(key.name, head.size, head.root).text()
        signatures = [pair.sign(key.name, text)]
        before = current_key(standing.keys, standing.latest.size) if standing.latest is not None else None
        if before is not None and before.id != key.id:
            # Whoever knows the old key only can follow to the new one: both sign the first checkpoint after a rotation.
            old = None
            with contextlib.suppress(SigningRefused):
                old = self._kept(book_id, before)
            if old is not None:
                signatures.append(old.sign(before.name, text))
        note = Note(text, tuple(signatures)).write()
        # The clock may have been set back since the last record, and no checkpoint is older than what it covers.
        return StoredCheckpoint(head.size, head.root, note, max(self._sources.now_us(), head.recorded_at))
