"""Endpoints on record: registered, their secret replaced, removed."""

from __future__ import annotations

import pytest

from ledger.core.command import Command
from ledger.core.command_webhooks import RegisterWebhook, RemoveWebhook, RotateWebhook
from ledger.core.moment import moment_text
from ledger.core.outcome import Status
from ledger.core.webhook import SUBSCRIBABLE, events_text, wants
from tests.support.ledger import Ledger

URL = "https://alerts.example.com/"


@pytest.fixture
def book() -> Ledger:
    """An empty book."""
    return Ledger()


def register(book: Ledger, **fields: object) -> str:
    """The id of a new endpoint."""
    made = book.do(RegisterWebhook, book.admin, **{"url": URL, "events": ("*",), "secret": "whs_1"} | fields)
    return str((made.body or {})["webhook"])


def test_an_endpoint_is_on_record_without_its_secret(book: Ledger) -> None:
    """Who registered it, where it goes, what it asked for: each type once and in one order."""
    register(book, events=("budget.threshold", "agent.frozen", "budget.threshold"))
    body = book.bodies()[-1]
    assert body["by"]["principal"] == "person:owner"
    assert (body["url"], body["events"], body["secret"]) == (URL, ["budget.threshold", "agent.frozen"], "whs_1")
    (row,) = book.rows("webhook_endpoints")
    assert (row.events, row.registered_by) == ("budget.threshold agent.frozen", "person:owner")


def test_a_repeat_is_answered_with_the_record(book: Ledger) -> None:
    """Although another secret came with it: the request is the same."""
    fields = {"url": URL, "events": ("*",), "idempotency_key": "same"}
    first = book.do(RegisterWebhook, book.admin, secret="whs_1", **fields)
    again = book.do(RegisterWebhook, book.admin, secret="whs_2", **fields)
    assert (again.status, again.log_index) == (Status.REPLAYED, first.log_index)
    other = book.do(RegisterWebhook, book.admin, secret="whs_3", **{**fields, "events": ("agent.frozen",)})
    assert other.status is Status.IDEMPOTENCY_MISMATCH
    assert [row.secret for row in book.rows("webhook_endpoints")] == ["whs_1"]


def test_two_secrets_are_valid_while_one_is_replaced(book: Ledger) -> None:
    """A second rotation ends the oldest of three."""
    webhook = register(book)
    book.do(RotateWebhook, book.admin, webhook=webhook, secret="whs_2", overlap_seconds=60)
    (row,) = book.rows("webhook_endpoints")
    assert (row.secret, row.previous_secret) == ("whs_2", "whs_1")
    assert book.bodies()[-1]["replaced_expires_at"] == moment_text(row.previous_until)
    book.do(RotateWebhook, book.admin, webhook=webhook, secret="whs_3")
    (row,) = book.rows("webhook_endpoints")
    assert (row.secret, row.previous_secret) == ("whs_3", "whs_2")
    assert row.previous_until == book.head.recorded_at


@pytest.mark.parametrize("kind", [RotateWebhook, RemoveWebhook])
def test_what_was_removed_stays_removed(book: Ledger, kind: type[Command]) -> None:
    """And what never was is not there."""
    more = {"secret": "whs_2"} if kind is RotateWebhook else {}
    webhook = register(book)
    assert book.do(RemoveWebhook, book.admin, webhook=webhook).status is Status.DONE
    refused = book.do(kind, book.admin, webhook=webhook, **more)
    assert (refused.status, refused.facts["state"]) == (Status.WRONG_STATE, "removed")
    assert book.do(kind, book.admin, webhook="whk_none", **more).status is Status.NOT_FOUND


def test_commands_of_one_batch_see_each_other(book: Ledger) -> None:
    """Removed and rotated in one batch: the second is refused."""
    webhook = register(book)
    remove = book.command(RemoveWebhook, book.admin, webhook=webhook)
    rotate = book.command(RotateWebhook, book.admin, webhook=webhook, secret="whs_2")
    assert [outcome.status for outcome in book.decide(remove, rotate)] == [Status.DONE, Status.WRONG_STATE]


def test_an_endpoint_is_told_what_it_asked_for() -> None:
    """Everything for a star, whatever stands beside it."""
    assert events_text(("agent.frozen", "*")) == "*"
    assert all(wants("*", kind) for kind in SUBSCRIBABLE)
    assert wants("agent.frozen book.frozen", "book.frozen")
    assert not wants("agent.frozen book.frozen", "frozen")
