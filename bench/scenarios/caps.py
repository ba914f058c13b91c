"""How much of a cap of 1.00 USD is used when many calls ask at once, through a real gateway to a fake provider.

LiteLLM 1.106 and otari, measured with the same arrangements in the same order: 108 % and 90 %; 108 % (0 % in its strict
mode) and 180 %; 27 % and 34 %.
"""

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import yaml

from bench.caps import ARRANGEMENTS, CONNECTIONS, Arrangement, CapBroken, Tally, spend_up
from bench.context import DATABASES, Context, Database, Line
from bench.http_client import HttpClient
from bench.servers import Server, bursar_server, fake_provider, initialize_book

PROVIDER_KEY = "sk-fake-bench"


def run(context: Context) -> list[Line]:
    """A line for each database and arrangement: what the provider billed ÷ the cap. Raises CapBroken where a cap was
    passed, an answer was a server error, or the books do not have what was billed."""
    provider = context.resources.enter_context(
        fake_provider(port=0, core=context.cores.load, directory=context.directory, behaviour="")
    )
    return [line for database in DATABASES for line in _lines(context, database, provider)]


def _lines(context: Context, database: Database, provider: Server) -> list[Line]:
    url = context.new_database(database)
    admin_key = initialize_book(url)
    options = ("--gateway-file", str(_gateway_file(context.directory, provider)))
    server = context.resources.enter_context(
        bursar_server(database, url, core=context.cores.server, directory=context.directory, options=options)
    )
    divisor = 10 if context.settings.rounds == 1 else 1
    return [_line(each.part(divisor), database, server, admin_key, provider) for each in ARRANGEMENTS.values()]


def _gateway_file(directory: Path, provider: Server) -> Path:
    """A gateway.yaml whose only provider is the fake one."""
    key = directory / "provider.key"
    key.write_text(PROVIDER_KEY, encoding="utf-8")
    path = directory / "gateway.yaml"
    openai = {"base_url": f"{provider.url}/v1", "key": {"file": key.name}}
    path.write_text(yaml.safe_dump({"providers": {"openai": openai}}), encoding="utf-8")
    return path


def _line(arrangement: Arrangement, database: Database, server: Server, admin_key: str, provider: Server) -> Line:
    before = _billed(provider)
    tally, budget = asyncio.run(_spend(arrangement, server, admin_key))
    billed = _billed(provider) - before
    said = f"{arrangement.what} on {database}: {billed} USD of {arrangement.cap}, {dict(tally.all)}"
    if tally.server_errors() or billed > arrangement.cap:
        raise CapBroken(said)
    if (Decimal(budget["spent"]["amount"]), Decimal(budget["held"]["amount"])) != (billed, 0):
        raise CapBroken(f"{said}; the budget has spent {budget['spent']}, and holds {budget['held']}")
    answered = tally.all[200, ""]
    return Line(
        scenario="caps",
        what=f"billed ÷ a cap of {arrangement.cap} USD, {arrangement.what}, on {database}",
        ratio=float(billed / arrangement.cap),
        target=arrangement.least / 100,
        detail=f"{billed / arrangement.cap:.3%}, {CONNECTIONS} connections; {answered} answered, "
        f"{tally.all.total() - answered} refused, no server error; the books have what was billed",
    )


async def _spend(arrangement: Arrangement, server: Server, admin_key: str) -> tuple[Tally, dict[str, Any]]:
    """Make an agent with a budget of the cap, and spend it up; the budget as it is then."""
    name = f"caps-{arrangement.name}"
    async with HttpClient(server.url, connections=1) as client:
        await client.create("/v1/agents", {"name": name}, key=admin_key)
        await client.create("/v1/budgets", {"name": name, "currency": "USD", "agents": [name]}, key=admin_key)
        amount = {"amount": {"amount": str(arrangement.cap), "currency": "USD"}}
        await client.create(f"/v1/budgets/{name}/allocations", amount, key=admin_key)
        made = await client.create("/v1/keys", {"role": "agent", "agent": name}, key=admin_key)
        tally = await spend_up([f"{server.url}/openai/v1"], str(made["key"]), arrangement)
        found: dict[str, Any] = (await client.get(f"/v1/budgets/{name}", key=admin_key)).json()
        return tally, found


def _billed(provider: Server) -> Decimal:
    """The sum of the provider's bill, in USD."""
    with urlopen(f"{provider.url}/_fake/bill", timeout=30) as answer:
        return Decimal(json.loads(answer.read())["total"])
