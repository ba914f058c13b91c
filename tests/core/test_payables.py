"""Invoices, payments and prepaid credit as the core decides them: what is posted, refused and taken back."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ledger.core.command import AddName, Caller, Charge, Refund, Reprice
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
from ledger.core.invariants import spent_equals_expense
from ledger.core.outcome import Outcome, Status
from tests.core.test_projecting import folded
from tests.support.documents import table_under
from tests.support.ledger import SECOND
from tests.support.worlds import World


@pytest.fixture
def world() -> World:
    """A book in which openai is owed 10 USD."""
    made = World()
    charge(made, "10")
    return made


def charge(world: World, amount: str, **fields: Any) -> Outcome:
    """Spend that nobody authorized."""
    said = {"budget": "research", "currency": "USD", "category": "inference", "payee": "openai"} | fields
    return world.do(Charge, world.finance, amount=amount, **said)


def invoice(world: World, number: str = "1", *, caller: Caller | None = None, **fields: Any) -> Outcome:
    """An invoice of openai over November for 10 USD, unless told otherwise."""
    said = {
        "payee": "openai", "currency": "USD", "issued_on": "2026-12-01", "due_on": "2026-12-31",
        "starts_on": "2026-11-01", "ends_on": "2026-11-30", "lines": (InvoiceLine("10"),), "total": "10",
    } | fields  # fmt: skip
    return world.do(RecordInvoice, caller or world.finance, number=number, **said)


def pay(world: World, amount: str, **fields: Any) -> Outcome:
    """A payment to openai from the bank."""
    said = {"payee": "openai", "source": "assets:bank", "currency": "USD"} | fields
    return world.do(RecordPayment, world.finance, amount=amount, **said)


def identity(outcome: Outcome, field: str = "invoice") -> str:
    """The id of a record that must be there."""
    assert outcome.status is Status.DONE, outcome
    return str((outcome.body or {})[field])


def state(world: World, reference: str) -> tuple[str, int]:
    """An invoice's state and what is open of it, in whole units."""
    row = world.tables["invoices"][1, reference]
    return row.state, row.open // 10**9


def check(world: World) -> None:
    """The fold of the bodies gives the rows that are there, and every sum is right."""
    fold, store, _ = folded(world.bodies())
    assert fold.differences == []
    for table in ("invoices", "payments", "invoice_payments", "payee_terms", "accounts", "names"):
        assert sorted(map(repr, getattr(store, table).rows.values())) == sorted(map(repr, world.rows(table))), table
    assert spent_equals_expense(world.rows("accounts"), fold.adjusted) == []
    made = {row.id for row in world.rows("payments") if row.state == "made"}
    for row in world.rows("invoices"):
        parts = [one for one in world.rows("invoice_payments") if one.invoice == row.id and one.payment in made]
        assert row.paid == sum(part.amount for part in parts)


def test_an_invoice_posts_what_nothing_accrued(world: World) -> None:
    """Taxes and credits, and not what its lines claim, which settlements and charges accrued."""
    done = invoice(
        world, total="11.5", taxes=(InvoiceTax("VAT", "2", rate="20"), InvoiceTax("none", "0", "levies")),
        credits=(InvoiceCredit("0.5"),),
    )  # fmt: skip
    assert (done.body or {})["transfers"] == [
        ["expenses:tax", "payables:openai", "2000000000", "USD"],
        ["payables:openai", "expenses:credits", "500000000", "USD"],
    ]
    assert world.shown("payables:openai") == "-11.50"
    assert state(world, identity(done)) == ("open", 11)
    check(world)


def test_a_total_that_does_not_add_up_is_told_with_both_figures(world: World) -> None:
    """And nothing is recorded, the number included."""
    size = world.head.size
    refused = invoice(world, total="12", taxes=(InvoiceTax("VAT", "1"),))
    assert refused.status is Status.INVOICE_UNBALANCED
    assert "the total says 12.00 USD" in refused.detail
    assert "11.00 USD (lines 10.00 USD, taxes 1.00 USD, credits 0.00 USD)" in refused.detail
    assert world.head.size == size
    assert invoice(world).status is Status.DONE


def test_a_number_is_free_again_once_its_invoice_is_void(world: World) -> None:
    """Also in the batch in which it becomes so; another payee's numbers are its own."""
    first = identity(invoice(world, "7"))
    taken = invoice(world, "7")
    assert (taken.status, taken.facts["invoice"]) == (Status.NUMBER_TAKEN, first)
    assert invoice(world, "7", payee="serp").status is Status.DONE
    assert world.do(VoidInvoice, world.finance, invoice=first, reason="twice").status is Status.DONE
    assert invoice(world, "7").status is Status.DONE
    check(world)


def test_voiding_takes_back_what_was_posted_and_nothing_else(world: World) -> None:
    """Down to the last balance; and only what nothing was paid of, once."""
    before = world.balances()
    made = identity(invoice(world, total="12", taxes=(InvoiceTax("VAT", "2"),)))
    paid = identity(pay(world, "1", invoices=((made, "1"),)), "payment")
    assert world.do(VoidInvoice, world.finance, invoice=made, reason="no").status is Status.WRONG_STATE
    world.do(ReversePayment, world.finance, payment=paid, reason="bounced")
    assert world.do(VoidInvoice, world.finance, invoice=made, reason="no").status is Status.DONE
    assert world.balances() == before
    again = world.do(VoidInvoice, world.finance, invoice=made, reason="no")
    assert (again.status, again.facts["state"]) == (Status.WRONG_STATE, "void")
    missing = world.do(VoidInvoice, world.finance, invoice="inv_00000000000000000000000000", reason="no")
    assert missing.status is Status.NOT_FOUND
    check(world)


def test_the_earliest_due_is_paid_first(world: World) -> None:
    """Then the one that was recorded first; void ones, paid ones, and those in another currency never."""
    late, early, same = (
        identity(invoice(world, number, due_on=due))
        for number, due in (("a", "2027-01-31"), ("b", "2026-12-15"), ("c", "2027-01-31"))
    )
    euros = identity(invoice(world, "d", due_on="2026-12-01", currency="EUR"))
    void = identity(invoice(world, "e", due_on="2026-12-01"))
    world.do(VoidInvoice, world.finance, invoice=void, reason="no")
    pay(world, "15")
    assert [state(world, one) for one in (early, late, same)] == [("paid", 0), ("partly_paid", 5), ("open", 10)]
    pay(world, "15")
    assert [state(world, one) for one in (early, late, same)] == [("paid", 0)] * 3
    assert state(world, euros) == ("open", 10)
    assert world.shown("assets:bank") == "-30.00"
    assert world.shown("payables:openai") == "20.00", "30 was paid, and 10 was accrued"
    check(world)


def test_no_invoice_is_paid_beyond_what_is_open_of_it(world: World) -> None:
    """Not by name, not twice in one payment, and not by what is left over."""
    made = identity(invoice(world))
    for invoices in (((made, "10.000000001"),), ((made, "6"), (made, "4"))):
        refused = pay(world, "20", invoices=invoices, rest="prepayment")
        assert refused.status is Status.PAYMENT_TOO_LARGE, invoices
    left = pay(world, "11")
    assert left.status is Status.PAYMENT_TOO_LARGE
    assert "which leaves 1.00 USD" in left.detail
    assert pay(world, "10").status is Status.DONE
    closed = pay(world, "1", invoices=((made, "1"),))
    assert (closed.status, closed.facts["state"]) == (Status.WRONG_STATE, "paid")


def test_what_is_owed_beyond_invoices_can_be_paid_on_account(world: World) -> None:
    """As far as something is owed, and no further: the rest is a prepayment, and is said to be one."""
    identity(invoice(world, lines=(InvoiceLine("4"),), total="4"))
    assert pay(world, "10.1", rest="on_account").status is Status.PAYMENT_TOO_LARGE
    done = pay(world, "10", rest="on_account")
    assert ((done.body or {})["on_account"], world.shown("payables:openai")) == ("6000000000", "0.00")
    assert pay(world, "1", rest="on_account").status is Status.PAYMENT_TOO_LARGE
    assert pay(world, "1", rest="prepayment").status is Status.DONE
    assert world.shown("assets:prepaid:openai") == "1.00"
    check(world)


@pytest.mark.parametrize(
    ("source", "more", "status"),
    [
        ("expenses:inference", {}, Status.ACCOUNT_INVALID),
        ("assets", {}, Status.ACCOUNT_INVALID),
        ("payables:openai", {}, Status.ACCOUNT_INVALID),
        ("assets:prepaid:serp", {}, Status.ACCOUNT_INVALID),
        ("assets:prepaid:openai", {"rest": "prepayment"}, Status.ACCOUNT_INVALID),
        ("assets:prepaid:openai", {"rest": "on_account"}, Status.INSUFFICIENT_AVAILABLE),
        ("assets:bank:main", {"rest": "on_account"}, Status.DONE),
    ],
)
def test_where_a_payment_may_come_from(world: World, source: str, more: dict[str, Any], status: Status) -> None:
    """An asset account; credit with the payee itself, as far as it goes."""
    assert pay(world, "1", source=source, **more).status is status


def test_a_payment_names_invoices_of_its_payee_in_its_currency(world: World) -> None:
    """Else it is refused, and nothing of it is done."""
    other, euros = identity(invoice(world, payee="serp")), identity(invoice(world, "2", currency="EUR"))
    mine = identity(invoice(world, "3"))
    for named, status in ((other, Status.NOT_FOUND), (euros, Status.CURRENCY_MISMATCH)):
        assert pay(world, "2", invoices=((mine, "1"), (named, "1"))).status is status
    assert state(world, mine) == ("open", 10)


def test_a_reversal_undoes_a_payment_to_the_last_balance(world: World) -> None:
    """Its invoices are open again, credit that was bought is gone, also when it was used meanwhile."""
    made = identity(invoice(world))
    before = world.balances()
    paid = identity(pay(world, "14", rest="prepayment"), "payment")
    assert state(world, made) == ("paid", 0)
    undone = world.do(ReversePayment, world.finance, payment=paid, reason="bounced")
    assert (undone.status, state(world, made)) == (Status.DONE, ("open", 10))
    assert world.balances() == before
    again = world.do(ReversePayment, world.finance, payment=paid, reason="bounced")
    assert (again.status, again.facts["state"]) == (Status.WRONG_STATE, "reversed")
    check(world)


def test_several_currencies_of_one_payee_stay_apart(world: World) -> None:
    """Each has its own invoices, payments and balance."""
    dollars, euros = identity(invoice(world)), identity(invoice(world, "2", currency="EUR", total="12",
        taxes=(InvoiceTax("VAT", "2"),)))  # fmt: skip
    pay(world, "12", currency="EUR", invoices=((euros, "12"),))
    assert (state(world, dollars), state(world, euros)) == (("open", 10), ("paid", 0))
    assert world.shown("payables:openai", "EUR") == "10.00"
    assert world.shown("payables:openai") == "-10.00"
    check(world)


def test_spend_with_a_prepaid_payee_uses_up_credit(world: World) -> None:
    """Settlements and charges; refunds and reprices give back to where the cost came from, whatever the payee is by
    then; and what began before goes on as it began."""
    before = world.hold(world.crawler, "3")
    pay(world, "20", invoices=(), rest="prepayment")
    assert world.do(SetPayee, world.finance, payee="openai", prepaid=True).status is Status.DONE
    during = world.hold(world.crawler, "5")
    charged = identity(charge(world, "2"), "authorization")
    world.settle(world.crawler, during, "4")
    world.settle(world.crawler, before, "1")
    assert (world.shown("assets:prepaid:openai"), world.shown("payables:openai")) == ("14.00", "-11.00")
    assert world.do(SetPayee, world.admin, payee="openai", prepaid=False).status is Status.DONE
    charge(world, "1")
    world.do(Refund, world.finance, authorization=during, amount="1.5", currency="USD")
    world.do(Refund, world.finance, authorization=before, amount="0.5", currency="USD")
    prices = {"currency": "USD", "old_price": (("output", "2"),), "new_price": (("output", "3"),), "reason": "typo"}
    world.do(Reprice, world.finance, authorization=charged, settled="2", amount="3", **prices)
    assert (world.shown("assets:prepaid:openai"), world.shown("payables:openai")) == ("14.50", "-11.50")
    check(world)


def test_a_charge_in_the_batch_that_makes_its_payee_prepaid_uses_up_credit(world: World) -> None:
    """Commands are decided in order; nobody had looked at the credit of a payee that was never prepaid."""
    before, after = (
        world.command(Charge, world.finance, amount=amount, budget="research", currency="USD", category="inference",
                      payee="openai")
        for amount in ("2", "3")
    )  # fmt: skip
    outcomes = world.decide(before, world.command(SetPayee, world.finance, payee="openai", prepaid=True), after)
    assert [one.status for one in outcomes] == [Status.DONE] * 3
    assert (world.shown("assets:prepaid:openai"), world.shown("payables:openai")) == ("-3.00", "-12.00")
    check(world)


def test_a_payee_is_set_once_and_back(world: World) -> None:
    """Saying the same again is refused; a hold of the same batch as the switch goes where it was made."""
    assert world.do(SetPayee, world.finance, payee="openai", prepaid=False).status is Status.WRONG_STATE
    assert world.do(SetPayee, world.finance, payee="openai", prepaid=True).status is Status.DONE
    refused = world.do(SetPayee, world.finance, payee="openai", prepaid=True)
    assert (refused.status, refused.facts["state"]) == (Status.WRONG_STATE, "prepaid")
    check(world)


def test_credit_that_an_invoice_sells(world: World) -> None:
    """Its line is booked as credit and claims nothing that was used; its tax is an expense."""
    bought = identity(
        invoice(world, lines=(InvoiceLine("100", prepaid=True),), taxes=(InvoiceTax("VAT", "20"),), total="120")
    )
    assert world.tables["invoices"][1, bought].billed == 0
    pay(world, "120")
    assert (world.shown("assets:prepaid:openai"), world.shown("payables:openai")) == ("100.00", "-10.00")
    assert world.shown("expenses:tax") == "20.00"
    world.settle(world.crawler, world.hold(world.crawler, "1"), "1")
    owed = pay(world, "11", source="assets:prepaid:openai", rest="on_account")
    assert (owed.status, world.shown("payables:openai")) == (Status.DONE, "0.00")
    check(world)


def test_strict_names_hold_for_invoices_and_payees() -> None:
    """The categories of taxes and credits too."""
    world = World(strict_names=True)
    taxed = {"total": "11", "taxes": (InvoiceTax("VAT", "1"),)}
    assert invoice(world, **taxed).status is Status.UNKNOWN_CATEGORY
    assert invoice(world, payee="serp").status is Status.UNKNOWN_PAYEE
    assert pay(world, "1", payee="serp", rest="prepayment").status is Status.UNKNOWN_PAYEE
    assert world.do(SetPayee, world.finance, payee="serp", prepaid=True).status is Status.UNKNOWN_PAYEE
    world.do(AddName, world.admin, kind="category", name="tax")
    assert invoice(world, **taxed).status is Status.DONE


def test_only_money_is_owed(world: World) -> None:
    """Nobody claims or is paid tokens."""
    assert invoice(world, currency="tokens").status is Status.UNKNOWN_CURRENCY
    assert pay(world, "1", currency="tokens").status is Status.UNKNOWN_CURRENCY


@pytest.mark.parametrize("who", ["crawler", "auditor", "nobody"])
def test_whoever_keeps_no_books_may_not(world: World, who: str) -> None:
    """Agents and auditors change nothing here."""
    made, paid = identity(invoice(world)), identity(pay(world, "1"), "payment")
    caller, status = getattr(world, who), Status.KEY_UNKNOWN if who == "nobody" else Status.ROLE_NOT_ALLOWED
    common = {"payee": "openai", "currency": "USD", "amount": "1", "source": "assets:bank"}
    assert invoice(world, "2", caller=caller).status is status
    assert world.do(RecordPayment, caller, **common).status is status
    assert world.do(VoidInvoice, caller, invoice=made, reason="no").status is status
    assert world.do(ReversePayment, caller, payment=paid, reason="no").status is status
    assert world.do(SetPayee, caller, payee="openai", prepaid=True).status is status


def test_a_repeat_is_answered_as_before(world: World) -> None:
    """And another request under the same key is refused."""
    said = {"idempotency_key": "once", "id": "inv_00000000000000000000000001"}
    first = invoice(world, **said)
    again = invoice(world, **said)
    assert (again.status, again.log_index) == (Status.REPLAYED, first.log_index)
    assert invoice(world, **said, total="11", lines=(InvoiceLine("11"),)).status is Status.IDEMPOTENCY_MISMATCH


def test_an_entry_may_count_for_an_earlier_day(world: World) -> None:
    """And never for a later one."""
    assert invoice(world, effective_at=world.now + SECOND).status is Status.EFFECTIVE_AT_INVALID
    early = invoice(world, effective_at=world.now - SECOND, total="11", taxes=(InvoiceTax("VAT", "1"),))
    assert "effective_at" in (early.body or {})
    check(world)


CASES = [
    (row[head], column, row[column])
    for head in ("what is done with an invoice", "what is done with a payment")
    for row in table_under("statuses.md", head)
    for column in row
    if column != head
]
WORDS = {
    "not found": Status.NOT_FOUND, "wrong state": Status.WRONG_STATE, "too large": Status.PAYMENT_TOO_LARGE,
    "number taken": Status.NUMBER_TAKEN,
}  # fmt: skip


@pytest.mark.parametrize(("what", "before", "expected"), CASES)
def test_cell_of_the_page(world: World, what: str, before: str, expected: str) -> None:
    """docs/statuses.md: what becomes of each command in each state, and the state it leaves."""
    reference, paid = "inv_00000000000000000000000000", "pay_00000000000000000000000000"
    if before not in ("no such invoice", "no such payment"):
        reference = identity(invoice(world, due_on="2026-12-02"))
        if before in ("partly paid", "paid", "made", "reversed"):
            amount = "10" if before == "paid" else "4"
            paid = identity(pay(world, amount, invoices=((reference, amount),)), "payment")
        if before == "reversed":
            world.do(ReversePayment, world.finance, payment=paid, reason="bounced")
        if before == "void":
            world.do(VoidInvoice, world.finance, invoice=reference, reason="no")
    outcome = {
        "pay 6.00 of it": lambda: pay(world, "6", invoices=((reference, "6"),)),
        "pay 10.00 of it": lambda: pay(world, "10", invoices=((reference, "10"),)),
        "pay 6.00, naming no invoice": lambda: pay(world, "6"),
        "void it": lambda: world.do(VoidInvoice, world.finance, invoice=reference, reason="no"),
        "record its number again": lambda: invoice(world),
        "reverse it": lambda: world.do(ReversePayment, world.finance, payment=paid, reason="bounced"),
    }[what]()
    if expected in WORDS:
        assert outcome.status is WORDS[expected]
        return
    assert outcome.status is Status.DONE
    after = {"recorded": "open", "reversed": "reversed"}.get(expected, expected.replace(" ", "_"))
    if expected == "reversed":
        assert (world.tables["payments"][1, paid].state, state(world, reference)[0]) == (after, "open")
    else:
        made = (outcome.body or {}).get("invoice", reference)
        assert state(world, made)[0] == after
    check(world)


FORGERIES: list[tuple[str, str, Any, str]] = [
    ("invoice", "billed", "1", "billed is not what"),
    ("invoice", "total", "1", "the total is not"),
    ("invoice", "taxes", [], "the total is not"),
    ("invoice", "number", "other", "the request's number"),
    ("invoice", "ends_on", "2026-10-01", "the days of an invoice"),
    ("invoice", "state", "paid", "state is not what"),
    ("payment", "invoices", [], "not those that were asked for, or due first"),
    ("payment", "on_account", "1", "on_account is not what"),
    ("payment", "from", "income:gifts", "an account that is no asset"),
    ("payment_reversal", "invoices", [], "a reversal leaves out what was paid"),
    ("payment_reversal", "amount", "1", "amount is not what"),
    ("payment_reversal", "previous", 1, "previous is not what"),
    ("invoice_void", "total", "1", "total is not what"),
    ("payee_terms", "prepaid", False, "the payee was so already"),
]


@pytest.mark.parametrize(("kind", "field", "value", "words"), FORGERIES)
def test_a_body_that_says_something_else_is_noted(world: World, kind: str, field: str, value: Any, words: str) -> None:
    """However its hashes were made right again."""
    made = identity(invoice(world, total="11", taxes=(InvoiceTax("VAT", "1"),)))
    paid = identity(pay(world, "5"), "payment")
    world.do(ReversePayment, world.finance, payment=paid, reason="bounced")
    world.do(VoidInvoice, world.finance, invoice=made, reason="no")
    world.do(SetPayee, world.finance, payee="openai", prepaid=True)
    bodies = copy.deepcopy(world.bodies())
    place = next(at for at, body in enumerate(bodies) if body["kind"] == kind)
    bodies[place][field] = value
    differences = folded(bodies[: place + 1])[0].differences
    assert any(words in difference.what for difference in differences), differences
