"""The table of problems: total, one meaning a code, documented row by row."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from api.problems import EDGE_ROWS, ROWS, STATUS_ROWS, problem_reply
from ledger.core.outcome import DENIALS, UNBOUND_DENIALS, Status
from tests.support.running_app import RunningApp

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTED = re.compile(r"^\| `([a-z_]+)` \| (\d+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
FAILURES = {code: row for code, row in ROWS.items() if row.http >= 400}


def test_every_status_has_its_row() -> None:
    """A status without a row would be a 500."""
    assert set(STATUS_ROWS) == set(Status)


def test_a_code_means_one_thing() -> None:
    """A code of the edge is no code of the core."""
    assert not set(EDGE_ROWS) & {status.value for status in Status}


def test_the_page_shows_the_table() -> None:
    """docs/errors.md has every code with its status, title and advice, and no other."""
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    shown = {code: (int(status), title, advice) for code, status, title, advice in DOCUMENTED.findall(page)}
    assert shown == {code: (row.http, row.title, row.advice) for code, row in FAILURES.items()}


@pytest.mark.parametrize("status", sorted(DENIALS, key=lambda status: status.value))
def test_a_denial_is_no_success(status: Status) -> None:
    """A client that looks at the status alone fails closed: 429 for what may fit soon, 403 for the rest."""
    assert STATUS_ROWS[status].http == (429 if status in UNBOUND_DENIALS else 403)


@pytest.mark.parametrize("code", sorted(FAILURES))
def test_a_problem_has_every_member(code: str) -> None:
    """RFC 9457's members, a sentence, the request's id, and the headers that the status asks for."""
    reply = problem_reply(code, request_id="req_1")
    row = FAILURES[code]
    headers = dict(reply.headers)
    assert reply.status == row.http
    assert headers[b"content-type"] == b"application/problem+json"
    assert (b"retry-after" in headers) == (row.http in (429, 503))
    assert (b"www-authenticate" in headers) == (row.http == 401)
    assert row.advice.endswith(".")
    assert row.title


def test_the_type_of_a_problem_leads_to_its_explanation(acme: RunningApp) -> None:
    """The reference in ``type`` is answered by the server that gave it."""
    problem = acme.get("/v1/nothing-here").json
    assert problem["type"] == "/problems/not_found"
    assert acme.get(problem["type"]).json["advice"] == ROWS["not_found"].advice
    assert acme.get("/problems/nonsense").status == 404
