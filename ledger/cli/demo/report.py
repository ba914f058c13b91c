"""What the demo prints: progress, the budget table, the trial balance, what was refused, and how to go on.

Invariant: every number comes out of an answer of the server or out of `bursar verify`; nothing is computed here but
sums that are compared. In a terminal there are colours and a moving bar, elsewhere plain lines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ledger.cli.demo.agent_day import Finished
from ledger.cli.demo.calls import amount_of
from ledger.cli.demo.office import Move
from ledger.cli.demo.plan import CURRENCY

PLAIN_WIDTH = 110
QUARTERS = 4


def make_console() -> Console:
    """The console of standard output; as wide as the tables need where it is no terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


class Bar:
    """Progress of the day: a moving bar in a terminal, a line for each quarter elsewhere."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._done = 0
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=40),
            MofNCompleteColumn(),
            TextColumn("tasks"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("Five agents at work", total=total)

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def advance(self) -> None:
        """One task more is done."""
        self._done += 1
        self._progress.advance(self._task)
        if not self._console.is_terminal and self._done * QUARTERS % self._total < QUARTERS:
            self._console.print(f"  {self._done} of {self._total} tasks")


def table(title: str, *columns: str, amounts_from: int = 1) -> Table:
    """An empty table in the demo's style; columns from ``amounts_from`` on are set to the right."""
    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for position, column in enumerate(columns):
        made.add_column(column, justify="right" if position >= amounts_from else "left", no_wrap=True)
    return made


def shown(amount: Decimal) -> str:
    """An amount with all its digits, at least two of them after the point."""
    text = format(amount.normalize(), "f") if amount else "0"
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction.ljust(2, '0')}"


def aligned(header: str, amounts: list[str]) -> tuple[str, list[str]]:
    """A column of amounts with their points one below the other, and its header above their right end."""
    parts = [amount.partition(".") for amount in amounts]
    whole = max((len(before) for before, _, _ in parts), default=0)
    fraction = max((len(after) for _, _, after in parts), default=0)
    lines = [
        f"{before.rjust(whole)}{point or ' '}{after.ljust(fraction)}" if before else " " * (whole + 1 + fraction)
        for before, point, after in parts
    ]
    width = max(len(header), whole + 1 + fraction)
    return header.rjust(width), [line.rjust(width) for line in lines]


def amounts_table(title: str, names: Mapping[str, list[str]], amounts: Mapping[str, list[str]], last: int = 0) -> Table:
    """A table of columns of words, then columns of amounts; the ``last`` rows are totals."""
    columns = [aligned(header, cells) for header, cells in amounts.items()]
    made = table(title, *names, *(header for header, _ in columns), amounts_from=len(names) + len(columns))
    rows = list(zip(*names.values(), *(cells for _, cells in columns), strict=True))
    for position, row in enumerate(rows):
        if position == len(rows) - last:
            made.add_section()
        made.add_row(*row, style="bold" if position >= len(rows) - last else None)
    return made


def budget_table(moves: Iterable[Move], budgets: Mapping[str, Mapping[str, Any]]) -> Table:
    """The tree of budgets: what each got, gave on, spent, holds and has left."""
    listed = list(moves)
    depth: dict[str | None, int] = {None: -1}
    ordered: list[Move] = []

    def add(parent: str | None) -> None:
        for move in listed:
            if move.parent == parent:
                depth[move.budget] = depth[parent] + 1
                ordered.append(move)
                add(move.budget)

    add(None)
    passed_on = [sum((below.amount for below in listed if below.parent == move.budget), Decimal(0)) for move in ordered]
    amounts = {
        "allocated": [shown(move.amount) for move in ordered],
        "passed on": [shown(amount) if amount else "" for amount in passed_on],
    }
    for name in ("spent", "held", "available"):
        amounts[name] = [shown(amount_of(budgets[move.budget][name])) for move in ordered]
    names = {"budget": ["  " * depth[move.budget] + move.budget for move in ordered]}
    return amounts_table(f"Budgets ({CURRENCY})", names, amounts)


def trial_balance_table(trial_balance: Mapping[str, Any]) -> Table:
    """Every account that has a balance, and the totals of the two sorts."""
    lines = [line for line in trial_balance["lines"] if Decimal(line["debit"]) or Decimal(line["credit"])]
    totals = trial_balance["totals"]
    names = {
        "account": [*(line["account"] for line in lines), *(f"total {total['sort']}" for total in totals)],
        "kind": [*(line["kind"] for line in lines), *(total["currency"] for total in totals)],
    }
    amounts = {
        side: [*(zero_blank(line[side]) for line in lines), *(total[side] for total in totals)]
        for side in ("debit", "credit")
    }
    return amounts_table("Trial balance", names, amounts, last=len(totals))


def zero_blank(amount: str) -> str:
    """An amount, or nothing for zero."""
    return amount if Decimal(amount) else ""


def day_table(done: Counter[str]) -> Table:
    """How often each thing was done."""
    made = table("The day", "what", "times")
    for what, times in sorted(done.items(), key=lambda item: (-item[1], item[0])):
        made.add_row(what, f"{times:,}")
    return made


def refused_table(refused: Counter[tuple[int, str]], sentences: Mapping[str, str]) -> Table:
    """What was refused, how often, and what the client was told the first time."""
    made = Table(
        title="Refused, and why", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
    )
    made.add_column("status", justify="right")
    made.add_column("code", no_wrap=True)
    made.add_column("times", justify="right")
    made.add_column("what the client was told", overflow="fold")
    for (status, code), times in sorted(refused.items(), key=lambda item: (-item[1], item[0])):
        made.add_row(str(status), code, f"{times:,}", sentences[code])
    return made


def speed_line(days: list[Finished], *, seconds: float) -> str:
    """Requests, rate, and how long an agent waited for a decision in the middle and in the worst hundredth."""
    requests = sum(day.requests for day in days)
    asked = sorted(wait for day in days for wait in day.seconds_asked)
    middle, slow = asked[len(asked) // 2], asked[len(asked) * 99 // 100]
    return (
        f"{requests:,} requests from {len(days)} client processes in {seconds:.1f} s ({requests / seconds:,.0f}/s); "
        f"a decision took {middle * 1000:.1f} ms (p50), {slow * 1000:.1f} ms (p99)."
    )


def print_commands(console: Console, *, base_url: str, keys: Mapping[str, str], directory: str, pid: int) -> None:
    """Lines to copy for the server that stays, each with a key that works."""
    lines = (
        ("# ask to spend, as the agent writer", _curl_authorize(base_url, keys["writer"])),
        ("# what the agent may still spend", f"curl -s {base_url}/v1/me -H 'Authorization: Bearer {keys['writer']}'"),
        (
            "# the trial balance, as the auditor",
            f"curl -s {base_url}/v1/trial-balance -H 'Authorization: Bearer {keys['auditor']}'",
        ),
        (
            "# the first records of the log",
            f"curl -s '{base_url}/v1/log?limit=5' -H 'Authorization: Bearer {keys['auditor']}'",
        ),
    )
    console.print(f"[bold]The server stays[/bold] at {base_url} (process {pid}). Try:")
    for comment, line in lines:
        console.print(f"\n[dim]{comment}[/dim]", soft_wrap=True)
        console.print(line, soft_wrap=True, markup=False)
    console.print(f"\nStop it with: kill {pid}", soft_wrap=True, markup=False)
    console.print(f"Its book and log are in {directory}", soft_wrap=True, markup=False)


def _curl_authorize(base_url: str, key: str) -> str:
    body = (
        '{"amount": {"amount": "0.05", "currency": "USD"}, "category": "inference", '
        '"payee": "openai", "resource": "gpt-5-mini"}'
    )
    return (
        f"curl -s {base_url}/v1/authorizations -H 'Authorization: Bearer {key}' "
        f"-H 'Idempotency-Key: try-1' -H 'Content-Type: application/json' -d '{body}'"
    )
