"""The `bursar` command: finds its verbs among the installed entry points and loads only the one called.

Invariant: this module imports no verb. Verbs register in the entry-point group `bursar.commands`, so the
ledger never imports the HTTP API, and `bursar --help` costs no more than click.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

import click

ENTRY_POINT_GROUP = "bursar.commands"
ENVIRONMENT_PREFIX = "BURSAR"

# The order is the one in which a newcomer needs the verbs. A summary stands here so that the list of verbs
# can be printed without importing them; a verb that another distribution adds is loaded for its summary.
SUMMARIES: Mapping[str, str] = {
    "init": "Make a book in a new or existing database, and its first admin key.",
    "serve": "Serve the HTTP API: agents ask here before they spend.",
    "verify": "Prove the books: recompute every record, balance and root.",
    "migrate": "Bring the database's tables up to this version.",
    "keys": "Recover an admin key as the owner of the database.",
    "freeze": "Stop an agent, a team, a budget or the whole book.",
    "unfreeze": "Let go on what was frozen, with a reason.",
    "approvals": "See the requests that wait for people, and grant or refuse them.",
    "delegations": "Let somebody approve in your place for a time.",
    "policy": "Write, try and change the rules of who may spend what.",
    "explain": "Tell why a request to spend was approved or denied.",
    "prices": "Show what a model costs, today or on a date, and where the price comes from.",
    "reprice": "Correct what calls were settled for at a wrong price, without editing history.",
    "demo": "Run a day of agent work against a real server.",
}

HELP = """Bursar is the ledger an AI agent must ask before it spends.

It holds the money of each budget, approves or denies every request to spend, records what it decided in
double-entry books, and can prove those books later.

The usual order of commands:

\b
  bursar init --database-url sqlite:///bursar.db --book acme --currency USD
  bursar serve --database-url sqlite:///bursar.db
  bursar verify --database-url sqlite:///bursar.db

`init` prints an admin key once; keep it. With it, make teams, agents, keys and budgets over HTTP while
`serve` runs. `bursar demo` shows all of it at once.

Every setting is an option and also a variable of the environment: --database-url is BURSAR_DATABASE_URL.
`bursar COMMAND --help` lists them.
"""


def installed_verbs() -> dict[str, EntryPoint]:
    """The verbs of every installed distribution: those of SUMMARIES in its order, then the rest by name."""
    found = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    known = [name for name in SUMMARIES if name in found]
    added = sorted(name for name in found if name not in SUMMARIES)
    return {name: found[name] for name in [*known, *added]}


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

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of verbs, importing only those whose summary is not known here."""
        rows = [(name, SUMMARIES.get(name) or summary_of(point)) for name, point in installed_verbs().items()]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def summary_of(point: EntryPoint) -> str:
    """The first line of a verb's help, or why it cannot be loaded: a broken verb must not break the help."""
    try:
        return load_verb(point).get_short_help_str(limit=80)
    except click.ClickException as error:
        return error.format_message()


@click.command(cls=VerbGroup, name="bursar", help=HELP)
@click.version_option(package_name="bursar-server", prog_name="bursar")
def bursar() -> None:
    """Take the options of the group itself; the verbs do the work."""


def main() -> None:
    """Run the command with the arguments of this process, and exit with its status."""
    bursar(prog_name="bursar")
