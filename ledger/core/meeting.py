"""Categories and payees that a record names: refused where the book is strict about names, else known from then on."""

from typing import Final

from ledger.core.book import CATEGORY, PAYEE, Name
from ledger.core.changeset import row_of
from ledger.core.outcome import Status
from ledger.core.refusal import refuse
from ledger.core.working import Batch

_UNKNOWN: Final = {CATEGORY: Status.UNKNOWN_CATEGORY, PAYEE: Status.UNKNOWN_PAYEE}


def check_name(batch: Batch, kind: str, name: str) -> None:
    """Refuse a category or payee the book does not know, if the book's setting says so."""
    if batch.snapshot.book.strict_names and batch.fact("names", (kind, name)) is None:
        refuse(_UNKNOWN[kind], f"{name} is not a {kind} of this book; an admin can add it")


def meet(batch: Batch, kind: str, name: str) -> None:
    """Make a category or a payee known on first use, with the record that is written next."""
    if batch.fact("names", (kind, name)) is None:
        met = Name(batch.book_id, kind, name, batch.index)
        batch.make("names", (kind, name), met)
        batch.inserts["names"].append(row_of(met))
