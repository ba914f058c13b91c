"""The commands about corrections: reversing a record, rules that ask for a second person, and that person's answer."""

from dataclasses import dataclass
from typing import ClassVar

from ledger.core.command import Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Reverse(Command):
    """Undo an adjustment, or what is left of a charge. ``record`` is its index in the log."""

    operation: ClassVar[str] = "reverse"
    id: str
    record: int
    reason: str
    effective_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetCorrectionRule(Command):
    """Ask for a second person above so much of a currency, as decimal text; None asks for none."""

    operation: ClassVar[str] = "set_correction_rule"
    id: str
    currency: str
    above: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApproveCorrection(Command):
    """Have done what another person asked for."""

    operation: ClassVar[str] = "approve_correction"
    correction: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefuseCorrection(Command):
    """End what another person asked for, undone."""

    operation: ClassVar[str] = "refuse_correction"
    correction: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawCorrection(Command):
    """End what one has asked for oneself."""

    operation: ClassVar[str] = "withdraw_correction"
    correction: str
    reason: str | None = None
