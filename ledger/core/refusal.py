"""How a command ends without a record, inside the core.

Invariant: a refusal is raised before the command has changed anything, and caught by ``decide``, which turns it into an
outcome; nothing outside the core ever sees it.
"""

from typing import Any, NoReturn

from ledger.core.outcome import Status


class Refusal(Exception):
    """A command that ends without a record. Raised and caught inside the core only."""

    def __init__(self, status: Status, detail: str, **facts: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.facts = facts


def refuse(status: Status, detail: str, **facts: Any) -> NoReturn:
    """End the command at hand without a record."""
    raise Refusal(status, detail, **facts)
