"""`bursar me`: who a key is, and what it may still spend.

Invariant: reads only, and prints what the server tells, without arithmetic of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import click

from bursar.asking import remote, remote_options


@click.command(name="me")
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer as JSON and nothing else.")
@remote_options
def command(url: str, key: str, as_json: bool) -> None:
    """Show who a key is, its budgets, what each limit leaves it, and the cap of its run.

    \b
    For example:
      export BURSAR_URL=https://bursar.example.com BURSAR_API_KEY=bk_agent_...
      bursar me
    """
    with remote(url.rstrip("/"), key) as server:
        me = server.get("/v1/me")
    if as_json:
        click.echo(json.dumps(me))
        return
    for line in lines_of(me):
        click.echo(line)


def lines_of(me: Mapping[str, Any]) -> Iterator[str]:
    """The answer of ``GET /v1/me``, for people."""
    yield f"{me['principal']}, role {me['role']}, in book {me['book']}, key {me['key']}"
    agent = me.get("agent")
    if agent and agent.get("frozen"):
        yield f"{agent['name']} is frozen: nothing new is approved"
    yield from _run_lines(me.get("run"))
    for budget in me.get("budgets") or ():
        frozen = ", frozen" if budget.get("frozen") else ""
        yield (
            f"budget {budget['name']}: {_money(budget['available'])} available, {_money(budget['held'])} held, "
            f"{_money(budget['spent'])} spent{frozen}"
        )
    if agent and not me.get("budgets"):
        yield "no budget: nothing can be spent"
    for policy in me.get("policies") or ():
        yield f"policy {policy['name']}, version {policy['version']}" + (" (only tried)" if policy["shadow"] else "")
        if policy.get("error"):
            yield f"  it cannot be evaluated, and so denies everything: {policy['error']}"
        yield from _hours_lines(policy.get("hours"))
        for limit in policy.get("limits") or ():
            yield from _limit_lines(limit)
        for threshold in policy.get("approval") or ():
            yield f"  above {_money(threshold['above'])} per {threshold['window']}, {_people(threshold)}"
    if me.get("more_policies"):
        yield "and more policies than are shown"


def _run_lines(run: Any) -> Iterator[str]:
    """The run that the key is good for, by its name or with its cap."""
    if isinstance(run, str):
        yield f"run {run}"
    elif run:
        cap = f": cap {_money(run['cap'])}" if run.get("cap") else ", without a cap"
        left = f", {_money(run['remaining'])} left" if run.get("cap") and run.get("remaining") else ""
        yield f"run {run['name']}{cap}{left}"


def _hours_lines(hours: Any) -> Iterator[str]:
    if hours:
        now = "open now" if hours["open"] else f"closed now, opens at {hours.get('opens_at', 'a time not known')}"
        yield f"  {', '.join(hours['days'])} from {hours['from']} to {hours['to']} ({hours['timezone']}): {now}"


def _limit_lines(limit: Mapping[str, Any]) -> Iterator[str]:
    bounds = [_money(limit["limit"])] if limit.get("limit") else []
    bounds += [f"{limit['limit_count']} requests"] if limit.get("limit_count") is not None else []
    runs = " on opening runs" if limit.get("on") else ""
    resets = f", resets at {limit['resets_at']}" if limit.get("resets_at") else ""
    yield f"  limit {limit['id']}: {' and '.join(bounds)} per {limit['window']}{runs}{_left(limit)}{resets}"
    for used in limit.get("keys") or ():
        yield f"    {', '.join(used['key'])}{_left(used)}"
    if limit.get("more_keys"):
        yield "    and more than are shown"


def _left(use: Mapping[str, Any]) -> str:
    parts = [_money(use["remaining"])] if use.get("remaining") else []
    parts += [f"{use['remaining_count']} requests"] if use.get("remaining_count") is not None else []
    return f", {' and '.join(parts)} left" if parts else ""


def _people(threshold: Mapping[str, Any]) -> str:
    return f"{threshold['quorum']} of {', '.join(threshold['approvers'])} must agree"


def _money(money: Mapping[str, str]) -> str:
    return f"{money['amount']} {money['currency']}"
