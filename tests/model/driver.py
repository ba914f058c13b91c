"""Random commands for one book, made from a seed: mostly sensible, now and then wrong in every way there is."""

from __future__ import annotations

import random
from typing import Any

from ledger.core import command as c
from ledger.core.ids import ALPHABET
from tests.model.naive import NaiveBook
from tests.model.naive_parts import ZERO

USD = "USD"
AGENTS = ("a0", "a1", "a2", "a3", "a4", "a5")
BUDGETS = ("top", "mid", "low", "yen", "tok")
CATEGORIES = ("inference", "search", "tools")
PAYEES = ("openai", "anthropic", "serp")
CURRENCY = {"top": USD, "mid": USD, "low": USD, "yen": "JPY", "tok": "tok"}
MISSING = "auth_00000000000000000000000000"
ACCOUNTS = (
    "payables:openai", "payables:serp", "expenses:search", "expenses:tools", "assets:bank", "assets:prepaid:openai",
    "budgets:top:available", "budgets:top:spent", "budgets:mid:spent", "budgets:mid:available", "authority",
    "budgets:low:held", "budgets:nowhere:spent", "nonsense",
)  # fmt: skip


class Driver:
    """Makes batches of commands for a book that a ``NaiveBook`` mirrors; looks at the model only to choose well."""

    def __init__(self, seed: int, model: NaiveBook, admin: bytes) -> None:
        self.random = random.Random(seed)
        self.seed = seed
        self.model = model
        self.admin = c.Caller(admin)
        self.made = 0
        self.callers: dict[str, list[c.Caller]] = {}
        self.key_ids: list[str] = []
        self.repeatable: list[Any] = []
        self.known: list[str] = []
        self.fresh: list[tuple[str, c.Caller, str]] = []
        self.scoped: list[c.CreateKey] = []

    def new_id(self, prefix: str) -> str:
        """An id that no other book or command has."""
        self.made += 1
        value, text = (self.seed << 40) + self.made, ""
        for _ in range(26):
            text = ALPHABET[value & 31] + text
            value >>= 5
        return f"{prefix}_{text}"

    def key(self) -> str:
        """A new idempotency key."""
        self.made += 1
        return f"key-{self.made}"

    def setting_up(self) -> list[Any]:
        """The commands that a book begins with, one batch each."""
        first: list[Any] = [self.make(c.DefineUnit, self.admin, name="tok", digits=0)]
        for name, parent in (("t0", None), ("t1", "t0")):
            first.append(self.make(c.CreateAgent, self.admin, "team", name=name, kind="team", parent=parent))
        for name, parent in zip(AGENTS, ("t0", "t1", "t1", "a1", "a3", None), strict=True):
            first.append(self.make(c.CreateAgent, self.admin, "agt", name=name, kind="agent", parent=parent))
        for name, parent, agents in (
            ("top", None, ("t0",)), ("mid", "top", ("a1",)), ("low", "mid", ("a5",)), ("yen", None, ("a2",)),
            ("tok", None, ("a0",)),
        ):  # fmt: skip
            made = {"name": name, "currency": CURRENCY[name], "parent": parent, "agents": agents}
            first.append(self.make(c.CreateBudget, self.admin, "bud", **made))
        for name, amount in (("top", "300"), ("mid", "120"), ("low", "40"), ("yen", "5000"), ("tok", "1000")):
            given = {"budget": name, "amount": amount, "currency": CURRENCY[name]}
            first.append(self.make(c.Allocate, self.admin, "alc", **given))
        for agent in AGENTS:
            first.append(self.new_key("agent", agent))
        for role, person in (("finance", "fay"), ("admin", "ann"), ("auditor", "ada"), ("approver", "abe")):
            first.append(self.new_key(role, person))
        for number, agent in enumerate(("a0", "a1", "a3")):
            capped = {"name": f"run-{number}", "agent": agent, "cap_amount": "12", "cap_currency": USD}
            first.append(self.make(c.OpenRun, self.admin, "run", **capped))
        return first

    def new_key(self, role: str, who: str, ttl_seconds: int | None = None) -> Any:
        """A command that makes a key; its caller is used from the next batch on."""
        self.made += 1
        digest = (self.seed * 1_000_000 + self.made).to_bytes(32, "big")
        named = {"agent" if role == "agent" else "person": who}
        made = self.make(c.CreateKey, self.admin, "key", digest=digest, role=role, ttl_seconds=ttl_seconds, **named)
        self.fresh.append((who, c.Caller(digest), made.id))
        return made

    def make(self, kind: type[c.Command], caller: c.Caller, prefix: str | None = None, /, **fields: Any) -> Any:
        """A command with a new idempotency key, and an id where it has one."""
        if prefix is not None:
            fields["id"] = self.new_id(prefix)
        return kind(caller=caller, idempotency_key=self.key(), **fields)

    # Choosing.

    def caller(self, who: str) -> c.Caller:
        """One of somebody's keys, most of the time a valid one."""
        keys = self.callers[who]
        if self.random.random() < 0.9:
            known = [(one, self.model.keys.get(one.key_digest or b"")) for one in keys]
            keys = [one for one, key in known if key and not key["revoked"] and key["expires"] is None] or keys
        return self.random.choice(keys)

    def agent(self) -> c.Caller:
        """One of an agent's keys."""
        return self.caller(self.random.choice(AGENTS))

    def finance(self) -> c.Caller:
        """The key of finance; now and then one that may not."""
        return self.caller("fay" if self.random.random() < 0.96 else "ada")

    def amount(self, scale: str) -> str:
        """Decimal text; now and then none that can be taken."""
        choice = self.random.random()
        if choice < 0.02:
            return self.random.choice(["0", "-1", "1e3", "0.0000000001", "99999999999", "-99999999999", "", "1,0"])
        whole = self.random.randrange(0, {"USD": 12, "EUR": 12, "JPY": 900, "tok": 90}[scale] if choice < 0.9 else 400)
        if scale == "tok" or choice < 0.3:
            return str(whole + 1)
        digits = self.random.choice((1, 2, 4, 6)) if scale == "JPY" else self.random.choice((1, 2, 4, 9))
        return f"{whole}.{self.random.randrange(10**digits):0{digits}d}"

    def reference(self) -> tuple[str, str, c.Caller]:
        """(authorization, its currency, its agent's key): open ones most of the time."""
        live = [name for name in self.known[-40:] if name in self.model.holds and self.model.holds[name].is_open()]
        name = self.random.choice((live if self.random.random() < 0.8 else self.known[-60:]) or [MISSING])
        hold = self.model.holds.get(name)
        if hold is not None and self.random.random() < 0.98:
            caller = self.caller(hold.agent) if hold.agent in self.callers else self.finance()
            if self.random.random() < 0.04:
                caller = self.agent()
            return name, hold.currency if self.random.random() < 0.97 else "EUR", caller
        return MISSING, USD, self.agent()

    def maybe(self, chance: float, value: Any) -> Any:
        """The value, or else nothing."""
        return value if self.random.random() < chance else None

    def batch(self, count: int) -> list[Any]:
        """Some commands that a server could have gathered: none refers to what another one of them makes."""
        # A key's secret is told by its answer only, so no batch uses a key that it makes itself.
        for who, caller, key_id in self.fresh:
            self.callers.setdefault(who, []).append(caller)
            self.key_ids.append(key_id)
        self.fresh.clear()
        for made in self.scoped:
            if made.digest in self.model.keys:
                who = str(self.model.keys[made.digest]["principal"]).removeprefix("agent:")
                self.callers.setdefault(who, []).append(c.Caller(made.digest))
                self.key_ids.append(made.id)
        self.scoped.clear()
        commands: list[Any] = []
        for _ in range(count):
            if (self.repeatable or commands) and self.random.random() < 0.07:
                commands.append(self.again(self.random.choice((*self.repeatable[-40:], *commands))))
            else:
                commands.append(self.one())
        for one in commands:
            if isinstance(one, c.RotateKey):
                self.rotated(one)
        self.repeatable += commands
        self.known += [one.id for one in commands if isinstance(one, (c.Authorize, c.Charge))]
        return commands

    def again(self, before: Any) -> Any:
        """The same request once more, or another one with its idempotency key; with any of the principal's keys."""
        changes: dict[str, Any] = {}
        if hasattr(before, "id"):
            changes["id"] = self.new_id(before.id.split("_")[0])
        if hasattr(before, "digest"):
            return before if self.random.random() < 0.5 else self.make(c.Release, self.agent(), authorization=MISSING)
        if self.random.random() < 0.25 and getattr(before, "amount", None) is not None:
            changes["amount"] = self.amount("tok")
        owner = next((who for who, keys in self.callers.items() if before.caller in keys), None)
        if owner is not None and self.random.random() < 0.5:
            changes["caller"] = self.random.choice(self.callers[owner])
        fields = {name: getattr(before, name) for name in type(before).__dataclass_fields__ if name != "operation"}
        return type(before)(**(fields | changes))

    def one(self) -> Any:
        """One command."""
        roll = self.random.random()
        for bound, make in (
            (0.41, self.authorize), (0.59, self.settle), (0.66, self.extend), (0.71, self.release),
            (0.73, self.mark_unknown), (0.77, self.reprice), (0.81, self.refund),
            (0.84, self.charge), (0.89, self.adjust), (0.94, self.moved),
        ):  # fmt: skip
            if roll < bound:
                return make()
        return self.rare()

    def authorize(self) -> Any:
        """Ask to spend."""
        agent = self.random.choice(AGENTS)
        budget = self.maybe(0.8, self.random.choice(BUDGETS if self.random.random() < 0.97 else ("nowhere",)))
        if budget is None or self.random.random() < 0.6:
            budget = {"a0": "top", "a1": "mid", "a2": "yen", "a3": "mid", "a4": "mid", "a5": "low"}[agent]
            budget = self.maybe(0.85, budget)
        currency = CURRENCY.get(budget or "low", USD) if self.random.random() < 0.98 else "EUR"
        run = self.maybe(0.4, f"run-{self.random.randrange(8)}")
        own = [name for name, opener in self.model.runs.items() if opener in self.model.above(agent)]
        if own and self.random.random() < 0.3:
            run = self.random.choice(own)
        return self.make(
            c.Authorize, self.caller(agent), "auth",
            amount=self.amount(currency if currency != "EUR" else USD), currency=currency,
            category=self.random.choice(CATEGORIES), payee=self.random.choice(PAYEES),
            resource=self.maybe(0.5, self.random.choice(("gpt", "claude"))), budget=budget,
            run=run if self.random.random() < 0.98 else "run_00000000000000000000000000",
            ttl_seconds=self.random.choice((20, 60, 300, 900)), partial_ok=self.random.random() < 0.2,
            on_expiry=self.random.choice(("release", "release", "unknown")), intent=self.maybe(0.2, "because"),
            afford=self.random.random() < 0.15, least=self.maybe(0.05, self.random.choice(("1", "0.5", "3"))),
        )  # fmt: skip

    def settle(self) -> Any:
        """Record a cost, mostly near what is held."""
        name, currency, caller = self.reference()
        amount = self.amount(currency if currency in ("JPY", "tok") else USD)
        hold = self.model.holds.get(name)
        if hold is not None and self.random.random() < 0.5:
            held = hold.facts()["held"]
            amount = format(held if self.random.random() < 0.4 else held // 2, "f")
        return self.make(
            c.Settle, caller if self.random.random() < 0.9 else self.finance(), authorization=name, amount=amount,
            currency=currency, final=self.random.random() < 0.6,
            category=self.maybe(0.15, self.random.choice(CATEGORIES)),
            payee=self.maybe(0.15, self.random.choice(PAYEES)),
            resource=self.maybe(0.3, self.random.choice(("gpt", "claude"))), evidence=self.maybe(0.1, "{}"),
            metering=self.maybe(0.3, (("input_tokens", self.amount("tok")), ("model", "gpt"))) or (),
            flags=self.random.choice(((), (), (), ("estimated",), ("estimated", "unpriced"))),
        )  # fmt: skip

    def extend(self) -> Any:
        """More amount, or time, or both."""
        name, currency, caller = self.reference()
        with_amount = self.random.random() < 0.6
        amount = self.amount(currency if currency in ("JPY", "tok") else USD) if with_amount else None
        ttl = self.random.choice((30, 600, 3_000_000)) if not with_amount or self.random.random() < 0.4 else None
        return self.make(
            c.Extend, caller, authorization=name, amount=amount, currency=currency if with_amount else None,
            ttl_seconds=ttl,
        )  # fmt: skip

    def release(self) -> Any:
        """End a hold."""
        name, _, caller = self.reference()
        return self.make(c.Release, caller, authorization=name, reason=self.maybe(0.3, "not needed"))

    def refund(self) -> Any:
        """Take cost back, of anything that was settled."""
        settled = [name for name in self.known[-80:] if name in self.model.holds and self.model.holds[name].pairs()]
        several = [name for name in settled if len(self.model.holds[name].pairs()) > 1]
        name = self.random.choice((several if self.random.random() < 0.4 else settled) or self.known or [MISSING])
        name = name if self.random.random() < 0.95 else MISSING
        hold = self.model.holds.get(name)
        currency = hold.currency if hold is not None and self.random.random() < 0.97 else USD
        pair: Any = (None, None)
        if hold is not None and hold.pairs() and self.random.random() < 0.6:
            pair = self.random.choice(sorted(hold.pairs()))
        return self.make(
            c.Refund, self.finance(), "ref", authorization=name, amount=self.amount(currency), currency=currency,
            category=pair[0], payee=pair[1], effective_at=self.effective_at(),
        )  # fmt: skip

    def mark_unknown(self) -> Any:
        """Say that nobody knows what became of a hold."""
        name, _, caller = self.reference()
        caller = caller if self.random.random() < 0.9 else self.random.choice((self.finance(), self.admin))
        return self.make(c.MarkUnknown, caller, authorization=name, reason=self.maybe(0.3, "it timed out"))

    def reprice(self) -> Any:
        """Correct a price, mostly of what was settled and from what is recorded."""
        settled = [name for name in self.known[-80:] if name in self.model.holds and self.model.holds[name].pairs()]
        several = [name for name in settled if len(self.model.holds[name].pairs()) > 1]
        if self.random.random() < 0.1:
            settled, several = self.known[-80:], []
        name = self.random.choice((several if self.random.random() < 0.6 else settled) or self.known or [MISSING])
        name = name if self.random.random() < 0.97 else MISSING
        hold = self.model.holds.get(name)
        currency = hold.currency if hold is not None and self.random.random() < 0.97 else USD
        recorded, amount = self.amount(currency), self.amount(currency)
        pair: Any = (None, None)
        if hold is not None:
            facts = hold.facts()
            cost = facts["settled"] + facts["repriced"]
            recorded = format(cost, "f") if self.random.random() < 0.9 else recorded
            if self.random.random() < 0.3:
                amount = format(self.random.choice((ZERO, cost, cost // 2, facts["refunded"])), "f")
            if hold.pairs() and self.random.random() < 0.6:
                pair = self.random.choice(sorted(hold.pairs()))
        return self.make(
            c.Reprice, self.finance() if self.random.random() < 0.9 else self.admin, "adj", authorization=name,
            settled=recorded, amount=amount, currency=currency, old_price=(("output", "2"),),
            new_price=(("output", "3"),), reason="mistyped", category=pair[0], payee=pair[1],
            effective_at=self.effective_at(),
        )  # fmt: skip

    def effective_at(self) -> int | None:
        """Now and then a day in the past, and rarely one that is not allowed."""
        if self.random.random() < 0.8:
            return None
        if self.random.random() < 0.15:
            return self.random.choice((self.model.opened_at - 1, self.model.now + 900_000_000))
        return self.random.randint(self.model.opened_at, self.model.now)

    def charge(self) -> Any:
        """Spend that nobody authorized."""
        budget = self.random.choice(("top", "mid", "low", "yen", "tok", "nowhere"))
        currency = CURRENCY.get(budget, USD)
        return self.make(
            c.Charge, self.finance(), "chg", budget=budget, amount=self.amount(currency),
            currency=currency if self.random.random() < 0.95 else "EUR", category=self.random.choice(CATEGORIES),
            payee=self.random.choice(PAYEES), agent=self.maybe(0.5, self.random.choice((*AGENTS, "who"))),
            run=self.maybe(0.4, f"run-{self.random.randrange(8)}"), effective_at=self.effective_at(),
            reason=self.maybe(0.5, "on the invoice"),
        )  # fmt: skip

    def adjust(self) -> Any:
        """One to three transfers, many of them wrong."""
        transfers = []
        for _ in range(self.random.choice((1, 1, 2, 3))):
            pool = ACCOUNTS[:6] if self.random.random() < 0.6 else ACCOUNTS[6:11]
            pair = self.random.sample(pool if self.random.random() < 0.9 else ACCOUNTS, 2)
            currency = USD if self.random.random() < 0.93 else self.random.choice(("EUR", "tok", "XXX"))
            transfers.append(c.AdjustmentTransfer(pair[0], pair[1], self.amount(USD), currency))
        return self.make(
            c.Adjust, self.finance(), "adj", transfers=tuple(transfers), reason="to be right",
            effective_at=self.effective_at(),
        )  # fmt: skip

    def moved(self) -> Any:
        """Authority given or taken back."""
        budget = self.random.choice(
            (*BUDGETS, "nowhere") if self.random.random() < 0.3 else ("top", "top", "mid", "low")
        )
        currency = CURRENCY.get(budget, USD)
        kind = c.Allocate if self.random.random() < 0.85 else c.Deallocate
        return self.make(
            kind, self.admin if self.random.random() < 0.95 else self.finance(), "alc", budget=budget,
            amount=self.amount(currency) if self.random.random() < 0.5 else str(self.random.randrange(20, 90)),
            currency=currency if self.random.random() < 0.97 else "EUR",
        )  # fmt: skip

    def rare(self) -> Any:
        """Freezing, keys, runs, names, further agents and budgets."""
        roll = self.random.randrange(12)
        who = self.random.choice((*AGENTS, "t0", "t1"))
        if roll < 3:
            who = self.random.choice([name for name, one in self.model.agents.items() if one["frozen"]] or [who])
            return self.make(c.FreezeAgent, self.admin, agent=who, frozen=self.random.random() < 0.35)
        if roll < 6:
            agent = self.maybe(0.3, self.random.choice(AGENTS))
            asker = self.agent() if self.random.random() < 0.8 else self.admin
            return self.open_run(asker, f"run-{self.random.randrange(8)}", agent)
        if roll == 6:
            if self.model.runs and self.random.random() < 0.75:
                return self.run_key()
            return self.new_key("agent", self.random.choice(AGENTS), self.maybe(0.3, 120))
        if roll == 7:
            asker = self.admin if self.random.random() < 0.7 else self.agent()
            return self.make(c.RevokeKey, asker, key=self.random.choice([*self.key_ids[10:], "key_unknown"]))
        if roll == 8:
            self.made += 1
            digest = (self.seed * 1_000_000 + self.made).to_bytes(32, "big")
            overlap = self.random.choice((0, 60, 600))
            old = self.random.choice([*self.key_ids[10:], "key_unknown"])
            return self.make(c.RotateKey, self.admin, "key", key=old, digest=digest, overlap_seconds=overlap)
        if roll == 9:
            name = f"spawned-{self.random.randrange(20)}"
            return self.make(c.CreateAgent, self.admin, "agt", name=name, kind="agent", parent=who)
        if roll == 10:
            name = f"b-{self.random.randrange(6)}"
            parent = self.maybe(0.5, "top")
            made = {"name": name, "currency": USD, "parent": parent, "agents": (who,)[: self.random.randrange(2)]}
            return self.make(c.CreateBudget, self.admin, "bud", **made)
        return self.make(c.AddName, self.admin, kind="payee", name=self.random.choice((*PAYEES, "new")))

    def open_run(self, asker: c.Caller, name: str, agent: str | None = None) -> Any:
        """A run, most of the time with a cap."""
        cap: dict[str, Any] = {}
        if self.random.random() < 0.7:
            currency = "JPY" if self.random.random() < 0.06 else USD
            cap = {"cap_amount": self.amount(currency), "cap_currency": currency}
        return self.make(c.OpenRun, asker, "run", name=name, agent=agent, **cap)

    def run_key(self) -> Any:
        """A key for one run, asked for by its agent most of the time."""
        self.made += 1
        digest = (self.seed * 1_000_000 + self.made).to_bytes(32, "big")
        run, agent = self.random.choice(list(self.model.runs.items()))
        run = run if self.random.random() < 0.95 else "nowhere"
        named = self.maybe(0.3, self.random.choice(AGENTS))
        is_admins = self.random.random() < 0.3
        asker = self.admin if is_admins else self.caller(agent) if agent in self.callers else self.agent()
        ttl = self.maybe(0.4, self.random.choice((120, 7 * 86_400, 7 * 86_400 + 1)))
        made = self.make(
            c.CreateKey, asker, "key", digest=digest, role="agent", agent=named, run=run, ttl_seconds=ttl,
        )  # fmt: skip
        self.scoped.append(made)
        return made

    def rotated(self, asked: Any) -> None:
        """A successor's key is its principal's from the next batch on."""
        for key in self.model.keys.values():
            if key["id"] == asked.key:
                self.fresh.append((key["principal"].split(":")[1], c.Caller(asked.digest), asked.id))
                return
