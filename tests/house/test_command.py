"""The `bursar` command as an installed program: its verbs, its help, its answer to a verb that is broken."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ledger.cli import main

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
VERBS: dict[str, str] = PROJECT["entry-points"][main.ENTRY_POINT_GROUP]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch):
    """Pretend that exactly these entry points are installed."""

    def install_verbs(**values: str) -> None:
        points = {name: EntryPoint(name, value, main.ENTRY_POINT_GROUP) for name, value in values.items()}
        monkeypatch.setattr(main, "installed_verbs", lambda: points)

    return install_verbs


@click.group(name="keys")
def keys() -> None:
    """Stand in for a verb with subcommands."""


@keys.command()
@click.option("--database-url", default="none")
def recover(database_url: str) -> None:
    """Print the database it would recover."""
    click.echo(f"database {database_url}")


not_a_command = 7


def test_every_verb_of_the_project_has_its_line_in_the_help() -> None:
    """The summaries stand apart from the verbs, so nothing else keeps the two lists equal."""
    assert set(VERBS) == set(main.SUMMARIES)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_loads(verb: str) -> None:
    """Each entry point of the project names a click command that can be imported and explains itself."""
    command = main.load_verb(EntryPoint(verb, VERBS[verb], main.ENTRY_POINT_GROUP))
    assert command.help, f"{verb} has no help"


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_is_documented(verb: str) -> None:
    """The README or a page under docs/ shows each verb at work."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    assert any(f"bursar {verb}" in page.read_text(encoding="utf-8") for page in pages)


def test_the_help_imports_no_verb_and_no_server() -> None:
    """Listing the verbs costs an import of click only."""
    program = (
        "import sys; from click.testing import CliRunner; from ledger.cli import main;"
        "result = CliRunner().invoke(main.bursar, ['--help']); print(result.output);"
        "sys.exit(result.exit_code or ('fastapi' in sys.modules) or ('api' in sys.modules)"
        " or ('sqlalchemy' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for verb in VERBS:
        assert f"  {verb} " in done.stdout


def test_a_verb_that_cannot_be_imported_answers_in_one_line(install) -> None:
    """Whoever typed the verb reads which module failed and why, and no traceback."""
    install(serve="ledger.no_such_module:command")
    result = CliRunner().invoke(main.bursar, ["serve"])
    assert result.exit_code == 1
    assert result.output.count("\n") == 1
    assert "Error: 'bursar serve' cannot be loaded from ledger.no_such_module:command" in result.output


def test_an_entry_point_that_is_no_command_answers_in_one_line(install) -> None:
    """A wrong entry point of another distribution is named too."""
    install(odd=f"{__name__}:not_a_command")
    result = CliRunner().invoke(main.bursar, ["odd"])
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert "is not a click command" in result.output


def test_a_broken_verb_of_another_distribution_leaves_the_help_readable(install) -> None:
    """The help of the others must not depend on it."""
    install(init=VERBS["init"], odd="ledger.no_such_module:command")
    result = CliRunner().invoke(main.bursar, ["--help"])
    assert result.exit_code == 0
    assert main.SUMMARIES["init"] in result.output
    assert "'bursar odd' cannot be loaded" in " ".join(result.output.split())


def test_every_option_is_a_variable_of_the_environment(install) -> None:
    """Also the options of subcommands, under the same name: BURSAR_DATABASE_URL, without the verb in it."""
    install(keys=f"{__name__}:keys")
    environment = {"BURSAR_DATABASE_URL": "sqlite:///here.db"}
    runner = CliRunner()
    assert runner.invoke(main.bursar, ["keys", "recover"], env=environment).output == "database sqlite:///here.db\n"
    assert "BURSAR_DATABASE_URL" in runner.invoke(main.bursar, ["keys", "recover", "--help"]).output


def test_the_version_is_the_distributions() -> None:
    """`bursar --version` prints what pip shows."""
    assert CliRunner().invoke(main.bursar, ["--version"]).output == f"bursar, version {PROJECT['version']}\n"
