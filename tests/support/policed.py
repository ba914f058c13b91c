"""A world in memory whose policies tests write in a line: applied, edited, retired, and what their counters say."""

from __future__ import annotations

from typing import Any

from ledger.core.canonical import canonical_bytes, parse
from ledger.core.command_policies import ApplyPolicy, RetirePolicy
from ledger.core.compiling import bases_of
from ledger.core.deriving import Clock, columns_of
from ledger.core.filling import Filled
from ledger.core.moment import moment_of
from ledger.core.outcome import Outcome
from ledger.core.policy import LOOPS
from ledger.core.projecting import Fold
from tests.support.memory_rows import MemoryStore
from tests.support.worlds import World

USD = 10**9
"""Atoms of a dollar."""


def limit(name: str = "day", per: str = "day", maximum: str | None = None, **fields: Any) -> dict[str, Any]:
    """A limit of a document; ``maximum`` is decimal text."""
    made = {"id": name, "per": per} | ({"max": maximum} if maximum is not None else {})
    return made | fields


class Policed(World):
    """``World``, in time zone ``Europe/Paris`` as every ledger in memory, with a short way to its policies."""

    def apply_command(self, name: str = "caps", /, **fields: Any) -> Any:
        """A command that makes a version of a policy, on the whole book and in dollars unless told otherwise. Its new
        limits are filled from the first record on, by catching up with all of them."""
        document = {"policy": name, "applies_to": {"book": True}, "currency": "USD"} | fields
        bases = bases_of(document, timezone=self.book.timezone)
        filled = Filled(0, {(kind, rule): basis for kind, rule, basis in bases if kind != LOOPS}, {})
        text = canonical_bytes(document).decode()
        return self.command(ApplyPolicy, self.admin, id=self.new_id("pol"), document=text, filled=filled)

    def apply(self, name: str = "caps", /, **fields: Any) -> Outcome:
        """Ask for a version of a policy, as ``apply_command`` makes it."""
        return self.decide(self.apply_command(name, **fields))[0]

    def policy(self, name: str = "caps", /, **fields: Any) -> int:
        """The version that a document became, which must work."""
        outcome = self.apply(name, **fields)
        assert outcome.status.value == "done", outcome
        return int((outcome.body or {})["version"])

    def retire(self, name: str = "caps") -> None:
        """Let a policy bind nobody any more."""
        outcome = self.do(RetirePolicy, self.admin, policy=name)
        assert outcome.status.value == "done", outcome

    def at(self, text: str) -> None:
        """Let time pass until this moment (RFC 3339), which must not lie behind."""
        moment = moment_of(text)
        assert moment >= self.now, text
        self.now = moment

    def counters(self, rule: str, name: str = "caps") -> dict[str, tuple[int, int, int]]:
        """(settled, held, count) of each counter of a rule, by its key, in the window of its last change."""
        (live,) = (row for row in self.rows("policies") if row.name == name)
        (number,) = (item[3] for item in parse(live.packed.encode())["meters"] if item[1] == rule)
        return {row.key: (row.settled, row.held, row.count) for row in self.rows("counters") if row.meter == number}

    def prove(self) -> None:
        """The fold over the log, as ``verify`` makes it, has no difference and the same counters and keys."""
        store = MemoryStore()
        fold, clock = Fold(1, store), Clock()
        for body in self.bodies():
            fold.apply(body, columns_of(body, clock))
        assert fold.differences == []
        counters = {(row.meter, row.key): row for row in self.rows("counters")}
        assert store.counters.rows == counters
        assert set(store.idempotency_keys.rows) == {row.digest for row in self.rows("idempotency_keys")}


def status(outcome: Outcome) -> str:
    """The code of what became of a command."""
    return outcome.status.value


def decision(outcome: Outcome) -> dict[str, Any]:
    """The decision as the record has it."""
    assert outcome.body is not None, outcome
    found: dict[str, Any] = outcome.body["decision"]
    return found


def reason(outcome: Outcome) -> dict[str, Any]:
    """The first reason of a denial."""
    found: dict[str, Any] = decision(outcome)["reasons"][0]
    return found


def used(outcome: Outcome, rule: str, what: str = "money") -> int:
    """What a limit said it had used before: atoms, or authorizations for ``count``, or ``attempts``."""
    (found,) = (item[5] for item in decision(outcome)["limits"] if (item[1], item[2]) == (rule, what))
    return int(found)
