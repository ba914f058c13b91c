"""`bursar corrections`: what people see, what they can do, and what goes wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import httpx
import pytest
from click.testing import CliRunner, Result

from bursar import asking
from ledger.cli import corrections
from tests.api.test_corrections_api import Desk, furnished
from tests.cli.test_approvals_cli import Bridge
from tests.support.databases import sqlite_url
from tests.support.running_app import RunningApp, usd


class Office:
    """A desk with the command in front of it."""

    def __init__(self, app: RunningApp, monkeypatch: pytest.MonkeyPatch) -> None:
        self.desk: Desk = furnished(app)
        bridge, client = Bridge(app), httpx.Client
        monkeypatch.setattr(asking.httpx, "Client", lambda **settings: client(**settings, transport=bridge))

    def run(self, *arguments: str, key: str | None = None, answer: str = "") -> Result:
        """Give the command, as gus in finance unless another key is given."""
        environment = {"BURSAR_URL": "http://bursar.test", "BURSAR_API_KEY": key or self.desk.gus}
        group: click.Group = corrections.command
        return CliRunner().invoke(group, list(arguments), env=environment, input=answer)


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    """An office of a test's own."""
    with RunningApp(sqlite_url(tmp_path)) as app:
        yield Office(app, monkeypatch)


def test_from_the_queue_to_the_books(office: Office) -> None:
    """Listed, shown, asked, done; and then nothing waits."""
    desk = office.desk
    assert "Nothing waits" in office.run("list").output
    reference = desk.refund("6.00").json["id"]
    listed = office.run("list").output
    assert all(word in listed for word in (reference, "refund", "6.00 USD", "person:fred", "a credit note"))
    shown = office.run("show", reference).output
    assert all(word in shown for word in (f"{reference} (pending)", desk.charge["id"], "a credit note"))
    before = desk.app.get("/v1/refunds").json["items"]
    assert office.run("approve", reference, answer="n\n").exit_code == 1
    assert desk.app.get("/v1/refunds").json["items"] == before == []
    done = office.run("approve", reference, "--reason", "seen", answer="y\n")
    assert (done.exit_code, "approved by you for person:fred" in done.output) == (0, True)
    assert desk.app.get("/v1/budgets/research").json["spent"] == usd("14.00")
    after = office.run("show", reference).output
    assert all(word in after for word in ("(approved)", "by person:gus", "seen"))
    assert reference in office.run("list", "--state", "approved").output


def test_refused_and_withdrawn(office: Office) -> None:
    """Each by whoever may; the other is told why not."""
    desk = office.desk
    one, two = desk.refund("6.00").json["id"], desk.refund("7.00").json["id"]
    refused = office.run("refuse", one, "--yes")
    assert "Refused." in refused.output
    wrong = office.run("withdraw", two, "--yes")
    assert (wrong.exit_code, "withdrawn by whoever asked" in wrong.output) == (1, True)
    own = office.run("approve", two, "--yes", key=desk.fred)
    assert (own.exit_code, "another person must decide" in own.output) == (1, True)
    assert "Withdrawn." in office.run("withdraw", two, "--yes", key=desk.fred).output
    again = office.run("approve", one, "--yes")
    assert (again.exit_code, "refused and no longer" in again.output) == (1, True)


def test_json_for_programs(office: Office) -> None:
    """A line each, or one object."""
    reference = office.desk.refund("6.00").json["id"]
    (item,) = map(json.loads, office.run("list", "--json").output.splitlines())
    assert item["id"] == reference
    assert json.loads(office.run("show", reference, "--json").output)["request"]["amount"] == usd("6.00")
    done = json.loads(office.run("approve", reference, "--yes", "--json").output)
    assert (done["kind"], done["approved_by"]) == ("refund", "person:gus")


def test_an_adjustment_is_shown_with_its_transfers(office: Office) -> None:
    """And a reprice with what it should be, a reversal with its record."""
    desk = office.desk
    transfers = [{"debit": "expenses:hosting", "credit": "expenses:inference", "amount": usd("9.00")}]
    moved = desk.app.post("/v1/adjustments", {"transfers": transfers, "reason": "moved"}, key=desk.fred).json["id"]
    assert "expenses:hosting from expenses:inference: 9.00 USD" in office.run("show", moved).output
    prices = {"old_price": {"a": "2"}, "new_price": {"a": "1"}, "reason": "cheaper"}
    body = {"authorization": desk.charge["id"], "settled": usd("20.00"), "amount": usd("10.00")} | prices
    priced = desk.app.post("/v1/reprices", body, key=desk.fred).json["id"]
    shown = office.run("show", priced).output
    assert ("20.00 USD" in shown, "should be" in shown) == (True, True)
    asked = {"record": desk.charge["log"]["index"], "reason": "twice"}
    undo = desk.app.post("/v1/reversals", asked, key=desk.fred).json["id"]
    assert f"record        {desk.charge['log']['index']}" in office.run("show", undo).output


def test_rules(office: Office) -> None:
    """Stricter at once; looser waits; and what is not said is asked for."""
    admin = office.desk.app.admin_key
    assert office.run("rules").output == "USD: above 5.00, alone and on one day, needs a second person.\n"
    assert "above 3.00" in office.run("rule", "USD", "--above", "3", key=admin).output
    looser = office.run("rule", "USD", "--none", "--reason", "why not", key=admin)
    assert "waits for another admin: cor_" in looser.output
    assert office.run("rule", "USD", key=admin).exit_code == 2
    assert office.run("rule", "USD", "--above", "3", "--none", key=admin).exit_code == 2
    refused = office.run("rule", "USD", "--above", "much", key=admin)
    assert (refused.exit_code, "amount_malformed" in refused.output) == (1, True)
    assert json.loads(office.run("rules", "--json").output)["above"] == usd("3.00")


@pytest.mark.parametrize("reference", ["../keys", "cor 1", "cör_1"])
def test_what_is_no_id_goes_nowhere(office: Office, reference: str) -> None:
    """It would stand in a path."""
    done = office.run("show", reference)
    assert (done.exit_code, "is no id of a correction" in done.output) == (2, True)
