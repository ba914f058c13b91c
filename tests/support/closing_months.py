"""Months that are closed in tests without the service that makes their statements: with digests that stand for them."""

from __future__ import annotations

from typing import Any

from ledger.core.closing import CHECKS, CheckResult
from ledger.core.command import Caller, Charge, Refund, Reprice
from ledger.core.command_closing import ApproveReopening, ClosePeriod, Explain, RequestReopening
from ledger.core.outcome import Outcome, Status
from tests.support.ledger import OPENED_AT, SECOND, Ledger

DAY = 24 * 3600 * SECOND

STATEMENTS = (("book", "0" * 64), ("budget:research", "1" * 64), ("agent:crawler", "2" * 64))


def checks(**failing: tuple[str, ...]) -> tuple[CheckResult, ...]:
    """What every check found: nothing, but for what is given."""
    return tuple(CheckResult(name, len(failing.get(name, ())), failing.get(name, ())) for name in CHECKS)


def close(ledger: Ledger, caller: Caller, period: str, **fields: Any) -> Outcome:
    """Close a month as of the log's end, unless told otherwise."""
    head = ledger.head
    given = {"size": head.size, "root": head.root, "statements": STATEMENTS, "checks": checks()} | fields
    return ledger.do(ClosePeriod, caller, period=period, **given)


def live(ledger: Ledger, flagged: str) -> None:
    """A month before the book that is closed, opened again by a second person and closed again, with every odd case: a
    request that waits; entries that are meant for the closed month; what is flagged explained, and explained further
    once it has another flag. A request that nobody answered in time is left out, because it takes days."""
    fay, gus = ledger.key("finance", "fay"), ledger.key("finance", "gus")
    october = OPENED_AT - 20 * DAY
    ledger.do(
        Charge, fay, budget="research", amount="0.15", currency="USD", category="inference", payee="openai",
        effective_at=OPENED_AT - 45 * DAY,
    )  # fmt: skip
    earlier = close(ledger, fay, "2026-09")
    charged = ledger.do(
        Charge, fay, budget="research", amount="0.25", currency="USD", category="inference", payee="openai",
        effective_at=october,
    )  # fmt: skip
    reference = str((charged.body or {})["authorization"])
    explained = ledger.do(Explain, fay, authorization=reference, reason="found on the invoice of October")
    first = close(ledger, fay, "2026-10")
    asked = ledger.do(RequestReopening, fay, period="2026-10", reason="an invoice came late")
    opened = ledger.do(ApproveReopening, gus, period="2026-10", reason="seen")
    again = close(
        ledger, gus, "2026-10", accept=("flags", "reconciliation"), evidence='{"flags":"known","reconciliation":"no"}',
        checks=checks(flags=(reference,), reconciliation=("openai",)),
    )  # fmt: skip
    landed = ledger.do(
        Refund, fay, authorization=reference, amount="0.05", currency="USD", effective_at=october, reason="credit note"
    )
    waits = ledger.do(RequestReopening, gus, period="2026-10", reason="another invoice")
    metered = ledger.do(Explain, gus, authorization=flagged, reason="the provider sent no usage")
    ledger.do(
        Reprice, fay, authorization=flagged, settled="0.8", amount="1.2", currency="USD", reason="mistyped again",
        old_price=(("output", "3"),), new_price=(("output", "4"),),
    )  # fmt: skip
    further = ledger.do(Explain, fay, authorization=flagged, reason="the price was mended, and is above the hold")
    for outcome in (earlier, explained, first, asked, opened, again, landed, waits, metered, further):
        assert outcome.status is Status.DONE, outcome
    assert (landed.body or {})["closed_by"] == again.log_index
