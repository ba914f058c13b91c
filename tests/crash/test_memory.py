"""The server's memory does not grow with what it has decided."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest

from tests.support.clients import Answer, Client, Office, at_once, authorization
from tests.support.server import ServerProcess, open_book

LONG = os.environ.get("BURSAR_LONG") == "1"
MEASURED = 1_000_000 if LONG else 100_000
# Until then the database's page cache and the bounded caches of the authorizer fill up.
WARM_UP = 60_000
BYTES_PER_AUTHORIZATION_MAX = 100
ITEMS = 1000
CLIENTS = 2


def resident_bytes(pid: int) -> int:
    """The resident size of a process."""
    found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found.group(1)) * 1024


def authorize(port: int, key: str, count: int, name: str) -> None:
    """Have this many authorizations approved through the batch endpoint."""

    async def work(client: Client, number: int) -> None:
        for batch in range(number, count // ITEMS, CLIENTS):
            keys = (f"{name}-{batch}-{item}" for item in range(ITEMS))
            body = {"items": [authorization("0.01") | {"idempotency_key": each} for each in keys]}
            answer: Answer = await client.post("/v1/authorizations/batch", body)
            assert answer.status == 200
            assert answer.body.count(b'"status":201') == ITEMS

    asyncio.run(at_once([port], key, CLIENTS, work))


@pytest.mark.timeout(1800 if LONG else 300)
def test_memory_does_not_grow_with_authorizations(database_url: str, tmp_path: Path) -> None:
    """After warm-up, resident size grows by less than 100 bytes for each of 100,000 authorizations that stay open
    (a million with BURSAR_LONG=1)."""
    book = open_book(database_url)
    with ServerProcess(database_url, directory=tmp_path) as server:
        key = Office(server.port, book.admin_key).make_agent("crawler", budget="research", allocated="1000000.00")
        authorize(server.port, key, WARM_UP, "warm-up")
        before = resident_bytes(server.pid)
        authorize(server.port, key, MEASURED, "measured")
        grown = resident_bytes(server.pid) - before
        assert grown / MEASURED < BYTES_PER_AUTHORIZATION_MAX, f"{grown:,} bytes on top of {before:,}"
        server.stop()
