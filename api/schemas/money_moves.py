"""Bodies of charges, refunds, reprices and adjustments, and of what is read from accounts and the log."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from api.schemas.answers import Log, MoneyAnswer, Redacted
from api.schemas.authorizations import BudgetBalances
from api.schemas.fields import (
    AccountName,
    Amount,
    Evidence,
    Line,
    Metering,
    Moment,
    Name,
    NewName,
    Reference,
    RequestModel,
    RunReference,
    Text,
)
from api.schemas.rates import ExchangeView
from ledger.core.canonical import INTEGER_BOUND

_USD: Any = {"amount": "1.25", "currency": "USD"}


MeantFor = Annotated[
    str | None,
    Field(description="What was asked for, where its month is closed; effective_at is where it landed."),
]
ClosedBy = Annotated[int | None, Field(description="Log index of the closing that kept it out of its month.")]


class ChargeRequest(RequestModel):
    """Record spend that nobody authorized, such as a line found on an invoice."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"budget": "research", "amount": _USD, "category": "search", "payee": "serp"}]}
    )

    budget: Reference
    amount: Amount
    category: NewName
    payee: NewName
    agent: Reference | None = None
    run: RunReference | None = None
    resource: Line | None = None
    reason: Text | None = None
    evidence: Evidence | None = None
    effective_at: Moment | None = None


class RefundRequest(RequestModel):
    """Take back part or all of what an authorization or a charge settled."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"authorization": "auth_01jd3z8xk4t7q2m9v6b5n1c0fg", "amount": _USD}]}
    )

    authorization: Annotated[str, Field(pattern=r"^(?:auth|chg)_[0-9a-z]{26}$")]
    amount: Amount
    category: Name | None = None
    payee: Name | None = None
    reason: Text | None = None
    effective_at: Moment | None = None


class AdjustmentTransferRequest(RequestModel):
    """One transfer between two accounts of the same sort."""

    debit: AccountName
    credit: AccountName
    amount: Amount


class AdjustmentRequest(RequestModel):
    """Balanced transfers by finance, with a reason."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "transfers": [{"debit": "expenses:search", "credit": "expenses:inference", "amount": _USD}],
                    "reason": "booked on the wrong category",
                }
            ]
        }
    )

    transfers: Annotated[list[AdjustmentTransferRequest], Field(min_length=1, max_length=64)]
    reason: Annotated[Text, Field(min_length=1)]
    effective_at: Moment | None = None
    corrects: Annotated[int, Field(ge=0, lt=INTEGER_BOUND)] | None = Field(
        default=None, description="The log index of the record that it puts right; statements show both sides."
    )


class RepriceRequest(RequestModel):
    """Correct what an authorization or a charge was settled for, because its price was wrong."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "authorization": "auth_01jd3z8xk4t7q2m9v6b5n1c0fg",
                    "settled": {"amount": "12.50", "currency": "USD"},
                    "amount": _USD,
                    "old_price": {"price.output_tokens": "0.00010"},
                    "new_price": {"price.output_tokens": "0.00001"},
                    "reason": "a zero was missing in prices.yaml",
                }
            ]
        }
    )

    authorization: Annotated[str, Field(pattern=r"^(?:auth|chg)_[0-9a-z]{26}$")]
    settled: Amount = Field(
        description="What is recorded now: settled, as repriced before, refunds not taken off. Otherwise 409."
    )
    amount: Amount = Field(description="What it should have been, in the same currency; may be zero.")
    old_price: Metering = Field(description="The price that was wrong.")
    new_price: Metering = Field(description="The price that is right.")
    reason: Annotated[Text, Field(min_length=1)]
    category: Name | None = Field(default=None, description="Chooses among several settled pairs, with payee.")
    payee: Name | None = None
    effective_at: Moment | None = None

    @model_validator(mode="after")
    def _one_currency(self) -> RepriceRequest:
        if self.settled.currency != self.amount.currency:
            raise PydanticCustomError("currencies", "Give settled and amount in one currency")
        return self


class TransferView(BaseModel):
    """One transfer of a record."""

    debit: str
    credit: str
    amount: MoneyAnswer


class RepriceSaid(BaseModel):
    """What a reprice corrected: from ``settled`` to ``amount``; ``difference`` is below zero where it cost less."""

    settled: MoneyAnswer
    amount: MoneyAnswer
    difference: MoneyAnswer
    old_price: dict[str, str]
    new_price: dict[str, str]


class EntryResponse(BaseModel):
    """A charge, refund, adjustment, allocation or deallocation as it was recorded. A reprice is an adjustment that
    names an authorization."""

    id: str
    kind: str
    authorization: str | None = None
    state: str | None = None
    amount: MoneyAnswer | None = None
    exchange: ExchangeView | None = None
    flags: list[str] | None = None
    budget: BudgetBalances | None = None
    reprice: RepriceSaid | None = None
    transfers: list[TransferView]
    effective_at: str | None = None
    reverses: int | None = Field(default=None, description="The record that it reverses, by its index in the log.")
    corrects: int | None = Field(default=None, description="The record that an adjustment says it corrects.")
    approved_by: str | None = Field(default=None, description="The second person, where one was needed: person:NAME.")
    correction: str | None = Field(default=None, description="The correction that asked the second person.")
    meant_for: MeantFor = None
    closed_by: ClosedBy = None
    log: Log


class EntryView(EntryResponse):
    """A charge, refund, adjustment, allocation or deallocation in a list, with the balances it left behind. ``log``
    is where its record stands; ``reason`` is absent where none was given or where it was removed."""

    by: str = Field(description="Who asked for it: agent:NAME, person:NAME or the owner of the database.")
    recorded_at: str
    agent: str | None = None
    run: str | None = None
    category: str | None = None
    payee: str | None = None
    reason: str | None = None
    reversed_by: int | None = Field(default=None, description="The record that reversed it.")
    redacted: Redacted = None


class AccountView(BaseModel):
    """An account and its balance: debits less credits, and the side on which balances of its sort stand."""

    name: str
    kind: str
    normal_side: Literal["debit", "credit"]
    currency: str
    balance: MoneyAnswer


class BalanceView(BaseModel):
    """An account's balance, now or at a moment past."""

    account: str
    kind: str
    currency: str
    balance: MoneyAnswer
    as_of: str | None = None
    basis: Literal["effective", "recorded"] | None = Field(
        default=None, description="Of a past balance: by what counts for that moment, or by what was recorded by then."
    )


class PostingView(BaseModel):
    """One account's side of a transfer, with the account's balance after it. ``kind`` and ``subject`` are those of
    the log record that caused it."""

    log_index: int
    position: int
    kind: str
    subject: str
    side: str
    amount: MoneyAnswer
    other: str
    balance: MoneyAnswer
    recorded_at: str
    effective_at: str


class TrialBalanceLine(BaseModel):
    """One account's balance on the side where it stands, as decimal text."""

    account: str
    kind: str
    currency: str
    debit: str
    credit: str


class TrialBalanceTotal(BaseModel):
    """Sums of one sort (budgetary or real) in one currency. Debit equals credit in a balanced book."""

    sort: str
    currency: str
    debit: str
    credit: str


class TrialBalanceView(BaseModel):
    """Every account of the book, the two sorts apart in the totals."""

    lines: list[TrialBalanceLine]
    totals: list[TrialBalanceTotal]
    log_size: int
    root: str


class RecordView(BaseModel):
    """One record of the log: ``body`` is what was hashed, written as the very bytes that were hashed."""

    index: int
    kind: str
    subject: str
    recorded_at: str
    effective_at: str
    leaf_hash: str
    texts: dict[str, str] | None = Field(
        default=None,
        description="For one record: the free texts beside it, by field. A text that was removed is not there.",
    )
    redacted: Redacted = None
    body: dict[str, Any]
