"""Bodies of invoices, payments and payees."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from api.schemas.answers import Log, MoneyAnswer, Redacted
from api.schemas.fields import AccountName, Amount, Evidence, Line, Moment, NewName, RequestModel, Text
from api.schemas.money_moves import ClosedBy, MeantFor, TransferView
from ledger.core.days import day_of
from ledger.core.invoice import CREDITS_MAX, INVOICES_PER_PAYMENT_MAX, LINES_MAX, TAXES_MAX
from ledger.core.period import FORMS, parse_period

_ATOMS = Annotated[str, StringConstraints(min_length=1, max_length=64)]
_NET: Any = {"amount": "100.00", "category": "inference", "description": "API usage"}
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
InvoiceId = Annotated[str, StringConstraints(pattern=r"^inv_[0-9a-z]{26}$")]
InvoiceState = Literal["open", "partly_paid", "paid", "void"]


def _check_day(text: str) -> str:
    try:
        day_of(text)
    except ValueError as error:
        raise PydanticCustomError("day", "Write a day of the calendar such as 2026-11-30") from error
    return text


def _check_period(text: str) -> str:
    try:
        parse_period(text, "UTC")
    except ValueError as error:
        raise PydanticCustomError("period", "{reason}", {"reason": str(error)[:200]}) from error
    return text


Day = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"), AfterValidator(_check_day)]
"""A day as it stands on an invoice, in no time zone."""
PeriodText = Annotated[str, StringConstraints(min_length=4, max_length=32), AfterValidator(_check_period)]


def _check_number(text: str) -> str:
    if text != text.strip():
        raise PydanticCustomError("number", "Write the number without blanks before and after it")
    return text


InvoiceNumber = Annotated[Line, StringConstraints(max_length=64), AfterValidator(_check_number)]
"""A number as it is printed. Blanks around it would make another number of it, and an invoice could be paid twice."""


def days_of(period: str) -> tuple[str, str]:
    """The first and the last day of a period that was validated."""
    found = parse_period(period, "UTC")
    return found.first.isoformat(), found.last.isoformat()


class InvoiceLineRequest(RequestModel):
    """What is claimed for what was used; or, ``prepaid``, for credit that is bought."""

    amount: _ATOMS = Field(description="Decimal text, in the invoice's currency.")
    category: NewName | None = Field(default=None, description="What of the ledger it is compared with.")
    description: Line | None = None
    prepaid: bool = Field(default=False, description="True for credit that is bought and used up later.")


class InvoiceTaxRequest(RequestModel):
    """A tax, booked as an expense on its category, ``tax`` unless it names another."""

    name: Line = Field(examples=["VAT"])
    amount: _ATOMS
    rate: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,3}(\.[0-9]{1,6})?$")] | None = Field(
        default=None, description="Percent, as printed.", examples=["20"]
    )
    category: NewName | None = None


class InvoiceCreditRequest(RequestModel):
    """What the payee takes off, booked against the expenses of its category, ``credits`` unless it names another."""

    amount: _ATOMS
    category: NewName | None = None
    description: Line | None = None


class InvoiceRequest(RequestModel):
    """What a payee claims for a period. The total is what lines and taxes add up to, less credits."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "payee": "openai",
                    "number": "INV-2026-1107",
                    "currency": "USD",
                    "issued_on": "2026-12-01",
                    "due_on": "2026-12-31",
                    "period": "2026-11",
                    "lines": [_NET],
                    "taxes": [{"name": "VAT", "rate": "20", "amount": "20.00"}],
                    "total": "120.00",
                }
            ]
        }
    )

    payee: NewName
    number: InvoiceNumber = Field(description="As printed; no two live invoices of a payee have the same.")
    currency: Currency
    issued_on: Day
    due_on: Day | None = Field(default=None, description="Left out: the day it was issued.")
    period: PeriodText = Field(description=f"The days it is for: {FORMS}.")
    lines: Annotated[list[InvoiceLineRequest], Field(max_length=LINES_MAX)]
    taxes: Annotated[list[InvoiceTaxRequest], Field(max_length=TAXES_MAX)] = Field(default_factory=list)
    credits: Annotated[list[InvoiceCreditRequest], Field(max_length=CREDITS_MAX)] = Field(default_factory=list)
    total: _ATOMS = Field(description="Decimal text; what is to be paid.")
    evidence: Evidence | None = None
    effective_at: Moment | None = Field(default=None, description="When its taxes and credits count; now without it.")

    @model_validator(mode="after")
    def _in_order(self) -> InvoiceRequest:
        if self.due_on is not None and self.due_on < self.issued_on:
            raise PydanticCustomError("days", "An invoice is due on the day it was issued or later")
        return self


class VoidRequest(RequestModel):
    """Take back an invoice or a payment."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "entered twice"}]})

    reason: Annotated[Text, Field(min_length=1)]
    effective_at: Moment | None = None


class PaidInvoiceRequest(RequestModel):
    """An invoice, and how much of it is paid."""

    id: InvoiceId
    amount: _ATOMS


class PaymentRequest(RequestModel):
    """Record that a payee was paid. Without ``invoices`` its open ones are paid, the earliest due first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "payee": "openai",
                    "from": "assets:bank",
                    "amount": {"amount": "120.00", "currency": "USD"},
                    "reference": "SEPA 2026-12-15 4711",
                }
            ]
        }
    )

    payee: NewName
    from_: AccountName = Field(alias="from", description="An asset account, such as assets:bank.")
    amount: Amount
    invoices: Annotated[list[PaidInvoiceRequest], Field(max_length=INVOICES_PER_PAYMENT_MAX)] | None = Field(
        default=None, description="Which, and how much of each; an empty list: none."
    )
    rest: Literal["prepayment", "on_account"] | None = Field(
        default=None,
        description="What becomes of what no invoice takes: credit with the payee, or payment of what it is owed "
        "beyond invoices. Without it nothing may be left.",
    )
    reference: Line | None = Field(default=None, description="What the bank's statement says. It stays in the log.")
    effective_at: Moment | None = None

    @model_validator(mode="after")
    def _each_once(self) -> PaymentRequest:
        named = [one.id for one in self.invoices or ()]
        if len(set(named)) != len(named):
            raise PydanticCustomError("invoices", "Name each invoice once, with all that is paid of it")
        return self


class PayeeRequest(RequestModel):
    """Whether spend with a payee uses up credit that was paid for before."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"prepaid": True, "reason": "they bill in advance"}]})

    prepaid: bool
    reason: Text | None = None


class InvoiceItemSaid(BaseModel):
    """A line, tax or credit of an invoice."""

    amount: MoneyAnswer
    name: str | None = None
    rate: str | None = None
    category: str | None = None
    description: str | None = None
    prepaid: bool | None = None


class InvoiceResponse(BaseModel):
    """An invoice as it was recorded or taken back. ``billed`` is what its lines claim for what was used;
    ``transfers`` are what it posted itself."""

    id: str
    payee: str
    number: str
    state: InvoiceState
    currency: str
    issued_on: str | None = None
    due_on: str | None = None
    period: str | None = None
    lines: list[InvoiceItemSaid] | None = None
    taxes: list[InvoiceItemSaid] | None = None
    credits: list[InvoiceItemSaid] | None = None
    billed: MoneyAnswer | None = None
    total: MoneyAnswer
    transfers: list[TransferView]
    effective_at: str | None = None
    meant_for: MeantFor = None
    closed_by: ClosedBy = None
    log: Log


class InvoiceView(BaseModel):
    """An invoice in a list, as it stands now."""

    id: str
    payee: str
    number: str
    state: InvoiceState
    currency: str
    issued_on: str
    due_on: str
    period: str
    billed: MoneyAnswer
    total: MoneyAnswer
    paid: MoneyAnswer
    open: MoneyAnswer
    log: Log


class InvoiceList(BaseModel):
    """One page of invoices."""

    items: list[InvoiceView]
    next_cursor: str | None


class InvoicePaid(BaseModel):
    """What a payment paid of an invoice. A payment that was reversed pays nothing."""

    payment: str
    amount: MoneyAnswer
    state: Literal["made", "reversed"]
    log: Log


class InvoiceMatchCategory(BaseModel):
    """Of one category: what lines of the invoice name it claim, and what the ledger accrued."""

    category: str | None = None
    billed: MoneyAnswer
    accrued: MoneyAnswer
    difference: MoneyAnswer


class InvoiceMatch(BaseModel):
    """What is claimed for a period beside what the ledger accrued for the payee in the same days and currency:
    settlements, charges and what corrected them, other invoices' taxes and credits left out. ``difference`` is billed
    less accrued. ``also`` are other live invoices whose days overlap: they claim part of the same."""

    billed: MoneyAnswer
    accrued: MoneyAnswer
    difference: MoneyAnswer
    categories: list[InvoiceMatchCategory]
    also: list[str]
    log_size: int


class InvoiceDetail(InvoiceView):
    """An invoice with all that it says, what was paid of it, and how it compares with the ledger. Its items are absent
    where its record stands in an archive."""

    lines: list[InvoiceItemSaid] | None = None
    taxes: list[InvoiceItemSaid] | None = None
    credits: list[InvoiceItemSaid] | None = None
    by: str | None = None
    recorded_at: str | None = None
    effective_at: str | None = None
    meant_for: MeantFor = None
    closed_by: ClosedBy = None
    evidence: str | None = Field(default=None, description="The JSON text that came with it.")
    redacted: Redacted = None
    payments: list[InvoicePaid]
    match: InvoiceMatch


class PaymentInvoice(BaseModel):
    """What was paid of an invoice; ``paid`` and ``state`` are the invoice's after it."""

    id: str
    amount: MoneyAnswer
    paid: MoneyAnswer
    state: InvoiceState


class PaymentResponse(BaseModel):
    """A payment as it was recorded or reversed."""

    model_config = ConfigDict(populate_by_name=True)

    id: str
    payee: str
    from_: str = Field(alias="from")
    state: Literal["made", "reversed"]
    amount: MoneyAnswer
    invoices: list[PaymentInvoice]
    prepayment: MoneyAnswer | None = None
    on_account: MoneyAnswer | None = None
    reference: str | None = None
    transfers: list[TransferView]
    effective_at: str | None = None
    meant_for: MeantFor = None
    closed_by: ClosedBy = None
    log: Log


class PaymentPart(BaseModel):
    """What a payment paid of an invoice."""

    id: str
    amount: MoneyAnswer


class PaymentView(BaseModel):
    """A payment in a list, as it stands now."""

    id: str
    payee: str
    from_: str = Field(alias="from")
    state: Literal["made", "reversed"]
    amount: MoneyAnswer
    invoices: list[PaymentPart]
    prepayment: MoneyAnswer
    on_account: MoneyAnswer
    effective_at: str
    log: Log


class PaymentList(BaseModel):
    """One page of payments."""

    items: list[PaymentView]
    next_cursor: str | None


class PayeeBalance(BaseModel):
    """How the book stands with a payee in one currency: what it is owed, how much of that open invoices claim, what is
    left of prepaid credit, and what is owed less that credit, which is the balance of its statement."""

    currency: str
    owed: MoneyAnswer
    invoiced: MoneyAnswer
    prepaid_left: MoneyAnswer
    balance: MoneyAnswer


class PayeeResponse(BaseModel):
    """A payee as it was set."""

    name: str
    prepaid: bool
    log: Log


class PayeeView(BaseModel):
    """A payee and how the book stands with it."""

    name: str
    prepaid: bool
    balances: list[PayeeBalance]
    log: Log
