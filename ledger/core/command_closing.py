"""The commands that close a month, open it again, and explain what is flagged."""

from dataclasses import dataclass
from typing import ClassVar

from ledger.core.closing import CheckResult
from ledger.core.command import Command


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosePeriod(Command):
    """Close a month (``2026-11``). ``accept`` names checks that may fail, in order, and ``evidence`` is canonical JSON
    of a reason for each.

    The rest is what whoever asks found out, and no part of the request, because a repeat of it finds other: that the
    log had ``size`` records with ``root``, the digests of the ``statements`` made of them (scope, hex), in order, and
    what each of ``closing.CHECKS`` found. A size of 0 asks whether the month could be closed at all."""

    operation: ClassVar[str] = "close_period"
    period: str
    accept: tuple[str, ...] = ()
    evidence: str | None = None
    size: int = 0
    root: bytes = b""
    statements: tuple[tuple[str, str], ...] = ()
    checks: tuple[CheckResult, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestReopening(Command):
    """Ask that the month which was closed last be opened again."""

    operation: ClassVar[str] = "request_reopening"
    period: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApproveReopening(Command):
    """Open a month again, as another person asked."""

    operation: ClassVar[str] = "approve_reopening"
    period: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explain(Command):
    """Explain the flags that an authorization or a charge has."""

    operation: ClassVar[str] = "explain"
    authorization: str
    reason: str
