"""Faults that come by chance, as `fail_percent` asks.

Invariant: with one seed and one order of calls, the same calls fail in the same way.
"""

from dataclasses import replace
from random import Random

from bench.fake_provider.directives import Behaviour

_STATUSES = (500, 502, 503, 504)


def with_chance_fault(behaviour: Behaviour, chance: Random) -> Behaviour:
    """The behaviour with one fault of the kinds that `fail_with` names, parted by `|`.

    Those that break off an answer do so after at least one token and before the last.
    """
    kind = chance.choice(behaviour.fail_with.split("|"))
    after = chance.randint(1, max(behaviour.out - 1, 1))
    if kind == "status":
        return replace(behaviour, status=chance.choice(_STATUSES))
    if kind == "overloaded":
        return replace(behaviour, status=529)
    if kind == "close":
        return replace(behaviour, close=True)
    if kind == "hang":
        return replace(behaviour, hang="yes")
    if kind == "error":
        return replace(behaviour, error_after=after)
    return replace(behaviour, close_after=after)
