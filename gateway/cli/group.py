"""`bursar gateway`: look after calls that went through the gateway.

Owns the group; each verb has a file of its own, imported only when it is called. Invariant: importing this module
imports click only.
"""

from __future__ import annotations

import importlib
from typing import Final

import click

from bursar import name_in_environment

VERBS: Final[dict[str, str]] = {
    "reconcile": "List the calls whose outcome is not known, and settle or release them.",
}
"""Verb to its summary, in the order of the help; ``gateway/cli/VERB.py`` has the command of each."""


class GatewayGroup(click.Group):
    """A group that imports a verb when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order of the help."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb of that name, imported now; None when there is none."""
        if cmd_name not in VERBS:
            return None
        verb: click.Command = importlib.import_module(f"gateway.cli.{cmd_name}").command
        name_in_environment(verb)
        return verb

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(name="gateway", cls=GatewayGroup)
def command() -> None:
    """Look after calls that went through the gateway.

    docs/gateway-reconcile.md explains what becomes of a call whose outcome is not known.

    \b
    For example:
      export BURSAR_URL=https://bursar.example.com BURSAR_API_KEY=bk_finance_...
      bursar gateway reconcile
      bursar gateway reconcile --bill openai-2026-11.csv --bill-until 2026-12-01 --absent release
    """
