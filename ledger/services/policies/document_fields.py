"""The kinds of value in a policy: names, amounts, globs, durations, times of day.

Owns their grammar, what is written for each in the canonical form, and how an editor is told about them. Invariant: no
kind takes a float, and what a kind lets through is bounded and has no control character.
"""

from __future__ import annotations

import re
import zoneinfo
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from ledger.core.conditions import LONGEST_EXPRESSION
from ledger.core.ids import is_name
from ledger.core.money import UNIT_DIGITS_MAX, MoneyError, currency_digits, parse_atoms
from ledger.core.windows import is_timezone
from ledger.services.policies.document_errors import nearest, shown

LIST_MAX: Final = 500
GLOB_LENGTH_MAX: Final = 256
LABELS_MAX: Final = 16
SECONDS_MAX: Final = 30 * 86_400
APPROVAL_SECONDS_MIN: Final = 60

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
APPROVER_ROLES: Final = ("approver", "finance", "admin")
COUNTED_BY: Final = ("agent", "run", "payee", "category", "resource")

_NAME: Final = "[a-z0-9][a-z0-9._-]{0,63}"
_LABEL: Final = "[A-Za-z0-9][A-Za-z0-9._/-]{0,63}"
_AMOUNT: Final = re.compile(r"(?:0|[1-9][0-9]{0,63})(?:\.[0-9]{1,64})?")
_CURRENCY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DURATION: Final = re.compile(r"([0-9]{1,9})(s|m|h|d)")
_CLOCK: Final = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")
_NOT_ONE_LINE: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
# A lone surrogate has no UTF-8, so no canonical bytes either.
_NOT_TEXT: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_SECONDS_OF: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class StrictModel(BaseModel):
    """What every part of a policy is: strict types, no field that is not declared, and no change once read."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, validate_by_name=False)


def wrong(sentence: str) -> PydanticCustomError:
    """A problem in the value at hand; the sentence says what to write."""
    # Pydantic would read braces in the sentence as places to fill in.
    return PydanticCustomError("policy", "{sentence}", {"sentence": sentence})


def _slug(text: str) -> str:
    if not is_name(text):
        raise wrong(
            f"{shown(text)} is not a name: write lower-case letters, digits and . _ - (64 at most, a letter or digit "
            "first), and not an id"
        )
    return text


def _glob(text: str) -> str:
    if not text or len(text) > GLOB_LENGTH_MAX or _NOT_ONE_LINE.search(text):
        raise wrong(f'write 1 to {GLOB_LENGTH_MAX} characters on one line, such as "gpt-5*" or "*"')
    return text


def _amount(text: str) -> str:
    if _AMOUNT.fullmatch(text) is None:
        raise wrong(
            f"{shown(text)} is not an amount: write plain decimal text that is not negative{_amount_hint(text)}"
        )
    return text


def _amount_hint(text: str) -> str:
    if "," in text or "_" in text:
        return ', without separators, such as "1000.00"'
    if re.search("[A-Za-z$€£]", text):
        return ', such as "5.00"; the currency has a field of its own, currency: USD'
    return ', such as "5.00"'


def _currency(text: str) -> str:
    if currency_digits(text) is not None:
        return text
    if currency_digits(text.upper()) is not None:
        raise wrong(f"{shown(text)} is not a currency: write it in capitals, {text.upper()}")
    if _CURRENCY.fullmatch(text) is None or re.fullmatch("[A-Z]{3}", text):
        raise wrong(f"{shown(text)} is not a currency: write an ISO 4217 code such as USD, or a unit of the book")
    return text


def _timezone(text: str) -> str:
    if not is_timezone(text):
        names = {name.lower(): name for name in zoneinfo.available_timezones()}
        meant = nearest(text, names)
        hint = f"did you mean {names[meant]}?" if meant else "write an IANA name such as Europe/Paris or UTC"
        raise wrong(f"{shown(text)} is not a known time zone: {hint}")
    return text


def _duration(value: Any) -> Any:
    """Seconds of "90s", "10m", "1h", "2d"; a whole number is seconds already."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise wrong(f'{shown(value)} is not a duration: write "90s", "10m", "1h", "2d" or a number of seconds')
    if isinstance(value, int):
        return value
    found = _DURATION.fullmatch(value)
    if found is None:
        raise wrong(f'{shown(value)} is not a duration: write "90s", "10m", "1h", "2d" or a number of seconds')
    return int(found[1]) * _SECONDS_OF[found[2]]


def _within(least: int, most: int, sentence: str) -> AfterValidator:
    def check(seconds: int) -> int:
        if not least <= seconds <= most:
            raise wrong(f"{seconds} seconds are not possible here: write {sentence}")
        return seconds

    return AfterValidator(check)


def _start_of_hours(text: str) -> str:
    if _CLOCK.fullmatch(text) is None:
        raise wrong(f'{shown(text)} is not a time of day: write two digits each, such as "07:00"')
    return text


def _end_of_hours(text: str) -> str:
    return text if text == "24:00" else _start_of_hours(text)


def _in_week_order(days: list[str]) -> list[str]:
    return sorted(_unique(days), key=DAYS.index)


def _unique(words: list[str]) -> list[str]:
    seen: set[str] = set()
    for word in words:
        if word in seen:
            raise wrong(f"{shown(word)} stands here twice: write it once")
        seen.add(word)
    return words


def _one_or_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _counted_by(text: str) -> str:
    if text in COUNTED_BY or re.fullmatch(rf"label\.{_LABEL}", text):
        return text
    meant = nearest(text, COUNTED_BY)
    hint = f"did you mean {meant}? " if meant else ""
    raise wrong(f"{shown(text)} cannot be counted by: {hint}write {', '.join(COUNTED_BY)} or label.KEY")


def _approver(text: str) -> str:
    if text in APPROVER_ROLES or (text.startswith("person:") and is_name(text.removeprefix("person:"))):
        return text
    meant = nearest(text, APPROVER_ROLES)
    hint = f"did you mean {meant}? " if meant else ""
    raise wrong(f"{shown(text)} cannot approve: {hint}write {', '.join(APPROVER_ROLES)} or person:NAME")


def _text(text: str) -> str:
    if _NOT_TEXT.search(text):
        raise wrong(
            "there is a control character or half a character in this text: remove it (line feeds and tabs are fine)"
        )
    return text


def _label(text: str) -> str:
    if re.fullmatch(_LABEL, text) is None:
        raise wrong(f"{shown(text)} is not a label: write letters, digits and . _ / - (64 at most)")
    return text


def _described(**schema: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", **schema})


Slug = Annotated[str, AfterValidator(_slug), _described(pattern=f"^{_NAME}$")]
"""A name: ``[a-z0-9][a-z0-9._-]*``, at most 64 characters, and not of the form of an id."""
Glob = Annotated[str, AfterValidator(_glob), _described(minLength=1, maxLength=GLOB_LENGTH_MAX)]
"""A pattern: ``*`` any characters, ``?`` one character, ``[...]`` one of these; case does not matter."""
AmountText = Annotated[
    str, AfterValidator(_amount), _described(pattern=r"^(0|[1-9][0-9]{0,63})(\.[0-9]{1,64})?$", examples=["5.00"])
]
"""An amount that is not negative, as decimal text."""
CurrencyCode = Annotated[str, AfterValidator(_currency), _described(pattern=f"^{_CURRENCY.pattern}$", examples=["USD"])]
TimeZone = Annotated[str, AfterValidator(_timezone), _described(examples=["Europe/Paris", "UTC"])]
StartOfHours = Annotated[str, AfterValidator(_start_of_hours), _described(pattern=f"^{_CLOCK.pattern}$")]
EndOfHours = Annotated[str, AfterValidator(_end_of_hours), _described(pattern=f"^(?:{_CLOCK.pattern}|24:00)$")]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Days = Annotated[
    list[Day],
    Field(min_length=1, max_length=len(DAYS), json_schema_extra={"uniqueItems": True}),
    AfterValidator(_in_week_order),
]
"""Days of the week, each once; the canonical form has them from Monday on."""
Globs = Annotated[list[Glob], Field(min_length=1, max_length=LIST_MAX)]
LabelName = Annotated[str, AfterValidator(_label), _described(pattern=f"^{_LABEL}$")]
Labels = Annotated[dict[LabelName, Globs], Field(min_length=1, max_length=LABELS_MAX)]
_KEY_SCHEMA: Final[dict[str, Any]] = {
    "anyOf": [{"enum": list(COUNTED_BY)}, {"type": "string", "pattern": rf"^label\.{_LABEL}$"}]
}
CountedBy = Annotated[
    list[Annotated[str, AfterValidator(_counted_by)]],
    Field(max_length=8),
    AfterValidator(_unique),
    BeforeValidator(_one_or_list),
    WithJsonSchema({"anyOf": [_KEY_SCHEMA, {"type": "array", "maxItems": 8, "items": _KEY_SCHEMA}]}),
]
"""One word or a list of them; the canonical form has a list."""
_APPROVER_SCHEMA: Final[dict[str, Any]] = {
    "anyOf": [{"enum": list(APPROVER_ROLES)}, {"type": "string", "pattern": f"^person:{_NAME}$"}]
}
Approvers = Annotated[
    list[Annotated[str, AfterValidator(_approver)]],
    Field(min_length=1, max_length=32),
    AfterValidator(_unique),
    BeforeValidator(_one_or_list),
    WithJsonSchema(
        {"anyOf": [_APPROVER_SCHEMA, {"type": "array", "minItems": 1, "maxItems": 32, "items": _APPROVER_SCHEMA}]}
    ),
]
"""One approver or a list of them; the canonical form has a list."""


def _duration_schema(least: int) -> WithJsonSchema:
    text = {"type": "string", "pattern": f"^{_DURATION.pattern}$"}
    seconds = {"type": "integer", "minimum": least, "maximum": SECONDS_MAX}
    return WithJsonSchema({"anyOf": [text, seconds], "examples": ["10m", "1h", "2d"]})


Duration = Annotated[
    int, _within(1, SECONDS_MAX, '1 second to 30 days, such as "10m"'), BeforeValidator(_duration), _duration_schema(1)
]
"""1 second to 30 days: "90s", "10m", "1h", "2d" or seconds; the canonical form has seconds."""
ApprovalDuration = Annotated[
    int,
    _within(APPROVAL_SECONDS_MIN, SECONDS_MAX, '1 minute to 30 days, such as "24h"'),
    BeforeValidator(_duration),
    _duration_schema(APPROVAL_SECONDS_MIN),
]
"""1 minute to 30 days."""
Description = Annotated[str, StringConstraints(min_length=1, max_length=2000), AfterValidator(_text)]
Expression = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_EXPRESSION), AfterValidator(_text)]


def check_amount(text: str, currency: str) -> str | None:
    """Why an amount cannot be one of this currency (too many digits, too large), or None when it can.

    A unit of the book may have any scale, which only the book knows: the finest possible is assumed here.
    """
    digits = currency_digits(currency)
    try:
        parse_atoms(text, UNIT_DIGITS_MAX if digits is None else digits)
    except MoneyError as error:
        return f"{error} of {currency}: write a {'shorter' if error.code == 'digits' else 'smaller'} amount"
    return None
