"""Reading invoices, payments and payees, and what the ledger accrued for one.

Invariant: a list is newest first, or by what is due, and walks an index; what was accrued in a period is read out of
daily totals, less what invoices themselves added, and out of the lines of its spend only where some was converted.
"""

from collections.abc import Collection

from sqlalchemy import ColumnElement, Connection, or_, select

from ledger.core.account import Account, payable_name
from ledger.core.book import PAYEE, Name
from ledger.core.invoice import REVERSED, VOID, Invoice, InvoicePayment, PayeeTerms, Payment, prepaid_name
from ledger.core.spend_line import INVOICE_KINDS, NOBODY
from ledger.storage.keyed import rows_by_key
from ledger.storage.paging import Page, bounded, page_of
from ledger.storage.queries_accounts import accounts_named
from ledger.storage.sums import halves, whole
from ledger.storage.tables import names
from ledger.storage.tables_finance import spend_days, spend_lines
from ledger.storage.tables_payables import invoice_payments, invoices, payee_terms, payments

LISTED_MAX = 200
"""Payments of an invoice, and invoices of the same days, that are shown."""


def invoice(connection: Connection, book_id: int, identity: str) -> Invoice | None:
    """An invoice by its id."""
    columns = invoices.c
    row = connection.execute(select(invoices).where(columns.book_id == book_id, columns.id == identity)).one_or_none()
    return None if row is None else Invoice(*row)


def list_invoices(
    connection: Connection,
    book_id: int,
    *,
    payee: str | None = None,
    state: str | None = None,
    due_before: int | None = None,
    after: int | None = None,
    limit: int = 50,
) -> Page[Invoice]:
    """Invoices newest first, continuing after a log index; ``due_before`` (days since 1970, itself left out) means
    those that can still be paid."""
    columns = invoices.c
    conditions: list[ColumnElement[bool]] = [columns.book_id == book_id]
    if payee is not None:
        conditions.append(columns.payee == payee)
    if state is not None:
        conditions.append(columns.state == state)
    if due_before is not None:
        conditions += [columns.due_on < due_before, columns.state != VOID, columns.paid < columns.total]
    if after is not None:
        conditions.append(columns.created_index < after)
    statement = select(invoices).where(*conditions).order_by(columns.created_index.desc()).limit(bounded(limit) + 1)
    rows = connection.execute(statement).all()
    return page_of(rows, limit, lambda row: Invoice(*row), lambda item: (item.created_index,))


def payment(connection: Connection, book_id: int, identity: str) -> Payment | None:
    """A payment by its id."""
    columns = payments.c
    row = connection.execute(select(payments).where(columns.book_id == book_id, columns.id == identity)).one_or_none()
    return None if row is None else Payment(*row)


def list_payments(
    connection: Connection, book_id: int, *, payee: str | None = None, after: int | None = None, limit: int = 50
) -> Page[Payment]:
    """Payments newest first, continuing after a log index."""
    columns = payments.c
    conditions: list[ColumnElement[bool]] = [columns.book_id == book_id]
    if payee is not None:
        conditions.append(columns.payee == payee)
    if after is not None:
        conditions.append(columns.created_index < after)
    statement = select(payments).where(*conditions).order_by(columns.created_index.desc()).limit(bounded(limit) + 1)
    rows = connection.execute(statement).all()
    return page_of(rows, limit, lambda row: Payment(*row), lambda item: (item.created_index,))


def parts_of(connection: Connection, book_id: int, paid: Collection[str]) -> dict[str, list[InvoicePayment]]:
    """Payment to what it paid of which invoices, in the order of their ids."""
    found: dict[str, list[InvoicePayment]] = {identity: [] for identity in paid}
    if paid:
        rows = rows_by_key(connection, invoice_payments, book_id, invoice_payments.c.payment, paid)
        for part in sorted((InvoicePayment(*row) for row in rows), key=lambda part: part.invoice):
            found[part.payment].append(part)
    return found


def paid_of(connection: Connection, book_id: int, identity: str) -> list[tuple[InvoicePayment, str]]:
    """What was paid of an invoice, oldest first, with the state of each payment."""
    parts, made = invoice_payments.c, payments.c
    statement = (
        select(invoice_payments, made.state)
        .join(payments, (made.book_id == parts.book_id) & (made.id == parts.payment))
        .where(parts.book_id == book_id, parts.invoice == identity)
        .order_by(parts.created_index)
        .limit(LISTED_MAX)
    )
    return [(InvoicePayment(*row[:-1]), row[-1]) for row in connection.execute(statement)]


def open_then(
    connection: Connection, book_id: int, payee_name: str, *, size: int, issued_by: int, paid_before: int
) -> list[tuple[Invoice, int]]:
    """What was still to be paid of a payee's invoices, as the first ``size`` records say, the latest due first: of
    those issued by a day (since 1970), less what payments that count for moments before ``paid_before`` paid. A payment
    that was reversed by then paid nothing."""
    columns, parts, made = invoices.c, invoice_payments.c, payments.c
    statement = (
        select(invoices)
        .where(
            columns.book_id == book_id, columns.payee == payee_name, columns.created_index < size,
            columns.issued_on <= issued_by,
        )
        .order_by(columns.due_on.desc(), columns.created_index.desc())
    )  # fmt: skip
    # Nothing changes a void invoice or a reversed payment any more, so what changed it last is that.
    rows = [Invoice(*row) for row in connection.execute(statement)]
    rows = [row for row in rows if not (row.state == VOID and row.changed_index < size)]
    left = {row.id: row.total for row in rows}
    paid = rows_by_key(connection, invoice_payments, book_id, parts.invoice, left, parts.created_index < size)
    sources = rows_by_key(connection, payments, book_id, made.id, {part.payment for part in paid})
    standing = {
        row.id
        for row in sources
        if row.effective_at < paid_before and not (row.state == REVERSED and row.changed_index < size)
    }
    for part in paid:
        if part.payment in standing:
            left[part.invoice] -= part.amount
    return [(row, left[row.id]) for row in rows if left[row.id] > 0]


def overlapping(connection: Connection, book_id: int, row: Invoice) -> list[str]:
    """Other invoices of the payee in the same currency, not void, whose days overlap."""
    columns = invoices.c
    statement = (
        select(columns.id)
        .where(
            columns.book_id == book_id, columns.payee == row.payee, columns.currency == row.currency,
            columns.state != VOID, columns.id != row.id, columns.billed > 0, columns.starts_on <= row.ends_on,
            columns.ends_on >= row.starts_on,
        )
        .order_by(columns.created_index)
        .limit(LISTED_MAX)
    )  # fmt: skip
    return list(connection.execute(statement).scalars())


def accrued(connection: Connection, book_id: int, row: Invoice, *, starts_at: int, ends_at: int) -> dict[str, int]:
    """Category to what the lines that are written accrued for an invoice's payee in its currency and days (from
    ``starts_at`` to ``ends_at``), without what invoices themselves added; of what was converted, what is owed.
    Categories with nothing are left out."""
    days, lines = spend_days.c, spend_lines.c
    in_days = (
        days.book_id == book_id, days.day >= row.starts_on, days.day <= row.ends_on, days.payee == row.payee,
        days.currency == row.currency,
    )  # fmt: skip
    in_period = (
        lines.book_id == book_id, lines.payee == row.payee, lines.effective_at >= starts_at,
        lines.effective_at < ends_at, lines.currency == row.currency,
    )  # fmt: skip
    totals = select(days.category, *halves(days.amount)).where(*in_days).group_by(days.category)
    of_invoices = or_(*(lines.kind == kind for kind in INVOICE_KINDS))
    added = select(lines.category, *halves(lines.amount)).where(*in_period, of_invoices).group_by(lines.category)
    signed = [(1, totals), (-1, added)]
    differs = select(days.day).where(*in_days, days.budget != NOBODY, days.amount != days.owed).limit(1)
    if connection.execute(differs).first() is not None:
        converted = (*in_period, lines.authorization_id.is_not(None), lines.amount != lines.owed)
        for sign, column in ((-1, lines.amount), (1, lines.owed)):
            signed.append((sign, select(lines.category, *halves(column)).where(*converted).group_by(lines.category)))
    found: dict[str, int] = {}
    for sign, statement in signed:
        for category, *parts in connection.execute(statement):
            found[category or ""] = found.get(category or "", 0) + sign * whole(*parts)
    return {category: atoms for category, atoms in found.items() if atoms}


def payee(connection: Connection, book_id: int, name: str) -> tuple[Name, PayeeTerms | None] | None:
    """A payee, and since when it was prepaid; None where the book does not know it."""
    known = connection.execute(
        select(names).where(names.c.book_id == book_id, names.c.kind == PAYEE, names.c.name == name)
    ).one_or_none()
    if known is None:
        return None
    terms = connection.execute(
        select(payee_terms).where(payee_terms.c.book_id == book_id, payee_terms.c.payee == name)
    ).one_or_none()
    return Name(*known), None if terms is None else PayeeTerms(*terms)


def accounts_of(connection: Connection, book_id: int, name: str) -> list[Account]:
    """The accounts with a payee: what it is owed, and prepaid credit with it, one of each a currency."""
    return [
        account
        for named in (payable_name(name), prepaid_name(name))
        for account in accounts_named(connection, book_id, named)
    ]


def invoiced(connection: Connection, book_id: int, name: str) -> dict[str, int]:
    """Currency to what is open of a payee's invoices."""
    columns = invoices.c
    statement = (
        select(columns.currency, *halves(columns.total), *halves(columns.paid))
        .where(
            columns.book_id == book_id, columns.payee == name, columns.state != VOID, columns.paid < columns.total
        )
        .group_by(columns.currency)
    )  # fmt: skip
    return {row[0]: whole(*row[1:3]) - whole(*row[3:]) for row in connection.execute(statement)}
