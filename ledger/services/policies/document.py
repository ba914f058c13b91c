"""A policy document: read from a file or from JSON, checked, and written in the form that the log keeps.

Owns the ways in and out. Invariant: a ``PolicyDocument`` that ``load_policy`` or ``document_from_json`` returned is
well formed and has one canonical form: reading that form again gives the same form, so its digest names its meaning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pydantic import ConfigDict, ValidationError, field_validator

from ledger.core.canonical import canonical_bytes, digest_hex
from ledger.services.policies import document_checks
from ledger.services.policies.document_errors import (
    FieldsOf,
    Path,
    Place,
    PolicyFileError,
    Problem,
    problems_of,
    shown,
    written,
)
from ledger.services.policies.document_rules import PolicyFields
from ledger.services.policies.document_yaml import BYTES_MAX, DEPTH_MAX, YamlText

__all__ = ["BYTES_MAX", "PolicyDocument", "PolicyFileError", "Problem", "document_from_json", "load_policy"]

_JSON_SOURCE: Final = "document"
_EXAMPLES: Final[list[dict[str, Any]]] = [
    {
        "policy": "research-agents",
        "applies_to": {"team": "research"},
        "currency": "USD",
        "allow": {"categories": ["inference", "search"], "payees": ["openai", "anthropic"]},
        "limits": [
            {"id": "each", "per": "authorization", "max": "5.00"},
            {"id": "day", "per": "day", "max": "50.00"},
            {"id": "rate", "per": "minute", "rolling": True, "max_count": 60, "by": "agent"},
        ],
        "approval": [{"above": "2.00", "approvers": ["finance"], "expires_after": "1h"}],
        "loops": {"same_request": 10, "within": "10m"},
    },
    {
        "policy": "no-spend",
        "applies_to": {"agent": "reader"},
        "currency": "USD",
        "limits": [{"id": "none", "per": "lifetime", "max": "0", "max_count": 0}],
    },
]


class PolicyDocument(PolicyFields):
    """A policy: who may spend what, and who must be asked."""

    model_config = ConfigDict(json_schema_extra={"examples": list(_EXAMPLES)})

    @field_validator("approval", mode="before")
    @classmethod
    def _name_approval_rules(cls, rules: Any) -> Any:
        """A rule without an id gets one by its position."""
        if not isinstance(rules, list):
            return rules
        return [
            {"id": f"approval-{position}", **rule} if isinstance(rule, dict) else rule
            for position, rule in enumerate(rules, start=1)
        ]

    def canonical(self) -> dict[str, Any]:
        """The document as the log keeps it: a JSON object without floats and nulls, defaults that have a meaning
        written out, and a field that is not set absent."""
        plain: dict[str, Any] = self.model_dump(by_alias=True, exclude_none=True)
        for name in ("limits", "approval", "when"):
            if not plain[name]:
                del plain[name]
        _drop_unset(plain, "shadow")
        for rule in (*plain.get("limits", ()), *plain.get("approval", ())):
            _drop_unset(rule, "rolling")
            _drop_unset(rule, "by")
        return plain

    def digest(self) -> str:
        """SHA-256, in hex, of the canonical bytes: what a decision names beside the policy's name and version."""
        return digest_hex(self.canonical())


FIELDS: Final = FieldsOf(PolicyDocument)


def _drop_unset(plain: dict[str, Any], name: str) -> None:
    if not plain.get(name, True):
        del plain[name]


def load_policy(text: str, *, source: str) -> PolicyDocument:
    """Read a policy file.

    ``text`` is YAML (JSON is YAML too), at most 256 KiB; ``source`` is the file's name, which errors begin with. Raises
    PolicyFileError with every problem, its line and column, and what to change.
    """
    read = YamlText(text, source=source)
    return _checked(read.data, source, read.place)


def document_from_json(value: object) -> PolicyDocument:
    """Check a policy that came as JSON: the canonical form, or what a file may say, with the same checks.

    ``value`` is what a JSON parser returned. Raises PolicyFileError, whose problems have a path and no line.
    """
    problems = list(_foreign(value, (), DEPTH_MAX))
    if problems:
        raise PolicyFileError(_JSON_SOURCE, [Problem(written(path), message) for path, message in problems])
    return _checked(value, _JSON_SOURCE, lambda path: Place())


def _checked(value: Any, source: str, place: Callable[[Path], Place]) -> PolicyDocument:
    def refuse(found: list[tuple[Path, str]]) -> PolicyFileError:
        return PolicyFileError(source, [Problem(written(path), message, *place(path)) for path, message in found])

    if not isinstance(value, dict):
        raise refuse([((), f"a policy is a set of fields, not {shown(value)}: begin with policy: NAME")])
    try:
        document = PolicyDocument.model_validate(value)
    except ValidationError as error:
        raise refuse(problems_of(error, FIELDS)) from error
    found = list(document_checks.check(document))
    if found:
        raise refuse(found)
    size = len(canonical_bytes(document.canonical()))
    if size > BYTES_MAX:
        raise refuse(
            [((), f"the policy comes to {size} bytes: at most {BYTES_MAX} are taken, so split it into several")]
        )
    return document


def _foreign(value: object, path: Path, deeper: int) -> list[tuple[Path, str]]:
    """What JSON can say and no policy may: null, a number with a point, an abyss. (The YAML reader does the same.)"""
    if value is None:
        return [(path, "null is not taken: give a value, or leave the field out")]
    if isinstance(value, dict | list):
        if deeper == 0:
            return [(path, f"this nests deeper than {DEPTH_MAX} levels")]
        steps = value.items() if isinstance(value, dict) else enumerate(value)
        return [problem for step, inner in steps for problem in _foreign(inner, (*path, step), deeper - 1)]
    if not isinstance(value, str | int):
        name = path[-1] if path and isinstance(path[-1], str) else "value"
        return [(path, f'{shown(value)} is a binary fraction: write it as text, "{name}": "{shown(value)}"')]
    return []
