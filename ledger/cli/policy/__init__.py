"""`bursar policy`: write, try and change the rules that say who may spend what.

Owns the group; each verb has a file of its own, imported only when it is called. Invariant: importing this package
imports click only.
"""

from __future__ import annotations

import importlib
from typing import Final

import click

from bursar import name_in_environment

VERBS: Final[dict[str, str]] = {
    "check": "Check policy files and run the cases beside them.",
    "schema": "Print the JSON Schema of policy files, for editors.",
    "simulate": "Judge the book's past by a policy, and tell what would have changed.",
    "apply": "Show what files would change, and make them the next versions.",
    "show": "Print the version that decides now, or an earlier one.",
    "history": "List the versions of a policy, who made them and why.",
    "rollback": "Make an earlier version the next one.",
    "retire": "Let a policy bind nobody any more.",
}
"""Verb to its summary, in the order of the help; ``ledger/cli/policy/VERB.py`` has the command of each."""


class PolicyGroup(click.Group):
    """A group that imports a verb when it is called, so that the help costs no import of pydantic or a database."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order of the help."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb of that name, imported now; None when there is none."""
        if cmd_name not in VERBS:
            return None
        verb: click.Command = importlib.import_module(f"{__name__}.{cmd_name}").command
        name_in_environment(verb)
        return verb

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(name="policy", cls=PolicyGroup)
def command() -> None:
    """Write, try and change the rules that say who may spend what.

    A policy is a YAML file, kept in git under policies/, with cases beside it that say what it must answer.
    docs/policies.md explains every field.

    \b
    For example:
      bursar policy schema > policies/policy.schema.json
      bursar policy check policies/
      bursar policy apply policies/
    """
