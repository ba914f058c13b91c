"""What a writer keeps in memory decides nothing: with next to no memory the books are the same. And what it asks of the
database does not grow with the batch."""

from __future__ import annotations

import random
import re
from collections import Counter
from typing import Any

import pytest

from ledger.core import snapshot as snapshots
from ledger.core.command import Charge, Command, FreezeAgent, OpenRun, Refund, Release, Settle
from ledger.core.outcome import Outcome
from ledger.core.snapshot import Known
from ledger.services import batch_writer
from ledger.services.batch_writer import BatchWriter
from ledger.storage.postgresql_writer import PostgresqlWriter
from ledger.storage.sqlite_writer import ROWS_PER_STATEMENT
from tests.services.live_world import LiveWorld, codes
from tests.services.scripted_writer import Script, ScriptedWriter

BATCHES = 60
WRITES = re.compile(r"INSERT INTO \w+|UPDATE \w+ (?=t SET|SET)")


def workload(world: LiveWorld, seed: int) -> tuple[list[str], list[tuple[Any, ...]]]:
    """A random life of a book with many agents, budgets, payees and runs; its outcomes, and what each record says."""
    choose = random.Random(seed)
    callers = [world.agent(f"agent-{number}") for number in range(6)]
    for number in range(4):
        members = [f"agent-{agent}" for agent in range(6) if agent % 4 == number or agent == 5]
        world.budget(f"budget-{number}", "40", *members)
    finance = world.key("finance", "fred")
    held: list[tuple[int, str]] = []
    said: list[str] = []
    for batch in range(BATCHES):
        commands: list[Command] = []
        asked_for: dict[int, tuple[int, str]] = {}
        for at in range(choose.randint(1, 12)):
            agent, kind = choose.randrange(6), choose.random()
            if kind < 0.5 or not held:
                asked = world.ask(
                    str(choose.randint(1, 12)),
                    caller=callers[agent],
                    budget=f"budget-{choose.randrange(4)}",
                    payee=f"payee-{choose.randrange(9)}",
                    category=f"category-{choose.randrange(5)}",
                    run=choose.choice([None, *[f"run-{number}" for number in range(6)]]),
                    ttl_seconds=choose.choice([5, 20, 600]),
                    resource=f"{batch}-{at}",
                )
                commands.append(asked)
                asked_for[len(commands) - 1] = (agent, asked.id)
                continue
            owner, reference = choose.choice(held)
            commands.append(_later(world, choose, callers[owner], finance, reference, f"run-{choose.randrange(6)}"))
        outcomes = world.decide(*commands)
        said += codes(list(outcomes))
        held += [asked_for[at] for at, one in enumerate(outcomes) if at in asked_for and one.status.value == "approved"]
        world.advance(choose.choice([0, 1, 3]))
    told = ("amount", "approved", "state", "held", "settled", "flags", "transfers")
    return said, [(one.kind, *(one.body.get(name) for name in told)) for one in world.recorded().log]


def _later(world: LiveWorld, choose: random.Random, owner: Any, finance: Any, reference: str, run: str) -> Command:
    """Something that happens after a hold."""
    money = {"amount": str(choose.randint(1, 9)), "currency": "USD"}
    made: Command
    kind = choose.random()
    if kind < 0.5:
        made = world.command(Settle, owner, authorization=reference, final=choose.random() < 0.7, **money)
    elif kind < 0.65:
        made = world.command(Release, owner, authorization=reference)
    elif kind < 0.75:
        made = world.command(Refund, finance, authorization=reference, **money)
    elif kind < 0.85:
        made = world.command(Charge, finance, budget="budget-1", category="category-1", payee="payee-3", **money)
    elif kind < 0.93:
        made = world.command(OpenRun, owner, name=run)
    else:
        made = world.command(FreezeAgent, world.admin, agent="agent-2", frozen=choose.random() < 0.5)
    return made


def test_next_to_no_memory_gives_the_same_books(
    shared_url: str, world: LiveWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fact that was forgotten is read again, and never taken for one that is not there."""
    usual = LiveWorld(shared_url, f"{world.book.name}-usual")
    expected = workload(usual, 7)
    usual.close()
    original = Known.__init__
    trims = 0

    def tiny(self: Known[Any, Any], entries: int = 0) -> None:
        original(self, 2)

    def counting_trim(self: Known[Any, Any]) -> bool:
        nonlocal trims
        trimmed = original_trim(self)
        trims += trimmed
        return trimmed

    original_trim = Known.trim
    monkeypatch.setattr(Known, "__init__", tiny)
    monkeypatch.setattr(Known, "trim", counting_trim)
    monkeypatch.setattr("ledger.core.decide.CACHE_ENTRIES", 3)
    forgetful = LiveWorld(shared_url, f"{world.book.name}-forgetful")
    found = workload(forgetful, 7)
    forgetful.close()
    assert trims > BATCHES
    assert found == expected
    assert set(Counter(found[0])) >= {"approved", "done", "budget_held", "wrong_state", "agent_frozen"}
    forgetful.prove()


def test_memory_is_bounded(world: LiveWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever passes through, a snapshot keeps about twice what it may, and a writer so many snapshots."""
    monkeypatch.setattr(snapshots.Known.__init__, "__defaults__", (50,))
    monkeypatch.setattr(snapshots, "AUTHORIZATION_ENTRIES", 40)
    monkeypatch.setattr("ledger.core.decide.CACHE_ENTRIES", 60)
    monkeypatch.setattr(batch_writer, "BOOKS_MAX", 2)
    writer = world.writer()
    for batch in range(30):
        asked = [world.ask("0.01", payee=f"payee-{batch}-{at}", run=f"run-{batch}-{at}") for at in range(20)]
        results, _ = writer.process(world.book_id, asked, dry=False)
        assert codes(results) == ["approved"] * 20
        kept = writer._snapshots[world.book_id]
        assert max(len(known) for known in kept.known()) <= 2 * (50 + 20 * 3)
        assert len(kept.authorizations) <= 2 * (40 + 20)
        assert len(kept.ready) + len(kept.standings) <= 60 + 20 * 2
    others = [LiveWorld(world.url, f"{world.book.name}-{number}") for number in range(3)]
    for one in [*others, world, *others]:
        results, _ = writer.process(one.book_id, [one.ask("0.5")], dry=False)
        assert codes(results) == ["approved"]
        assert len(writer._snapshots) <= 2
    writer.close()
    for one in others:
        one.close()


# How much is asked of the database.


class Statements:
    """The statements of a batch writer's connection, by their first words."""

    def __init__(self, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
        self._script = script
        self._seen: list[str] = []
        send = PostgresqlWriter._send

        def counting_send(writer: PostgresqlWriter, statement: bytes, parameters: tuple[Any, ...] = ()) -> Any:
            self._seen.append(statement.decode())
            return send(writer, statement, parameters)

        monkeypatch.setattr(PostgresqlWriter, "_send", counting_send)

    def watch(self, writer: ScriptedWriter) -> None:
        """An act: see the statements of a SQLite connection from here on."""
        if not isinstance(writer.inner, PostgresqlWriter):
            writer.inner.connection.set_trace_callback(self._seen.append)  # type: ignore[attr-defined]

    def taken(self) -> tuple[int, Counter[str]]:
        """(how many statements read, how many times each table was written to) since the last call. Of SQLite's
        many-row statements and of those prepared once and run for each row, each run counts."""
        reads = sum(one.startswith("SELECT") for one in self._seen)
        writes: Counter[str] = Counter()
        for one in self._seen:
            written = WRITES.search(one)
            if written is not None:
                writes[written[0]] += 1
        self._seen.clear()
        return reads, writes


@pytest.fixture
def statements(script: Script, world: LiveWorld, monkeypatch: pytest.MonkeyPatch) -> Statements:
    """What the next connection is asked."""
    return Statements(script, monkeypatch)


def pairs(world: LiveWorld, writer: BatchWriter, count: int, name: str) -> list[Command]:
    """So many holds that exist, each to be settled, and so many new ones: all with payees and runs of their own."""
    earlier = [world.ask("0.01", payee=f"{name}-{at}", run=f"{name}-{at}") for at in range(count)]
    results, _ = writer.process(world.book_id, earlier, dry=False)
    assert set(codes(results)) == {"approved"}
    settled = [
        world.command(Settle, world.crawler, authorization=one.id, amount="0.01", currency="USD") for one in earlier
    ]
    return [*settled, *[world.ask("0.01", payee=f"{name}-n-{at}", run=f"{name}-n-{at}") for at in range(count)]]


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_statements_do_not_grow_with_the_batch(
    script: Script, world: LiveWorld, statements: Statements, warm: bool
) -> None:
    """One, ten or five hundred commands of each sort, with nothing known beforehand or with all settings known."""
    counted: dict[int, tuple[int, Counter[str]]] = {}
    other = world.writer()
    for size in (1, 10, 500):
        commands = pairs(world, other, size, f"{'w' if warm else 'c'}{size}")
        writer = world.writer()
        if warm:
            results, _ = writer.process(world.book_id, [world.ask("0.01")], dry=False)
            assert codes(results) == ["approved"]
        script.at("begin", statements.watch)
        statements.taken()
        results, _ = writer.process(world.book_id, commands, dry=False)
        counted[size] = statements.taken()
        writer.close()
        assert Counter(codes(results)) == {"approved": size, "done": size}
    other.close()
    reads = {size: count for size, (count, _) in counted.items()}
    assert len(set(reads.values())) == 1, reads
    assert reads[1] >= (2 if warm else 4)
    small, large = counted[1][1], counted[500][1]
    assert set(small) == set(large)
    if not world.url.startswith("sqlite"):
        assert small == large
        return
    for statement, count in large.items():
        rows = 500 * 8
        bound = rows // ROWS_PER_STATEMENT + 12 if statement.startswith("insert") else 500 * 4 + 12
        assert count <= bound, (statement, count)


def test_a_replay_costs_one_look_up(script: Script, world: LiveWorld, statements: Statements) -> None:
    """Whatever the number of keys that are repeated."""
    writer = world.writer()
    script.at("begin", statements.watch)
    asked = [world.ask("0.01") for _ in range(200)]
    first, _ = writer.process(world.book_id, asked, dry=False)
    counted = []
    writer.process(world.book_id, asked[:1], dry=False)
    for size in (1, 10, 200):
        statements.taken()
        again, _ = writer.process(world.book_id, asked[:size], dry=False)
        assert [one.leaf_hash for one in again if isinstance(one, Outcome)] == [
            one.leaf_hash for one in first[:size] if isinstance(one, Outcome)
        ]
        counted.append(statements.taken())
    writer.close()
    assert len({reads for reads, _ in counted}) == 1, counted
    assert not any(writes for _, writes in counted)
