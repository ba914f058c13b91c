"""The client as a distribution: what it offers, who of ours stands on it, and what it needs."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

import bursar
from tests.house.test_rules import imported_modules, python_files, tree_of

ROOT = Path(__file__).resolve().parents[2]
PUBLIC = {
    *("CannotAsk", "Refused", "Remote", "name_in_environment", "remote", "remote_options"),
    *("report_outcome", "report_outcome_async"),
}
MAY_USE_IT = (Path("ledger/cli"), Path("gateway/cli"))
# The demo starts the command where it is not installed as a program, in another process and not by an import.
OURS = python_files("ledger", "gateway", "api", "migrations")


def uses(path: Path) -> list[str]:
    """What a file imports of the client, as module or module.name."""
    found = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found += [name for name in imported_modules(node) if name.partition(".")[0] == "bursar"]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "bursar":
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def test_the_public_surface_is_what_it_says() -> None:
    """A name more is a promise more."""
    assert set(bursar.__all__) == PUBLIC
    assert all(getattr(bursar, name) is not None for name in PUBLIC)
    assert not hasattr(bursar, "no_such_name")


@pytest.mark.parametrize("path", OURS, ids=str)
def test_only_verbs_stand_on_the_client_and_only_on_its_public_names(path: Path) -> None:
    """Its modules may change with any of its versions."""
    found = uses(path)
    assert not found or any(path.is_relative_to(folder) for folder in MAY_USE_IT)
    assert set(found) <= {f"bursar.{name}" for name in PUBLIC}


def test_somebody_stands_on_the_client() -> None:
    """The rule above would pass on nothing."""
    assert any(uses(path) for path in OURS)


def test_the_client_needs_little() -> None:
    """It is installed on every machine that agents work on."""
    project = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {need.partition(">")[0] for need in project["dependencies"]} == {"click", "h11", "httpx"}
