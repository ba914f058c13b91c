"""Who is who on both sides: the file that says what a provider's keys and models are called in the ledger.

Invariant: a key that the file does not name stays a key of its own, which no call of the ledger's has.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ledger.core.reconciling_booking import Target
from ledger.services.provider_reports import ReportError


@dataclass(frozen=True, slots=True)
class Names:
    """Keys (or projects, or workspaces) to the agent and the budget that use them, and models to the ledger's names."""

    keys: dict[str, Target] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)

    def key_of(self, agent: str, budget: str) -> str:
        """The key that a call of an agent out of a budget was made with; empty where none is named for it. One that
        names both goes before one that names either."""
        fits = [
            (-bool(target.agent) - bool(target.budget), key)
            for key, target in self.keys.items()
            if target.agent in ("", agent) and target.budget in ("", budget)
        ]
        return min(fits)[1] if fits else ""


def read_names(path: Path | None) -> Names:
    """The names in a file. Raises ReportError."""
    if path is None:
        return Names()
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ReportError(f"{path.name}: the names cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(said, dict) or set(said) - {"keys", "models"}:
        raise ReportError(f"{path.name}: it has keys, models, or both, and nothing else")
    keys, models = (_mapping(said.get(name) or {}, f"{path.name}: {name}") for name in ("keys", "models"))
    for model, name in models.items():
        if not isinstance(name, str):
            raise ReportError(f"{path.name}: models: {model} must be the name of a model")
    return Names({key: _target(key, value, path.name) for key, value in keys.items()}, models)


def _mapping(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise ReportError(f"{place} maps names; put names of digits in quotes")
    return value


def _target(key: str, value: Any, name: str) -> Target:
    fields = ("agent", "budget", "category")
    if not isinstance(value, dict) or set(value) - set(fields) or not {"agent", "budget"} & set(value):
        raise ReportError(f"{name}: keys: {key} needs an agent, a budget, or both (and may have a category)")
    if not all(isinstance(item, str) and item for item in value.values()):
        raise ReportError(f"{name}: keys: {key}: agent, budget and category are names")
    return Target(value.get("budget", ""), value.get("agent", ""), value.get("category", ""))
