"""`bursar approvals` and `bursar delegations`: what people see, what they can do, and what goes wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import httpx
import pytest
from click.testing import CliRunner, Result

from bursar import asking
from ledger.cli import approvals, delegations
from ledger.cli.approvals.shown import plain
from tests.support.approval_desk import Desk
from tests.support.approving import rule
from tests.support.databases import sqlite_url
from tests.support.running_app import RunningApp
from tests.support.server import free_port


class Bridge(httpx.BaseTransport):
    """Carries a client's requests to an app in this process; so many answers as ``lost`` says are lost on the way."""

    def __init__(self, app: RunningApp) -> None:
        self.app = app
        self.lost = 0
        self.keys: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        headers = [(name.lower(), value) for name, value in request.headers.raw]
        answer = self.app.request(
            request.method, request.url.raw_path.decode(), body=request.read(), headers=headers
        )  # fmt: skip
        if request.method == "POST":
            self.keys.append(request.headers["idempotency-key"])
            if self.lost:
                self.lost -= 1
                raise httpx.ReadError("the connection was lost", request=request)
        return httpx.Response(answer.status, headers=answer.headers, content=answer.body)


class Office:
    """A desk with the command in front of it."""

    def __init__(self, app: RunningApp, monkeypatch: pytest.MonkeyPatch) -> None:
        self.desk = Desk(app)
        self.bridge = Bridge(app)
        client = httpx.Client
        monkeypatch.setattr(
            asking.httpx, "Client", lambda **settings: client(**settings, transport=self.bridge)
        )  # fmt: skip

    def run(
        self, *arguments: str, key: str | None = None, answer: str = "", group: click.Group | None = None
    ) -> Result:
        """Run a verb of `bursar approvals` as pat, or with another key."""
        environment = {"BURSAR_API_KEY": key or self.desk.pat, "BURSAR_URL": "http://bursar.test"}
        return CliRunner().invoke(group or approvals.command, list(arguments), env=environment, input=answer)

    def delegations(self, *arguments: str, key: str | None = None) -> Result:
        """Run a verb of `bursar delegations`."""
        return self.run(*arguments, key=key, group=delegations.command)


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    """An office of a test's own."""
    with RunningApp(sqlite_url(tmp_path)) as app:
        yield Office(app, monkeypatch)


def lines(result: Result) -> list[Any]:
    """The lines of JSON that a verb printed."""
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.output.splitlines()]


def test_the_queue_is_a_table_people_can_read(office: Office) -> None:
    """Amount, agent, what for, who is asked, how far, until when."""
    assert "Nothing waits for a decision." in office.run("list").output
    _, approval = office.desk.waiting("7.50")
    shown = office.run("list").output
    for text in (approval, "7.50 USD", "crawler", "inference · openai", "approver", "0 of 1", "UTC"):
        assert text in shown
    (item,) = lines(office.run("list", "--json"))
    assert item["id"] == approval
    assert "No approval is granted." in office.run("list", "--state", "granted").output


def test_the_queue_is_read_over_pages(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as were asked for, and no more."""
    monkeypatch.setattr(asking, "PAGE_ITEMS", 2)
    made = [office.desk.waiting("3.00")[1] for _ in range(5)]
    assert [item["id"] for item in lines(office.run("list", "--json"))] == made[::-1]
    assert [item["id"] for item in lines(office.run("list", "--json", "--limit", "3"))] == made[:1:-1]


def test_one_approval_is_shown_with_its_request(office: Office) -> None:
    """All that a person needs to decide; control characters do nothing to the terminal."""
    reference, approval = office.desk.waiting(
        intent="buy [bold]a report[/bold]", resource="r-1", labels={"ticket": "4711"}
    )  # fmt: skip
    shown = office.run("show", approval).output
    for text in (
        reference,
        "5.00 USD",
        "buy [bold]a report[/bold]",
        "r-1",
        "4711",
        "asks version 1, two",
        "tier 1 of 1",
    ):
        assert text in shown
    assert lines(office.run("show", approval, "--json"))[0]["id"] == approval
    assert plain("a\x1b[2Jb\u202e").plain == "a·[2Jb·"


def test_a_grant_is_asked_for_and_sent_with_the_digest(office: Office) -> None:
    """What was shown is what is granted."""
    reference, approval = office.desk.waiting()
    declined = office.run("grant", approval, answer="n\n")
    assert declined.exit_code == 1
    assert office.desk.state(reference) == "pending_approval"
    granted = office.run("grant", approval, "--reason", "in the plan", answer="y\n")
    assert granted.exit_code == 0
    assert f"Granted. {reference} may be spent until" in granted.output
    assert office.desk.state(reference) == "held"
    shown = office.run("show", approval).output
    assert "pat granted at" in shown
    assert "in the plan" in shown


def test_a_vote_that_was_lost_on_the_way_counts_once(office: Office) -> None:
    """It is repeated with its own key."""
    office.desk.apply(rule(quorum=2))
    _, approval = office.desk.waiting()
    office.bridge.lost = 1
    result = office.run("grant", approval, "--yes")
    assert "Your vote counts: 1 of 2 that are needed." in result.output
    assert len(office.bridge.keys) == 2
    assert len(set(office.bridge.keys)) == 1


def test_a_refusal_ends_it(office: Office) -> None:
    """And says so."""
    reference, approval = office.desk.waiting()
    result = office.run("refuse", approval, "--yes", "--reason", "too dear")
    assert f"Refused. {reference} ends here" in result.output
    again = office.run("grant", approval, "--yes")
    assert again.exit_code == 1
    assert "no longer to be decided" in again.output
    assert "(wrong_state)" in again.output


def test_an_admin_forces_with_a_reason(office: Office) -> None:
    """Without one nothing is sent."""
    reference, approval = office.desk.waiting()
    missing = office.run("force", approval, "--yes", key=office.desk.zoe)
    assert missing.exit_code == 2
    assert "--reason" in missing.output
    refused = office.run("force", approval, "--yes", "--reason", "now")
    assert (refused.exit_code, "(role_not_allowed)" in refused.output) == (1, True)
    forced = office.run("force", approval, "--yes", "--reason", "nobody is in", key=office.desk.zoe)
    assert f"Forced. {reference} may be spent until" in forced.output
    assert "by person:zoe" in office.run("show", approval).output


def test_tiers_are_told_apart(office: Office) -> None:
    """The vote says what the request waits for now."""
    office.desk.apply(rule(), rule(id="boss", approvers=["person:zoe"]))
    _, approval = office.desk.waiting()
    assert "now waits for the next tier" in office.run("grant", approval, "--yes").output
    (boss,) = lines(office.run("list", "--json"))
    assert "may be spent" in office.run("grant", boss["id"], "--yes", key=office.desk.zoe).output


def test_delegations_are_given_listed_and_ended(office: Office) -> None:
    """With their ends in sight."""
    assert "There are no delegations." in office.delegations("list").output
    given = office.delegations("give", "quinn", "--days", "14", "--reason", "on leave")
    assert "quinn may approve in place of pat (role approver)" in given.output
    (item,) = lines(office.delegations("list", "--live", "--json"))
    table = office.delegations("list", "--person", "quinn").output
    for text in (item["id"], "pat", "quinn", "approver", "yes"):
        assert text in table
    office.desk.apply(rule(approvers=["person:pat"]))
    _, approval = office.desk.waiting()
    assert office.run("grant", approval, "--yes", key=office.desk.quinn).exit_code == 0
    assert "quinn in place of pat granted" in office.run("show", approval).output
    ended = office.delegations("revoke", item["id"])
    assert "quinn no longer approves in place of pat" in ended.output
    assert "There are no delegations." in office.delegations("list", "--live").output
    for arguments in (("give", "quinn"), ("give", "quinn", "--days", "1", "--until", "2030-01-01"), ("revoke", "a/b")):
        assert office.delegations(*arguments).exit_code == 2
    unknown = office.delegations("give", "nobody", "--days", "1")
    assert (unknown.exit_code, "there is no person nobody" in unknown.output) == (1, True)


def test_what_is_no_id_is_said_so(office: Office) -> None:
    """Before anything is asked."""
    result = office.run("show", "../keys")
    assert (result.exit_code, "is no id of an approval" in result.output) == (2, True)
    assert office.run("show", "apr_1").exit_code == 1


def test_a_server_that_is_not_there_is_one_sentence() -> None:
    """Exit status 2, and no key in sight."""
    for url in (f"http://127.0.0.1:{free_port()}", "127.0.0.1:8000"):
        result = CliRunner().invoke(approvals.command, ["list", "--url", url, "--key", "bk_secret"])
        assert result.exit_code == 2
        assert result.output.startswith("Error: ")
        assert "bk_secret" not in result.output
    assert CliRunner().invoke(approvals.command, ["list"], env={"BURSAR_API_KEY": ""}).exit_code == 2
