"""``status_cases``, continued: the statuses of months that are closed."""

from __future__ import annotations

from typing import Any

from ledger.core.command_closing import RequestReopening
from ledger.core.outcome import Outcome, Status
from tests.core.status_cases import Scene, charge
from tests.support import closing_months
from tests.support.closing_months import checks
from tests.support.ledger import OPENED_AT, SECOND

DAY = 24 * 3600 * SECOND


def begun(world: Any, *days: int) -> Any:
    """The same world, with a charge so many days before the book was opened: 20 is in October, 40 in September."""
    for day in days or (20,):
        assert charge(world, effective_at=OPENED_AT - day * DAY).status is Status.DONE
    return world


def close(world: Any, period: str = "2026-10", **fields: Any) -> Outcome:
    """Close a month as finance."""
    head = world.head
    given = {"size": head.size, "root": head.root, "statements": closing_months.STATEMENTS, "checks": checks()} | fields
    world.last = world.command(closing_months.ClosePeriod, world.finance, period=period, **given)
    return world.decide(world.last)[0]


def prepared(world: Any, operation: str) -> dict[str, Any]:
    """What a command on a month refers to, made first: further fields of it."""
    begun(world)
    if operation == "close_period":
        head = world.head
        found = {"statements": closing_months.STATEMENTS, "checks": checks()}
        return {"size": head.size, "root": head.root, **found}
    if operation == "explain":
        return {"authorization": world.bodies()[-1]["authorization"]}
    assert close(world).status is Status.DONE
    if operation == "approve_reopening":
        asked = world.do(RequestReopening, world.key("finance", "rita"), period="2026-10", reason="an invoice")
        assert asked.status is Status.DONE
    return {}


FAILING = checks(flags=("chg_1 unauthorized",))

ALONE: dict[Status, Scene] = {
    Status.PERIOD_NOT_OVER: lambda w: close(w, "2026-11"),
    Status.PERIOD_OUT_OF_ORDER: lambda w: close(begun(w, 20, 40)),
    Status.PERIOD_CHANGED: lambda w: close(begun(w), size=5),
    Status.CHECKS_FAILED: lambda w: close(begun(w), checks=FAILING),
}

BOTH: dict[tuple[Status, Status], Scene] = {
    (Status.WRONG_STATE, Status.PERIOD_CHANGED): lambda w: (close(begun(w)), close(w, size=5))[1],
    (Status.PERIOD_NOT_OVER, Status.PERIOD_OUT_OF_ORDER): lambda w: close(begun(w), "2026-12"),
    (Status.PERIOD_OUT_OF_ORDER, Status.PERIOD_CHANGED): lambda w: close(begun(w, 20, 40), size=5),
    (Status.PERIOD_CHANGED, Status.CHECKS_FAILED): lambda w: close(begun(w), size=5, checks=FAILING),
}

NEVER_BOTH: dict[tuple[Status, Status], str] = {
    (Status.REPRICE_TOO_SMALL, Status.PERIOD_NOT_OVER): "no month is repriced",
}
