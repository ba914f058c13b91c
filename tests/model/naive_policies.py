"""The naive ledger's policies: for every decision, everything is counted again from the first authorization on.

No counter, no bucket, nothing remembered: a limit looks at the list of all holds, takes those that it is about, and
adds up what lies in its window. Money as Decimal; documents as they were applied.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from ledger.core.canonical import parse
from ledger.core.command_policies import ApplyPolicy, RetirePolicy
from tests.model import naive_windows as windows
from tests.model.naive_parts import PRECEDENCE, ZERO, Answer, Hold, Refused
from tests.model.naive_rules import (
    CONDITIONS,
    LISTS,
    Attempt,
    Ruling,
    Sums,
    Tier,
    about,
    key_of,
    lacks_run,
    listed,
    meets,
    soon_after,
    uses,
)
from tests.model.naive_setup import NaiveSetup


class NaivePolicies(NaiveSetup):
    """Policies, and what they have to say."""

    def __init__(self, *, timezone: str = "UTC", **fields: Any) -> None:
        super().__init__(**fields)
        self.timezone = timezone
        self.policies: dict[str, dict[str, Any]] = {}
        self.attempts: list[Attempt] = []
        self.approvals: dict[str, tuple[str, int]] = {}

    # Documents.

    def apply_policy(self, asked: ApplyPolicy, principal: str) -> Answer:
        """A new version."""
        document = parse(asked.document.encode())
        name = document["policy"]
        live = self.policies.get(name)
        if live is not None and not live["retired"] and live["document"] == document:
            raise Refused("policy_unchanged")
        loops, since = document.get("loops", {}), len(self.attempts)
        if live is not None and not live["retired"]:
            before = live["document"].get("loops", {})
            same = live["document"]["applies_to"] == document["applies_to"]
            if same and before.get("within") == loops.get("within"):
                since = live["since"]
        version = 1 if live is None else live["version"] + 1
        self.policies[name] = {"document": document, "version": version, "retired": False, "since": since}
        return Answer("done")

    def retire_policy(self, asked: RetirePolicy, principal: str) -> Answer:
        """The end of a policy."""
        live = self.policies.get(asked.policy)
        if live is None:
            raise Refused("not_found")
        if live["retired"]:
            raise Refused("wrong_state")
        live["retired"] = True
        return Answer("done")

    def budgets_above(self, budget: str | None) -> list[str]:
        """The budget and all above it."""
        chain = []
        while budget is not None:
            chain.append(budget)
            budget = self.budgets[budget]["parent"]
        return chain

    def on_path(self, document: dict[str, Any], one: dict[str, Any]) -> bool:
        """Whether a policy binds something."""
        ((kind, name),) = document["applies_to"].items()
        if kind == "book":
            return True
        if kind == "budget":
            return name in self.budgets_above(one["budget"])
        return one["agent"] is not None and name in self.above(one["agent"])

    def binding(self, one: dict[str, Any]) -> list[dict[str, Any]]:
        """The live policies that bind something: the book's, the agents' from the top down, the budgets' likewise."""
        live = sorted(
            (kept for kept in self.policies.values() if not kept["retired"]),
            key=lambda kept: kept["document"]["policy"],
        )
        scopes: list[tuple[str, str | None]] = [("book", None)]
        scopes += [("agent", name) for name in reversed(self.above(one["agent"]) if one["agent"] else [])]
        scopes += [("budget", name) for name in reversed(self.budgets_above(one["budget"]))]
        found = []
        for kind, name in scopes:
            for kept in live:
                ((word, scope),) = kept["document"]["applies_to"].items()
                word = "agent" if word == "team" else word
                if word == kind and (kind == "book" or scope == name):
                    found.append(kept)
        return found

    # Counting.

    def counted(self, document: dict[str, Any], rule: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Hold]]:
        """All that a rule counts, ever."""
        money = "max" in rule or "above" in rule
        for hold in self.holds.values():
            one = about(hold)
            if money and one["currency"] != rule.get("currency", document.get("currency")):
                continue
            if rule["per"] == "run" and one["run"] is None:
                continue
            if hold.events and self.on_path(document, one) and meets(rule, one):
                yield one, hold

    def in_window(self, document: dict[str, Any], rule: dict[str, Any], moment: int, now: int, more: int = -1) -> bool:
        """Whether a moment is in a rule's window; with ``more`` of 0 to the microsecond, of 1 a part longer."""
        per = rule["per"]
        if per == "run":
            return True
        if rule.get("rolling"):
            if more < 0:
                return windows.part_counts(*windows.PARTS[per], moment, now)
            return windows.within(*windows.PARTS[per], moment, now, more=more)
        zone = document.get("timezone", self.timezone)
        return windows.words(per, zone, moment) == windows.words(per, zone, now)

    def sums_by_key(
        self, document: dict[str, Any], rule: dict[str, Any], now: int, more: int = -1
    ) -> dict[tuple[str, ...], Sums]:
        """What each key of a rule has in its window."""
        found: dict[tuple[str, ...], Sums] = {}
        money = "max" in rule or "above" in rule
        for one, hold in self.counted(document, rule):
            key = tuple(key_of(rule, one))
            spent, held, count = found.get(key, (ZERO, ZERO, 0))
            if money:
                for moment, spent_then, held_then in uses(hold):
                    if (spent_then or held_then) and self.in_window(document, rule, moment, now, more):
                        spent, held = spent + spent_then, held + held_then
            if hold.events[0][0] == "hold" and self.in_window(document, rule, hold.at, now, more):
                count += 1
            found[key] = spent, held, count
        return {key: sums for key, sums in found.items() if any(sums)}

    def sums(
        self, document: dict[str, Any], rule: dict[str, Any], one: dict[str, Any], now: int, more: int = -1
    ) -> Sums:
        """What a rule has in its window for something."""
        return self.sums_by_key(document, rule, now, more).get(tuple(key_of(rule, one)), (ZERO, ZERO, 0))

    def runs_counted(self, document: dict[str, Any], rule: dict[str, Any], agent: str, now: int) -> int:
        """How many runs were opened that a limit on them counts together with another one of ``agent``."""
        asked = {"agent": agent, "budget": None, "run": None} | dict.fromkeys(("category", "payee"), "")
        count = 0
        for opener, opened_at in self.run_openings:
            one = asked | {"agent": opener}
            globs = rule.get("match", {}).get("agents")
            if self.on_path(document, one) and (globs is None or listed(globs, opener)):
                same = key_of(rule, one) == key_of(rule, asked)
                count += same and self.in_window(document, rule, opened_at, now)
        return count

    # Judging.

    def rule_on(
        self,
        one: dict[str, Any],
        *,
        amount: Decimal,
        total: Decimal,
        new: bool,
        partial: bool = False,
        fingerprints: list[tuple[str, Any]] | None = None,
        in_all: Decimal | None = None,
        least: Decimal = ZERO,
    ) -> Ruling:
        """What all policies on the path say of a request for ``amount`` more, ``total`` in all."""
        ruling = Ruling(amount=amount)
        binding = self.binding(one)
        if partial:
            ruling.amount = self.affordable(binding, one, amount)
        elif in_all is not None:
            ruling.amount = self.afforded(binding, one, amount, in_all=in_all, least=least)
        total = total - amount + ruling.amount
        for kept in binding:
            document = kept["document"]
            codes = ruling.shadow if document.get("shadow") else ruling.codes
            codes += self.lists_say(document, one)
            if "hours" in document and not windows.is_open(document["hours"], self.zone_of(document), self.now):
                codes.append("outside_hours")
            codes += ["condition_not_met" for two in document.get("when", ()) if not CONDITIONS[two["expression"]](one)]
            for rule in document.get("limits", ()):
                if rule.get("on") != "runs" and meets(rule, one):
                    codes += self.limit_says(document, rule, one, ruling, total, new)
            if new and "loops" in document:
                codes += self.loops_say(kept, one, fingerprints or [], ruling)
            for rule in document.get("approval", ()):
                codes += self.threshold_says(document, rule, one, ruling, total)
        return ruling

    def zone_of(self, document: dict[str, Any]) -> str:
        """The time zone of a policy."""
        return str(document.get("timezone", self.timezone))

    def affordable(self, binding: list[dict[str, Any]], one: dict[str, Any], amount: Decimal) -> Decimal:
        """The most that fits every limit; all that was asked where that is nothing."""
        least = amount
        for kept in binding:
            document = kept["document"]
            for rule in document.get("limits", ()):
                currency = rule.get("currency", document.get("currency"))
                if document.get("shadow") or "max" not in rule or currency != one["currency"] or not meets(rule, one):
                    continue
                room = Decimal(rule["max"])
                if rule["per"] != "authorization":
                    room -= sum(self.sums(document, rule, one, self.now)[:2])
                if room <= 0:
                    return amount
                least = min(least, room)
        return least

    def afforded(
        self, binding: list[dict[str, Any]], one: dict[str, Any], amount: Decimal, *, in_all: Decimal, least: Decimal
    ) -> Decimal:
        """What there is in all, nothing held; where that is too little, the least that is of use or what could ever
        be."""
        ever = amount
        for kept in binding:
            document = kept["document"]
            for rule in document.get("limits", ()):
                currency = rule.get("currency", document.get("currency"))
                if document.get("shadow") or "max" not in rule or currency != one["currency"] or not meets(rule, one):
                    continue
                most = Decimal(rule["max"])
                spent = ZERO if rule["per"] == "authorization" else self.sums(document, rule, one, self.now)[0]
                in_all, ever = min(in_all, most - spent), min(ever, most)
        if in_all > 0 and in_all >= least:
            return min(amount, in_all)
        if least:
            return min(amount, least)
        return ever if ever > 0 else amount

    def lists_say(self, document: dict[str, Any], one: dict[str, Any]) -> list[str]:
        """What the lists refuse."""
        codes = []
        for plural, single in LISTS:
            allowed, denied = (document.get(word, {}).get(plural) for word in ("allow", "deny"))
            if allowed is not None and not listed(allowed, one[single]):
                codes.append(f"{single}_not_allowed")
            if denied is not None and listed(denied, one[single]):
                codes.append(f"{single}_not_allowed")
        return codes

    def limit_says(
        self,
        document: dict[str, Any],
        rule: dict[str, Any],
        one: dict[str, Any],
        ruling: Ruling,
        total: Decimal,
        new: bool,
    ) -> list[str]:
        """What a limit refuses, and what it had used."""
        name, amount, now = (document["policy"], rule["id"]), ruling.amount, self.now
        currency = rule.get("currency", document.get("currency"))
        if rule["per"] == "authorization":
            ruling.limits[(*name, "money")] = ZERO
            if currency != one["currency"]:
                return ["limit_currency"]
            return ["limit_too_small"] if total > Decimal(rule["max"]) else []
        spent, held, count = self.sums(document, rule, one, now)
        if rule.get("rolling"):
            exact, longer = (self.sums(document, rule, one, now, more) for more in (0, 1))
            ruling.bounds[(*name, "money")] = (sum(exact[:2]), sum(longer[:2]))
            ruling.bounds[(*name, "count")] = (exact[2], longer[2])
        codes = []
        if "max" in rule:
            ruling.limits[(*name, "money")] = spent + held
            most = Decimal(rule["max"])
            if currency != one["currency"]:
                codes.append("limit_currency")
            elif amount and spent + held + amount > most:
                soon = sum(self.sums_soon(document, rule, one)[:2])
                if amount > most:
                    codes.append("limit_too_small")
                elif soon + amount <= most:
                    codes.append("velocity")
                else:
                    codes.append("limit_held" if spent + amount <= most else "limit_exceeded")
        if "max_count" in rule:
            ruling.limits[(*name, "count")] = count
            if new and count + 1 > rule["max_count"]:
                soon = self.sums_soon(document, rule, one)[2]
                fits_soon = soon + 1 <= rule["max_count"]
                too_small = rule["max_count"] == 0
                codes.append("limit_too_small" if too_small else "velocity" if fits_soon else "limit_exceeded")
        return ["run_required"] if lacks_run(rule, one, self.runs) else codes

    def sums_soon(self, document: dict[str, Any], rule: dict[str, Any], one: dict[str, Any]) -> Sums:
        """What the window will have in it soon if nothing else happens."""
        return self.sums(document, rule, one, self.now + soon_after(rule))

    def loops_say(
        self, kept: dict[str, Any], one: dict[str, Any], fingerprints: list[tuple[str, Any]], ruling: Ruling
    ) -> list[str]:
        """Whether the same request came too often."""
        document = kept["document"]
        rule = document["loops"]
        codes = []
        for mark in fingerprints:
            before = [
                attempt
                for attempt in self.attempts[kept["since"] :]
                if attempt.agent == one["agent"]
                and mark in attempt.fingerprints
                and windows.part_counts(rule["within"] / 60, 60, attempt.at, self.now)
                and self.on_path(document, {"agent": attempt.agent, "budget": attempt.budget})
            ]
            ruling.limits[document["policy"], "loops", f"attempts {mark[0]}"] = len(before)
            if len(before) + 1 > rule["same_request"]:
                codes.append("loop_detected")
                if rule["then"] == "freeze" and not document.get("shadow"):
                    ruling.freezers.append(document["policy"])
        return codes

    def threshold_says(
        self, document: dict[str, Any], rule: dict[str, Any], one: dict[str, Any], ruling: Ruling, total: Decimal
    ) -> list[str]:
        """Whether persons must be asked, and what is refused where that cannot be told."""
        if not meets(rule, one):
            return []
        if lacks_run(rule, one, self.runs):
            return ["run_required"]
        if one["currency"] != rule.get("currency", document.get("currency")):
            if ruling.amount and not document.get("shadow"):
                ruling.tiers.append(Tier(document["policy"], rule))
            return []
        used, seen = ZERO, total
        if rule["per"] != "authorization":
            used = sum(self.sums(document, rule, one, self.now)[:2], ZERO)
            seen = used + ruling.amount
        ask = seen > Decimal(rule["above"])
        ruling.thresholds[document["policy"], rule["id"]] = (used, ask)
        if ask and not document.get("shadow"):
            ruling.tiers.append(Tier(document["policy"], rule))
        return []

    def run_ruling(self, agent: str) -> str | None:
        """The code by which policies refuse that a run is opened, if they do."""
        one = {"agent": agent, "budget": None}
        codes = []
        for kept in self.binding(one):
            document = kept["document"]
            for rule in document.get("limits", ()):
                globs = rule.get("match", {}).get("agents")
                if rule.get("on") != "runs" or document.get("shadow") or (globs and not listed(globs, agent)):
                    continue
                if self.runs_counted(document, rule, agent, self.now) + 1 > rule["max_count"]:
                    soon = (
                        self.runs_counted(document, rule, agent, self.now + soon_after(rule)) + 1 <= rule["max_count"]
                    )
                    too_small = rule["max_count"] == 0
                    codes.append("limit_too_small" if too_small else "velocity" if soon else "limit_exceeded")
        return min(codes, key=PRECEDENCE.index) if codes else None
