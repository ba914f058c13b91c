"""`verify`: proves the books of a database from their logs alone, without any secret of the server.

Owns the order of the work: the log up to the head read at the start, then up to the head of the moment until little
is left, every projection, every invariant. Invariants: no transaction is open while anything is computed; memory is
bounded whatever the length of a book; what is compared is compared at one size of the log, so that a book in use never
looks wrong.

What a log by itself cannot show is that its end was cut off and the head and all projections set back with it: that
takes a checkpoint that somebody else keeps.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Final

from ledger.core.changeset import BOOKS, row_of
from ledger.core.invariants import Difference
from ledger.core.merkle import Frontier
from ledger.services.verify_findings import BookReport, EnoughFound, Findings
from ledger.services.verify_leaves import recompute_leaves
from ledger.services.verify_log import LogPass, RecordCheck
from ledger.services.verify_projections import advance_to, check_invariants, compare_projections
from ledger.services.verify_proof_tables import compare_proof_tables
from ledger.services.verify_rows import row_differences
from ledger.storage.proof_reader import (
    Connect,
    ProofReader,
    Standing,
    books_by_table,
    names_of_books,
    open_database,
    tables_of_no_book,
)
from ledger.storage.scratch import Scratch

CATCH_UP_ROUNDS_MAX: Final = 20
CATCH_UP_RECORDS: Final = 500
"""A book that is fewer records ahead than this is near enough to be compared."""
DIFFERENCES_DEFAULT: Final = 10

BookProgress = Callable[[str, int, int], None]
"""Told the book's name, how many of its records are done, and of how many."""


class NoSuchBook(LookupError):
    """The book that was named is not in the database."""


def verify_books(
    database_url: str,
    *,
    book: str | None = None,
    differences_max: int = DIFFERENCES_DEFAULT,
    progress: BookProgress | None = None,
    leaves_only: bool = False,
    checks: tuple[RecordCheck, ...] = (),
) -> Iterator[BookReport]:
    """Verify every book of a migrated database, or the one named ``book``; a report for each, as it is done.

    ``leaves_only`` recomputes hashes and roots and nothing else. Otherwise, with every book, rows of books that do not
    exist are looked for too: their report has the id and no name. Raises NoSuchBook, and StorageError when the database
    cannot be had.
    """
    engine = open_database(database_url)
    try:
        yield from verify_connected(
            engine.connect,
            book=book,
            differences_max=differences_max,
            progress=progress,
            leaves_only=leaves_only,
            checks=checks,
        )
    finally:
        engine.dispose()


def verify_connected(
    connect: Connect,
    *,
    book: str | None = None,
    differences_max: int = DIFFERENCES_DEFAULT,
    progress: BookProgress | None = None,
    leaves_only: bool = False,
    checks: tuple[RecordCheck, ...] = (),
) -> Iterator[BookReport]:
    """As ``verify_books``, through connections that somebody else gives: also of what is not committed, where
    ``connect`` gives a connection that is inside of a transaction and leaves it as it is."""
    names = names_of_books(connect)
    chosen = {book_id: name for book_id, name in names.items() if book is None or name == book}
    if book is not None and not chosen:
        raise NoSuchBook(book)
    for book_id, name in sorted(chosen.items(), key=lambda item: (item[1], str(item[0]))):
        reader = ProofReader(connect, book_id)
        if leaves_only:
            yield _verify_leaves(reader, book_id, name, Findings(differences_max), progress)
        else:
            yield _verify_book(reader, book_id, name, Findings(differences_max), progress, checks)
    if book is None and not leaves_only:
        yield from _stray_reports(connect, names, differences_max)


def _stray_reports(connect: Connect, names: dict[int, str], differences_max: int) -> Iterator[BookReport]:
    """Reports of rows whose book does not exist."""
    strays: dict[int, list[str]] = {}
    for table, book_ids in books_by_table(connect):
        for book_id in book_ids:
            # A book opened meanwhile is in all of its tables, its head first among them.
            if book_id not in names:
                strays.setdefault(book_id, []).append(table)
    known = names_of_books(connect) if strays else {}
    for book_id, tables in sorted(strays.items(), key=lambda item: str(item[0])):
        if book_id not in known:
            found = [Difference(table, "rows of a book that does not exist") for table in tables]
            yield BookReport(book_id, "", 0, "", False, 0, 0, 0.0, found[:differences_max])
    found = [Difference(table, "rows of no book at all") for table in tables_of_no_book(connect)]
    if found:
        yield BookReport(0, "", 0, "", False, 0, 0, 0.0, found[:differences_max])


def _verify_book(
    reader: ProofReader,
    book_id: int,
    name: str,
    findings: Findings,
    progress: BookProgress | None,
    checks: tuple[RecordCheck, ...],
) -> BookReport:
    started = time.monotonic()
    scratch = Scratch()

    def tell(done: int, total: int) -> None:
        if progress is not None:
            progress(name, done, total)

    log = LogPass(reader, scratch, book_id, findings, progress=tell, checks=checks)
    complete = False
    try:
        _prove(reader, scratch, log, findings)
        complete = log.followed
    except EnoughFound:
        pass
    except ValueError as error:
        findings.differences.append(Difference("log_records", str(error)))
    finally:
        scratch.close()
    return BookReport(
        book_id,
        name or (log.fold.book.name if log.fold.book is not None else ""),
        log.position,
        log.frontier.root().hex(),
        complete,
        log.texts,
        log.texts_missing,
        time.monotonic() - started,
        findings.differences,
    )


def _verify_leaves(
    reader: ProofReader, book_id: int, name: str, findings: Findings, progress: BookProgress | None
) -> BookReport:
    started = time.monotonic()

    def tell(done: int, total: int) -> None:
        if progress is not None:
            progress(name, done, total)

    frontier, complete = Frontier(), False
    with contextlib.suppress(EnoughFound):
        frontier = recompute_leaves(reader, findings, tell)
        complete = True
    root = frontier.root().hex()
    seconds = time.monotonic() - started
    return BookReport(book_id, name, frontier.size, root, complete, 0, 0, seconds, findings.differences)


def _prove(reader: ProofReader, scratch: Scratch, log: LogPass, findings: Findings) -> None:
    for _ in range(CATCH_UP_ROUNDS_MAX):
        standing = reader.standing()
        ahead = _size(standing) - log.position
        if log.position and ahead < CATCH_UP_RECORDS:
            break
        advance_to(log, standing)
        if findings.differences and not log.followed:
            return
    _compare_book(standing, log, findings)
    if log.followed:
        compare_projections(reader, scratch, log, findings)
    if log.whole:
        compare_proof_tables(reader, scratch, log, findings)
    if log.followed and not findings.differences:
        scratch.write()
        for difference in check_invariants(reader, scratch, log):
            findings.add(difference)


def _size(standing: Standing) -> int:
    size = standing.head[0] if standing.head is not None else 0
    return size if type(size) is int else 0


def _compare_book(standing: Standing, log: LogPass, findings: Findings) -> None:
    """The settings of the book never change after its first record."""
    if not log.followed:
        return
    expected = row_of(log.fold.book)[1:] if log.fold.book is not None else None
    if expected != standing.book:
        for difference in row_differences(BOOKS, expected, standing.book):
            findings.add(difference)
