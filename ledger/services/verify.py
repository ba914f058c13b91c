"""`verify`: proves the books of a database from their logs alone, without any secret of the server.

Owns which books are verified and in what order they are told of; ``verify_book`` owns the work on one. Invariants: the
reports are in one order however many processes work; rows of no book are found.

What a log by itself cannot show is that its end was cut off and the head and all projections set back with it: that
takes a checkpoint that somebody else keeps.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from ledger.core.invariants import Difference
from ledger.core.notes import VerifierKey
from ledger.services.verify_against import Claim, Consistency, claims_of
from ledger.services.verify_book import Order, verify_book
from ledger.services.verify_findings import BookReport
from ledger.services.verify_log import RecordCheck
from ledger.services.verify_parallel import jobs_worth, verify_in_processes
from ledger.storage.proof_reader import (
    Connect,
    ProofReader,
    books_by_table,
    names_of_books,
    open_database,
    tables_of_no_book,
)

DIFFERENCES_DEFAULT: Final = 10

BookProgress = Callable[[str, int, int], None]
"""Told the book's name, how many of its records are done, and of how many."""


class NoSuchBook(LookupError):
    """The book that was named, or that a checkpoint is of, is not in the database."""


class SinceLacks(LookupError):
    """A book is to be verified since a checkpoint, and none of those given is of it."""


def verify_books(
    database_url: str,
    *,
    book: str | None = None,
    differences_max: int = DIFFERENCES_DEFAULT,
    progress: BookProgress | None = None,
    leaves_only: bool = False,
    checks: tuple[RecordCheck, ...] = (),
    against: tuple[Claim, ...] = (),
    since: tuple[Claim, ...] = (),
    proofs: tuple[Consistency, ...] = (),
    keys: tuple[VerifierKey, ...] = (),
    state: Path | None = None,
    jobs: int | None = 1,
    without_texts: bool = False,
    archives: Path | None = None,
) -> Iterator[BookReport]:
    """Verify every book of a migrated database, or the one named ``book``; a report for each, as it is done.

    ``leaves_only`` recomputes hashes and roots and nothing else. Otherwise, with every book, rows of books that do not
    exist are looked for too: their report has the id and no name. ``against`` are checkpoints to compare the logs with
    (``proofs`` of consistency may lead to them; ``keys`` are trusted in place of those on record); ``since`` are those
    up to which a finished state in ``state`` is trusted. ``state`` is a directory. ``jobs`` processes at most work on
    books (None: as many as are worth starting); with more than one, ``checks`` must be such as can be sent to them.
    ``without_texts`` only counts free texts that are gone without a redaction on record, as in a copy without texts.
    Ranges that were detached are read from the archives in ``archives``, a directory.

    Raises NoSuchBook, SinceLacks, StateUnusable, ArchiveNeeded, ArchiveUnfit, and StorageError when the database cannot
    be had.
    """
    order = Order(differences_max, leaves_only, checks, against, since, proofs, keys, state, without_texts, archives)
    engine = open_database(database_url)
    try:
        if jobs != 1:
            names = names_of_books(engine.connect)
            chosen = _chosen(names, book, order)
            jobs = jobs or jobs_worth([ProofReader(engine.connect, book_id).size() for book_id, _ in chosen])
            if jobs > 1 and len(chosen) > 1:
                engine.dispose()
                yield from verify_in_processes(database_url, chosen, order, progress, jobs=jobs)
                if book is None and not leaves_only:
                    yield from _stray_reports(engine.connect, names, differences_max)
                return
        yield from _verify(engine.connect, book, order, progress)
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
    against: tuple[Claim, ...] = (),
) -> Iterator[BookReport]:
    """As ``verify_books``, through connections that somebody else gives: also of what is not committed, where
    ``connect`` gives a connection that is inside of a transaction and leaves it as it is."""
    order = Order(differences_max, leaves_only, checks, against)
    yield from _verify(connect, book, order, progress)


def _verify(connect: Connect, book: str | None, order: Order, progress: BookProgress | None) -> Iterator[BookReport]:
    names = names_of_books(connect)
    for book_id, name in _chosen(names, book, order):
        yield verify_book(ProofReader(connect, book_id), book_id, name, order, progress)
    if book is None and not order.leaves_only:
        yield from _stray_reports(connect, names, order.differences_max)


def _chosen(names: dict[int, str], book: str | None, order: Order) -> list[tuple[int, str]]:
    """The books to verify, in order. Raises NoSuchBook, SinceLacks."""
    chosen = [(book_id, name) for book_id, name in names.items() if book is None or name == book]
    if book is not None and not chosen:
        raise NoSuchBook(f'there is no book "{book}" in this database')
    for claim in (*order.against, *order.since):
        if not any(claim.is_of(book_id) for book_id, _ in chosen):
            where = "this database" if book is None else f"book {book}"
            raise NoSuchBook(f"{claim.source} is a checkpoint of {claim.origin}, which is not in {where}")
    for book_id, name in chosen:
        if order.since and not claims_of(order.since, book_id):
            raise SinceLacks(f"no checkpoint is given with --since for book {name}: name one book with --book")
    return sorted(chosen, key=lambda item: (item[1], str(item[0])))


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
