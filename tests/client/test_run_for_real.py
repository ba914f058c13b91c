"""`bursar run` against a real server: the cap holds, the receipt is right, the key is worth nothing after."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.client.conftest import BURSAR
from tests.client.scripted_server import usd
from tests.support.server import ServerProcess, open_book, verified

# The gateway stands between in practice; what it does with the key is what this does: ask, settle, be refused.
AGENT = """
import json, os, sys, urllib.error, urllib.request
def ask(path, body, key):
    headers = {"authorization": "Bearer " + os.environ["BURSAR_KEY"], "idempotency-key": key,
               "content-type": "application/json"}
    request = urllib.request.Request(os.environ["BURSAR_URL"] + path, json.dumps(body).encode(), headers)
    try:
        return json.load(urllib.request.urlopen(request))
    except urllib.error.HTTPError as error:
        return json.load(error)
def hold(amount, key):
    return ask("/v1/authorizations", {"amount": {"amount": amount, "currency": "USD"}, "category": "inference",
                                      "payee": "openai", "resource": "gpt-5-mini"}, key)
first = hold("0.60", "a")
ask("/v1/authorizations/" + first["id"] + "/settle", {"amount": {"amount": "0.30", "currency": "USD"}}, "b")
print(first["state"], hold("0.80", "c")["code"])
print(os.environ["BURSAR_KEY"], file=open("key", "w"), end="")
sys.exit(9)
"""


@pytest.mark.parametrize("who", ["admin", "agent"])
def test_a_command_under_a_cap(database_url: str, tmp_path: Path, who: str) -> None:
    """0.30 of 1.00 is spent, 0.80 is refused for the cap although the budget has 10, and the books are right."""
    book = open_book(database_url)
    with ServerProcess(database_url, directory=tmp_path) as real, httpx.Client(base_url=real.url) as http:

        def post(path: str, body: dict[str, object], key: str = book.admin_key) -> httpx.Response:
            return http.post(path, json=body, headers={"authorization": f"Bearer {key}", "idempotency-key": path})

        post("/v1/agents", {"name": "crawler"})
        key = post("/v1/keys", {"role": "agent", "agent": "crawler"}).json()["key"]
        post("/v1/budgets", {"name": "lab", "currency": "USD", "agents": ["crawler"]})
        post("/v1/budgets/lab/allocations", {"amount": usd("10")})
        mine = ["--key", key] if who == "agent" else ["--key", book.admin_key, "--agent", "crawler"]
        options = [*mine, "--url", real.url, "--name", "r-1", "--json-receipt", "receipt.json"]

        def run() -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [BURSAR, "run", "--budget", "1.00", *options, "--", sys.executable, "-c", AGENT],
                cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip

        done = run()
        assert done.returncode == 9, done.stderr
        assert done.stdout == "held run_cap_exceeded\n"
        shown = json.loads((tmp_path / "receipt.json").read_text())
        assert (shown["calls"]["settled"], shown["calls"]["refused"]) == (1, 1)
        assert [model["cost"] for model in shown["models"]] == [usd("0.30")]
        assert (shown["cap"], shown["remaining"]) == (usd("1.00"), usd("0.70"))
        assert "cap      1.00 USD, 0.70 USD left" in done.stderr
        assert "refused  1 x gpt-5-mini, run_cap_exceeded" in done.stderr
        spent = (tmp_path / "key").read_text()
        assert http.get("/v1/me", headers={"authorization": f"Bearer {spent}"}).status_code == 401
        again = run()
        assert (again.returncode, again.stdout, again.stderr.count("\n")) == (2, "", 1)
    verified(database_url)
