"""Reports over HTTP: their shape, who sees which, what is refused, and formats."""

from __future__ import annotations

from typing import Any

import pytest

from api.schemas.reports import ReportView
from ledger.core.report import REPORTS
from tests.support.running_app import RunningApp, authorization, usd

ASKED = dict.fromkeys(REPORTS, "") | {"chargeback": "?by=agent", "outcomes": "?by=label.prompt"}
READERS = ("finance", "approver", "auditor")


@pytest.fixture(scope="module")
def spent(acme: RunningApp, crawler: str) -> str:
    """A run of the crawler's that spent 2.00 and succeeded; the key of another agent, which spent nothing."""
    acme.make("/v1/runs", {"name": "run-1"}, key=crawler)
    held = acme.post(
        "/v1/authorizations", authorization("3.00", run="run-1", labels={"prompt": "v7"}), key=crawler
    ).json
    acme.post(f"/v1/authorizations/{held['id']}/settle", {"amount": usd("2.00")}, key=crawler)
    acme.make("/v1/runs/run-1/outcome", {"success": True, "score": 0.5}, key=crawler)
    return acme.make_agent("stranger", budget="other")


def rows(found: Any, table: str) -> list[dict[str, Any]]:
    """The rows of a table."""
    return next(one["rows"] for one in found["tables"] if one["name"] == table)


@pytest.mark.parametrize("name", REPORTS)
def test_whoever_reads_all_reads_every_report(acme: RunningApp, spent: str, name: str) -> None:
    """In the shape that the document says; and again as of the size that it names, to the letter."""
    for role in READERS:
        key = acme.make("/v1/keys", {"role": role, "person": f"{role}-{name}"})["key"]
        found = acme.get(f"/v1/reports/{name}{ASKED[name]}", key=key)
        assert found.status == 200, found.json
        ReportView.model_validate(found.json)
    size = found.json["log"]["size"]
    joint = "&" if ASKED[name] else "?"
    again = acme.get(f"/v1/reports/{name}{ASKED[name]}{joint}at_size={size}", key=key)
    assert again.body == found.body


def test_what_was_spent_is_shown(acme: RunningApp, spent: str) -> None:
    """2.00 by the crawler, owed to the payee, out of its budget, for one success."""
    assert rows(acme.get("/v1/reports/chargeback?by=agent").json, "spend") == [
        {"agent": "crawler", "currency": "USD", "lines": 1, "amount": usd("2.00"), "percent": "100.00"}
    ]
    (owed,) = rows(acme.get("/v1/reports/payables").json, "payees")
    assert (owed["payee"], owed["owed"], owed["days_0_to_30"]) == ("openai", usd("2.00"), usd("2.00"))
    budgets = {row["budget"]: row for row in rows(acme.get("/v1/reports/budgets").json, "budgets")}
    assert (budgets["research"]["spent"], budgets["research"]["available"]) == (usd("2.00"), usd("98.00"))
    outcomes = acme.get("/v1/reports/outcomes?by=label.prompt").json
    (runs,) = rows(outcomes, "runs")
    assert (runs["label.prompt"], runs["successes"], runs["success_rate"], runs["mean_score"]) == (
        "v7", 1, "1.0000", "0.5000",
    )  # fmt: skip
    (costs,) = rows(outcomes, "costs")
    assert (costs["cost_per_success"], costs["cost_low"]) == (usd("2.00"), None)


def test_an_agent_sees_what_concerns_itself(acme: RunningApp, crawler: str, spent: str) -> None:
    """Its own chargeback and outcomes, whether it says so or not; nobody else's, and no other report."""
    for asked in ("?by=agent", "?by=agent&agent=crawler"):
        mine = acme.get(f"/v1/reports/chargeback{asked}", key=crawler).json
        assert [row["agent"] for row in rows(mine, "spend")] == ["crawler"]
        assert mine["parameters"]["agent"] == "crawler"
    assert rows(acme.get("/v1/reports/chargeback?by=run", key=spent).json, "spend") == []
    assert rows(acme.get("/v1/reports/outcomes?by=agent", key=spent).json, "runs") == []
    other = acme.get("/v1/reports/chargeback?by=agent&agent=crawler", key=spent)
    assert (other.status, other.code) == (404, "not_found")
    for name in ("trial-balance", "income", "payables", "budgets"):
        refused = acme.get(f"/v1/reports/{name}", key=crawler)
        assert (refused.status, refused.code) == (403, "role_not_allowed"), name
    key = acme.make("/v1/keys", {"role": "agent", "run": "run-1"}, key=crawler)["key"]
    assert acme.get("/v1/reports/chargeback?by=run", key=key).code == "key_run_only"


@pytest.mark.parametrize(
    ("path", "status", "field"),
    [
        ("profits", 404, None),
        ("chargeback", 422, "/by"),
        ("chargeback?by=person", 422, "/by"),
        ("income?by=team", 422, "/by"),
        ("income?period=soon", 422, "/period"),
        ("income?format=docx", 422, "/format"),
        ("budgets?days=0", 422, "/days"),
        ("budgets?as_of=2026", 422, "/as_of"),
        ("income?at_size=1000000", 422, "/at_size"),
        ("outcomes?by=agent&baseline=nobody", 422, "/baseline"),
    ],
)
def test_what_is_no_report(acme: RunningApp, spent: str, path: str, status: int, field: str | None) -> None:
    """Says what to change."""
    refused = acme.get(f"/v1/reports/{path}")
    assert refused.status == status
    if field is not None:
        assert refused.json["errors"][0]["pointer"] == field


def test_formats_by_name_and_by_header(acme: RunningApp, spent: str) -> None:
    """A file has a name; what is no JSON is an attachment."""
    found = acme.get("/v1/reports/chargeback?by=agent&format=csv")
    assert found.headers["content-type"] == "text/csv; charset=utf-8"
    assert found.headers["content-disposition"].startswith('attachment; filename="acme_chargeback_')
    assert found.body.splitlines()[0] == b"table,agent,currency,lines,amount,percent"
    text = acme.get("/v1/reports/trial-balance?format=text")
    assert b"Trial balance of book acme" in text.body


def test_another_book_is_not_seen(acme: RunningApp, spent: str) -> None:
    """The key says which book."""
    key = acme.open_book("elsewhere")
    assert rows(acme.get("/v1/reports/chargeback?by=agent", key=key).json, "spend") == []
