"""The fold over invoices, payments and payees, written from the rules and not from the code that decided.

Invariants: what an invoice says adds up, and it posts nothing that settlements accrue; no invoice is paid beyond its
total, and none that is void; what is taken back is exactly what was done.
"""

from typing import Any, Final

from ledger.core.account import ASSET, classify, expense_name, payable_name
from ledger.core.book import CATEGORY, PAYEE
from ledger.core.canonical import canonical_bytes, parse
from ledger.core.days import day_of
from ledger.core.invoice import (
    INVOICES_PER_PAYMENT_MAX,
    MADE,
    OPEN,
    PAID,
    PARTLY_PAID,
    PAYABLE_STATES,
    REST_ON_ACCOUNT,
    REST_PREPAYMENT,
    RESTS,
    REVERSED,
    TURNS_MAX,
    VOID,
    Invoice,
    InvoicePayment,
    PayeeTerms,
    Payment,
)
from ledger.core.moment import moment_of
from ledger.core.projecting_record import Record, atoms_of

_EXPENSES: Final = "expenses:"
_CREDIT: Final = "assets:prepaid:"
_ITEMS: Final = ("lines", "taxes", "credits")


def _sum(items: list[dict[str, Any]]) -> int:
    return sum(atoms_of(item["amount"]) for item in items)


def count_expenses(record: Record) -> None:
    """Count what a record posts to expenses without any budget: it is no budget's spend."""
    fold = record.fold
    for debit, credit, text, currency in record.body.get("transfers", ()):
        for name, change in ((debit, int(text)), (credit, -int(text))):
            if name.startswith(_EXPENSES):
                spent, expense = fold.adjusted.get(currency, (0, 0))
                fold.adjusted[currency] = (spent, expense + change)


def _invoice(record: Record) -> None:
    """The total is what is claimed and taxed less what is taken off; the number is no other live invoice's."""
    body, fold = record.body, record.fold
    payee, currency, identity = body["payee"], body["currency"], body["invoice"]
    total = record.atoms("total")
    sums = {name: _sum(body[name]) for name in _ITEMS}
    if sums["lines"] + sums["taxes"] - sums["credits"] != total:
        record.differ("the total is not lines and taxes less credits", sums, total)
    used = _sum([line for line in body["lines"] if "prepaid" not in line])
    record.expect("billed", str(used))
    for line in body["lines"]:
        if line.get("prepaid", True) is not True:
            record.differ("prepaid is said only where credit is bought", True, line["prepaid"])
    owed = payable_name(payee)
    expected = [[_CREDIT + payee, owed, line["amount"], currency] for line in body["lines"] if "prepaid" in line]
    expected += [[expense_name(tax["category"]), owed, tax["amount"], currency] for tax in body["taxes"]]
    expected += [[owed, expense_name(credit["category"]), credit["amount"], currency] for credit in body["credits"]]
    expected = [transfer for transfer in expected if transfer[2] != "0"]
    record.post(expected)
    count_expenses(record)
    for category in sorted({item["category"] for name in _ITEMS for item in body[name] if "category" in item}):
        record.meet_name(CATEGORY, category)
    record.meet_name(PAYEE, payee)
    issued, due, starts, ends = (day_of(body[name]) for name in ("issued_on", "due_on", "starts_on", "ends_on"))
    if ends < starts or due < issued:
        record.differ("the days of an invoice are not in order", "from before to, due after issued", [starts, ends])
    state = OPEN if total else PAID
    record.expect("state", state)
    number = f"{payee} {body['number']}"
    if number in fold.numbers:
        record.differ("the number is that of another invoice", "", fold.numbers[number])
    fold.numbers[number] = identity
    posted = canonical_bytes([[debit, credit, atoms] for debit, credit, atoms, _ in expected]).decode()
    row = Invoice(
        fold.book_id, identity, payee, body["number"], currency, issued, due, starts, ends, used, total, 0, state,
        posted, record.index, record.index,
    )  # fmt: skip
    record.store.invoices.add(identity, row)
    _list(record, row)


def _list(record: Record, row: Invoice) -> None:
    """Keep whether an invoice can be paid."""
    listed = record.fold.payable.setdefault(f"{row.payee} {row.currency}", {})
    if row.state in PAYABLE_STATES:
        listed[row.id] = [row.due_on, row.created_index]
    else:
        listed.pop(row.id, None)


def _expect_all(record: Record, **expected: Any) -> None:
    for field, value in expected.items():
        record.expect(field.removesuffix("_"), value)


def _void(record: Record) -> None:
    """The opposite of what the invoice posted, while nothing is paid of it."""
    row = record.store.invoices.change(record.body["invoice"])
    if row.state == VOID or row.paid:
        record.differ("an invoice is taken back that is void or was paid of", OPEN, row.state)
    _expect_all(
        record, payee=row.payee, number=row.number, currency=row.currency, total=str(row.total), state=VOID,
        previous=row.changed_index,
    )  # fmt: skip
    posted = parse(row.posted.encode())
    record.post([[credit, debit, atoms, row.currency] for debit, credit, atoms in posted])
    count_expenses(record)
    row.state, row.changed_index = VOID, record.index
    record.fold.numbers.pop(f"{row.payee} {row.number}", None)
    _list(record, row)


def _payment(record: Record) -> None:
    """Out of an asset account, to invoices that are open enough; the rest as the request allows."""
    body, request, fold = record.body, record.body["request"], record.fold
    payee, source, currency, amount = body["payee"], body["from"], body["currency"], record.atoms("amount")
    _check_source(record, payee, source, currency, amount)
    paid = _pay_invoices(record, amount)
    rest = request.get("rest")
    if rest is not None and rest not in RESTS:
        record.differ("rest is nothing that can be asked for", " or ".join(RESTS), rest)
    left = amount - paid
    prepaid = left if rest == REST_PREPAYMENT else 0
    on_account = left - prepaid
    payable = record.store.accounts.get((payable_name(payee), currency))
    owed = (0 if payable is None else -payable.balance) - paid
    if left < 0 or (on_account and (rest != REST_ON_ACCOUNT or on_account > owed)):
        record.differ("a payment pays more than its invoices and its request take", paid, amount)
    _expect_all(record, state=MADE, prepayment=_said(prepaid), on_account=_said(on_account))
    record.post(_paid_out(payee, source, currency, amount - prepaid, prepaid))
    record.meet_name(PAYEE, payee)
    effective_at = moment_of(body["effective_at"]) if "effective_at" in body else record.time
    row = Payment(
        fold.book_id, body["payment"], payee, source, currency, amount, prepaid, on_account, MADE, effective_at,
        record.index, record.index,
    )  # fmt: skip
    record.store.payments.add(row.id, row)


def _said(atoms: int) -> str | None:
    return str(atoms) if atoms else None


def _paid_out(payee: str, source: str, currency: str, owed: int, credit: int) -> list[list[str]]:
    moved = ((payable_name(payee), owed), (_CREDIT + payee, credit))
    return [[debit, source, str(atoms), currency] for debit, atoms in moved if atoms]


def _check_source(record: Record, payee: str, source: str, currency: str, amount: int) -> None:
    kind, _ = classify(source) or ("", "")
    if kind != ASSET:
        record.differ("a payment leaves an account that is no asset", ASSET, source)
    if not source.startswith(_CREDIT):
        return
    account = record.store.accounts.get((source, currency))
    if source != _CREDIT + payee or record.body["request"].get("rest") == REST_PREPAYMENT:
        record.differ("a payment is made out of another's credit, or into the credit it is made of", payee, source)
    if account is None or account.balance < amount:
        record.differ("a payment is made out of credit that is not there", amount, 0)


def _pay_invoices(record: Record, amount: int) -> int:
    """Pay what the request names, or what is due first; returns how much that is together."""
    body, request = record.body, record.body["request"]
    wanted = request.get("invoices")
    if wanted is None:
        wanted = []
        listed = record.fold.payable.get(f"{body['payee']} {body['currency']}", {})
        left = amount
        for identity in sorted(listed, key=listed.__getitem__):
            row = record.store.invoices.get(identity)
            part = min(left, 0 if row is None else row.total - row.paid)
            if not part:
                break
            wanted.append([identity, str(part)])
            left -= part
    said = [part[:2] for part in body["invoices"]]
    if said != wanted or len(said) > INVOICES_PER_PAYMENT_MAX:
        record.differ("the invoices that are paid are not those that were asked for, or due first", wanted, said)
    paid = 0
    for identity, text, total_paid, state in body["invoices"]:
        part = atoms_of(text)
        row = _pay(record, identity, part, total_paid, state)
        if (row.payee, row.currency) != (body["payee"], body["currency"]):
            record.differ("an invoice is paid that is another's", body["payee"], row.payee)
        made = InvoicePayment(record.fold.book_id, body["payment"], identity, part, record.index)
        record.store.invoice_payments.add((made.payment, made.invoice), made)
        paid += part
    return paid


def _pay(record: Record, identity: str, change: int, total_paid: Any, state: Any) -> Invoice:
    """Count what is paid of an invoice, and see that the body says the same of it."""
    row = record.store.invoices.change(identity)
    if row.state == VOID or not change or not 0 <= row.paid + change <= row.total:
        record.differ("an invoice is paid that is void, or beyond its total", row.total - row.paid, change)
    row.paid += change
    row.state = PAID if row.paid == row.total else PARTLY_PAID if row.paid else OPEN
    row.changed_index = record.index
    if [total_paid, state] != [str(row.paid), row.state]:
        record.differ(
            "what is paid of an invoice is not the sum of payments", [row.paid, row.state], [total_paid, state]
        )
    _list(record, row)
    return row


def _reversal(record: Record) -> None:
    """The opposite of a payment that was not reversed: every invoice that it paid is open by as much again."""
    body = record.body
    row = record.store.payments.change(body["payment"])
    if row.state != MADE:
        record.differ("a payment is reversed twice", MADE, row.state)
    _expect_all(
        record, payee=row.payee, amount=str(row.amount), currency=row.currency, state=REVERSED,
        previous=row.changed_index,
    )  # fmt: skip
    record.expect("from", row.source)
    taken = 0
    said = [part[0] for part in body["invoices"]]
    if said != sorted(set(said)):
        record.differ("the invoices of a reversal are not each once and in order", sorted(set(said)), said)
    for identity, text, total_paid, state in body["invoices"]:
        made = record.store.invoice_payments.get((row.id, identity))
        if made is None or str(made.amount) != text:
            record.differ("a reversal takes back what was not paid", None if made is None else made.amount, text)
        taken += atoms_of(text)
        _pay(record, identity, -atoms_of(text), total_paid, state)
    if taken != row.amount - row.prepaid - row.on_account:
        record.differ("a reversal leaves out what was paid", row.amount - row.prepaid - row.on_account, taken)
    made_out = _paid_out(row.payee, row.source, row.currency, row.amount - row.prepaid, row.prepaid)
    record.post([[credit, debit, atoms, currency] for debit, credit, atoms, currency in made_out])
    row.state, row.changed_index = REVERSED, record.index


def _payee_terms(record: Record) -> None:
    """Prepaid, and back, in turn."""
    payee, index = record.body["payee"], record.index
    found = record.store.payee_terms.get(payee)
    turns = [] if found is None else found.turns.split(" ")
    if record.body["prepaid"] is not (len(turns) % 2 == 0) or len(turns) >= TURNS_MAX:
        record.differ("the payee was so already", len(turns) % 2 == 0, record.body["prepaid"])
    record.meet_name(PAYEE, payee)
    if found is None:
        record.store.payee_terms.add(payee, PayeeTerms(record.fold.book_id, payee, str(index), index, index))
        return
    row = record.store.payee_terms.change(payee)
    row.turns, row.changed_index = f"{row.turns} {index}", index


HANDLERS: Final = {
    "invoice": _invoice,
    "invoice_void": _void,
    "payment": _payment,
    "payment_reversal": _reversal,
    "payee_terms": _payee_terms,
}
"""What each kind of record about what payees claim and were paid does."""
