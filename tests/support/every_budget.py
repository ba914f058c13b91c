"""The part of the story with a record of every kind that is about a budget's life, and about stopping."""

from __future__ import annotations

from ledger.core.command import Allocate, Caller, ExpireDue
from ledger.core.command_budgets import CloseBudget, FreezeBook, FreezeBudget, SetRenewal, StopRenewal
from tests.support.ledger import Ledger

DAY = 24 * 3600


def live(ledger: Ledger, crawler: Caller) -> None:
    """Budgets that renew with lapse, carry-over and from a short parent; one stopped, one closed; freezes."""
    admin = ledger.admin
    ledger.budget("daily", "20", "crawler", parent="company")
    ledger.budget("starved", None, parent="daily")
    ledger.budget("stopped", "1")
    ledger.budget("closed", "3", parent="company")
    for name, every, amount, carry_over in (
        ("daily", "day", "15", "5"),
        ("starved", "day", "40", "0"),
        ("closed", "week", "1", "0"),
        ("stopped", "month", "2", "1"),
        ("daily", "day", "25", "5"),
    ):
        renewal = {"every": every, "amount": amount, "currency": "USD", "carry_over": carry_over}
        assert ledger.do(SetRenewal, admin, budget=name, **renewal, reason="by contract").status.value == "done"
    ledger.do(StopRenewal, admin, budget="stopped", reason="no more")
    ledger.do(CloseBudget, admin, budget="closed", reason="done")
    ledger.authorize(crawler, "1", budget="daily")
    ledger.advance(2 * DAY)
    ledger.do(ExpireDue, Caller(None), idempotency_key="")
    ledger.do(Allocate, admin, budget="company", amount="40", currency="USD")
    for frozen in (True, False):
        ledger.do(FreezeBudget, admin, budget="daily", frozen=frozen, reason="odd")
        ledger.authorize(crawler, "1", budget="daily", ttl_seconds=60)
        ledger.do(FreezeBook, admin, frozen=frozen, reason="a drill")
        ledger.authorize(crawler, "1", budget="daily", ttl_seconds=60)
    ledger.do(FreezeBudget, admin, budget="stopped", frozen=True)
    renewal = {"every": "week", "amount": "30", "currency": "USD"}
    assert ledger.do(SetRenewal, admin, budget="daily", **renewal).status.value == "done"
