"""Commands about policies."""

from dataclasses import dataclass
from typing import ClassVar

from ledger.core.command import Command
from ledger.core.filling import Filled


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyPolicy(Command):
    """Make ``document`` (canonical JSON text of a policy) the next version of the policy it names.

    ``after_version`` is the live version that the caller has seen (0: none; None: whichever). ``filled`` is what the
    service has filled of the limits that are new; without it only what needs no history can be applied.
    """

    operation: ClassVar[str] = "apply_policy"
    id: str
    document: str
    after_version: int | None = None
    filled: Filled | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetirePolicy(Command):
    """Let a policy bind nobody any more; its versions stay on record."""

    operation: ClassVar[str] = "retire_policy"
    policy: str
    reason: str | None = None
