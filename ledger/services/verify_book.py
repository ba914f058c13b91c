"""The verification of one book: its log, its projections, its invariants, and what is signed of it.

Owns the order of the work: the log up to the head read at the start, then up to the head of the moment until little
is left, every projection, every invariant; and where it begins, at the first record or behind what a state stands for.
Invariants: no transaction is open while anything is computed; memory is bounded whatever the length of a book; what is
compared is compared at one size of the log, so that a book in use never looks wrong; what was not read again because it
is trusted is counted in the report.
"""

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.core.changeset import BOOKS, HEADS, row_of
from ledger.core.invariants import Difference
from ledger.core.merkle import leaf_hash
from ledger.core.notes import VerifierKey
from ledger.core.signing_key import SigningKey
from ledger.core.tiles import TileFold
from ledger.services.archived_reader import with_archives
from ledger.services.verify_against import FORKED, Against, Claim, Consistency, Verdict, claims_of
from ledger.services.verify_closings import ClosingCheck
from ledger.services.verify_findings import BookReport, EnoughFound, Findings
from ledger.services.verify_leaves import recompute_leaves
from ledger.services.verify_log import LogPass, RecordCheck
from ledger.services.verify_projections import advance_to, check_invariants, compare_projections
from ledger.services.verify_proof_tables import ProofTables
from ledger.services.verify_reconciliations import check_reconciliations
from ledger.services.verify_rows import row_differences
from ledger.services.verify_spend import SpendCheck
from ledger.services.verify_state import BookState, Finished, StateUnusable
from ledger.services.verify_stored_tree import roots_before, stored_tree
from ledger.services.verify_texts import settle_texts
from ledger.storage import checkpoint_rows
from ledger.storage.proof_reader import ProofReader, Standing
from ledger.storage.scratch import Scratch

CATCH_UP_ROUNDS_MAX: Final = 20
CATCH_UP_RECORDS: Final = 500
"""A book that is fewer records ahead than this is near enough to be compared."""
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done with each book: as the arguments of ``verify_books`` say."""

    differences_max: int
    leaves_only: bool = False
    checks: tuple[RecordCheck, ...] = ()
    against: tuple[Claim, ...] = ()
    since: tuple[Claim, ...] = ()
    proofs: tuple[Consistency, ...] = ()
    keys: tuple[VerifierKey, ...] = ()
    state: Path | None = None
    without_texts: bool = False
    archives: Path | None = None


def verify_book(
    reader: ProofReader, book_id: int, name: str, order: Order, progress: Progress | None = None
) -> BookReport:
    """Verify one book. Raises StateUnusable, ArchiveNeeded, ArchiveUnfit, StorageError."""
    return _Work(with_archives(reader, order.archives), book_id, name, order, progress).run()


class _Work:
    """One book while it is verified."""

    def __init__(self, reader: ProofReader, book_id: int, name: str, order: Order, progress: Progress | None) -> None:
        self._reader = reader
        self._book_id = book_id
        self._name = name
        self._order = order
        self._progress = progress
        self._findings = Findings(order.differences_max)
        self._since = next(iter(claims_of(order.since, book_id)), None)
        claims = claims_of((*order.since, *order.against), book_id)
        self._against = Against(claims, order.proofs, order.keys)
        self._head_size = 0
        self._trusted = 0
        self._resumed = 0
        self._verdicts: list[Verdict] = []

    def run(self) -> BookReport:
        started = time.monotonic()
        if self._since is not None:
            unsigned = self._against.unsigned(self._keys())
            if unsigned:
                # Nothing is trusted on the word of a checkpoint that nobody is known to have signed.
                self._verdicts = unsigned
                return self._report(started, 0, "", False, 0, 0)
        return self._leaves(started) if self._order.leaves_only else self._whole(started)

    def _report(
        self,
        started: float,
        records: int,
        root: str,
        complete: bool,
        texts: int,
        texts_missing: int,
        texts_redacted: int = 0,
    ) -> BookReport:
        return BookReport(
            self._book_id, self._name, records, root, complete, texts, texts_missing, time.monotonic() - started,
            self._findings.differences, self._trusted, self._resumed, self._verdicts, texts_redacted,
        )  # fmt: skip

    def _tell(self, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress(self._name, done, total)

    def _keys(self) -> list[SigningKey]:
        try:
            with self._reader.reading() as (connection, book_id):
                return checkpoint_rows.keys(connection, book_id)
        except (TypeError, ValueError):
            # A value of a wrong type is a difference of its table, found there.
            return []

    def _judge(self) -> None:
        """Let the checkpoints say what they make of the log."""
        self._verdicts = self._against.verdicts(self._head_size, self._keys())

    # Hashes alone.

    def _leaves(self, started: float) -> BookReport:
        tree, complete = TileFold(), False
        if self._since is not None:
            found = stored_tree(self._reader, self._since.size, self._since.root)
            if found is None:
                self._verdicts = [_not_signed(self._since)]
                return self._report(started, 0, "", False, 0, 0)
            tree, self._trusted = found, found.size
            self._against.roots[tree.size] = self._since.root
            self._prove_before(tree.size, self._since.root)
        try:
            recompute_leaves(self._reader, tree, self._findings, self._tell, checks=(self._against,))
            complete = True
        except EnoughFound:
            pass
        self._head_size = max(tree.size, _size(self._reader.standing())) if not complete else tree.size
        self._judge()
        return self._report(started, tree.size, tree.frontier().root().hex(), complete, 0, 0)

    def _prove_before(self, size: int, root: bytes) -> None:
        """Have the roots that are wanted of what is not read again: each by proof from what is stored."""
        self._against.roots |= roots_before(self._reader, self._against.sizes_below(size), size, root)

    # Everything.

    def _whole(self, started: float) -> BookReport:
        state, trusted = self._state()
        scratch, kept = state.open(trusted) if state is not None else (Scratch(), None)
        tables = ProofTables(
            self._reader, self._findings, lambda: list(scratch.all_signing_keys()) if log.followed else None
        )
        spend = SpendCheck(self._reader, self._findings)
        closings = ClosingCheck(self._reader, self._findings)
        log = LogPass(
            self._reader, scratch, self._book_id, self._findings,
            progress=self._tell, checks=(*self._order.checks, spend, closings), tree_checks=(tables, self._against),
            without_texts=self._order.without_texts,
        )  # fmt: skip
        complete = finished = False
        try:
            if state is not None and kept is not None:
                state.take_up(log, kept)
                self._trusted = trusted.size if trusted is not None else 0
                self._resumed = log.position - self._trusted
            spend.follow(log.fold, log.position)
            if not log.position or self._is_gone_on_from(log):
                self._prove(scratch, log, tables, (spend, closings), state)
                complete = log.followed
            self._judge()
            if (
                state is not None
                and complete
                and not self._findings.differences
                and all(verdict.good for verdict in self._verdicts)
            ):
                state.finish(log, scratch)
                finished = True
        except EnoughFound:
            self._judge()
        except ValueError as error:
            if isinstance(error, StateUnusable):
                raise
            self._findings.differences.append(Difference("log_records", str(error)))
            self._judge()
        except sqlite3.Error as error:
            # What is read of the books raises StorageError.
            raise StateUnusable(f"the verification's own database cannot be written: {error}") from error
        finally:
            if not finished:
                scratch.close()
        if state is not None and not finished:
            # What ended and found something begins anew the next time: the cause may have been mended.
            state.discard()
        self._name = self._name or (log.fold.book.name if log.fold.book is not None else "")
        root = log.frontier.root().hex()
        return self._report(started, log.position, root, complete, log.texts, log.texts_missing, log.texts_redacted)

    def _state(self) -> tuple[BookState | None, Finished | None]:
        if self._order.state is None:
            return None, None
        first = self._reader.leaf_page(0, 1)
        genesis = leaf_hash(bytes(first[0][1])) if first and isinstance(first[0][1], bytes) else b""
        state = BookState(self._order.state, self._book_id, genesis)
        if self._since is None:
            return state, None
        trusted = state.finished()
        if trusted is None:
            raise StateUnusable(
                f"{self._order.state} has no finished state of book {self._name} to trust: verify once from the first "
                "record, with --state and without --since"
            )
        return state, trusted

    def _is_gone_on_from(self, log: LogPass) -> bool:
        """Whether the log is still the one that the state was made of."""
        size, root = log.position, log.frontier.root()
        head = _size(self._reader.standing())
        self._head_size = max(head, self._head_size)
        if head < size:
            what = f"counts fewer records than the {size} that were verified before: the log was set back"
            self._findings.add(Difference(HEADS.name, what, None, "", "size", f"{size} or more", str(head)))
        elif stored_tree(self._reader, size, root) is None:
            what = f"the first {size} are not those that were verified before: the log was rewritten since"
            self._findings.add(Difference("log_records", what))
        else:
            self._prove_before(size, root)
            return True
        return False

    def _prove(
        self,
        scratch: Scratch,
        log: LogPass,
        tables: ProofTables,
        looking: tuple[SpendCheck, ClosingCheck],
        state: BookState | None,
    ) -> None:
        spend, closings = looking

        def keep(*, now: bool = False) -> None:
            spend.compare()
            closings.compare(log)
            if state is not None and log.followed and log.whole and not self._findings.differences:
                state.keep(log, scratch, now=now)

        log.on_page = keep
        findings = self._findings
        for turn in range(CATCH_UP_ROUNDS_MAX):
            standing = self._reader.standing()
            self._head_size = _size(standing)
            ahead = self._head_size - log.position
            if turn and ahead < CATCH_UP_RECORDS:
                break
            advance_to(log, standing)
            if findings.differences and not log.followed:
                return
        keep(now=True)
        self._compare_book(standing, log)
        if log.followed:
            compare_projections(self._reader, scratch, log, findings)
            settle_texts(self._reader, scratch, log, findings)
            spend.finish()
            check_reconciliations(self._reader, scratch, findings)
        if log.whole:
            tables.finish(log.position)
        if log.followed and not findings.differences:
            scratch.write()
            for difference in check_invariants(self._reader, scratch, log):
                findings.add(difference)

    def _compare_book(self, standing: Standing, log: LogPass) -> None:
        """The settings of the book never change after its first record."""
        if not log.followed:
            return
        expected = row_of(log.fold.book)[1:] if log.fold.book is not None else None
        if expected != standing.book:
            for difference in row_differences(BOOKS, expected, standing.book):
                self._findings.add(difference)


def _size(standing: Standing) -> int:
    size = standing.head[0] if standing.head is not None else 0
    return size if type(size) is int else 0


def _not_signed(claim: Claim) -> Verdict:
    what = f"the leaf hashes of the first {claim.size} records are not there, or do not give the root that was signed"
    return Verdict(claim.source, FORKED, what, claim.size, claim.root.hex(), between=(0, claim.size))
