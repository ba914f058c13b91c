"""Bodies of a budget's life and of stopping: renewal, closing, freezing."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from api.schemas.answers import Log, MoneyAnswer
from api.schemas.fields import TEXT_LENGTH_MAX, Amount, RequestModel, Text

Reason = Annotated[
    str, StringConstraints(min_length=1, max_length=TEXT_LENGTH_MAX, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$")
]
"""A reason that must be given."""


class RenewalRequest(RequestModel):
    """Renew a budget at each midnight of the book that begins a day, a week (Monday) or a month. What is available
    above ``carry_over`` lapses back to where it came from; then ``amount`` is allocated, or what the parent has."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "every": "month",
                    "amount": {"amount": "500.00", "currency": "USD"},
                    "carry_over": {"amount": "100.00", "currency": "USD"},
                }
            ]
        }
    )

    every: Literal["day", "week", "month"]
    amount: Amount
    carry_over: Amount | None = Field(
        default=None, description="How much of the rest stays at each renewal; left out: nothing."
    )
    reason: Text | None = None

    @model_validator(mode="after")
    def _one_currency(self) -> RenewalRequest:
        if self.carry_over is not None and self.carry_over.currency != self.amount.currency:
            raise PydanticCustomError("currency", "Give amount and carry_over in the same currency")
        return self


class StopRenewalRequest(RequestModel):
    """Renew a budget no more; what it has stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "the project ends"}]})

    reason: Text | None = None


class CloseRequest(RequestModel):
    """Close a budget for good."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "the project has ended"}]})

    reason: Text | None = None


class UnfreezeRequest(RequestModel):
    """Let go on what was frozen. The reason is required, and its digest stands in the log."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "the loop is fixed"}]})

    reason: Reason


class RenewalView(BaseModel):
    """How a budget renews; ``next_at`` is the next midnight at which it does."""

    every: str
    amount: MoneyAnswer
    carry_over: MoneyAnswer
    next_at: str


class BudgetRenewalView(BaseModel):
    """A budget whose renewal was set, or (``renewal`` null) stopped."""

    id: str
    name: str
    currency: str
    renewal: RenewalView | None
    log: Log


class Period(BaseModel):
    """From a midnight of the book (included) to another."""

    from_: str = Field(alias="from")
    to: str


class RenewedView(BaseModel):
    """One renewal: what lapsed, what was carried over from before (below zero after an overrun), what was allocated and
    how much of ``amount`` was missing, with the balances that it left behind."""

    period: Period
    every: str
    amount: MoneyAnswer
    carry_over: MoneyAnswer
    lapsed: MoneyAnswer
    carried: MoneyAnswer
    allocated: MoneyAnswer
    short: MoneyAnswer
    available: MoneyAnswer
    held: MoneyAnswer
    spent: MoneyAnswer
    recorded_at: str
    log: Log


class BudgetClosedView(BaseModel):
    """A budget that was closed, and what went back to where it came from."""

    id: str
    name: str
    currency: str
    closed_at: str
    returned: MoneyAnswer
    available: MoneyAnswer
    held: MoneyAnswer
    spent: MoneyAnswer
    log: Log


class BudgetFrozenView(BaseModel):
    """A budget that was frozen or unfrozen."""

    id: str
    name: str
    frozen: bool
    log: Log


class BookFrozenView(BaseModel):
    """A book that was frozen or unfrozen."""

    name: str
    frozen: bool
    log: Log
