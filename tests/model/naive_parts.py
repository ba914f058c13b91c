"""What the naive ledger is made of: a hold as the list of what happened to it, an answer, a refusal; and the tables of
``docs/statuses.md``, from which it takes the order of precedence and the roles.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tests.support.documents import table_under

PRECEDENCE = [row["status"] for row in table_under("statuses.md", "status")]
RECORDED = {row["status"] for row in table_under("statuses.md", "status") if row["on record"] == "yes"}
BINDING = {row["status"] for row in table_under("statuses.md", "status") if row["binds the key"] == "yes"}
ROLE_ROWS = {row["operation"]: row for row in table_under("statuses.md", "operation")}
SCALES = {"USD": 9, "EUR": 9, "JPY": 6}
LIMIT = 2**63 - 1
MONTH = 30 * 24 * 3600
ZERO = Decimal(0)
# Who asks, what changes from one try to the next, and so is no part of the request.
NOT_THE_REQUEST = {"caller", "idempotency_key", "id", "digest", "filled"}


class Refused(Exception):
    """The command ends here, with one of these statuses: the one that stands first in the table."""

    def __init__(self, *codes: str) -> None:
        super().__init__(*codes)
        self.code = min(codes, key=PRECEDENCE.index) if len(set(codes)) > 1 else codes[0]


@dataclass
class Hold:
    """An authorization or a charge as the list of what happened to it; ``at`` is when it was recorded."""

    asked: Any
    agent: str | None
    budget: str
    run: str | None
    counts: bool
    currency: str
    events: list[tuple[Any, ...]] = field(default_factory=list)
    expires: int | None = None
    due: int | None = None
    on_expiry: str = "release"
    at: int = 0
    metering: tuple[tuple[str, str], ...] = ()
    tiers: list[Any] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """Everything about it, worked out from the beginning."""
        approved = held = settled = refunded = repriced = ZERO
        state, flags = "denied", set()
        for event in self.events:
            kind, amount = event[0], event[1] if len(event) > 1 else ZERO
            if kind == "hold":
                state, approved, held = "pending_approval" if self.tiers else "held", amount, amount
                if amount < Decimal(self.asked.amount):
                    flags.add("partial")
            elif kind == "extend":
                approved, held = approved + amount, held + amount
                if event[2]:
                    flags.discard("unknown")
            elif kind == "settle":
                _, _, _, _, mismatched, final, said = event
                flags |= set(said)
                if state in ("released", "expired"):
                    flags.add("late")
                elif amount > held:
                    flags.add("overrun")
                if mismatched:
                    flags.add("mismatch")
                settled += amount
                held -= min(amount, held)
                if final:
                    state, held = "settled", ZERO
                    flags.discard("unknown")
            elif kind == "charge":
                state, settled = "settled", amount
                flags.add("unauthorized")
            elif kind == "refund":
                refunded += amount
            elif kind == "reprice":
                repriced += amount
                flags |= {"repriced", "overrun"} if event[4] else {"repriced"}
            elif kind == "unknown":
                flags.add("unknown")
            elif kind == "grant":
                state = "held"
            else:
                state, held = {"release": "released", "expire": "expired", "refuse": "refused"}[kind], ZERO
                flags.discard("unknown")
        return {
            "state": state,
            "approved": approved,
            "held": held,
            "settled": settled,
            "refunded": refunded,
            "repriced": repriced,
            "flags": flags,
        }

    def is_open(self) -> bool:
        """Whether it holds something, or could again."""
        return self.facts()["state"] == "held"

    def pairs(self) -> dict[tuple[str, str], tuple[Decimal, Decimal]]:
        """(settled, as repriced, and refunded) of each pair of category and payee that something was settled for."""
        found: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}
        for event in self.events:
            if event[0] in ("settle", "charge", "refund", "reprice") and event[1]:
                settled, refunded = found.get((event[2], event[3]), (ZERO, ZERO))
                if event[0] == "refund":
                    refunded += event[1]
                else:
                    settled += event[1]
                found[event[2], event[3]] = settled, refunded
        return found


@dataclass
class Answer:
    """What the model says of one command. ``subject`` is the authorization it is about; ``first`` the number of the
    command whose record it repeats; ``followed`` how many records the command's own one was followed by; ``ruling``
    what policies said."""

    status: str
    delta: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    subject: str | None = None
    budget: str | None = None
    first: int | None = None
    followed: int = 0
    ruling: Any = None
