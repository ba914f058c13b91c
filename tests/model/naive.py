"""A second ledger, naive on purpose: lists of events, amounts as Decimal, every balance summed up anew.

It shares the command dataclasses with the core and nothing else; the order of precedence it reads from
``docs/statuses.md``. It is what the core must agree with.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any

from ledger.core import command as c
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
NOT_THE_REQUEST = {"caller", "idempotency_key", "id", "digest"}


class Refused(Exception):
    """The command ends here, with one of these statuses: the one that stands first in the table."""

    def __init__(self, *codes: str) -> None:
        super().__init__(*codes)
        self.code = min(codes, key=PRECEDENCE.index)


@dataclass
class Hold:
    """An authorization or a charge as the list of what happened to it."""

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

    def facts(self) -> dict[str, Any]:
        """Everything about it, worked out from the beginning."""
        approved = held = settled = refunded = ZERO
        state, flags = "denied", set()
        for event in self.events:
            kind, amount = event[0], event[1] if len(event) > 1 else ZERO
            if kind == "hold":
                state, approved, held = "held", amount, amount
                if amount < Decimal(self.asked.amount):
                    flags.add("partial")
            elif kind == "extend":
                approved, held = approved + amount, held + amount
                if event[2]:
                    flags.discard("unknown")
            elif kind == "settle":
                _, _, category, payee, resource, final = event
                if state in ("released", "expired"):
                    flags.add("late")
                elif amount > held:
                    flags.add("overrun")
                was = self.asked
                if (category, payee) != (was.category, was.payee) or (
                    resource is not None and was.resource is not None and resource != was.resource
                ):
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
            elif kind == "unknown":
                flags.add("unknown")
            else:
                state, held = {"release": "released", "expire": "expired"}[kind], ZERO
                flags.discard("unknown")
        return {
            "state": state,
            "approved": approved,
            "held": held,
            "settled": settled,
            "refunded": refunded,
            "flags": flags,
        }

    def is_open(self) -> bool:
        """Whether it holds something, or could again."""
        return self.facts()["state"] == "held"

    def pairs(self) -> dict[tuple[str, str], tuple[Decimal, Decimal]]:
        """(settled, refunded) of each pair of category and payee that something was settled for."""
        found: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}
        for event in self.events:
            if event[0] in ("settle", "charge", "refund") and event[1]:
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
    command whose record it repeats."""

    status: str
    delta: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    subject: str | None = None
    budget: str | None = None
    first: int | None = None


class NaiveBook:
    """One book. Times in microseconds."""

    def __init__(self, *, opened_at: int, admin: bytes) -> None:
        self.opened_at = self.recorded_at = self.now = opened_at
        self.keys: dict[bytes, dict[str, Any]] = {
            admin: {"id": "?", "role": "admin", "principal": "person:owner", "revoked": False, "expires": None}
        }
        self.agents: dict[str, dict[str, Any]] = {}
        self.budgets: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, str] = {}
        self.holds: dict[str, Hold] = {}
        self.units: dict[str, int] = {}
        self.names: set[tuple[str, str]] = set()
        self.postings: dict[tuple[str, str], list[Decimal]] = {}
        self.bound: dict[tuple[str, str], tuple[Any, ...]] = {}
        self.commands = 0
        self.records = 2
        self.delta: dict[tuple[str, str], Decimal] = {}

    # Sums.

    def balance(self, account: str, currency: str) -> Decimal:
        """Debits less credits, summed from the first posting on."""
        return sum(self.postings.get((account, currency), ()), ZERO)

    def post(self, debit: str, credit: str, amount: Decimal, currency: str) -> None:
        """One transfer, if there is something to transfer."""
        if not amount:
            return
        for account, change in ((debit, amount), (credit, -amount)):
            self.postings.setdefault((account, currency), []).append(change)
            self.delta[account, currency] = self.delta.get((account, currency), ZERO) + change

    def run_total(self, run: str, currency: str) -> dict[str, Any]:
        """What a run holds and spent, and how many were approved and denied, from all authorizations that count."""
        mine = [one for one in self.holds.values() if one.counts and (one.run, one.currency) == (run, currency)]
        asked = [one for one in mine if one.events[:1] != [] and one.events[0][0] == "hold"]
        facts = [one.facts() for one in mine]
        return {
            "held": sum((one["held"] for one in facts), ZERO),
            "spent": sum((one["settled"] - one["refunded"] for one in facts), ZERO),
            "approved": len(asked),
            "denied": sum(not one.events for one in mine),
        }

    # One batch, one command.

    def begin(self, clock: int) -> None:
        """A batch begins: its time is never earlier than the last record; what is due ends first."""
        self.now = max(clock, self.recorded_at)
        self.delta = {}
        for reference, hold in self.holds.items():
            if hold.due is not None and hold.due <= self.now:
                self.expire(reference)

    def expire(self, reference: str) -> None:
        """End a hold whose time has come, or flag it."""
        hold = self.holds[reference]
        hold.due = None
        if hold.on_expiry == "unknown":
            hold.events.append(("unknown",))
        else:
            budget = f"budgets:{hold.budget}:"
            self.post(budget + "available", budget + "held", hold.facts()["held"], hold.currency)
            hold.events.append(("expire",))
        self.recorded()

    def recorded(self) -> None:
        """A record was written."""
        self.records += 1
        self.recorded_at = self.now

    def decide(self, asked: c.Command) -> Answer:
        """Decide one command."""
        self.commands += 1
        self.delta = {}
        try:
            principal = self.admit(asked)
            request = self.request(asked)
            prior = self.bound.get((principal, asked.idempotency_key))
            if prior is not None:
                return self.repeat(prior, request)
            answer: Answer = getattr(self, asked.operation)(asked, principal)
        except Refused as refused:
            return Answer(refused.code)
        answer.delta = self.delta
        if answer.status in BINDING:
            self.bound[principal, asked.idempotency_key] = (request, self.commands, answer)
        if answer.status in RECORDED:
            self.recorded()
        return answer

    def repeat(self, prior: tuple[Any, ...], request: Any) -> Answer:
        """The answer to a key that was used before."""
        before, number, answer = prior
        if before != request:
            raise Refused("idempotency_mismatch")
        status = "replayed"
        approved = answer.status == "approved" or (answer.status == "done" and request[0] == "extend")
        if approved and self.holds[answer.subject].facts()["state"] != "held":
            status = "replay_closed"
        return Answer(status, {}, answer.subject, None, number)

    def admit(self, asked: c.Command) -> str:
        """Who asks, if they may."""
        key = self.keys.get(asked.caller.key_digest or b"")
        if key is None:
            raise Refused("key_unknown")
        codes = []
        if key["revoked"]:
            codes.append("key_revoked")
        if key["expires"] is not None and key["expires"] <= self.now:
            codes.append("key_expired")
        if ROLE_ROWS[asked.operation][key["role"]] == "no":
            codes.append("role_not_allowed")
        if codes:
            raise Refused(*codes)
        return str(key["principal"])

    def request(self, asked: c.Command) -> Any:
        """What is asked, with its amounts as numbers; refuses amounts that are none."""
        zero_ok = isinstance(asked, c.Settle) and asked.final
        said: list[Any] = [asked.operation]
        moved = asked.transfers if isinstance(asked, c.Adjust) else (asked,)
        codes: set[str] = set()
        for one in moved:
            if getattr(one, "amount", None) is not None:
                codes |= self.wrong_with(one.amount, one.currency, zero_ok)
            elif isinstance(asked, c.CreateBudget) and self.digits(asked.currency) is None:
                codes.add("unknown_currency")
        if codes:
            raise Refused(*codes)
        for one in moved:
            for name in (item.name for item in fields(one)):
                value = getattr(one, name)
                if name == "amount" and value is not None:
                    value = Decimal(value)
                if name not in NOT_THE_REQUEST and name != "transfers":
                    said.append((name, value))
        return tuple(said)

    def digits(self, currency: str) -> int | None:
        """Digits after the point, None for what is no currency here."""
        return SCALES.get(currency, self.units.get(currency))

    def wrong_with(self, text: str, currency: str, zero_ok: bool) -> set[str]:
        """What is wrong with an amount, if anything."""
        digits = self.digits(currency)
        if digits is None:
            return {"unknown_currency"}
        if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text):
            return {"amount_malformed"}
        amount = Decimal(text)
        codes = set()
        if amount.scaleb(digits) != amount.scaleb(digits).to_integral_value():
            codes.add("amount_too_precise")
        if abs(amount.scaleb(digits)) > LIMIT:
            codes.add("amount_too_large")
        if amount < 0 or (amount == 0 and not zero_ok):
            codes.add("amount_not_positive")
        return codes

    # Agents.

    def above(self, agent: str) -> list[str]:
        """The agent and all above it."""
        chain = [agent]
        while (parent := self.agents[chain[-1]]["parent"]) is not None:
            chain.append(parent)
        return chain

    def frozen(self, agent: str) -> bool:
        """Whether it or anything above it is frozen."""
        return any(self.agents[one]["frozen"] for one in self.above(agent))

    # Authorizations.

    def authorize(self, asked: c.Authorize, principal: str) -> Answer:
        """Ask to spend."""
        agent = principal.removeprefix("agent:")
        chain = self.above(agent)
        usable = [name for name, one in self.budgets.items() if one["agents"] & set(chain)]
        codes = []
        name = asked.budget
        if name is None and len(usable) == 1:
            name = usable[0]
        elif name is None:
            codes.append("budget_ambiguous" if usable else "no_budget")
        elif name not in self.budgets:
            codes.append("unknown_budget")
        if asked.run is not None and asked.run.startswith("run_"):
            codes.append("unknown_run")
        if name in self.budgets and self.budgets[name]["currency"] != asked.currency:
            codes.append("currency_mismatch")
        if codes:
            raise Refused(*codes)
        name = str(name)
        amount, available = Decimal(asked.amount), self.balance(f"budgets:{name}:available", asked.currency)
        approved, denials = amount, []
        if self.frozen(agent):
            denials.append("agent_frozen")
        if name not in usable:
            denials.append("budget_not_permitted")
        if asked.run in self.runs and self.runs[asked.run] not in chain:
            denials.append("run_not_permitted")
        if amount > available and asked.partial_ok and available > 0:
            approved = available
        elif amount > available:
            held = self.balance(f"budgets:{name}:held", asked.currency)
            denials.append("budget_held" if amount <= available + held else "insufficient_budget")
        hold = Hold(asked, agent, name, asked.run, asked.run in self.runs, asked.currency, on_expiry=asked.on_expiry)
        self.holds[asked.id] = hold
        if denials:
            return Answer(min(denials, key=PRECEDENCE.index), subject=asked.id, budget=name)
        hold.events.append(("hold", approved))
        hold.expires = hold.due = self.now + asked.ttl_seconds * 1_000_000
        self.names |= {("category", asked.category), ("payee", asked.payee)}
        self.post(f"budgets:{name}:held", f"budgets:{name}:available", approved, asked.currency)
        return Answer("approved", subject=asked.id, budget=name)

    def mine(self, reference: str, principal: str) -> Hold:
        """The authorization a command names, which an agent must own."""
        hold = self.holds.get(reference)
        if hold is None or reference.startswith("chg_"):
            raise Refused("not_found")
        if principal.startswith("agent:") and principal != f"agent:{hold.agent}":
            raise Refused("not_yours")
        return hold

    def settle(self, asked: c.Settle, principal: str) -> Answer:
        """Record a cost."""
        hold = self.mine(asked.authorization, principal)
        facts = hold.facts()
        codes = ["currency_mismatch"] if hold.currency != asked.currency else []
        if facts["state"] in ("denied", "settled"):
            codes.append("wrong_state")
        if codes:
            raise Refused(*codes)
        amount = Decimal(asked.amount)
        category, payee = asked.category or hold.asked.category, asked.payee or hold.asked.payee
        if amount and (category, payee) not in hold.pairs() and len(hold.pairs()) >= 16:
            raise Refused("too_many_splits")
        budget, within = f"budgets:{hold.budget}:", min(amount, facts["held"])
        self.post(budget + "spent", budget + "held", within, hold.currency)
        self.post(budget + "spent", budget + "available", amount - within, hold.currency)
        if asked.final:
            self.post(budget + "available", budget + "held", facts["held"] - within, hold.currency)
            hold.due = None
        self.spend(category, payee, amount, hold.currency)
        hold.events.append(("settle", amount, category, payee, asked.resource, asked.final))
        return Answer("done", subject=asked.authorization, budget=hold.budget)

    def spend(self, category: str, payee: str, amount: Decimal, currency: str) -> None:
        """The money side of a cost, where it is money."""
        self.names |= {("category", category), ("payee", payee)}
        if currency in SCALES:
            self.post(f"expenses:{category}", f"payables:{payee}", amount, currency)

    def extend(self, asked: c.Extend, principal: str) -> Answer:
        """More amount or more time."""
        hold = self.mine(asked.authorization, principal)
        facts = hold.facts()
        codes = []
        if asked.currency is not None and asked.currency != hold.currency:
            codes.append("currency_mismatch")
        if facts["state"] != "held":
            raise Refused("wrong_state", *codes)
        expires = hold.expires
        if asked.ttl_seconds:
            expires = max(expires, self.now) + asked.ttl_seconds * 1_000_000
        if expires > self.now + MONTH * 1_000_000:
            codes.append("ttl_too_long")
        if codes:
            raise Refused(*codes)
        budget, amount = f"budgets:{hold.budget}:", Decimal(asked.amount or 0)
        available = self.balance(budget + "available", hold.currency)
        denials = ["agent_frozen"] if self.frozen(hold.agent) else []
        if amount and amount > available:
            others = self.balance(budget + "held", hold.currency) - facts["held"]
            denials.append("budget_held" if amount <= available + others else "insufficient_budget")
        answer = Answer("done", subject=asked.authorization, budget=hold.budget)
        if denials:
            answer.status = min(denials, key=PRECEDENCE.index)
            return answer
        self.post(budget + "held", budget + "available", amount, hold.currency)
        hold.events.append(("extend", amount, bool(asked.ttl_seconds)))
        hold.expires = expires
        if asked.ttl_seconds:
            hold.due = expires
        return answer

    def release(self, asked: c.Release, principal: str) -> Answer:
        """End a hold."""
        hold = self.mine(asked.authorization, principal)
        facts = hold.facts()
        if facts["state"] != "held":
            raise Refused("wrong_state")
        budget = f"budgets:{hold.budget}:"
        self.post(budget + "available", budget + "held", facts["held"], hold.currency)
        hold.events.append(("release",))
        hold.due = None
        return Answer("done", subject=asked.authorization, budget=hold.budget)

    # Finance.

    def in_budget(self, name: str, currency: str) -> list[str]:
        """What is wrong with naming this budget for this currency."""
        if name not in self.budgets:
            return ["unknown_budget"]
        return [] if self.budgets[name]["currency"] == currency else ["currency_mismatch"]

    def dated(self, effective_at: int | None) -> list[str]:
        """What is wrong with a date."""
        good = effective_at is None or self.opened_at <= effective_at <= self.now
        return [] if good else ["effective_at_invalid"]

    def charge(self, asked: c.Charge, principal: str) -> Answer:
        """Spend nobody authorized."""
        codes = self.in_budget(asked.budget, asked.currency) + self.dated(asked.effective_at)
        if asked.agent is not None and asked.agent not in self.agents:
            codes.append("unknown_agent")
        if codes:
            raise Refused(*codes)
        amount, budget = Decimal(asked.amount), f"budgets:{asked.budget}:"
        hold = Hold(asked, asked.agent, asked.budget, asked.run, asked.run in self.runs, asked.currency)
        hold.events.append(("charge", amount, asked.category, asked.payee))
        self.holds[asked.id] = hold
        self.post(budget + "spent", budget + "available", amount, asked.currency)
        self.spend(asked.category, asked.payee, amount, asked.currency)
        return Answer("done", subject=asked.id, budget=asked.budget)

    def refund(self, asked: c.Refund, principal: str) -> Answer:
        """Take settled cost back."""
        hold = self.holds.get(asked.authorization)
        if hold is None:
            raise Refused("not_found")
        codes = self.dated(asked.effective_at)
        if asked.currency != hold.currency:
            codes.append("currency_mismatch")
        fits = {
            pair: left - gone
            for pair, (left, gone) in hold.pairs().items()
            if asked.category in (None, pair[0]) and asked.payee in (None, pair[1])
        }
        amount = Decimal(asked.amount)
        if not hold.pairs():
            codes.append("wrong_state")
        elif len(fits) != 1:
            codes.append("refund_ambiguous")
        elif amount > next(iter(fits.values())):
            codes.append("refund_too_large")
        if codes:
            raise Refused(*codes)
        category, payee = next(iter(fits))
        self.post(f"budgets:{hold.budget}:available", f"budgets:{hold.budget}:spent", amount, hold.currency)
        if hold.currency in SCALES:
            self.post(f"payables:{payee}", f"expenses:{category}", amount, hold.currency)
        hold.events.append(("refund", amount, category, payee))
        return Answer("done", subject=asked.authorization, budget=hold.budget)

    def adjust(self, asked: c.Adjust, principal: str) -> Answer:
        """Balanced transfers by finance."""
        codes = self.dated(asked.effective_at)
        after: dict[tuple[str, str], Decimal] = {}
        for one in asked.transfers:
            sorts = set()
            for account, sign in ((one.debit, 1), (one.credit, -1)):
                head, *rest = account.split(":")
                if head == "budgets":
                    if rest[1] == "held":
                        codes.append("held_untouchable")
                    codes += self.in_budget(rest[0], one.currency)
                elif head not in ("authority", "expenses", "payables", "assets"):
                    codes.append("account_invalid")
                elif head != "authority" and one.currency not in SCALES:
                    codes.append("sorts_mixed")
                sorts.add(head in ("budgets", "authority"))
                key = (account, one.currency)
                after[key] = after.get(key, self.balance(*key)) + sign * Decimal(one.amount)
            if len(sorts) > 1:
                codes.append("sorts_mixed")
            if one.debit == one.credit:
                codes.append("account_invalid")
        for (account, currency), balance in after.items():
            watched = account.startswith("budgets:") and not account.endswith(":held")
            if watched and balance < min(ZERO, self.balance(account, currency)):
                codes.append("insufficient_available")
        if codes:
            raise Refused(*codes)
        for one in asked.transfers:
            self.post(one.debit, one.credit, Decimal(one.amount), one.currency)
            for account in (one.debit, one.credit):
                head, _, rest = account.partition(":")
                if head in ("expenses", "payables"):
                    self.names.add(({"expenses": "category", "payables": "payee"}[head], rest))
        return Answer("done")

    def allocate(self, asked: c.Allocate, principal: str) -> Answer:
        """Authority from above."""
        return self.move(asked, 1)

    def deallocate(self, asked: c.Deallocate, principal: str) -> Answer:
        """Authority back."""
        return self.move(asked, -1)

    def move(self, asked: Any, direction: int) -> Answer:
        """Authority between a budget and what stands above it."""
        if codes := self.in_budget(asked.budget, asked.currency):
            raise Refused(*codes)
        parent = self.budgets[asked.budget]["parent"]
        above = "authority" if parent is None else f"budgets:{parent}:available"
        taker, giver = (f"budgets:{asked.budget}:available", above)[::direction]
        amount = Decimal(asked.amount)
        if giver != "authority" and self.balance(giver, asked.currency) < amount:
            raise Refused("insufficient_available")
        self.post(taker, giver, amount, asked.currency)
        return Answer("done", budget=asked.budget)

    # Setting up.

    def create_agent(self, asked: c.CreateAgent, principal: str) -> Answer:
        """A team or an agent."""
        parent = self.agents.get(asked.parent) if asked.parent else None
        codes = []
        if asked.parent and (parent is None or (parent["kind"] == "agent" and asked.kind == "team")):
            codes.append("unknown_agent")
        elif asked.parent and len(self.above(asked.parent)) > 16:
            codes.append("tree_too_deep")
        if asked.name in self.agents:
            codes.append("name_taken")
        if codes:
            raise Refused(*codes)
        self.agents[asked.name] = {"parent": asked.parent, "kind": asked.kind, "frozen": False}
        return Answer("done")

    def freeze_agent(self, asked: c.FreezeAgent, principal: str) -> Answer:
        """Freeze or unfreeze."""
        if asked.agent not in self.agents:
            raise Refused("not_found")
        if self.agents[asked.agent]["frozen"] == asked.frozen:
            raise Refused("wrong_state")
        self.agents[asked.agent]["frozen"] = asked.frozen
        return Answer("done")

    def create_key(self, asked: c.CreateKey, principal: str) -> Answer:
        """A key."""
        codes = []
        if (asked.role == "agent") != (asked.agent is not None) or (asked.agent is None) == (asked.person is None):
            codes.append("role_principal_mismatch")
        if asked.agent is not None and self.agents.get(asked.agent, {}).get("kind") != "agent":
            codes.append("unknown_agent")
        if codes:
            raise Refused(*codes)
        who = f"agent:{asked.agent}" if asked.agent else f"person:{asked.person}"
        expires = None if asked.ttl_seconds is None else self.now + asked.ttl_seconds * 1_000_000
        self.keys[asked.digest] = {
            "id": asked.id, "role": asked.role, "principal": who, "revoked": False, "expires": expires,
        }  # fmt: skip
        return Answer("done")

    def living(self, key_id: str) -> dict[str, Any]:
        """The key that a command names."""
        key = next((one for one in self.keys.values() if one["id"] == key_id), None)
        if key is None:
            raise Refused("not_found")
        if key["revoked"]:
            raise Refused("wrong_state")
        return key

    def rotate_key(self, asked: c.RotateKey, principal: str) -> Answer:
        """A successor."""
        key = self.living(asked.key)
        if key["expires"] is not None and key["expires"] <= self.now:
            raise Refused("wrong_state")
        self.keys[asked.digest] = key | {"id": asked.id, "expires": None}
        ends = self.now + asked.overlap_seconds * 1_000_000
        key["expires"] = ends if key["expires"] is None else min(ends, key["expires"])
        return Answer("done")

    def revoke_key(self, asked: c.RevokeKey, principal: str) -> Answer:
        """The end of a key."""
        self.living(asked.key)["revoked"] = True
        return Answer("done")

    def create_budget(self, asked: c.CreateBudget, principal: str) -> Answer:
        """A budget."""
        codes = ["unknown_agent"] if set(asked.agents) - set(self.agents) else []
        if asked.parent is not None:
            codes += self.in_budget(asked.parent, asked.currency)
        if asked.name in self.budgets:
            codes.append("name_taken")
        if codes:
            raise Refused(*codes)
        self.budgets[asked.name] = {"parent": asked.parent, "currency": asked.currency, "agents": set(asked.agents)}
        return Answer("done")

    def assign_budget(self, asked: c.AssignBudget, principal: str) -> Answer:
        """Further agents for a budget."""
        codes = ["unknown_agent"] if set(asked.agents) - set(self.agents) else []
        if asked.budget not in self.budgets:
            codes.append("unknown_budget")
        if codes:
            raise Refused(*codes)
        self.budgets[asked.budget]["agents"] |= set(asked.agents)
        return Answer("done")

    def open_run(self, asked: c.OpenRun, principal: str) -> Answer:
        """A run."""
        own = principal.removeprefix("agent:") if principal.startswith("agent:") else None
        agent = asked.agent or own
        codes = []
        if agent is None or agent not in self.agents:
            codes.append("unknown_agent")
        elif own is not None and own not in self.above(agent):
            codes.append("not_yours")
        if asked.name in self.runs:
            codes.append("name_taken")
        if codes:
            raise Refused(*codes)
        self.runs[asked.name] = str(agent)
        return Answer("done")

    def define_unit(self, asked: c.DefineUnit, principal: str) -> Answer:
        """A unit that is not money."""
        if asked.name in self.units:
            raise Refused("name_taken")
        self.units[asked.name] = asked.digits
        return Answer("done")

    def add_name(self, asked: c.AddName, principal: str) -> Answer:
        """A category or payee."""
        if (asked.kind, asked.name) in self.names:
            raise Refused("name_taken")
        self.names.add((asked.kind, asked.name))
        return Answer("done")
