"""Health, readiness, metrics and the OpenAPI document."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
import pytest
import sqlalchemy

from api.openapi import api_routes, body_model
from tests.support.databases import sqlite_url
from tests.support.running_app import RunningApp, authorization, usd

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTED = re.compile(r"^\| `(bursar_[a-z_]+)` \|", re.MULTILINE)
HOT = {
    "/v1/authorizations": "AuthorizationRequest",
    "/v1/authorizations/batch": "BatchRequest",
    "/v1/authorizations/{authorization}/settle": "SettleRequest",
    "/v1/authorizations/{authorization}/extend": "ExtendRequest",
    "/v1/authorizations/{authorization}/release": "ReleaseRequest",
}


def test_metrics_say_what_happened(own_app: RunningApp) -> None:
    """Decisions by outcome, requests by route, batches, and the money as the database has it."""
    key = own_app.make_agent("crawler", budget="research", allocated="10.00")
    made = own_app.make("/v1/authorizations", authorization("2.00"), key=key)
    own_app.make(f"/v1/authorizations/{made['id']}/settle", {"amount": usd("0.50"), "final": False}, key=key)
    own_app.post("/v1/authorizations", authorization("100.00"), key=key)
    text = own_app.request("GET", "/metrics").body.decode()
    for line in (
        'bursar_decisions_total{operation="authorize",outcome="approved"} 1.0',
        'bursar_decisions_total{operation="authorize",outcome="insufficient_budget"} 1.0',
        'bursar_http_requests_total{route="authorize",status="403"} 1.0',
        'bursar_http_requests_total{route="settle",status="200"} 1.0',
        'bursar_http_requests_within_total{le="+Inf",route="authorize"} 2.0',
        'bursar_held_atoms{book="acme",currency="USD"} 1.5e+09',
        'bursar_spent_atoms{book="acme",currency="USD"} 5e+08',
    ):
        assert line in text, line


def test_the_page_shows_every_metric(own_app: RunningApp) -> None:
    """docs/metrics.md has each metric that the server shows, and no other."""
    own_app.make_agent("crawler", budget="research")
    text = own_app.request("GET", "/metrics").body.decode()
    own_app.request("GET", "/metrics")
    shown = {line.split(" ")[2] for line in text.splitlines() if line.startswith("# TYPE")}
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert set(DOCUMENTED.findall(page)) == shown


def test_metrics_can_be_kept_from_strangers(tmp_path: Path) -> None:
    """With a token; a key of the book is no token."""
    with RunningApp(sqlite_url(tmp_path), metrics_token="scrape-me") as app:
        assert app.request("GET", "/metrics").code == "unauthenticated"
        assert app.get("/metrics").code == "unauthenticated"
        assert app.get("/metrics", key="scrape-me").status == 200


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({"host": "127.0.0.1"}, True),
        ({"host": "localhost"}, True),
        ({"host": "::1"}, True),
        ({"host": "0.0.0.0"}, False),
        ({"host": "ledger.example.com"}, False),
        ({"host": "0.0.0.0", "metrics_token": "scrape-me"}, True),
    ],
)
def test_money_is_shown_to_this_machine_or_for_the_token(tmp_path: Path, settings: dict[str, str], shown: bool) -> None:
    """Whoever reaches a server from elsewhere sees counts and no balances."""
    with RunningApp(sqlite_url(tmp_path), **settings) as app:
        app.make_agent("crawler", budget="research")
        text = app.get("/metrics", key="scrape-me").body.decode()
    assert ("bursar_held_atoms{" in text) == shown
    assert "bursar_decisions_total{" in text


def test_money_that_cannot_be_read_is_told(own_app: RunningApp, caplog: pytest.LogCaptureFixture) -> None:
    """Left out, logged and counted; the rest is shown. A sum beyond 64 bits is no failure."""
    own_app.make_agent("crawler", budget="research")
    engine = sqlalchemy.create_engine(own_app.database_url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE accounts SET balance = 9223372036854775807 WHERE role = 'spent'"))
        connection.execute(
            sqlalchemy.text(
                "INSERT INTO accounts SELECT book_id, 99, 'budgets:b:spent', currency, kind, role, balance, "
                "overdrawn_index, created_index, changed_index FROM accounts WHERE role = 'spent'"
            )
        )
    text = own_app.request("GET", "/metrics").body.decode()
    assert 'bursar_spent_atoms{book="acme",currency="USD"} 1.8446744073709552e+19' in text
    assert "bursar_balance_read_failures_total 0.0" in text
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("ALTER TABLE accounts RENAME TO elsewhere"))
    engine.dispose()
    with caplog.at_level("WARNING"):
        text = own_app.request("GET", "/metrics").body.decode()
    assert "bursar_spent_atoms{" not in text
    assert "bursar_balance_read_failures_total 1.0" in text
    assert "left out of the metrics" in caplog.text


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_head_is_answered_without_a_body(own_app: RunningApp, path: str) -> None:
    """As a load balancer asks; what has no HEAD is a problem without a body."""
    answer = own_app.request("HEAD", path)
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) > 0
    refused = own_app.request("HEAD", "/v1/me")
    assert (refused.status, refused.body) == (405, b"")
    assert refused.headers["content-type"] == "application/problem+json"


def test_a_failed_read_speaks_of_no_record(own_app: RunningApp) -> None:
    """There is no key to repeat it with; a write that failed says what is true of the book."""
    key = own_app.make_agent("crawler", budget="research")
    engine = sqlalchemy.create_engine(own_app.database_url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("ALTER TABLE api_keys RENAME TO elsewhere"))
        connection.execute(sqlalchemy.text("ALTER TABLE book_heads RENAME TO nowhere"))
    engine.dispose()
    read = own_app.get("/v1/me", key=key)
    assert (read.status, read.code) == (503, "database_unavailable")
    assert read.json["detail"] == "The database cannot be read now; ask again."
    write = own_app.post("/v1/runs", {"name": "r"}, key=key)
    assert (write.status, write.code) == (503, "database_unavailable")
    assert "same Idempotency-Key" in write.json["detail"]
    evaluated = own_app.post("/v1/evaluations", authorization(), key=key)
    assert (evaluated.status, evaluated.json["detail"]) == (503, read.json["detail"])


def test_metrics_can_be_switched_off(tmp_path: Path) -> None:
    """Then there is nothing at the path."""
    with RunningApp(sqlite_url(tmp_path), metrics=False) as app:
        assert app.request("GET", "/metrics").status == 404


def test_ready_means_that_the_tables_are_right(own_app: RunningApp) -> None:
    """Alive without a database's tables, ready only with them."""
    assert own_app.request("GET", "/readyz").json == {"status": "ready"}
    engine = sqlalchemy.create_engine(own_app.database_url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = 'older'"))
    engine.dispose()
    answer = own_app.request("GET", "/readyz")
    assert (answer.status, answer.code) == (503, "database_unavailable")
    assert own_app.request("GET", "/healthz").status == 200


def test_every_request_body_is_in_the_document(acme: RunningApp) -> None:
    """The hot routes too, with examples that the models take."""
    document = acme.request("GET", "/openapi.json").json
    for path, model in HOT.items():
        schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert schema == {"$ref": f"#/components/schemas/{model}"}
    bodies = 0
    for route in api_routes(acme.app.inner):
        found = body_model(route)
        if found is None:
            continue
        bodies += 1
        examples = document["components"]["schemas"][found[0].__name__]["examples"]
        for example in examples:
            found[0].model_validate_json(orjson.dumps(example))
    assert bodies >= 20


def test_references_of_the_document_lead_somewhere(acme: RunningApp) -> None:
    """A client generator stops at the first that does not."""
    text = acme.request("GET", "/openapi.json").body.decode()
    schemas = acme.request("GET", "/openapi.json").json["components"]["schemas"]
    referred = set(re.findall(r'"#/components/schemas/([A-Za-z_]+)"', text))
    assert referred <= set(schemas)
    assert {"Problem", "AuthorizationResponse"} <= referred


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_line_for_each_request(tmp_path: Path, caplog: pytest.LogCaptureFixture, log_format: str) -> None:
    """With the request's id, never with a key, and with nothing in it that a client could make a line of."""
    import logging

    from api.logs import JsonFormatter, TextFormatter

    with RunningApp(sqlite_url(tmp_path), access_log=True) as app, caplog.at_level("INFO", "bursar.access"):
        answer = app.get("/v1/agents/a%0Ab")
    record = next(record for record in caplog.records if record.name == "bursar.access")
    formatter: logging.Formatter = JsonFormatter() if log_format == "json" else TextFormatter("%(message)s")
    line = formatter.format(record)
    assert answer.headers["x-request-id"] in line
    assert "bk_" not in line
    assert "\n" not in line
