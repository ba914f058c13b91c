"""`bursar close`, `reopen` and `periods`: on a database with a person's key, and asked of a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text

from bursar.command import bursar
from ledger.services.verify import verify_books
from ledger.storage.engine import create_migration_engine
from tests.support.databases import sqlite_url
from tests.support.running_app import RunningApp, usd
from tests.support.server import ServerProcess

TODAY = datetime.now(UTC).date()


def month_before(day: date) -> date:
    """The last day of the month before."""
    return day.replace(day=1) - timedelta(days=1)


LAST = month_before(TODAY)
EARLIER = month_before(LAST)
MONTHS = tuple(f"{day:%Y-%m}" for day in (EARLIER, LAST))


class Desk:
    """A book with a charge in each of the two months before, and who closes them."""

    def __init__(self, url: str, keys: dict[str, str], charges: list[str]) -> None:
        self.url = url
        self.keys = keys
        self.charges = charges

    def run(self, *arguments: str, who: str | None = "fay", **environment: str) -> Result:
        """The command, as a person or as nobody."""
        given: dict[str, Any] = {"BURSAR_DATABASE_URL": self.url, "BURSAR_API_KEY": None, **environment}
        if who is not None:
            given["BURSAR_API_KEY"] = self.keys[who]
        return CliRunner().invoke(bursar, arguments, env=given)


def furnished(database_url: str) -> Desk:
    """A book with its charges."""
    with RunningApp(database_url) as app:
        keys = {name: app.make("/v1/keys", {"role": "finance", "person": name})["key"] for name in ("fay", "gus")}
        app.make_agent("crawler", budget="research")
        charge = {"budget": "research", "amount": usd("1.00"), "category": "search", "payee": "serp"}
        charges = [
            app.make("/v1/charges", charge | {"effective_at": day.isoformat()}, key=keys["fay"])["id"]
            for day in (EARLIER, LAST)
        ]
    return Desk(database_url, keys, charges)


@pytest.fixture
def desk(database_url: str) -> Iterator[Desk]:
    """On either database; at the end the book verifies."""
    made = furnished(database_url)
    yield made
    (report,) = verify_books(database_url, book="acme")
    assert report.verified, [difference.sentence() for difference in report.differences]


ACCEPT = ("--accept", "reconciliation=the invoice is late")


def test_months_are_closed_and_opened_again_on_a_database(desk: Desk) -> None:
    """What stands in the way, explained and accepted; the list; the comparison; two persons."""
    tried = desk.run("close", MONTHS[0], "--dry-run", who=None)
    assert tried.exit_code == 1
    assert tried.stdout.splitlines() == [
        f"{MONTHS[0]} cannot be closed yet: 2 checks fail.",
        "  flags: 1 flagged and not explained",
        f"    {desk.charges[0]} unauthorized",
        "  reconciliation: 1 payees whose bills nobody compared",
        "    serp USD",
    ]
    assert "(checks_failed)" in desk.run("close", MONTHS[0]).stderr
    nobody = desk.run("close", MONTHS[0], *ACCEPT, who=None)
    assert (nobody.exit_code, "give your own key" in nobody.stderr) == (2, True)
    explain = ("--explain", f"{desk.charges[0]}=found on the invoice")
    closed = desk.run("close", MONTHS[0], *explain, *ACCEPT, "--json")
    assert closed.exit_code == 0, closed.output
    said = json.loads(closed.stdout)
    assert (said["period"], said["accepted"]) == (MONTHS[0], ["reconciliation"])
    again = desk.run("close", MONTHS[0], *ACCEPT)
    assert (again.exit_code, f"{MONTHS[0]} is closed already" in again.stderr) == (1, True)
    second = desk.run("close", MONTHS[1], "--accept", "flags=seen", *ACCEPT, who="gus")
    assert second.stdout.startswith(f"Closed {MONTHS[1]} as of "), second.output
    assert "accepted: flags, reconciliation" in second.stdout
    listed = desk.run("periods", who=None).stdout.splitlines()
    assert [line.split()[:4] for line in listed] == [
        [f"{TODAY:%Y-%m}", "open,", "going", "on"],
        [MONTHS[1], "closed", "by", "person:gus"],
        [MONTHS[0], "closed", "by", "person:fay"],
    ]
    shown = desk.run("periods", MONTHS[0], who=None).stdout
    assert "1 payees whose bills nobody compared, accepted: the invoice is late" in shown
    assert f"3 statements, digest {said['digest']}" in shown
    assert desk.run("periods", "--verify", who=None).exit_code == 0
    other = desk.run("periods", "--verify", who=None, BURSAR_URL="http://localhost:1")
    assert other.exit_code == 0, "the server that the other verbs ask plays no part"
    early = desk.run("reopen", MONTHS[0], "--reason", "an invoice")
    assert (early.exit_code, "period_out_of_order" in early.stderr) == (1, True)
    assert desk.run("reopen", MONTHS[1], "--reason", "an invoice").exit_code == 0
    assert "not_an_approver" in desk.run("reopen", MONTHS[1], "--approve").stderr
    opened = desk.run("reopen", MONTHS[1], "--approve", who="gus")
    assert opened.stdout.startswith(f"{MONTHS[1]} is open again; record "), opened.output


def test_a_statement_that_is_another_is_told(desk: Desk) -> None:
    """With status 1, and which."""
    assert desk.run("close", MONTHS[0], "--accept", "flags=seen", *ACCEPT).exit_code == 0
    engine = create_migration_engine(desk.url)
    for resource in ("'another'", "NULL"):
        with engine.begin() as connection:
            connection.execute(text(f"UPDATE spend_lines SET resource = {resource}"))
        done = desk.run("periods", MONTHS[0], "--verify", who=None)
        if resource == "NULL":
            assert done.exit_code == 0, done.output
        else:
            assert done.exit_code == 1
            assert done.stdout.endswith("book, budget:research, payee:serp.\n")
    engine.dispose()
    assert "none of these months is closed" in desk.run("periods", MONTHS[1], "--verify", who=None).stderr


def test_a_server_is_asked_the_same_way(tmp_path: Path) -> None:
    """With its address, and a key; what it refuses is told with what fails."""
    desk = furnished(sqlite_url(tmp_path))
    with ServerProcess(desk.url, directory=tmp_path) as server:
        there = {"BURSAR_URL": server.url}
        refused = desk.run("close", MONTHS[0], **there)
        assert (refused.exit_code, "serp USD" in refused.stdout, "checks_failed" in refused.stderr) == (1, True, True)
        closed = desk.run("close", MONTHS[0], "--accept", "flags=seen", *ACCEPT, **there)
        assert closed.stdout.startswith(f"Closed {MONTHS[0]} as of "), closed.output
        assert f"{MONTHS[0]}  closed by person:fay" in desk.run("periods", **there).stdout
        assert "accepted: seen" in desk.run("periods", MONTHS[0], **there).stdout
        assert desk.run("reopen", MONTHS[0], "--reason", "an invoice", **there).exit_code == 0
        assert "asks to open it again" in desk.run("periods", **there).stdout
        assert desk.run("reopen", MONTHS[0], "--approve", who="gus", **there).exit_code == 0
        assert "give the key" in desk.run("periods", who=None, **there).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("close", "november"), "no month, quarter or year"),
        (("close", "2026-11", "--accept", "flags"), "write --accept NAME=REASON"),
        (("close", "2026-11", "--accept", "money=x"), "money is no check"),
        (("close", "2026-11", "--accept", "trial_balance=x"), "books that do not balance are not accepted"),
        (("close", "2026-11", "--explain", "12=x"), "12 is no id of an authorization or charge"),
        (("reopen", "2026-Q4", "--reason", "x"), "is no month"),
        (("reopen", "2026-11"), "give a --reason"),
        (("periods", "--verify", "--url", "http://localhost:1"), "--verify reads the database itself"),
    ],
)
def test_what_is_typed_wrong_ends_with_status_2(arguments: tuple[str, ...], said: str, tmp_path: Any) -> None:
    """Before anything is opened."""
    given = {"BURSAR_DATABASE_URL": f"sqlite:///{tmp_path}/none.db", "BURSAR_API_KEY": "x"}
    done = CliRunner().invoke(bursar, arguments, env=given)
    assert (done.exit_code, said in done.stderr) == (2, True), done.output


def test_a_quarter_or_a_year_is_its_months() -> None:
    """In order."""
    from ledger.cli.close import months_typed

    assert months_typed("2026-Q4") == ["2026-10", "2026-11", "2026-12"]
    assert (len(months_typed("2026")), months_typed("2026-02")) == (12, ["2026-02"])
