"""Everything that finance can do to a book, at random and mixed: spend in several currencies, corrections that wait for
a second person, invoices and payments, rates, months that close and open again.

Owns which command comes next; most are meant to succeed, and some are wrong, late, or said before. Invariant: a driver
of the same seed does the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ledger.core.authorization import HELD
from ledger.core.closing import month_at
from ledger.core.command import (
    Adjust,
    AdjustmentTransfer,
    Authorize,
    Caller,
    Charge,
    Command,
    Deallocate,
    DefineUnit,
    Extend,
    MarkUnknown,
    OpenRun,
    Refund,
    Release,
    Reprice,
    Settle,
)
from ledger.core.command_approvals import GrantApproval
from ledger.core.command_closing import ApproveReopening, ClosePeriod, Explain, RequestReopening
from ledger.core.command_corrections import (
    ApproveCorrection,
    RefuseCorrection,
    Reverse,
    SetCorrectionRule,
    WithdrawCorrection,
)
from ledger.core.command_history import TakeOver
from ledger.core.command_payables import (
    InvoiceCredit,
    InvoiceLine,
    InvoiceTax,
    RecordInvoice,
    RecordPayment,
    ReversePayment,
    SetPayee,
    VoidInvoice,
)
from ledger.core.command_rates import GivenRate, GiveRates
from ledger.core.exchange import asked_side
from ledger.core.money import currency_digits, format_atoms
from ledger.core.rate import day_of
from ledger.core.splits import splits_of
from tests.support.closing_months import checks
from tests.support.ledger import SECOND
from tests.support.policed import Policed, limit

DAY = 24 * 3600
BUDGETS = {"dollars": "USD", "euros": "EUR", "yen": "JPY", "tokens": "tokens"}
CURRENCIES = ("USD", "EUR", "JPY", "GBP")
CATEGORIES = ("inference", "search")
PAYEES = ("openai", "mistral", "serp")
AMOUNTS = ("0.000000001", "0.333333333", "0.5", "1", "1.000000001", "2.718281828", "7", "12.5", "40")
PRICES: dict[str, Any] = {"old_price": (("output", "2"),), "new_price": (("output", "3"),), "reason": "mistyped"}
STEPS = (0, 0, 0, 1, 60, 3_600, 20_000, DAY, 3 * DAY, 9 * DAY)


class FinanceDriver:
    """Makes and decides random commands on a ledger in memory."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.ledger = Policed(amount="0.01")
        self.said: list[Command] = []
        self.statuses: dict[tuple[str, str], int] = {}
        ledger = self.ledger
        self.agents = [ledger.crawler, ledger.writer]
        self.finance = [ledger.finance, ledger.key("finance", "gus"), ledger.key("finance", "fred")]
        self.admins = [ledger.key("admin", "zoe"), ledger.key("admin", "yan")]
        self.approver = ledger.key("approver", "pat")
        self.persons = [*self.finance, *self.admins, self.approver]
        ledger.do(DefineUnit, ledger.admin, name="tokens", digits=2)
        for name, currency in BUDGETS.items():
            ledger.budget(name, "10000" if currency == "JPY" else "150", "research", currency=currency)
        self._give_rates()
        for agent, cap in zip(self.agents, ("60", "900"), strict=True):
            ledger.do(OpenRun, agent, name=f"run-{cap}", cap_amount=cap, cap_currency="USD" if cap == "60" else "JPY")
        if seed % 2:
            self._bind()

    def _bind(self) -> None:
        """A policy that counts in every way, and sends what is large to people."""
        limits = [limit("day", maximum="90"), limit("run", "run", "40"), limit("week", "week", "70", by=["payee"])]
        rolling = limit("hour", "hour", max_count=30, rolling=True)
        tier = {"id": "large", "above": "12", "approvers": ["finance"], "quorum": 1, "expires_after": 3_600}
        self.ledger.policy(limits=[*limits, rolling], approval=[tier])

    # Choosing.

    def chance(self, share: float) -> bool:
        """Whether something happens that does so this often."""
        return self.random.random() < share

    def step(self) -> None:
        """Let time pass, and decide one to four commands in one batch."""
        self.ledger.advance(self.random.choice(STEPS))
        batch = [self.command() for _ in range(self.random.choice((1, 1, 1, 2, 4)))]
        self.decide(*batch)

    def decide(self, *batch: Command) -> None:
        """Decide a batch, count what was answered, and keep some commands to be said again."""
        for asked, outcome in zip(batch, self.ledger.decide(*batch), strict=True):
            pair = (asked.operation, outcome.status.value)
            self.statuses[pair] = self.statuses.get(pair, 0) + 1
        self.said = [*self.said, *batch][-40:]

    def command(self) -> Command:
        """The next command; now and then one that was said before."""
        if self.said and self.chance(0.05):
            return self._again(self.random.choice(self.said))
        makers, weights = zip(*self._makers(), strict=True)
        while True:
            made = self.random.choices(makers, weights)[0]()
            if made is not None:
                return made

    def _again(self, asked: Any) -> Command:
        """A command as a client says it again: the server makes another id for it."""
        fresh = {"id": self.ledger.new_id(asked.id.partition("_")[0])} if hasattr(asked, "id") else {}
        repeated: Command = replace(asked, **fresh)
        return repeated

    def _makers(self) -> tuple[tuple[Callable[[], Command | None], int], ...]:
        return (
            (self._authorize, 14), (self._settle, 16), (self._extend, 7), (self._release, 2), (self._unknown, 1),
            (self._charge, 8), (self._refund, 10), (self._reprice, 7), (self._adjust, 4), (self._reverse, 7),
            (self._rule, 2), (self._answer, 16), (self._rates, 4), (self._invoice, 4), (self._void, 2),
            (self._payment, 4), (self._reverse_payment, 2), (self._terms, 2), (self._take_over, 1), (self._close, 5),
            (self._reopen, 6), (self._grant, 8), (self._explain, 2), (self._deallocate, 1),
        )  # fmt: skip

    def _make(self, kind: type[Command], caller: Caller, **fields: Any) -> Command:
        made: Command = self.ledger.command(kind, caller, **fields)
        return made

    def _bookkeeper(self) -> Caller:
        return self.random.choice(self.finance if self.chance(0.85) else self.persons)

    def _pick(self, rows: list[Any]) -> Any:
        """A row, rather one of the last; None of none."""
        return self.random.choice(rows[-8:] if self.chance(0.7) else rows) if rows else None

    def _backdated(self) -> dict[str, Any]:
        """Sometimes the day that an entry is meant for."""
        if self.chance(0.55):
            return {}
        seconds = self.random.choice((1, DAY, 10 * DAY, 35 * DAY, 70 * DAY, 200 * DAY))
        return {"effective_at": max(self.ledger.now - seconds * SECOND, self.ledger.book.opened_at - 90 * DAY * SECOND)}

    def _amount(self, currency: str) -> str:
        """An amount that the currency can have."""
        text = self.random.choice(AMOUNTS)
        digits = currency_digits(currency)
        if digits is None:
            return self.random.choice(("0.01", "3", "20"))
        if digits == 6:
            return self.random.choice(("0.000001", "33.333333", "100", "700.5"))
        return text

    def _currency(self, budget: str) -> str:
        own = BUDGETS[budget]
        return own if self.chance(0.45) or own == "tokens" else self.random.choice(CURRENCIES)

    def _text(self, atoms: int, currency: str) -> str:
        digits = currency_digits(currency)
        return format_atoms(atoms, 2 if digits is None else digits)

    # Spending.

    def _authorize(self) -> Command:
        budget = self.random.choice(list(BUDGETS))
        currency = self._currency(budget)
        return self._make(
            Authorize, self.random.choice(self.agents), amount=self._amount(currency), currency=currency, budget=budget,
            category=self.random.choice(CATEGORIES), payee=self.random.choice(PAYEES), partial_ok=self.chance(0.3),
            on_expiry=self.random.choice(("release", "release", "unknown")),
            ttl_seconds=self.random.choice((60, 900, 86_400)), accept_pending=self.chance(0.7), **self._run(),
        )  # fmt: skip

    def _run(self) -> dict[str, Any]:
        """Sometimes a run; not always one's own, nor one that is open."""
        return {"run": self.random.choice(("run-60", "run-900", "run-60", "made-up"))} if self.chance(0.6) else {}

    def _grant(self) -> Command | None:
        open_ones = [row for row in self.ledger.rows("approvals") if row.state == "open"]
        row = self._pick(open_ones)
        return None if row is None else self._make(GrantApproval, self.random.choice(self.finance), approval=row.id)

    def _owner(self, row: Any) -> Caller:
        return self.agents[0] if row.agent == "crawler" else self.agents[1]

    def _open(self) -> Any:
        return self._pick([row for row in self._authorizations() if row.state == HELD])

    def _authorizations(self) -> list[Any]:
        return sorted(self.ledger.rows("authorizations"), key=lambda row: row.created_index)

    def _settle(self) -> Command | None:
        late = [row for row in self._authorizations() if row.state in ("expired", "released")]
        row = self._open() if self.chance(0.85) else self._pick(late)
        if row is None:
            return None
        side = asked_side(row)
        shares = (0, side.approved // 3, side.approved // 2, side.approved, side.approved - side.settled, 1)
        atoms = max(self.random.choice(shares), 0)
        if self.chance(0.15):
            atoms = side.approved + 7
        other = {} if self.chance(0.6) else {"payee": self.random.choice(PAYEES)}
        other |= {} if self.chance(0.7) else {"category": self.random.choice(CATEGORIES)}
        return self._make(
            Settle, self._owner(row) if self.chance(0.8) else self._bookkeeper(), authorization=row.id,
            amount=self._text(atoms, side.currency), currency=side.currency, final=self.chance(0.5), **other,
        )  # fmt: skip

    def _extend(self) -> Command | None:
        row = self._open()
        if row is None:
            return None
        currency = asked_side(row).currency
        amount = {"amount": self._amount(currency), "currency": currency} if self.chance(0.8) else {}
        return self._make(Extend, self._owner(row), authorization=row.id, ttl_seconds=900, **amount)

    def _release(self) -> Command | None:
        row = self._open()
        return None if row is None else self._make(Release, self._owner(row), authorization=row.id)

    def _unknown(self) -> Command | None:
        row = self._open()
        return None if row is None else self._make(MarkUnknown, self._owner(row), authorization=row.id)

    # Correcting.

    def _charge(self) -> Command:
        budget = self.random.choice(list(BUDGETS))
        currency = self._currency(budget)
        agent = {"agent": "crawler"} if self.chance(0.4) else {}
        return self._make(
            Charge, self._bookkeeper(), budget=budget, amount=self._amount(currency), currency=currency,
            category=self.random.choice(CATEGORIES), payee=self.random.choice(PAYEES),
            **self._backdated(), **agent, **self._run(),
        )  # fmt: skip

    def _spent(self) -> tuple[Any, Any, Any] | None:
        """(row, its asked side, one of that side's pairs) of something that cost."""
        row = self._pick([row for row in self._authorizations() if row.settled_category is not None])
        if row is None:
            return None
        side = asked_side(row)
        return row, side, self.random.choice(splits_of(side))

    def _refund(self) -> Command | None:
        found = self._spent()
        if found is None:
            return None
        row, side, pair = found
        left = pair.settled - pair.refunded
        atoms = self.random.choice((left, left, left // 2, 1, left - 1, left + 1))
        return self._make(
            Refund, self._bookkeeper(), authorization=row.id, amount=self._text(max(atoms, 0), side.currency),
            currency=side.currency, category=pair.category, payee=pair.payee, **self._backdated(),
        )  # fmt: skip

    def _reprice(self) -> Command | None:
        found = self._spent()
        if found is None:
            return None
        row, side, pair = found
        change = self.random.choice(
            (1, -1, side.cost // 3, -(side.cost // 3), side.refunded - side.cost, 3 * side.cost)
        )
        return self._make(
            Reprice, self._bookkeeper(), authorization=row.id, settled=self._text(side.cost, side.currency),
            amount=self._text(max(side.cost + change, 0), side.currency), currency=side.currency,
            category=pair.category, payee=pair.payee, **PRICES, **self._backdated(),
        )  # fmt: skip

    def _adjust(self) -> Command:
        currency = self.random.choice(CURRENCIES)
        moves = [("expenses:search", "expenses:inference"), ("expenses:search", "payables:openai"),
                 ("payables:openai", "expenses:inference"), ("equity:exchange", "assets:bank")]  # fmt: skip
        in_currency = [name for name, code in BUDGETS.items() if code == currency]
        moves += [(f"budgets:{name}:spent", f"budgets:{name}:available") for name in in_currency]
        moves += [(f"budgets:{name}:available", f"budgets:{name}:spent") for name in in_currency]
        chosen = self.random.sample(moves, self.random.choice((1, 2)))
        transfers = tuple(AdjustmentTransfer(*pair, self._amount(currency), currency) for pair in chosen)
        corrects = {"corrects": self.random.randrange(self.ledger.head.size)} if self.chance(0.2) else {}
        return self._make(
            Adjust, self._bookkeeper(), transfers=transfers, reason="moved", **corrects, **self._backdated()
        )

    def _reverse(self) -> Command | None:
        kinds = ("charge", "adjustment") if self.chance(0.95) else ("settlement", "refund", "invoice")
        row = self._pick([row for row in self.ledger.rows("log_records") if row.kind in kinds])
        if row is None:
            return None
        return self._make(
            Reverse, self._bookkeeper(), record=row.log_index, reason="twice", **self._backdated()
        )  # fmt: skip

    def _rule(self) -> Command:
        above = self.random.choice(("0", "1", "5", "10", "100", None))
        return self._make(
            SetCorrectionRule, self.random.choice(self.admins), currency=self.random.choice(CURRENCIES), above=above
        )  # fmt: skip

    def _answer(self) -> Command | None:
        pending = [row for row in self.ledger.rows("corrections") if row.state == "pending"]
        row = self._pick(pending if self.chance(0.95) else self.ledger.rows("corrections"))
        if row is None:
            return None
        kind = self.random.choice((ApproveCorrection,) * 4 + (RefuseCorrection,) * 2 + (WithdrawCorrection,))
        return self._make(kind, self.random.choice(self.persons), correction=row.id, reason="seen")

    # Rates, payees, months.

    def _rates(self) -> Command:
        base, quote = self.random.sample(CURRENCIES, 2)
        rates = {"USD": "1.0842", "JPY": "163.57", "GBP": "0.8571"}
        text = rates.get(quote, "0.9") if self.chance(0.7) else self.random.choice(("0.333333333333", "7", "1.999"))
        if base != "EUR" and "JPY" in (base, quote):
            text = "151.3" if quote == "JPY" else "0.0066"
        return self._rate(base, quote, text, self.random.choice((0, 0, 0, 1, 5, 40)))

    def _rate(self, base: str, quote: str, text: str, days_ago: int) -> Command:
        day = day_of(self.ledger.book.timezone, self.ledger.now) - days_ago
        given = (GivenRate(base=base, quote=quote, rate=text, day=day),)
        return self._make(
            GiveRates, self._bookkeeper(), rates=given, max_age_days=self.random.choice((7, 31, 92)), source="ecb"
        )  # fmt: skip

    def _give_rates(self) -> None:
        for quote, text in (("USD", "1.0842"), ("JPY", "163.57"), ("GBP", "0.8571")):
            for days_ago in (0, 60):
                self.decide(self._rate("EUR", quote, text, days_ago))

    def _invoice(self) -> Command:
        currency = self.random.choice(CURRENCIES[:3])
        lines = (InvoiceLine("10", "inference"), InvoiceLine("4", prepaid=True))[: self.random.choice((1, 2))]
        total = 10 if len(lines) == 1 else 14
        return self._make(
            RecordInvoice, self._bookkeeper(), payee=self.random.choice(PAYEES), number=str(self.random.randrange(40)),
            currency=currency, issued_on="2026-11-30", due_on="2026-12-31", starts_on="2026-11-01",
            ends_on="2026-11-30", lines=lines, total=str(total + 2 - 1), taxes=(InvoiceTax("VAT", "2"),),
            credits=(InvoiceCredit("1"),), **self._backdated(),
        )  # fmt: skip

    def _void(self) -> Command | None:
        row = self._pick(self.ledger.rows("invoices"))
        if row is None:
            return None
        return self._make(VoidInvoice, self._bookkeeper(), invoice=row.id, reason="wrong", **self._backdated())

    def _payment(self) -> Command:
        payee, currency = self.random.choice(PAYEES), self.random.choice(CURRENCIES[:3])
        source = "assets:bank" if self.chance(0.8) else f"assets:prepaid:{payee}"
        rest = self.random.choice((None, "on_account", "prepayment"))
        return self._make(
            RecordPayment, self._bookkeeper(), payee=payee, source=source, amount=self.random.choice(("1", "5", "13")),
            currency=currency, rest=rest, **self._backdated(),
        )  # fmt: skip

    def _reverse_payment(self) -> Command | None:
        row = self._pick(self.ledger.rows("payments"))
        if row is None:
            return None
        return self._make(ReversePayment, self._bookkeeper(), payment=row.id, reason="bounced", **self._backdated())

    def _terms(self) -> Command:
        payee, prepaid = self.random.choice(PAYEES), self.chance(0.5)
        return self._make(SetPayee, self._bookkeeper(), payee=payee, prepaid=prepaid)

    def _take_over(self) -> Command:
        budget = self.random.choice(list(BUDGETS))
        before = self.ledger.book.opened_at - self.random.choice((1, 10, 40)) * DAY * SECOND
        return self._make(
            TakeOver, self._bookkeeper(), amount="3", currency=BUDGETS[budget], budget=budget, category="inference",
            payee=self.random.choice(PAYEES), effective_at=before, agent="crawler",
        )  # fmt: skip

    def _close(self) -> Command:
        months = self.ledger.rows("periods")
        closed = [row.ends_at for row in months if row.state == "closed"]
        starts = [row.starts_at for row in months] + [self.ledger.book.opened_at]
        moment = max(closed) if closed else min(starts)
        if self.chance(0.2):
            moment += self.random.choice((-40, 40)) * DAY * SECOND
        period = month_at(self.ledger.book.timezone, moment).text
        head = self.ledger.head
        size = head.size if self.chance(0.8) else self.random.randrange(head.size)
        root = head.root if size == head.size else b"\x07" * 32
        return self._make(
            ClosePeriod, self._bookkeeper(), period=period, size=size, root=root, statements=(("book", "0" * 64),),
            checks=checks(),
        )  # fmt: skip

    def _reopen(self) -> Command | None:
        closed = [row for row in self.ledger.rows("periods") if row.state == "closed"]
        if not closed:
            return None
        row = closed[-1] if self.chance(0.8) else self.random.choice(closed)
        kind = ApproveReopening if row.reopen_by is not None else RequestReopening
        person = self.random.choice(self.persons[:-1] if self.chance(0.9) else self.persons)
        return self._make(kind, person, period=row.period, reason="an invoice came")

    def _explain(self) -> Command | None:
        row = self._pick([row for row in self._authorizations() if row.flags])
        return None if row is None else self._make(Explain, self._bookkeeper(), authorization=row.id, reason="known")

    def _deallocate(self) -> Command:
        budget = self.random.choice(list(BUDGETS))
        return self._make(
            Deallocate, self.random.choice(self.admins), budget=budget, amount="1", currency=BUDGETS[budget]
        )
