"""`bursar run`: run a command that can spend so much and not more.

Owns the verb and the order of its steps. Invariants: the command is not started unless its run and its key were made,
and the sandbox where one was asked for; standard output is the command's alone, everything said here goes to standard
error; the exit status is the command's once it was started, and 2 before.
"""

from __future__ import annotations

import click

from bursar.asking import remote_options

COMMAND_SETTINGS = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@click.command(name="run", context_settings=COMMAND_SETTINGS)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--budget", "cap", default=None, metavar="AMOUNT", envvar="BURSAR_BUDGET",
              help="What the command may spend; without it, no cap.")  # fmt: skip
@click.option("--currency", default="USD", show_default=True, metavar="CODE", help="The currency of --budget.")
@click.option("--agent", default=None, metavar="NAME", help="The agent that spends; needed with an admin's key.")
@click.option("--name", default=None, metavar="RUN", help="Name of the run; by default a new one.")
@click.option("--from-budget", default=None, metavar="NAME",
              help="The budget to spend from, where the agent has several.")  # fmt: skip
@click.option("--label", "labels", multiple=True, metavar="K=V", envvar="BURSAR_LABEL",
              help="A label on every call; may be repeated.")  # fmt: skip
@click.option("--sandbox", is_flag=True, help="Let the command reach the gateway and nothing else in the network.")
@click.option("--keep-env", "kept", multiple=True, metavar="NAME", envvar="BURSAR_KEEP_ENV",
              help="Leave the command a variable that is taken out otherwise; may be repeated.")  # fmt: skip
@click.option("--ttl-seconds", type=click.IntRange(1, 7 * 86400), default=86400, show_default=True,
              help="How long the command's key is good at most.")  # fmt: skip
@click.option("--json-receipt", default=None, metavar="FILE", type=click.Path(dir_okay=False, writable=True),
              help="Also write the receipt to a file, as JSON.")  # fmt: skip
@click.option("--outcome-from-exit", is_flag=True,
              help="Report the run as a success where the command ends with 0, and as none otherwise.")  # fmt: skip
@remote_options
def command(**given: object) -> None:
    """Run COMMAND with a cap on what its inference calls cost, and print a receipt.

    Opens a run with that cap on the server, makes a key that is good for this run only, and points the clients of
    OpenAI and Anthropic at the gateway with it. Keys of providers do not go on to the command. Ends with the
    command's own status; with 2 when it could not be started. docs/run.md has all of it.

    \b
    For example:
      bursar run --budget 5.00 -- python agent.py
      bursar run --budget 5.00 --agent crawler --sandbox -- npm start
    """
    from bursar.run.running import run

    raise SystemExit(run(**given))  # type: ignore[arg-type]
