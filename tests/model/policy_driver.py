"""Random commands for a book with policies: documents of every rule kind that are made, edited, shadowed and retired
while agents spend, persons vote and time jumps over midnights, changes of the clocks and ends of months.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ledger.core import command as c
from ledger.core.canonical import canonical_bytes
from ledger.core.command_approvals import GrantApproval, RefuseApproval
from ledger.core.command_policies import ApplyPolicy, RetirePolicy
from tests.model.driver import CATEGORIES, CURRENCY, PAYEES, USD, Driver
from tests.model.naive_rules import CONDITIONS

NAMES = ("each", "fast", "long", "team", "ask", "stop")
ZONES = ("UTC", "Europe/Paris", "America/New_York", "Africa/Cairo", "Australia/Lord_Howe", "Asia/Kolkata")
SCOPES: tuple[dict[str, Any], ...] = (
    {"book": True}, {"team": "t0"}, {"team": "t1"}, {"agent": "a1"}, {"agent": "a3"}, {"budget": "top"},
    {"budget": "mid"},
)  # fmt: skip
RESOURCES = ("gpt-5", "gpt-5-mini", "claude")
SOURCES: tuple[dict[str, Any], ...] = (
    {}, {}, {}, {"resources": ["gpt-*"]}, {"categories": ["INFERENCE", "s*"]}, {"agents": ["a[135]"]},
    {"payees": ["openai"], "labels": {"prompt": ["v*"]}}, {"currencies": ["usd"]},
)  # fmt: skip
BY: tuple[list[str], ...] = (
    [], [], [], ["agent"], ["payee"], ["resource"], ["category", "agent"], ["label.prompt"], ["run"],
)  # fmt: skip
CALENDAR = (
    "minute", "minute", "hour", "hour", "day", "day", "day", "week", "month", "year", "lifetime", "run",
    "authorization",
)  # fmt: skip
ROLLING = ("minute", "minute", "hour", "hour", "day", "week", "month", "year")


class PolicyDriver(Driver):
    """Spends as ``Driver`` does, and governs. ``documents`` are the policies as they were last made;
    ``lives`` how long holds live, in seconds, and ``ends`` what becomes of them then."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.documents: dict[str, dict[str, Any]] = {}
        self.lives: tuple[int, ...] = (20, 300, 90_000, 600_000)
        self.ends: tuple[str, ...] = ("release", "release", "unknown")

    def setting_up(self) -> list[Any]:
        """As before, with more money, a second approver, and runs that are open."""
        first = [
            replace(one, amount=str(int(one.amount) * 40)) if isinstance(one, c.Allocate) else one
            for one in super().setting_up()
        ]
        first.append(self.new_key("approver", "bea"))
        return first

    def batch(self, count: int) -> list[Any]:
        """Policies are filled outside of the batch that applies them, so each has at most one that is made or ended."""
        commands = super().batch(count)
        edits = [one for one in commands if isinstance(one, (ApplyPolicy, RetirePolicy))]
        return [one for one in commands if one not in edits[1:]]

    def one(self) -> Any:
        """One command: now and then about a policy, and a vote where somebody waits."""
        roll = self.random.random()
        if roll < 0.04:
            return self.policy()
        if roll < 0.047:
            return self.make(RetirePolicy, self.admin, policy=self.random.choice(NAMES))
        if roll < 0.35:
            return self.authorize()
        if roll < 0.42 and self.model.approvals:
            return self.vote()
        if roll < 0.47:
            frozen = [name for name, one in self.model.agents.items() if one["frozen"]]
            if frozen:
                return self.make(c.FreezeAgent, self.admin, agent=self.random.choice(frozen), frozen=False)
        return super().one()

    def adjust(self) -> Any:
        """Adjustments have a model of their own; here agents spend instead."""
        return self.authorize()

    def amount(self, scale: str) -> str:
        """Amounts near what limits allow."""
        if scale == "tok":
            return str(self.random.randrange(1, 40))
        return f"{self.random.randrange(0, 9)}.{self.random.choice(('25', '5', '000000001', '1', '999999'))}"

    def authorize(self) -> Any:
        """Ask to spend, most of the time from what one may spend from; with labels, marks of sameness, and patience."""
        if self.random.random() < 0.08:
            return super().authorize()
        choose, chance = self.random.choice, self.random.random
        agent = choose(("a0", "a1", "a1", "a2", "a3", "a3", "a4", "a5"))
        budget = choose({"a0": ("top", "tok"), "a2": ("yen", "top"), "a5": ("low",)}.get(agent, ("mid", "mid", "top")))
        own = [name for name, opener in self.model.runs.items() if opener in self.model.above(agent)]
        run = choose(own) if own and chance() < 0.6 else self.maybe(0.06, f"made-up-{self.random.randrange(4)}")
        asked = self.make(
            c.Authorize, self.caller(agent), "auth",
            amount=self.amount(CURRENCY[budget]), currency=CURRENCY[budget], category=choose(CATEGORIES),
            payee=choose(PAYEES), resource=self.maybe(0.7, choose(RESOURCES)), budget=budget, run=run,
            ttl_seconds=choose(self.lives), accept_pending=chance() < 0.6, partial_ok=chance() < 0.15,
            on_expiry=choose(self.ends), intent=self.maybe(0.2, "because"),
            labels=(("prompt", choose(("v1", "v2"))),) if chance() < 0.4 else (),
            fingerprint=self.maybe(0.3, choose(("one", "two"))), afford=chance() < 0.15,
            least=self.maybe(0.06, choose(("1", "0.5", "3"))),
        )  # fmt: skip
        if chance() < 0.2:
            # The same again, word for word: what loop rules look for.
            return replace(asked, amount="1", payee="openai", resource="gpt-5", intent=None, partial_ok=False)
        return asked

    def rare(self) -> Any:
        """Runs more often than the rest: limits per run need them."""
        if self.random.random() < 0.5:
            name = f"run-{self.random.randrange(30)}"
            return self.open_run(self.agent(), name)
        return super().rare()

    def vote(self) -> Any:
        """Somebody grants or refuses, most of the time something that waits."""
        waiting = [
            reference
            for reference, (name, place) in self.model.approvals.items()
            if self.model.holds[name].facts()["state"] == "pending_approval"
            and self.model.holds[name].tiers[place].state == "open"
        ]
        known = list(self.model.approvals)
        reference = self.random.choice(waiting if waiting and self.random.random() < 0.9 else known)
        who = self.caller(self.random.choice(("abe", "bea", "fay")))
        kind = GrantApproval if self.random.random() < 0.8 else RefuseApproval
        return self.make(kind, who, approval=reference)

    # Documents.

    def policy(self) -> Any:
        """A new policy, or an edit of one: another number, a rule more or less, another scope."""
        name = self.random.choice(NAMES)
        known = self.documents.get(name)
        if known is None or self.random.random() < 0.3:
            document = self.document(name)
        elif self.random.random() < 0.6 and known.get("limits"):
            limits = [dict(rule) for rule in known["limits"]]
            rule = self.random.choice(limits)
            for field in ("max", "max_count"):
                if field in rule:
                    rule[field] = self.numbers(rule)[field]
            document = known | {"limits": limits}
        else:
            document = {key: value for key, value in known.items() if key != "shadow"}
            if self.random.random() < 0.5:
                document["applies_to"] = self.random.choice(SCOPES)
            elif self.random.random() < 0.5:
                document["timezone"] = self.random.choice(ZONES)
            else:
                document["limits"] = [*known.get("limits", ())[:2], self.limit(f"extra-{self.made}")]
        self.documents[name] = document
        text = canonical_bytes(document).decode()
        return self.make(ApplyPolicy, self.admin, "pol", document=text)

    def document(self, name: str) -> dict[str, Any]:
        """A document of one sort or another."""
        chance, choose = self.random.random, self.random.choice
        made: dict[str, Any] = {"policy": name, "applies_to": choose(SCOPES), "currency": USD}
        if chance() < 0.6:
            made["timezone"] = choose(ZONES)
        if chance() < 0.12:
            made["shadow"] = True
        made["limits"] = [self.limit(f"l{number}") for number in range(self.random.randrange(1, 4))]
        if chance() < 0.15:
            made["deny"] = choose(({"resources": ["*mini"]}, {"payees": ["SERP"]}, {"categories": ["tool?"]}))
        if chance() < 0.15:
            made["allow"] = choose(({"payees": ["openai", "anthropic"]}, {"resources": ["gpt*", "claude"]}))
        if chance() < 0.12:
            days = self.random.sample(("mon", "tue", "wed", "thu", "fri", "sat", "sun"), self.random.randrange(4, 8))
            begins, ends = choose((("07:00", "22:30"), ("20:00", "16:00"), ("00:00", "24:00")))
            made["hours"] = {"days": days, "from": begins, "to": ends}
        if name == "ask" or chance() < 0.1:
            made["approval"] = [self.approval(f"a{number}") for number in range(choose((1, 1, 2)))]
        if name == "stop" or chance() < 0.1:
            made["loops"] = {
                "same_request": self.random.randrange(1, 5), "within": choose((50, 600, 86_400)),
                "then": choose(("deny", "deny", "freeze")),
            }  # fmt: skip
        if chance() < 0.15:
            made["overrun"] = {"tolerance_percent": choose((0, 10, 100)), "then": choose(("flag", "freeze"))}
        if chance() < 0.15:
            made["mismatch"] = {"more_than": self.random.randrange(4), "then": choose(("flag", "freeze"))}
        if chance() < 0.1:
            made["when"] = [{"id": "when-1", "expression": choose(tuple(CONDITIONS))}]
        return made

    def limit(self, name: str) -> dict[str, Any]:
        """A limit of one sort or another."""
        chance, choose = self.random.random, self.random.choice
        if chance() < 0.08:
            per = choose(("day", "hour", "lifetime"))
            made: dict[str, Any] = {"id": name, "per": per, "on": "runs", "max_count": self.random.randrange(1, 8)}
            return made | ({"by": ["agent"]} if chance() < 0.5 else {})
        rolling = chance() < 0.5
        made = {"id": name, "per": choose(ROLLING if rolling else CALENDAR)}
        if made["per"] == "authorization":
            return made | {"max": f"{self.random.randrange(5, 9)}.5"}
        if rolling:
            made["rolling"] = True
        match = choose(SOURCES)
        if match:
            made["match"] = match
        by = choose(BY)
        if by and not (made["per"] == "run" and "run" in by):
            made["by"] = by
        if chance() < 0.06:
            made["currency"] = "JPY"
            made["match"] = {"currencies": ["JPY"]} if chance() < 0.8 else {}
        elif chance() < 0.85 and "match" not in made:
            made["match"] = {"currencies": [USD]}
        numbers = self.numbers(made)
        sort = chance()
        if sort < 0.8:
            made["max"] = numbers["max"]
        if sort > 0.65:
            made["max_count"] = numbers["max_count"]
        return {key: value for key, value in made.items() if value != {}}

    def numbers(self, rule: dict[str, Any]) -> dict[str, Any]:
        """How much a limit may allow: enough to be used, little enough to be met."""
        smallest = "000001" if rule.get("currency") == "JPY" else "000000001"
        size = {"minute": 1, "hour": 2, "run": 3, "day": 4, "week": 6, "month": 8}.get(rule["per"], 12)
        return {
            "max": f"{self.random.randrange(3, 9) * size}.{self.random.choice(('0', '5', smallest))}",
            "max_count": self.random.randrange(1, 5) * size if self.random.random() < 0.97 else 0,
        }

    def approval(self, name: str) -> dict[str, Any]:
        """A threshold."""
        choose = self.random.choice
        made = {
            "id": name, "above": choose(("2.5", "6", "12", "40")),
            "per": choose(("authorization", "day", "day", "run")),
            "approvers": choose((["approver"], ["approver", "finance"])), "quorum": choose((1, 1, 2)),
            "expires_after": choose((60, 3_600, 200_000)),
        }  # fmt: skip
        return made | ({"by": ["agent"]} if made["per"] != "authorization" and self.random.random() < 0.5 else {})
