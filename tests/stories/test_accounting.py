"""docs/accounting.md: every worked example is run against the core, and every number compared.

The page's convention: a heading begins a book; a line that is one command in code font is a step, with what else is to
be seen behind an arrow; the first table after it is its transfers, the second the balances that are not zero.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from ledger.core.authorization import flag_names
from ledger.core.command import (
    Adjust,
    AdjustmentTransfer,
    Allocate,
    Authorize,
    Caller,
    Charge,
    CreateBudget,
    Deallocate,
    DefineUnit,
    ExpireDue,
    Extend,
    MarkUnknown,
    Refund,
    Release,
    Reprice,
    Settle,
)
from ledger.core.command_budgets import CloseBudget, SetRenewal
from ledger.core.command_corrections import ApproveCorrection, Reverse, SetCorrectionRule
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
from ledger.core.outcome import DENIALS, Outcome, Status
from ledger.core.rate import day_of
from ledger.core.windows import calendar_bounds
from tests.support.documents import ROOT, tables_of
from tests.support.ledger import Ledger

PAGE = (
    (ROOT / "docs" / "accounting.md").read_text(encoding="utf-8") if (ROOT / "docs" / "accounting.md").exists() else ""
)
STEP = re.compile(r"^`([^`]+)`(?: → (.+))?$", re.MULTILINE)
Moved = list[tuple[str, str, str, str]]


class Example:
    """One book, driven by steps as the page writes them."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.finance = self.ledger.key("finance", "fred")
        self.agent = self.ledger.agent("agent")
        self.other = self.ledger.key("finance", "gus")
        self.ids: dict[str, str] = {}
        self.adjusted = -1
        self.asked = ""
        self.currencies: dict[str, str] = {}

    def step(self, line: str) -> Moved:
        """Run one step; returns its transfers, those of an expiry it found included."""
        command, _, seen = line.replace(" → ", " -> ").partition(" -> ")
        verb, *words = command.split()
        size = self.ledger.head.size
        outcome = getattr(self, verb)(*words)
        if outcome is not None:
            self.look(outcome, words[0], {one.strip() for one in seen.split(",")} - {""}, size)
        elif verb == "midnight":
            assert self.shortages(size) == {one.strip() for one in seen.split(",")} - {""}
        return [
            (debit, credit, self.shown(int(atoms), currency), currency)
            for body in self.ledger.bodies()[size:]
            for debit, credit, atoms, currency in body.get("transfers", ())
        ]

    def look(self, outcome: Outcome, name: str, seen: set[str], size: int) -> None:
        """What a step ended in besides being done, its flags, and the holds that expired, are what the page says."""
        found = set()
        if outcome.status not in (Status.DONE, Status.APPROVED):
            found.add(outcome.status.value)
        elif name in self.ids and outcome.body and outcome.body["kind"] in ("settlement", "charge", "adjustment"):
            found |= set(flag_names(self.ledger.authorization(self.ids[name]).flags))
        names = {reference: letter for letter, reference in self.ids.items()}
        for body in self.ledger.bodies()[size:]:
            if body["kind"] == "expiry":
                found.add(f"expiry of {names[body['authorization']]}")
        assert found == seen, f"the page says {seen}, and it was {found}"
        recorded = outcome.status in DENIALS | {Status.DONE, Status.APPROVED, Status.PENDING_APPROVAL}
        assert recorded == (self.ledger.head.size > size)

    def shortages(self, size: int) -> set[str]:
        """Which budgets renewed short from a log index on, and by how much."""
        return {
            f"{body['renewed']} short by {self.shown(int(body['short']), body['currency'])}"
            for body in self.ledger.bodies()[size:]
            if body["kind"] == "renewal" and body["short"] != "0"
        }

    def shown(self, atoms: int, currency: str) -> str:
        """An amount as the page writes it."""
        return format_atoms(atoms, 0 if currency_digits(currency) is None else 9)

    def balances(self) -> dict[tuple[str, str], str]:
        """Every balance that is not zero."""
        return {key: self.shown(atoms, key[1]) for key, atoms in self.ledger.balances().items()}

    # The verbs.

    def unit(self, name: str, digits: str) -> None:
        """``unit NAME DIGITS``"""
        assert self.ledger.do(DefineUnit, self.ledger.admin, name=name, digits=int(digits)).status is Status.DONE

    def budget(self, name: str, currency: str, below: str = "", parent: str | None = None) -> None:
        """``budget NAME CURRENCY [below PARENT]``"""
        assert below in ("", "below")
        self.currencies[name] = currency
        made = {"name": name, "currency": currency, "parent": parent, "agents": ("agent",)}
        assert self.ledger.do(CreateBudget, self.ledger.admin, **made).status is Status.DONE

    def rate(self, base: str, quote: str, rate: str) -> None:
        """``rate BASE QUOTE RATE``, from today on."""
        day = day_of(self.ledger.book.timezone, self.ledger.now)
        given = (GivenRate(base=base, quote=quote, rate=rate, day=day),)
        assert self.ledger.do(GiveRates, self.finance, rates=given).status is Status.DONE

    def money(self, amount: str, currency: str) -> dict[str, str]:
        """``5.00``, in a currency that is known, or ``5.00EUR``."""
        number = amount.rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
        return {"amount": number, "currency": amount[len(number) :] or currency}

    def wait(self, minutes: str, word: str) -> None:
        """``wait N minutes``"""
        assert word == "minutes"
        self.ledger.advance(60 * int(minutes))

    def midnight(self) -> None:
        """``midnight``: it comes, and nobody is there but the sweeper."""
        ledger = self.ledger
        ledger.now = calendar_bounds("day", timezone=ledger.book.timezone, now=ledger.now)[1]
        ledger.do(ExpireDue, Caller(None), idempotency_key="")

    def renew(self, budget: str, every: str, amount: str, carry_over: str) -> Outcome:
        """``renew BUDGET day|week|month AMOUNT CARRY-OVER``"""
        setting = {"budget": budget, "every": every, "currency": self.currencies[budget]}
        return self.ledger.do(SetRenewal, self.ledger.admin, **setting, amount=amount, carry_over=carry_over)

    def close(self, budget: str) -> Outcome:
        """``close BUDGET``"""
        return self.ledger.do(CloseBudget, self.ledger.admin, budget=budget)

    def allocate(self, budget: str, amount: str) -> Outcome:
        """``allocate BUDGET AMOUNT``"""
        given = {"budget": budget, "amount": amount, "currency": self.currencies[budget]}
        return self.ledger.do(Allocate, self.ledger.admin, **given)

    def deallocate(self, budget: str, amount: str) -> Outcome:
        """``deallocate BUDGET AMOUNT``"""
        taken = {"budget": budget, "amount": amount, "currency": self.currencies[budget]}
        return self.ledger.do(Deallocate, self.ledger.admin, **taken)

    def authorize(
        self, name: str, budget: str, amount: str, category: str, payee: str, on_expiry: str = "release"
    ) -> Outcome:
        """``authorize NAME BUDGET AMOUNT CATEGORY PAYEE [unknown]``, for ten minutes."""
        asked: dict[str, Any] = {"budget": budget, **self.money(amount, self.currencies[budget])}
        asked |= {"category": category, "payee": payee, "on_expiry": on_expiry}
        asked |= {"id": self.ledger.new_id("auth"), "ttl_seconds": 600}
        self.ids[name] = asked["id"]
        return self.ledger.do(Authorize, self.agent, **asked)

    def told(self, name: str) -> dict[str, str]:
        """An authorization and the currency that it was asked in."""
        reference = self.ids[name]
        return {"authorization": reference, "currency": asked_side(self.ledger.authorization(reference)).currency}

    def settle(
        self, name: str, amount: str, how: str, category: str | None = None, payee: str | None = None
    ) -> Outcome:
        """``settle NAME AMOUNT final|partial [CATEGORY PAYEE]``"""
        final = {"final": True, "partial": False}[how]
        fields = {"amount": amount, "final": final, "category": category, "payee": payee}
        return self.ledger.do(Settle, self.agent, **self.told(name), **fields)

    def extend(self, name: str, amount: str) -> Outcome:
        """``extend NAME AMOUNT``"""
        return self.ledger.do(Extend, self.agent, **self.told(name), amount=amount)

    def release(self, name: str) -> Outcome:
        """``release NAME``"""
        return self.ledger.do(Release, self.agent, authorization=self.ids[name])

    def charge(self, name: str, budget: str, amount: str, category: str, payee: str) -> Outcome:
        """``charge NAME BUDGET AMOUNT CATEGORY PAYEE``"""
        self.ids[name] = self.ledger.new_id("chg")
        asked = {"budget": budget, **self.money(amount, self.currencies[budget])}
        return self.ledger.do(Charge, self.finance, id=self.ids[name], category=category, payee=payee, **asked)

    def refund(self, name: str, amount: str, category: str | None = None, payee: str | None = None) -> Outcome:
        """``refund NAME AMOUNT [CATEGORY PAYEE]``"""
        fields = {"amount": amount, "category": category, "payee": payee}
        return self.waits(self.ledger.do(Refund, self.finance, **self.told(name), **fields))

    def reprice(self, name: str, settled: str, amount: str) -> Outcome:
        """``reprice NAME SETTLED AMOUNT``"""
        prices: dict[str, Any] = {"old_price": (("output", "2.50"),), "new_price": (("output", "0.25"),)}
        asked: dict[str, Any] = {**self.told(name), **prices, "settled": settled, "amount": amount}
        return self.ledger.do(Reprice, self.finance, **asked, reason="a mistyped price")

    def unknown(self, name: str) -> Outcome:
        """``unknown NAME``"""
        return self.ledger.do(MarkUnknown, self.agent, authorization=self.ids[name])

    def invoice(self, name: str, payee: str, total: str, currency: str, *words: str) -> Outcome:
        """``invoice NAME PAYEE TOTAL CURRENCY line|credit|tax|prepaid AMOUNT …``, over November."""
        self.ids[name] = self.ledger.new_id("inv")
        items: dict[str, list[Any]] = {"lines": [], "taxes": [], "credits": []}
        for word, amount in zip(words[::2], words[1::2], strict=True):
            table, item = {
                "line": ("lines", InvoiceLine(amount)),
                "prepaid": ("lines", InvoiceLine(amount, prepaid=True)),
                "tax": ("taxes", InvoiceTax("VAT", amount)),
                "credit": ("credits", InvoiceCredit(amount)),
            }[word]
            items[table].append(item)
        days = {"issued_on": "2026-12-01", "due_on": "2026-12-31", "starts_on": "2026-11-01", "ends_on": "2026-11-30"}
        said = {"payee": payee, "number": name, "currency": currency, "total": total}
        made = {sort: tuple(found) for sort, found in items.items()}
        return self.ledger.do(RecordInvoice, self.finance, id=self.ids[name], **said, **days, **made)

    def void(self, name: str) -> Outcome:
        """``void NAME``"""
        return self.ledger.do(VoidInvoice, self.finance, invoice=self.ids[name], reason="as the page says")

    def pay(self, name: str, payee: str, amount: str, currency: str, source: str, rest: str | None = None) -> Outcome:
        """``pay NAME PAYEE AMOUNT CURRENCY FROM [prepayment|on_account]``"""
        self.ids[name] = self.ledger.new_id("pay")
        said = {"payee": payee, "amount": amount, "currency": currency, "source": source, "rest": rest}
        return self.ledger.do(RecordPayment, self.finance, id=self.ids[name], **said)

    def unpay(self, name: str) -> Outcome:
        """``unpay NAME``: take a payment back"""
        return self.ledger.do(ReversePayment, self.finance, payment=self.ids[name], reason="as the page says")

    def payee(self, name: str, how: str) -> None:
        """``payee NAME prepaid|billed``"""
        prepaid = {"prepaid": True, "billed": False}[how]
        assert self.ledger.do(SetPayee, self.finance, payee=name, prepaid=prepaid).status is Status.DONE

    def adjust(self, *words: str) -> Outcome:
        """``adjust DEBIT CREDIT AMOUNT CURRENCY, …``"""
        transfers = tuple(AdjustmentTransfer(*one.split()) for one in " ".join(words).split(","))
        outcome = self.ledger.do(Adjust, self.finance, transfers=transfers, reason="as the page says")
        self.adjusted = outcome.log_index
        return self.waits(outcome)

    def reverse(self, name: str) -> Outcome:
        """``reverse NAME|adjustment``: a charge, or the last adjustment."""
        index = self.adjusted if name == "adjustment" else self.ledger.authorization(self.ids[name]).created_index
        return self.waits(self.ledger.do(Reverse, self.finance, record=index, reason="as the page says"))

    def rule(self, currency: str, above: str) -> Outcome:
        """``rule CURRENCY AMOUNT``"""
        return self.ledger.do(SetCorrectionRule, self.ledger.admin, currency=currency, above=above)

    def waits(self, outcome: Outcome) -> Outcome:
        """The same, remembered where it waits for a second person."""
        if outcome.status is Status.PENDING_APPROVAL:
            self.asked = str((outcome.body or {})["correction"])
        return outcome

    def approve(self, what: str) -> Outcome:
        """``approve correction``: what waits, by another person in finance."""
        assert what == "correction"
        return self.ledger.do(ApproveCorrection, self.other, correction=self.asked)


def examples() -> dict[str, list[tuple[str, str]]]:
    """Every example of the page: its heading, and its steps with the text up to the next one."""
    found = {}
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        heading, _, text = section.partition("\n")
        steps = list(STEP.finditer(text))
        ends = [one.start() for one in steps[1:]] + [len(text)]
        if steps:
            found[heading] = [
                (one.group(0).replace("`", ""), text[one.end() : end]) for one, end in zip(steps, ends, strict=True)
            ]
    return found


EXAMPLES = examples()


@pytest.mark.parametrize("heading", EXAMPLES)
def test_example(heading: str) -> None:
    """Transfers and balances after each step are the page's."""
    example = Example()
    for line, text in EXAMPLES[heading]:
        moved = example.step(line)
        tables = tables_of(text)
        assert len(tables) == (2 if moved else 0), f"{line}: {len(tables)} tables, and the transfers are {moved}"
        if moved:
            assert [tuple(row.values()) for row in tables[0]] == moved, line
            said = {(row["account"], row["currency"]): row["balance"] for row in tables[1]}
            assert len(said) == len(tables[1])
            assert said == example.balances(), line
        for budgetary in (True, False):
            sort = [
                atoms
                for (name, _), atoms in example.ledger.balances().items()
                if (name == "authority" or name.startswith("budgets:")) == budgetary
            ]
            assert sum(sort) == 0, "each sort nets to zero"


def test_the_page_shows_every_cause() -> None:
    """Each kind of record with transfers, each flag an example can have, and every verb, is on the page."""
    text = "\n".join(line for steps in EXAMPLES.values() for line, _ in steps)
    verbs = {line.split()[0] for line in text.splitlines()}
    assert verbs == {
        "unit", "budget", "wait", "allocate", "deallocate", "authorize", "settle", "extend", "release", "charge",
        "refund", "adjust", "reprice", "unknown", "midnight", "renew", "close", "invoice", "void", "pay", "unpay",
        "payee", "reverse", "rule", "approve", "rate",
    }  # fmt: skip
    for seen in (
        "overrun",
        "late",
        "mismatch",
        "unauthorized",
        "expiry of A",
        "budget_held",
        "insufficient_budget",
        "repriced",
        "no_rate",
    ):
        assert seen in text
    assert len(EXAMPLES) >= 16
