"""Drive a trace through a server as many agents, then compare the ledger's balances with sums of our own.

Each call of the trace (columns ContextTokens and GeneratedTokens) is authorized for the worst case, the
prompt plus 2,000 output tokens priced by genai-prices, and settled with the tokens generated. Invariant:
exit code 0 means that every answer was the one expected and that spent, expense and payable changed by
exactly what the trace cost; opening balances are subtracted, and names are new each time, so it may run again
against the same server, as long as nobody else spends in the same category or with the same payee meanwhile.
"""

import asyncio
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bench.http_client import HttpClient, RequestFailed, UnexpectedStatus
from bench.replay_money import (
    ZERO,
    Comparison,
    PricedCall,
    TraceUnreadable,
    deal_in_turn,
    decimal_of,
    price_calls,
    read_trace,
    text_of,
)
from bench.servers import ServerFailed, bursar_server, initialize_book
from ledger.core.money import currency_digits

HOLD_SECONDS = 3600
SETTLED_STATUSES = frozenset({200, 201})
SHOWN_PROBLEMS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What to replay and under which names. `token` makes the names of agents and budgets new."""

    admin_key: str
    model: str
    category: str
    payee: str
    currency: str
    shared_budget: bool
    calls_per_second: float
    token: str = field(default_factory=lambda: secrets.token_hex(4))


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent of the replay: its key, its budget's name, and its calls."""

    name: str
    key: str
    budget: str
    calls: list[PricedCall]


@dataclass(slots=True)
class Progression:
    """What happened so far: calls done, and answers that were not expected."""

    done: int = 0
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0


def budget_names(replay: Replay, agents: int) -> list[str]:
    """Each agent's budget: one each, or one for all."""
    if replay.shared_budget:
        return [f"replay-{replay.token}"] * agents
    return [f"replay-{replay.token}-{number:03d}" for number in range(agents)]


async def set_up(client: HttpClient, replay: Replay, hands: Sequence[list[PricedCall]]) -> list[Agent]:
    """Make a team, agents with keys, and budgets that hold every call's worst case at once."""
    admin = replay.admin_key
    team = f"replay-{replay.token}"
    names = [f"replayer-{replay.token}-{number:03d}" for number in range(len(hands))]
    budgets = budget_names(replay, len(hands))
    await client.create("/v1/teams", {"name": team}, key=admin)

    async def make_agent(name: str) -> str:
        await client.create("/v1/agents", {"name": name, "parent": team}, key=admin)
        made = await client.create("/v1/keys", {"role": "agent", "agent": name}, key=admin)
        return str(made["key"])

    async def make_budget(name: str) -> None:
        # A budget names at most 200 agents itself; the team stands for all of its agents.
        holders = [team] if replay.shared_budget else [names[budgets.index(name)]]
        needed = sum(
            (call.hold for hand, budget in zip(hands, budgets, strict=True) if budget == name for call in hand),
            ZERO,
        )
        body = {"name": name, "currency": replay.currency, "parent": None, "agents": holders}
        await client.create("/v1/budgets", body, key=admin)
        if needed:
            amount = {"amount": {"amount": text_of(needed), "currency": replay.currency}}
            await client.create(f"/v1/budgets/{name}/allocations", amount, key=admin)

    keys = await asyncio.gather(*map(make_agent, names))
    await asyncio.gather(*map(make_budget, dict.fromkeys(budgets)))
    return [Agent(*each) for each in zip(names, keys, budgets, hands, strict=True)]


async def replay_call(client: HttpClient, replay: Replay, agent: Agent, call: PricedCall) -> str:
    """Authorize and settle one call. Returns what was unexpected about an answer, or nothing."""

    def money(amount: Decimal) -> dict[str, str]:
        return {"amount": text_of(amount), "currency": replay.currency}

    body = {
        "amount": money(call.hold),
        "category": replay.category,
        "payee": replay.payee,
        "resource": replay.model,
        "budget": agent.budget,
        "ttl_seconds": HOLD_SECONDS,
        "labels": {"replay": replay.token},
    }
    asked = await client.post("/v1/authorizations", body, key=agent.key)
    if asked.status != 201:
        return f"{agent.name}: authorize {body['amount']}: {asked.status} {asked.body[:400].decode()}"
    path = f"/v1/authorizations/{asked.json()['id']}/settle"
    settlement = {"amount": money(call.cost), "final": True}
    settled = await client.post(path, settlement, key=agent.key)
    if settled.status not in SETTLED_STATUSES:
        return f"{agent.name}: settle {settlement['amount']}: {settled.status} {settled.body[:400].decode()}"
    return ""


async def drive(
    client: HttpClient,
    replay: Replay,
    agents: Sequence[Agent],
    *,
    connections: int,
    advance: Callable[[], None],
) -> Progression:
    """Replay all calls, the agents taking turns as in the trace, `connections` at a time."""
    progression = Progression()
    longest = max(len(agent.calls) for agent in agents)
    turns = ((agent, agent.calls[turn]) for turn in range(longest) for agent in agents if turn < len(agent.calls))
    started = time.monotonic()

    async def work() -> None:
        for agent, call in turns:
            if len(progression.problems) >= SHOWN_PROBLEMS:
                return
            progression.done += 1
            if replay.calls_per_second:
                due = started + progression.done / replay.calls_per_second
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            if problem := await replay_call(client, replay, agent, call):
                progression.problems.append(problem)
            advance()

    await asyncio.gather(*(work() for _ in range(connections)))
    progression.seconds = time.monotonic() - started
    return progression


async def balance(client: HttpClient, replay: Replay, account: str) -> Decimal:
    """An account's balance in the replay's currency; 0 for an account that does not exist yet."""
    path = f"/v1/accounts/{account}/balance?currency={replay.currency}"
    response = await client.get(path, key=replay.admin_key)
    if response.status == 404:
        return ZERO
    if response.status != 200:
        raise UnexpectedStatus(f"GET {path}: {response.status} {response.body[:400].decode(errors='replace')}")
    return abs(decimal_of(response.json()["balance"]))


async def trial_balance(client: HttpClient, replay: Replay) -> dict[str, Decimal]:
    """Each account's side of the trial balance (debit or credit), in the replay's currency."""
    response = await client.get("/v1/trial-balance", key=replay.admin_key)
    if response.status != 200:
        raise UnexpectedStatus(f"GET /v1/trial-balance: {response.status} {response.body[:400]!r}")
    return {
        line["account"]: abs(decimal_of(line.get("debit")) - decimal_of(line.get("credit")))
        for line in response.json()["lines"]
        if line["currency"] == replay.currency
    }


async def balances(client: HttpClient, replay: Replay, accounts: Sequence[str]) -> dict[tuple[str, str], Decimal]:
    """The accounts' balances, each read in two ways."""
    lines = await trial_balance(client, replay)
    read = {(account, "trial balance"): lines.get(account, ZERO) for account in accounts}
    amounts = await asyncio.gather(*(balance(client, replay, account) for account in accounts))
    read |= {(account, "balance"): amount for account, amount in zip(accounts, amounts, strict=True)}
    return read


def compare(
    opening: dict[tuple[str, str], Decimal],
    closing: dict[tuple[str, str], Decimal],
    *,
    spent: dict[str, Decimal],
    accounts_of_cost: Sequence[str],
) -> list[Comparison]:
    """Our sums beside the ledger's changes.

    `spent` has our sum for each budget. The first lines are totals; a budget has a line of its own only where
    it differs, so that a wrong total names the budget it comes from.
    """
    changes = {account: closing[account] - opening[account] for account in closing}
    total = sum(spent.values(), ZERO)
    lines, differing = [], []
    for way in ("balance", "trial balance"):
        by_budget = {budget: changes[f"budgets:{budget}:spent", way] for budget in spent}
        lines.append(Comparison(f"spent, all budgets ({way})", total, sum(by_budget.values(), ZERO)))
        lines += [Comparison(f"{account} ({way})", total, changes[account, way]) for account in accounts_of_cost]
        differing += [
            Comparison(f"budgets:{budget}:spent ({way})", ours, by_budget[budget])
            for budget, ours in spent.items()
            if ours != by_budget[budget]
        ]
        differing += [
            Comparison(f"budgets:{budget}:held ({way})", ZERO, changes[f"budgets:{budget}:held", way])
            for budget in spent
            if changes[f"budgets:{budget}:held", way]
        ]
    return lines + differing


async def run(
    url: str, replay: Replay, priced: list[PricedCall], *, agents: int, connections: int, console: Console
) -> bool:
    """Replay and compare; print both. Returns whether everything agreed."""
    hands = deal_in_turn(priced, agents)
    names = budget_names(replay, agents)
    spent = dict.fromkeys(names, ZERO)
    for name, hand in zip(names, hands, strict=True):
        spent[name] += sum((call.cost for call in hand), ZERO)
    accounts_of_cost = [f"expenses:{replay.category}", f"payables:{replay.payee}"]
    watched = accounts_of_cost + [f"budgets:{name}:{part}" for name in spent for part in ("spent", "held")]
    async with HttpClient(url, connections=connections) as client:
        opening = await balances(client, replay, watched)
        players = await set_up(client, replay, hands)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("replaying", total=len(priced))
            progression = await drive(
                client, replay, players, connections=connections, advance=lambda: progress.advance(task)
            )
        closing = await balances(client, replay, watched)
        comparisons = compare(opening, closing, spent=spent, accounts_of_cost=accounts_of_cost)
        report(console, replay, comparisons, progression, repeats=client.repeats)
    return not progression.problems and all(line.equal for line in comparisons)


def report(
    console: Console, replay: Replay, comparisons: list[Comparison], progression: Progression, *, repeats: int
) -> None:
    """Print both sums, the rate, and what was unexpected."""
    table = Table(title=f"{replay.model}, {replay.currency}, agents replayer-{replay.token}-*")
    for heading in ("what", "added up here", "in the ledger", "difference"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for line in comparisons:
        difference = "none" if line.equal else text_of(line.ledger - line.ours)
        style = None if line.equal else "red"
        table.add_row(line.what, text_of(line.ours), text_of(line.ledger), difference, style=style)
    console.print(table)
    rate = progression.done / progression.seconds if progression.seconds else 0.0
    console.print(
        f"{progression.done:,} calls authorized and settled in {progression.seconds:.1f} s: {rate:,.0f} "
        f"calls, {2 * rate:,.0f} requests a second; {repeats} requests repeated with their keys",
        highlight=False,
    )
    for problem in progression.problems:
        console.print(f"unexpected: {problem}", style="red", markup=False, highlight=False)


def start_server(resources: ExitStack, currency: str) -> tuple[str, str]:
    """A server of our own on a new SQLite file, until the resources are closed; its URL and admin key."""
    directory = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="bursar-replay-")))
    database_url = f"sqlite:///{directory / 'replay.db'}"
    admin_key = initialize_book(database_url, currency=currency)
    server = resources.enter_context(bursar_server("replay", database_url, core=None, directory=directory))
    return server.url, admin_key


@click.command(help="Replay TRACE (a CSV of real inference requests) and compare the books to the atom.")
@click.argument("trace", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="The server.")
@click.option("--admin-key", envvar="BURSAR_ADMIN_KEY", help="An admin key of the book.")
@click.option("--self-contained", is_flag=True, help="Start a server on a temporary SQLite file instead.")
@click.option("--model", default="gpt-5-mini", show_default=True, help="Whose prices to use.")
@click.option("--provider", default="openai", show_default=True, help="The model's provider, in genai-prices.")
@click.option("--payee", help="Who is paid; by default the provider.")
@click.option("--category", default="inference", show_default=True)
@click.option("--worst-output-tokens", default=2_000, show_default=True, type=click.IntRange(min=1))
@click.option("--agents", default=50, show_default=True, type=click.IntRange(1, 1000))
@click.option("--shared-budget", is_flag=True, help="One budget for all agents instead of one each.")
@click.option("--connections", default=16, show_default=True, type=click.IntRange(1, 1000))
@click.option("--rate", default=0.0, help="Calls a second; 0, the default, is as fast as possible.")
@click.option("--limit", default=0, help="Only the first so many calls; 0, the default, is all.")
@click.option("--budget-currency", default="USD", show_default=True, help="Prices are taken in it as they are.")
def main(**options: Any) -> None:
    """Replay a trace; exit 1 on any difference or unexpected answer, 2 on a trace or option that is wrong."""
    digits = currency_digits(options["budget_currency"])
    if digits is None:
        raise click.UsageError(f"{options['budget_currency']!r} is not a currency code")
    if not options["admin_key"] and not options["self_contained"]:
        raise click.UsageError("give --admin-key, or --self-contained")
    console = Console(width=None if sys.stdout.isatty() else 130)
    try:
        calls = read_trace(options["trace"])[: options["limit"] or None]
        priced = price_calls(
            calls,
            model=options["model"],
            provider=options["provider"],
            worst_output_tokens=options["worst_output_tokens"],
            digits=digits,
        )
    except (TraceUnreadable, LookupError) as error:
        raise click.UsageError(str(error)) from error
    with ExitStack() as resources:
        try:
            url, admin_key = options["url"], options["admin_key"]
            if options["self_contained"]:
                url, admin_key = start_server(resources, options["budget_currency"])
            replay = Replay(
                admin_key=admin_key,
                model=options["model"],
                category=options["category"],
                payee=options["payee"] or options["provider"],
                currency=options["budget_currency"],
                shared_budget=options["shared_budget"],
                calls_per_second=options["rate"],
            )
            agreed = asyncio.run(
                run(
                    url,
                    replay,
                    priced,
                    agents=options["agents"],
                    connections=options["connections"],
                    console=console,
                )
            )
        except (RequestFailed, UnexpectedStatus, ServerFailed) as error:
            raise click.ClickException(str(error)) from error
    sys.exit(0 if agreed else 1)


if __name__ == "__main__":
    main()
