"""The whole campaign, and samples of it that still touch every column.

Owns the order and the sample. Invariant: a sample is the same in every run, and has a tamper of every table and column.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.tamper.attacker import Attacker
from tests.tamper.cells import cell_tampers
from tests.tamper.covered import TABLES, columns
from tests.tamper.forgeries import forged_tampers
from tests.tamper.sums import sum_tampers
from tests.tamper.tampers import Tamper, complaints

SAMPLE_SEED = 11


def tampers(attacker: Attacker) -> Iterator[Tamper]:
    """Every tamper there is."""
    yield from cell_tampers(attacker)
    yield from sum_tampers(attacker)
    yield from forged_tampers(attacker)


def sample(everything: list[Tamper]) -> list[Tamper]:
    """One tamper of each table and column, and of every third sort of the others: forgeries by kind of record and how
    far they go, cut ends, moved sums."""
    shuffled = random.Random(SAMPLE_SEED).sample(everything, len(everything))
    first: dict[tuple[str, str], Tamper] = {}
    for tamper in shuffled:
        first.setdefault(tamper.cell, tamper)
    attacked = {(table, column) for table in TABLES for column in columns(table)}
    others = [tamper for cell, tamper in first.items() if cell not in attacked]
    return [tamper for cell, tamper in first.items() if cell in attacked] + others[::3]


def verdict(attacker: Attacker, tamper: Tamper) -> list[str]:
    """Attack, verify, and put back; what is wrong with what verify said, each line with the tamper's id."""
    with attacker.attack(tamper.act):
        kept = tamper.forks_at is not None or tamper.missing is not None
        said = complaints(tamper, attacker, attacker.verify(differences_max=tamper.differences_max, kept=kept))
    return [f"{tamper.id}: {line}" for line in said]
