"""Limits, thresholds and loops agree with a naive recount of all history, over random policies and random spending.

Compared for every command, beside what ``test_model`` compares: each reason, what each limit had used, what shadow
policies would have refused, whom a threshold asks, and that what fits at a time that is told does fit then and not a
microsecond before. Compared after every batch: every counter of every live policy. A rolling limit never counts less
than its window has to the microsecond, and never more than a window that is one part longer. At the end of each book
``verify`` makes every counter and every decision anew and finds no difference. Time jumps over midnights, changes of
the clocks, ends of months and a leap day.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import pytest

from ledger.core.canonical import canonical_bytes
from ledger.core.command_policies import ApplyPolicy
from ledger.core.moment import moment_of
from ledger.services import batch_writer
from ledger.services.authorizer import Authorizer, AuthorizerSettings
from ledger.services.policies import applying
from ledger.services.verify import verify_books
from ledger.storage import migrate
from ledger.storage.engine import create_engine
from tests.model import naive_windows as windows
from tests.model.comparing import ControlledSources, Run
from tests.model.naive_parts import Answer
from tests.model.naive_rules import Ruling, about
from tests.model.policy_driver import PolicyDriver

LONGER = 10 if os.environ.get("BURSAR_LONG") == "1" else 1
BOOKS = {"sqlite": 8 * LONGER, "postgresql": 3 * LONGER}
COMMANDS = 320
FIRST_SEED = int(os.environ.get("BURSAR_SEED", "1"))
SECOND = 1_000_000
# When each book begins: shortly before something happens to the clocks or the calendar.
STARTS = (
    ("Europe/Paris", "2026-10-24T20:00:00Z"), ("America/New_York", "2026-10-31T23:30:00Z"),
    ("Africa/Cairo", "2026-10-29T17:00:00Z"), ("Australia/Lord_Howe", "2026-04-04T10:00:00Z"),
    ("Europe/Paris", "2027-03-27T21:00:00Z"), ("UTC", "2028-02-28T21:00:00Z"), ("Asia/Kolkata", "2026-12-31T12:00:00Z"),
    ("America/New_York", "2027-02-28T22:00:00Z"),
)  # fmt: skip
STEPS = (0, 0, 0, 1, 700_000, 5 * SECOND, 31 * SECOND, 61 * SECOND, 400 * SECOND, 2_000 * SECOND, 7_200 * SECOND)
JUMPS = (26 * 3_600, 3 * 86_400, 8 * 86_400, 29 * 86_400)


class PolicyRun(Run):
    """One book with policies."""

    driver_of = PolicyDriver
    driver: PolicyDriver

    def __init__(self, *arguments: Any, seed: int, sources: ControlledSources, **fields: Any) -> None:
        self.timezone, start = STARTS[seed % len(STARTS)]
        sources.clock = moment_of(start)
        super().__init__(*arguments, sources, seed, **fields)
        if self.backlog:
            # Many holds become due at once, between them few other changes.
            self.driver.lives, self.driver.ends = (20, 20, 20, 20, 90_000), ("release",)

    def submit(self, commands: list[Any]) -> list[Any]:
        """As ever; a policy that comes alone goes the way that users go, one among others is filled before them."""
        edit = next((place for place, one in enumerate(commands) if isinstance(one, ApplyPolicy)), None)
        if edit is None:
            return super().submit(commands)
        asked = commands[edit]
        document = orjson.loads(asked.document)
        if len(commands) == 1:
            said = {"caller": asked.caller, "idempotency_key": asked.idempotency_key, "document": document}
            authorizer = self.driver.random.choice(self.authorizers)
            return [applying.apply_policy(authorizer, self.engine, self.book_id, **said)]
        filled = applying._filled(self.engine, self.book_id, document)
        return super().submit([*commands[:edit], replace(asked, filled=filled), *commands[edit + 1 :]])

    def batch(self, commands: list[Any]) -> None:
        """One batch, and then every counter."""
        super().batch(commands)
        if not self.backlog:
            self.compare_counters()

    # One decision.

    def compare(self, answer: Answer, outcome: Any) -> None:
        """The decision as it was recorded."""
        super().compare(answer, outcome)
        body = outcome.body or {}
        if answer.first is not None or answer.ruling is None:
            return
        if answer.status == "pending_approval":
            for place, one in enumerate(body["approvals"]):
                self.model.approvals[one["id"]] = (str(answer.subject), place)
        if self.backlog:
            # What is due and has not ended yet is still counted, where it makes no difference to the answer.
            return
        said = orjson.loads(canonical_bytes(body["decision"]))
        ruling: Ruling = answer.ruling
        assert Counter(one["code"] for one in said.get("shadow", ())) == Counter(ruling.shadow)
        if answer.status not in ("approved", "done", "pending_approval"):
            reasons = Counter(one["code"] for one in said["reasons"])
            assert not Counter(ruling.codes) - reasons, (ruling.codes, reasons)
            assert said["reasons"][0]["code"] == answer.status
        names = [policy[0] for policy in said["policies"]]
        self.compare_limits(said["limits"], names, ruling, body)
        thresholds = {
            (names[place], rule): (self.amount(int(used), body["currency"]), verdict == "ask")
            for place, rule, _, _, used, verdict in said.get("approvals", ())
        }
        assert thresholds == ruling.thresholds
        hold = self.model.holds[str(answer.subject)]
        # What is approved against a shadow policy counts from here on, so only a denial can be looked at again.
        for one in (*said["reasons"], *said.get("shadow", ())) if said["outcome"] == "denied" else ():
            if "fits_at" in one:
                self.check_fits_at(one, about(hold), ruling.amount)
        if answer.status == "pending_approval":
            asked = [(one["policy"], one["rule"], one["quorum"]) for one in body["approvals"]]
            assert asked == [(tier.policy, tier.rule["id"], tier.rule["quorum"]) for tier in hold.tiers]

    def compare_limits(self, said: list[Any], names: list[str], ruling: Ruling, body: dict[str, Any]) -> None:
        """What each limit had used before, and within which bounds."""
        used: dict[tuple[str, str, str], Any] = {}
        for place, rule, sort, _, _, seen, starts_at, ends_at, _ in said:
            document = self.model.policies[names[place]]["document"]
            limit = next((one for one in document.get("limits", ()) if one["id"] == rule), {})
            if sort == "attempts":
                first = (names[place], rule, "attempts derived")
                used[(names[place], rule, "attempts client") if first in used else first] = int(seen)
                continue
            key = (names[place], rule, sort)
            currency = limit.get("currency", document.get("currency"))
            used[key] = self.amount(int(seen), currency) if sort == "money" else int(seen)
            if key in ruling.bounds and currency == body["currency"]:
                least, most = ruling.bounds[key]
                assert least <= used[key] <= most, key
            if ends_at:
                assert starts_at <= self.model.now < ends_at
                zone = self.model.zone_of(document)
                now, *others = (
                    windows.words(limit["per"], zone, moment)
                    for moment in (self.model.now, starts_at, ends_at - 1, starts_at - 1, ends_at)
                )
                assert [one == now for one in others] == [True, True, False, False], (limit, zone)
        assert used == ruling.limits

    def check_fits_at(self, reason: dict[str, Any], one: dict[str, Any], amount: Decimal) -> None:
        """Nothing fits a microsecond before the time that was told, and it does then."""
        policy, _, rule = reason["rule"].partition("/")
        document = self.model.policies[policy]["document"]
        told = moment_of(reason["fits_at"])
        if rule == "hours":
            zone = self.model.zone_of(document)
            assert [windows.is_open(document["hours"], zone, moment) for moment in (told - 1, told)] == [False, True]
            return
        limit = next((found for found in document.get("limits", ()) if found["id"] == rule), None)
        if limit is None:
            assert rule == "loops"
            return
        fits = []
        for moment in (told - 1, told):
            spent, held, count = self.model.sums(document, limit, one, moment)
            if reason.get("unit") == "count":
                fits.append(count + 1 <= limit["max_count"])
            else:
                fits.append(spent + held + amount <= Decimal(limit["max"]))
        assert fits == [False, True], reason

    # Counters.

    def compare_counters(self) -> None:
        """Every counter of every live policy against the recount."""
        kept: dict[int, list[Any]] = {}
        for row in self.rows("counters", "meter, key"):
            kept.setdefault(row.meter, []).append(row)
        for live in self.rows("policies", "name"):
            assert live.retired == self.model.policies[live.name]["retired"]
            if live.retired:
                continue
            document = self.model.policies[live.name]["document"]
            rules = {one["id"]: one for one in (*document.get("limits", ()), *document.get("approval", ()))}
            for kind, rule, _, number in orjson.loads(live.packed)["meters"]:
                if kind not in ("loops", "runs"):
                    self.compare_meter(document, rules[rule], kept.get(number, []))
        counts = {row.agent: row.mismatches for row in self.rows("agent_counts", "agent")}
        agents = {hold.agent for hold in self.model.holds.values() if hold.agent is not None}
        assert counts == {agent: count for agent in agents if (count := self.model.mismatches(agent))}

    def compare_meter(self, document: dict[str, Any], rule: dict[str, Any], rows: list[Any]) -> None:
        """The counters of one rule."""
        now = self.model.now
        expected = self.model.sums_by_key(document, rule, now)
        currency = rule.get("currency", document["currency"])
        found = {}
        for row in rows:
            sums = [row.settled, row.held, row.count]
            if row.buckets is not None:
                buckets = orjson.loads(row.buckets)
                assert sums == [sum(bucket[place] for bucket in buckets) for place in (1, 2, 3)]
                seconds, parts = windows.PARTS[rule["per"]]
                inside = [
                    bucket
                    for bucket in buckets
                    if windows.part_counts(seconds, parts, bucket[0] * seconds * SECOND, now)
                ]
                sums = [sum(bucket[place] for bucket in inside) for place in (1, 2, 3)]
            elif not self.model.in_window(document, rule, row.starts_at, now):
                continue
            if any(sums):
                key = tuple(orjson.loads(row.key))
                found[key] = (self.amount(sums[0], currency), self.amount(sums[1], currency), sums[2])
        assert found == expected, (document["policy"], rule)

    # A whole book.

    def pass_time(self) -> None:
        """A little, mostly; to around the next hour or midnight; or by days."""
        choose, clock = self.driver.random.choice, self.sources.clock
        roll = self.driver.random.random()
        if roll < 0.9:
            self.sources.clock += choose(STEPS)
        elif roll < 0.975:
            length = choose((60, 3_600, 3_600, 86_400)) * SECOND
            edge = (clock // length + 1) * length + choose((-1, 0, 1, -SECOND))
            self.sources.clock = max(clock, edge)
        else:
            self.sources.clock += choose(JUMPS) * SECOND

    def live(self, commands: int, largest_batch: int) -> None:
        """Set up, then random batches and jumps of time."""
        for one in self.driver.setting_up():
            self.batch([one])
        count = 0
        while count < commands:
            size = 1 if self.driver.random.random() < 0.3 else self.driver.random.randint(1, largest_batch)
            self.batch(self.driver.batch(size))
            count += size
            if not self.backlog:
                self.pass_time()
            elif self.driver.random.random() < 0.08:
                self.sources.clock += 25 * SECOND
        self.settle_backlog()
        self.compare_all()

    def prove(self, url: str) -> None:
        """The log gives every counter and every decision again."""
        (report,) = verify_books(url, book=f"b{self.seed}")
        assert report.verified, [difference.sentence() for difference in report.differences]


def run_policy_books(
    url: str, seeds: range, *, commands: int, largest_batch: int, backlog: bool = False
) -> Counter[str]:
    """Drive books of these seeds and prove each; how often each status was answered."""
    migrate.upgrade(url)
    sources = ControlledSources()
    settings = AuthorizerSettings(clock_jump_seconds=10.0**9)
    authorizers = [Authorizer(url, sources=sources, settings=settings) for _ in range(2)]
    for one in authorizers:
        one.start()
    engine = create_engine(url)
    seen: Counter[str] = Counter()
    try:
        for seed in seeds:
            run = PolicyRun(url, engine, authorizers, seed=seed, sources=sources, backlog=backlog)
            try:
                run.live(commands, largest_batch=largest_batch)
                run.prove(url)
            except AssertionError as error:
                told = "\n".join(
                    f"{asked}\n  model: {answer}\n  ledger: {ours}"[:1_500] for asked, answer, ours in run.last
                )
                raise AssertionError(f"{error}\nBURSAR_SEED={seed}; the last commands:\n{told}") from error
            seen.update(run.statuses)
    finally:
        for one in authorizers:
            one.stop(deadline_seconds=10)
        engine.dispose()
    return seen


@pytest.mark.timeout(1200)
def test_limits_agree_with_a_recount(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random policies and spending; and the commands were varied enough to say something."""
    monkeypatch.setattr(applying, "PAGE_RECORDS", 50)
    kind = "sqlite" if database_url.startswith("sqlite") else "postgresql"
    seeds = range(FIRST_SEED, FIRST_SEED + BOOKS[kind])
    seen = run_policy_books(database_url, seeds, commands=COMMANDS, largest_batch=8)
    expected = {
        "approved", "pending_approval", "approval_required", "limit_exceeded", "limit_held", "limit_too_small",
        "limit_currency", "run_required", "outside_hours", "payee_not_allowed", "resource_not_allowed", "agent_frozen",
    }  # fmt: skip
    if kind == "sqlite":
        expected |= {"velocity", "loop_detected", "category_not_allowed", "condition_not_met"}
    assert expected <= set(seen), expected - set(seen)
    assert seen["approved"] > sum(seen.values()) // 10


@pytest.mark.timeout(1200)
def test_no_limit_is_misjudged_while_many_holds_are_due(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most one hold ends per batch, so that many decisions on limits wait for a backlog: what is no longer held in
    truth fills no limit, and asks nobody."""
    monkeypatch.setattr(batch_writer, "DUE_MAX", 1)
    seeds = range(FIRST_SEED + 5_000, FIRST_SEED + 5_000 + 4 * LONGER)
    seen = run_policy_books(database_url, seeds, commands=COMMANDS, largest_batch=1, backlog=True)
    assert seen["approved"] > 50
    assert seen["limit_exceeded"] + seen["limit_held"] + seen["velocity"] > 10
