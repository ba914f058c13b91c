"""The journal over HTTP: who sees it, what an answer says beside the file, and what is told to whoever asks wrongly."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest

from api import files
from api.routes import journal as routes
from ledger.services.journal.formats import FORMATS
from tests.support import plain_text
from tests.support.databases import sqlite_url
from tests.support.running_app import Answer, RunningApp, authorization, usd


def asked(app: RunningApp, key: str | None = None, **query: Any) -> Answer:
    """The answer to a question for a journal."""
    return app.get(f"/v1/journal?{urlencode({'format': 'csv'} | query)}", key=key)


@pytest.fixture(scope="module")
def spent(acme: RunningApp, crawler: str) -> dict[str, str]:
    """Some spending, on a resource that spreadsheets would compute, and a key for each who asks."""
    keys = {
        role: acme.make("/v1/keys", {"role": role, "person": role})["key"]
        for role in ("finance", "auditor", "approver")
    }
    for resource in ("gpt-5-mini", '=HYPERLINK("x")'):
        held = acme.post("/v1/authorizations", authorization("5.00", resource=resource), key=crawler).json["id"]
        acme.make(f"/v1/authorizations/{held}/settle", {"amount": usd("3.20")}, key=crawler)
    acme.make("/v1/refunds", {"authorization": held, "amount": usd("1.00")}, key=keys["finance"])
    return keys | {"agent": crawler, "admin": acme.make("/v1/keys", {"role": "admin", "person": "ada"})["key"]}


@pytest.mark.parametrize(
    ("role", "status", "code"),
    [
        ("finance", 200, ""),
        ("admin", 200, ""),
        ("auditor", 200, ""),
        ("approver", 200, ""),
        ("agent", 403, "role_not_allowed"),
    ],
)
def test_who_sees_it(acme: RunningApp, spent: dict[str, str], role: str, status: int, code: str) -> None:
    """People who read all; no agent, though it sees its own statement."""
    answer = asked(acme, spent[role])
    assert answer.status == status
    assert not code or answer.code == code


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_has_a_name_a_type_and_a_cursor(acme: RunningApp, spent: dict[str, str], form: str) -> None:
    answer = asked(acme, spent["finance"], format=form)
    assert answer.status == 200
    assert answer.headers["content-type"] == FORMATS[form].media_type
    size = acme.log_size()
    suffix = FORMATS[form].suffix
    assert answer.headers["content-disposition"] == f'attachment; filename="acme_{form}_0-{size}.{suffix}"'
    assert answer.headers["bursar-journal-next"].startswith(f"{size}:")
    assert len(answer.body) > 500


def test_what_was_recorded_since(acme: RunningApp, spent: dict[str, str]) -> None:
    """A piece carries on where the one before ended; asked again with its size it is the same."""
    first = asked(acme, spent["finance"], format="beancount", since="beginning")
    held = acme.post("/v1/authorizations", authorization("1.00"), key=spent["agent"]).json["id"]
    acme.make(f"/v1/authorizations/{held}/settle", {"amount": usd("0.50")}, key=spent["agent"])
    since = first.headers["bursar-journal-next"]
    rest = asked(acme, spent["finance"], format="beancount", since=since)
    size = rest.headers["bursar-journal-next"].partition(":")[0]
    again = asked(acme, spent["finance"], format="beancount", since=since, at_size=size)
    assert (again.body, again.headers["bursar-journal-next"]) == (rest.body, rest.headers["bursar-journal-next"])
    balances = asked(acme, spent["finance"], format="beancount", balances="only", at_size=size)
    whole = asked(acme, spent["finance"], format="beancount", at_size=size)
    assert first.body + rest.body + balances.body == whole.body
    assert plain_text.beancount_errors(whole.body) == []
    nothing = asked(acme, spent["finance"], format="beancount", since=again.headers["bursar-journal-next"])
    assert (nothing.status, nothing.body) == (200, b"")


def test_cells_are_no_formulas(acme: RunningApp, spent: dict[str, str]) -> None:
    """In every table; amounts below zero stay numbers."""
    for form, column, cost in (
        ("csv", "resource", "amount"),
        ("focus", "ResourceId", "BilledCost"),
        ("otel", "gen_ai.request.model", "bursar.cost"),
    ):
        text = asked(acme, spent["finance"], format=form).body.decode()
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        assert """'=HYPERLINK("x")""" in {row[column] for row in rows}
        assert not any(cell.startswith(("=", "+", "@")) for row in rows for cell in row.values())
        assert any(row[cost].startswith("-") for row in rows)
    lines = asked(acme, spent["finance"], format="otel-ndjson").body.splitlines()
    assert '=HYPERLINK("x")' in {orjson.loads(line).get("gen_ai.request.model") for line in lines}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"format": "xlsx"}, "/format"),
        ({"since": "7"}, "/since"),
        ({"since": "7:" + "a" * 64}, "/since"),
        ({"period": "november"}, "/period"),
        ({"at_size": 10**6}, "/at_size"),
        ({"balances": "only"}, "/balances"),
        ({"format": "hledger", "balances": "some"}, "/balances"),
        ({"format": "hledger", "balances": "with", "since": "beginning"}, "/balances"),
        ({"format": "hledger", "header": "true"}, "/header"),
    ],
)
def test_what_cannot_be_asked_names_the_field(
    acme: RunningApp, spent: dict[str, str], query: dict[str, Any], field: str
) -> None:
    answer = asked(acme, spent["finance"], **query)
    assert answer.status == 422, answer.body
    assert [error["pointer"] for error in answer.json["errors"]] == [field]
    assert len(answer.json["errors"][0]["detail"]) > 15


def test_a_format_must_be_said(acme: RunningApp, spent: dict[str, str]) -> None:
    answer = acme.get("/v1/journal", key=spent["finance"])
    assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, "/format")


def test_a_long_journal_is_streamed(acme: RunningApp, spent: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is longer than a bound is sent as it is read, and is the same."""
    whole = asked(acme, spent["finance"])
    monkeypatch.setattr(files, "WHOLE_BYTES_MAX", 100)
    streamed = asked(acme, spent["finance"])
    assert streamed.body == whole.body
    assert ("content-length" in whole.headers, "content-length" in streamed.headers) == (True, False)
    assert streamed.headers["bursar-journal-next"] == whole.headers["bursar-journal-next"]


def test_lines_that_are_far_behind_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a format is made from them; entries need none."""
    monkeypatch.setattr(routes, "UNWRITTEN_MAX", 1)
    with RunningApp(sqlite_url(tmp_path), lines_poll_seconds=0) as app:
        app.make("/v1/teams", {"name": "a"})
        app.make("/v1/teams", {"name": "b"})
        behind = asked(app, format="focus")
        assert (behind.status, behind.code) == (503, "statement_unavailable")
        assert asked(app, format="hledger").status == 200
