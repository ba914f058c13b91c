"""Policy documents for tests, and answers that must be whole."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

TEAM = {"team": "team-of-crawler"}


def policy(name: str = "caps", **fields: Any) -> dict[str, Any]:
    """A document for the team of agent ``crawler``; without limits unless some are given."""
    return {"policy": name, "applies_to": TEAM, "currency": "USD"} | fields


def day(maximum: str = "10.00", **fields: Any) -> dict[str, Any]:
    """A limit a day, with the id ``day``."""
    return {"id": "day", "per": "day", "max": maximum} | fields


def declared(model: type[BaseModel], content: Any) -> None:
    """The content is what the model documents: nothing is missing, and nothing is there that it does not name, at any
    depth."""
    parsed = model.model_validate(content)
    _same(parsed.model_dump(mode="json", by_alias=True, exclude_unset=True), content, model.__name__)


def _same(dumped: Any, content: Any, path: str) -> None:
    if isinstance(content, dict):
        undeclared = set(content) - set(dumped)
        if undeclared:
            raise AssertionError(f"{path} does not document {sorted(undeclared)}")
        for name, value in content.items():
            _same(dumped[name], value, f"{path}.{name}")
    elif isinstance(content, list):
        for one, other in zip(dumped, content, strict=True):
            _same(one, other, f"{path}[]")
    elif dumped != content:
        raise AssertionError(f"{path}: {dumped!r} is not {content!r}")
