"""The demo's own arithmetic of one budget, kept beside the server's and compared with it after every answer.

Invariant: available + held + spent is what was allocated, and what the server answers is what stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ledger.cli.demo.calls import DemoError, amount_of

ZERO = Decimal(0)


@dataclass
class Purse:
    """What one budget should show, in dollars."""

    budget: str
    available: Decimal
    held: Decimal = ZERO
    spent: Decimal = ZERO

    def verdict(self, amount: Decimal, *, own: Decimal = ZERO) -> str | None:
        """None where a request for ``amount`` must be approved, else the code with which it must be denied.

        ``own`` is what the hold that is to be extended holds itself: waiting for that would be waiting for oneself.
        """
        if amount <= self.available:
            return None
        return "budget_held" if amount <= self.available + self.held - own else "insufficient_budget"

    def hold(self, amount: Decimal) -> None:
        """An authorization or extension was approved."""
        self.available -= amount
        self.held += amount

    def settle(self, amount: Decimal, *, held: Decimal, final: bool) -> Decimal:
        """A settlement against a hold that still holds ``held``; returns what it holds after."""
        within = min(amount, held)
        left = ZERO if final else held - within
        self.spent += amount
        self.held -= held - left
        self.available += held - left - amount
        return left

    def give_back(self, held: Decimal) -> None:
        """A hold was released, or expired."""
        self.held -= held
        self.available += held

    def compare(self, shown: Mapping[str, Any]) -> None:
        """Raise DemoError where the balances of an answer are not these."""
        got = tuple(amount_of(shown[name]) for name in ("available", "held", "spent"))
        expected = (self.available, self.held, self.spent)
        if got != expected:
            raise DemoError(
                f"budget {self.budget}: the server says available {got[0]}, held {got[1]}, spent {got[2]}; "
                f"expected {expected[0]}, {expected[1]}, {expected[2]}"
            )
