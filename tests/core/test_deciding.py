"""What holds of every decision: pure, in order, each on its own merits, and a record that says all of it.

That a decision leaves its snapshot as it was, is the same on facts read anew and on facts kept from earlier batches,
and writes canonical bodies only, is asserted for every batch that any test of the core decides (``tests.support``).
"""

from __future__ import annotations

import copy

import pytest

from ledger.core.authorization import FLAGS, flag_bits, flag_names
from ledger.core.book import Book
from ledger.core.canonical import canonical_bytes, parse
from ledger.core.changeset import APPEND_ONLY, TABLES, Changeset
from ledger.core.command import Allocate, Authorize, Charge, Command, CreateAgent, CreateBudget, ExpireDue, FreezeAgent
from ledger.core.decide import DECIDERS, decide
from ledger.core.journal import FORMAT, SEMANTICS
from ledger.core.merkle import Frontier, leaf_hash
from ledger.core.missing import missing
from ledger.core.moment import moment_of, moment_text
from ledger.core.outcome import DENIALS, Status
from ledger.core.snapshot import Known
from tests.core.status_cases import ALONE
from tests.support.ledger import OPENED_AT, TEXT_SECRET
from tests.support.worlds import World

SPENDING = {"amount": "5", "currency": "USD", "category": "inference", "payee": "openai", "intent": "a ticket"}
REFUSED = [
    one for one in ALONE if one not in DENIALS | {Status.APPROVED, Status.DONE, Status.REPLAYED, Status.EXPIRY_BACKLOG}
]


def changeset_of(world: World, *commands: Command) -> Changeset:
    """What a batch would write."""
    return world.decide_on(world.snapshot(), commands)[1]


def test_the_same_arguments_give_the_same_bytes() -> None:
    """Twice from equal snapshots, once from the very same."""
    world = World()
    world.hold(world.crawler, ttl_seconds=1)
    world.advance(2)
    commands = [world.command(Authorize, world.crawler, **SPENDING) for _ in range(5)]
    first, second = changeset_of(world, *commands), changeset_of(world, *commands)
    snapshot = world.snapshot()
    third = world.decide_on(snapshot, commands)[1]
    fourth = decide(snapshot, commands, world.now)[1]
    for other in (second, third, fourth):
        assert (other.inserts, other.updates, other.head) == (first.inserts, first.updates, first.head)
    assert len(first.inserts["log_records"]) == 6


@pytest.mark.parametrize("status", REFUSED, ids=lambda status: status.value)
def test_a_refused_command_leaves_nothing_in_its_batch(status: Status) -> None:
    """A batch of a refused command and a good one writes what the good one alone writes."""
    world = World(strict_names=True)
    ALONE[status](world)
    refused = world.last
    world.do(FreezeAgent, world.admin, agent="writer", frozen=True)
    charge = {"budget": "research", "amount": "1", "currency": "USD", "category": "inference", "payee": "openai"}
    good = world.command(Charge, world.finance, reason="text", **charge)
    both, alone = changeset_of(world, refused, good), changeset_of(world, good)
    assert world.decide_on(world.snapshot(), (refused,))[0][0].status is status
    assert (both.inserts, both.updates, both.head) == (alone.inserts, alone.updates, alone.head)
    assert both.answers == alone.answers


def test_each_command_sees_what_those_before_it_did() -> None:
    """Exactly as many as the money is for, in the order in which they came."""
    world = World(amount="23")
    asked = [world.command(Authorize, world.crawler, **SPENDING) for _ in range(8)]
    statuses = [outcome.status for outcome in world.decide(*asked)]
    assert statuses == [Status.APPROVED] * 4 + [Status.BUDGET_HELD] * 4
    assert world.shown("budgets:research:available") == "3.00"


def test_what_a_batch_makes_the_rest_of_it_can_use() -> None:
    """Other clients name things as soon as they exist: an agent, its child, a budget, its child, money in it."""
    world = World()
    outcomes = world.decide(
        world.command(CreateAgent, world.admin, name="above", kind="team"),
        world.command(CreateAgent, world.admin, name="below", kind="agent", parent="above"),
        world.command(CreateBudget, world.admin, name="big", currency="USD", agents=("above", "crawler")),
        world.command(CreateBudget, world.admin, name="small", currency="USD", parent="big"),
        world.command(Allocate, world.admin, budget="big", amount="10", currency="USD"),
        world.command(Allocate, world.admin, budget="small", amount="4", currency="USD"),
        world.command(Authorize, world.crawler, budget="big", **SPENDING),
        world.command(
            Charge, world.finance, budget="small", agent="below", **{k: SPENDING[k] for k in list(SPENDING)[:4]}
        ),
    )
    assert {outcome.status for outcome in outcomes} == {Status.DONE, Status.APPROVED}
    assert world.shown("budgets:big:available") == "1.00"
    assert world.shown("budgets:small:available") == "-1.00"


def test_a_batch_of_nothing_writes_nothing() -> None:
    """An idle sweep leaves the book as it was."""
    world = World()
    changeset = changeset_of(world, world.command(ExpireDue, world.nobody, idempotency_key=""))
    assert changeset.is_empty
    assert not changeset.inserts
    assert not changeset.updates
    assert changeset.head == world.head


def test_a_fact_that_was_not_read_is_an_error_and_never_zero() -> None:
    """Deciding on a snapshot that knows nothing is a bug that shows itself."""
    world = World()
    ask = world.command(Authorize, world.crawler, **SPENDING)
    snapshot = world.snapshot()
    snapshot.renewals_complete = True
    with pytest.raises(LookupError, match="before it was read"):
        decide(snapshot, [ask], world.now)


def test_a_decision_says_everything_it_was_made_from() -> None:
    """Who, what, the rules with the values they saw, the transfers, format and semantics; free text as a digest."""
    world = World()
    outcome = world.authorize(world.crawler, "5", intent="summarize", labels=(("prompt", "v7"),), idempotency_key="k")
    body = parse(world.rows("log_records")[outcome.log_index].body)
    assert (body["format"], body["semantics"], body["book"]) == (FORMAT, SEMANTICS, "acme")
    assert (body["index"], body["kind"], body["time"]) == (outcome.log_index, "hold", moment_text(world.now))
    assert body["by"] == {"principal": "agent:crawler", "key": world.tables["api_keys"][1, world.crawler.key_digest].id}
    assert body["request"]["labels"] == [["prompt", "v7"]]
    assert len(body["request"]["intent"]) == 64
    assert body["decision"]["outcome"] == "approved"
    assert len(body["decision"]["rules"]) == 6
    assert body["transfers"] == [["budgets:research:held", "budgets:research:available", "5000000000", "USD"]]
    balances = {"available": "95000000000", "held": "5000000000", "spent": "0"}
    assert body["budget"] == {"name": "research", "id": world.tables["budgets"][1, "research"].id} | balances
    denied = world.authorize(world.crawler, "1000").body or {}
    assert denied["decision"]["reasons"][0]["code"] == "insufficient_budget"
    assert "transfers" not in denied


def test_the_root_after_each_commit_is_that_of_the_log() -> None:
    """The head's frontier needs no read to go on."""
    world = World()
    for _ in range(5):
        world.hold(world.crawler)
        frontier = Frontier()
        for record in world.rows("log_records"):
            assert leaf_hash(record.body) == record.leaf_hash
            frontier.append(record.leaf_hash)
        assert (world.head.root, world.head.frontier) == (frontier.root(), frontier.to_bytes())


def test_append_only_rows_are_only_inserted() -> None:
    """And a transfer stores both balances right after it."""
    world = World()
    hold = world.hold(world.crawler)
    world.settle(world.crawler, hold, "7")
    balances: dict[int, int] = {}
    for row in world.rows("transfers"):
        for number, change, after in (
            (row.debit_no, row.amount, row.debit_balance),
            (row.credit_no, -row.amount, row.credit_balance),
        ):
            balances[number] = balances.get(number, 0) + change
            assert balances[number] == after
    assert {spec.name for spec in APPEND_ONLY} == {"log_records", "transfers"}
    assert not any(spec.mutable for spec in APPEND_ONLY)
    assert all(spec.key[0] == "book_id" for spec in TABLES)


def test_every_command_has_a_decider() -> None:
    """And every operation is its own."""
    assert {kind.__name__ for kind in DECIDERS} == {kind.__name__ for kind in Command.__subclasses__()}
    assert len({kind.operation for kind in DECIDERS}) == len(DECIDERS)


def test_a_cache_forgets_between_batches_only() -> None:
    """What was read stays until it is trimmed; a miss raises, and knowing that nothing is there is no miss."""
    known: Known[int, str] = Known(entries=2)
    for number in range(5):
        known.put(number, None if number == 3 else str(number))
    assert [number in known for number in range(6)] == [True] * 5 + [False]
    assert known[3] is None
    known.trim()
    assert known[1] == "1", "the older half is still there"
    known.put(7, "7")
    known.put(8, "8")
    known.trim()
    assert (0 in known, 1 in known, 8 in known) == (False, True, True)
    with pytest.raises(LookupError):
        known[0]
    known.clear()
    assert len(known) == 0


def test_missing_is_falsy_once_everything_was_read() -> None:
    """And deciding needs nothing else."""
    world = World()
    ask = world.command(Authorize, world.crawler, **SPENDING)
    snapshot = world.snapshot()
    assert missing(snapshot, [ask])
    world.decide_on(snapshot, (ask,))
    assert not missing(snapshot, [ask])


@pytest.mark.parametrize(
    "text", ["2026-11-02T09:00:00.000000Z", "1970-01-01T00:00:00.000000Z", "2026-12-31T23:59:59.999999Z"]
)
def test_moments(text: str) -> None:
    """Text and integer are exact images of each other."""
    assert moment_text(moment_of(text)) == text
    assert moment_of("2026-11-02T10:00:00+01:00") == OPENED_AT
    with pytest.raises(ValueError, match="offset"):
        moment_of("2026-11-02T09:00:00")


def test_flags() -> None:
    """Names and bits."""
    for bits in range(1 << len(FLAGS)):
        assert flag_bits(flag_names(bits)) == bits
    with pytest.raises(KeyError):
        flag_bits(["odd"])


def test_a_book_is_opened_with_its_own_record() -> None:
    """First the book, then its owner's first key; its text secret is in neither."""
    world = World()
    first, second = world.bodies()[:2]
    assert (first["kind"], second["kind"], second["role"]) == ("book", "key", "admin")
    assert first["by"] == {"principal": "system:database-owner"}
    assert isinstance(world.book, Book)
    log = b"".join(record.body for record in world.rows("log_records"))
    assert TEXT_SECRET not in log
    assert copy.copy(world.head).size == len(world.rows("log_records"))
    assert canonical_bytes(first) == world.rows("log_records")[0].body


def test_what_a_budget_has_is_not_told_to_who_may_not_spend_from_it() -> None:
    """Neither the rules nor the reasons of the denial say what is available there."""
    world = World()
    world.budget("secret", "77")
    outcome = world.authorize(world.crawler, "78", budget="secret")
    assert outcome.status is Status.BUDGET_NOT_PERMITTED
    decision = (outcome.body or {})["decision"]
    assert [reason["code"] for reason in decision["reasons"]] == ["budget_not_permitted"]
    assert "77" not in str(decision["rules"])
