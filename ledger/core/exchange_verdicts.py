"""What is said of conversion in a decision: that there is no rate, or that what is left covers nothing.

Invariant: pure; the same for whoever decides and for whoever decides again.
"""

from ledger.core.book import Book
from ledger.core.budget import Budget
from ledger.core.exchange import Exchange
from ledger.core.outcome import Status
from ledger.core.rate import CROSS, day_of, day_text
from ledger.core.rules import DENY, RULE_AVAILABLE, RULE_RATE, Evaluation, Verdict


def no_rate_detail(currency: str, budget_currency: str, day: int) -> str:
    """What to say where there is no rate."""
    through = "" if CROSS in (currency, budget_currency) else f", nor from both to {CROSS}"
    return (
        f"there is no rate from {currency} to {budget_currency} for {day_text(day)}{through}; "
        "finance can give one with POST /v1/rates or bursar rates add"
    )


def no_rate_verdict(book: Book | None, currency: str, budget: Budget, now: int) -> Verdict:
    """The denial of a request that cannot be converted to its budget's currency today."""
    day = day_of(book.timezone if book is not None else "UTC", now)
    return Verdict(RULE_RATE, DENY, Status.NO_RATE, detail=no_rate_detail(currency, budget.currency, day))


def less_approved(exchange: Exchange, evaluation: Evaluation, approved: int, amount: int) -> tuple[Evaluation, int]:
    """(the evaluation, what is held) of a request of ``amount`` in the budget's currency that is approved for
    ``approved`` of it: fixes what is approved of what was asked. What does not cover an atom of that is denied."""
    if evaluation.denial is not None:
        return evaluation, 0
    exchange.approved = exchange.amount if approved == amount else exchange.covered(approved)
    if exchange.approved:
        return evaluation, exchange.up(exchange.approved)
    denial = Verdict(
        RULE_AVAILABLE, DENY, Status.INSUFFICIENT_BUDGET,
        detail=f"what the budget has left does not cover the least amount of {exchange.currency}",
    )  # fmt: skip
    return Evaluation((*evaluation.verdicts, denial), 0, denial), 0
