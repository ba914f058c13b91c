"""Books in which spending needs persons: a world with approvers and a policy that asks them."""

from __future__ import annotations

from typing import Any

from ledger.core.approval import Approval
from ledger.core.canonical import canonical_bytes
from ledger.core.command import Caller
from ledger.core.command_approvals import Delegate, ForceApproval, GrantApproval, RefuseApproval
from ledger.core.command_policies import ApplyPolicy
from ledger.core.deriving import Clock, columns_of
from ledger.core.outcome import Outcome
from ledger.core.projecting import Fold
from tests.support.memory_rows import TABLES, MemoryStore
from tests.support.worlds import World

NOTHING_HELD = {"available": "100.00", "held": "0.00", "spent": "0.00"}
FIVE_HELD = {"available": "95.00", "held": "5.00", "spent": "0.00"}
ANY_APPROVER: dict[str, Any] = {
    "id": "two", "above": "2.00", "per": "authorization", "approvers": ["approver"], "quorum": 1, "expires_after": 3600,
}  # fmt: skip


def rule(**fields: Any) -> dict[str, Any]:
    """An approval rule: above 2 dollars one approver within an hour, but for what is given."""
    return ANY_APPROVER | fields


class Office(World):
    """``World`` with approvers ``pat``, ``quinn`` and ``robin``, finance ``fred`` and admin ``zoe``, and a policy
    ``asks`` on the team whose approval rules are given. The agents' keys were made by the book's ``owner``."""

    def __init__(self, *rules: dict[str, Any], **fields: Any) -> None:
        super().__init__(**fields)
        self.pat = self.key("approver", "pat")
        self.quinn = self.key("approver", "quinn")
        self.robin = self.key("approver", "robin")
        self.zoe = self.key("admin", "zoe")
        self.asks(*(rules or (rule(),)))

    def asks(self, *rules: dict[str, Any], policy: str = "asks") -> None:
        """Make a version of a policy on the team with these approval rules."""
        document = {
            "policy": policy, "applies_to": {"team": "research"}, "currency": "USD", "approval": list(rules),
        }  # fmt: skip
        made = self.do(ApplyPolicy, self.admin, id=self.new_id("pol"), document=canonical_bytes(document).decode())
        assert made.status.value == "done", made

    def ask(self, amount: str = "5", caller: Caller | None = None, **fields: Any) -> str:
        """The id of a request that waits for persons."""
        outcome = self.authorize(caller or self.crawler, amount, **({"accept_pending": True} | fields))
        assert outcome.status.value == "pending_approval", outcome
        return str((outcome.body or {})["authorization"])

    def tiers(self, reference: str) -> list[Approval]:
        """The approvals of an authorization, in their sequence."""
        found = [row for row in self.rows("approvals") if row.authorization_id == reference]
        return sorted(found, key=lambda row: row.position)

    def approval(self, reference: str) -> str:
        """The id of the approval that is open, else of the last."""
        tiers = self.tiers(reference)
        return next((tier.id for tier in tiers if tier.state == "open"), tiers[-1].id)

    def states(self, reference: str) -> list[str]:
        """The states of the approvals of an authorization."""
        return [tier.state for tier in self.tiers(reference)]

    def grant(self, caller: Caller, reference: str, **fields: Any) -> Outcome:
        """Vote for a request."""
        return self.do(GrantApproval, caller, approval=self.approval(reference), **fields)

    def turn_down(self, caller: Caller, reference: str, **fields: Any) -> Outcome:
        """Vote against a request."""
        return self.do(RefuseApproval, caller, approval=self.approval(reference), **fields)

    def force(self, caller: Caller, reference: str, **fields: Any) -> Outcome:
        """Force a request, by its authorization."""
        return self.do(ForceApproval, caller, **({"approval": reference, "reason": "an emergency"} | fields))

    def delegate(self, caller: Caller, receiver: str, **fields: Any) -> Outcome:
        """Let somebody approve in one's place, for a day unless told otherwise."""
        if "ends_at" not in fields:
            fields = {"ttl_seconds": 86_400} | fields
        return self.do(Delegate, caller, id=self.new_id("dlg"), receiver=receiver, **fields)


def shown(office: Office) -> dict[str, str]:
    """The balances of the budget."""
    return {role: office.shown(f"budgets:research:{role}") for role in ("available", "held", "spent")}


def check_folded(office: Office) -> None:
    """The fold over the log makes every row that the deciders made."""
    store = MemoryStore()
    fold, clock = Fold(1, store), Clock()
    for body in office.bodies():
        fold.apply(body, columns_of(body, clock))
    assert fold.differences == []
    for name in TABLES:
        made = sorted(map(repr, getattr(store, name).rows.values()))
        assert made == sorted(map(repr, office.rows(name))), name
