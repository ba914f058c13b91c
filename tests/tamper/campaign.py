"""The whole campaign, and samples of it that still touch every column.

Owns the order and the sample. Invariant: a sample is the same in every run, and has a tamper of every table and column.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.tamper.attacker import Attacker
from tests.tamper.cells import cell_tampers
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
    """One tamper of each table and column, of each kind of forgery, and of each kind of record."""
    shuffled = random.Random(SAMPLE_SEED).sample(everything, len(everything))
    first: dict[tuple[str, str], Tamper] = {}
    for tamper in shuffled:
        first.setdefault(tamper.cell, tamper)
    return list(first.values())


def verdict(attacker: Attacker, tamper: Tamper) -> list[str]:
    """Attack, verify, and put back; what is wrong with what verify said, each line with the tamper's id."""
    with attacker.attack(tamper.act):
        kept = tamper.forks_at is not None or tamper.missing is not None
        said = complaints(tamper, attacker, attacker.verify(differences_max=tamper.differences_max, kept=kept))
    return [f"{tamper.id}: {line}" for line in said]
