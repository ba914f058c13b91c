"""The commands on a budget's life and on stopping: renewal, closing, and freezing a budget or the whole book."""

from dataclasses import dataclass
from typing import ClassVar

from ledger.core.command import Command


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRenewal(Command):
    """At each midnight of the book that begins a period (``every`` is day, week or month), let what is available above
    ``carry_over`` lapse and allocate ``amount``; both are decimal text in ``currency``."""

    operation: ClassVar[str] = "set_renewal"
    budget: str
    every: str
    amount: str
    currency: str
    carry_over: str = "0"
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRenewal(Command):
    """Renew a budget no more; what it has stays."""

    operation: ClassVar[str] = "stop_renewal"
    budget: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseBudget(Command):
    """Close a budget for good and give what it has available back to where it came from."""

    operation: ClassVar[str] = "close_budget"
    budget: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeBudget(Command):
    """Freeze (or, with ``frozen`` False, unfreeze) a budget with all below it."""

    operation: ClassVar[str] = "freeze_budget"
    budget: str
    frozen: bool
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeBook(Command):
    """Freeze (or, with ``frozen`` False, unfreeze) the whole book."""

    operation: ClassVar[str] = "freeze_book"
    frozen: bool
    reason: str | None = None
