"""The `bursar` command: finds its verbs among the installed entry points and loads only the one called.

Invariant: this module imports no verb, so `bursar --help` costs no more than click. Verbs register in the entry-point
group `bursar.commands`; a distribution that has many registers a table of one line for each in `bursar.summaries`,
so that the help need not import them. The server's distribution adds its verbs in this way, and this one works
without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from typing import Final

import click

VERBS_GROUP: Final = "bursar.commands"
SUMMARIES_GROUP: Final = "bursar.summaries"
ENVIRONMENT_PREFIX: Final = "BURSAR"
SERVER_DISTRIBUTION: Final = "bursar-server"

# The order is the one in which a newcomer needs the verbs.
SUMMARIES: Final[dict[str, str]] = {
    "run": "Run a command that can spend so much and not more.",
    "me": "Show who a key is, and what it may still spend.",
}

HELP: Final = """Bursar is the ledger an AI agent must ask before it spends.

It holds the money of each budget, approves or denies every request to spend, records what it decided in
double-entry books, and can prove those books later.
"""

HELP_WITH_SERVER: Final = """
The usual order of commands:

\b
  bursar init --database-url sqlite:///bursar.db --book acme --currency USD
  bursar serve --database-url sqlite:///bursar.db
  bursar run --budget 5.00 -- python agent.py
  bursar verify --database-url sqlite:///bursar.db

`init` prints an admin key once; keep it. With it, make teams, agents, keys and budgets over HTTP while
`serve` runs. `bursar demo` shows all of it at once.
"""

HELP_WITHOUT_SERVER: Final = f"""
\b
  export BURSAR_URL=https://bursar.example.com BURSAR_API_KEY=bk_agent_...
  bursar me
  bursar run --budget 5.00 -- python agent.py

These are the verbs for a machine that agents work on. Those of the server (init, serve, verify, policy and others)
come with its distribution:

\b
  pip install {SERVER_DISTRIBUTION}
"""

HELP_OF_OPTIONS: Final = """
Every setting is an option and also a variable of the environment, such as BURSAR_URL for --url.
`bursar COMMAND --help` lists them.
"""


def installed_verbs() -> dict[str, EntryPoint]:
    """The verbs of every installed distribution: those with a summary in its order, then the rest by name."""
    found = {point.name: point for point in entry_points(group=VERBS_GROUP)}
    known = [name for name in summaries() if name in found]
    added = sorted(name for name in found if name not in known)
    return {name: found[name] for name in [*known, *added]}


def summaries() -> dict[str, str]:
    """Verb to its line in the help, the server's first. A table that cannot be read counts as empty."""
    tables = sorted(entry_points(group=SUMMARIES_GROUP), key=lambda point: (point.name == "bursar", point.name))
    found: dict[str, str] = {}
    for point in tables:
        # What another distribution registers may fail in any way, and the help must not depend on it.
        try:
            table = point.load()
        except Exception:
            continue
        if isinstance(table, Mapping):
            found |= {str(name): str(line) for name, line in table.items()}
    return found


def server_installed() -> bool:
    """Whether the server's distribution is installed beside this one."""
    return version_of(SERVER_DISTRIBUTION) is not None


def version_of(distribution: str) -> str | None:
    """The installed version of a distribution; None where it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def load_verb(point: EntryPoint) -> click.Command:
    """Import the command behind an entry point and give its options their names in the environment.

    Raises click.ClickException, in one line, when it cannot be imported or is no click command.
    """
    # A verb may come from any distribution and fail in any way while it is imported; whoever typed its name
    # needs to know which verb and which module, and gets no use out of a traceback.
    try:
        loaded = point.load()
    except Exception as error:
        reason = " ".join(str(error).split()) or "no reason given"
        message = f"'bursar {point.name}' cannot be loaded from {point.value}: {type(error).__name__}: {reason}"
        raise click.ClickException(message) from error
    if not isinstance(loaded, click.Command):
        raise click.ClickException(f"'bursar {point.name}' cannot be loaded: {point.value} is not a click command")
    name_in_environment(loaded)
    return loaded


def name_in_environment(command: click.Command) -> None:
    """Let BURSAR_<OPTION> set every option of the command and its subcommands, and show it in their help."""
    command.context_settings.setdefault("auto_envvar_prefix", ENVIRONMENT_PREFIX)
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            parameter.show_envvar = True
    if isinstance(command, click.Group):
        for subcommand in command.commands.values():
            name_in_environment(subcommand)


class VerbGroup(click.Group):
    """A click group whose commands are the installed entry points, each imported only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the verbs, in the order of the help."""
        return list(installed_verbs())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb of that name, imported now; None when there is none of that name."""
        point = installed_verbs().get(cmd_name)
        return None if point is None else load_verb(point)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what Bursar is, and what can be done with what is installed."""
        usual = HELP_WITH_SERVER if server_installed() else HELP_WITHOUT_SERVER
        self.help = HELP + usual + HELP_OF_OPTIONS
        super().format_help_text(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of verbs, importing only those whose summary is not known."""
        known = summaries()
        rows = [(name, known.get(name) or summary_of(point)) for name, point in installed_verbs().items()]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def summary_of(point: EntryPoint) -> str:
    """The first line of a verb's help, or why it cannot be loaded: a broken verb must not break the help."""
    try:
        return load_verb(point).get_short_help_str(limit=80)
    except click.ClickException as error:
        return error.format_message()


def print_version(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    """Print the version of this distribution, and of the server's where it is installed; the callback of --version."""
    if not wanted or context.resilient_parsing:
        return
    server = version_of(SERVER_DISTRIBUTION)
    beside = f" ({SERVER_DISTRIBUTION} {server})" if server else ""
    click.echo(f"bursar, version {version_of('bursar') or 'unknown'}{beside}")
    context.exit()


@click.command(cls=VerbGroup, name="bursar", help=HELP)
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=print_version,
    help="Show the version and exit.",
)  # fmt: skip
def bursar() -> None:
    """Take the options of the group itself; the verbs do the work."""


def main() -> None:
    """Run the command with the arguments of this process, and exit with its status."""
    bursar(prog_name="bursar")
