"""Spend lines: what each record did to what was spent, to what is owed, and to what a budget may still spend.

Owns the rows of ``spend_lines``, ``spend_days`` and ``spend_holds`` and how they follow from a record. Invariants: a
line follows from its record's body and from what never changes about its authorization, so that it is the same whenever
it is made; its effects are read from the record's own transfers, so that lines add up to the accounts.
"""

from collections.abc import Callable
from datetime import date
from typing import Any, Final, NamedTuple

from ledger.core.account import AUTHORITY_NAME, ROLE_SPENT
from ledger.core.authorization import flag_bits
from ledger.core.canonical import canonical_bytes
from ledger.core.deriving import Columns
from ledger.core.moment import moment_of
from ledger.core.money import currency_digits
from ledger.core.windows import date_at

SETTLEMENT: Final = "settlement"
CHARGE: Final = "charge"
REFUND: Final = "refund"
REPRICE: Final = "reprice"
ADJUSTMENT: Final = "adjustment"
ALLOCATION: Final = "allocation"
DEALLOCATION: Final = "deallocation"
RENEWAL: Final = "renewal"
LAPSE: Final = "lapse"
CLOSURE: Final = "budget_closure"
INVOICE: Final = "invoice"
INVOICE_VOID: Final = "invoice_void"
PAYMENT: Final = "payment"
PAYMENT_REVERSAL: Final = "payment_reversal"
HISTORY: Final = "history"
"""Spend that was taken over from before the book."""
INVOICE_KINDS: Final = (INVOICE, INVOICE_VOID)
"""What an invoice itself added to expenses or took off: taxes and credits, which nothing accrued before."""
PAYABLE_KINDS: Final = (*INVOICE_KINDS, PAYMENT, PAYMENT_REVERSAL)
SPEND_KINDS: Final = (SETTLEMENT, CHARGE, REFUND, REPRICE)
"""Kinds of lines that one authorization or charge caused. They are lines also where the amount is zero."""
CORRECTIONS: Final = (REFUND, REPRICE)
"""Kinds of lines that point back to the line they correct."""
LINE_KINDS: Final = (
    *SPEND_KINDS,
    ADJUSTMENT,
    ALLOCATION,
    DEALLOCATION,
    RENEWAL,
    LAPSE,
    CLOSURE,
    *PAYABLE_KINDS,
    HISTORY,
)
RECORD_KINDS: Final = (
    SETTLEMENT, CHARGE, REFUND, ADJUSTMENT, ALLOCATION, DEALLOCATION, RENEWAL, CLOSURE, *PAYABLE_KINDS, HISTORY,
)  # fmt: skip
"""Kinds of records that have lines."""
OPENING_KINDS: Final = ("hold", "approval_requested")
"""Kinds of records that begin to hold."""
ENDING_KINDS: Final = (SETTLEMENT, "release", "expiry", "approval_refused")
"""Kinds of records that may end a hold."""
NOBODY: Final = ""
"""In a daily total: no agent, budget, category or payee."""
_OF_PAYEE: Final = ("payables:", "assets:prepaid:")
_EPOCH: Final = date(1970, 1, 1).toordinal()


class SpendLine(NamedTuple):
    """One row of ``spend_lines``. Amounts in atoms, times in microseconds.

    ``amount`` is what was spent (expenses; for a unit that is not money, what the budget spent), ``spent`` the effect
    on the budget's ``spent``, ``authority`` that on what it may still spend (available and held together), ``owed``
    that on what is owed to the payee, prepaid credit with it taken off. ``labels`` is canonical JSON as in
    ``authorizations``, ``approvals`` the ids of what persons granted, joined by spaces, ``flags`` those of the
    authorization after the record, ``corrects`` the log index of the settlement or charge that a refund or reprice goes
    back to, or of what an adjustment reverses or says it corrects, ``meant_for`` the moment that it would count for if
    its month were not closed. Where the payee is owed another currency than the budget's, the line at position 0 is
    in the budget's and owes nothing, and that at position 1 is what is owed and nothing else.
    """

    book_id: int
    log_index: int
    position: int
    kind: str
    authorization_id: str | None
    agent: str | None
    budget: str | None
    run: str | None
    category: str | None
    payee: str | None
    resource: str | None
    labels: str | None
    approvals: str | None
    flags: int
    corrects: int | None
    currency: str
    amount: int
    spent: int
    authority: int
    owed: int
    effective_at: int
    recorded_at: int
    meant_for: int | None = None

    @property
    def billed(self) -> int:
        """What its payee bills for it in its currency: what was spent, and of what was converted only what is owed."""
        if self.authorization_id is None or currency_digits(self.currency) is None:
            return self.amount
        return self.owed


class SpendDay(NamedTuple):
    """One row of ``spend_days``: what the lines of one day (days since 1970 in the book's time zone, by
    ``effective_at``) add up to for each agent, budget, category, payee and currency. ``lines`` counts them;
    ``changed_index`` is the log index of the last that was added."""

    book_id: int
    day: int
    agent: str
    budget: str
    category: str
    payee: str
    currency: str
    amount: int
    spent: int
    owed: int
    lines: int
    changed_index: int


class SpendHold(NamedTuple):
    """One row of ``spend_holds``: a hold that ended at ``ended_index`` and was made at ``opened_index``. ``span`` is
    the number of bits of the distance between the two: see ``hold_span``."""

    book_id: int
    ended_index: int
    opened_index: int
    span: int


class SpendCursor(NamedTuple):
    """The row of ``spend_cursor``: how many records the rows above stand for."""

    book_id: int
    next_index: int


class Origin(NamedTuple):
    """What never changes about an authorization once it is spent on: ``approvals`` are the ids of what persons
    granted."""

    created_index: int
    resource: str | None
    labels: str | None
    approvals: str | None


def is_spend(line: SpendLine) -> bool:
    """Whether a line counts in the daily totals: it is no mere moving of authority."""
    return line.kind in SPEND_KINDS or bool(line.amount or line.spent or line.owed)


def day_number(timezone: str, moment: int) -> int:
    """The day, since 1970 in the time zone, that a moment is in."""
    return date_at(timezone, moment).toordinal() - _EPOCH


def date_of(day: int) -> date:
    """The date of a day since 1970."""
    return date.fromordinal(day + _EPOCH)


def number_of(day: date) -> int:
    """The number, since 1970, of a date."""
    return day.toordinal() - _EPOCH


def hold_span(opened_index: int, ended_index: int) -> int:
    """The class of a hold's life in the log: one of class k lasted at least 2^(k-1) and less than 2^k records.

    So whatever was open at a size N and ended later is found class by class among those opened in (N - 2^k, N): each of
    these lasted so long that it was open at N or at N - 2^(k-1), and nothing that could not matter is looked at.
    """
    return (ended_index - opened_index).bit_length()


def needs_origin(body: dict[str, Any]) -> str | None:
    """The authorization whose ``Origin`` the lines of a record need, or None."""
    kind = body["kind"]
    if kind in (SETTLEMENT, REFUND) or (kind == ADJUSTMENT and "authorization" in body):
        named: str = body["authorization"]
        return named
    return None


def ended_hold(body: dict[str, Any]) -> str | None:
    """The authorization whose hold a record ended, or None: a late settlement ends nothing."""
    kind = body["kind"]
    if kind not in ENDING_KINDS or body.get("held") != "0" or body.get("state") in ("held", "pending_approval"):
        return None
    if kind == SETTLEMENT and not _was_open(body):
        return None
    named: str = body["authorization"]
    return named


def _was_open(body: dict[str, Any]) -> bool:
    """Whether a final settlement found its hold open: the first final one does, and a late one is flagged so."""
    return bool(body["final"]) and "late" not in body.get("flags", ())


def lines_of(
    book_id: int, index: int, body: dict[str, Any], columns: Columns, *, origin: Origin | None, corrects: int | None
) -> list[SpendLine]:
    """The lines of a record, none where it moved nothing of interest. Raises KeyError, TypeError or ValueError for a
    body that no honest writer wrote."""
    kind = body["kind"]
    if kind not in RECORD_KINDS:
        return []
    if kind in (SETTLEMENT, CHARGE, REFUND) or "authorization" in body:
        return _of_authorization(book_id, index, body, columns, origin, corrects)
    if kind == HISTORY:
        return [_of_history(book_id, index, body, columns)]
    made = []
    for place, (debit, credit, text, currency) in enumerate(body.get("transfers", ())):
        named = _kind_of_transfer(kind, body, credit)
        for position, sides in _sides(place, debit, credit):
            effects = [0, 0, 0, 0]
            names: dict[str, str] = {}
            for name, sign in sides:
                names |= _affect(effects, name, sign * int(text), currency)
            amount, spent, authority, owed = effects
            if any(effects):
                made.append(
                    SpendLine(
                        book_id, index, position, named, None, None, names.get("budget"), None,
                        names.get("category"), names.get("payee"), None, None, None, 0, corrects, currency, amount,
                        spent, authority, owed, columns.effective_at, columns.recorded_at, _meant_for(body),
                    )
                )  # fmt: skip
    return made


def _of_authorization(
    book_id: int, index: int, body: dict[str, Any], columns: Columns, origin: Origin | None, corrects: int | None
) -> list[SpendLine]:
    """One line; and where the payee is owed another currency than the budget's, a second one of what is owed."""
    kind, request = body["kind"], body["request"]
    by_currency = {body["currency"]: [0, 0, 0, 0]}
    for debit, credit, text, currency in body.get("transfers", ()):
        atoms, effects = int(text), by_currency.setdefault(currency, [0, 0, 0, 0])
        _affect(effects, debit, atoms, currency)
        _affect(effects, credit, -atoms, currency)
    resource = request.get("resource") or (origin.resource if origin is not None else None)
    return [
        SpendLine(
            book_id, index, position, REPRICE if kind == ADJUSTMENT else kind, body["authorization"],
            body.get("agent"), body["budget"]["name"], body.get("run"), body["category"], body["payee"], resource,
            origin.labels if origin is not None else None, origin.approvals if origin is not None else None,
            flag_bits(body.get("flags", ())), corrects, currency, amount, spent, authority, owed,
            columns.effective_at, columns.recorded_at, _meant_for(body),
        )
        for position, (currency, (amount, spent, authority, owed)) in enumerate(by_currency.items())
    ]  # fmt: skip


def _meant_for(body: dict[str, Any]) -> int | None:
    text = body.get("meant_for")
    return None if text is None else moment_of(text)


def _of_history(book_id: int, index: int, body: dict[str, Any], columns: Columns) -> SpendLine:
    effects = [0, 0, 0, 0]
    for debit, credit, text, currency in body["transfers"]:
        if credit != AUTHORITY_NAME:
            _affect(effects, credit, -int(text), currency)
        _affect(effects, debit, int(text), currency)
    amount, spent, authority, owed = effects
    labels = canonical_bytes(body["labels"]).decode() if "labels" in body else None
    return SpendLine(
        book_id, index, 0, HISTORY, None, body.get("agent"), body["budget"]["name"] if "budget" in body else None,
        body.get("run"), body["category"], body["payee"], body.get("resource"), labels, None, 0, None,
        body["currency"], amount, spent, authority, owed, columns.effective_at, columns.recorded_at, _meant_for(body),
    )  # fmt: skip


def _kind_of_transfer(kind: str, body: dict[str, Any], credit: str) -> str:
    """A renewal lets lapse what its own budget gives back."""
    if kind == RENEWAL and credit == f"budgets:{body['renewed']}:available":
        return LAPSE
    return kind


def _sides(place: int, debit: str, credit: str) -> list[tuple[int, list[tuple[str, int]]]]:
    """(position of a line, account and sign of the sides it shows): one line for both sides where they are of one
    budget, or an expense and what is owed for it, or of one payee; else a line each."""
    debit_payee, credit_payee = payee_of(debit), payee_of(credit)
    is_cost = (debit.startswith("expenses:") and credit_payee) or (credit.startswith("expenses:") and debit_payee)
    if is_cost or debit_payee == credit_payee != "" or _budget_of(debit) == _budget_of(credit) != "":
        return [(2 * place, [(debit, 1), (credit, -1)])]
    return [(2 * place, [(debit, 1)]), (2 * place + 1, [(credit, -1)])]


def payee_of(name: str) -> str:
    """The payee with whom an account stands: what is owed to it, or prepaid credit with it; empty for any other."""
    for prefix in _OF_PAYEE:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return ""


def _budget_of(name: str) -> str:
    return name.split(":")[1] if name.startswith("budgets:") else ""


_NOTHING: Final[dict[str, str]] = {}


def _affect(effects: list[int], name: str, change: int, currency: str) -> dict[str, str]:
    """Add what debiting an account by ``change`` (crediting, where below zero) does to (amount, spent, authority,
    owed); returns what the account is about."""
    head, _, rest = name.partition(":")
    if head == "budgets":
        budget, _, role = rest.rpartition(":")
        if role == ROLE_SPENT:
            effects[1] += change
            if currency_digits(currency) is None:
                # A unit that is not money has no expense: what a budget spends of it is all there is.
                effects[0] += change
        else:
            effects[2] += change
        return {"budget": budget}
    if head == "expenses":
        effects[0] += change
        return {"category": rest}
    payee = payee_of(name)
    if payee:
        effects[3] -= change
        return {"payee": payee}
    return _NOTHING


def corrected_index(
    body: dict[str, Any],
    body_at: Callable[[int], dict[str, Any] | None],
    corrects_of: Callable[[int], int | None] = lambda index: None,
) -> int | None:
    """The log index of the settlement or charge that a refund or reprice goes back to: the last before it of the same
    authorization, category and payee. Of a reversal, and of an adjustment that says what it corrects, the record that
    it names. None for every other record.

    ``body_at`` reads an earlier record; ``corrects_of`` may know the answer for an earlier correction and spare steps.
    """
    if body["kind"] not in (REFUND, ADJUSTMENT):
        return None
    named = body.get("reverses", body.get("corrects"))
    if named is not None:
        return named if type(named) is int and 0 <= named < body["index"] else None
    if "authorization" not in body:
        return None
    pair = body["category"], body["payee"]
    index, behind = body.get("previous"), body["index"]
    # A forged body may name itself, or one that came after it.
    while type(index) is int and index < behind:
        found, behind = body_at(index), index
        if found is None:
            return None
        if (found.get("category"), found.get("payee")) == pair:
            if found["kind"] in (SETTLEMENT, CHARGE):
                return index
            known = corrects_of(index)
            if known is not None:
                return known
        index = found.get("previous")
    return None


def days_of(lines: list[SpendLine], timezone: str) -> list[SpendDay]:
    """What lines add to the daily totals, a row for each key, in the order of the keys."""
    sums: dict[tuple[Any, ...], list[int]] = {}
    for line in lines:
        if not is_spend(line):
            continue
        key = (
            line.book_id, day_number(timezone, line.effective_at), line.agent or NOBODY, line.budget or NOBODY,
            line.category or NOBODY, line.payee or NOBODY, line.currency,
        )  # fmt: skip
        total = sums.setdefault(key, [0, 0, 0, 0, 0])
        for place, value in enumerate((line.amount, line.spent, line.owed, 1)):
            total[place] += value
        total[4] = max(total[4], line.log_index)
    return [SpendDay(*key, *sums[key]) for key in sorted(sums)]
