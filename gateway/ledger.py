"""What the gateway needs of the ledger, as a port: the server that carries both hands it over.

Invariant: the gateway asks and reports; it never decides, and knows no database.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from ledger.core.command import Authorize, Command, Extend
from ledger.core.outcome import Outcome


class Waiting(Protocol):
    """A command that may wait in line. After ``leave`` its future ends with ``LeftLine``, or with its outcome."""

    @property
    def future(self) -> asyncio.Future[Outcome]:
        """Ends with the outcome, or fails with a ServiceError."""

    def leave(self) -> None:
        """Step out of the line, if it is still in it."""


class Ledger(Protocol):
    """Durable decisions; each future fails with a ServiceError where a command could not be decided."""

    def decide(self, book_id: int, command: Command) -> asyncio.Future[Outcome]:
        """Have a command decided."""

    def decide_waiting(self, book_id: int, command: Authorize | Extend, wait_seconds: float) -> Waiting:
        """Have a command decided, in line where money is only held by others."""
