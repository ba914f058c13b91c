"""The fold over runs with a cap and keys for one run: a record that says more than was allowed is found."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ledger.core.command import Caller, CreateKey, OpenRun
from ledger.core.deriving import Clock, columns_of
from ledger.core.projecting import Fold
from tests.support.memory_rows import MemoryStore
from tests.support.policed import Policed, status


def story() -> list[dict[str, Any]]:
    """A capped run, a key for it that its agent made, and what was asked for with that: a hold of 6.00 and a denial."""
    world = Policed()
    capped = {"name": "run-1", "cap_amount": "10", "cap_currency": "USD"}
    assert status(world.do(OpenRun, world.crawler, **capped)) == "done"
    assert status(world.do(OpenRun, world.crawler, name="run-2")) == "done"
    made = {"digest": b"\x77" * 32, "role": "agent", "run": "run-1", "ttl_seconds": 60}
    assert status(world.do(CreateKey, world.crawler, **made)) == "done"
    key = Caller(b"\x77" * 32)
    assert status(world.authorize(key, "6")) == "approved"
    assert status(world.authorize(key, "6", afford=True)) == "run_held"
    world.prove()
    return world.bodies()


def differences(bodies: list[dict[str, Any]]) -> list[int | None]:
    """The records that the fold finds wrong; one that cannot be followed is the last."""
    fold, clock = Fold(1, MemoryStore()), Clock()
    for index, body in enumerate(bodies):
        try:
            fold.apply(body, columns_of(body, clock))
        except (KeyError, TypeError, ValueError, LookupError):
            return [*(one.log_index for one in fold.differences), index]
    return [one.log_index for one in fold.differences]


# The place of the changed record from the end, what is changed in it, to what.
CHANGES = (
    (-5, ("cap",), "20000000000"),
    (-5, ("cap_currency",), "EUR"),
    (-3, ("run",), "run-3"),
    (-3, ("run",), None),
    (-3, ("vouched_by",), "person:eve"),
    (-3, ("expires_at",), "2026-11-10T09:00:00.000000Z"),
    (-3, ("principal",), "agent:writer"),
    (-2, ("run",), "run-2"),
    (-2, ("decision", "rules", 5, 3), "20000000000"),
    (-1, ("decision", "reasons", 0, "code"), "run_cap_exceeded"),
    (-1, ("request", "afford"), False),
)


def test_the_story_is_right() -> None:
    """As it was told, nothing differs."""
    bodies = story()
    assert [body["kind"] for body in bodies[-5:]] == ["run", "run", "key", "hold", "denial"]
    assert differences(bodies) == []
    assert bodies[-2]["decision"]["rules"][5][0] == "run_cap"


@pytest.mark.parametrize(("place", "path", "value"), CHANGES, ids=str)
def test_a_changed_record_is_found(place: int, path: tuple[Any, ...], value: Any) -> None:
    """At the record itself or, where it can be believed, at the first decision that would have been otherwise."""
    bodies = copy.deepcopy(story())
    changed = bodies[place]
    for step in path[:-1]:
        changed = changed[step]
    if value is None:
        del changed[path[-1]]
    else:
        changed[path[-1]] = value
    found = differences(bodies)
    assert found
    assert found[0] is not None
    assert found[0] >= len(bodies) + place
