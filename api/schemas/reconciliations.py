"""Bodies of reconciliations, and of the ledger's own lines that a payee's figures are compared with."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from api.schemas.answers import Log, MoneyAnswer
from api.schemas.budgets_life import Reason
from api.schemas.fields import Amount, Moment, Name, RequestModel, moment
from api.schemas.lists import PageModel
from ledger.core.reconciliation import BOOKED_MAX, COUNT_MAX, FILES_MAX

Kind = Literal["missing_here", "missing_there", "price", "quantity", "amount", "timing", "tolerated"]
Count = Annotated[int, Field(ge=0, le=COUNT_MAX)]
Digest = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
Index = Annotated[int, Field(ge=0, le=COUNT_MAX)]
CurrencyCode = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
_USD: Any = {"amount": "12.40", "currency": "USD"}


class DifferenceSaid(RequestModel):
    """All differences of one kind: how many there are, and what the payee has more than the ledger by them (below zero:
    less)."""

    kind: Kind
    count: Annotated[int, Field(ge=1, le=COUNT_MAX)]
    amount: Amount


class ReconciliationRequest(RequestModel):
    """Record a comparison of what a payee says was spent with what the ledger says."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "payee": "openai",
                    "source": "openai-costs",
                    "starts_at": "2026-11-01",
                    "ends_at": "2026-12-01",
                    "provider_total": _USD,
                    "lines": 30,
                    "matched": 29,
                    "differences": [{"kind": "price", "count": 1, "amount": {"amount": "0.40", "currency": "USD"}}],
                    "accept": True,
                    "reason": "they round each day up",
                }
            ]
        }
    )

    payee: Name
    source: Name = Field(description="Where the figures come from, such as openai-costs, csv or invoice.")
    starts_at: Moment
    ends_at: Moment = Field(description="The first moment that is not in the period any more; not in the future.")
    provider_total: Amount
    lines: Count = Field(description="Lines of the payee's that were read.")
    matched: Count = Field(description="Those of which nothing differs.")
    differences: Annotated[list[DifferenceSaid], Field(max_length=7)] = Field(
        default=[],
        description="Each kind once, in the order in which they are listed here; in the currency of the total.",
    )
    files: Annotated[list[Digest], Field(max_length=FILES_MAX)] = Field(
        default=[], description="SHA-256 of each file that was read, in hex."
    )
    at_size: Annotated[int, Field(ge=1, le=COUNT_MAX)] | None = Field(
        default=None, description="The number of records of the log that were compared; left out: all there are."
    )
    booked: Annotated[list[Index], Field(max_length=BOOKED_MAX)] = Field(
        default=[], description="Log indexes of the charges and corrections that this led to, in order."
    )
    accept: bool = Field(default=False, description="Accept what is open as it is; needs a reason.")
    reason: Reason | None = None

    @model_validator(mode="after")
    def _one_currency(self) -> ReconciliationRequest:
        if any(one.amount.currency != self.provider_total.currency for one in self.differences):
            raise PydanticCustomError("currency", "Differences are in the currency of the provider's total")
        if moment(self.ends_at) <= moment(self.starts_at):
            raise PydanticCustomError("period", "The period must end after it starts")
        return self


class DifferenceView(BaseModel):
    """All differences of one kind."""

    kind: str
    count: int
    amount: MoneyAnswer


class ReconciliationView(BaseModel):
    """A reconciliation. ``lines``, ``matched``, ``differences``, ``files`` and ``booked`` are null once its record is
    archived."""

    id: str
    payee: str
    currency: str
    source: str
    starts_at: str
    ends_at: str
    at_size: int
    provider_total: MoneyAnswer
    ledger_total: MoneyAnswer
    open_differences: int
    open_amount: MoneyAnswer
    accepted: bool
    lines: int | None = None
    matched: int | None = None
    differences: list[DifferenceView] | None = None
    files: list[str] | None = None
    booked: list[int] | None = None
    recorded_at: str
    log: Log


class ReconciliationList(PageModel):
    """A page of reconciliations."""

    items: list[ReconciliationView]


class UsedLineView(BaseModel):
    """A line of what was spent with a payee. ``started_at`` is when its authorization was asked for; ``model`` and
    ``response_id`` are what the provider answered, and ``quantities`` what was counted, where the gateway made the
    call."""

    index: int
    position: int
    kind: str
    authorization: str | None
    agent: str | None
    budget: str | None
    run: str | None
    category: str | None
    resource: str | None
    amount: MoneyAnswer
    effective_at: str
    started_at: str
    model: str | None
    response_id: str | None
    quantities: dict[str, int] | None


class UsedLineList(PageModel):
    """A page of lines, as the first ``at_size`` records of the log say."""

    at_size: int
    items: list[UsedLineView]
