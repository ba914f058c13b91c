"""Bodies of reversals, of the rules that ask for a second person, and of what waits for one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from api.schemas.answers import Log, MoneyAnswer, Redacted
from api.schemas.fields import Moment, RequestModel, Text
from api.schemas.lists import PageModel
from ledger.core.canonical import INTEGER_BOUND

CorrectionState = Literal["pending", "approved", "refused", "withdrawn", "expired"]
CorrectionOperation = Literal["charge", "refund", "reprice", "adjust", "reverse", "set_correction_rule"]
CurrencyCode = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9._-]{0,63}$", examples=["USD"])]
DecimalText = Annotated[str, Field(max_length=64, examples=["100.00"])]


class ReversalRequest(RequestModel):
    """Undo an adjustment, or what is left of a charge."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"record": 4711, "reason": "booked twice"}]},
    )

    record: (
        Annotated[int, Field(ge=0, lt=INTEGER_BOUND)]
        | Annotated[str, Field(pattern=r"^(?:chg|adj)_[0-9a-z]{26}$", max_length=30)]
    ) = Field(description="Where the record stands in the log, or the id of the charge or adjustment.")
    reason: Annotated[Text, Field(min_length=1)]
    effective_at: Moment | None = None


class CorrectionRuleRequest(RequestModel):
    """From what amount on a correction needs a second person; with ``never`` none does any more."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"currency": "USD", "above": "100.00"}]})

    currency: CurrencyCode
    above: DecimalText | None = Field(
        default=None, description="More than this, alone and on one day, needs a second person. Zero: everything does."
    )
    never: bool = Field(default=False, description="In place of above: nothing needs a second person any more.")
    reason: Text | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> CorrectionRuleRequest:
        if (self.above is None) != self.never:
            raise PydanticCustomError("rule", 'Give either above, or "never": true')
        return self


class CorrectionDecisionRequest(RequestModel):
    """Decide on a correction."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "agrees with the credit note"}]})
    reason: Text | None = None


class CorrectionRuleView(BaseModel):
    """A rule; ``above`` is null where nothing needs a second person any more."""

    currency: str
    above: MoneyAnswer | None
    approved_by: str | None = Field(default=None, description="The second admin, where the rule came to allow more.")
    correction: str | None = None
    log: Log


class CorrectionRuleList(BaseModel):
    """The rules of the book, by currency."""

    items: list[CorrectionRuleView]


class CorrectionResponse(BaseModel):
    """What waits for a second person, or what became of it. ``entry`` is the record that it became."""

    id: str
    operation: CorrectionOperation
    state: CorrectionState
    amounts: list[MoneyAnswer] = Field(description="How much it moves, by currency.")
    requested_by: str
    expires_at: str | None = None
    entry: Log | None = None
    log: Log


class CorrectionView(CorrectionResponse):
    """A correction with what was asked for: ``request`` has the fields of the request that asked, but for free texts.
    ``decision_reason`` is that of whoever approved, refused or withdrew it."""

    request: dict[str, Any]
    requested_at: str
    key_made_by: str = Field(description="Who made the key that it was asked with, and so has no voice in it.")
    reason: str | None = None
    evidence: str | None = None
    decided_at: str | None = None
    decided_by: str | None = None
    decision_reason: str | None = None
    redacted: Redacted = None


class CorrectionList(PageModel):
    """A page of corrections."""

    items: list[CorrectionView]
