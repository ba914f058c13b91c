"""The naive ledger's persons: who is asked, in what order, and what becomes of the request."""

from __future__ import annotations

from ledger.core import command_approvals as c
from tests.model.naive_parts import Answer, Hold, Refused
from tests.model.naive_policies import NaivePolicies
from tests.model.naive_rules import Tier


class NaiveApprovals(NaivePolicies):
    """Requests that wait for persons. ``approvals`` maps the id of each approval to its request and its place."""

    def open_tier(self, hold: Hold, place: int) -> None:
        """Ask the next persons."""
        tier = hold.tiers[place]
        tier.state = "open"
        tier.expires = hold.due = self.now + tier.rule["expires_after"] * 1_000_000

    def asked_tier(self, reference: str) -> tuple[str, Hold, int, Tier]:
        """The request behind an approval that is open."""
        if reference not in self.approvals:
            raise Refused("not_found")
        name, place = self.approvals[reference]
        hold = self.holds[name]
        if hold.facts()["state"] != "pending_approval" or hold.tiers[place].state != "open":
            raise Refused("wrong_state")
        return name, hold, place, hold.tiers[place]

    def take_vote(self, tier: Tier, principal: str, role: str) -> None:
        """Somebody votes, if they may and have not."""
        if role not in tier.rule["approvers"]:
            raise Refused("not_an_approver")
        if principal in tier.votes:
            raise Refused("already_voted")
        tier.votes.append(principal)

    def grant_approval(self, asked: c.GrantApproval, principal: str) -> Answer:
        """A vote for a request."""
        name, hold, place, tier = self.asked_tier(asked.approval)
        if self.frozen(str(hold.agent)):
            raise Refused("wrong_state")
        self.take_vote(tier, principal, self.keys[asked.caller.key_digest or b""]["role"])
        if len(tier.votes) >= tier.rule["quorum"]:
            tier.state = "granted"
            if place + 1 < len(hold.tiers):
                self.open_tier(hold, place + 1)
            else:
                hold.events.append(("grant",))
                hold.expires = hold.due = self.now + hold.asked.ttl_seconds * 1_000_000
        return Answer("done", subject=name, budget=hold.budget)

    def refuse_approval(self, asked: c.RefuseApproval, principal: str) -> Answer:
        """A vote against it, which ends it."""
        name, hold, _, tier = self.asked_tier(asked.approval)
        self.take_vote(tier, principal, self.keys[asked.caller.key_digest or b""]["role"])
        budget = f"budgets:{hold.budget}:"
        self.post(budget + "available", budget + "held", hold.facts()["held"], hold.currency)
        hold.events.append(("refuse",))
        hold.due = None
        return Answer("done", subject=name, budget=hold.budget)
