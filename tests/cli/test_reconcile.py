"""`bursar reconcile` against the real server: what it finds, what it books, and that nothing doubles."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import sqlite_url
from tests.support.reconciled import SETTINGS, Books, Days, kinds
from tests.support.running_app import RunningApp, authorization, usd


@pytest.fixture
def books(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Books]:
    """A book of a test's own, on either database."""
    days = Days()
    with RunningApp(database_url, sources=days, **SETTINGS) as app:
        yield Books(app, days, tmp_path, monkeypatch.setattr)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Books]:
    """The same on SQLite, for what no database has a part in."""
    days = Days()
    with RunningApp(sqlite_url(tmp_path), sources=days, **SETTINGS) as app:
        yield Books(app, days, tmp_path, monkeypatch.setattr)


def settled(books: Books) -> list[tuple[str, str]]:
    """Kind and amount of everything that was spent with openai so far."""
    text = books.app.get(f"/v1/statements?scope=payee:openai&period={books.period(0, 9)}", key=books.finance).json
    return [(line["kind"], line["amount"]["amount"]) for line in text["lines"]]


def test_each_difference_is_booked_once(books: Books) -> None:
    """Missing here becomes a charge of its day, another cost a reprice of the call, what is missing there nothing; a
    second run finds nothing, and all of it verifies."""
    books.call(0, "1.00", tokens=(10, 2))
    books.call(0, "2.00", tokens=(10, 2))
    dear = books.call(1, "4.00", "gpt-5-mini")
    odd = books.call(1, "0.50", "o3")
    books.days.put(3)
    report = books.costs((0, "gpt-5", "3.00"), (0, "o3", "0.25"), (1, "gpt-5-mini", "3.10"))
    before = books.said("--report", report)
    assert kinds(before) == [("missing_here", "0.25"), ("missing_there", "-0.50"), ("amount", "-0.90")]
    assert (before["provider_total"], before["ledger_total"]) == ("6.35", "7.50")
    assert (before["lines"], before["matched"]) == (3, 1)
    after = books.said("--report", report, "--accept", "all", "--budget", "research")
    assert (kinds(after), after["difference"]) == ([], "0.00")
    assert len(after["booked"]) == 3
    assert sorted(settled(books)) == sorted(
        [("settlement", cost) for cost in ("1.00", "2.00", "4.00", "0.50")]
        + [("charge", "0.25"), ("reprice", "-0.90"), ("reprice", "-0.50")]
    )
    assert books.app.get(f"/v1/authorizations/{dear}", key=books.finance).json["repriced"] == usd("-0.90")
    assert books.app.get(f"/v1/authorizations/{odd}", key=books.finance).json["repriced"] == usd("-0.50")
    size = books.app.log_size()
    again = books.run("--report", report, "--accept", "all", "--budget", "research", "--yes")
    assert again.exit_code == 0, again.output
    assert books.app.log_size() == size
    books.verified()


def test_only_what_a_report_grew_by_is_booked(books: Books) -> None:
    """The same line of a day, twice the cost the next time, and as much again after that."""
    books.days.put(3)
    for cost, total in (("1.00", "1.00"), ("2.00", "2.00"), ("3.00", "3.00"), ("3.00", "3.00")):
        report = books.costs((0, "gpt-5", cost))
        said = books.said("--report", report, "--accept", "all", "--budget", "research")
        assert (kinds(said), said["ledger_total"]) == ([], total)
    assert settled(books) == [("charge", "1.00"), ("reprice", "1.00"), ("reprice", "1.00")]
    books.verified()


def test_a_run_that_was_cut_short_is_completed_by_the_next(books: Books) -> None:
    """After each number of requests that arrived, the next run books the rest, and never the same again."""
    books.days.put(3)
    rows = [(0, f"r{number}", f"0.{number}0") for number in range(1, 6)]
    report, mapping = books.responses(*rows), books.mapping()
    given = ("--report", report, "--mapping", mapping, "--payee", "openai", "--accept", "missing_here")
    for arrived in (2, 3, 5):
        books.bridge.posts_left = arrived
        result = books.run(*given, "--budget", "research", "--yes")
        assert result.exit_code == (2 if arrived < 5 else 0), result.output
    assert sorted(settled(books)) == [("charge", f"0.{number}0") for number in range(1, 6)]
    books.bridge.posts_left = None
    assert kinds(books.said(*given)) == []
    books.verified()


def test_responses_by_their_ids(small: Books) -> None:
    """By the provider's id whatever the day says; a call that ended after midnight is timing; one line is chosen."""
    small.call(0, "1.00", id="r1")
    small.call(0, "2.00", id="r2", tokens=(100, 5))
    small.call(0, "0.10", id="r4")
    small.call(1, "0.70", id="r3", minute=1439.5, lasts=2)
    small.days.put(4)
    report = small.responses((1, "r1", "1.00"), (0, "r2", "2.50"), (1, "r3", "0.70"), (0, "r5", "9.00"))
    given = ("--report", report, "--mapping", small.mapping(), "--payee", "openai")
    said = small.said(*given)
    assert kinds(said) == [("missing_here", "9.00"), ("missing_there", "-0.10"), ("amount", "0.50"), ("timing", "0.70")]
    assert (said["provider_total"], said["ledger_total"]) == ("13.20", "3.10")
    (price,) = [one["line"] for one in said["differences"] if one["kind"] == "amount"]
    after = small.said(*given, "--accept", price)
    assert ("amount", "0.50") not in kinds(after)
    assert len(after["booked"]) == 1
    shown = small.run(*given)
    assert shown.exit_code == 1
    for words in ("13.20 USD", "3.60 USD", "missing here", "r5", "timing"):
        assert words in shown.output
    unbooked = small.said(*given, "--accept", "timing", "--accept", "missing_here", "--dry-run")
    assert [one["why"] for one in unbooked["not_booked"]] == [
        "say which budget it goes to: --budget, or key '' in the names",
        "it is a matter of days and not of money; accept it as it is",
    ]


def test_price_and_quantity_are_told_apart(small: Books) -> None:
    """A usage report beside the costs says which it is."""
    small.call(0, "1.00", tokens=(100, 10))
    small.call(1, "1.00", tokens=(100, 10))
    small.days.put(3)

    def bucket(day: int, read: int) -> dict[str, Any]:
        start = (small.days.first + day) * 86_400
        counted = {"input_tokens": read, "output_tokens": 10, "num_model_requests": 1, "model": "gpt-5-2025-08-07"}
        return {"start_time": start, "end_time": start + 86_400, "results": [counted]}

    usage = small.file(json.dumps({"data": [bucket(0, 100), bucket(1, 150)], "has_more": False}))
    given = ("--report", f"openai-usage={usage}")
    alone = small.said(*given)
    assert kinds(alone) == [("quantity", "0.00")]
    assert alone["provider_total"] is None
    refused = small.run(*given, "--record", "--yes")
    assert (refused.exit_code, "cannot be put on record" in refused.output) == (2, True)
    both = small.said(*given, "--report", small.costs((0, "gpt-5", "1.20"), (1, "gpt-5", "1.50")))
    assert kinds(both) == [("price", "0.20"), ("quantity", "0.50")]
    (quantity,) = [one for one in both["differences"] if one["kind"] == "quantity"]
    assert quantity["quantities"] == [{"name": "input_tokens", "theirs": 150, "ours": 100}]


def test_it_is_put_on_record_as_it_is_after_booking(books: Books) -> None:
    """Both totals, the kinds, the files, what was booked; with a reason it is accepted; auditors read it."""
    books.call(0, "1.00")
    books.call(1, "2.00")
    books.days.put(3)
    report = books.costs((0, "gpt-5", "1.00"), (1, "gpt-5", "1.98"), (1, "o3", "0.30"))
    given = ("--report", report, "--tolerance-percent", "1", "--accept", "missing_here", "--budget", "research")
    left = books.said(*given, "--tolerance-percent", "2", "--record")["reconciliation"]
    assert (left["accepted"], left["open_differences"]) == (True, 0)
    assert left["differences"] == [{"kind": "tolerated", "count": 1, "amount": usd("-0.02")}]
    assert (left["provider_total"], left["ledger_total"]) == (usd("3.28"), usd("3.30"))
    opened = books.said(*given, "--record")["reconciliation"]
    assert (opened["accepted"], opened["open_differences"], opened["open_amount"]) == (False, 1, usd("-0.02"))
    result = books.run(*given, "--accept-rest", "their rounding", "--yes")
    assert result.exit_code == 0, result.output
    auditor = books.app.make("/v1/keys", {"role": "auditor", "person": "olu"})["key"]
    listed = books.app.get("/v1/reconciliations?payee=openai", key=auditor).json["items"]
    assert [one["accepted"] for one in listed] == [True, False, True]
    assert [len(one["files"]) for one in listed] == [1, 1, 1]
    assert books.app.get(f"/v1/reconciliations/{left['id']}", key=auditor).json == listed[2]
    charge = books.app.get("/v1/charges", key=auditor).json["items"][0]
    assert listed[2]["booked"] == [charge["log"]["index"]]
    assert charge["effective_at"].startswith(books.day(1))
    books.verified()


def test_the_total_of_an_invoice(small: Books) -> None:
    """More than all calls is a charge of the last day, less is spread over the calls; both once."""
    small.call(0, "1.00")
    small.call(1, "3.00")
    small.days.put(3)
    given = ("--payee", "openai", "--accept", "all", "--budget", "research")
    assert kinds(small.said("--payee", "openai", "--total", "4.40")) == [("amount", "0.40")]
    assert kinds(small.said(*given, "--total", "4.40")) == []
    assert kinds(small.said(*given, "--total", "4.40")) == []
    said = small.said(*given, "--total", "4.00", "--record")
    assert (kinds(said), said["reconciliation"]["source"]) == ([], "invoice")
    taken_off = ("-0.090909091", "-0.272727273", "-0.036363636")
    assert sorted(settled(small)) == sorted(
        [("settlement", "1.00"), ("settlement", "3.00"), ("charge", "0.40"), *(("reprice", one) for one in taken_off)]
    )
    small.verified()


def test_a_bill_in_another_currency_than_the_budgets(books: Books) -> None:
    """Is compared in its own: more of it is charged at the day's rate, less repriced in the currency that was asked."""
    books.days.put(0, 300)
    euros = {"base": "EUR", "quote": "USD", "valid_from": books.day(0), "source": "treasury"}
    books.app.make("/v1/rates", euros | {"rate": "1.10"}, key=books.finance)
    asked = authorization("10.00", budget="research") | {"amount": {"amount": "10.00", "currency": "EUR"}}
    held = books.app.make("/v1/authorizations", asked, key=books.crawler)["id"]
    spent = {"amount": {"amount": "8.00", "currency": "EUR"}}
    books.app.make(f"/v1/authorizations/{held}/settle", spent, key=books.crawler)
    books.days.put(3)
    options = ("--currency", "EUR", "--payee", "openai", "--budget", "research", "--accept", "all")
    for total in ("7.50", "9.00"):
        said = books.said("--total", total, *options)
        assert kinds(said) == [], total
    budget = books.app.get("/v1/budgets/research", key=books.finance).json
    assert budget["spent"]["amount"] == "9.90"
    books.verified()


def test_keys_that_the_names_know(small: Books) -> None:
    """A key is compared with the calls of its agent, and what is missing goes to its budget."""
    small.call(0, "1.00")
    small.days.put(3)
    report = small.file(
        f"date,cost,key\n{small.day(0)},1.00,key_a\n{small.day(0)},0.40,key_b\n{small.day(0)},0.10,key_c\n"
    )
    mapping = small.file("{day: date, amount: cost, key: key}")
    names = small.file("keys: {key_a: {agent: crawler}, key_b: {budget: research, category: search}}")
    given = ("--report", f"csv={report}", "--mapping", mapping, "--payee", "openai", "--names", names)
    said = small.said(*given, "--accept", "missing_here")
    assert (kinds(said), len(said["booked"])) == ([("missing_here", "0.10")], 1)
    assert [one["line"] for one in said["not_booked"]] == [one["line"] for one in said["differences"]]
    (charge,) = small.app.get("/v1/charges", key=small.finance).json["items"]
    assert (charge["category"], charge["amount"]) == ("search", usd("0.40"))


def test_a_spreadsheet_and_a_person_read_it(small: Books) -> None:
    """CSV takes no formula; nothing is asked for without --yes at a pipe that says no."""
    small.days.put(3)
    report = small.file(f"date,cost,model\n{small.day(0)},1.00,=cmd()\n")
    mapping = small.file("{day: date, amount: cost, model: model}")
    given = ("--report", f"csv={report}", "--mapping", mapping, "--payee", "openai")
    result = small.run(*given, "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(result.stdout))
    assert (row["kind"], row["model"], row["difference"]) == ("missing_here", "'=cmd()", "1.00")
    asked = small.run(*given, "--accept", "all", "--budget", "research")
    assert "Book 1 charges and reprices?" in asked.output
    assert (asked.exit_code, small.bridge.posts) == (1, [])
    shown = small.run(*given, "--accept", "all", "--budget", "research", "--dry-run")
    assert "would book" in shown.output
    assert small.bridge.posts == []


def test_what_needs_a_second_person_waits(small: Books) -> None:
    """It is told apart from what is booked, differs until it is approved, and is asked for once."""
    small.app.make("/v1/correction-rules", {"currency": "USD", "above": "0.50"})
    small.days.put(3)
    given = ("--report", small.costs((0, "gpt-5", "0.40"), (1, "gpt-5", "2.00")), "--accept", "all")
    said = small.said(*given, "--budget", "research")
    assert (len(said["booked"]), len(said["pending"]), kinds(said)) == (1, 1, [("missing_here", "2.00")])
    again = small.said(*given, "--budget", "research")
    assert again["pending"] == said["pending"]
    other = small.app.make("/v1/keys", {"role": "finance", "person": "olu"})["key"]
    approved = small.app.post(f"/v1/corrections/{said['pending'][0]}/approve", {}, key=other)
    assert approved.status == 201, approved.json
    assert kinds(small.said(*given, "--budget", "research")) == []
    assert sorted(settled(small)) == [("charge", "0.40"), ("charge", "2.00")]
    small.verified()


def test_what_a_second_person_refused_is_not_told_as_booked(small: Books) -> None:
    """It is asked for once, and goes on differing: whoever runs it again reads what became of it."""
    small.app.make("/v1/correction-rules", {"currency": "USD", "above": "0.50"})
    small.days.put(3)
    given = ("--report", small.costs((0, "gpt-5", "2.00")), "--accept", "all", "--budget", "research")
    (reference,) = small.said(*given)["pending"]
    other = small.app.make("/v1/keys", {"role": "finance", "person": "olu"})["key"]
    assert small.app.post(f"/v1/corrections/{reference}/refuse", {}, key=other).status == 200
    again = small.said(*given)
    assert (again["booked"], again["pending"], kinds(again)) == ([], [], [("missing_here", "2.00")])
    assert [one["why"] for one in again["refused"]] == [f"{reference} waited for a second person and is refused"]


def test_who_may_not_book_is_told(small: Books) -> None:
    """Each request that is refused is named, and nothing is put on record."""
    auditor = small.app.make("/v1/keys", {"role": "auditor", "person": "olu"})["key"]
    small.days.put(3)
    given = ("--report", small.costs((0, "gpt-5", "1.00")), "--accept", "all", "--budget", "research", "--record")
    result = small.run(*given, "--yes", key=auditor)
    assert result.exit_code == 1
    assert "role_not_allowed" in result.output
    assert small.app.get("/v1/reconciliations").json["items"] == []


WRONG: list[tuple[list[str], int, str]] = [
    ([], 2, "give --report, or --total in its place"),
    (["--total", "1", "--report", "csv=x"], 2, "give --report, or --total in its place"),
    (["--total", "1"], 2, "say whose figures these are"),
    (["--total", "one", "--payee", "openai"], 2, "--total:"),
    (["--total", "1", "--payee", "openai", "--currency", "tokens"], 2, "tokens is no currency"),
    (["--total", "1", "--payee", "openai", "--tolerance", "-1"], 2, "not below zero"),
    (["--total", "1", "--payee", "openai", "--tolerance-percent", "101"], 2, "no percentage"),
    (["--total", "1", "--payee", "openai", "--mapping", __file__], 2, "--mapping says which column"),
    (["--report", "xml=x"], 2, "names no report"),
    (["--report", "openai-costs=/does/not/exist"], 2, "cannot be read"),
    (["--total", "1", "--payee", "openai", "--accept", "everything"], 2, "no such kind and no such line"),
]


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    """A book in which nothing happens."""
    patched = pytest.MonkeyPatch()
    days, directory = Days(), tmp_path_factory.mktemp("idle")
    with RunningApp(sqlite_url(directory), sources=days, **SETTINGS) as app:
        yield Books(app, days, directory, patched.setattr)
    patched.undo()


@pytest.mark.parametrize(("arguments", "status", "words"), WRONG, ids=range(len(WRONG)))
def test_what_cannot_be_compared_is_said(idle: Books, arguments: list[str], status: int, words: str) -> None:
    """With what to change, and without a request that changes anything."""
    result = idle.run(*arguments)
    assert (result.exit_code, words in result.output) == (status, True), result.output
    assert idle.bridge.posts == []
