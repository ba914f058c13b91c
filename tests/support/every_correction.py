"""Corrections that one person may do alone and that need a second one, and reversals, with the odd cases of each."""

from __future__ import annotations

from typing import Any

from ledger.core.command import Adjust, AdjustmentTransfer, Charge, Refund, Reprice
from ledger.core.command_corrections import (
    ApproveCorrection,
    RefuseCorrection,
    Reverse,
    SetCorrectionRule,
    WithdrawCorrection,
)
from ledger.core.outcome import Outcome
from tests.support.ledger import OPENED_AT, SECOND, Ledger


def correct(ledger: Ledger) -> None:
    """Leave corrections in every state, a rule that was tightened and loosened, and reversals of each sort."""
    fiona, gus, zoe, yan = (
        ledger.key(role, name) for role, name in (("finance", "fiona"), ("finance", "gus"), ("admin", "zoe"),
                                                  ("admin", "yan"))
    )  # fmt: skip
    moved = (AdjustmentTransfer("expenses:hosting", "expenses:search", "2", "USD"),
             AdjustmentTransfer("budgets:company:spent", "budgets:company:available", "0.25", "USD"))  # fmt: skip
    first = done(ledger.do(Adjust, fiona, transfers=moved, reason="booked on the wrong category"))
    found = ledger.do(
        Charge, fiona, budget="company", amount="6", currency="USD", category="inference", payee="openai"
    )  # fmt: skip
    spent = str((found.body or {})["authorization"])
    for above in ("4", "3"):
        done(ledger.do(SetCorrectionRule, zoe, currency="USD", above=above, reason="as the auditors ask"))
    done(ledger.do(SetCorrectionRule, zoe, currency="tokens", above="0"))
    again = done(ledger.do(Adjust, fiona, transfers=moved, reason="the rest of it", corrects=first.log_index))
    pending(ledger.do(Refund, fiona, authorization=spent, amount="5", currency="USD", reason="a credit note"))
    refused = pending(ledger.do(Refund, gus, authorization=spent, amount="4", currency="USD"))
    done(ledger.do(RefuseCorrection, fiona, correction=refused, reason="not what the provider says"))
    back = pending(ledger.do(Reverse, fiona, record=again.log_index, reason="it was right before"))
    reversal = done(ledger.do(ApproveCorrection, gus, correction=back, reason="seen"))
    ledger.do(Reverse, gus, record=reversal.log_index, reason="it was wrong before")
    asked = pending(
        ledger.do(
            Charge, gus, budget="company", amount="4", currency="USD", category="inference", payee="openai",
            agent="crawler", run="run-1", resource="gpt-5", reason="on the invoice", evidence='{"invoice":"12"}',
            effective_at=OPENED_AT + SECOND,
        )
    )  # fmt: skip
    charged = done(ledger.do(ApproveCorrection, fiona, correction=asked))
    withdrawn = pending(ledger.do(Reverse, fiona, record=charged.log_index, reason="a mistake"))
    done(ledger.do(WithdrawCorrection, fiona, correction=withdrawn, reason="no mistake"))
    done(ledger.do(Refund, gus, authorization=charged.body["authorization"], amount="0.5", currency="USD"))  # type: ignore[index]
    rest = pending(ledger.do(Reverse, fiona, record=charged.log_index, reason="the invoice was taken back"))
    done(ledger.do(ApproveCorrection, gus, correction=rest))
    prices: dict[str, Any] = {"old_price": (("output", "2"),), "new_price": (("output", "9"),), "reason": "mistyped"}
    priced = pending(
        ledger.do(Reprice, fiona, authorization=spent, settled="6", amount="10", currency="USD", **prices)
    )  # fmt: skip
    done(ledger.do(ApproveCorrection, gus, correction=priced))
    looser = pending(ledger.do(SetCorrectionRule, zoe, currency="USD", above="50", reason="they agree to more"))
    done(ledger.do(ApproveCorrection, yan, correction=looser))
    pending(ledger.do(SetCorrectionRule, zoe, currency="tokens"))
    ledger.do(Charge, gus, budget="tokens", amount="5", currency="tokens", category="inference", payee="openai")


def done(outcome: Outcome) -> Outcome:
    """What must have been done."""
    assert outcome.status.value == "done", outcome
    return outcome


def pending(outcome: Outcome) -> str:
    """The id of what must wait for a second person."""
    assert outcome.status.value == "pending_approval", outcome
    return str((outcome.body or {})["correction"])
