"""Simulating on real databases: what the live policy did is found unchanged, in pages, for a period, with refusals said
in a sentence, and while the book is in use."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from ledger.core.command import Authorize, Caller, DefineUnit, Extend, OpenRun, Refund, Release, Settle
from ledger.core.moment import moment_of
from ledger.services.policies import simulating
from ledger.services.policies.applying import apply_policy
from ledger.services.policies.simulating import Simulated, SimulationRefused, read_moment, simulate
from ledger.storage.engine import create_engine
from tests.services.live_world import LiveWorld
from tests.support.every_kind import LiveLedger, play
from tests.support.every_policy import HOUSE

OWNER = Caller(None, as_owner=True)
NEVER = 2**60


def policy(*limits: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A policy on the whole book."""
    return {"policy": "caps", "applies_to": {"book": True}, "currency": "USD", "limits": list(limits)} | fields


DAY = {"id": "day", "per": "day", "max": "10"}
RATE = {"id": "rate", "per": "hour", "rolling": True, "max_count": 5, "by": ["payee"]}
RUN = {"id": "run", "per": "run", "max": "2", "match": {"payees": ["brave"]}}


class Office:
    """Spends in a live world, and simulates."""

    def __init__(self, world: LiveWorld) -> None:
        self.world = world
        self.engine = create_engine(world.url)

    def apply(self, document: dict[str, Any]) -> None:
        """Make it live."""
        world = self.world
        done = apply_policy(world.authorizer, self.engine, world.book_id, caller=OWNER, document=document)
        assert done.status.value == "done", done

    def simulate(self, document: dict[str, Any], *, since: int = 1, until: int = NEVER, **fields: Any) -> Simulated:
        """Simulate over the whole past unless told otherwise."""
        return simulate(self.engine, self.world.book_id, document, since=since, until=until, **fields)

    def changed(self, document: dict[str, Any], **fields: Any) -> dict[str, int]:
        """How many of each category there are."""
        tallies = self.simulate(document, **fields).findings.tallies
        return {name: tally.count for name, tally in tallies.items() if tally.count}

    def ask(self, amount: str = "1", payee: str = "openai", **fields: Any) -> str:
        """The id of a request of the crawler, whatever is answered."""
        asked = self.world.do(
            Authorize, self.world.crawler, amount=amount, currency="USD", category="a", payee=payee, **fields
        )
        assert asked.body is not None, asked
        return str(asked.body["authorization"])

    def spend(self) -> None:
        """Some of everything that makes authorizations go on, also long after they have ended."""
        world, crawler = self.world, self.world.crawler
        finance = world.key("finance", "fred")
        world.do(OpenRun, crawler, name="run-1")
        held = [self.ask("0.9", payee, run="run-1") for payee in ("openai", "brave", "brave", "brave", "openai")]
        world.do(Settle, crawler, authorization=held[0], amount="1.2", currency="USD")
        world.do(Extend, crawler, authorization=held[1], amount="0.4", currency="USD", ttl_seconds=60)
        world.do(Release, crawler, authorization=held[4])
        for _ in range(6):
            world.advance(600)
            self.ask("2.2", ttl_seconds=86_400)
        world.do(Refund, finance, authorization=held[0], amount="0.5", currency="USD")
        world.do(Settle, crawler, authorization=held[4], amount="0.1", currency="USD")
        for payee in ("openai", "brave", "openai"):
            self.ask("1.5", payee)


@pytest.fixture
def office(world: LiveWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    monkeypatch.setattr(simulating, "PAGE_RECORDS", 3)
    made = Office(world)
    yield made
    made.engine.dispose()


def test_the_live_policy_changes_nothing(office: Office) -> None:
    live = policy(DAY | {"max": "6"}, RATE, RUN)
    office.apply(live)
    office.spend()
    denied = [one.body["decision"]["reasons"][0]["rule"] for one in office.world.recorded().log if one.kind == "denial"]
    assert {"caps/day", "caps/run"} <= set(denied), denied
    assert office.changed(live) == {}
    assert office.changed(live | {"shadow": True}) == {}
    tighter = policy(DAY | {"max": "4"}, RATE, RUN)
    assert set(office.changed(tighter)) == {"newly_denied"}
    wider = office.simulate(policy(DAY | {"max": "60"}, RATE))
    assert wider.findings.tallies["newly_approved"].count > 0
    assert wider.findings.requests.count == 14 + 1
    assert wider.live_version == 1
    assert wider.digits == {"USD": 9}


def test_every_kind_of_record_can_be_read(office: Office) -> None:
    """The story with a record of each kind; the policy that was live all along changes nothing but what it froze."""
    ledger = LiveLedger(office.world.url, f"{office.world.book.name}-story")
    try:
        play(ledger)
        found = simulate(office.engine, ledger.book.book_id, HOUSE, since=1, until=NEVER)
    finally:
        ledger.close()
    assert {name: tally.count for name, tally in found.findings.tallies.items() if tally.count} == {}
    assert found.findings.requests.count > 10
    assert len(found.digits) > 1, "a unit that is not money was spent as well"


def test_a_period_counts_what_was_before_and_stops_where_it_ends(office: Office) -> None:
    world = office.world
    office.ask("6", ttl_seconds=86_400)
    world.advance(7_200)
    since = world.sources.now
    office.ask("5")
    world.advance(60)
    until = world.sources.now
    office.ask("5")
    found = office.simulate(policy(DAY), since=since, until=until)
    assert (found.findings.requests.count, found.findings.tallies["newly_denied"].count) == (1, 1)
    (example,) = found.findings.examples["newly_denied"]
    assert (example.moment, example.rule, example.observed) == (since, "caps/day", 11 * 10**9)
    hour = policy({"id": "hour", "per": "hour", "rolling": True, "max": "10"})
    assert office.changed(hour, since=since, until=until) == {}
    assert office.simulate(hour, since=since).first > found.first


def test_progress_is_told_and_nothing_is_written(office: Office) -> None:
    office.spend()
    before, told = office.world.size(), []
    found = office.simulate(policy(DAY), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (before, before) == (found.records, found.records)
    assert len(told) == -(-before // 3)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert office.world.size() == before


def test_the_book_may_be_in_use(office: Office) -> None:
    """The log at the size that it had when the simulation began, whatever is written meanwhile."""
    office.spend()
    size, document = office.world.size(), policy(DAY | {"max": "4"})
    expected = office.changed(document)
    stop = threading.Event()
    spender = threading.Thread(target=lambda: [office.ask("0.01") for _ in iter(stop.is_set, True)])
    found = office.simulate(document, progress=lambda done, total: spender.start() if done == 3 else None)
    stop.set()
    spender.join()
    assert office.world.size() > size
    assert found.records == size
    assert {name: tally.count for name, tally in found.findings.tallies.items() if tally.count} == expected


def test_what_is_refused_in_a_sentence(office: Office) -> None:
    for document, said in (
        (policy(DAY, currency="credits"), "counts in credits, which is no currency and no unit of the book"),
        (policy(DAY, applies_to={"team": "research"}), "there is no team research in the book"),
        (policy(DAY, applies_to={"agent": "nobody"}), "there is no agent nobody"),
        (policy(DAY, applies_to={"budget": "nothing"}), "so the policy would judge nothing: change applies_to"),
        (policy(when=[{"id": "x", "expression": "amount <"}]), "caps cannot be used"),
    ):
        with pytest.raises(SimulationRefused, match=said):
            office.simulate(document)
    with pytest.raises(SimulationRefused, match="ends before it begins"):
        office.simulate(policy(DAY), since=5, until=5)
    office.world.do(DefineUnit, office.world.admin, name="credits", digits=2)
    assert office.simulate(policy(DAY, currency="credits")).findings.requests.count == 0


def test_what_was_assumed_is_said(office: Office) -> None:
    for amount in ("3", "3", "5"):
        office.ask(amount)
    asks = {"id": "big", "above": "4", "per": "authorization", "approvers": ["approver"], "quorum": 1,
            "expires_after": 60}  # fmt: skip
    document = policy(
        DAY | {"max": "5"}, approval=[asks], shadow=True, overrun={"tolerance_percent": 5, "then": "flag"}
    )
    notes = " ".join(office.simulate(document | {"limits": []}).notes)
    for said in ("shadow: true", "taken as granted", "1 of the requests", "accept_pending", "overrun and mismatch"):
        assert said in notes
    assert "taken as refused" in " ".join(office.simulate(document | {"limits": []}, grant=False).notes)
    assert "once refused" in " ".join(office.simulate(policy(DAY | {"max": "5"})).notes)


NOW = moment_of("2026-11-10T12:00:00Z")


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("7d", "2026-11-03T12:00:00Z"),
        ("12h", "2026-11-10T00:00:00Z"),
        ("90m", "2026-11-10T10:30:00Z"),
        ("2w", "2026-10-27T12:00:00Z"),
        ("2026-11-01", "2026-10-31T23:00:00Z"),
        ("2026-07-01", "2026-06-30T22:00:00Z"),
        ("2026-11-01T09:00:00+01:00", "2026-11-01T08:00:00Z"),
        ("2026-11-01T09:00:00Z", "2026-11-01T09:00:00Z"),
    ],
)
def test_moments(said: str, meant: str) -> None:
    """A date is midnight in the book's time zone."""
    assert read_moment(said, timezone="Europe/Paris", now=NOW) == moment_of(meant)


@pytest.mark.parametrize("said", ["", "yesterday", "7", "7y", "2026-13-01", "2026-11-01T09:00:00", "20261101", "-7d"])
def test_moments_that_are_none(said: str) -> None:
    with pytest.raises(SimulationRefused, match="is no time: give a date such as"):
        read_moment(said, timezone="Europe/Paris", now=NOW)
