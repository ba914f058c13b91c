"""Typed reading of the fields that a bound depends on.

Invariant: a field is either of the type that the provider documents, or absent, or null where the provider takes null
for absent; anything else is refused in the words of that provider, and never guessed.
"""

from collections.abc import Mapping
from typing import Any

from gateway.estimate.request import RequestInvalid

# Far above any model's output, and far below what would overflow an amount.
LARGEST_COUNT = 2**31 - 1
# What is known of a model is kept by its name, so a name must not be a way to fill memory.
LONGEST_MODEL_CHARACTERS = 256

_KINDS: dict[type, tuple[str, str]] = {
    bool: ("a boolean", "a valid boolean"),
    dict: ("an object", "a valid dictionary"),
    float: ("a decimal number", "a valid number"),
    int: ("an integer", "a valid integer"),
    list: ("an array", "a valid list"),
    str: ("a string", "a valid string"),
}


class Fields:
    """One object of a request: ``path`` is where it stands, ``claude`` whether Anthropic's words are used."""

    __slots__ = ("claude", "path", "values")

    def __init__(self, values: Mapping[str, Any], *, path: str = "", claude: bool = False) -> None:
        self.values = values
        self.path = path
        self.claude = claude

    def optional(self, name: str, kind: type) -> Any:
        """The value, or None where it is absent or null. Raises RequestInvalid where it has another type."""
        value = self.values.get(name)
        if value is not None and type(value) is not kind:
            raise self.wrong_type(name, kind)
        return value

    def required(self, name: str, kind: type) -> Any:
        """The value. Raises RequestInvalid where it is absent, null or of another type."""
        value = self.values.get(name)
        if type(value) is kind:
            return value
        if value is None:
            raise self.missing(name)
        raise self.wrong_type(name, kind)

    def count(self, name: str, *, least: int) -> int | None:
        """An integer from ``least`` to 2^31 - 1, or None."""
        value = self.optional(name, int)
        if value is not None and not least <= value <= LARGEST_COUNT:
            param = self._param(name)
            if self.claude:
                raise RequestInvalid(f"{param}: must be from {least} to {LARGEST_COUNT}", param=param)
            raise RequestInvalid(
                f"Invalid '{param}': expected a value from {least} to {LARGEST_COUNT}, but got {value} instead.",
                param=param,
            )
        return int(value) if value is not None else None

    def wrong_type(self, name: str, kind: type) -> RequestInvalid:
        """The refusal for a value of another type, as the provider words it."""
        param = self._param(name)
        expected, input_should_be = _KINDS[kind]
        if self.claude:
            return RequestInvalid(f"{param}: Input should be {input_should_be}", param=param)
        got = _KINDS.get(type(self.values.get(name)), ("null", ""))[0]
        return RequestInvalid(f"Invalid type for '{param}': expected {expected}, but got {got} instead.", param=param)

    def missing(self, name: str) -> RequestInvalid:
        """The refusal for a field that must be there."""
        param = self._param(name)
        if self.claude:
            return RequestInvalid(f"{param}: Field required", param=param)
        return RequestInvalid(f"Missing required parameter: '{param}'.", param=param)

    def _param(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name


def model_in(fields: Fields) -> str:
    """The model asked for. Raises RequestInvalid where it is missing, empty, or longer than any name is."""
    model: str = fields.required("model", str)
    if not 0 < len(model) <= LONGEST_MODEL_CHARACTERS:
        message = f"model: must have from 1 to {LONGEST_MODEL_CHARACTERS} characters"
        raise RequestInvalid(message, param="model")
    return model


def objects_in(fields: Fields, name: str) -> list[dict[str, Any]]:
    """The array of objects under this name; empty where it is absent or null. Raises RequestInvalid for anything
    else."""
    found: list[Any] = fields.optional(name, list) or []
    for index, item in enumerate(found):
        if type(item) is not dict:
            place = f"{name}.{index}" if fields.claude else f"{name}[{index}]"
            raise Fields({place: item}, path=fields.path, claude=fields.claude).wrong_type(place, dict)
    return found
