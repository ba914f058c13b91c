"""What is wrong with a policy file, where, and what to change.

Owns the error type and the way from a pydantic error to a sentence for the person who wrote the file. Invariant: every
problem names a place and says what to write instead.
"""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

Path = tuple[str | int, ...]
"""The way to a value: ``("limits", 2, "max")``."""

EVERY: Final = "*"
"""Stands in a path for any position of a list and any key of an object that has no fixed ones."""

PROBLEMS_MAX: Final = 50
_SHOWN_MAX: Final = 60


class Place(NamedTuple):
    """A place in a text; both count from 1, and 0 means that there is no text."""

    line: int = 0
    column: int = 0


class Problem(NamedTuple):
    """One thing that is wrong. ``path`` is written ``limits[2].max`` and is empty for the whole file."""

    path: str
    message: str
    line: int = 0
    column: int = 0

    def sentence(self) -> str:
        """The path, where there is one, and what to change."""
        return f"{self.path}: {self.message}" if self.path else self.message


class PolicyFileError(ValueError):
    """A file that cannot be used.

    ``source`` is the file's name as it was given; ``problems`` are in the order of the file, never empty, at most 50;
    ``line``, ``column``, ``path`` and ``message`` are those of the first.
    """

    def __init__(self, source: str, problems: Iterable[Problem]) -> None:
        self.source = source
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line, problem.column)))[:PROBLEMS_MAX]
        if not self.problems:
            raise ValueError("an error without a problem")
        first = self.problems[0]
        self.line, self.column, self.path, self.message = first.line, first.column, first.path, first.message
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """One line a problem: ``file:line:column: path: what to change``, a form that editors jump to."""
        return [
            f"{self.source}:{problem.line}:{problem.column}: {problem.sentence()}"
            if problem.line
            else f"{self.source}: {problem.sentence()}"
            for problem in self.problems
        ]


def written(path: Path) -> str:
    """A path as people write it: ``limits[2].match.payees[0]``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def shown(value: object) -> str:
    """A value as JSON would write it, cut short."""
    text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    text = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 1] + "…"


def nearest(word: object, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, or None."""
    found = difflib.get_close_matches(str(word)[:80].lower().replace("-", "_"), sorted(known), n=1, cutoff=0.6)
    return found[0] if found else None


class FieldsOf:
    """Which fields each place of a document may have, read off its pydantic model once."""

    def __init__(self, model: type[BaseModel]) -> None:
        self._names: dict[Path, tuple[str, ...]] = {}
        self._add((), model)

    def _add(self, path: Path, model: type[BaseModel]) -> None:
        names = {name: field.alias or name for name, field in model.model_fields.items()}
        self._names[path] = tuple(names.values())
        for name, field in model.model_fields.items():
            for steps, inner in _models_in(field.annotation):
                self._add((*path, names[name], *steps), inner)

    def at(self, path: Path) -> tuple[str, ...]:
        """The names that may stand in the object at ``path``; empty where any may."""
        if path in self._names:
            return self._names[path]
        general = tuple(EVERY if isinstance(step, int) else step for step in path)
        return self._names.get(general) or self._names.get((*general[:-1], EVERY), ())

    def paths(self) -> Mapping[Path, tuple[str, ...]]:
        """Every object of the document with its fields."""
        return self._names


def _models_in(annotation: Any) -> list[tuple[Path, type[BaseModel]]]:
    """The models that an annotation mentions, each with the steps that lead to it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [((), annotation)]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _models_in(arguments[0])
    step: Path = (EVERY,) if origin in (list, dict) else ()
    return [((*step, *steps), model) for part in arguments for steps, model in _models_in(part)]


def problems_of(error: ValidationError, fields: FieldsOf) -> list[tuple[Path, str]]:
    """Every error of pydantic as a path and a sentence that says what to change."""
    return [(_path(detail), _sentence(detail, fields)) for detail in error.errors(include_url=False)[:PROBLEMS_MAX]]


def _path(detail: ErrorDetails) -> Path:
    """Pydantic marks a problem of a key, instead of the value under it, with a last step of its own."""
    path = tuple(detail["loc"])
    return path[:-1] if path[-1:] == ("[key]",) else path


def _sentence(detail: ErrorDetails, fields: FieldsOf) -> str:
    kind, value, path = detail["type"], detail["input"], tuple(detail["loc"])
    if kind == "extra_forbidden":
        return unknown_field(str(path[-1]), fields.at(path[:-1]))
    if kind == "missing":
        return f'the field "{path[-1]}" is missing: add it'
    if kind == "string_type":
        return _not_text(value, str(path[-1]) if path else "")
    if kind in ("int_type", "int_from_float"):
        if isinstance(value, str) and value.strip().lstrip("+-").isdigit():
            return f"{shown(value)} is text: write the whole number without quotes, {value.strip()}"
        return f"{shown(value)} is not a whole number: write one, such as 10"
    if kind == "bool_type":
        return f"{shown(value)} is neither true nor false: write one of the two, without quotes"
    if kind == "literal_error":
        return _not_one_of(value, str(detail["ctx"]["expected"]))
    if kind == "list_type":
        return f"{shown(value)} is not a list: write [{value if isinstance(value, str) else '...'}]"
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        known = ", ".join(fields.at(path))
        return "this must be a set of fields" + (f", of {known}" if known else " such as {key: [value]}")
    return _sentence_of_bounds(detail)


def unknown_field(name: str, known: Iterable[str]) -> str:
    """A field that nobody knows, with the one that was probably meant."""
    names = tuple(known)
    if name == "<<":
        return "merge keys (<<) are not taken: write the fields out"
    meant = nearest(name, names)
    hint = f'did you mean "{meant}"?' if meant else f"remove it; the fields here are {', '.join(names)}"
    return f"unknown field {shown(name)}: {hint}"


def _not_text(value: object, field: str) -> str:
    if isinstance(value, bool | int):
        return f'{shown(value)} without quotes is not text: write {field}: "{shown(value)}"'
    if isinstance(value, list):
        return "one text is wanted here, not a list"
    if isinstance(value, dict):
        return "one text is wanted here, not a set of fields"
    return f'this is not text: write {field}: "..." in quotes'


def _not_one_of(value: object, expected: str) -> str:
    expected = expected.replace("'", "").replace("True", "true")
    words = expected.replace(" or ", ", ").split(", ")
    meant = nearest(value, words)
    hint = f'did you mean "{meant}"? ' if meant and meant != value else ""
    return f"{shown(value)} is not possible here: {hint}write {expected}"


def _sentence_of_bounds(detail: ErrorDetails) -> str:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "greater_than_equal":
        return f"{shown(value)} is too small: write at least {context['ge']}"
    if kind == "less_than_equal":
        return f"{shown(value)} is too large: write at most {context['le']}"
    if kind == "too_short":
        return "this is empty, which would fit nothing: leave the field out, or name at least one"
    if kind == "too_long":
        return f"there are too many here: write at most {context['max_length']}"
    if kind == "string_too_short":
        return "this text is empty: write something, or leave the field out"
    if kind == "string_too_long":
        return f"this text is too long: write at most {context['max_length']} characters"
    if kind == "string_unicode":
        return "this text holds half a character (a lone surrogate): write it again"
    message = str(detail["msg"])
    return message[0].lower() + message[1:]
