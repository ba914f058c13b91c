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

SAMPLED_MORE = 40
"""Tampers of a sample beside one for each column."""


def tampers(attacker: Attacker) -> Iterator[Tamper]:
    """Every tamper there is."""
    yield from cell_tampers(attacker)
    yield from sum_tampers(attacker)
    yield from forged_tampers(attacker)


def sample(everything: list[Tamper], seed: str) -> list[Tamper]:
    """One tamper of each table and column, and some more of any sort."""
    chance = random.Random(seed)
    shuffled = chance.sample(everything, len(everything))
    first: dict[tuple[str, str], Tamper] = {}
    rest = [one for one in shuffled if first.setdefault(one.cell, one) is not one]
    return [*first.values(), *rest[:SAMPLED_MORE]]


def verdict(attacker: Attacker, tamper: Tamper) -> list[str]:
    """Attack, verify, and put back; what is wrong with what verify said, each line with the tamper's id."""
    with attacker.attack(tamper.act):
        kept = tamper.forks_at is not None or tamper.missing is not None
        said = complaints(tamper, attacker, attacker.verify(differences_max=tamper.differences_max, kept=kept))
    return [f"{tamper.id}: {line}" for line in said]
