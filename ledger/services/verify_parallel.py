"""Several books verified at once, each in a process.

Invariant: reports come in the order in which the books were given, whichever is done first; a process that fails ends
the work with its error.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Final

from ledger.services.verify_book import Order, Progress, verify_book
from ledger.services.verify_findings import BookReport
from ledger.storage.proof_reader import ProofReader, open_database

JOBS_MAX: Final = 8
LONG_RECORDS: Final = 10_000
"""A shorter book is done before a process has started."""
_LOOK_SECONDS: Final = 0.2


class ProcessDied(RuntimeError):
    """A process that verified a book was ended from outside. The message is a sentence that says what to do."""


_tell: Callable[[tuple[str, int, int]], None] | None = None


def jobs_worth(sizes: list[int]) -> int:
    """How many processes are worth starting for books of these sizes: one a processor, ``JOBS_MAX`` at most, and one a
    long book."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(processors, JOBS_MAX, sum(size >= LONG_RECORDS for size in sizes)))


def verify_in_processes(
    database_url: str, books: list[tuple[int, str]], order: Order, progress: Progress | None, *, jobs: int
) -> Iterator[BookReport]:
    """Verify books (id, name) in at most ``jobs`` processes. Raises as ``verify_book``, and ProcessDied."""
    context = multiprocessing.get_context("spawn")
    told: Any = context.SimpleQueue()
    pool = ProcessPoolExecutor(min(jobs, len(books)), mp_context=context, initializer=_begin, initargs=(told,))
    try:
        waiting = [pool.submit(_work, database_url, book_id, name, order) for book_id, name in books]
        for future in waiting:
            yield _result(future, told, progress)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _result(future: Future[BookReport], told: Any, progress: Progress | None) -> BookReport:
    while True:
        try:
            return future.result(timeout=_LOOK_SECONDS)
        except NotYet:
            pass
        except BrokenProcessPool as error:
            raise ProcessDied(
                "a process that verified a book was ended, perhaps because memory ran out: verify with --jobs 1, which "
                "takes the least"
            ) from error
        finally:
            while not told.empty():
                place = told.get()
                if progress is not None:
                    progress(*place)


def _begin(told: Any) -> None:
    global _tell
    _tell = told.put


def _work(database_url: str, book_id: int, name: str, order: Order) -> BookReport:
    engine = open_database(database_url)
    try:

        def progress(*place: Any) -> None:
            if _tell is not None:
                _tell(place)

        return verify_book(ProofReader(engine.connect, book_id), book_id, name, order, progress)
    finally:
        engine.dispose()
