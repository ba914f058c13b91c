"""The whole demo in order: open a book, start the server, let the agents work, correct, compare, verify, show.

Invariant: it ends with status 0 only when every answer was the expected one, every budget adds up to the atom, the
trial balance balances, `bursar verify` passed, and the server did what it was told.
"""

from __future__ import annotations

import multiprocessing
import queue
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from ledger.cli.database import books_in
from ledger.cli.demo import report
from ledger.cli.demo.agent_day import Finished, live
from ledger.cli.demo.calls import Calls, DemoError, amount_of
from ledger.cli.demo.office import KeyRing, Move, correct, set_up
from ledger.cli.demo.plan import CURRENCY, Plan, make_plan
from ledger.cli.demo.purse import ZERO
from ledger.cli.demo.server import DemoServer, bursar_command, free_port
from ledger.cli.init import initialise

SILENCE_SECONDS = 60.0
VERIFY_SECONDS = 120.0


def run_demo(*, stop_at_end: bool, seed: int, port: int | None, directory: Path | None, tasks_per_agent: int) -> None:
    """Run it all and print it. Raises click.ClickException (status 1) when anything is not as it must be."""
    console = report.make_console()
    home = Path(tempfile.mkdtemp(prefix="bursar-demo-")) if directory is None else directory.absolute()
    server: DemoServer | None = None
    try:
        home.mkdir(parents=True, exist_ok=True)
        database_url = f"sqlite:///{home / 'bursar.db'}"
        book, admin_key = _open_book(database_url)
        chosen_port = free_port(port)
        server = DemoServer(database_url=database_url, port=chosen_port, log_file=home / "server.log")
        server.wait_until_ready()
        console.print(f"Book {book} opened in {home}; server at {server.base_url}", soft_wrap=True, markup=False)
        keys = _day(console, server, admin_key, seed=seed, tasks_per_agent=tasks_per_agent)
        console.print(f"{verify(database_url, book)}\n", soft_wrap=True, markup=False)
        if not stop_at_end:
            shown_keys = {**keys.agents, "auditor": keys.auditor}
            report.print_commands(
                console, base_url=server.base_url, keys=shown_keys, directory=str(home), pid=server.pid
            )
            return
        status = server.stop()
        if status:
            raise DemoError(f"the server ended with status {status} when it was stopped, expected 0")
        console.print("The server was stopped.")
        if directory is None:
            shutil.rmtree(home, ignore_errors=True)
    except DemoError as error:
        ended = server.ended() if server is not None else ""
        _stop(server)
        raise click.ClickException(f"{error}{ended} (what there is to look at is in {home})") from error
    except BaseException:
        _stop(server)
        raise


def _stop(server: DemoServer | None) -> None:
    if server is not None:
        server.stop()


def _open_book(database_url: str) -> tuple[str, str]:
    """A new book in the demo's database, under a name that is free, with its admin key."""
    taken: set[str] = set()
    if Path(database_url.removeprefix("sqlite:///")).exists():
        taken = {book.name for book in books_in(database_url)}
    names = ["demo", *(f"demo-{number}" for number in range(2, len(taken) + 3))]
    name = next(name for name in names if name not in taken)
    opened = initialise(database_url, book=name, currency=CURRENCY, timezone="Europe/Paris")
    return name, opened.admin_key


def _day(console: Console, server: DemoServer, admin_key: str, *, seed: int, tasks_per_agent: int) -> KeyRing:
    plan = make_plan(seed=seed, tasks_per_agent=tasks_per_agent)
    with Calls(server.base_url, admin_key) as admin:
        keys, moves = set_up(admin, plan)
        started = time.perf_counter()
        days = _work(console, server.base_url, plan, keys, admin_key)
        seconds = time.perf_counter() - started
        with Calls(server.base_url, keys.finance) as finance, Calls(server.base_url, keys.auditor) as auditor:
            corrected = correct(finance, auditor, days)
            budgets, trial_balance = _compare(auditor, moves, days)
            others = (finance, auditor)
            done = sum((day.done for day in days), corrected)
            refused = sum((day.refused for day in days), Counter[tuple[int, str]]())
            sentences = {code: text for day in days for code, text in day.sentences.items()}
            for calls in others:
                refused += calls.refused
                sentences |= calls.sentences
    console.print()
    for made in (
        report.day_table(done),
        report.budget_table(moves, budgets),
        report.trial_balance_table(trial_balance),
        report.refused_table(refused, sentences),
    ):
        console.print(made)
    console.print(report.speed_line(days, seconds=seconds))
    return keys


def _work(console: Console, base_url: str, plan: Plan, keys: KeyRing, admin_key: str) -> list[Finished]:
    """Start a client process for each agent and wait for all of them. Raises DemoError for the first that fails."""
    context = multiprocessing.get_context("spawn")
    reports: Any = context.Queue()
    processes = [
        context.Process(
            target=live,
            args=(base_url, keys.agents[agent.name], admin_key, agent, reports),
            name=agent.name,
            daemon=True,
        )
        for agent in plan.agents
    ]
    finished: dict[str, Finished] = {}
    try:
        for process in processes:
            process.start()
        with report.Bar(console, plan.task_count) as bar:
            while len(finished) < len(processes):
                try:
                    kind, what = reports.get(timeout=SILENCE_SECONDS)
                except queue.Empty:
                    raise DemoError(f"no client process said anything for {SILENCE_SECONDS:.0f} seconds") from None
                if kind == "failed":
                    raise DemoError(what)
                if kind == "task":
                    bar.advance()
                else:
                    finished[what.agent] = what
    finally:
        for process in processes:
            if process.is_alive() and process.name not in finished:
                process.terminate()
        for process in processes:
            if process.pid is not None:
                process.join(10.0)
    return [finished[agent.name] for agent in plan.agents]


def _compare(auditor: Calls, moves: list[Move], days: list[Finished]) -> tuple[dict[str, Any], Any]:
    """Read every budget and the trial balance, and check that they agree with the clients and with each other."""
    budgets = {move.budget: auditor.get(f"/v1/budgets/{move.budget}") for move in moves}
    for day in days:
        day.purse.compare(budgets[day.purse.budget])
    spent = ZERO
    for move in moves:
        given = sum((below.amount for below in moves if below.parent == move.budget), ZERO)
        has = sum((amount_of(budgets[move.budget][name]) for name in ("available", "held", "spent")), given)
        if has != move.amount:
            raise DemoError(f"budget {move.budget}: {move.amount} was allocated, its balances add up to {has}")
        spent += amount_of(budgets[move.budget]["spent"])
    trial_balance = auditor.get("/v1/trial-balance")
    for total in trial_balance["totals"]:
        if Decimal(total["debit"]) != Decimal(total["credit"]):
            raise DemoError(f"the {total['sort']} accounts do not balance: {total}")
    for prefix, side in (("expenses:", "debit"), ("payables:", "credit")):
        booked = sum(
            (Decimal(line[side]) for line in trial_balance["lines"] if line["account"].startswith(prefix)), ZERO
        )
        if booked != spent:
            raise DemoError(f"the budgets spent {spent}, and {prefix.rstrip(':')} say {booked}")
    return budgets, trial_balance


def verify(database_url: str, book: str) -> str:
    """Run `bursar verify` and return its last line. Raises DemoError when the books do not verify."""
    arguments = ["verify", "--database-url", database_url, "--book", book]
    ended = subprocess.run(
        [*bursar_command(), *arguments], capture_output=True, text=True, timeout=VERIFY_SECONDS, check=False
    )
    lines = ended.stdout.strip().splitlines()
    if ended.returncode or not lines:
        raise DemoError(f"bursar verify ended with status {ended.returncode}: {ended.stdout}{ended.stderr}".strip())
    return lines[-1]
