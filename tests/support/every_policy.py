"""The part of the story that policies play: versions, counters of every sort, freezes by policy, and a run refused.

Owns the two scenes that ``every_kind.play`` puts before and behind what is spent. Invariant: the policies on the whole
book are wide enough to refuse nothing of the rest of the story.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ledger.core.canonical import canonical_bytes
from ledger.core.command import Caller, FreezeAgent, OpenRun
from ledger.core.command_policies import ApplyPolicy, RetirePolicy
from ledger.core.compiling import bases_of
from ledger.core.filling import Filled
from ledger.core.policy import LOOPS

if TYPE_CHECKING:
    from tests.support.ledger import Ledger

DOLLARS = {"currencies": ["USD"]}
HOUSE: dict[str, Any] = {
    "policy": "house",
    "applies_to": {"book": True},
    "currency": "USD",
    "timezone": "America/New_York",
    "deny": {"resources": ["*-realtime"]},
    "limits": [
        {"id": "day", "per": "day", "max": "5000", "by": ["agent"], "match": DOLLARS},
        {"id": "hour", "per": "hour", "rolling": True, "max_count": 500, "by": ["payee", "label.prompt"]},
        {"id": "ever", "per": "lifetime", "max": "9000", "max_count": 900, "match": DOLLARS | {"categories": ["inf*"]}},
    ],
    "loops": {"same_request": 50, "within": 600, "then": "deny"},
    "mismatch": {"more_than": 90, "then": "freeze"},
}
TRIAL: dict[str, Any] = {
    "policy": "trial",
    "applies_to": {"team": "research"},
    "currency": "USD",
    "shadow": True,
    "hours": {"days": ["sun"], "from": "07:00", "to": "08:00"},
    "when": [{"id": "small", "expression": 'amount <= 1000000000 && category == "inference"'}],
}


def apply(ledger: Ledger, document: dict[str, Any]) -> None:
    """Make a document the next version of its policy, its new limits caught up with from the first record on."""
    bases = bases_of(document, timezone=ledger.book.timezone)
    applied = ledger.do(
        ApplyPolicy,
        ledger.admin,
        id=ledger.new_id("pol"),
        document=canonical_bytes(document).decode(),
        filled=Filled(0, {(kind, rule): basis for kind, rule, basis in bases if kind != LOOPS}, {}),
        reason="agreed on Monday",
    )
    assert applied.status.value == "done", applied


def govern(ledger: Ledger) -> None:
    """Policies that are there while the story spends: one that counts, and one that is only tried."""
    apply(ledger, HOUSE)
    apply(ledger, TRIAL)


def amend(ledger: Ledger) -> None:
    """A version that keeps one limit, drops one and adds one, filled from what was spent; a policy that is retired; and
    agents that policies refuse and freeze."""
    apply(
        ledger, HOUSE | {"limits": [HOUSE["limits"][0], {"id": "week", "per": "week", "max": "7000", "match": DOLLARS}]}
    )
    assert ledger.do(RetirePolicy, ledger.admin, policy="trial", reason="tried").status.value == "done"
    looper = ledger.agent("looper")
    ledger.budget("loops", "50", "looper")
    frozen = {"policy": "sandbox", "applies_to": {"agent": "looper"}, "currency": "USD"}
    apply(
        ledger,
        frozen
        | {
            "limits": [{"id": "runs", "per": "day", "max_count": 1, "on": "runs"}],
            "loops": {"same_request": 1, "within": 60, "then": "freeze"},
            "overrun": {"tolerance_percent": 10, "then": "freeze"},
            "mismatch": {"more_than": 1, "then": "freeze"},
        },
    )
    for name, expected in (("loop-1", "done"), ("loop-2", "limit_exceeded")):
        assert ledger.do(OpenRun, looper, name=name).status.value == expected
    _freeze_thrice(ledger, looper)


def _freeze_thrice(ledger: Ledger, looper: Caller) -> None:
    """For a loop, for an overrun, and for one mismatch too many, with an admin's mercy between."""
    first = ledger.hold(looper, "1", fingerprint="same")
    assert ledger.authorize(looper, "2", fingerprint="same").status.value == "loop_detected"
    _thaw(ledger)
    ledger.settle(looper, first, "1.5")
    _thaw(ledger)
    second = ledger.hold(looper, "3")
    ledger.settle(looper, second, "1", payee="brave")
    assert ledger.authorize(looper, "4").status.value == "agent_frozen"


def _thaw(ledger: Ledger) -> None:
    thawed = ledger.do(FreezeAgent, ledger.admin, agent="looper", frozen=False, reason="it was an accident")
    assert thawed.status.value == "done", thawed
