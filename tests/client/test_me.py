"""`bursar me`: its lines, and what a real server answers."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import httpx
import pytest

from bursar.me import lines_of
from tests.client.conftest import BURSAR, environment
from tests.client.scripted_server import ADMIN_KEY, AGENT_KEY, ScriptedServer, usd
from tests.support.server import ServerProcess, open_book

ME = {
    "key": "key_1",
    "role": "agent",
    "principal": "agent:crawler",
    "book": "acme",
    "agent": {"name": "crawler", "frozen": True},
    "run": {"name": "r-1", "cap": usd("5.00"), "remaining": usd("1.25")},
    "budgets": [{"name": "lab", "frozen": False, "available": usd("7.00"), "held": usd("1.00"), "spent": usd("2.00")}],
    "policies": [
        {
            "name": "crawlers",
            "version": 3,
            "shadow": False,
            "limits": [
                {"id": "day", "window": "day", "limit": usd("9.00"), "used": usd("2.00"), "remaining": usd("7.00"),
                 "resets_at": "2026-11-02T00:00:00Z"},
                {"id": "rate", "window": "rolling minute", "limit_count": 60, "remaining_count": 58},
                {"id": "runs", "window": "run", "limit": usd("3.00"), "by": ["run"], "more_keys": True,
                 "keys": [{"key": ["r-1"], "remaining": usd("0.50")}]},
            ],
            "approval": [{"id": "a", "window": "day", "above": usd("2.00"), "quorum": 1, "approvers": ["finance"]}],
            "hours": {"days": ["mon"], "from": "07:00", "to": "20:00", "timezone": "UTC", "open": False,
                      "opens_at": "2026-11-02T07:00:00Z"},
        }
    ],
}  # fmt: skip


def test_every_part_of_the_answer_is_told() -> None:
    """The lines of a key that has one of each."""
    assert list(lines_of(ME)) == [
        "agent:crawler, role agent, in book acme, key key_1",
        "crawler is frozen: nothing new is approved",
        "run r-1: cap 5.00 USD, 1.25 USD left",
        "budget lab: 7.00 USD available, 1.00 USD held, 2.00 USD spent",
        "policy crawlers, version 3",
        "  mon from 07:00 to 20:00 (UTC): closed now, opens at 2026-11-02T07:00:00Z",
        "  limit day: 9.00 USD per day, 7.00 USD left, resets at 2026-11-02T00:00:00Z",
        "  limit rate: 60 requests per rolling minute, 58 requests left",
        "  limit runs: 3.00 USD per run",
        "    r-1, 0.50 USD left",
        "    and more than are shown",
        "  above 2.00 USD per day, 1 of finance must agree",
    ]


@pytest.mark.parametrize("run", [None, {"name": "r-1"}])
def test_a_key_without_anything_is_told_so(run: dict[str, str] | None) -> None:
    """No budget, and a run without a cap or none."""
    me = {**ME, "agent": {"name": "crawler"}, "run": run, "budgets": [], "policies": []}
    expected = [*(["run r-1, without a cap"] if run else []), "no budget: nothing can be spent"]
    assert list(lines_of(me))[1:] == expected


def me(server: ScriptedServer, *arguments: str, key: str = AGENT_KEY) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BURSAR, "me", *arguments],
        env=environment(server, key),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_json_is_the_servers_answer(server: ScriptedServer) -> None:
    """As it is, for programs."""
    assert json.loads(me(server, "--json").stdout) == server.me(AGENT_KEY)[1]
    assert me(server, key=ADMIN_KEY).stdout == "person:root, role admin, in book acme, key key_1\n"


def test_what_goes_wrong_is_one_sentence(server: ScriptedServer) -> None:
    """1 when the server refuses, 2 when it cannot be asked."""
    refused = me(server, key="bk_agent_wrong")
    assert (refused.returncode, refused.stderr) == (
        1, "Error: The key is not one of this book's (unauthenticated)\n",
    )  # fmt: skip
    away = me(server, "--url", "http://127.0.0.1:9")
    assert (away.returncode, away.stderr.count("\n")) == (2, 1)


def test_the_key_may_come_under_either_name(server: ScriptedServer) -> None:
    """BURSAR_KEY is what `bursar run` also gives to its command."""
    mine = environment(server)
    del mine["BURSAR_API_KEY"]
    done = subprocess.run(
        [BURSAR, "me"], env={**mine, "BURSAR_KEY": AGENT_KEY}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.startswith("agent:crawler, role agent"), done.stderr


def test_a_real_server_is_understood(database_url: str, tmp_path: Path) -> None:
    """An agent with a budget of 10, 4 of it held."""
    book = open_book(database_url)
    with ServerProcess(database_url, directory=tmp_path) as real:
        with httpx.Client(base_url=real.url, trust_env=False) as http:

            def post(path: str, body: dict[str, object], key: str = book.admin_key) -> dict[str, str]:
                headers = {"authorization": f"Bearer {key}", "idempotency-key": path}
                answer = http.post(path, json=body, headers=headers)
                assert answer.status_code in (200, 201), answer.text
                return answer.json()  # type: ignore[no-any-return]

            post("/v1/agents", {"name": "crawler"})
            key = post("/v1/keys", {"role": "agent", "agent": "crawler"})["key"]
            post("/v1/budgets", {"name": "lab", "currency": "USD", "agents": ["crawler"]})
            post("/v1/budgets/lab/allocations", {"amount": usd("10")})
            post("/v1/authorizations", {"amount": usd("4"), "category": "inference", "payee": "openai"}, key)
        done = subprocess.run(
            [BURSAR, "me", "--url", real.url, "--key", key], capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("agent:crawler, role agent, in book acme, key key_")
    assert lines[1] == "budget lab: 6.00 USD available, 4.00 USD held, 0.00 USD spent"
