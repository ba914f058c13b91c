"""The command that takes over spend from before the book."""

from dataclasses import dataclass
from typing import ClassVar

from ledger.core.command import Command
from ledger.core.metering import Pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeOver(Command):
    """Take over one piece of spend that happened before the book kept it, counting for its own day. ``labels`` are
    sorted pairs; a ``budget`` shows it as spent, out of authority that was given for it."""

    operation: ClassVar[str] = "take_over"
    id: str
    amount: str
    currency: str
    category: str
    payee: str
    effective_at: int
    budget: str | None = None
    agent: str | None = None
    run: str | None = None
    resource: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    metering: Pairs = ()
