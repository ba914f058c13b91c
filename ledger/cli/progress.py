"""A bar on standard error for work that takes long.

Invariant: nothing is printed where nobody looks: standard error must be a terminal, and the book long.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

PROGRESS_FROM_RECORDS = 5_000
"""A shorter book is done before anybody could read a bar."""
Tell = Callable[[str, int, int], None]
"""Told a book's name, how many of its records are done, and of how many."""


@contextmanager
def progress_bar(doing: str) -> Iterator[Tell | None]:
    """A bar that says what is being done with which book; None where none is shown."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def tell(name: str, done: int, total: int) -> None:
            if total < PROGRESS_FROM_RECORDS:
                return
            if name not in tasks:
                tasks[name] = bar.add_task(f"{doing} {name}", total=total)
            bar.update(tasks[name], completed=done, total=total)

        yield tell
