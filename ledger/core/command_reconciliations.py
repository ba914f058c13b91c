"""The command that puts a comparison with a provider's figures on record."""

from dataclasses import dataclass
from typing import ClassVar

from ledger.core.command import Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconcile(Command):
    """Record what ``payee`` says was spent from ``starts_at`` to ``ends_at`` (microseconds) and how that differs.

    Amounts are decimal text and may be below zero; ``differences`` are (kind, count, amount), ``files`` SHA-256 in hex
    of what was read, ``booked`` log indexes of the charges and corrections that it led to. ``ledger_total`` is, in
    atoms, what whoever asks found in the first ``at_size`` records; it is no part of the request, and neither is
    ``at_size`` unless ``pinned``. ``accept`` takes what is open as it is, for a reason."""

    operation: ClassVar[str] = "reconcile"
    id: str
    payee: str
    currency: str
    source: str
    starts_at: int
    ends_at: int
    at_size: int
    ledger_total: int
    provider_total: str
    lines: int
    matched: int
    differences: tuple[tuple[str, int, str], ...] = ()
    files: tuple[str, ...] = ()
    booked: tuple[int, ...] = ()
    accept: bool = False
    pinned: bool = False
    reason: str | None = None
