"""The `bursar` command as an installed program: its verbs, its help, its answer to a verb that is broken."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bursar import command as main
from ledger.cli import verbs

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CLIENT = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SERVERS: dict[str, str] = PROJECT["entry-points"][main.VERBS_GROUP]
CLIENTS: dict[str, str] = CLIENT["entry-points"][main.VERBS_GROUP]
VERBS = SERVERS | CLIENTS


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch):
    """Pretend that exactly these entry points are installed."""

    def install_verbs(**values: str) -> None:
        points = {name: EntryPoint(name, value, main.VERBS_GROUP) for name, value in values.items()}
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
    assert set(SERVERS) == set(verbs.SUMMARIES)
    assert set(CLIENTS) == set(main.SUMMARIES)
    assert main.summaries() == verbs.SUMMARIES | main.SUMMARIES


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_loads(verb: str) -> None:
    """Each entry point of the project names a click command that can be imported and explains itself."""
    command = main.load_verb(EntryPoint(verb, VERBS[verb], main.VERBS_GROUP))
    assert command.help, f"{verb} has no help"


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_is_documented(verb: str) -> None:
    """The README or a page under docs/ shows each verb at work."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    assert any(f"bursar {verb}" in page.read_text(encoding="utf-8") for page in pages)


def test_the_help_imports_no_verb_and_no_server() -> None:
    """Listing the verbs costs an import of click only."""
    program = (
        "import sys; from click.testing import CliRunner; from bursar import command;"
        "result = CliRunner().invoke(command.bursar, ['--help']); print(result.output);"
        "sys.exit(result.exit_code or ('fastapi' in sys.modules) or ('api' in sys.modules)"
        " or ('sqlalchemy' in sys.modules) or ('httpx' in sys.modules))"
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
    assert verbs.SUMMARIES["init"] in result.output
    assert "'bursar odd' cannot be loaded" in " ".join(result.output.split())


def test_every_option_is_a_variable_of_the_environment(install) -> None:
    """Also the options of subcommands, under the same name: BURSAR_DATABASE_URL, without the verb in it."""
    install(keys=f"{__name__}:keys")
    environment = {"BURSAR_DATABASE_URL": "sqlite:///here.db"}
    runner = CliRunner()
    assert runner.invoke(main.bursar, ["keys", "recover"], env=environment).output == "database sqlite:///here.db\n"
    assert "BURSAR_DATABASE_URL" in runner.invoke(main.bursar, ["keys", "recover", "--help"]).output


@pytest.mark.parametrize("verb", sorted(CLIENTS))
def test_the_variables_of_the_clients_options_are_named_after_them(verb: str) -> None:
    """--from-budget is BURSAR_FROM_BUDGET, whatever the parameter is called in the code; the key has a name beside."""
    for option in main.load_verb(EntryPoint(verb, VERBS[verb], main.VERBS_GROUP)).params:
        if isinstance(option, click.Option) and option.envvar is not None and option.name != "key":
            assert option.envvar == f"BURSAR_{option.opts[0].removeprefix('--').replace('-', '_').upper()}"
        elif isinstance(option, click.Option) and option.name != "key":
            assert option.opts[0].removeprefix("--").replace("-", "_") in (option.name, "json")


def test_the_version_is_the_distributions() -> None:
    """`bursar --version` prints what pip shows, of both distributions."""
    expected = f"bursar, version {CLIENT['version']} (bursar-server {PROJECT['version']})\n"
    assert CliRunner().invoke(main.bursar, ["--version"]).output == expected


def test_the_server_takes_the_client_of_its_own_version() -> None:
    """What is installed together was tested together."""
    assert CLIENT["version"] == PROJECT["version"]
    assert [need for need in PROJECT["dependencies"] if need.startswith("bursar")] == ["bursar>=0.1.0,<0.2"]
    assert "scripts" not in PROJECT


def test_without_the_server_the_help_shows_the_clients_verbs_and_where_the_others_are(monkeypatch) -> None:
    """A machine that agents work on has no server's verbs, and whoever misses one reads how to get it."""
    installed = main.entry_points
    monkeypatch.setattr(
        main,
        "entry_points",
        lambda *, group: [point for point in installed(group=group) if point.value.startswith("bursar.")],
    )
    monkeypatch.setattr(main, "server_installed", lambda: False)
    result = CliRunner().invoke(main.bursar, ["--help"])
    assert result.exit_code == 0
    assert all(f"  {verb} " in result.output for verb in CLIENTS)
    # Two blanks behind a verb: `export` is a word of the shell too, in an example above.
    assert not any(re.search(rf"^  {verb}  ", result.output, re.MULTILINE) for verb in SERVERS)
    assert "pip install bursar-server" in result.output
    assert "bursar init --database-url" not in result.output


def test_a_summary_table_that_cannot_be_read_breaks_nothing(monkeypatch) -> None:
    """Another distribution's mistake costs its lines only."""
    broken = EntryPoint("odd", "ledger.no_such_module:SUMMARIES", main.SUMMARIES_GROUP)
    installed = main.entry_points
    monkeypatch.setattr(main, "entry_points", lambda *, group: [broken, *installed(group=group)])
    assert main.summaries() == verbs.SUMMARIES | main.SUMMARIES
