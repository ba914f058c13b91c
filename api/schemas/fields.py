"""The fields that requests share: strict types with every length, depth and alphabet bounded.

Owns the request base model and the types of amounts, names, texts, labels and evidence. Invariant: what these types
let through has no control character but tab and line feed, is bounded in length, and leaves every question about money
(currency, scale, sign, size) to the core.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Final

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from ledger.core import metering
from ledger.core.authorization import TTL_SECONDS_MAX
from ledger.core.ids import is_name, is_run_name
from ledger.core.moment import moment_of
from ledger.core.run import SCORE_DIGITS, SCORE_SCALE

TEXT_LENGTH_MAX: Final = 2000
EVIDENCE_BYTES_MAX: Final = 8192
EVIDENCE_DEPTH_MAX: Final = 8
LABELS_MAX: Final = 16
NAME_LIKE_AN_ID: Final = "name_like_an_id"
NAME_LIKE_AN_ID_SENTENCE: Final = "This has the form of an id; choose a name that cannot be taken for one"
EFFECTIVE_AT_MIN: Final = 0
EFFECTIVE_AT_MAX: Final = 4_102_444_800_000_000
"""The start of the year 2100."""

_ID: Final = "[a-z]{3,4}_[0-9a-z]{26}"
_NAME: Final = "[a-z0-9][a-z0-9._-]{0,63}"
_RUN: Final = "[A-Za-z0-9][A-Za-z0-9._:-]{0,127}"


class RequestModel(BaseModel):
    """What every request body is: strict types, and no field that is not declared."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=False)

    def members(self) -> int:
        """How many members the JSON of this request has, at every level together, or fewer: a body with more may name
        one twice (``schemas.duplicates``)."""
        return len(self.__pydantic_fields_set__)


class Amount(RequestModel):
    """An amount of money, or of a unit of the book, as exact decimal text."""

    amount: Annotated[str, StringConstraints(min_length=1, max_length=64)] = Field(
        description="Decimal text such as 0.0125; never a JSON number.", examples=["0.0500"]
    )
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = Field(
        description="ISO 4217 code, or the name of a unit of the book.", examples=["USD"]
    )


def _not_an_id(text: str) -> str:
    if not is_name(text):
        raise _like_an_id()
    return text


def _run_not_an_id(text: str) -> str:
    if not is_run_name(text):
        raise _like_an_id()
    return text


def _like_an_id() -> PydanticCustomError:
    return PydanticCustomError(NAME_LIKE_AN_ID, NAME_LIKE_AN_ID_SENTENCE)


Name = Annotated[str, StringConstraints(pattern=f"^{_NAME}$")]
"""A name where no id exists: ``[a-z0-9][a-z0-9._-]*``, at most 64 characters."""
NewName = Annotated[Name, AfterValidator(_not_an_id)]
"""A name that is being given: it cannot be taken for an id."""
Reference = Annotated[str, StringConstraints(pattern=f"^(?:{_NAME}|{_ID})$")]
"""A name or an id."""
RunName = Annotated[str, StringConstraints(pattern=f"^{_RUN}$"), AfterValidator(_run_not_an_id)]
"""The name that a run is being given."""
RunReference = Annotated[str, StringConstraints(pattern=f"^(?:{_RUN}|{_ID})$")]
AccountName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._:-]{0,199}$")]
Line = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""One line of text."""
Fingerprint = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""What a client says makes two requests the same."""
Text = Annotated[str, StringConstraints(max_length=TEXT_LENGTH_MAX, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$")]
"""Text in which tabs and line feeds are allowed."""
LabelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}$")]
Metering = Annotated[
    dict[
        Annotated[str, StringConstraints(pattern=metering.NAME_PATTERN)],
        Annotated[str, StringConstraints(max_length=metering.VALUE_LENGTH_MAX, pattern=metering.VALUE_PATTERN)],
    ],
    Field(max_length=metering.PAIRS_MAX),
]
"""What a cost was made from, or what a price was: short texts that stay in the log for good."""
Labels = Annotated[dict[LabelName, Line], Field(max_length=LABELS_MAX)]
TimeToLive = Annotated[int, Field(ge=1, le=TTL_SECONDS_MAX)]
WaitSeconds = Annotated[int, Field(ge=0, le=30)]


def _score_millionths(value: Any) -> Any:
    """Millionths of a score, which comes as a number of JSON or as decimal text."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise PydanticCustomError("score", SCORE_SENTENCE)
    # The shortest text that stands for a number is what its sender wrote, as far as six digits go.
    text = value if isinstance(value, str) else format(Decimal(str(value)), "f")
    found = re.fullmatch(r"(0|1)(?:\.([0-9]{1,6})0*)?", text)
    if found is None:
        raise PydanticCustomError("score", SCORE_SENTENCE)
    millionths = int(found[1]) * SCORE_SCALE + int((found[2] or "").ljust(SCORE_DIGITS, "0"))
    if millionths > SCORE_SCALE:
        raise PydanticCustomError("score", SCORE_SENTENCE)
    return millionths


SCORE_SENTENCE: Final = "A score is from 0 to 1, with at most 6 digits after the point, such as 0.8"
Score = Annotated[
    int,
    BeforeValidator(_score_millionths),
    Field(
        json_schema_extra={
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": 1},
                {"type": "string", "pattern": r"^(0(\.[0-9]{1,6})?|1(\.0{1,6})?)$"},
            ]
        }
    ),
]
"""A score from 0 to 1 in the request, millionths inside."""


def _depth(value: Any, allowed: int) -> bool:
    """Whether ``value`` nests at most ``allowed`` levels of objects and arrays."""
    if not isinstance(value, (dict, list)):
        return True
    if allowed == 0:
        return False
    inner = value.values() if isinstance(value, dict) else value
    return all(_depth(item, allowed - 1) for item in inner)


def _evidence_text(value: Any) -> Any:
    if not isinstance(value, dict):
        raise PydanticCustomError("evidence_type", "Evidence is a JSON object")
    if not _depth(value, EVIDENCE_DEPTH_MAX):
        raise PydanticCustomError("too_deep", f"Evidence nests at most {EVIDENCE_DEPTH_MAX} levels")
    try:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except (TypeError, ValueError) as error:
        raise PydanticCustomError("evidence_type", "Evidence holds a value that JSON cannot carry") from error
    if len(text) > EVIDENCE_BYTES_MAX:
        raise PydanticCustomError("too_long", f"Evidence is at most {EVIDENCE_BYTES_MAX} bytes of JSON")
    if b"\\u0000" in text:
        raise PydanticCustomError("control_characters", "Evidence holds a NUL character")
    return text.decode()


Evidence = Annotated[
    str,
    BeforeValidator(_evidence_text),
    Field(
        json_schema_extra={"type": "object", "additionalProperties": True},
        description=f"A JSON object of at most {EVIDENCE_BYTES_MAX} bytes, {EVIDENCE_DEPTH_MAX} levels deep.",
    ),
]
"""A JSON object in the request, JSON text with sorted keys inside."""


def _check_moment(text: str) -> str:
    if not EFFECTIVE_AT_MIN <= moment(text) <= EFFECTIVE_AT_MAX:
        raise PydanticCustomError("moment", "Use a moment between the years 1970 and 2100")
    return text


def moment(text: str) -> int:
    """Microseconds since 1970 UTC of a date or an RFC 3339 moment; raises a validation error."""
    try:
        return moment_of(f"{text}T00:00:00Z" if len(text) == 10 else text)
    except (ValueError, OverflowError) as error:
        raise PydanticCustomError(
            "moment", "Write a date such as 2026-11-01 or a moment such as 2026-11-01T10:00:00Z"
        ) from error


Moment = Annotated[
    str, StringConstraints(min_length=10, max_length=40, pattern=r"^[0-9TtZz:.+-]*$"), AfterValidator(_check_moment)
]
"""A date (midnight UTC) or an RFC 3339 moment with its offset."""


def moment_or_none(text: str | None) -> int | None:
    """Microseconds of a moment that was validated, None for None."""
    return None if text is None else moment(text)
