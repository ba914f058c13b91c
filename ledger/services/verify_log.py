"""The pass over the log: every leaf, the tree, the columns beside the bodies, transfers and texts; and the fold.

Owns the place in the log that verify has reached. Invariants: records are taken in the order of their indexes, without
a gap; the frontier is made of hashes recomputed from the bodies; once a record cannot be followed the fold stops there,
because rows made after it would be those of no book, while leaves are recomputed to the end.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Protocol

from ledger.core.canonical import text_digest
from ledger.core.changeset import HEADS, TRANSFERS
from ledger.core.deriving import Clock, Columns, columns_of, read_body, text_digests
from ledger.core.invariants import BALANCES_FOLD_TRANSFERS, INDEXES_WITHOUT_GAP, Difference, record_follows, shown
from ledger.core.merkle import Frontier, leaf_hash
from ledger.core.projecting import Fold
from ledger.core.projecting_record import TransferRow
from ledger.core.tiles import Tile, TileFold
from ledger.services.verify_findings import Findings
from ledger.services.verify_rows import compare_pages
from ledger.storage.proof_reader import PAGE_RECORDS, LogPage, Row, Standing
from ledger.storage.scratch import Scratch

UNFOLLOWED: Final = (KeyError, TypeError, ValueError, LookupError, AttributeError, OverflowError)
"""What a body that no honest writer wrote may raise while it is read or followed."""

KEPT: Final = ("position", "texts", "_name", "_last_recorded_at")
"""What a pass that goes on later has to know beside its tree, its fold and its rows."""
Progress = Callable[[int, int], None]
"""Told how many records are done, of how many."""
Made = Callable[[list[TransferRow]], None]
"""Given the transfers that the fold made of a page."""


class LogSource(Protocol):
    """Where a pass reads a log from: a database, a bundle, an archive, or several behind one another.

    Raises StorageError, or what its owner documents, when the log cannot be read.
    """

    def log_page(self, start: int, stop: int) -> LogPage:
        """Log records, transfers and texts of log indexes from ``start`` to before ``stop``, in the order of keys."""

    def next_index(self, start: int) -> int | None:
        """The first log index at or after ``start`` that has a record, or None."""


class RecordCheck(Protocol):
    """One more check of every record that the fold follows: the seat of replaying decisions."""

    def check(self, index: int, body: dict[str, Any], columns: Columns) -> list[Difference]:
        """What is wrong with the record; called in order, after the rows were folded up to it."""


class TreeCheck(Protocol):
    """One more look at the tree while it grows: at what is signed of it, or kept of it beside the log."""

    def before(self, start: int, stop: int) -> Collection[int]:
        """Told before the leaves from ``start`` to before ``stop`` are taken in; the sizes in ``(start, stop]``, and 0
        where ``start`` is, whose roots are wanted."""

    def after(self, tiles: list[Tile], roots: Mapping[int, bytes]) -> None:
        """The tiles that these leaves completed, and the roots that were wanted. Not called where one is missing."""


class LogPass:
    """How far the log was recomputed: ``position`` records, ``frontier`` over their leaves, ``fold`` over their bodies.

    ``on_page`` is called after each page. ``followed`` is False once the fold had to stop; ``whole`` is False once a
    record was missing, so that the frontier is not that of any log. ``texts`` are those that are there and match;
    ``texts_redacted`` and ``texts_missing`` are counted once all was read (``verify_texts``), and a missing one is a
    difference unless ``without_texts``.
    """

    def __init__(
        self,
        source: LogSource,
        scratch: Scratch,
        book_id: int,
        findings: Findings,
        *,
        progress: Progress,
        checks: tuple[RecordCheck, ...] = (),
        tree_checks: tuple[TreeCheck, ...] = (),
        made: Made | None = None,
        without_texts: bool = False,
    ) -> None:
        """``made`` is given the transfers of a source that has records only; else they are compared with its own."""
        self._source = source
        self._scratch = scratch
        self._findings = findings
        self._progress = progress
        self._checks = checks
        self._made = made
        self._tree_checks = tree_checks
        self._tree = TileFold()
        self._leaves: list[bytes] = []
        self._wanted: set[int] = set()
        self._roots: dict[int, bytes] = {}
        self._tiles: list[Tile] = []
        self._clock = Clock()
        self._name: str | None = None
        self._last_recorded_at = 0
        self.on_page: Callable[[], None] = _nothing
        self.fold = Fold(book_id, scratch)
        self.position = 0
        self.followed = True
        self.whole = True
        self.texts = 0
        self.texts_missing = 0
        self.texts_redacted = 0
        self.without_texts = without_texts

    @property
    def frontier(self) -> Frontier:
        """The right edge of the tree over the leaves so far."""
        self._grow()
        return self._tree.frontier()

    def _grow(self) -> None:
        self._tiles += self._tree.extend(self._leaves)
        self._leaves.clear()

    def advance(self, size: int) -> None:
        """Take in the records up to ``size``. Raises EnoughFound, StorageError."""
        while self.position < size:
            stop = min(self.position + PAGE_RECORDS, size)
            if self.whole:
                self._begin_page(stop)
            page = self._source.log_page(self.position, stop)
            if not page.records:
                following = self._source.next_index(self.position)
                if following is None or following >= size:
                    self.whole = self.followed = False
                    self._missing(size)
                    return
                stop = following + 1
                page = self._source.log_page(self.position, stop)
            self._take(page, stop)
            if self.whole:
                self._end_page()
            self.on_page()
            self._progress(stop, size)

    def kept(self) -> dict[str, Any]:
        """What a later pass goes on from, beside the fold and the rows: of JSON's types only. To be called between
        pages, while everything is followed."""
        self._grow()
        return {"tree": self._tree.to_lists(), **{field: getattr(self, field) for field in KEPT}}

    def take_up(self, kept: dict[str, Any]) -> None:
        """Go on from what an earlier pass kept. Raises KeyError, TypeError or ValueError for anything else."""
        self._tree = TileFold.from_lists(kept["tree"])
        for field in KEPT:
            setattr(self, field, kept[field])
        if (self.position, self.position) != (self._tree.size, self.fold.size):
            raise ValueError("position, tree and fold are not of one size")

    def _begin_page(self, stop: int) -> None:
        for check in self._tree_checks:
            self._wanted.update(check.before(self.position, stop))
        if self.position == 0 and 0 in self._wanted:
            self._roots[0] = self._tree.frontier().root()

    def _end_page(self) -> None:
        self._grow()
        tiles, roots = self._tiles, self._roots
        self._tiles, self._roots, self._wanted = [], {}, set()
        for check in self._tree_checks:
            check.after(tiles, roots)

    def compare_head(self, standing: Standing) -> None:
        """Compare the head row with what was recomputed, at the head's size. Raises EnoughFound."""
        for table in standing.twice:
            self._findings.add(Difference(table, "the book has more than one row"))
        for table, index in standing.astray:
            # SQLite keeps values of any type in any column, and what is no number stands behind every number.
            counts = type(index) is int
            what = "before the first record" if counts and index < 0 else "behind the last record that the head counts"
            key = "" if counts else f"log_index={shown(index)}"
            self._findings.add(Difference(table, f"stands {what}", index if counts else None, key))
        if standing.head is None:
            self._findings.add(Difference(HEADS.name, "the book's head is missing"))
            return
        size, root, frontier, recorded_at, account_count, frozen = standing.head
        known: list[tuple[str, Any, Any]] = [("size", self.position, size)]
        if self.whole:
            edge = self.frontier
            known += [("root", edge.root(), root), ("frontier", edge.to_bytes(), frontier)]
        if self.followed:
            known += [
                ("recorded_at", self.fold.recorded_at, recorded_at),
                ("account_count", self.fold.account_count, account_count),
                ("frozen", self.fold.frozen, frozen),
            ]
        for column, expected, found in known:
            if expected != found:
                self._findings.add(
                    Difference(
                        HEADS.name, "is not what the log gives", None, "", column, shown(expected), shown(found)
                    )
                )  # fmt: skip

    def _take(self, page: LogPage, stop: int) -> None:
        expected: list[TransferRow] = []
        digests: dict[tuple[int, str], Any] = {}
        followed_to = self.position
        for row in page.records:
            body = self._leaf(row)
            if body is None:
                continue
            index = row[0]
            fields = text_digests(body[0])
            for name, digest in fields.items():
                digests[index, name] = digest
            if self.followed:
                made = self._follow(index, *body)
                if made is None:
                    continue
                expected += made
                followed_to = index + 1
        if self.position < stop:
            self.whole = self.followed = False
            self._missing(stop)
            self.position = stop
        self._compare_texts(page.texts, digests)
        found = page.transfers
        if not self.followed:
            found = [transfer for transfer in found if transfer[0] < followed_to]
            expected = [transfer for transfer in expected if transfer[0] < followed_to]
        if self._made is not None:
            self._made(expected)
        elif found != expected:
            for difference in compare_pages(TRANSFERS, iter([expected]), iter([found])):
                self._findings.add(difference._replace(check=_transfer_check(difference)))
        if self.followed:
            self._trim()

    def _leaf(self, row: Row) -> tuple[dict[str, Any], Columns] | None:
        """Recompute one leaf and what derives from the body; the body and its columns, or None when unreadable."""
        index, kind, subject, recorded_at, effective_at, packed, leaf = row
        stored = (kind, subject, recorded_at, effective_at)
        if not isinstance(packed, bytes):
            packed = str(packed).encode(errors="surrogateescape")
        if type(recorded_at) is not int:
            # Of a wrong type it differs from the body's below; the order of time goes on with the one before.
            recorded_at = self._last_recorded_at
        if index != self.position or recorded_at < self._last_recorded_at:
            for difference in record_follows(
                index=index,
                next_index=self.position,
                recorded_at=recorded_at,
                last_recorded_at=self._last_recorded_at,
            ):
                self._findings.add(difference)
            if index != self.position:
                self.whole = self.followed = False
        self._last_recorded_at = recorded_at
        self.position = index + 1
        recomputed = leaf_hash(packed)
        self._leaves.append(recomputed)
        if self.position in self._wanted:
            self._roots[self.position] = self.frontier.root()
        if recomputed != leaf:
            what = "is not the hash of the record's body"
            self._differ(what, index, "leaf_hash", recomputed, leaf)
        try:
            body = read_body(packed)
            columns = columns_of(body, self._clock)
            name = body["book"]
        except UNFOLLOWED as error:
            self._unfollowed(index, "the body cannot be read", error)
            return None
        if columns != stored:
            for column, expected, found in zip(Columns._fields, columns, stored, strict=True):
                if expected != found:
                    self._differ("is not what the body gives", index, column, expected, found)
        if body.get("index") != index:
            self._differ("the body is that of another index", index, "body", index, body.get("index"))
            self.followed = False
        if name != self._name:
            if self._name is not None:
                self._differ("the body is that of another book", index, "body", self._name, name)
            self._name = self._name or name
        return body, columns

    def _follow(self, index: int, body: dict[str, Any], columns: Columns) -> list[TransferRow] | None:
        fold = self.fold
        try:
            made = fold.apply(body, columns)
        except UNFOLLOWED as error:
            made = None
            reason: Exception | None = error
        else:
            reason = None
        if fold.differences:
            noted, fold.differences = fold.differences, []
            for difference in noted:
                self._findings.add(difference)
        if reason is not None:
            self._unfollowed(index, "the record cannot follow those before it", reason)
            return None
        for check in self._checks:
            try:
                found = check.check(index, body, columns)
            except UNFOLLOWED as error:
                # The fold takes more than what is made from bodies beside it does, and has noted what is wrong.
                self._unfollowed(index, "the record gives nothing that can be compared", error)
                return None
            for difference in found:
                self._findings.add(difference)
        return made

    def _trim(self) -> None:
        try:
            self._scratch.trim()
        except ValueError as error:
            self.followed = False
            self._findings.add(Difference("log_records", f"{error}, by one of the records before", self.position - 1))

    def _compare_texts(self, texts: list[Row], digests: dict[tuple[int, str], Any]) -> None:
        """Free texts that are still there must be those that the log has digests of."""
        for index, name, salt, content in texts:
            digest = digests.pop((index, name), None)
            if digest is None:
                self._findings.add(Difference("texts", "the log has no digest of this text", index, f"field={name}"))
                continue
            self.texts += 1
            try:
                recomputed = text_digest(salt, content)
            except UNFOLLOWED:
                recomputed = "no text"
            if recomputed != digest:
                what = "the text is not the one that the log has the digest of"
                self._findings.add(Difference("texts", what, index, f"field={name}", "content", digest, recomputed))
        # Whether they are gone for a reason is said by records that may come much later: see ``verify_texts``.
        self._scratch.texts.absent(digests)

    def _missing(self, stop: int) -> None:
        what = f"missing: {self.position} to {stop - 1}"
        self._findings.add(Difference("log_records", what, self.position, check=INDEXES_WITHOUT_GAP))

    def _differ(self, what: str, index: int, column: str, expected: Any, found: Any) -> None:
        self._findings.add(Difference("log_records", what, index, "", column, shown(expected), shown(found)))

    def _unfollowed(self, index: int, what: str, error: Exception) -> None:
        self.followed = False
        reason = f"the body lacks {error}" if type(error) is KeyError else str(error)
        self._findings.add(Difference("log_records", f"{what}: {reason}", index, "", "body"))


def _nothing() -> None:
    """What happens after a page where nothing is kept."""


def _transfer_check(difference: Difference) -> str:
    return BALANCES_FOLD_TRANSFERS if difference.column in ("debit_balance", "credit_balance") else ""
