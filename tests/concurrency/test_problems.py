"""Ways in which spend control failed users of other systems, each as a test here, or why it cannot happen.

Owns the table ``PROBLEMS``: for every reported problem that concerns the ledger, the tests that show it does not
happen here. A test makes sure that each of them exists.

By construction:

- *A cap kept in one process and dumped later.* A balance is a row that the deciding transaction changes; what a process
  keeps in memory is used only while the book's size and root are those it was read at.
- *Limits that multiply by the number of processes; lost updates.* The head of the book is locked before anything is
  read, and moved only from the size and root that were read.
- *Increments dropped at a deadlock.* A transaction locks one row, the head, first; and a batch that loses it is decided
  again as a whole.
- *Enforcement counter and true spend differ.* There is one number: the balance that decides is the one on statements.
- *An account row committed outside its transaction.* Rows are written by one function from one changeset, in the
  transaction that moves the head; the crash tests compare every row with the log.
- *Hashes over unescaped joins; metadata left out of the hash.* A leaf is the hash of canonical JSON with everything in
  it, labels included, and free text as a salted hash.
- *A price or a row mended by deleting.* Records and transfers refuse UPDATE and DELETE; finance corrects by entries.
- *A counter that resets at the wrong time.* A balance has no window that could reset. What concerns limits, which have,
  stands in ``core/test_problems_of_limits.py``.
- *A missing index, tables without partitions.* Look-ups are tested by buffers read, in ``tests/storage``.

What concerns the gateway and its metering stands in ``gateway/test_problems_table.py``.
"""

from __future__ import annotations

import ast
import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import Client, Office, at_once, authorization, request_bytes, usd
from tests.support.databases import sqlite_url
from tests.support.recorded import Recorded
from tests.support.server import OpenBook, ServerProcess, open_book, verified

TESTS = Path(__file__).resolve().parents[1]
ONE_BUDGET = "concurrency/test_one_budget.py::"
HERE = "concurrency/test_problems.py::"
PROBLEMS: dict[str, tuple[str, ...]] = {
    "concurrent requests all pass a read of past spend": (ONE_BUDGET + "test_exactly_what_fits_is_approved",),
    "the first requests of an unknown user skip the budget": (HERE + "test_who_has_no_budget_spends_nothing",),
    "limits multiply by server processes": (ONE_BUDGET + "test_exactly_what_fits_is_approved",),
    "caps kept in one process and dumped later": ("crash/test_kill.py::test_kill_of_the_process_group",),
    "other routes evade the budget": (HERE + "test_no_route_goes_around_the_budget",),
    "the last hold is shrunk to what is left": (HERE + "test_a_hold_is_never_shrunk_in_silence",),
    "holds accepted beyond the balance": (HERE + "test_six_holds_of_a_thousand_on_five_thousand",),
    "a concurrent commit reads the same remainder twice": (ONE_BUDGET + "test_a_hold_is_settled_once",),
    "lost updates": (ONE_BUDGET + "test_settle_against_release", HERE + "test_every_acknowledged_cent_is_counted"),
    "leaked reservations": (HERE + "test_a_client_that_leaves_leaks_nothing",),
    "enforcement counter and true spend differ": (HERE + "test_every_total_is_the_sum_of_its_parts",),
    "cleanup that fails counts twice": (HERE + "test_ending_a_hold_twice_gives_back_once",),
    "editing a limit zeroes its use": (HERE + "test_changing_a_budget_keeps_its_use",),
    "worst-case holds fill the budget while spend is near zero": (HERE + "test_held_is_told_apart_from_spent",),
    "client disconnects": (HERE + "test_a_client_that_leaves_leaks_nothing",),
    "timed-out calls are still billed": (HERE + "test_a_cost_that_comes_late_is_recorded",),
    "unsettled holds vanish": (HERE + "test_an_unknown_outcome_stays_held_and_listed",),
    "retries counted once or twice": (ONE_BUDGET + "test_one_idempotency_key_makes_one_hold",),
    "increments dropped at a deadlock": (HERE + "test_every_acknowledged_cent_is_counted",),
    "total differs from the sum of its keys": (HERE + "test_every_total_is_the_sum_of_its_parts",),
    "an expired hold still shown": (HERE + "test_an_expired_hold_is_gone_without_a_request",),
    "balances read at different moments": (HERE + "test_a_reader_sees_one_moment",),
    "a mistyped price mended by deleting rows": (HERE + "test_a_mistake_is_corrected_on_record",),
    "budget edits without a trace": (HERE + "test_changing_a_budget_keeps_its_use",),
    "an account row committed outside its transaction": ("crash/test_kill.py::test_kill_of_the_process_group",),
    "a changed body under the same key replayed": (ONE_BUDGET + "test_one_idempotency_key_for_different_requests",),
    "metadata left out of the hash": (HERE + "test_labels_are_part_of_what_is_hashed",),
}


def test_every_problem_has_its_tests() -> None:
    """The table names tests that exist."""
    for problem, names in PROBLEMS.items():
        assert names, problem
        for name in names:
            file, _, function = name.partition("::")
            tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
            found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            assert function in found, f"{problem}: there is no {name}"


class Shop:
    """A served book; each test has agents and budgets of its own."""

    def __init__(self, server: ServerProcess, book: OpenBook) -> None:
        self.server = server
        self.book = book
        self.office = Office(server.port, book.admin_key)
        self.finance = self.office.make_person("finance", "nadia")
        self._made = 0

    def agent(self, allocated: str = "100.00") -> tuple[str, str]:
        """(name, key) of a new agent with a budget of its name."""
        self._made += 1
        name = f"agent-{self._made}"
        return name, self.office.make_agent(name, budget=name, allocated=allocated)

    def post(self, path: str, body: Any, key: str) -> tuple[int, Any]:
        """The status and the content of an answer."""
        answer = self.office.send("POST", path, body, key=key)
        return answer.status, answer.json

    def hold(self, key: str, amount: str, **more: Any) -> str:
        """The id of a hold that must be had."""
        return str(self.office.make("/v1/authorizations", authorization(amount) | more, key=key)["id"])

    def settle(self, key: str, reference: str, amount: str, **more: Any) -> Any:
        """Settle, which must work."""
        return self.office.make(f"/v1/authorizations/{reference}/settle", {"amount": usd(amount), **more}, key=key)

    def budget(self, name: str) -> tuple[str, str, str]:
        """What is available, held and spent."""
        shown = self.office.get(f"/v1/budgets/{name}")
        return tuple(shown[part]["amount"] for part in ("available", "held", "spent"))  # type: ignore[return-value]

    def recorded(self) -> Recorded:
        """What is in the book."""
        return Recorded(self.book.database_url, self.book.book_id)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A server that ends due holds every second; in the end the books verify."""
    directory = tmp_path_factory.mktemp("problems")
    book = open_book(sqlite_url(directory))
    with ServerProcess(book.database_url, "--sweep-interval-seconds", "1", directory=directory) as server:
        yield Shop(server, book)
        server.stop()
    verified(book.database_url)


def test_who_has_no_budget_spends_nothing(shop: Shop) -> None:
    """An agent without a budget is refused until it has one, also for the smallest amount, and so is a key that nobody
    made. Another agent's budget is no way out."""
    shop.office.make("/v1/agents", {"name": "newcomer"})
    key = shop.office.make("/v1/keys", {"role": "agent", "agent": "newcomer"})["key"]
    other, _ = shop.agent()
    assert shop.post("/v1/authorizations", authorization("0.000000001"), key)[1]["code"] == "no_budget"
    status, problem = shop.post("/v1/authorizations", authorization("0.01", budget=other), key)
    assert (status, problem["code"]) == (403, "budget_not_permitted")
    assert shop.post("/v1/authorizations", authorization(), key[:-1] + "x")[0] == 401
    assert shop.budget(other) == ("100.00", "0.00", "0.00")


def test_no_route_goes_around_the_budget(shop: Shop) -> None:
    """Batches, extensions, partial settlements and evaluations meet the same balance; an agent has no other route."""
    name, key = shop.agent("10.00")
    items = [authorization("1.00") | {"idempotency_key": f"{name}-{number}"} for number in range(30)]
    verdicts = shop.post("/v1/authorizations/batch", {"items": items}, key)[1]["items"]
    assert [verdict["status"] for verdict in verdicts] == [201] * 10 + [429] * 20
    reference = verdicts[0]["authorization"]["id"]
    assert shop.post(f"/v1/authorizations/{reference}/extend", {"amount": usd("0.01")}, key)[0] in (403, 429)
    assert shop.post("/v1/evaluations", authorization("0.01"), key)[1]["status"] == 429
    shop.settle(key, reference, "1.00", final=False)
    assert shop.post("/v1/authorizations", authorization("0.01"), key)[0] == 429
    charge = {"budget": name, "amount": usd("1.00"), "category": "inference", "payee": "openai"}
    for path, body in (
        ("/v1/charges", charge),
        ("/v1/refunds", {"authorization": reference, "amount": usd("1.00")}),
        (f"/v1/budgets/{name}/allocations", {"amount": usd("1.00")}),
        ("/v1/budgets", {"name": "my-own", "currency": "USD"}),
        (f"/v1/budgets/{name}/agents", {"agents": [name]}),
    ):
        status, problem = shop.post(path, body, key)
        assert (status, problem["code"]) == (403, "role_not_allowed")
    assert shop.recorded().lowest(f"budgets:{name}:available") == 0


def test_a_hold_is_never_shrunk_in_silence(shop: Shop) -> None:
    """The last request gets all or nothing, unless it says that less is of use, and then it is told how much."""
    name, key = shop.agent("1.00")
    status, problem = shop.post("/v1/authorizations", authorization("1.50"), key)
    assert (status, problem["code"]) == (403, "insufficient_budget")
    status, made = shop.post("/v1/authorizations", authorization("1.50", partial_ok=True), key)
    assert (status, made["approved"]["amount"], made["amount"]["amount"]) == (201, "1.00", "1.50")
    assert shop.budget(name) == ("0.00", "1.00", "0.00")


def test_six_holds_of_a_thousand_on_five_thousand(shop: Shop) -> None:
    """Five are approved, at once or one after the other; the sixth fits when one has ended."""
    name, key = shop.agent("5000.00")

    async def ask(client: Client, number: int) -> int:
        return (await client.post("/v1/authorizations", authorization("1000.00"))).status

    statuses = asyncio.run(at_once([shop.server.port], key, 6, ask))
    assert sorted(statuses) == [201] * 5 + [429]
    held = shop.office.get(f"/v1/authorizations?state=held&budget={name}")["items"]
    shop.post(f"/v1/authorizations/{held[0]['id']}/release", {}, key)
    assert shop.post("/v1/authorizations", authorization("1000.00"), key)[0] == 201


def test_every_acknowledged_cent_is_counted(shop: Shop) -> None:
    """Many partial settlements of one hold at once: what the hold and the budget say is what was acknowledged."""
    name, key = shop.agent("100.00")
    reference = shop.hold(key, "50.00")

    async def settle(client: Client, number: int) -> int:
        acknowledged = 0
        for _ in range(5):
            body = {"amount": usd("0.07"), "final": False}
            acknowledged += (await client.post(f"/v1/authorizations/{reference}/settle", body)).status == 200
        return acknowledged

    count = sum(asyncio.run(at_once([shop.server.port], key, 32, settle)))
    assert count == 160
    assert shop.budget(name) == ("50.00", "38.80", "11.20")
    assert shop.office.get(f"/v1/authorizations/{reference}")["settled"]["amount"] == "11.20"


def test_a_client_that_leaves_leaks_nothing(shop: Shop) -> None:
    """It closes its connection before it has the answer: the hold is on record and listed, and ends by its time to
    live without anybody's help."""
    name, key = shop.agent("100.00")
    body = authorization("5.00") | {"ttl_seconds": 2}
    for number in range(10):
        with socket.create_connection(("127.0.0.1", shop.server.port)) as client:
            client.sendall(
                request_bytes("POST", "/v1/authorizations", key=key, body=body, idempotency_key=f"{name}-{number}")
            )
    deadline = time.monotonic() + 20
    while len(shop.office.get(f"/v1/authorizations?budget={name}")["items"]) < 10 and time.monotonic() < deadline:
        time.sleep(0.05)
    while shop.budget(name) != ("100.00", "0.00", "0.00") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert shop.budget(name) == ("100.00", "0.00", "0.00")
    listed = shop.office.get(f"/v1/authorizations?budget={name}")["items"]
    assert [item["state"] for item in listed] == ["expired"] * 10


def test_an_expired_hold_is_gone_without_a_request(shop: Shop) -> None:
    """The sweep records the expiry; balance and list agree, and the record says when."""
    name, key = shop.agent()
    reference = shop.hold(key, "5.00", ttl_seconds=1)
    deadline = time.monotonic() + 20
    while shop.budget(name)[1] != "0.00" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert shop.office.get(f"/v1/authorizations/{reference}")["state"] == "expired"
    assert shop.office.get(f"/v1/authorizations?state=held&budget={name}")["items"] == []
    expiries = [record for record in shop.recorded().of("expiry") if record.body["authorization"] == reference]
    assert len(expiries) == 1


def test_a_cost_that_comes_late_is_recorded(shop: Shop) -> None:
    """The hold has expired, the provider bills all the same: recorded, flagged late, and out of what is available."""
    name, key = shop.agent()
    reference = shop.hold(key, "5.00", ttl_seconds=1)
    deadline = time.monotonic() + 20
    while shop.budget(name)[1] != "0.00" and time.monotonic() < deadline:
        time.sleep(0.1)
    late = shop.settle(key, reference, "3.00")
    assert (late["state"], late["flags"]) == ("settled", ["late"])
    assert shop.budget(name) == ("97.00", "0.00", "3.00")


def test_an_unknown_outcome_stays_held_and_listed(shop: Shop) -> None:
    """A hold that says so is not given back when its time is over: it is flagged, listed, and waits for somebody."""
    name, key = shop.agent()
    reference = shop.hold(key, "5.00", ttl_seconds=1, on_expiry="unknown")
    deadline = time.monotonic() + 20
    path = f"/v1/authorizations?budget={name}&flag=unknown"
    while not shop.office.get(path)["items"] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [(item["id"], item["state"]) for item in shop.office.get(path)["items"]] == [(reference, "held")]
    assert shop.budget(name) == ("95.00", "5.00", "0.00")
    assert shop.settle(key, reference, "4.00")["state"] == "settled"
    assert shop.budget(name) == ("96.00", "0.00", "4.00")


def test_ending_a_hold_twice_gives_back_once(shop: Shop) -> None:
    """Whichever way it ends first, a second end changes nothing."""
    name, key = shop.agent()
    for first, second in (("settle", "release"), ("release", "release"), ("settle", "settle")):
        reference = shop.hold(key, "5.00")
        for verb, status in ((first, 200), (second, 409)):
            body = {"amount": usd("1.00")} if verb == "settle" else {}
            assert shop.post(f"/v1/authorizations/{reference}/{verb}", body, key)[0] == status
    assert shop.budget(name) == ("98.00", "0.00", "2.00")


def test_changing_a_budget_keeps_its_use(shop: Shop) -> None:
    """More or less authority changes what is available and nothing else; each change is a record with who and why; and
    what is held or spent cannot be taken away."""
    name, key = shop.agent("100.00")
    shop.settle(key, shop.hold(key, "30.00"), "20.00")
    shop.hold(key, "10.00")
    more = {"amount": usd("50.00"), "reason": "the second half of the year"}
    made = shop.office.make(f"/v1/budgets/{name}/allocations", more)
    assert shop.budget(name) == ("120.00", "10.00", "20.00")
    shop.office.make(f"/v1/budgets/{name}/deallocations", {"amount": usd("120.00")})
    assert shop.budget(name) == ("0.00", "10.00", "20.00")
    status, problem = shop.post(f"/v1/budgets/{name}/deallocations", {"amount": usd("0.01")}, shop.book.admin_key)
    assert (status, problem["code"]) == (409, "insufficient_available")
    record = shop.office.get(f"/v1/log/{made['log']['index']}")
    assert record["kind"] == "allocation"
    assert record["body"]["by"]["principal"].startswith("person:")
    assert record["body"]["by"]["key"].startswith("key_")


def test_held_is_told_apart_from_spent(shop: Shop) -> None:
    """A budget full of worst-case holds says that it is held and that waiting helps; a spent one says that it does
    not. What a settlement leaves is there at once."""
    name, key = shop.agent("10.00")
    references = [shop.hold(key, "2.00") for _ in range(5)]
    answer = shop.office.send("POST", "/v1/authorizations", authorization("2.00"), key=key)
    assert (answer.status, answer.code, "retry-after" in answer.headers) == (429, "budget_held", True)
    assert shop.budget(name) == ("0.00", "10.00", "0.00")
    shop.settle(key, references[0], "0.01")
    assert shop.budget(name) == ("1.99", "8.00", "0.01")
    for reference in references[1:]:
        shop.settle(key, reference, "2.00")
    answer = shop.office.send("POST", "/v1/authorizations", authorization("2.00"), key=key)
    assert (answer.status, answer.code) == (403, "insufficient_budget")


def test_every_total_is_the_sum_of_its_parts(shop: Shop) -> None:
    """Budgets by their authorizations, runs by theirs, expenses by payables, and the trial balance by all."""
    name, key = shop.agent("1000.00")
    spent, by_run = Decimal(0), {"run-a": Decimal(0), "run-b": Decimal(0)}
    for run in by_run:
        shop.office.make("/v1/runs", {"name": f"{name}-{run}"}, key=key)
    for number in range(30):
        run = ("run-a", "run-b")[number % 2]
        amount = Decimal(number * 7 % 40 + 1) / 100
        reference = shop.hold(key, "0.50", run=f"{name}-{run}", category=f"{name}-{number % 3}", payee=f"{name}-p")
        if number % 5:
            shop.settle(key, reference, str(amount))
            spent += amount
            by_run[run] += amount
    listed = shop.office.get(f"/v1/authorizations?budget={name}&limit=200")["items"]
    available, held, shown = (Decimal(part) for part in shop.budget(name))
    assert shown == spent == sum(Decimal(item["settled"]["amount"]) for item in listed)
    assert held == sum(Decimal(item["held"]["amount"]) for item in listed) == Decimal("3.00")
    assert available + held + shown == 1000
    for run, total in by_run.items():
        (row,) = shop.office.get(f"/v1/runs/{name}-{run}")["totals"]
        assert (Decimal(row["spent"]["amount"]), row["approved_count"]) == (total, 15)
    trial = shop.office.get("/v1/trial-balance")
    lines = {line["account"]: Decimal(line["debit"]) - Decimal(line["credit"]) for line in trial["lines"]}
    assert sum(lines[f"expenses:{name}-{number}"] for number in range(3)) == spent == -lines[f"payables:{name}-p"]
    assert all(total["debit"] == total["credit"] for total in trial["totals"])


def test_a_reader_sees_one_moment(shop: Shop) -> None:
    """While many clients write, every trial balance balances, and every budget adds up to what it was given."""
    name, key = shop.agent("50.00")
    stop = threading.Event()

    async def churn(client: Client, number: int) -> None:
        while not stop.is_set():
            made = await client.post("/v1/authorizations", authorization("2.00"))
            if made.status == 201:
                path = f"/v1/authorizations/{made.json['id']}/settle"
                await client.post(path, {"amount": usd("0.01")})

    writing = threading.Thread(target=lambda: asyncio.run(at_once([shop.server.port], key, 16, churn)))
    writing.start()
    seen = set()
    try:
        for _ in range(30):
            trial = shop.office.get("/v1/trial-balance")
            seen.add(trial["log_size"])
            assert all(total["debit"] == total["credit"] for total in trial["totals"])
            assert sum(Decimal(part) for part in shop.budget(name)) == 50
    finally:
        stop.set()
        writing.join(30)
    assert len(seen) > 5, "nothing was written meanwhile"


def test_a_mistake_is_corrected_on_record(shop: Shop) -> None:
    """Settled at a mistyped price: refunded and charged anew, the first record untouched, both linked and named."""
    name, key = shop.agent()
    reference = shop.hold(key, "50.00", category=f"{name}-c", payee=f"{name}-p")
    wrong = shop.settle(key, reference, "45.00")
    before = shop.office.get(f"/v1/log/{wrong['log']['index']}")
    refund = {"authorization": reference, "amount": usd("45.00"), "reason": "typed 45.00 for 4.50"}
    refunded = shop.office.make("/v1/refunds", refund, key=shop.finance)
    charge = {"budget": name, "amount": usd("4.50"), "category": f"{name}-c", "payee": f"{name}-p"}
    charged = shop.office.make("/v1/charges", charge, key=shop.finance)
    assert shop.budget(name) == ("95.50", "0.00", "4.50")
    assert shop.office.get(f"/v1/log/{wrong['log']['index']}") == before
    assert refunded["authorization"] == reference
    assert "unauthorized" in charged["flags"]
    status, problem = shop.post("/v1/refunds", refund, shop.finance)
    assert (status, problem["code"]) == (409, "refund_too_large")


def test_labels_are_part_of_what_is_hashed(shop: Shop) -> None:
    """Two requests that differ in a label, or in how labels are cut, have bodies that differ there."""
    _, key = shop.agent()
    bodies = []
    for labels in ({"a": "b,c=d"}, {"a": "b", "c": "d"}, {"a": "b"}):
        made = shop.office.make("/v1/authorizations", authorization(labels=labels), key=key)
        record = shop.office.get(f"/v1/log/{made['log']['index']}")
        assert record["leaf_hash"] == made["log"]["leaf_hash"]
        bodies.append(record["body"]["request"]["labels"])
    assert bodies == [[["a", "b,c=d"]], [["a", "b"], ["c", "d"]], [["a", "b"]]]
