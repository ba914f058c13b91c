"""docs/gateway.md says what the code does: every field, header, outcome, attribute and measurement, and no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from gateway.config import GatewayConfig, Provider, load_config
from gateway.facts import OUTCOMES
from gateway.said import Said
from tests.support.documents import table_under

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "gateway.md").read_text(encoding="utf-8")
NAME = re.compile(r'"((?:gen_ai|bursar|server|http|error)\.[a-z_.]+)"')


def shown(model: type[BaseModel]) -> dict[str, Any]:
    """Each field with its default as the page writes it, where it is a plain value."""
    return {
        name: str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
        for name, field in model.model_fields.items()
        if isinstance(field.default, str | int | float)
    }


@pytest.mark.parametrize(("model", "column"), [(GatewayConfig, "field"), (Provider, "provider field")])
def test_the_page_shows_every_field(model: type[BaseModel], column: str) -> None:
    rows = table_under("gateway.md", column)
    assert [row[column] for row in rows] == list(model.model_fields)
    said = {row[column]: row["default"] for row in rows}
    assert {name: said[name] for name in shown(model)} == shown(model)


def test_the_example_can_be_used(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    path = tmp_path / "gateway.yaml"
    path.write_text(example, encoding="utf-8")
    config = load_config(path)
    assert list(config.providers) == ["openai", "anthropic", "groq", "azure", "local"]
    assert config.prices == tmp_path / "prices.yaml"


def test_the_page_shows_every_header_that_a_client_can_send() -> None:
    rows = table_under("gateway.md", "request header")
    assert [row["request header"] for row in rows] == [f"x-bursar-{name}" for name in Said.__dataclass_fields__]


def test_the_page_shows_every_outcome() -> None:
    rows = table_under("gateway.md", "outcome")
    assert {row["outcome"]: row["meaning"] for row in rows} == OUTCOMES


def test_the_page_shows_every_attribute_and_measurement() -> None:
    source = (ROOT / "gateway" / "telemetry.py").read_text(encoding="utf-8")
    attributes = {
        name for row in table_under("gateway.md", "attribute") for name in re.findall(r"[a-z_.]{5,}", row["attribute"])
    }
    measured = {row["measurement"] for row in table_under("gateway.md", "measurement")}
    # Which a measurement has beside those of spans, and the scope.
    assert attributes | measured | {"gen_ai.token.type", "bursar.gateway"} == set(NAME.findall(source))
