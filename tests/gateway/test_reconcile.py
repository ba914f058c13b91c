"""`bursar gateway reconcile` against a real server: what it lists, settles, releases, asks and refuses."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bursar import Refused, name_in_environment
from gateway.cli import reconcile
from gateway.cli.group import command as gateway_group
from ledger.services.books import open_new_book
from ledger.services.verify import verify_books
from tests.support.clients import Office, authorization, usd
from tests.support.databases import DATABASE_KINDS, postgresql_database, sqlite_url
from tests.support.server import OpenBook, ServerProcess, open_book, wait_until

NUMBERS = itertools.count()
FUTURE = "2100-01-01"
name_in_environment(gateway_group)


@pytest.fixture(scope="module", params=DATABASE_KINDS, ids=DATABASE_KINDS)
def first_book(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBook]:
    """A database of each kind, with a book."""
    if request.param == "sqlite":
        yield open_book(sqlite_url(tmp_path_factory.mktemp("reconcile")))
        return
    with postgresql_database(request.getfixturevalue("postgres_server")) as url:
        yield open_book(url)


@pytest.fixture(scope="module")
def server(first_book: OpenBook, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that the tests of the module share; each has a book of its own."""
    folder = tmp_path_factory.mktemp("log")
    with ServerProcess(first_book.database_url, "--sweep-interval-seconds", "1", directory=folder) as running:
        yield running


class Desk:
    """Finance's desk at a book with an agent whose calls are lost."""

    def __init__(self, server: ServerProcess, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.book = f"book-{next(NUMBERS)}"
        opened = open_new_book(server.database_url, name=self.book, currency="USD", timezone="UTC")
        self.admin = opened.admin_key
        self.office = Office(server.port, self.admin)
        self.agent = self.office.make_agent("crawler", budget="research")
        self.finance = self.office.make_person("finance", "fred")

    def call(self, amount: str = "1.00", *, ttl_seconds: int = 1, **more: Any) -> str:
        """A hold as the gateway makes it; its id."""
        fields = {"on_expiry": "unknown", "resource": "gpt-5-mini", "ttl_seconds": ttl_seconds} | more
        return str(self.office.make("/v1/authorizations", authorization(amount, **fields), key=self.agent)["id"])

    def lost(self, *amounts: str) -> list[str]:
        """Calls of these amounts that the gateway gave up."""
        made = [self.call(amount, ttl_seconds=600) for amount in amounts]
        for one in made:
            self.office.make(f"/v1/authorizations/{one}/unknown", {"reason": "timed out"}, key=self.agent)
        return made

    def bill(self, *lines: dict[str, Any], name: str = "bill.jsonl") -> str:
        """The path of a bill with these lines."""
        path = self.folder / name
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return str(path)

    def run(self, *arguments: str, key: str | None = None, answer: str = "") -> Result:
        """Type `bursar gateway reconcile ARGUMENTS`."""
        environment = {"BURSAR_URL": self.server.url, "BURSAR_API_KEY": key or self.finance}
        words = ["reconcile", *arguments]
        return CliRunner().invoke(gateway_group, words, env=environment, input=answer)

    def json(self, *arguments: str, **more: Any) -> dict[str, Any]:
        """What it prints with --json; it must work."""
        done = self.run(*arguments, "--json", "--yes", **more)
        assert done.exit_code == 0, done.output
        found: dict[str, Any] = json.loads(done.output)
        return found

    def outcomes(self, *arguments: str, **more: Any) -> dict[str, str]:
        """Call to what became of it."""
        return {item["authorization"]: item["outcome"] for item in self.json(*arguments, **more)["calls"]}

    def state(self, reference: str) -> tuple[str, str, list[str]]:
        """(state, settled, flags) of an authorization."""
        found = self.office.get(f"/v1/authorizations/{reference}")
        return found["state"], found["settled"]["amount"], found["flags"]

    def money(self) -> tuple[str, str]:
        """(held, spent) of the budget."""
        found = self.office.get("/v1/budgets/research")
        return found["held"]["amount"], found["spent"]["amount"]


@pytest.fixture
def desk(server: ServerProcess, tmp_path: Path) -> Desk:
    """A desk at a book of the test's own."""
    return Desk(server, tmp_path)


def test_a_month_is_reconciled_with_its_bill(desk: Desk) -> None:
    """Listed; tried; done; done again, which changes nothing; and the books verify."""
    named, summed, absent = desk.lost("1.00", "2.00", "3.00")
    unconcerned = desk.call("4.00", ttl_seconds=600)
    assert desk.outcomes() == {named: "keep", summed: "keep", absent: "keep"}
    bill = desk.bill(
        {"client_request_id": named, "id": "resp_1", "cost": "0.25", "model": "gpt-5-mini-2025-08-07"},
        {"client_request_id": summed, "id": "resp_2", "cost": 0.10},
        {"client_request_id": summed, "id": "resp_3", "cost": 0.20},
        {"client_request_id": "auth_of_another", "id": "resp_4", "cost": "9"},
    )
    arguments = ("--bill", bill, "--bill-until", FUTURE, "--absent", "release")
    tried = desk.run(*arguments, "--dry-run")
    assert tried.exit_code == 0, tried.output
    for text in ("one line names it, 0.25 USD", "the sum of 2 lines names it, 0.3 USD", "1 lines of the bill", "9 USD"):
        assert text in tried.output
    assert desk.money() == ("10.00", "0.00")
    done = desk.json(*arguments)
    assert {item["authorization"]: item["outcome"] for item in done["calls"]} == {
        named: "settle", summed: "settle", absent: "release",
    }  # fmt: skip
    assert [(one["what"], one["calls"], one["amount"]) for one in done["totals"]] == [
        ("known", 2, "0.55"), ("settled", 2, "0.55"), ("released", 1, "3"),
    ]  # fmt: skip
    assert done["other_bill_lines"] == {"lines": 1, "cost": {"USD": "9"}}
    assert desk.state(named) == ("settled", "0.25", [])
    assert desk.state(summed) == ("settled", "0.30", [])
    assert desk.state(absent) == ("released", "0.00", [])
    assert desk.state(unconcerned)[0] == "held"
    assert desk.money() == ("4.00", "0.55")
    size = desk.office.log_size()
    assert desk.json(*arguments)["calls"] == []
    assert desk.office.log_size() == size
    (report,) = verify_books(desk.server.database_url, book=desk.book)
    assert report.verified


def test_the_evidence_names_the_line(desk: Desk) -> None:
    """Beside the settlement's record, for whoever asks later."""
    (named,) = desk.lost("1.00")
    bill = desk.bill({"client_request_id": named, "id": "resp_1", "cost": "0.25", "time": "2026-11-01T10:00:00Z"})
    assert desk.outcomes("--bill", bill) == {named: "settle"}
    last = desk.office.get(f"/v1/authorizations/{named}")["last_log"]["index"]
    texts = desk.office.get(f"/v1/log/{last}?texts=true")["texts"]
    evidence = json.loads(texts["evidence"])
    assert evidence["lines"] == [
        {
            "bill": "bill.jsonl", "line": 1, "client_request_id": named, "response_id": "resp_1", "cost": "0.25",
            "time": "2026-11-01T10:00:00Z",
        }
    ]  # fmt: skip


def test_a_bill_that_says_what_was_used(desk: Desk) -> None:
    """Priced where the published prices know the model, and kept where they do not."""
    known, unknown = desk.lost("1.00", "1.00")
    usage = {"input_tokens": 1000, "output_tokens": 500}
    bill = desk.bill(
        {"client_request_id": known, "id": "resp_1", **usage},
        {"client_request_id": unknown, "model": "nobody-knows", **usage},
    )
    done = desk.json("--bill", bill)
    assert {item["authorization"]: item["outcome"] for item in done["calls"]} == {known: "settle", unknown: "keep"}
    assert "without a cost that can be known" in done["calls"][1]["why"]
    # 1,000 of 0.25 and 500 of 2.00 dollars a million.
    assert desk.state(known) == ("settled", "0.00125", [])
    metering = desk.office.get(f"/v1/authorizations/{known}")["metering"]
    assert metering.pop("price.source").startswith("genai-prices ")
    assert {name: value for name, value in metering.items() if not name.startswith("price.")} == {
        "provider": "openai", "model": "gpt-5-mini", "tier": "standard", "response_id": "resp_1",
        "input_tokens": "1000", "output_tokens": "500",
    }  # fmt: skip


def test_partial_settlements_are_taken_off(desk: Desk) -> None:
    """What was billed is what the call comes to in all."""
    made = desk.call("1.00")
    partly = {"amount": usd("0.15"), "final": False, "metering": {"response_id": "resp_7"}}
    desk.office.make(f"/v1/authorizations/{made}/settle", partly, key=desk.agent)
    wait_until(lambda: desk.outcomes() == {made: "keep"}, seconds=30, what="the end of the hold's time")
    # The response's id is known from the partial settlement, so the bill need not know the authorization's.
    assert desk.outcomes("--bill", desk.bill({"id": "resp_7", "cost": "0.20"})) == {made: "settle"}
    assert desk.state(made) == ("settled", "0.20", [])


def test_a_corrected_price_is_part_of_what_was_settled(desk: Desk) -> None:
    """What is left of the bill is settled, at the prices that hold now."""
    made = desk.call("1.00", ttl_seconds=600)
    path = f"/v1/authorizations/{made}"
    desk.office.make(f"{path}/settle", {"amount": usd("0.15"), "final": False}, key=desk.agent)
    price = {"old_price": {"input_mtok": "1"}, "new_price": {"input_mtok": "0.5"}, "reason": "typo"}
    corrected = {"authorization": made, "settled": usd("0.15"), "amount": usd("0.10"), **price}
    desk.office.make("/v1/reprices", corrected, key=desk.finance)
    desk.office.make(f"{path}/unknown", {}, key=desk.agent)
    assert desk.outcomes("--bill", desk.bill({"client_request_id": made, "cost": "0.30"})) == {made: "settle"}
    assert desk.money() == ("0.00", "0.30")


@pytest.mark.parametrize(("option", "state"), [("--settle-all", "settled"), ("--release-all", "released")])
def test_all_of_them_with_a_reason(desk: Desk, option: str, state: str) -> None:
    """Settled at what they hold, or released; a reason is needed."""
    made = desk.lost("0.50", "0.25")
    assert "say why with --reason" in desk.run(option).output
    assert set(desk.outcomes(option, "--reason", "host lost")) == set(made)
    assert {desk.state(one)[0] for one in made} == {state}
    assert desk.state(made[0])[2] == (["estimated"] if state == "settled" else [])
    assert desk.money() == (("0.00", "0.75") if state == "settled" else ("0.00", "0.00"))


def test_holds_of_a_gateway_that_is_gone(desk: Desk) -> None:
    """Open holds only where they are asked for, are old enough, and would be kept when their time runs out."""
    old = desk.call("0.50", ttl_seconds=600)
    ordinary = desk.call("0.50", ttl_seconds=600, on_expiry="release")
    other = desk.call("0.50", ttl_seconds=600, category="search")
    assert desk.outcomes() == {}
    assert desk.outcomes("--include-open", "--older-than", "10m") == {}
    wait_until(
        lambda: desk.outcomes("--include-open", "--older-than", "1s") == {old: "keep"}, seconds=30, what="its age"
    )
    arguments = ("--include-open", "--older-than", "1s", "--settle-all", "--reason", "host lost")
    assert "its time runs" in desk.run(*arguments, "--dry-run").output
    assert desk.outcomes(*arguments) == {old: "settle"}
    assert desk.state(old) == ("settled", "0.50", ["estimated"])
    assert {desk.state(one)[0] for one in (ordinary, other)} == {"held"}
    assert desk.outcomes("--category", "search", *arguments) == {other: "settle"}


def test_it_asks_before_it_changes_anything(desk: Desk) -> None:
    """A no, or nobody who could say yes, changes nothing."""
    (made,) = desk.lost("0.50")
    for answer in ("n\n", ""):
        asked = desk.run("--release-all", "--reason", "r", answer=answer)
        assert asked.exit_code == 1
        assert made in asked.output
        assert desk.state(made)[0] == "held"
    assert desk.run("--release-all", "--reason", "r", answer="y\n").exit_code == 0
    assert desk.state(made)[0] == "released"


def test_who_may(desk: Desk) -> None:
    """An admin sees and does not touch; an agent sees and settles its own; an auditor sees."""
    (made,) = desk.lost("0.50")
    auditor = desk.office.make_person("auditor", "ada")
    for key in (desk.admin, auditor):
        assert desk.outcomes(key=key) == {made: "keep"}
        refused = desk.run("--release-all", "--reason", "r", "--yes", key=key)
        assert refused.exit_code == 2
        assert "use a key with role finance" in refused.output
    other = desk.office.make_agent("reader")
    assert desk.outcomes(key=other) == {}
    assert desk.outcomes("--agent", "crawler") == {made: "keep"}
    assert desk.outcomes("--release-all", "--reason", "r", key=desk.agent) == {made: "release"}


def test_what_somebody_else_resolved_meanwhile(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left alone, and told."""
    first, second = desk.lost("0.50", "0.60")
    carried_out = reconcile._carried_out

    def late(server: Any, step: Any) -> Any:
        if step.call.authorization == first:
            desk.office.make(f"/v1/authorizations/{first}/settle", {"amount": usd("0.10")}, key=desk.agent)
        return carried_out(server, step)

    monkeypatch.setattr(reconcile, "_carried_out", late)
    assert desk.outcomes("--settle-all", "--reason", "r") == {first: "resolved meanwhile", second: "settle"}
    assert desk.state(first)[1] == "0.10"


def test_a_refusal_is_told_and_the_rest_goes_on(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """One call that cannot be settled: status 1, the others settled, and a second run takes up what is left."""
    first, second = desk.lost("0.50", "0.60")
    body_of = reconcile.body_of

    def refuse_the_first(step: Any) -> Any:
        if step.call.authorization == first:
            raise Refused({"code": "book_frozen", "detail": "not now"})
        return body_of(step)

    monkeypatch.setattr(reconcile, "body_of", refuse_the_first)
    arguments = ("--settle-all", "--reason", "r")
    done = desk.run(*arguments, "--yes", "--json")
    assert done.exit_code == 1
    calls = {item["authorization"]: (item["outcome"], item["why"]) for item in json.loads(done.output)["calls"]}
    assert calls == {first: ("failed", "not now (book_frozen)"), second: ("settle", "r")}
    monkeypatch.undo()
    assert desk.outcomes(*arguments) == {first: "settle"}


def test_lists_of_many_pages(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call, oldest first."""
    monkeypatch.setattr("bursar.asking.PAGE_ITEMS", 2)
    made = desk.lost("0.01", "0.02", "0.03", "0.04", "0.05")
    assert list(desk.outcomes()) == made


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--settle-all", "--release-all", "--reason", "r"], "choose one"),
        (["--bill-until", "2026-12-01"], "--bill-until says nothing without --bill"),
        (["--column", "cost=x"], "--column says nothing without --bill"),
        (["--bill", "BILL", "--absent", "release"], "--absent needs --bill and --bill-until"),
        (["--absent", "settle"], "--absent needs --bill and --bill-until"),
        (["--bill", "BILL", "--settle-all", "--reason", "r"], "choose one"),
        (["--bill", "BILL", "--bill-until", "soon"], '"soon" is no time'),
        (["--bill", "BILL", "--column", "cost"], '"cost" names no column'),
        (["--bill", "BILL", "--column", "price=x"], "price is no field of a bill"),
        (["--bill", "BILL", "--column", "client_request_id=x", "--column", "response_id=y"], "no line names a call"),
        (["--include-open", "--older-than", "soon"], '"soon" is no length of time'),
    ],
)
def test_what_does_not_go_together(desk: Desk, arguments: list[str], sentence: str) -> None:
    """One sentence, status 2, nothing changed."""
    bill = desk.bill({"id": "a", "cost": 1})
    refused = desk.run(*(bill if one == "BILL" else one for one in arguments))
    assert refused.exit_code == 2, refused.output
    assert sentence in " ".join(refused.output.split())


def test_nothing_to_do(desk: Desk) -> None:
    """Said, with status 0."""
    done = desk.run()
    assert (done.exit_code, done.output.strip()) == (0, "No call's outcome is unknown.")
