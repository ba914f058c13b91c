"""Random traffic for simulations: a policy with a rule of every kind, and two agents who run into all of them."""

from __future__ import annotations

import random
from typing import Any

from ledger.core.command import Charge, Extend, OpenRun, Refund, Release
from ledger.core.command_approvals import GrantApproval, RefuseApproval
from tests.support.simulated import Past, limit, status


def book(name: str = "caps", **fields: Any) -> dict[str, Any]:
    """A policy on the whole book, in dollars."""
    return {"policy": name, "applies_to": {"book": True}, "currency": "USD"} | fields


WIDE = book(
    deny={"resources": ["*-realtime"]},
    limits=[
        limit("each", "authorization", "9"),
        limit("day", maximum="60"),
        limit("agent", "day", "35", by=["agent"]),
        limit("hour", "hour", "14", rolling=True, by=["payee"]),
        limit("rate", "minute", max_count=4, rolling=True),
        limit("run", "run", "12", match={"labels": {"kind": ["run*"]}}),
        limit("opened", "day", max_count=3, on="runs"),
    ],
    approval=[
        {"id": "big", "above": "6", "per": "authorization", "approvers": ["approver"], "quorum": 1,
         "expires_after": 900},
        {"id": "much", "above": "25", "per": "day", "approvers": ["approver"], "quorum": 1, "expires_after": 900},
    ],
    loops={"same_request": 4, "within": 600, "then": "deny"},
    when=[{"id": "not-odd", "expression": 'payee != "odd"'}],
)  # fmt: skip


class Traffic:
    """Random requests of two agents, and what becomes of them."""

    def __init__(self, world: Past, seed: int) -> None:
        self.world = world
        self.random = random.Random(seed)
        self.holds: list[tuple[Any, str]] = []
        self.ended: list[str] = []
        self.approvals: list[str] = []
        self.runs: list[str] = []
        self.pat = world.key("approver", "pat")

    def step(self) -> None:
        """One command, or a while without any."""
        world, chance = self.world, self.random
        agent = chance.choice((world.crawler, world.writer))
        what = chance.choices(
            ("ask", "settle", "part", "release", "extend", "refund", "charge", "wait", "run", "approve"),
            (50, 14, 6, 5, 8, 4, 2, 22, 2, 6),
        )[0]
        if what == "ask":
            self._ask(agent)
        elif what == "wait":
            world.advance(chance.choice((1, 5, 20, 61, 400, 2_000, 9_000)))
        elif what == "run":
            name = f"run-{len(self.runs)}"
            if status(world.do(OpenRun, world.crawler, name=name)) == "done":
                self.runs.append(name)
        elif what == "charge":
            world.do(Charge, world.finance, budget="research", amount="0.7", currency="USD", category="a", payee="b",
                     reason="found")  # fmt: skip
        elif what == "approve" and self.approvals:
            kind = chance.choice((GrantApproval, GrantApproval, RefuseApproval))
            world.do(
                kind, self.pat, approval=self.approvals.pop(0), **({"reason": "no"} if kind is RefuseApproval else {})
            )
        elif what == "refund" and self.ended:
            world.do(Refund, world.finance, authorization=chance.choice(self.ended), amount="0.3", currency="USD")
        elif self.holds:
            self._change(what)

    def _ask(self, agent: Any) -> None:
        chance = self.random
        fields: dict[str, Any] = {"payee": chance.choice(("openai", "brave", "odd")), "ttl_seconds": 600}
        if chance.random() < 0.2:
            fields["resource"] = chance.choice(("gpt", "gpt-realtime"))
        if chance.random() < 0.5:
            fields["accept_pending"] = True
        if chance.random() < 0.2:
            fields["partial_ok"] = True
        if chance.random() < 0.3:
            fields |= {"run": chance.choice([*self.runs, "unknown"]), "labels": (("kind", "run-x"),)}
        outcome = self.world.authorize(agent, chance.choice(("0.5", "1", "2.5", "4", "7", "9.5")), **fields)
        reference = str((outcome.body or {}).get("authorization"))
        if status(outcome) in ("approved", "pending_approval"):
            self.holds.append((agent, reference))
        if status(outcome) == "pending_approval":
            self.approvals += [one["id"] for one in outcome.body["approvals"]]

    def _change(self, what: str) -> None:
        chance, world = self.random, self.world
        agent, reference = self.holds[chance.randrange(len(self.holds))]
        if what == "extend":
            more = {"amount": chance.choice(("0.5", "3")), "currency": "USD"} if chance.random() < 0.7 else {}
            world.do(Extend, agent, authorization=reference, ttl_seconds=300, **more)
        elif what == "release":
            world.do(Release, agent, authorization=reference)
        else:
            amount = chance.choice(("0.4", "1", "3"))
            if status(world.settle(agent, reference, amount, final=what == "settle")) == "done" and what == "settle":
                self.holds.remove((agent, reference))
                self.ended.append(reference)
