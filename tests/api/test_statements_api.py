"""Statements over HTTP: who sees which, in which format, and what is told to whoever asks wrongly."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from api import files
from api.routes import statements as routes
from ledger.services.pages import typesetting
from ledger.services.statements import pdf_form
from tests.support.databases import sqlite_url
from tests.support.running_app import Answer, RunningApp, authorization, usd

YEARS = "2020-01-01..2090-12-31"


def asked(app: RunningApp, key: str | None = None, **query: Any) -> Answer:
    """The answer to a question for a statement."""
    return app.get(f"/v1/statements?{urlencode({'period': YEARS} | query)}", key=key)


@pytest.fixture(scope="module")
def spent(acme: RunningApp, crawler: str) -> dict[str, str]:
    """Some spending, and a key for each who asks."""
    finance = acme.make("/v1/keys", {"role": "finance", "person": "fay"})["key"]
    held = acme.post("/v1/authorizations", authorization("5.00", run="run-1"), key=crawler).json["id"]
    acme.make(f"/v1/authorizations/{held}/settle", {"amount": usd("3.20")}, key=crawler)
    odd = acme.post("/v1/authorizations", authorization("1.00", resource='=HYPERLINK("x")'), key=crawler).json["id"]
    acme.make(f"/v1/authorizations/{odd}/settle", {"amount": usd("0.00")}, key=crawler)
    acme.make("/v1/refunds", {"authorization": held, "amount": usd("1.00")}, key=finance)
    acme.post("/v1/authorizations", authorization("2.00"), key=crawler)
    other = acme.make_agent("other", budget="elsewhere")
    return {"agent": crawler, "other": other, "finance": finance}


def test_a_statement_of_a_budget(acme: RunningApp, spent: dict[str, str]) -> None:
    """What was allocated and spent leads from the opening to the closing balance; holds stand apart."""
    said = asked(acme, spent["finance"], scope="budget:research").json
    assert [(line["kind"], line["amount"]["amount"], line["balance"]["amount"]) for line in said["lines"]] == [
        ("allocation", "100.00", "100.00"),
        ("settlement", "-3.20", "96.80"),
        ("settlement", "0.00", "96.80"),
        ("refund", "1.00", "97.80"),
    ]
    assert (said["opening"], said["closing"]) == ([usd("0.00")], [usd("97.80")])
    assert said["held"] == [usd("2.00")]
    assert [hold["held"] for hold in said["holds"]] == [usd("2.00")]
    _, settled, _, refunded = said["lines"]
    assert refunded["corrects"]["log_index"] == settled["log_index"]
    assert [link["log_index"] for link in settled["corrected_by"]] == [refunded["log_index"]]
    assert said["totals"]["by_agent"] == [{"agent": "crawler", "lines": 3, "amount": usd("2.20")}]
    assert said["measure"] == "unspent"


def test_the_same_statement_again_and_again(acme: RunningApp, spent: dict[str, str]) -> None:
    """With the size that it names it is the same, whatever happened since."""
    first = asked(acme, spent["finance"], scope="book")
    acme.post("/v1/authorizations", authorization("1.00"), key=spent["agent"])
    size = first.json["log"]["size"]
    again = asked(acme, spent["finance"], scope="book", at_size=size)
    assert again.body == first.body
    assert asked(acme, spent["finance"], scope="book").json["log"]["size"] > size


@pytest.mark.parametrize(
    ("who", "scope", "status"),
    [
        ("finance", "book", 200),
        ("finance", "agent:crawler", 200),
        ("agent", "agent:crawler", 200),
        ("agent", "agent:other", 404),
        ("agent", "book", 404),
        ("agent", "budget:research", 404),
        ("agent", "team:crawler", 404),
        ("agent", "run:run-1", 404),
        ("other", "agent:crawler", 404),
        ("other", "agent:other", 200),
        (None, "book", 401),
    ],
)
def test_who_sees_what(acme: RunningApp, spent: dict[str, str], who: str | None, scope: str, status: int) -> None:
    """People see all, an agent its own."""
    key = "bk_nobody" if who is None else spent[who]
    assert asked(acme, key, scope=scope).status == status


def test_every_role_of_people_reads_statements(acme: RunningApp, spent: dict[str, str]) -> None:
    for role in ("admin", "auditor", "approver"):
        key = acme.make("/v1/keys", {"role": role, "person": f"{role}-2"})["key"]
        assert asked(acme, key, scope="book").status == 200


def test_a_key_for_one_run_reads_none(acme: RunningApp, spent: dict[str, str]) -> None:
    acme.make("/v1/runs", {"name": "own-run"}, key=spent["agent"])
    made = acme.make("/v1/keys", {"role": "agent", "agent": "crawler", "run": "own-run"}, key=spent["agent"])
    answer = asked(acme, made["key"], scope="agent:crawler")
    assert (answer.status, answer.code) == (403, "key_run_only")


def test_csv_by_format_and_by_accept(acme: RunningApp, spent: dict[str, str]) -> None:
    """Both give the same file, with a name."""
    by_name = asked(acme, spent["finance"], scope="agent:crawler", format="csv")
    query = urlencode({"scope": "agent:crawler", "period": YEARS, "at_size": 10**6})
    assert acme.get(f"/v1/statements?{query}", key=spent["finance"]).status == 422
    assert by_name.headers["content-type"] == "text/csv; charset=utf-8"
    assert by_name.headers["content-disposition"] == f'attachment; filename="acme_agent-crawler_{YEARS}.csv"'
    rows = list(csv.DictReader(io.StringIO(by_name.body.decode(), newline="")))
    assert [row["row"] for row in rows] == ["opening", *["line"] * 3, "closing", *["hold"] * (len(rows) - 5)]
    assert [row["resource"] for row in rows][2] == """'=HYPERLINK("x")"""
    assert sum(float(row["amount"]) for row in rows if row["row"] == "line") == pytest.approx(2.2)
    text = asked(acme, spent["finance"], scope="agent:crawler", format="text")
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    assert "Closing balance" in text.body.decode()


@pytest.mark.parametrize(
    ("name", "media_type", "begins"),
    [
        ("html", "text/html; charset=utf-8", b"<!DOCTYPE html>"),
        ("pdf", "application/pdf", b"%PDF-"),
        ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", b"PK"),
    ],
)
def test_documents_by_format_and_by_accept(
    acme: RunningApp, spent: dict[str, str], name: str, media_type: str, begins: bytes
) -> None:
    """Both give the same file, with a name, for the paper that is asked for."""
    size = asked(acme, spent["finance"], scope="book").json["log"]["size"]
    query = {"scope": "agent:crawler", "at_size": size}
    by_format = asked(acme, spent["finance"], **query, format=name)
    assert (by_format.status, by_format.headers["content-type"]) == (200, media_type)
    assert by_format.headers["content-disposition"] == f'attachment; filename="acme_agent-crawler_{YEARS}.{name}"'
    assert by_format.body.startswith(begins)
    target = f"/v1/statements?{urlencode({'period': YEARS} | query)}"
    accept = media_type.split(";")[0].encode()
    headers = [(b"authorization", b"Bearer " + spent["finance"].encode()), (b"accept", accept)]
    by_accept = acme.request("GET", target, headers=headers)
    assert by_accept.body == by_format.body
    assert asked(acme, spent["finance"], **query, format=name, paper="a4").body == by_format.body
    assert asked(acme, spent["finance"], **query, format=name, paper="letter").body != by_format.body
    assert ("sandbox" in by_format.headers.get("content-security-policy", "")) == (name == "html")


def test_a_document_that_cannot_be_made_is_refused(
    acme: RunningApp, spent: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server goes on, and the answer names formats that can."""
    monkeypatch.setattr(pdf_form, "LINES_MAX", 1)
    answer = asked(acme, spent["finance"], scope="book", format="pdf")
    assert (answer.status, answer.code) == (422, "validation_failed")
    assert [error["pointer"] for error in answer.json["errors"]] == ["/format"]
    assert "csv or xlsx" in answer.json["detail"]
    monkeypatch.setattr(typesetting.importlib.util, "find_spec", lambda name: None)
    answer = asked(acme, spent["finance"], scope="book", format="pdf")
    assert "pip install 'bursar-server[pdf]'" in answer.json["detail"]


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ({"scope": "budget:nothing"}, 404, None),
        ({"scope": "customer:a"}, 422, "/scope"),
        ({"scope": "budget"}, 422, "/scope"),
        ({"scope": "book", "period": "November"}, 422, "/period"),
        ({"scope": "book", "period": "2026-02-30"}, 422, "/period"),
        ({"scope": "book", "format": "docx"}, 422, "/format"),
        ({"scope": "book", "paper": "a5"}, 422, "/paper"),
        ({"scope": "book", "at_size": "0"}, 422, "/at_size"),
        ({"scope": "book", "at_size": "9007199254740992"}, 422, "/at_size"),
        ({"scope": "agent:research-team"}, 422, "/scope"),
    ],
)
def test_what_is_told_to_whoever_asks_wrongly(
    acme: RunningApp, spent: dict[str, str], query: dict[str, str], status: int, field: str | None
) -> None:
    """The field, and what to change."""
    if query["scope"] == "agent:research-team":
        acme.make("/v1/teams", {"name": "research-team"})
    answer = asked(acme, spent["finance"], **query)
    assert answer.status == status, answer.body
    if field is not None:
        assert [error["pointer"] for error in answer.json["errors"]] == [field]
        assert len(answer.json["detail"]) > 20


def test_a_long_statement_is_streamed(acme: RunningApp, spent: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is longer than a bound is sent as it is read, and is the same."""
    whole = asked(acme, spent["finance"], scope="book", format="csv")
    monkeypatch.setattr(files, "WHOLE_BYTES_MAX", 100)
    streamed = asked(acme, spent["finance"], scope="book", format="csv")
    assert streamed.body == whole.body
    assert "content-length" in whole.headers
    assert "content-length" not in streamed.headers


def test_lines_that_are_far_behind_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer says how far they are, and when to ask again; with fewer to write, they are written for the asker."""
    monkeypatch.setattr(routes, "UNWRITTEN_MAX", 1)
    with RunningApp(sqlite_url(tmp_path), lines_poll_seconds=0) as app:
        app.make("/v1/teams", {"name": "a"})
        answer = asked(app, scope="book")
        assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "statement_unavailable", "5")
        assert "still being written" in answer.json["detail"]
        monkeypatch.setattr(routes, "UNWRITTEN_MAX", 1_000)
        assert asked(app, scope="book").status == 200
