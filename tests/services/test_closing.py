"""Closing a month of a real book: what its statements stand on, while others spend and backdate, and across a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

import ledger.services.closing as closing
from ledger.core.canonical import canonical_bytes
from ledger.core.closing import accepted_said
from ledger.core.command import Authorize, Caller, Charge, ExpireDue, Refund, Settle
from ledger.core.command_approvals import GrantApproval
from ledger.core.command_closing import ApproveReopening, ClosePeriod, Explain, RequestReopening
from ledger.core.command_policies import ApplyPolicy
from ledger.core.moment import moment_of, moment_text
from ledger.core.outcome import Outcome, Status
from ledger.core.statement import parse_scope
from ledger.services.closing import Closer
from ledger.services.statements.formats import FORMATS
from ledger.services.statements.making import Statements
from ledger.services.verify import verify_books
from ledger.storage.engine import create_engine, create_migration_engine
from ledger.storage.errors import StorageError
from ledger.storage.migrate import upgrade
from ledger.storage.side_writer import SideWriter
from tests.services.live_world import LiveWorld
from tests.support.every_kind import Clock

POLICY = "pol_00000000000000000000000077"
OCTOBER = moment_of("2026-10-13T12:00:00Z")
NOVEMBER = moment_of("2026-10-31T23:00:00Z")
DAY = 24 * 3600
ACCEPTED = {"flags": "seen", "reconciliation": "no invoice yet"}


class Told(Clock):
    """A clock that readers see too."""

    def now_us(self) -> int:
        """The test's time."""
        return self.now


class Office(LiveWorld):
    """A book with an agent, two persons of finance, and a charge in October."""

    def __init__(self, database_url: str) -> None:
        self.clock = Told()
        super(LiveWorld, self).__init__(database_url, "acme", sources=self.clock)
        self.url = database_url
        self.crawler = self.agent("crawler", None)
        self.budget("research", "100", "crawler")
        self.fay, self.gus = self.key("finance", "fay"), self.key("finance", "gus")
        self.engine: Engine = create_engine(database_url, pool_size=4)
        self.side = SideWriter(database_url)
        self.statements = Statements(self.engine, self.side)
        self.closer = Closer(self.engine, self.statements, self.clock)
        self.first = self.charged("2")

    def charge(self, amount: str = "1", effective_at: int | None = OCTOBER) -> Charge:
        """The command of a charge that is meant for October."""
        made: Charge = self.command(
            Charge, self.fay, budget="research", amount=amount, currency="USD", category="search", payee="serp",
            effective_at=effective_at,
        )  # fmt: skip
        return made

    def charged(self, amount: str = "1", effective_at: int | None = OCTOBER) -> str:
        """The id of a charge that was booked."""
        (outcome,) = self.decide(self.charge(amount, effective_at))
        assert outcome.status is Status.DONE, outcome
        return str((outcome.body or {})["authorization"])

    def closing(self, month: str = "2026-10", accept: dict[str, str] | None = None, **fields: Any) -> ClosePeriod:
        """The command that closes a month."""
        names, evidence = accepted_said(ACCEPTED if accept is None else accept)
        made: ClosePeriod = self.command(
            ClosePeriod, fields.pop("caller", self.fay), period=month, accept=names, evidence=evidence, **fields
        )
        return made

    def close_month(self, month: str = "2026-10", accept: dict[str, str] | None = None, **fields: Any) -> Outcome:
        """Close a month with the real service."""
        return self.closer.close(self.book_id, self.closing(month, accept, **fields), self.authorizer.decide_now)

    def statement(self, scope: str, month: str, at_size: int | None = None, form: str = "json") -> bytes:
        """A statement as it is written."""
        made = self.statements.make(self.book_id, parse_scope(scope), month, at_size=at_size)
        return b"".join(FORMATS[form].write(made))

    def balances(self, month: str, at_size: int | None = None) -> dict[str, tuple[int, int]]:
        """Opening and closing balance of a month, in cents, of every scope there is."""
        found = {}
        for scope in ("book", "budget:research", "agent:crawler", "payee:serp", "payee:openai"):
            made = self.statements.make(self.book_id, parse_scope(scope), month, at_size=at_size)
            made.totals()
            found[scope] = tuple(one.get("USD", 0) // 10**7 for one in (made.opening, made.closing))
        return found  # type: ignore[return-value]

    def prove(self) -> None:
        """The book verifies, and every closing's statements are what it has the digests of."""
        super().prove()
        for seen in self.closer.months(self.book_id):
            if seen.state == "closed":
                compared = self.closer.compare(self.book_id, seen.period.text)
                assert (compared.same, compared.different) == (True, ()), compared

    def close(self) -> None:
        """End everything."""
        super().close()
        self.side.close()
        self.engine.dispose()


@pytest.fixture
def office(database_url: str) -> Iterator[Office]:
    """On both databases; at the end everything is proved."""
    upgrade(database_url)
    made = Office(database_url)
    yield made
    made.prove()
    made.close()


def body(outcome: Outcome) -> dict[str, Any]:
    """The record of what was done."""
    assert outcome.status is Status.DONE, outcome
    return outcome.body or {}


def test_across_two_month_ends_every_balance_is_right(office: Office) -> None:
    """The story of docs/month-end.md: what was closed stays as it was, what comes late is in the next month with a
    link, and the months add up."""
    spent = office.hold(office.crawler, "10")
    office.settle(office.crawler, spent, "3")
    october = body(office.close_month())
    assert [one[0] for one in october["statements"]] == ["book", "budget:research", "payee:serp"]
    assert office.balances("2026-10") == {
        "book": (0, 200), "budget:research": (0, -200), "agent:crawler": (0, 0), "payee:serp": (0, 200),
        "payee:openai": (0, 0),
    }  # fmt: skip
    office.advance(40 * DAY)
    office.do(ExpireDue, Caller(None), idempotency_key="")
    november = body(office.close_month("2026-11"))
    assert [one[0] for one in november["statements"]] == [
        "book", "budget:research", "agent:crawler", "payee:openai",
    ]  # fmt: skip
    size = int(november["size"])
    forms = {form: office.statement("budget:research", "2026-11", size, form) for form in ("json", "csv", "text")}
    late = office.charged("1", OCTOBER)
    refund = office.do(
        Refund,
        office.fay,
        authorization=spent,
        amount="0.50",
        currency="USD",
        effective_at=office.clock.now - 20 * DAY * 10**6,
    )
    said = body(refund)
    assert (said["closed_by"], said["meant_for"] < said["effective_at"]) == (november["index"], True)
    december = {
        "book": (500, 550), "budget:research": (9500, 9450), "agent:crawler": (300, 250), "payee:serp": (200, 300),
        "payee:openai": (300, 250),
    }  # fmt: skip
    assert office.balances("2026-12") == december
    assert office.balances("2026-11")["book"] == (200, 500), "as it was closed"
    for form, before in forms.items():
        assert office.statement("budget:research", "2026-11", size, form) == before
    fresh = office.statement("budget:research", "2026-11").decode()
    assert f'"corrected_by":[{{"log_index":{refund.log_index}' in fresh
    line = office.statement("payee:serp", "2026-12", form="csv").decode().splitlines()[2]
    assert (late in line, moment_text(OCTOBER) in line) == (True, True)


def test_each_check_finds_what_it_is_for(office: Office) -> None:
    """Flags, an unknown hold and a pending approval of the month that ends; explained, settled and granted they are
    gone."""
    overrun = office.hold(office.crawler, "1")
    office.settle(office.crawler, overrun, "2")
    unknown = office.hold(office.crawler, "1", on_expiry="unknown", ttl_seconds=60)
    rule = {"id": "two", "above": "2", "per": "authorization", "approvers": ["finance"], "expires_after": 30 * DAY}
    document = {"policy": "asks", "applies_to": {"book": True}, "currency": "USD", "approval": [rule | {"quorum": 1}]}
    body(office.do(ApplyPolicy, office.admin, id=POLICY, document=canonical_bytes(document).decode()))
    asked = office.authorize(office.crawler, "3", accept_pending=True)
    assert asked.status is Status.PENDING_APPROVAL, asked
    pending = str((asked.body or {})["authorization"])
    office.advance(29 * DAY)
    office.do(ExpireDue, Caller(None), idempotency_key="")
    body(office.close_month())
    found = {check.name: check.items for check in office.closer.checks(office.book_id, "2026-11") if check.failing}
    assert found == {
        "flags": (f"{overrun} overrun mismatch",),
        "unknown_holds": (unknown,),
        "pending_approvals": (pending,),
        "reconciliation": ("openai USD",),
    }
    refused = office.close_month("2026-11", {"reconciliation": "no invoice yet"})
    assert (refused.status, {one["name"] for one in refused.facts["checks"]}) == (
        Status.CHECKS_FAILED, {"flags", "unknown_holds", "pending_approvals"},
    )  # fmt: skip
    body(office.do(Explain, office.fay, authorization=overrun, reason="a long answer"))
    office.settle(office.crawler, unknown, "0")
    approval = (asked.body or {})["approvals"][0]["id"]
    assert office.do(GrantApproval, office.fay, approval=approval).status is Status.DONE
    assert not [
        check
        for check in office.closer.checks(office.book_id, "2026-11")
        if check.failing and check.name != "reconciliation"
    ]
    body(office.close_month("2026-11", {"reconciliation": "no invoice yet"}))


def test_an_entry_that_comes_while_statements_are_made_has_them_made_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As often as it comes, up to a bound; then the closing is refused and has changed nothing."""
    digest, budgets = closing.digest_statement, iter(range(2))

    def late(statement: Any) -> str:
        if str(statement.scope) == "book" and next(budgets, None) is not None:
            office.charged("0.01")
        return digest(statement)

    monkeypatch.setattr(closing, "digest_statement", late)
    done = body(office.close_month())
    assert int(done["size"]) == office.size() - 1
    ask = office.do(RequestReopening, office.fay, period="2026-10", reason="once more")
    opened = office.do(ApproveReopening, office.gus, period="2026-10")
    assert [ask.status, opened.status] == [Status.DONE, Status.DONE]
    budgets = iter(range(1_000))
    before = office.size()
    assert office.close_month().status is Status.PERIOD_CHANGED
    assert office.size() == before + closing.ATTEMPTS_MAX, "the charges, and nothing else"


def test_spending_goes_on_at_full_speed_while_a_month_is_closed(office: Office) -> None:
    """Threads that spend, and one that backdates into the month all the while: no request is refused for it, the
    closing has all that counts for October, and what came too late says so."""
    asks = [
        [office.command(Authorize, office.crawler, amount="0.01", currency="USD", category="inference", payee="openai")
         for _ in range(60)]
        for _ in range(3)
    ]  # fmt: skip
    settles = [
        [office.command(Settle, office.crawler, authorization=one.id, amount="0.01", currency="USD") for one in some]
        for some in asks
    ]
    charges = [office.charge("0.01") for _ in range(25)]
    outcomes: list[Outcome] = []
    closings: list[Outcome] = []

    def spend(place: int) -> None:
        for asked, settled in zip(asks[place], settles[place], strict=True):
            outcomes.append(office.authorizer.decide_now(office.book_id, asked))
            outcomes.append(office.authorizer.decide_now(office.book_id, settled))

    def backdate() -> None:
        for charge in charges:
            outcomes.append(office.authorizer.decide_now(office.book_id, charge))

    commands = [office.closing() for _ in range(40)]

    def close() -> None:
        for command in commands:
            closings.append(office.closer.close(office.book_id, command, office.authorizer.decide_now))
            if closings[-1].status is Status.DONE:
                return

    threads = [threading.Thread(target=spend, args=(place,)) for place in range(3)]
    threads += [threading.Thread(target=backdate), threading.Thread(target=close)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert {one.status for one in outcomes} == {Status.APPROVED, Status.DONE}
    assert len(outcomes) == 3 * 120 + 25
    done = body(closings[-1])
    assert {one.status for one in closings[:-1]} <= {Status.PERIOD_CHANGED}
    for outcome in outcomes:
        said = outcome.body or {}
        if said["kind"] == "charge":
            inside = "meant_for" not in said
            assert inside == (outcome.log_index < int(done["size"]))
            assert said["effective_at"] == moment_text(OCTOBER if inside else NOVEMBER)


def test_two_who_close_at_once_close_once(office: Office) -> None:
    """One of them is told that it is closed."""
    commands = [office.closing(caller=caller) for caller in (office.fay, office.gus)]
    outcomes: list[Outcome] = []
    threads = [
        threading.Thread(
            target=lambda one=one: outcomes.append(  # type: ignore[misc]
                office.closer.close(office.book_id, one, office.authorizer.decide_now)
            )
        )
        for one in commands
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(one.status.value for one in outcomes) == ["done", "wrong_state"]


KILLED = """
import os, signal, sys
import ledger.services.closing as closing
from ledger.core.canonical import canonical_bytes
from ledger.core.closing import accepted_said
from ledger.core.command import Caller
from ledger.core.command_closing import ClosePeriod
from ledger.services.authorizer import Authorizer, AuthorizerSettings
from ledger.services.statements.making import Statements
from ledger.storage.engine import create_engine, create_migration_engine
from ledger.storage.side_writer import SideWriter

url, book_id, digest = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3])
made = closing.digest_statement

def kill(statement):
    found = made(statement)
    if str(statement.scope) == "payee:serp":
        print("pinned", statement.log.size, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    return found

closing.digest_statement = kill
engine = create_engine(url, pool_size=2)
authorizer = Authorizer(url, settings=AuthorizerSettings(clock_jump_seconds=10.0**9))
authorizer.start()
closer = closing.Closer(engine, Statements(engine, SideWriter(url)), authorizer.sources)
accept, evidence = accepted_said({"flags": "seen", "reconciliation": "no invoice yet"})
command = ClosePeriod(
    caller=Caller(digest), idempotency_key="killed", period="2026-10", accept=accept, evidence=evidence
)
print(closer.close(book_id, command, authorizer.decide_now))
"""


def test_a_kill_between_the_pin_and_the_record_changes_nothing(office: Office) -> None:
    """The same request afterwards closes the month."""
    before = office.size()
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, office.url, str(office.book_id), (office.fay.key_digest or b"").hex()],
        capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert killed.stdout.split() == ["pinned", str(before)]
    assert office.size() == before
    done = body(office.close_month(idempotency_key="killed"))
    assert int(done["size"]) == before
    assert office.close_month(idempotency_key="killed").status is Status.REPLAYED


def tampered(office: Office, statement: str, **values: object) -> None:
    """Change something behind the log's back."""
    engine = create_migration_engine(office.url)
    with engine.begin() as connection:
        connection.execute(text(statement), values)
    engine.dispose()


def test_a_changed_row_of_a_month_is_found(office: Office) -> None:
    """Whichever column, by verify."""
    body(office.close_month())
    for column, value in (
        ("root", b"\x01" * 32), ("digest", b"\x02" * 32), ("size", 3), ("closed_by", "person:gus"),
        ("backdated_index", 1), ("state", "open"),
    ):  # fmt: skip
        with office.engine.connect() as connection:
            kept = connection.execute(text(f"SELECT {column} FROM periods")).scalar_one()
        if column == "state":
            # The constraint knows that what is open has no statements.
            with pytest.raises(StorageError):
                tampered(office, f"UPDATE periods SET {column} = :value", value=value)
            continue
        tampered(office, f"UPDATE periods SET {column} = :value", value=value)
        (report,) = verify_books(office.url, book="acme")
        assert [(one.table, one.column) for one in report.differences] == [("periods", column)]
        tampered(office, f"UPDATE periods SET {column} = :value", value=kept)


def test_statements_that_are_made_otherwise_are_told(office: Office) -> None:
    """A line that somebody changed behind the log's back: the comparison names the scopes."""
    body(office.close_month())
    tampered(office, "UPDATE spend_lines SET resource = 'another' WHERE kind = 'charge'")
    compared = office.closer.compare(office.book_id, "2026-10")
    assert (compared.same, compared.different) == (False, ("book", "budget:research", "payee:serp"))
    tampered(office, "UPDATE spend_lines SET resource = NULL WHERE kind = 'charge'")
    with pytest.raises(ValueError, match="not closed"):
        office.closer.compare(office.book_id, "2026-11")
