"""`bursar demo`: a day of agent work against a real server, and the books at its end.

Owns the command; the day itself is in ``day``. Invariant: importing this module imports click only.
"""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="demo")
@click.option("--exit", "stop_at_end", is_flag=True, help="Stop the server at the end instead of leaving it running.")
@click.option("--seed", default=1, show_default=True, metavar="N", help="The same seed makes the same day.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=None,
    metavar="N",
    help="Port of the server.  [default: the first free one from 8000 on]",
)
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    metavar="DIR",
    help="Where the database goes; each run opens a book of its own in it.  [default: a new temporary directory]",
)
@click.option(
    "--tasks",
    "tasks_per_agent",
    type=click.IntRange(50, 100_000),
    default=250,
    show_default=True,
    metavar="N",
    help="Tasks of each agent.",
)
def command(stop_at_end: bool, seed: int, port: int | None, directory: Path | None, tasks_per_agent: int) -> None:
    """Run a day of agent work against a real server.

    Opens a book with two teams, five agents and a tree of budgets, starts `bursar serve` on SQLite, and lets five
    client processes ask, settle, extend, release, retry and overrun over HTTP. Every answer is compared with what it
    must be. At the end: the budgets, the trial balance, what was refused and why, and the proof of the books.

    The server stays, with commands to try, unless --exit is given.

    \b
    For example:
      bursar demo
      bursar demo --exit --seed 7
      bursar demo --directory ./demo-data --port 8123
    """
    from ledger.cli.demo.day import run_demo

    run_demo(stop_at_end=stop_at_end, seed=seed, port=port, directory=directory, tasks_per_agent=tasks_per_agent)
