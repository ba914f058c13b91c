"""The writer seam, on both databases: what is written is read back, and nothing commits that must not."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time

import psycopg
import pytest
from sqlalchemy import select

from ledger.core.changeset import TABLES, row_of
from ledger.core.correction import CorrectionRule, CorrectionSum, Reversal
from ledger.core.needs import Needs
from ledger.core.principal import Key
from ledger.core.rate import Rate
from ledger.core.redaction import Redaction
from ledger.core.snapshot import Known, PriorAnswer, Snapshot
from ledger.storage.engine import create_engine
from ledger.storage.errors import Busy, CommitUnknown, Conflict, Refused, SchemaOutdated, StorageError, Unavailable
from ledger.storage.postgresql_writer import PostgresqlWriter
from ledger.storage.sqlite_writer import SqliteWriter
from ledger.storage.tables import metadata
from ledger.storage.writer import BookWriter, open_writer
from tests.storage import rows

BOOK = rows.BOOK_ID


def contents(url: str) -> dict[str, list[tuple[object, ...]]]:
    """Every table's rows in key order."""
    engine = create_engine(url)
    with engine.connect() as connection:
        found = {
            name: [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key.columns))]
            for name, table in metadata.tables.items()
        }
    engine.dispose()
    return found


def written(writer: BookWriter, size: int, count: int) -> None:
    """Commit ``count`` holds at ``size``."""
    writer.begin(BOOK, Needs())
    writer.write_and_commit(rows.holds(size, count))


def test_a_book_is_made_whole(migrated_url: str, book_writer: BookWriter) -> None:
    """Every row of the changeset is in its table, in its columns; so are head, book and secret."""
    found = contents(migrated_url)
    inserts = rows.setup().inserts
    for spec in TABLES:
        if spec.name in inserts:
            assert sorted(map(repr, found[spec.name])) == sorted(map(repr, inserts[spec.name])), spec.name
    assert found["book_heads"] == [row_of(rows.head(rows.SETUP_SIZE))]
    assert found["book_secrets"] == [(BOOK, rows.SECRET)]


def test_holds_are_written_and_accounts_updated(migrated_url: str, book_writer: BookWriter) -> None:
    """A batch of holds leaves its rows, the new balances and the new head."""
    written(book_writer, 1, 3)
    written(book_writer, 4, 2)
    found = contents(migrated_url)
    assert found["authorizations"] == [row_of(rows.authorization(index, index)) for index in range(1, 6)]
    assert [row[0:2] for row in found["transfers"]] == [(BOOK, index) for index in range(1, 6)]
    assert found["log_records"][1:] == [tuple(rows.record(i, "hold", rows.numbered_id("auth", i))) for i in range(1, 6)]
    assert [row[6] for row in found["accounts"]] == [-rows.ROOM, rows.ROOM - 25, 25, 0]
    assert found["book_heads"] == [row_of(rows.head(6))]


@pytest.mark.parametrize("count", [31, 32, 33, 77])
def test_a_batch_of_any_size_is_written_whole(migrated_url: str, book_writer: BookWriter, count: int) -> None:
    """Rows travel in statements of many rows; none is left out where they do not divide."""
    written(book_writer, 1, count)
    found = contents(migrated_url)
    inserts = rows.holds(1, count).inserts
    for name in ("log_records", "transfers", "authorizations", "idempotency_keys"):
        assert set(inserts[name]) <= set(found[name]), name
    assert [len(found[name]) for name in ("log_records", "transfers", "authorizations")] == [count + 1, count, count]


def test_begin_tells_head_clock_book_and_due(book_writer: BookWriter) -> None:
    """What every batch starts from."""
    written(book_writer, 1, 5)
    before = time.time_ns() // 1_000
    opening = book_writer.begin(BOOK, Needs())
    assert opening.head == rows.head(6)
    assert abs(opening.clock_us - before) < 60_000_000
    assert book_writer.read_book() == (rows.book(), rows.SECRET)
    assert book_writer.read_due(2) == [(rows.numbered_id("auth", 1), 9_001), (rows.numbered_id("auth", 2), 9_002)]
    assert len(book_writer.read_due(100)) == 5
    book_writer.rollback()
    assert book_writer.begin(BOOK + 1, Needs()).head is None
    assert book_writer.read_book() is None
    assert book_writer.read_due(1) == []


EVERYTHING: dict[str, set[object]] = {
    "keys": {rows.digest("key"), rows.digest("no key")},
    "key_ids": {rows.numbered_id("key", 1), rows.numbered_id("key", 9)},
    "agent_refs": {"crawler", rows.numbered_id("team", 1), "nobody", rows.numbered_id("agt", 9), "no_body"},
    "persons": {"ada", "bob"},
    "agent_budgets": {"research", "crawler"},
    "budget_refs": {rows.numbered_id("bud", 1), "none"},
    "accounts": {("authority", "USD"), ("authority", "EUR"), ("budgets:research:held", "USD")},
    "authorizations": {rows.numbered_id("auth", 2), rows.numbered_id("auth", 99)},
    "run_refs": {"run-42", rows.numbered_id("run", 1), "run-43"},
    "run_totals": {("run-42", "USD"), ("run-42", "EUR")},
    "units": {"tokens", "credits"},
    "names": {("category", "inference"), ("payee", "inference")},
    "webhooks": {rows.numbered_id("whk", 1), rows.numbered_id("whk", 2)},
    "signing_keys": {"ed25519", "none"},
    "policies": {"limits", "old", "none"},
    "policy_versions": {("limits", 2), ("limits", 3)},
    "bindings": {("book", ""), ("budget", "papers"), ("agent", "crawler")},
    "counters": {(7, "[]"), (8, '["crawler"]'), (8, "[]")},
    "agent_counts": {"crawler", "reader"},
    "approvals": {rows.numbered_id("apr", 1), rows.numbered_id("apr", 9)},
    "approvals_of": {rows.numbered_id("auth", 1), rows.numbered_id("auth", 2)},
    "votes": {rows.numbered_id("apr", 1), rows.numbered_id("apr", 2)},
    "delegations": {rows.numbered_id("del", 1), rows.numbered_id("del", 9)},
    "delegations_to": {"bob", "ada"},
    "renewals": {"research", "none"},
    "open_children": {"research", "papers"},
    "bodies": {0, 99},
    "redactions": {(0, "intent"), (0, "reason")},
    "rates": {("EUR/USD", 20_000), ("EUR/USD", 20_001)},
    "texts": {(0, "reason"), (0, "nothing")},
    "corrections": {rows.numbered_id("cor", 1), rows.numbered_id("cor", 9)},
    "correction_rules": {"USD", "tokens", "EUR"},
    "correction_sums": {("ada", "USD"), ("ada", "EUR")},
    "reversals": {0, 1},
    "periods_of": {"month", "year"},
    "explanations": {rows.numbered_id("auth", 1), rows.numbered_id("auth", 2)},
    "invoices": {rows.numbered_id("inv", 1), rows.numbered_id("inv", 9)},
    "invoice_numbers": {("openai", "A"), ("openai", "none"), ("other", "A")},
    "open_invoices": {("openai", "USD"), ("openai", "EUR")},
    "payments": {rows.numbered_id("pay", 1), rows.numbered_id("pay", 9)},
    "paid_invoices": {rows.numbered_id("pay", 1), rows.numbered_id("pay", 9)},
    "payee_terms": {"openai", "other"},
    "idempotency": {("agent:crawler", "key-2"), ("agent:other", "key-2"), ("agent:crawler", "key-9")},
}


@pytest.mark.parametrize("later", [False, True], ids=["at the beginning", "later"])
def test_every_fact_that_was_asked_for_is_known(book_writer: BookWriter, later: bool) -> None:
    """What is there is there under every key it has; what is not there is None, never unknown."""
    written(book_writer, 1, 3)
    known = rows.snapshot()
    wanted = rows.needs(**EVERYTHING)
    opening = book_writer.begin(BOOK, Needs() if later else wanted)
    facts = book_writer.read(wanted) if later else opening.facts
    facts.put_into(known)
    key = Key(*rows.setup().inserts["api_keys"][0])
    assert known.keys[rows.digest("key")] == known.keys_by_id[key.id] == key
    assert known.keys[rows.digest("no key")] is None
    assert known.keys_by_id[rows.numbered_id("key", 9)] is None
    crawler, research = known.agents["crawler"], known.agents["research"]
    assert crawler is not None
    assert research is not None
    assert (crawler.frozen, research.frozen) == (True, False)
    assert known.aliases[crawler.id] == "crawler"
    assert known.aliases[research.id] == "research"
    assert known.aliases[rows.numbered_id("agt", 9)] is None
    assert (known.agents["nobody"], known.agents["no_body"]) == (None, None)
    assert known.persons["ada"] is not None
    assert known.persons["bob"] is None
    assert [key.id for key in known.signing_keys["ed25519"] or ()] == ["0a0b0c0d"]
    assert known.signing_keys["none"] == ()
    assert (known.agent_budgets["research"], known.agent_budgets["crawler"]) == (("extra", "research"), ())
    assert known.budgets["research"] is not None
    assert known.aliases[rows.numbered_id("bud", 1)] == "research"
    assert known.budgets["none"] is None
    held = known.accounts[("budgets:research:held", "USD")]
    assert held is not None
    assert held.balance == 15
    assert known.accounts[("authority", "EUR")] is None
    assert known.authorizations[rows.numbered_id("auth", 2)] == rows.authorization(2, 2)
    assert known.authorizations[rows.numbered_id("auth", 99)] is None
    assert (known.correction_rules["USD"], known.correction_rules["EUR"]) == (
        CorrectionRule(BOOK, "USD", 100, 0, 0),
        None,
    )
    assert known.correction_sums["ada", "USD"] == CorrectionSum(BOOK, "ada", "USD", 739_000, 7, 0)
    assert (known.reversals[0], known.reversals[1]) == (Reversal(BOOK, 0, 1), None)
    approved = known.corrections[rows.numbered_id("cor", 1)]
    assert approved is not None
    assert (approved.state, approved.decided_by) == ("approved", "person:bob")
    assert known.runs["run-42"] is not None
    assert known.runs["run-43"] is None
    total = known.run_totals[("run-42", "USD")]
    assert total is not None
    assert (total.approved_count, total.spent) == (3, 7)
    assert known.run_totals[("run-42", "EUR")] is None
    assert known.units["tokens"] is not None
    assert known.units["credits"] is None
    assert known.names[("category", "inference")] is not None
    assert known.names[("payee", "inference")] is None
    assert_control_known(known)
    record = rows.record(2)
    answer = PriorAnswer(rows.digest("request 2"), 2, record.body, record.leaf_hash)
    assert known.idempotency[("agent:crawler", "key-2")] == answer
    assert known.idempotency[("agent:other", "key-2")] is None


def assert_control_known(known: Snapshot) -> None:
    """What policies, approvals and renewals look at; a yes or no is one, whatever the database calls it."""
    limits, old = known.policies["limits"], known.policies["old"]
    assert limits is not None
    assert old is not None
    assert (limits.retired, old.retired, known.policies["none"]) == (False, True, None)
    assert [known.policy_versions["limits", version] is not None for version in (2, 3)] == [True, False]
    assert known.bindings["book", ""] == (limits,), "a retired policy binds nobody"
    bound = known.bindings["budget", "papers"]
    assert bound is not None
    assert [policy.name for policy in bound] == ["papers"]
    assert known.bindings["agent", "crawler"] == ()
    calendar, rolling = known.counters[7, "[]"], known.counters[8, '["crawler"]']
    assert [row_of(one) for one in (calendar, rolling)] == rows.setup().inserts["counters"]
    assert known.counters[8, "[]"] is None
    count = known.agent_counts["crawler"]
    assert count is not None
    assert (count.mismatches, known.agent_counts["reader"]) == (2, None)
    tiers = (rows.numbered_id("apr", 2), rows.numbered_id("apr", 1))
    assert known.approvals_of[rows.numbered_id("auth", 1)] == tiers, "in the order of their positions"
    assert known.approvals_of[rows.numbered_id("auth", 2)] == ()
    assert all(known.approvals[tier] is not None for tier in tiers)
    assert known.approvals[rows.numbered_id("apr", 9)] is None
    votes = known.votes[rows.numbered_id("apr", 1)]
    assert votes is not None
    assert [vote.seat for vote in votes] == ["ada", "bob"]
    assert known.votes[rows.numbered_id("apr", 2)] == ()
    given = (rows.numbered_id("del", 2), rows.numbered_id("del", 1))
    assert known.delegations_to["bob"] == given, "in the order in which they were recorded"
    assert known.delegations_to["ada"] == ()
    assert all(known.delegations[one] is not None for one in given)
    assert known.delegations[rows.numbered_id("del", 9)] is None
    renewal, research = known.renewals["research"], known.budgets["research"]
    assert renewal is not None
    assert research is not None
    assert (renewal.every, renewal.next_at, known.renewals["none"]) == ("month", 8_000, None)
    assert research.frozen is False
    assert (known.open_children["research"], known.open_children["papers"]) == (("papers",), ())
    assert (known.bodies[0], known.bodies[99]) == (rows.record(0).body, None)
    assert known.redactions[0, "intent"] == Redaction(BOOK, 0, "intent", 1)
    assert known.redactions[0, "reason"] is None
    assert known.rates["EUR/USD", 20_000] == Rate(BOOK, "EUR/USD", 20_000, "1.0842", "ecb", 7, 0, 0)
    assert known.rates["EUR/USD", 20_001] is None
    assert (known.texts[0, "reason"], known.texts[0, "nothing"]) == (True, None)
    assert (known.periods_of["month"], known.periods_of["year"]) == (("2026-10", "2026-11"), ())
    assert [known.periods["2026-10"], known.periods["2026-11"]] == rows.months(), "hashes are bytes on both databases"
    explained = known.explanations[rows.numbered_id("auth", 1)]
    assert explained is not None
    assert (explained.flags, known.explanations[rows.numbered_id("auth", 2)]) == (3, None)


def test_facts_of_payables(book_writer: BookWriter) -> None:
    """A number is that of the live invoice alone, and none that is paid or void can be paid; what was found by
    something else than its id is known by it too."""
    known = rows.snapshot()
    wanted = rows.needs(**EVERYTHING)
    book_writer.begin(BOOK, wanted).facts.put_into(known)
    void, partly, paid, unpaid = (rows.numbered_id("inv", at) for at in (1, 2, 3, 4))
    assert known.invoices[void] is not None
    assert known.invoices[rows.numbered_id("inv", 9)] is None
    assert known.invoice_numbers["openai", "A"] == (partly,)
    assert known.invoice_numbers["openai", "none"] == known.invoice_numbers["other", "A"] == ()
    assert known.open_invoices["openai", "USD"] == (partly, unpaid)
    assert known.open_invoices["openai", "EUR"] == ()
    assert {known.invoices[one].state for one in (partly, unpaid)} == {"partly_paid", "open"}
    assert paid not in known.invoices
    made = known.payments[rows.numbered_id("pay", 1)]
    assert made is not None
    assert (made.amount, made.prepaid, made.on_account) == (90, 4, 6)
    parts = known.paid_invoices[made.id]
    assert parts is not None
    assert [(part.invoice, part.amount) for part in parts] == [(partly, 20), (paid, 60)], "in the order of their ids"
    assert known.paid_invoices[rows.numbered_id("pay", 9)] == ()
    assert known.payee_terms["openai"] is not None
    assert known.payee_terms["other"] is None


def test_renewals_are_told_by_when_they_are_due(book_writer: BookWriter) -> None:
    """The next first; one that was stopped never."""
    book_writer.begin(BOOK, Needs())
    assert book_writer.read_renewals(1) == [("papers", 7_000)]
    assert book_writer.read_renewals(9) == [("papers", 7_000), ("research", 8_000)]
    book_writer.rollback()
    book_writer.begin(BOOK + 1, Needs())
    assert book_writer.read_renewals(9) == []


def test_another_book_is_not_seen(book_writer: BookWriter) -> None:
    """The same names, ids and digests asked of another book are not there."""
    known = rows.snapshot(BOOK + 1)
    book_writer.begin(BOOK + 1, rows.needs(**EVERYTHING)).facts.put_into(known)
    lists = {"agent_budgets", "bindings", "approvals_of", "votes", "delegations_to", "open_children", "signing_keys"}
    lists.add("periods_of")
    # Months are known by way of the list that names them.
    found_by_list = {"periods"}
    lists |= {"invoice_numbers", "open_invoices", "paid_invoices"}
    for kind, facts in ((slot, getattr(known, slot)) for slot in Snapshot.__slots__):
        if isinstance(facts, Known):
            assert len(facts) > 0 or kind in found_by_list, kind
            assert all(value == (() if kind in lists else None) for value in facts._young.values()), kind


@contextlib.contextmanager
def counted(writer: BookWriter, monkeypatch: pytest.MonkeyPatch):
    """Count the statements and the round trips (syncs of a pipeline) that a writer sends."""
    statements: list[str] = []
    if isinstance(writer, SqliteWriter):
        writer.connection.set_trace_callback(statements.append)
        yield statements
        writer.connection.set_trace_callback(None)
        return
    assert isinstance(writer, PostgresqlWriter)
    execute = psycopg.Cursor.execute
    sync = psycopg.Pipeline._enqueue_sync

    def counting(self, query, *arguments, **options):
        statements.append(str(query))
        return execute(self, query, *arguments, **options)

    def synced(self):
        statements.append("-- round trip")
        return sync(self)

    with monkeypatch.context() as patch:
        patch.setattr(psycopg.Cursor, "execute", counting)
        patch.setattr(psycopg.Pipeline, "_enqueue_sync", synced)
        yield statements


def alike(sample: object, number: int) -> object:
    """A key of the same shape as the sample, which nothing bears."""
    if isinstance(sample, tuple):
        return tuple(alike(part, number) for part in sample)
    if isinstance(sample, bytes):
        return rows.digest(f"n{number}")
    return 1_000 + number if isinstance(sample, int) else f"n{number}"


def test_the_number_of_reads_does_not_grow_with_the_batch(book_writer: BookWriter, monkeypatch) -> None:
    """1, 10 or 500 commands: one statement for each kind of need, beside BEGIN, head and clock."""
    counts = []
    for size in (1, 10, 500):
        many = {kind: {alike(next(iter(wanted)), at) for at in range(size)} for kind, wanted in EVERYTHING.items()}
        with counted(book_writer, monkeypatch) as statements:
            book_writer.begin(BOOK, rows.needs(**many))
        counts.append(len([line for line in statements if not line.startswith("--")]))
        if isinstance(book_writer, PostgresqlWriter):
            assert statements.count("-- round trip") == 1
        book_writer.rollback()
    assert len(set(counts)) == 1
    assert counts[0] <= len(EVERYTHING) + 3


def test_writing_takes_one_round_trip_on_postgresql(book_writer: BookWriter, monkeypatch) -> None:
    """The COMMIT travels with the rows, whose number of statements is the same for one hold and for a hundred."""
    counts = []
    size = 1
    for count in (1, 100):
        book_writer.begin(BOOK, Needs())
        with counted(book_writer, monkeypatch) as statements:
            book_writer.write_and_commit(rows.holds(size, count))
        size += count
        counts.append(len(statements))
        if isinstance(book_writer, PostgresqlWriter):
            assert statements.count("-- round trip") == 1
    if isinstance(book_writer, PostgresqlWriter):
        assert counts[0] == counts[1]


@pytest.mark.parametrize("wrong", ["size", "root"])
@pytest.mark.parametrize("together", [True, False], ids=["write_and_commit", "write"])
def test_a_head_that_moved_refuses_the_batch(
    migrated_url: str, book_writer: BookWriter, wrong: str, together: bool
) -> None:
    """Decided on another size or root: nothing is committed, and the writer is ready for the next batch."""
    before = contents(migrated_url)
    changes = rows.holds(1, 2)
    if wrong == "size":
        changes.previous_size = 7
    else:
        changes.previous_root = rows.root(7)
    book_writer.begin(BOOK, Needs())
    with pytest.raises(Conflict):
        (book_writer.write_and_commit if together else book_writer.write)(changes)
    book_writer.rollback()
    assert contents(migrated_url) == before
    written(book_writer, 1, 2)
    assert contents(migrated_url)["book_heads"] == [row_of(rows.head(3))]


def test_an_update_of_a_row_that_is_not_there_refuses_the_batch(migrated_url: str, book_writer: BookWriter) -> None:
    """A projection that lacks a row is not written past in silence."""
    before = contents(migrated_url)
    changes = rows.holds(1, 1)
    changes.updates["accounts"].append((5, None, 1, BOOK, 77))
    book_writer.begin(BOOK, Needs())
    with pytest.raises(Conflict):
        book_writer.write_and_commit(changes)
    book_writer.rollback()
    assert contents(migrated_url) == before


def test_a_broken_money_rule_refuses_the_batch(migrated_url: str, book_writer: BookWriter) -> None:
    """An available balance below zero that no record explains: the constraint stands behind the core."""
    before = contents(migrated_url)
    changes = rows.holds(1, 1)
    changes.updates["accounts"][0] = (-1, None, 1, BOOK, 1)
    book_writer.begin(BOOK, Needs())
    with pytest.raises(Refused):
        book_writer.write_and_commit(changes)
    book_writer.rollback()
    assert contents(migrated_url) == before
    changes = rows.holds(1, 1)
    changes.updates["accounts"][0] = (-1, 1, 1, BOOK, 1)
    book_writer.begin(BOOK, Needs())
    book_writer.write_and_commit(changes)


def test_a_book_is_made_once(migrated_url: str, book_writer: BookWriter) -> None:
    """The second to make it learns that it exists."""
    before = contents(migrated_url)
    book_writer.begin(BOOK, Needs())
    with pytest.raises(Conflict):
        book_writer.write_and_commit(rows.setup(), text_secret=rows.SECRET)
    book_writer.rollback()
    assert contents(migrated_url) == before


def test_rollback_leaves_no_trace(migrated_url: str, book_writer: BookWriter) -> None:
    """Also twice, and without a transaction."""
    before = contents(migrated_url)
    book_writer.begin(BOOK, Needs())
    book_writer.write(rows.holds(1, 2))
    book_writer.rollback()
    book_writer.rollback()
    assert contents(migrated_url) == before


def test_write_then_commit(migrated_url: str, book_writer: BookWriter) -> None:
    """In two steps the same is written as in one."""
    book_writer.begin(BOOK, Needs())
    book_writer.write(rows.holds(1, 2))
    book_writer.commit()
    assert len(contents(migrated_url)["transfers"]) == 2


def test_the_lock_is_waited_for_until_the_deadline(migrated_url: str, book_writer: BookWriter) -> None:
    """Then the batch is refused as busy, and later served."""
    other = open_writer(migrated_url, lock_timeout_seconds=0.2)
    book_writer.begin(BOOK, Needs())
    started = time.monotonic()
    with pytest.raises(Busy):
        other.begin(BOOK, Needs())
    assert 0.15 < time.monotonic() - started < 5
    other.rollback()
    book_writer.rollback()
    assert other.begin(BOOK, Needs()).head == rows.head(1)
    other.close()


def test_who_waited_for_the_lock_sees_what_was_committed_meanwhile(migrated_url: str, book_writer: BookWriter) -> None:
    """Head and facts are read under the lock, not before it."""
    other = open_writer(migrated_url, lock_timeout_seconds=20)
    other.begin(BOOK, Needs())
    other.rollback()
    book_writer.begin(BOOK, Needs())
    known = rows.snapshot()
    heads = []

    def wait() -> None:
        opening = other.begin(BOOK, rows.needs(idempotency={("agent:crawler", "key-1")}))
        opening.facts.put_into(known)
        heads.append(opening.head)

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.2)
    assert waiting.is_alive()
    book_writer.write_and_commit(rows.holds(1, 1))
    waiting.join(timeout=20)
    other.close()
    assert heads == [rows.head(2)]
    assert known.idempotency[("agent:crawler", "key-1")] is not None


def test_missing_tables_are_told_apart(database_url: str) -> None:
    """Whoever forgot to migrate reads so."""
    writer = open_writer(database_url)
    with pytest.raises(SchemaOutdated):
        writer.begin(BOOK, Needs())
    writer.rollback()
    writer.close()


def test_a_connection_lost_before_the_commit_wrote_nothing(postgresql_url: str, postgres_server) -> None:
    """And one lost in the commit's round trip leaves the outcome unknown."""
    from ledger.storage.migrate import upgrade

    upgrade(postgresql_url)
    writer = open_writer(postgresql_url)
    writer.begin(BOOK, Needs())
    writer.write_and_commit(rows.setup(), text_secret=rows.SECRET)
    expected: type[StorageError]
    for expected, step in (
        (Unavailable, lambda lost: lost.read(rows.needs(persons={"ada"}))),
        (Unavailable, lambda lost: lost.write(rows.holds(1, 1))),
        (CommitUnknown, lambda lost: lost.write_and_commit(rows.holds(1, 1))),
        (CommitUnknown, lambda lost: lost.commit()),
    ):
        writer.begin(BOOK, Needs())
        terminate(postgresql_url, writer)
        with pytest.raises(expected):
            step(writer)
        writer.rollback()
        writer.close()
        writer = open_writer(postgresql_url)
    assert writer.begin(BOOK, Needs()).head == rows.head(1)
    writer.close()


def terminate(url: str, writer: BookWriter) -> None:
    """End the server's side of a writer's connection."""
    assert isinstance(writer, PostgresqlWriter)
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", (writer.connection.info.backend_pid,))


def test_a_commit_that_sqlite_fails_leaves_the_outcome_unknown(tmp_path, monkeypatch) -> None:
    """Only reading the file back tells whether the write-ahead log holds it."""
    from ledger.storage.migrate import upgrade

    upgrade(f"sqlite:///{tmp_path}/b.db")
    writer = SqliteWriter(f"{tmp_path}/b.db", lock_timeout_seconds=1)
    writer.begin(BOOK, Needs())

    class Failing:
        """A connection whose disk fails."""

        def __init__(self, connection: sqlite3.Connection) -> None:
            self.connection = connection

        def execute(self, statement: str) -> None:
            raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(writer, "_connection", Failing(writer.connection))
    with pytest.raises(CommitUnknown):
        writer.commit()
