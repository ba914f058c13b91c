"""The part of the story of every kind of record that is about what payees claim, what they are paid, and credit with
them."""

from __future__ import annotations

from typing import Any

from ledger.core.command import Caller, Charge, Refund, Reprice
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
from ledger.core.outcome import Outcome
from tests.support.ledger import OPENED_AT, SECOND, Ledger

BANK = "assets:bank"


def done(outcome: Outcome, field: str) -> str:
    """The id that a record names, of a command that must be done."""
    assert outcome.status.value == "done", outcome
    return str((outcome.body or {})[field])


def invoice(ledger: Ledger, caller: Caller, number: str, *lines: str, **fields: Any) -> str:
    """The id of an invoice of openai over November, of these lines; its total is theirs unless told otherwise."""
    said = {
        "payee": "openai", "currency": "USD", "issued_on": "2026-12-01", "due_on": "2026-12-31",
        "starts_on": "2026-11-01", "ends_on": "2026-11-30", "total": lines[0] if lines else "0",
        "lines": tuple(map(InvoiceLine, lines)),
    } | fields  # fmt: skip
    return done(ledger.do(RecordInvoice, caller, number=number, **said), "invoice")


def pay(ledger: Ledger, caller: Caller, amount: str, **fields: Any) -> str:
    """The id of a payment to openai from the bank, which must be recorded."""
    said = {"payee": "openai", "source": BANK, "currency": "USD"} | fields
    return done(ledger.do(RecordPayment, caller, amount=amount, **said), "payment")


def live(ledger: Ledger, crawler: Caller) -> None:
    """Credit with a payee that is bought, used, given back and left over; invoices that are paid in parts, in full, not
    at all, and taken back; payments of every sort, two of them reversed."""
    finance, other = ledger.key("finance", "petra"), ledger.key("admin", "paul")
    ledger.budget("payables", "100", "research")
    _credit(ledger, finance, crawler)
    first = invoice(
        ledger, finance, "INV-1", total="11.7",
        lines=(InvoiceLine("8", "inference", "tokens"), InvoiceLine("2"), InvoiceLine("0")),
        taxes=(InvoiceTax("VAT", "2", rate="20"), InvoiceTax("city", "0", "levies")),
        credits=(InvoiceCredit("0.2"), InvoiceCredit("0.1", "inference", "goodwill")),
        evidence='{"file":"inv-1.pdf"}', effective_at=OPENED_AT + SECOND,
    )  # fmt: skip
    early = invoice(ledger, finance, "INV-2", "3", due_on="2026-12-15")
    void = invoice(ledger, other, "INV-3", "7", total="8", taxes=(InvoiceTax("VAT", "1"),))
    common = {"payee": "openai", "currency": "USD", "issued_on": "2026-12-01", "due_on": "2026-12-01"}
    again = RecordInvoice(
        caller=finance, idempotency_key="again", id="inv_00000000000000000000000009", number="INV-3", total="4",
        lines=(InvoiceLine("4"),), starts_on="2026-11-01", ends_on="2026-11-30", **common,
    )  # fmt: skip
    taken_back = VoidInvoice(caller=other, idempotency_key="void", invoice=void, reason="entered wrongly")
    for outcome in ledger.decide(taken_back, again):
        assert outcome.status.value == "done", outcome
    invoice(ledger, finance, "ZERO", due_on="2026-12-01")
    pay(ledger, finance, "5", reference="SEPA 4711", effective_at=OPENED_AT + SECOND)
    partly = pay(ledger, finance, "2.5", invoices=((first, "2"), (early, "0.5")))
    ledger.do(ReversePayment, finance, payment=partly, reason="bounced")
    pay(ledger, finance, "1", invoices=(), rest="on_account")
    bought = pay(ledger, finance, "5", invoices=((first, "1"),), rest="prepayment")
    ledger.do(ReversePayment, other, payment=bought, reason="never left the bank", effective_at=OPENED_AT + SECOND)
    ledger.do(RecordPayment, finance, payee="openai", source=BANK, currency="USD", amount="9000")
    _take_over(ledger, finance)


def _take_over(ledger: Ledger, finance: Caller) -> None:
    """Spend from before the book: of a budget and an agent, of nobody, of a unit that is not money."""
    said = {"category": "inference", "payee": "openai", "effective_at": OPENED_AT - 3 * 24 * 3600 * SECOND}
    more = {"budget": "payables", "agent": "crawler", "run": "before", "resource": "gpt-4"}
    pairs = {"labels": (("team", "search"), ("user", "u1")), "metering": (("input_tokens", "12"),)}
    done(ledger.do(TakeOver, finance, amount="1.25", currency="USD", **said, **more, **pairs), "history")
    done(ledger.do(TakeOver, ledger.admin, amount="2", currency="EUR", **said), "history")
    done(ledger.do(TakeOver, finance, amount="30", currency="tokens", budget="tokens", **said), "history")


def _credit(ledger: Ledger, finance: Caller, crawler: Caller) -> None:
    """Credit with a payee that was prepaid for a while: what began then goes on using it up and giving it back."""
    on = {"budget": "payables", "payee": "prepay", "category": "inference"}
    before = ledger.hold(crawler, "1", **on)
    done(ledger.do(SetPayee, finance, payee="prepay", prepaid=True, reason="they bill in advance"), "payee")
    done(ledger.do(SetPayee, finance, payee="other-prepay", prepaid=True), "payee")
    invoice(
        ledger, finance, "TOP-1", payee="prepay", total="24", lines=(InvoiceLine("20", prepaid=True),),
        taxes=(InvoiceTax("VAT", "4"),),
    )  # fmt: skip
    pay(ledger, finance, "30", payee="prepay", rest="prepayment")
    during = ledger.hold(crawler, "5", **on)
    ledger.settle(crawler, before, "0.5")
    ledger.settle(crawler, during, "3", final=False)
    charged = ledger.do(
        Charge, finance, amount="2", currency="USD", agent="crawler", resource="claude-5", **on
    )  # fmt: skip
    done(ledger.do(SetPayee, finance, payee="prepay", prepaid=False), "payee")
    ledger.settle(crawler, during, "1")
    ledger.do(Refund, finance, authorization=during, amount="0.5", currency="USD")
    prices = {"currency": "USD", "old_price": (("output", "2"),), "new_price": (("output", "3"),), "reason": "mistyped"}
    reference = done(charged, "authorization")
    for recorded, right in (("2", "2.5"), ("2.5", "1")):
        ledger.do(Reprice, finance, authorization=reference, settled=recorded, amount=right, **prices)
    ledger.do(Charge, finance, amount="0.25", currency="USD", **on)
    ledger.do(Refund, finance, authorization=before, amount="0.25", currency="USD")
    pay(ledger, finance, "0.5", payee="prepay", source="assets:prepaid:prepay", rest="on_account")
