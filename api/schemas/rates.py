"""Bodies of rates of exchange, and of what was converted by them."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from api.schemas.answers import Log, MoneyAnswer
from api.schemas.fields import NewName, RequestModel, Text
from ledger.core.command_rates import GIVEN_MAX
from ledger.core.rate import AGE_DAYS_DEFAULT, AGE_DAYS_MAX, MANUAL, day_number

Currency = Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")]
DecimalText = Annotated[str, StringConstraints(min_length=1, max_length=32)]


def _check_day(text: str) -> str:
    try:
        day_number(text)
    except ValueError as error:
        raise PydanticCustomError("day", "Write a day of the calendar such as 2026-11-28") from error
    return text


Day = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"), AfterValidator(_check_day)]
"""A day of the calendar, in the book's time zone."""


class RateGiven(RequestModel):
    """One unit of ``base`` is worth ``rate`` of ``quote``, from ``valid_from`` on."""

    base: Currency
    quote: Currency
    rate: DecimalText = Field(description="Decimal text such as 1.0842; never a JSON number.")
    valid_from: Day


class RatesRequest(RequestModel):
    """Give one rate, or up to 200 ``rates`` of one source. A rate holds from its day on, until one of a later day is
    there or it is ``max_age_days`` old. For a pair and a day that has a rate, this one holds from now on; what was
    converted before stays as it is recorded."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"base": "EUR", "quote": "USD", "rate": "1.0842", "valid_from": "2026-11-27", "source": "treasury"},
                {
                    "rates": [{"base": "EUR", "quote": "USD", "rate": "1.0842", "valid_from": "2026-11-27"}],
                    "source": "ecb",
                },
            ]
        }
    )

    base: Currency | None = None
    quote: Currency | None = None
    rate: DecimalText | None = None
    valid_from: Day | None = None
    rates: Annotated[list[RateGiven], Field(min_length=1, max_length=GIVEN_MAX)] | None = None
    source: NewName = Field(default=MANUAL, description="Where the rates are from; stays readable for good.")
    max_age_days: Annotated[int, Field(ge=0, le=AGE_DAYS_MAX)] = Field(
        default=AGE_DAYS_DEFAULT, description="How long after its day a rate may be used, where no later one is there."
    )
    reason: Text | None = None

    @model_validator(mode="after")
    def _one_form(self) -> RatesRequest:
        one = (self.base, self.quote, self.rate, self.valid_from)
        given = [value for value in one if value is not None]
        if (self.rates is None) == (not given) or (given and len(given) != len(one)):
            raise PydanticCustomError("rates", "Give base, quote, rate and valid_from; or a list of them as rates")
        return self

    def given(self) -> list[RateGiven]:
        """The rates, in whichever form they came."""
        if self.rates is not None:
            return self.rates
        return [
            RateGiven(
                base=self.base or "", quote=self.quote or "", rate=self.rate or "", valid_from=self.valid_from or ""
            )
        ]


class RateSaid(BaseModel):
    """One rate as it was given."""

    base: str
    quote: str
    rate: str
    valid_from: str


class RatesView(BaseModel):
    """The rates that one record gave."""

    id: str
    source: str
    max_age_days: int
    rates: list[RateSaid]
    recorded_at: str
    log: Log


class RateLog(BaseModel):
    """The record that gave a rate."""

    index: int


class RateView(RateSaid):
    """The rate that is there for a pair and a day: the last that was given for it."""

    source: str
    max_age_days: int
    log: RateLog


class RateList(BaseModel):
    """One page of rates, by pair and day."""

    items: list[RateView]
    next_cursor: str | None


class RateUsed(RateSaid):
    """A rate as it was used; ``inverse`` where it was entered the other way round. ``log_index`` is its record."""

    source: str
    inverse: bool
    log_index: int


class ExchangeView(BaseModel):
    """What was asked, where that is another currency than the budget's, with the rates that convert all of it: one, or
    two through EUR. The amounts beside it are in the budget's currency."""

    amount: MoneyAnswer
    approved: MoneyAnswer
    settled: MoneyAnswer
    refunded: MoneyAnswer
    repriced: MoneyAnswer
    rates: list[RateUsed]
