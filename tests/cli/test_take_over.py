"""`bursar take-over`: opening balances and history out of files, through a server; a rerun doubles nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from bursar import asking
from ledger.cli import take_over
from ledger.cli.take_over import sending
from ledger.cli.take_over.rows import Row, RowRefused, amount_of, moment_of
from ledger.cli.take_over.sources import LiteLLM, litellm_rows
from ledger.services.verify import verify_books
from tests.cli.test_approvals_cli import Bridge
from tests.support.databases import sqlite_url
from tests.support.running_app import RunningApp, authorization, usd

OPENING = """account,debit,credit,currency,effective_at
assets:bank,1000.00,,USD,
payables:openai,,150.25,USD,2026-10-31
assets:prepaid:anthropic,40,,USD,
payables:serp,,12,EUR,
equity:retained,,0,USD,
budgets:research:available,5,,USD,
assets:cash,1,1,USD,
assets:cash,x,,USD,
"""
HISTORY = """When;Cost;Vendor;Model;Team;Ticket
2026-10-01;0.0125;openai;gpt-4o;search;T-1
2026-10-01 10:00:00+02:00;1.5;openai;gpt-4o;search;T-2
2026-10-02;1.5;openai;gpt-4o;search;T-2
2026-10-03;0;openai;gpt-4o;search;T-3
2026-10-04;-2;openai;gpt-4o;search;T-4
2026-10-05;1;Open AI;gpt-4o;search;T-5
someday;1;openai;gpt-4o;search;T-6
2026-10-06;0.0000000005;openai;gpt-4o;;T-7
"""
MAPPING = """
columns: {effective_at: When, amount: Cost, payee: Vendor, resource: Model}
constants: {currency: USD, category: inference, budget: research, agent: crawler}
labels: {team: Team}
delimiter: ";"
"""
LOGS: list[dict[str, Any]] = [
    {
        "request_id": "chatcmpl-1", "call_type": "acompletion", "api_key": "88dc28", "spend": 1.2345e-05,
        "total_tokens": 30, "prompt_tokens": 20, "completion_tokens": 10, "startTime": "2026-10-01T08:00:00.123000Z",
        "endTime": "2026-10-01T08:00:01Z", "model": "gpt-4o-mini", "custom_llm_provider": "openai",
        "user": "jane@example.com", "metadata": {"user_api_key_alias": "ci", "user_api_key_team_alias": "search"},
        "request_tags": ["prod", "batch"], "team_id": "8f1", "end_user": "bob", "status": "success",
    },
    {
        "request_id": "chatcmpl-2", "spend": 0, "startTime": "2026-10-01T08:00:00Z", "model": "gpt-4o",
        "status": "failure",
    },
    {
        "request_id": "chatcmpl-3", "spend": 0.25, "startTime": "2026-10-02 09:30:00", "model": "anthropic/claude-5",
        "request_tags": "[]", "metadata": "{}", "api_key": "",
    },
    {"request_id": "chatcmpl-4", "spend": 0.5, "startTime": "2026-10-02T00:00:00Z", "model": "m",
     "api_base": "https://api.together.xyz/v1"},
    {"spend": 1, "startTime": "2026-10-02T00:00:00Z", "model": "m"},
]  # fmt: skip


class Office:
    """A served book of an agent and a budget, and the command in front of it."""

    def __init__(self, app: RunningApp, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self.app, self.directory = app, directory
        self.agent = app.make_agent("crawler", budget="research")
        self.finance = app.make("/v1/keys", {"role": "finance", "person": "petra"})["key"]
        self.bridge = Bridge(app)
        client = httpx.Client
        monkeypatch.setattr(asking.httpx, "Client", lambda **settings: client(**settings, transport=self.bridge))

    def run(self, verb: str, content: str, *options: str, name: str = "file.csv", key: str | None = None) -> Result:
        """The verb on a file of this content."""
        file = self.directory / name
        file.write_text(content, encoding="utf-8")
        environment = {"BURSAR_API_KEY": key or self.finance, "BURSAR_URL": "http://bursar.test"}
        return CliRunner().invoke(take_over.command, [verb, str(file), *options], env=environment)

    def report(self, verb: str, content: str, *options: str, **more: Any) -> dict[str, Any]:
        """The verb's report, as JSON."""
        result = self.run(verb, content, *options, "--json", **more)
        assert result.exit_code in (0, 1), result.output
        return dict(json.loads(result.stdout))

    def history(self, *options: str, content: str = HISTORY) -> dict[str, Any]:
        """The report on history with the mapping."""
        mapping = self.directory / "mapping.yaml"
        mapping.write_text(MAPPING, encoding="utf-8")
        return self.report("history", content, "--mapping", str(mapping), *options)

    def balance(self, account: str, currency: str = "USD") -> str:
        """A balance, zero where there is no such account."""
        answer = self.app.get(f"/v1/accounts/{account}/balance?currency={currency}")
        return "0.00" if answer.status == 404 else str(answer.json["balance"]["amount"])


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    """On SQLite; the book must verify at the end."""
    url = sqlite_url(tmp_path)
    with RunningApp(url) as app:
        yield Office(app, monkeypatch, tmp_path)
    (report,) = verify_books(url, book="acme")
    assert report.verified, report


def counts(report: dict[str, Any]) -> tuple[int, int, int, int]:
    """Rows taken over, there already, with nothing on them, refused."""
    return report["taken"], report["there"], report["nothing"], report["refused"]


def test_opening_balances(office: Office) -> None:
    """Each against ``equity:opening``, once however often the file is run; what cannot be is named by its line."""
    report = office.report("opening", OPENING)
    assert counts(report) == (4, 0, 1, 3)
    assert [one["line"] for one in report["refusals"]] == [7, 8, 9]
    assert "allocations" in report["refusals"][0]["why"]
    expected = {"assets:bank": "1000.00", "payables:openai": "-150.25", "assets:prepaid:anthropic": "40.00"}
    assert {account: office.balance(account) for account in expected} == expected
    assert office.balance("payables:serp", "EUR") == "-12.00"
    assert office.balance("equity:opening") == "-889.75"
    size = office.app.log_size()
    assert counts(office.report("opening", OPENING)) == (0, 4, 1, 3)
    assert office.app.log_size() == size


def test_history_out_of_any_table(office: Office) -> None:
    """With a mapping: for its own day, of an agent and a budget, without touching what is available."""
    report = office.history()
    assert counts(report) == (3, 0, 2, 3)
    assert report["totals"] == {"USD": "3.012500000"}
    assert [one["line"] for one in report["refusals"]] == [6, 7, 8]
    budget = office.app.get("/v1/budgets/research").json
    assert (budget["available"], budget["spent"]) == (usd("100.00"), usd("3.0125"))
    assert (office.balance("expenses:inference"), office.balance("equity:opening")) == ("3.0125", "-3.0125")
    assert office.balance("payables:openai") == "0.00"
    statement = office.app.get("/v1/statements?scope=agent:crawler&period=2026-10").json
    assert [(line["effective_at"][:19], line["kind"]) for line in statement["lines"]] == [
        ("2026-10-01T00:00:00", "history"), ("2026-10-01T08:00:00", "history"), ("2026-10-02T00:00:00", "history"),
    ]  # fmt: skip
    assert {line["labels"]["team"] for line in statement["lines"]} == {"search"}
    assert counts(office.history()) == (0, 3, 2, 3)
    assert office.balance("expenses:inference") == "3.0125"


def test_a_run_that_was_broken_off_is_completed(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that was lost is asked for again, and what a shorter file took over is there for a longer one."""
    monkeypatch.setattr(sending, "BATCH_ITEMS", 2)
    monkeypatch.setattr(asking, "RETRY_SECONDS_MAX", 0.0)
    rows = HISTORY.splitlines(keepends=True)
    first = office.history(content="".join(rows[:3]))
    assert counts(first) == (2, 0, 0, 0)
    assert counts(office.history()) == (1, 2, 2, 3)


def test_rows_that_say_the_very_same_each_count(office: Office) -> None:
    """The second of two is another piece of spend, and is so in every run."""
    content = "effective_at,amount,currency,payee,category\n" + "2026-10-01,1,USD,openai,search\n" * 3
    assert counts(office.report("history", content)) == (3, 0, 0, 0)
    assert counts(office.report("history", content)) == (0, 3, 0, 0)
    assert office.balance("expenses:search") == "3.00"


@pytest.mark.parametrize("name", ["logs.json", "logs.jsonl"])
def test_spend_logs_of_litellm(office: Office, name: str) -> None:
    """As its API and its table give them: exact decimals, the provider as payee, tokens, labels that name no person."""
    content = "\n".join(map(json.dumps, LOGS)) if name.endswith("l") else json.dumps({"data": LOGS})
    report = office.report("litellm", content, name=name)
    assert counts(report) == (3, 0, 1, 1)
    assert report["totals"] == {"USD": "0.750012345"}
    assert "request_id" in report["refusals"][0]["why"]
    assert office.balance("expenses:inference") == "0.750012345"
    log = office.app.get("/v1/log?kind=history").json["items"]
    bodies = {record["body"]["resource"]: record["body"] for record in log}
    first = bodies["gpt-4o-mini"]
    assert (first["payee"], first["amount"], first["effective_at"]) == (
        "openai",
        "12345",
        "2026-10-01T08:00:00.123000Z",
    )
    assert first["labels"] == [["key", "ci"], ["tags", "batch,prod"], ["team", "search"]]
    assert first["metering"] == [["input_tokens", "20"], ["output_tokens", "10"]]
    assert {body["payee"] for body in bodies.values()} == {"openai", "anthropic", "together"}
    assert "jane" not in json.dumps(log)
    assert counts(office.report("litellm", content, name=name)) == (0, 3, 1, 1)


def test_persons_are_labels_only_when_asked_for(office: Office) -> None:
    """Because they stay in the log for good."""
    office.report("litellm", json.dumps(LOGS), "--label", "user", "--payee", "proxy", name="logs.json")
    bodies = [record["body"] for record in office.app.get("/v1/log?kind=history").json["items"]]
    assert {body["payee"] for body in bodies} == {"proxy"}
    assert [body["labels"] for body in bodies if "labels" in body] == [[["user", "jane@example.com"]]]


def test_a_dry_run_sends_nothing(office: Office) -> None:
    """And says what would be sent; it needs no key."""
    size = office.app.log_size()
    result = office.run("opening", OPENING, "--dry-run")
    assert result.exit_code == 1
    assert "To take over: 4" in result.stdout
    assert "line 8: it has a debit and a credit" in result.stderr
    assert (office.app.log_size(), office.bridge.keys) == (size, [])


def test_one_bad_row_costs_none_of_its_neighbours(office: Office) -> None:
    """Also where the server refuses the whole batch for it; what the book refuses is named with the book's reason."""
    content = "effective_at,amount,currency,payee,category,agent,resource\n" + "".join(
        f"2026-10-0{at},1,USD,openai,search,{agent},{resource}\n"
        for at, agent, resource in (
            (1, "crawler", "m"), (2, "nobody", "m"), (3, "crawler", "x" * 300), (4, "crawler", "m"), (5, "BAD", "m"),
        )
    )  # fmt: skip
    report = office.report("history", content)
    assert counts(report) == (2, 0, 0, 3)
    assert {one["line"]: one["why"].rpartition("(")[2] for one in report["refusals"]} == {
        3: "unknown_agent)", 4: "validation_failed)", 6: "validation_failed)",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "name", "content", "words"),
    [
        ("history", "file.csv", "", "has no heading"),
        ("litellm", "logs.json", "{", "cannot be read"),
        ("litellm", "logs.json", '{"rows": 1}', "is no list of rows"),
        ("litellm", "logs.jsonl", "[1]\n", "item 1 is no object"),
        ("litellm", "logs.jsonl", "", "is empty"),
        ("litellm", "logs.jsonl", "{}\n{bad\n", "line 2 is no JSON"),
        ("litellm", "logs.json", f'[{{"spend": {"9" * 5000}}}]', "cannot be read"),
        ("litellm", "logs.jsonl", f'{{"spend": {"9" * 5000}}}', "line 1 is no JSON"),
        ("litellm", "logs.csv", "id,spend,startTime\n1,1,2026-10-01\n", 'no column "request_id"'),
        ("opening", "file.csv", "account;debit;credit;currency\nassets:bank;1;;USD\n", 'split at ","'),
        ("history", "file.csv", "amount,currency,payee,category\n1,USD,p,c\n", 'no column "effective_at"'),
    ],
)
def test_a_file_that_cannot_be_read(office: Office, verb: str, name: str, content: str, words: str) -> None:
    """Is one sentence and status 2."""
    result = office.run(verb, content, name=name)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.output


def test_other_encodings_and_mappings_that_cannot_be_read(office: Office, tmp_path: Path) -> None:
    """Are refused with what to change; a column that the mapping names must be there, else what it says is lost."""
    latin = tmp_path / "latin.csv"
    latin.write_bytes("account,debit,credit,currency\nassets:b\xe9,1,,USD\n".encode("latin-1"))
    good = tmp_path / "good.csv"
    good.write_text("effective_at,amount,currency,payee,category\n2026-10-01,1,USD,p,c\n")
    deep, typo = tmp_path / "deep.yaml", tmp_path / "typo.yaml"
    deep.write_text("[" * 5000)
    typo.write_text("columns: {effective_at: effective_at, amount: amount, payee: payee, resource: Modell}\n")
    for arguments, words in (
        (["opening", str(latin)], "save it as UTF-8"),
        (["history", str(good), "--mapping", str(deep)], "deep.yaml cannot be read"),
        (["history", str(good), "--mapping", str(typo)], 'no column "Modell"'),
    ):
        result = CliRunner().invoke(take_over.command, [*arguments, "--dry-run"])
        assert (result.exit_code, words in result.stderr) == (2, True), result.output


def test_a_row_that_nothing_can_be_made_of_is_refused_alone(office: Office) -> None:
    """Also with a day outside of all calendars, half of a character, and metadata too deep to be read."""
    row = {"spend": 1, "startTime": "2026-10-01", "custom_llm_provider": "openai"}
    rows = [
        row | {"request_id": "early", "startTime": "0001-01-01T00:00:00+14:00"},
        row | {"request_id": "half", "model": "\ud800"},
        row | {"request_id": "deep", "metadata": "[" * 100_000},
        row | {"request_id": "good"},
    ]
    assert counts(office.report("litellm", json.dumps(rows), name="logs.json")) == (2, 0, 0, 2)


def test_whoever_keeps_no_books_takes_nothing_over(office: Office) -> None:
    """An agent's key is refused as such, once and not for each row."""
    for verb, content in (
        ("opening", OPENING),
        ("history", "effective_at,amount,currency,payee,category\n2026-10-01,1,USD,p,c\n"),
    ):
        result = office.run(verb, content, key=office.agent)
        assert (result.exit_code, result.stderr.count("role_not_allowed")) == (1, 1), result.output


def test_limits_do_not_count_what_was_before(office: Office) -> None:
    """History of today leaves today's allowance as it is."""
    rule = {"id": "day", "per": "day", "max": "50.00"}
    policy = {"policy": "caps", "applies_to": {"team": "team-of-crawler"}, "currency": "USD", "limits": [rule]}
    office.app.make("/v1/policies", policy)
    opened = office.app.get("/v1/log?limit=1").json["items"][0]["recorded_at"]
    content = f"effective_at,amount,currency,payee,category,agent\n{opened},49,USD,openai,inference,crawler\n"
    assert counts(office.report("history", content)) == (1, 0, 0, 0)
    office.app.make("/v1/authorizations", authorization("49.00"), key=office.agent)


@pytest.mark.parametrize(
    ("text", "amount", "rounded"),
    [
        ("1.2345e-05", "0.000012345", "0"), ("0.0000000005", "0.000000000", "-5E-10"),
        ("0.0000000015", "0.000000002", "5E-10"), ("3", "3.000000000", "0"), (Decimal("0.1"), "0.100000000", "0"),
    ],
)  # fmt: skip
def test_amounts_are_exact(text: Any, amount: str, rounded: str) -> None:
    """Half to even at the last digit, and what that changed is known."""
    assert amount_of(text, "USD") == (amount, Decimal(rounded))


@pytest.mark.parametrize("text", ["", None, "NaN", "1e400", "-1", "1,5", "1_0", "١", True])
def test_what_is_no_amount(text: Any) -> None:
    """Is refused with what it says."""
    with pytest.raises(RowRefused):
        amount_of(text, "USD")


def test_moments_without_an_offset_are_utc() -> None:
    """As the table of LiteLLM has them."""
    assert moment_of("2026-10-02 09:30:00") == moment_of("2026-10-02T11:30:00+02:00") == "2026-10-02T09:30:00.000000Z"


def test_a_row_has_the_same_key_wherever_it_stands() -> None:
    """So that a longer export of the same logs doubles nothing."""
    rows = [row for row in litellm_rows(enumerate(LOGS), LiteLLM("inference")) if isinstance(row, Row)]
    other = [row for row in litellm_rows(enumerate(LOGS[2:]), LiteLLM("inference")) if isinstance(row, Row)]
    assert [row.key for row in rows[1:]] == [row.key for row in other]
