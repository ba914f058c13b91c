"""One served book with something of every kind in it, and keys of every role."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.clients import Office, authorization, usd
from tests.support.databases import sqlite_url
from tests.support.server import OpenBook, ServerProcess, open_book, verified

INVOICE = {
    "payee": "openai", "number": "INV-1", "currency": "USD", "issued_on": "2026-12-01", "period": "2026-11",
    "lines": [{"amount": "2.00", "category": "inference"}], "taxes": [{"name": "VAT", "amount": "0.40", "rate": "20"}],
    "total": "2.40",
}  # fmt: skip
HISTORY = {
    "idempotency_key": "row-1", "amount": usd("1.00"), "category": "inference", "payee": "openai",
    "effective_at": "2026-11-01", "resource": "gpt-4", "labels": {"team": "search"}, "metering": {"input_tokens": "12"},
}  # fmt: skip
PAYMENT = {
    "payee": "openai", "from": "assets:bank", "amount": usd("0.01"), "invoices": [], "rest": "prepayment",
}  # fmt: skip


@dataclass(frozen=True)
class Served:
    """A book on a running server. ``known`` has, for each parameter of a path, what it may name here."""

    server: ServerProcess
    book: OpenBook
    office: Office
    keys: dict[str, str]
    known: dict[str, str]
    other: dict[str, str]


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server for the tests of this room; in the end its books verify, and it stops with 0."""
    directory = tmp_path_factory.mktemp("contract")
    book = open_book(sqlite_url(directory))
    # Endpoints of any form are registered here, and nothing is sent to them.
    flags = ("--webhook-allow-http", "--webhook-allow-private", "--webhook-poll-seconds=0")
    with ServerProcess(book.database_url, *flags, directory=directory) as server:
        yield furnish(server, book)
        server.stop()
    verified(book.database_url)


def furnish(server: ServerProcess, book: OpenBook) -> Served:
    """Make a team, an agent, budgets, a run, a hold, a settled authorization, a charge, a unit; and another book."""
    office = Office(server.port, book.admin_key)
    office.make("/v1/teams", {"name": "team"})
    crawler = office.make_agent("crawler", budget="research", allocated="100000.00")
    keys = {
        "admin": book.admin_key,
        "agent": crawler,
        "finance": office.make_person("finance", "nadia"),
        "second": office.make_person("finance", "omar"),
        "auditor": office.make_person("auditor", "olu"),
        "approver": office.make_person("approver", "abe"),
    }
    run = office.make("/v1/runs", {"name": "run-1"}, key=crawler)
    spent = office.make("/v1/authorizations", authorization("10.00", run="run-1"), key=crawler)
    office.make(f"/v1/authorizations/{spent['id']}/settle", {"amount": usd("2.00")}, key=crawler)
    open_hold = office.make("/v1/authorizations", authorization("10.00"), key=crawler)
    office.make("/v1/units", {"name": "tokens", "digits": 0})
    office.make("/v1/budgets", {"name": "closing", "currency": "USD"})
    spare = office.make("/v1/keys", {"role": "agent", "agent": "crawler"})
    webhook = office.make("/v1/webhooks", {"url": "http://127.0.0.1:65000/"})
    event = office.send("POST", f"/v1/webhooks/{webhook['id']}/test", {}).json
    asks = {
        "policy": "asks-people",
        "applies_to": {"agent": "crawler"},
        "currency": "USD",
        "approval": [{"above": "0.50", "approvers": ["approver"], "match": {"payees": ["asked-about"]}}],
    }
    office.make("/v1/policies", asks)
    for name, version in (("versioned", "1"), ("versioned", "2"), ("retiring", "1")):
        office.make("/v1/policies", {"policy": name, "description": version, "applies_to": {"team": "team"}})
    delegation = office.make("/v1/delegations", {"to": "nadia", "ttl_seconds": 3600}, key=keys["approver"])
    checkpoint = office.make("/v1/checkpoints", {})
    reconciled = office.make(
        "/v1/reconciliations",
        {
            "payee": "openai", "source": "csv", "starts_at": "2026-01-01", "ends_at": "2026-01-02", "lines": 0,
            "matched": 0, "provider_total": usd("0"),
        },
        key=keys["finance"],
    )  # fmt: skip
    invoice = office.make("/v1/invoices", INVOICE, key=keys["finance"])
    payment = office.make("/v1/payments", PAYMENT, key=keys["finance"])
    office.make("/v1/correction-rules", {"currency": "EUR", "above": "0.00"})
    known = {
        "correction": waiting_correction(office, keys["finance"]),
        "reconciliation": reconciled["id"],
        "invoice": invoice["id"],
        "payment": payment["id"],
        "payee": "openai",
        "approval": waiting_approval(office, crawler),
        "delegation": delegation["id"],
        "policy": "versioned",
        "version": "1",
        "webhook": webhook["id"],
        "event": event["id"],
        "authorization": open_hold["id"],
        "settled": spent["id"],
        "budget": "research",
        "agent": "crawler",
        "team": "team",
        "run": run["name"],
        "key": spare["id"],
        "account": "budgets:research:available",
        "index": "1",
        "size": str(checkpoint["size"]),
        "period": last_month(office, keys["finance"]),
        "report": "trial-balance",
    }
    return Served(server, book, office, keys, known, _other_book(server, book))


def last_month(office: Office, key: str) -> str:
    """The month before the one that is going on, for which a charge counts."""
    day = datetime.now(UTC).date().replace(day=1) - timedelta(days=1)
    charge = {"budget": "research", "amount": usd("1.00"), "category": "inference", "payee": "openai"}
    office.make("/v1/charges", charge | {"effective_at": day.isoformat()}, key=key)
    return f"{day:%Y-%m}"


def waiting_approval(office: Office, key: str) -> str:
    """The id of a new approval that people may decide."""
    asked = authorization("1.00", payee="asked-about", accept_pending=True)
    return str(office.send("POST", "/v1/authorizations", asked, key=key).json["approvals"][0]["id"])


def waiting_correction(office: Office, key: str) -> str:
    """The id of a new correction that a second person may decide."""
    moved = {"debit": "expenses:search", "credit": "expenses:inference", "amount": {"amount": "1", "currency": "EUR"}}
    asked = {"transfers": [moved], "reason": "booked on the wrong category"}
    return str(office.send("POST", "/v1/adjustments", asked, key=key).json["id"])


def _other_book(server: ServerProcess, book: OpenBook) -> dict[str, str]:
    """Ids of another book in the same database: nothing here may find them."""
    elsewhere = Office(server.port, open_book(book.database_url, "elsewhere").admin_key)
    key = elsewhere.make_agent("stranger", budget="strange")
    made = elsewhere.make("/v1/authorizations", authorization(), key=key)
    budget = elsewhere.make("/v1/budgets", {"name": "second", "currency": "USD"})
    agent = elsewhere.make("/v1/agents", {"name": "second"})
    spare = elsewhere.make("/v1/keys", {"role": "agent", "agent": "second"})
    return {
        "key_text": key,
        "authorization": made["id"],
        "budget": budget["id"],
        "agent": agent["id"],
        "key": spare["id"],
    }
