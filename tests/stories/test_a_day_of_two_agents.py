"""A day of two agents who share a budget, told from the morning's allocation to the evening's invoice.

Read this to see the ledger work; each step asserts what a person would look at.
"""

from __future__ import annotations

from ledger.core.command import Adjust, AdjustmentTransfer, Charge, FreezeAgent, OpenRun, Refund, Release
from ledger.core.outcome import Status
from tests.support.ledger import Ledger


def test_a_day_of_two_agents() -> None:
    """Money is held before it is spent, what was spent is always recorded, and the books balance at the end."""
    book = Ledger()
    finance = book.key("finance", "fred")

    def budget() -> tuple[str, str, str]:
        available, held, spent = (book.shown(f"budgets:research:{role}") for role in ("available", "held", "spent"))
        return available, held, spent

    # In the morning an admin makes a team with two agents, and gives it 20 dollars.
    book.agent("research", kind="team")
    crawler, writer = book.agent("crawler", "research"), book.agent("writer", "research")
    book.budget("research", "20", "research")
    assert budget() == ("20.00", "0.00", "0.00")

    # The crawler opens a run and asks for the most that its first call can cost. The call costs less.
    book.do(OpenRun, crawler, name="ticket-4711")
    first = book.hold(crawler, "3.00", run="ticket-4711", intent="summarize ticket 4711")
    assert budget() == ("17.00", "3.00", "0.00")
    book.settle(crawler, first, "0.0125")
    assert budget() == ("19.9875", "0.00", "0.0125")

    # The writer asks for more than there is while the crawler holds some: it may fit soon, and then it does.
    second = book.hold(crawler, "5.00", run="ticket-4711")
    refused = book.authorize(writer, "18.00", idempotency_key="draft")
    assert refused.status is Status.BUDGET_HELD
    book.do(Release, crawler, authorization=second, reason="answered from the cache")
    draft = book.authorize(writer, "18.00", idempotency_key="draft")
    assert draft.status is Status.APPROVED

    # The writer's answer is lost on the way, so it repeats its request: nothing is held twice.
    assert book.authorize(writer, "18.00", idempotency_key="draft").status is Status.REPLAYED
    assert budget() == ("1.9875", "18.00", "0.0125")

    # Its stream runs longer than thought. That did happen, so it is on the books, and whoever comes next is denied.
    book.settle(writer, str((draft.body or {})["authorization"]), "21.00")
    assert budget() == ("-1.0125", "0.00", "21.0125")
    assert book.authorize(crawler, "0.01").status is Status.INSUFFICIENT_BUDGET
    book.do(FreezeAgent, book.admin, agent="writer", frozen=True, reason="look at its prompts")
    assert book.authorize(writer, "0.01").status is Status.AGENT_FROZEN

    # In the evening the invoice comes: a call that nobody authorized is on it, and two dollars are credited.
    charged = {"budget": "research", "amount": "0.50", "currency": "USD", "category": "inference", "payee": "openai"}
    assert book.do(Charge, finance, reason="invoice 7, line 3", **charged).status is Status.DONE
    credited = {"authorization": str((draft.body or {})["authorization"]), "amount": "2.00", "currency": "USD"}
    assert book.do(Refund, finance, reason="invoice 7, credit", **credited).status is Status.DONE
    assert budget() == ("0.4875", "0.00", "19.5125")

    # Finance pays what is owed, which is what was spent.
    assert book.shown("payables:openai") == "-19.5125"
    paid = AdjustmentTransfer("payables:openai", "assets:bank", "19.5125", "USD")
    assert book.do(Adjust, finance, transfers=(paid,), reason="invoice 7").status is Status.DONE
    assert book.balances() == {
        ("authority", "USD"): -20_000_000_000,
        ("budgets:research:available", "USD"): 487_500_000,
        ("budgets:research:spent", "USD"): 19_512_500_000,
        ("expenses:inference", "USD"): 19_512_500_000,
        ("assets:bank", "USD"): -19_512_500_000,
    }
