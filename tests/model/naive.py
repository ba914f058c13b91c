"""A second ledger, naive on purpose: lists of events, amounts as Decimal, every balance summed up anew.

It shares the command dataclasses with the core and nothing else; the order of precedence it reads from
``docs/statuses.md``. It is what the core must agree with.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from ledger.core import command as c
from tests.model.naive_approvals import NaiveApprovals
from tests.model.naive_parts import BINDING, MONTH, PRECEDENCE, SCALES, ZERO, Answer, Hold, Refused
from tests.model.naive_rules import Attempt, about


class NaiveBook(NaiveApprovals):
    """One book: what agents and finance do. Times in microseconds."""

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
        converts = False
        run, only = asked.run or self.key_run(asked), self.key_run(asked)
        if run is not None and run.startswith("run_"):
            codes.append("unknown_run")
        if name in self.budgets and self.budgets[name]["currency"] != asked.currency:
            other = self.budgets[name]["currency"]
            if not {asked.currency, other} <= set(SCALES):
                codes.append("currency_mismatch")
            converts = True
        if codes:
            raise Refused(*codes)
        name = str(name)
        amount, available = Decimal(asked.amount), self.balance(f"budgets:{name}:available", asked.currency)
        held = self.balance(f"budgets:{name}:held", asked.currency)
        denials = []
        if self.frozen(agent):
            denials.append("agent_frozen")
        if name not in usable:
            denials.append("budget_not_permitted")
        if run in self.runs and self.runs[run] not in chain and run != only:
            denials.append("run_not_permitted")
        counts = run in self.runs and "run_not_permitted" not in denials
        hold = Hold(asked, agent, name, run, counts, asked.currency, on_expiry=asked.on_expiry, at=self.now)
        partial = asked.partial_ok and not asked.afford and not converts
        if converts:
            wanted, in_all = amount, None
        else:
            wanted, in_all = self.wanted(asked, hold, partial=partial, available=available, held=held)
        marks = self.fingerprints(asked)
        ruling = self.rule_on(
            about(hold),
            amount=wanted,
            total=wanted,
            new=True,
            partial=partial,
            fingerprints=marks,
            in_all=in_all,
            least=Decimal(asked.least or 0),
        )
        approved = ruling.amount if asked.afford and not converts else amount
        if converts:
            # Nobody gives rates here, so it is compared with nothing.
            denials.append("no_rate")
        elif approved > available and partial and available > 0:
            approved = available
        elif approved > available:
            denials.append("budget_held" if approved <= available + held else "insufficient_budget")
        denials += [] if converts else self.cap_says(hold, ruling.amount)
        denials += ruling.codes
        if ruling.tiers and not asked.accept_pending:
            denials.append("approval_required")
        self.holds[asked.id] = hold
        status = min(denials, key=PRECEDENCE.index) if denials else "pending_approval" if ruling.tiers else "approved"
        if not denials or status in BINDING:
            self.attempts.append(Attempt(self.now, agent, name, self.fingerprints(asked)))
        if denials:
            followed = self.stop(agent, ruling.freezers)
            return Answer(status, subject=asked.id, budget=name, followed=followed, ruling=ruling)
        approved = min(approved, ruling.amount)
        hold.tiers = ruling.tiers
        hold.events.append(("hold", approved))
        if hold.tiers:
            self.open_tier(hold, 0)
        else:
            hold.expires = hold.due = self.now + asked.ttl_seconds * 1_000_000
        self.names |= {("category", asked.category), ("payee", asked.payee)}
        self.post(f"budgets:{name}:held", f"budgets:{name}:available", approved, asked.currency)
        return Answer(status, subject=asked.id, budget=name, ruling=ruling)

    def fingerprints(self, asked: c.Authorize) -> list[tuple[str, Any]]:
        """What makes two requests the same: by what they ask, and by what the client says."""
        parts = (asked.payee, asked.resource or "", Decimal(asked.amount), asked.currency, asked.intent or "")
        found: list[tuple[str, Any]] = [("derived", parts)]
        return found if asked.fingerprint is None else [*found, ("client", asked.fingerprint)]

    def cap_room(self, hold: Hold, own: Decimal = ZERO) -> tuple[Decimal, Decimal] | None:
        """(room now, room were nothing else held) under the cap of the run that a hold counts towards."""
        if not hold.counts or hold.run not in self.caps:
            return None
        cap, currency = self.caps[hold.run]
        if currency != hold.currency:
            return None
        total = self.run_total(hold.run, currency)
        return cap - total["spent"] - total["held"], cap - total["spent"] - own

    def cap_says(self, hold: Hold, amount: Decimal, own: Decimal = ZERO) -> list[str]:
        """What the cap of a run refuses."""
        room = self.cap_room(hold, own)
        if room is None:
            return ["limit_currency"] if hold.counts and hold.run in self.caps else []
        if not amount or amount <= room[0]:
            return []
        return ["run_held" if amount <= room[1] else "run_cap_exceeded"]

    def wanted(
        self, asked: c.Authorize, hold: Hold, *, partial: bool, available: Decimal, held: Decimal
    ) -> tuple[Decimal, Decimal | None]:
        """(how much is looked at, what budget and run have in all where that matters)."""
        amount, room = Decimal(asked.amount), self.cap_room(hold)
        if asked.afford:
            return amount, min([available + held] + ([room[1]] if room else []))
        rooms = [available] + ([room[0]] if room else [])
        return (min([amount, *(one for one in rooms if one > 0)]) if partial else amount), None

    def stop(self, agent: str | None, policies: list[str]) -> int:
        """Freeze an agent for these policies; how many records that takes."""
        if agent is None or not policies or self.agents[agent]["frozen"]:
            return 0
        self.agents[agent]["frozen"] = True
        return 1

    def mine(self, asked: Any, principal: str) -> Hold:
        """The authorization a command names, which an agent must own, and a key for one run in that run."""
        reference, only = asked.authorization, self.key_run(asked)
        hold = self.holds.get(reference)
        if hold is None or reference.startswith("chg_"):
            raise Refused("not_found")
        if principal.startswith("agent:") and (principal != f"agent:{hold.agent}" or only not in (None, hold.run)):
            raise Refused("not_yours")
        return hold

    def settle(self, asked: c.Settle, principal: str) -> Answer:
        """Record a cost."""
        hold = self.mine(asked, principal)
        facts = hold.facts()
        codes = ["currency_mismatch"] if hold.currency != asked.currency else []
        if facts["state"] in ("denied", "settled", "pending_approval", "refused"):
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
        granted = facts["approved"] if hold.expires is not None else ZERO
        mismatched = self.is_mismatch(hold, asked, facts["settled"] + facts["repriced"] + amount > granted)
        hold.events.append(("settle", amount, category, payee, mismatched, asked.final, asked.flags))
        hold.metering = asked.metering or hold.metering
        stops = self.stoppers(hold, overrun=amount > facts["held"], mismatched=mismatched)
        followed = self.stop(hold.agent, stops)
        return Answer("done", subject=asked.authorization, budget=hold.budget, followed=followed)

    def is_mismatch(self, hold: Hold, asked: c.Settle, beyond: bool) -> bool:
        """Whether a settlement is not what was asked for."""
        was = hold.asked
        if beyond or asked.category not in (None, was.category) or asked.payee not in (None, was.payee):
            return True
        if asked.resource is None or asked.resource == was.resource:
            return False
        changed = about(hold) | {"resource": asked.resource}
        open_policies = [one["document"] for one in self.binding(changed) if not one["document"].get("shadow")]
        return was.resource is not None or any(self.lists_say(document, changed) for document in open_policies)

    def stoppers(self, hold: Hold, *, overrun: bool, mismatched: bool) -> list[str]:
        """The policies that freeze the agent after a settlement."""
        facts, found = hold.facts(), []
        for kept in self.binding(about(hold)):
            document = kept["document"]
            if document.get("shadow"):
                continue
            over, other = document.get("overrun", {}), document.get("mismatch", {})
            tolerated = facts["approved"] * (100 + over.get("tolerance_percent", 0)) / 100
            if overrun and over.get("then") == "freeze" and facts["settled"] + facts["repriced"] > tolerated:
                found.append(document["policy"])
            if mismatched and other.get("then") == "freeze" and self.mismatches(hold.agent) > other["more_than"]:
                found.append(document["policy"])
        return found

    def mismatches(self, agent: str | None) -> int:
        """How often an agent's settlements were not what was asked for."""
        mine = [hold for hold in self.holds.values() if hold.agent == agent]
        return sum(event[0] == "settle" and event[4] for hold in mine for event in hold.events)

    def spend(self, category: str, payee: str, amount: Decimal, currency: str) -> None:
        """The money side of a cost, where it is money."""
        self.names |= {("category", category), ("payee", payee)}
        if currency in SCALES:
            self.post(f"expenses:{category}", f"payables:{payee}", amount, currency)

    def extend(self, asked: c.Extend, principal: str) -> Answer:
        """More amount or more time."""
        hold = self.mine(asked, principal)
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
        ruling = self.rule_on(about(hold), amount=amount, total=facts["approved"] + amount, new=False)
        denials += self.cap_says(hold, amount, facts["held"]) + ruling.codes
        if ruling.tiers and amount:
            denials.append("approval_required")
        answer = Answer("done", subject=asked.authorization, budget=hold.budget, ruling=ruling)
        if denials:
            answer.status = min(denials, key=PRECEDENCE.index)
            return answer
        self.post(budget + "held", budget + "available", amount, hold.currency)
        hold.events.append(("extend", amount, bool(asked.ttl_seconds), self.now))
        hold.expires = expires
        if asked.ttl_seconds:
            hold.due = expires
        return answer

    def release(self, asked: c.Release, principal: str) -> Answer:
        """End a hold."""
        hold = self.mine(asked, principal)
        facts = hold.facts()
        if facts["state"] not in ("held", "pending_approval"):
            raise Refused("wrong_state")
        budget = f"budgets:{hold.budget}:"
        self.post(budget + "available", budget + "held", facts["held"], hold.currency)
        hold.events.append(("release",))
        hold.due = None
        return Answer("done", subject=asked.authorization, budget=hold.budget)

    def mark_unknown(self, asked: c.MarkUnknown, principal: str) -> Answer:
        """Keep a hold of which nobody knows what became."""
        hold = self.mine(asked, principal)
        facts = hold.facts()
        if facts["state"] != "held" or hold.on_expiry != "unknown" or "unknown" in facts["flags"]:
            raise Refused("wrong_state")
        hold.events.append(("unknown",))
        hold.due = None
        return Answer("done", subject=asked.authorization, budget=hold.budget)

    # Finance.

    def dated(self, effective_at: int | None) -> list[str]:
        """What is wrong with a date."""
        good = effective_at is None or self.opened_at - 366 * 86_400_000_000 <= effective_at <= self.now
        return [] if good else ["effective_at_invalid"]

    def charge(self, asked: c.Charge, principal: str) -> Answer:
        """Spend nobody authorized."""
        codes = self.in_budget(asked.budget, asked.currency) + self.dated(asked.effective_at)
        if "currency_mismatch" in codes and {asked.currency, self.budgets[asked.budget]["currency"]} <= set(SCALES):
            codes = ["rate_needed" if code == "currency_mismatch" else code for code in codes]
        if asked.agent is not None and asked.agent not in self.agents:
            codes.append("unknown_agent")
        if codes:
            raise Refused(*codes)
        amount, budget = Decimal(asked.amount), f"budgets:{asked.budget}:"
        counts = asked.run in self.runs
        hold = Hold(asked, asked.agent, asked.budget, asked.run, counts, asked.currency, at=self.now)
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
        facts = hold.facts()
        if not facts["settled"] and not facts["repriced"]:
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

    def reprice(self, asked: c.Reprice, principal: str) -> Answer:
        """What was settled should have been something else."""
        hold = self.holds.get(asked.authorization)
        if hold is None:
            raise Refused("not_found")
        codes = self.dated(asked.effective_at)
        if asked.currency != hold.currency:
            codes.append("currency_mismatch")
        facts, pairs = hold.facts(), hold.pairs()
        if not pairs:
            # What was settled for nothing has one pair all the same.
            pairs = {(one[2], one[3]): (ZERO, ZERO) for one in hold.events if one[0] == "settle"}
        fits = [pair for pair in pairs if asked.category in (None, pair[0]) and asked.payee in (None, pair[1])]
        before, after = Decimal(asked.settled), Decimal(asked.amount)
        if not pairs:
            codes.append("wrong_state")
        elif len(fits) != 1:
            codes.append("reprice_ambiguous")
        elif pairs[fits[0]][0] + after - before < pairs[fits[0]][1]:
            codes.append("reprice_too_small")
        if before != facts["settled"] + facts["repriced"]:
            codes.append("reprice_stale")
        if before == after:
            codes.append("reprice_unchanged")
        if codes:
            raise Refused(*codes)
        (category, payee), budget = fits[0], f"budgets:{hold.budget}:"
        more, less = max(after - before, ZERO), max(before - after, ZERO)
        self.post(budget + "spent", budget + "available", more, hold.currency)
        self.post(budget + "available", budget + "spent", less, hold.currency)
        if hold.currency in SCALES:
            self.post(f"expenses:{category}", f"payables:{payee}", more, hold.currency)
            self.post(f"payables:{payee}", f"expenses:{category}", less, hold.currency)
        short = self.balance(budget + "available", hold.currency) < 0
        over = more and (short or after > facts["approved"]) and not facts["flags"] & {"late", "unauthorized"}
        hold.events.append(("reprice", after - before, category, payee, bool(over)))
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
