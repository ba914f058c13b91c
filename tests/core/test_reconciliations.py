"""Reconciliations as the core decides and verifies them: what is taken, what is refused, what a forger cannot say."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ledger.core.command import Charge
from ledger.core.command_reconciliations import Reconcile
from ledger.core.deriving import Clock, columns_of
from ledger.core.outcome import Outcome, Status
from ledger.core.projecting import Fold
from ledger.core.reconciliation import DIFFERENCE_KINDS, Reconciliation, makes_good
from tests.support.ledger import OPENED_AT, SECOND
from tests.support.memory_rows import MemoryStore
from tests.support.worlds import World

ATOMS = 1_000_000_000
DAY = 86_400 * SECOND


@pytest.fixture
def world() -> World:
    """A book in which 3 dollars were spent with openai on the day before it was opened."""
    made = World()
    made.do(
        Charge, made.finance, budget="research", amount="3", currency="USD", category="inference", payee="openai",
        effective_at=OPENED_AT - DAY // 2,
    )  # fmt: skip
    return made


def reconcile(world: World, *, caller: Any = None, **figures: Any) -> Outcome:
    """Compare with 5 dollars, of which 2 are missing here, unless told otherwise."""
    given: dict[str, Any] = {
        "payee": "openai", "currency": "USD", "source": "openai-costs", "starts_at": OPENED_AT - DAY,
        "ends_at": OPENED_AT, "at_size": world.tables["book_heads"][1,].size, "ledger_total": 3 * ATOMS,
        "provider_total": "5", "lines": 2, "matched": 1, "differences": (("missing_here", 1, "2"),),
        "files": ("ab" * 32,),
    }  # fmt: skip
    return world.do(Reconcile, caller or world.finance, **given | figures)


def body_of(outcome: Outcome) -> dict[str, Any]:
    """What the record says."""
    assert outcome.status is Status.DONE, outcome
    return outcome.body or {}


def test_a_comparison_moves_no_money(world: World) -> None:
    """It says both totals and what is open, and stands in a row of its own."""
    body = body_of(reconcile(world))
    assert "transfers" not in body
    assert (body["provider_total"], body["ledger_total"]) == (str(5 * ATOMS), str(3 * ATOMS))
    assert (body["open_differences"], body["open_amount"], body["accepted"]) == (1, str(2 * ATOMS), False)
    (row,) = world.rows("reconciliations")
    assert (row.id, row.accepted, row.open_amount, row.made_by) == (
        body["reconciliation"], False, 2 * ATOMS, body["by"]["principal"],
    )  # fmt: skip


def test_what_is_open_is_accepted_for_a_reason(world: World) -> None:
    """What is tolerated is not open; nothing open needs nobody's reason."""
    assert body_of(reconcile(world, accept=True, reason="a credit of theirs"))["accepted"] is True
    tolerated = (("tolerated", 3, "-0.01"),)
    body = body_of(reconcile(world, provider_total="2.99", differences=tolerated))
    assert (body["accepted"], body["open_differences"], body["open_amount"]) == (True, 0, "0")
    assert body_of(reconcile(world, provider_total="3", differences=()))["accepted"] is True


def test_a_repeat_is_answered_with_the_record(world: World) -> None:
    """Also when the ledger says something else by then; another request under the same key is refused."""
    first = reconcile(world, idempotency_key="k")
    again = reconcile(world, idempotency_key="k", ledger_total=9 * ATOMS, at_size=1)
    assert (again.status, again.log_index) == (Status.REPLAYED, first.log_index)
    other = reconcile(world, idempotency_key="k", lines=3)
    assert other.status is Status.IDEMPOTENCY_MISMATCH


@pytest.mark.parametrize(
    ("role", "allowed"), [("admin", True), ("finance", True), ("approver", False), ("auditor", False)]
)
def test_who_may(world: World, role: str, allowed: bool) -> None:
    """Finance and admins."""
    status = reconcile(world, caller=world.key(role, "somebody")).status
    assert status is (Status.DONE if allowed else Status.ROLE_NOT_ALLOWED)


REFUSED: list[tuple[dict[str, Any], Status]] = [
    ({"payee": "nobody"}, Status.UNKNOWN_PAYEE),
    ({"currency": "XXX"}, Status.UNKNOWN_CURRENCY),
    ({"provider_total": "five"}, Status.AMOUNT_MALFORMED),
    ({"provider_total": "--5"}, Status.AMOUNT_NOT_POSITIVE),
    ({"provider_total": "4"}, Status.RECONCILIATION_INVALID),
    ({"ledger_total": 3 * ATOMS + 1}, Status.RECONCILIATION_INVALID),
    ({"ends_at": OPENED_AT - DAY}, Status.RECONCILIATION_INVALID),
    ({"ends_at": OPENED_AT + 1}, Status.RECONCILIATION_INVALID),
    ({"at_size": 10**6}, Status.RECONCILIATION_INVALID),
    ({"accept": True}, Status.RECONCILIATION_INVALID),
    ({"booked": (10**6,)}, Status.RECONCILIATION_INVALID),
    ({"booked": (2, 1)}, Status.RECONCILIATION_INVALID),
    ({"differences": (("rounding", 1, "2"),)}, Status.RECONCILIATION_INVALID),
    ({"differences": (("price", 1, "1"), ("missing_here", 1, "1"))}, Status.RECONCILIATION_INVALID),
    ({"differences": (("price", 1, "1"), ("price", 1, "1"))}, Status.RECONCILIATION_INVALID),
    ({"differences": (("price", 0, "2"),)}, Status.RECONCILIATION_INVALID),
]


@pytest.mark.parametrize(("figures", "status"), REFUSED, ids=range(len(REFUSED)))
def test_what_does_not_hold_is_refused(world: World, figures: dict[str, Any], status: Status) -> None:
    """With a sentence, and without a record."""
    outcome = reconcile(world, **figures)
    assert (outcome.status, bool(outcome.detail)) == (status, True)
    assert world.rows("reconciliations") == []


def folded(bodies: list[dict[str, Any]]) -> list[str]:
    """What the fold notes about bodies."""
    fold, clock = Fold(1, MemoryStore()), Clock()
    for body in bodies:
        fold.apply(body, columns_of(body, clock))
    return [difference.what for difference in fold.differences]


FORGED: list[tuple[str, dict[str, Any]]] = [
    ("the differences do not add up", {"ledger_total": str(2 * ATOMS)}),
    ("the request's provider_total is not what was done", {"provider_total": str(6 * ATOMS)}),
    ("the request's differences is not what was done", {"differences": [["price", 1, str(2 * ATOMS)]]}),
    ("the request's files is not what was done", {"files": []}),
    ("open_differences is not what the records before it give", {"open_differences": 0}),
    ("open_amount is not what the records before it give", {"open_amount": "0"}),
    ("accepted is not what the records before it give", {"accepted": True}),
    ("it stands on more records than there were", {"at_size": 10**6}),
    ("a period is reconciled that is not over", {"ends_at": "2100-01-01T00:00:00.000000Z"}),
    ("the payee is not known", {"payee": "nobody"}),
    ("it names records that were not there", {"booked": [10**6]}),
]


@pytest.mark.parametrize(("what", "changes"), FORGED, ids=[what for what, _ in FORGED])
def test_a_forged_record_is_noted(world: World, what: str, changes: dict[str, Any]) -> None:
    """Each field that the rules give, or the request says."""
    reconcile(world)
    bodies = world.bodies()
    assert folded(bodies) == []
    forged = copy.deepcopy(bodies)
    forged[-1] |= changes
    assert what in folded(forged)


def test_every_kind_of_difference_can_be_said(world: World) -> None:
    """Each once, in the order of the list."""
    differences = tuple((kind, 1, str(place)) for place, kind in enumerate(DIFFERENCE_KINDS))
    total = sum(range(len(DIFFERENCE_KINDS)))
    body = body_of(reconcile(world, provider_total=str(3 + total), differences=differences))
    assert body["open_differences"] == len(DIFFERENCE_KINDS) - 1
    assert folded(world.bodies()) == []


def row(starts_at: int, ends_at: int, accepted: bool = True) -> Reconciliation:
    """A comparison of a stretch of days."""
    return Reconciliation(
        1,
        "rcn",
        "openai",
        "USD",
        "csv",
        starts_at,
        ends_at,
        1,
        0,
        0,
        int(not accepted),
        0,
        accepted,
        "person:fay",
        9,
        9,
    )


COVERED: list[tuple[list[Reconciliation], bool]] = [
    ([], False),
    ([row(0, 30)], True),
    ([row(-5, 40)], True),
    ([row(0, 29)], False),
    ([row(1, 30)], False),
    ([row(0, 10), row(10, 30)], True),
    ([row(0, 10), row(11, 30)], False),
    ([row(0, 30, accepted=False)], False),
    ([row(0, 30), row(0, 30, accepted=False)], True),
    ([row(5, 6, accepted=False), row(0, 30)], False),
    ([row(5, 6), row(5, 10, accepted=False), row(0, 30)], False),
    ([row(5, 10), row(5, 6, accepted=False), row(0, 30)], True),
]


@pytest.mark.parametrize(("rows", "is_good"), COVERED, ids=range(len(COVERED)))
def test_of_each_day_the_newest_comparison_counts(rows: list[Reconciliation], is_good: bool) -> None:
    """Newest first; the stretch is from 0 to 30."""
    assert makes_good(rows, 0, 30) is is_good
