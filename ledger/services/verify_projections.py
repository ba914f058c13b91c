"""The comparison of every stored projection with the rows that the fold made, while the book may go on.

Owns which differences are real. Invariants: rows never go away, and a row that changed after the fold's size says so
in a column that holds a log index; so a difference without such an index is real at once, and every other row is
compared again at a common size, read together with the head; a row cannot hide behind an index that the log has not.
"""

from collections.abc import Iterator
from typing import Final, Protocol

from ledger.core import changeset
from ledger.core.canonical import parse
from ledger.core.changeset import PROJECTION, TableSpec
from ledger.core.invariants import (
    Difference,
    held_equals_open_holds,
    overdrafts_explained,
    sorts_net_to_zero,
    spent_equals_expense,
)
from ledger.services.verify_findings import Findings
from ledger.services.verify_log import LogPass
from ledger.services.verify_rows import row_differences, unequal_rows
from ledger.storage.proof_reader import KEYS_PER_TRANSACTION, ProofReader, Row, Standing
from ledger.storage.scratch import Scratch

BESIDE_THE_LOG: Final = (changeset.BOOKS, changeset.HEADS, changeset.TRANSFERS)
"""Projections that are compared while the log is read, at each head."""
COMPARED: Final = tuple(spec for spec in changeset.TABLES if spec.sort == PROJECTION and spec not in BESIDE_THE_LOG)
"""Projections that are compared row by row with what the fold wrote."""
_INDEX_COLUMNS: Final = ("log_index", "created_index", "changed_index")
_SPECS: Final = {spec.name: spec for spec in COMPARED}


class Bodies(Protocol):
    """Where the body of a record is found again."""

    def body(self, index: int) -> bytes:
        """The body of a record, empty where there is none."""


def compare_projections(reader: ProofReader, scratch: Scratch, log: LogPass, findings: Findings) -> None:
    """Compare every table of ``COMPARED``. Moves ``log`` on to later heads while rows have moved on. Raises
    EnoughFound, StorageError; ValueError for a row that the log makes twice."""
    scratch.write()
    size = log.position
    for spec in COMPARED:
        moved: list[Row] = []
        for key, expected, found in unequal_rows(spec, scratch.pages(spec), reader.pages(spec)):
            if found is not None and _may_have_moved(spec, key, found, size):
                moved.append(key)
                if len(moved) >= KEYS_PER_TRANSACTION:
                    scratch.suspect(spec, moved)
                    moved = []
                continue
            for difference in row_differences(spec, expected, found):
                findings.add(difference)
        scratch.suspect(spec, moved)
    while log.followed and _look_again(reader, scratch, log, findings):
        continue


def _look_again(reader: ProofReader, scratch: Scratch, log: LogPass, findings: Findings) -> bool:
    """Compare some of the rows that had moved on, at the size of a head read with them; False when none is left."""
    suspects = [(_SPECS[name], key) for name, key in scratch.suspects(KEYS_PER_TRANSACTION)]
    if not suspects:
        return False
    standing, rows = reader.rows_at_head(suspects)
    advance_to(log, standing)
    if not log.followed:
        return False
    scratch.write()
    for (spec, key), found in zip(suspects, rows, strict=True):
        for pair in _pairs(scratch.row(spec, key), found):
            for difference in row_differences(spec, *pair):
                findings.add(difference)
    return True


def _pairs(expected: Row | None, found: list[Row]) -> list[tuple[Row | None, Row | None]]:
    """(row that should be, row that is) of one key where the two are not equal; there may be several rows of a key
    where somebody took the constraints away."""
    if expected in found:
        found.remove(expected)
        return [(None, row) for row in found]
    first = found[0] if found else None
    return [(expected, first), *((None, row) for row in found[1:])] if (expected, first) != (None, None) else []


def advance_to(log: LogPass, standing: Standing) -> None:
    """Move the log on to a head and compare the head row there, and the book's. Raises EnoughFound, StorageError."""
    if standing.head is not None and type(standing.head[0]) is int:
        log.advance(standing.head[0])
    log.compare_head(standing)


def _may_have_moved(spec: TableSpec, key: Row, row: Row, size: int) -> bool:
    """Whether a row may only be younger than the log that was folded: it says so, and its key is one that can be looked
    up. No honest writer makes a key of any other sort, so such a row is wrong at once."""
    return _last_index(spec, row) >= size and all(map(_is_key, key))


def _is_key(value: object) -> bool:
    if type(value) is str:
        # Bytes that are no text were read with surrogates in their place.
        return value.isprintable() or not any("\ud800" <= letter <= "\udfff" for letter in value)
    return type(value) in (int, bytes)


def _last_index(spec: TableSpec, row: Row) -> int:
    """The highest log index that a row names as its own, -1 where none is an index."""
    values = (row[spec.columns.index(column) - 1] for column in _INDEX_COLUMNS if column in spec.columns)
    return max((value for value in values if type(value) is int), default=-1)


def check_invariants(bodies: Bodies, scratch: Scratch, log: LogPass) -> Iterator[Difference]:
    """Every invariant that takes whole tables, over the rows that the fold made and that the stored ones equal."""

    def body_at(index: int) -> dict[str, object]:
        packed = bodies.body(index)
        return parse(packed) if packed else {}

    yield from sorts_net_to_zero(scratch.all_accounts())
    yield from held_equals_open_holds(scratch.all_accounts(), scratch.open_holds())
    yield from overdrafts_explained(scratch.all_accounts(), body_at)
    yield from spent_equals_expense(scratch.all_accounts(), log.fold.adjusted)
