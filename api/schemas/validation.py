"""From a body's bytes to a request model, or to the problem that says which field to change.

Owns the translation of pydantic's errors into problems. Invariant: whatever the bytes, the result is a model or a
``ProblemError``; no input is quoted back beyond the name of a field.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from api.problems import EDGE_ROWS, ProblemError
from api.schemas.duplicates import refuse_duplicates
from api.schemas.fields import NAME_LIKE_AN_ID, NAME_LIKE_AN_ID_SENTENCE, RequestModel

Model = TypeVar("Model", bound=RequestModel)
ERRORS_SHOWN_MAX: Final = 20
_FIELD_NAME_SHOWN_MAX: Final = 64
_NUMBER_SENTENCE: Final = 'Amounts are text: write "12.50" and not 12.50'


def parse_body(model: type[Model], body: bytes) -> Model:
    """The model that a body's bytes stand for. Raises ProblemError."""
    try:
        parsed = model.model_validate_json(body)
    except ValidationError as error:
        raise problem_of(error.errors(include_url=False, include_context=False)) from None
    refuse_duplicates(body, parsed.members())
    return parsed


def problem_of(errors: Sequence[Any]) -> ProblemError:
    """The problem for pydantic's errors: the first one gives the code, all of them the pointers."""
    shown = [_shown(error) for error in errors[:ERRORS_SHOWN_MAX]]
    first = shown[0]
    code = first["code"]
    facts = {} if code in ("malformed_json", "json_too_deep") else {"errors": shown}
    where = first["pointer"]
    detail = f"{where}: {first['detail']}" if where else first["detail"]
    return ProblemError(code if code in EDGE_ROWS else "validation_failed", detail, facts=facts)


def name_like_an_id(field: str) -> ProblemError:
    """The problem of a field that gives a name with the form of an id."""
    return problem_of([{"type": NAME_LIKE_AN_ID, "loc": (field,), "msg": NAME_LIKE_AN_ID_SENTENCE}])


def pointer(location: Sequence[Any]) -> str:
    """The JSON pointer (RFC 6901) of a pydantic location, names cut to a sane length."""
    return "".join(
        "/" + str(part)[:_FIELD_NAME_SHOWN_MAX].replace("~", "~0").replace("/", "~1")
        for part in location
        if part != "[key]"
    )


def _shown(error: Any) -> dict[str, str]:
    code, detail = _said(error)
    return {"pointer": pointer(error["loc"]), "code": code, "detail": detail}


def _said(error: Any) -> tuple[str, str]:
    """(code, sentence) of one pydantic error."""
    kind, value, location = error["type"], error.get("input"), error["loc"]
    message = str(error["msg"])
    if kind == "json_invalid":
        if "recursion" in message:
            return "json_too_deep", EDGE_ROWS["json_too_deep"].advice
        return "malformed_json", "The body is not JSON" + message.removeprefix("Invalid JSON")
    if kind == "extra_forbidden":
        return "unknown_field", "There is no such field"
    if location and location[-1] == "amount" and isinstance(value, (int, float)):
        return "amount_not_text", _NUMBER_SENTENCE
    if kind == "too_deep":
        return "json_too_deep", message
    if kind == "control_characters" or (
        kind == "string_pattern_mismatch" and any(character < " " or character == "\x7f" for character in str(value))
    ):
        return "control_characters", "Remove the control characters"
    if kind == "too_long" and location == ("items",):
        return "batch_too_large", EDGE_ROWS["batch_too_large"].advice
    if kind == "missing":
        return "validation_failed", "This is required" if message == "Field required" else message
    if kind == "string_pattern_mismatch":
        return "validation_failed", "This text has characters or a length that are not allowed here"
    return "validation_failed", message
