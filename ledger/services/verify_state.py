"""The state of a verification in a directory: what an interrupted run goes on from, and what a nightly run trusts.

Owns the files of a book in that directory. ``book-ID.running.db`` is the scratch database of a run that has not ended;
``book-ID.json`` says which database a run that found nothing wrong has left, with its SHA-256. Invariants: a
finished state is never changed, and is replaced only by a later one that is whole on disk; a running one has what
was right up to one place in the log; neither is gone on from unless it is of this book and of this version's rules.
"""

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from ledger.core.journal import FORMAT as RECORD_FORMAT
from ledger.core.journal import SEMANTICS
from ledger.core.projecting_kept import kept_of, take_up
from ledger.services.verify_log import LogPass
from ledger.storage.scratch import Scratch, ScratchUnusable

FORMAT: Final = "bursar-verify-state/1"
KEEP_RECORDS: Final = 20_000
"""A run that is killed loses at most the work on so many records."""
_PIECE_BYTES: Final = 1_048_576
_UNREADABLE: Final = (KeyError, TypeError, ValueError, LookupError, AttributeError, OverflowError, RecursionError)
"""What a file that no run has left may raise while it is read."""


class StateUnusable(ValueError):
    """A state that is not gone on from, or that is not there. The message is a sentence that says what to do."""


class Finished(NamedTuple):
    """A state that a run has left which found nothing wrong: a log of ``size`` records with ``root`` (hex)."""

    size: int
    root: str
    database: str
    sha256: str


class BookState:
    """The state of one book in ``directory``; ``genesis`` is the leaf hash of the book's first record."""

    def __init__(self, directory: Path, book_id: int, genesis: bytes) -> None:
        self._directory = directory
        self._book_id = book_id
        self._genesis = genesis.hex()
        self._manifest = directory / f"book-{book_id}.json"
        self._running = directory / f"book-{book_id}.running.db"
        self._anchor: list[Any] | None = None
        self._kept_at = 0
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StateUnusable(f"{directory} cannot be used for the state: {error.strerror}") from error

    def finished(self) -> Finished | None:
        """What an earlier run has left, None where there is none. Raises StateUnusable."""
        try:
            content = json.loads(self._manifest.read_text(encoding="utf-8"))
            self._check_binding(content, self._manifest)
            return Finished(
                int(content["size"]), str(content["root"]), Path(content["database"]).name, str(content["sha256"])
            )
        except FileNotFoundError:
            return None
        except StateUnusable:
            raise
        except (OSError, *_UNREADABLE) as error:
            raise StateUnusable(f"{self._manifest} cannot be read as a state: {error}; delete it") from error

    def open(self, trusted: Finished | None) -> tuple[Scratch, dict[str, Any] | None]:
        """The scratch database to go on with, and what was kept in it: where an interrupted run of the same kind has
        left off, else from ``trusted``, else from the first record (None). Raises StateUnusable."""
        self._anchor = None if trusted is None else [trusted.size, trusted.root]
        with _sentences(self._running):
            scratch, kept = self._open_running()
            if kept is not None and kept["anchor"] != self._anchor:
                # Of another kind: one from the first record, or from another state that was trusted then.
                scratch.close()
                self.discard()
                kept = None
                scratch, kept = self._open_running()
            if kept is None and trusted is not None:
                scratch.close()
                self._copy(trusted)
                scratch, kept = self._open_running()
                if kept is None or (kept["pass"]["position"], kept["root"]) != (trusted.size, trusted.root):
                    scratch.close()
                    raise StateUnusable(f"{trusted.database} is not the state that {self._manifest} names")
        self._kept_at = kept["pass"]["position"] if kept is not None else 0
        return scratch, kept

    def _open_running(self) -> tuple[Scratch, dict[str, Any] | None]:
        _make_private(self._running)
        scratch = Scratch(file=self._running)
        note = scratch.kept()
        if note is None:
            return scratch, None
        try:
            kept: dict[str, Any] = json.loads(note)
            self._check_binding(kept, self._running)
            if type(kept["pass"]["position"]) is not int or not {"anchor", "root", "fold"} <= kept.keys():
                raise ValueError("it does not say how far it came")
        except _UNREADABLE as error:
            scratch.close()
            if isinstance(error, StateUnusable):
                raise
            raise StateUnusable(f"{self._running} cannot be read as a state: {error}; delete it") from error
        return scratch, kept

    def _check_binding(self, content: dict[str, Any], file: Path) -> None:
        if content["format"] != FORMAT:
            raise StateUnusable(f"{file} is no state of a verification, or one of another version: delete it")
        if (content["book_id"], content["genesis"]) != (self._book_id, self._genesis):
            raise StateUnusable(f"{file} is the state of another book than this one: give another directory")
        if content["rules"] != [RECORD_FORMAT, SEMANTICS]:
            raise StateUnusable(f"{file} was made by other rules than this version's: verify from the first record")

    def _copy(self, trusted: Finished) -> None:
        source = self._directory / trusted.database
        if _file_digest(source) != trusted.sha256:
            raise StateUnusable(
                f"{source} is not as the run left it that made it: do not trust it; delete {self._manifest} and verify "
                "from the first record"
            )
        self.discard()
        beside = self._running.with_suffix(".copy")
        _make_private(beside)
        shutil.copyfile(source, beside)
        try:
            with contextlib.closing(sqlite3.connect(beside)) as connection, connection:
                note = json.loads(connection.execute("SELECT note FROM kept").fetchone()[0])
                connection.execute("UPDATE kept SET note = ?", (json.dumps(note | {"anchor": self._anchor}),))
        except _UNREADABLE as error:
            raise StateUnusable(f"{source} cannot be read as a state: {error}; delete {self._manifest}") from error
        os.replace(beside, self._running)

    def take_up(self, log: LogPass, kept: dict[str, Any]) -> None:
        """Make a new pass go on from what was kept. Raises StateUnusable."""
        try:
            take_up(log.fold, kept["fold"])
            log.take_up(kept["pass"])
            if log.frontier.root().hex() != kept["root"]:
                raise ValueError("the root is not that of its own hashes")
        except _UNREADABLE as error:
            raise StateUnusable(f"{self._running} cannot be gone on from: {error}; delete it") from error

    def keep(self, log: LogPass, scratch: Scratch, *, now: bool = False) -> None:
        """Keep how far the log was found right, at most once in ``KEEP_RECORDS``, or ``now``. Raises ValueError for a
        row that the log makes twice."""
        if not now and log.position - self._kept_at < KEEP_RECORDS:
            return
        scratch.keep(json.dumps(self._content(log)))
        self._kept_at = log.position

    def _content(self, log: LogPass) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "book_id": self._book_id,
            "genesis": self._genesis,
            "rules": [RECORD_FORMAT, SEMANTICS],
            "anchor": self._anchor,
            "root": log.frontier.root().hex(),
            "pass": log.kept(),
            "fold": kept_of(log.fold),
        }

    def finish(self, log: LogPass, scratch: Scratch) -> None:
        """Leave a finished state for later runs to trust: everything was compared, and nothing was wrong. Closes
        ``scratch``. Raises StateUnusable."""
        size, root = log.position, log.frontier.root().hex()
        with _sentences(self._running):
            self.keep(log, scratch, now=True)
            scratch.seal()
            digest = _file_digest(self._running)
            database = self._directory / f"book-{self._book_id}-{size}-{digest[:12]}.db"
            _sync(self._running)
            os.replace(self._running, database)
            content = {
                "format": FORMAT,
                "book_id": self._book_id,
                "genesis": self._genesis,
                "rules": [RECORD_FORMAT, SEMANTICS],
                "size": size,
                "root": root,
                "database": database.name,
                "sha256": digest,
            }
            beside = self._manifest.with_suffix(".json.new")
            _make_private(beside)
            beside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            _sync(beside)
            os.replace(beside, self._manifest)
            _sync(self._directory)
            for older in self._directory.glob(f"book-{self._book_id}-*.db"):
                if older != database:
                    older.unlink()

    def discard(self) -> None:
        """Drop what an unfinished run has left."""
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(f"{self._running}{suffix}").unlink(missing_ok=True)


@contextlib.contextmanager
def _sentences(file: Path) -> Iterator[None]:
    try:
        yield
    except ScratchUnusable as error:
        raise StateUnusable(str(error)) from error
    except OSError as error:
        raise StateUnusable(f"the state in {file.parent} cannot be read or written: {error.strerror}") from error
    except sqlite3.Error as error:
        raise StateUnusable(f"{file} cannot be read or written as a state: {error}") from error


def _file_digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while piece := content.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _make_private(path: Path) -> None:
    """Make the file, if it is not there, and let only its owner read and write it: it is as secret as the books."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    path.chmod(0o600)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
