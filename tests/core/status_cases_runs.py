"""``status_cases``, continued: the statuses of runs with a cap and of keys that are for one run only."""

from __future__ import annotations

from typing import Any

from ledger.core.command import Caller, CreateKey, OpenRun
from ledger.core.outcome import Status
from tests.core.status_cases import Scene, authorize, command
from tests.core.status_cases_control import later, ruled, spent, tried
from tests.support.policed import limit


def capped(world: Any, amount: str = "10") -> Any:
    """The same world, with a run of the crawler's that is capped."""
    done = world.do(OpenRun, world.crawler, name="run-1", cap_amount=amount, cap_currency="USD")
    assert done.status is Status.DONE, done
    return world


def scoped(world: Any, **fields: object) -> Caller:
    """A key of the crawler's for its run only."""
    digest = b"\x55" * 32
    made = world.do(CreateKey, world.admin, role="agent", run="run-1", digest=digest, **fields)
    assert made.status is Status.DONE, made
    return Caller(digest)


def of_run(world: Any, amount: str, *, settled: bool = False) -> Any:
    """The same world, with a hold of this much in the run, or with as much settled."""
    reference = world.hold(world.crawler, amount, run="run-1")
    if settled:
        world.settle(world.crawler, reference, amount)
    return world


ALONE: dict[Status, Scene] = {
    Status.KEY_RUN_ONLY: lambda w: command(w, OpenRun, scoped(capped(w)), name="run-2"),
    Status.RUN_CAP_EXCEEDED: lambda w: authorize(of_run(capped(w), "6", settled=True), run="run-1"),
    Status.RUN_HELD: lambda w: authorize(of_run(capped(w), "6"), run="run-1"),
}

BOTH: dict[tuple[Status, Status], Scene] = {
    (Status.KEY_RUN_ONLY, Status.UNKNOWN_CURRENCY): lambda w: authorize(
        w, scoped(capped(w)), run="made-up", currency="XTS"
    ),
    (Status.ROLE_NOT_ALLOWED, Status.IDEMPOTENCY_MISMATCH): lambda w: (
        w.hold(w.crawler, idempotency_key="bound"),
        command(w, CreateKey, w.crawler, digest=b"\x56" * 32, role="finance", person="eve", idempotency_key="bound"),
    )[1],
    (Status.LIMIT_EXCEEDED, Status.RUN_CAP_EXCEEDED): lambda w: authorize(
        spent(ruled(capped(w, "4"), limits=[limit(maximum="8")]), "5"), run="run-1"
    ),
    (Status.RUN_CAP_EXCEEDED, Status.INSUFFICIENT_BUDGET): lambda w: authorize(capped(w), amount="1000", run="run-1"),
    (Status.LIMIT_HELD, Status.RUN_HELD): lambda w: authorize(
        of_run(ruled(capped(w), limits=[limit(maximum="8")]), "6"), run="run-1"
    ),
    (Status.RUN_HELD, Status.VELOCITY): lambda w: authorize(
        later(tried(ruled(capped(w), limits=[limit("rate", "minute", rolling=True, max_count=1)]), run="run-1")),
        amount="6",
        run="run-1",
    ),
    (Status.UNKNOWN_RUN, Status.TTL_TOO_LONG): lambda w: command(
        w, CreateKey, w.crawler, digest=b"\x56" * 32, role="agent", run="nowhere", ttl_seconds=8 * 24 * 3600
    ),
}

NEVER_BOTH: dict[tuple[Status, Status], str] = {
    (
        Status.ROLE_NOT_ALLOWED,
        Status.KEY_RUN_ONLY,
    ): "only an agent's key is for a run, and what is asked is not its role's",
}
