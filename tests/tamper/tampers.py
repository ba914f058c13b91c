"""A tamper: what an attacker does, and what verify must say to it.

Owns the verdict over what verify said. Invariants: something must be found; the first difference must be in a table
that was touched; every row and every log index that was touched must be named where the tamper says so; and a book that
was not touched must verify.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ledger.core.invariants import Difference, shown
from ledger.services.verify import BookReport
from ledger.services.verify_against import FORKED, OLDER, UNPROVED, Verdict
from tests.tamper.attacker import KEYS, Attacker

ANY = "*"
ROW = ""
"""In place of a column: the row as a whole, missing or too many."""


class Place(NamedTuple):
    """Where a difference must be: table, log index (None: whichever), key and column as a difference has them, or
    ``ANY``."""

    table: str
    log_index: int | None = None
    key: str = ANY
    column: str = ANY

    def is_named_by(self, difference: Difference) -> bool:
        """Whether this is the place of a difference."""
        return (
            self.table == difference.table
            and self.log_index in (None, difference.log_index)
            and self.key in (ANY, difference.key)
            and self.column in (ANY, difference.column)
        )


@dataclass(frozen=True)
class Tamper:
    """``names`` are the places that must be named, ``only`` the tables that may be (empty: those of ``names``), and
    ``first`` those that the first difference may name (empty: as ``only``). ``touches_other`` says that the other book,
    or one that does not exist, is attacked too.

    What the checkpoint that somebody kept must say: that the log forks where ``forks_at`` is in it, or that ``missing``
    records are; None where it may say anything. ``free`` says that only that checkpoint tells, and verify must find
    nothing; None where verify may find something, or not."""

    id: str
    act: Callable[[Attacker], None]
    names: tuple[Place, ...]
    only: frozenset[str] = frozenset()
    first: frozenset[str] = frozenset()
    touches_other: bool = False
    differences_max: int = 12
    cell: tuple[str, str] = field(default=("", ""))
    forks_at: int | None = None
    missing: int | None = None
    free: bool | None = False


def place_of(table: str, row: Mapping[str, Any], column: str = ANY) -> Place:
    """The place of a row, or of a column of it, as verify names it. A text or a cosignature is compared whole."""
    if table == "texts":
        return Place(table, row["log_index"], f"field={row['field']}")
    if table == "log_records":
        return Place(table, row["log_index"], ANY, column)
    if table == "merkle_tiles":
        return Place(table, None, f"{row['level']}, {row['position']}", column)
    if table == "checkpoints":
        return Place(table, None, str(row["size"]), column)
    if table == "checkpoint_cosignatures":
        return Place(table, None, f"{row['size']}, {row['key']}")
    named = [name for name in KEYS[table][1:] if name != "log_index"]
    key = ", ".join(f"{name}={row[name] if isinstance(row[name], str) else shown(row[name])}" for name in named)
    return Place(table, row.get("log_index"), key, column)


def complaints(tamper: Tamper, attacker: Attacker, reports: list[BookReport]) -> list[str]:
    """What is wrong with what verify said; empty where it is right."""
    of_book = [report for report in reports if report.book_id == attacker.book_id]
    other = [report for report in reports if report.book_id == attacker.other_id]
    wrong: list[str] = []
    if not tamper.touches_other and not all(report.verified for report in other):
        wrong.append("the other book is blamed")
    touched = reports if tamper.touches_other else of_book
    found = [difference for report in touched for difference in report.differences]
    stopped = len(found) >= tamper.differences_max
    wrong += _of_checkpoint(tamper, [verdict for report in of_book for verdict in report.verdicts], stopped=stopped)
    if tamper.free is not False and not found:
        return wrong
    if tamper.free:
        return [*wrong, "was found, and is said to be free", *(one.sentence() for one in found[:2])]
    if not found:
        return [*wrong, "nothing was found"]
    if any(report.verified and report.differences for report in reports):
        wrong.append("a book with differences is called verified")
    if tamper.free is None:
        return wrong
    only = tamper.only or frozenset(place.table for place in tamper.names)
    if found[0].table not in (tamper.first or only):
        wrong.append(f"the first difference names {found[0].table}")
    wrong += [f"blames {table}" for table in sorted({difference.table for difference in found} - only)]
    wrong += [f"does not name {place}" for place in tamper.names if not any(map(place.is_named_by, found))]
    if wrong:
        wrong += [difference.sentence() for difference in found[:4]]
    return wrong


def _of_checkpoint(tamper: Tamper, verdicts: list[Verdict], *, stopped: bool) -> list[str]:
    """What is wrong with what the kept checkpoint says; where verify ``stopped`` at enough differences, it may have
    nothing to say."""
    if tamper.forks_at is None and tamper.missing is None:
        return []
    if len(verdicts) != 1:
        return ["the kept checkpoint was not compared"]
    (said,) = verdicts
    if stopped and said.verdict == UNPROVED:
        return []
    if tamper.missing is not None:
        right = (said.verdict, said.missing) == (OLDER, tamper.missing)
        return [] if right else [f"{tamper.missing} records are missing, and the kept checkpoint says: {said.sentence}"]
    before, behind = said.between or (0, 0)
    if said.verdict == FORKED and before <= (tamper.forks_at or 0) < behind:
        return []
    return [f"the log forks at {tamper.forks_at}, and the kept checkpoint says: {said.sentence}"]
