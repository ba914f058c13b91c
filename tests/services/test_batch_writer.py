"""One batch from commands to commit, with all that can go wrong in it, on both databases."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.core import decide as deciding
from ledger.core.command import AddName, Authorize, Caller, Charge, Command, CreateKey, ExpireDue, Settle
from ledger.core.outcome import Outcome, Status
from ledger.services import batch_writer
from ledger.services.batch_writer import ATTEMPTS_MAX
from ledger.services.errors import CommandFailed, DatabaseUnavailable, OutcomeUnknown, UnknownBook
from ledger.storage.errors import Busy, CommitUnknown, Conflict, Refused, SchemaOutdated, Unavailable
from ledger.storage.writer import open_writer
from tests.services.live_world import SWEEPER, LiveWorld, codes
from tests.services.scripted_writer import Act, Script, ScriptedWriter, lose_connection


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting between attempts."""
    monkeypatch.setattr(batch_writer.time, "sleep", lambda seconds: None)


def approved(world: LiveWorld, outcomes: list[Outcome], amounts: list[str]) -> None:
    """Every outcome is an original approval at its own index, and is on record once and with this money."""
    assert [(one.status, one.replayed) for one in outcomes] == [(Status.APPROVED, False)] * len(amounts)
    recorded = world.recorded()
    told = {one.log_index: (one.body or {})["authorization"] for one in outcomes}
    assert len(told) == len(amounts)
    assert {one.index: one.body["authorization"] for one in recorded.of("hold")} == told
    assert world.dollars("budgets:research:held") == sum(map(float, amounts))


def other_process(world: LiveWorld, *commands: Command) -> Any:
    """An act: another writer decides commands at this moment."""

    def act(writer: ScriptedWriter | None) -> None:
        other = world.writer()
        results, _ = other.process(world.book_id, commands, dry=False)
        other.close()
        assert not any(isinstance(one, Exception) for one in results)

    return act


def outdate(script: Script, world: LiveWorld) -> None:
    """Move the head elsewhere, so that the authorizer's snapshot is of no use and it reads in several rounds."""
    name = world.new_key()
    other_process(world, world.command(AddName, world.admin, kind="payee", name=name))(None)
    script.calm()


# A conflict, and a busy or lost database before the commit.


@pytest.mark.parametrize("place", ["begun", "read", "write", "commit"])
@pytest.mark.parametrize("error", [Conflict("moved"), Unavailable("gone")], ids=["conflict", "unavailable"])
def test_a_batch_is_decided_again(script: Script, world: LiveWorld, place: str, error: Exception) -> None:
    """Wherever it was stopped: same outcomes, nothing doubled."""
    outdate(script, world)
    script.at(place, error)
    outcomes = world.decide(world.ask("1"), world.ask("2"), world.ask("3", payee="anthropic", run="run-1"))
    approved(world, outcomes, ["1", "2", "3"])
    assert (script.count("begin"), script.count("committed")) == (2, 1)


def test_a_conflict_for_real(script: Script, world: LiveWorld) -> None:
    """The head has moved since it was read, as if its lock had not held: the batch sees the other's hold."""

    def move_head(writer: ScriptedWriter) -> None:
        writer.inner.rollback()
        other_process(world, world.ask("60"))(writer)
        writer.inner.begin(world.book_id, batch_writer.Needs())

    script.at("write", move_head)
    outcomes = world.decide(world.ask("60"), world.ask("5"))
    assert codes(list(outcomes)) == ["budget_held", "approved"]
    assert world.dollars("budgets:research:held") == 65


def test_conflicts_without_end_are_given_up(script: Script, world: LiveWorld) -> None:
    """After a bounded number of attempts, with nothing recorded; and the next command is served."""
    size = world.size()
    script.at("write", *[Conflict("moved")] * ATTEMPTS_MAX)
    with pytest.raises(DatabaseUnavailable):
        world.decide(world.ask())
    assert (script.count("write"), world.size()) == (ATTEMPTS_MAX, size)
    script.at("write", *[Conflict("moved")] * (ATTEMPTS_MAX - 1))
    approved(world, world.decide(world.ask()), ["1"])


@pytest.mark.parametrize("place", ["begin", "write", "commit"])
def test_a_busy_database_is_answered_at_once(script: Script, world: LiveWorld, place: str) -> None:
    """It was waited for already; the connection is kept."""
    size = world.size()
    script.at(place, Busy("locked"))
    with pytest.raises(DatabaseUnavailable):
        world.decide(world.ask(), world.ask())
    assert (script.count("begin"), script.count("open"), world.size()) == (1, 0, size)
    approved(world, world.decide(world.ask()), ["1"])
    assert script.count("open") == 0


def test_a_head_locked_by_another_is_busy(world: LiveWorld) -> None:
    """The real lock, held past the deadline."""
    holder = open_writer(world.url)
    holder.begin(world.book_id, batch_writer.Needs())
    waiting = batch_writer.BatchWriter(
        world.url, sources=world.sources, clock_jump_seconds=10.0**9, lock_timeout_seconds=0.05
    )
    asked = world.ask()
    results, _ = waiting.process(world.book_id, [asked], dry=False)
    assert codes(results) == ["DatabaseUnavailable"]
    holder.close()
    results, _ = waiting.process(world.book_id, [asked], dry=False)
    assert codes(results) == ["approved"]
    waiting.close()


def test_a_lost_connection_is_opened_again_once(script: Script, world: LiveWorld) -> None:
    """A second loss is answered, and service goes on when the database does."""
    size = world.size()
    script.at("begin", Unavailable("gone"))
    approved(world, world.decide(world.ask()), ["1"])
    assert script.count("open") == 1
    script.calm()
    script.at("begin", Unavailable("gone"))
    script.at("open", Unavailable("away"))
    with pytest.raises(DatabaseUnavailable):
        world.decide(world.ask())
    assert (script.count("open"), world.size()) == (1, size + 1)
    script.at("open", Unavailable("away"), Unavailable("away"))
    with pytest.raises(DatabaseUnavailable):
        world.decide(world.ask())
    assert world.size() == size + 1
    approved(world, [*outcomes_of(world), *world.decide(world.ask("2"))], ["1", "2"])


def outcomes_of(world: LiveWorld) -> list[Outcome]:
    """The recorded holds as outcomes."""
    return [Outcome(Status.APPROVED, one.body, one.index) for one in world.recorded().of("hold")]


def test_a_loss_after_a_conflict_is_still_the_first_loss(script: Script, world: LiveWorld) -> None:
    """Conflicts do not use up the one reconnection."""
    script.at("write", Conflict("moved"), Conflict("moved"), Unavailable("gone"))
    approved(world, world.decide(world.ask()), ["1"])


@pytest.mark.parametrize("place", ["begin", "begun", "read", "write", "commit"])
def test_a_connection_lost_for_real_leaves_nothing(script: Script, world: LiveWorld, place: str) -> None:
    """The session is ended at this place: the batch is decided again on a new one, once."""
    outdate(script, world)
    script.at(place, lose_connection)
    outcomes = world.decide(world.ask("1", payee="new", run="run-1"), world.ask("2"))
    approved(world, outcomes, ["1", "2"])
    assert script.count("open") == 1


@pytest.mark.parametrize("place", ["begun", "write", "commit"])
def test_two_connections_lost_leave_nothing(script: Script, world: LiveWorld, place: str) -> None:
    """Nothing of the batch is in the book: not even after an unknown commit, which was looked up."""
    size = world.size()
    script.at(place, lose_connection, lose_connection)
    asked = world.ask()
    if place == "commit":
        approved(world, world.decide(asked), ["1"])
        return
    with pytest.raises(DatabaseUnavailable):
        world.decide(asked)
    assert world.size() == size
    approved(world, world.decide(asked), ["1"])


# A commit whose outcome is not known.


@pytest.mark.parametrize("lost", [CommitUnknown("lost"), lose_connection], ids=["said", "for real"])
def test_a_commit_that_did_happen_is_found(script: Script, world: LiveWorld, lost: Act) -> None:
    """The answers are the original ones, not marked replayed, and nothing is doubled."""

    def lose(writer: ScriptedWriter) -> None:
        if callable(lost) and not isinstance(lost, BaseException):
            lost(writer)
        raise CommitUnknown("lost")

    script.at("committed", lose)
    asked = [world.ask("1"), world.ask("2"), world.ask("500")]
    outcomes = world.decide(*asked)
    approved(world, outcomes[:2], ["1", "2"])
    assert codes(list(outcomes[2:])) == ["insufficient_budget"]
    assert script.count("committed") == 1
    again = world.decide(*asked)
    assert [(one.status, one.log_index, one.replayed) for one in again] == [
        (Status.REPLAYED, one.log_index, True) for one in outcomes
    ]


def test_a_commit_that_did_not_happen_is_made(script: Script, world: LiveWorld) -> None:
    """Decided again, and recorded once."""
    script.at("commit", CommitUnknown("lost"), CommitUnknown("lost again"))
    approved(world, world.decide(world.ask("1"), world.ask("2")), ["1", "2"])
    assert (script.count("write"), script.count("committed")) == (3, 1)


def test_one_commit_is_lost_after_another(script: Script, world: LiveWorld) -> None:
    """The first did not happen and the second did."""
    script.at("commit", CommitUnknown("lost"))
    script.at("committed", CommitUnknown("lost too"))
    approved(world, world.decide(world.ask("1"), world.ask("2")), ["1", "2"])


def test_a_commit_is_found_behind_the_commits_of_others(script: Script, world: LiveWorld) -> None:
    """Another process has changed the book before the commit could be looked up."""
    others = world.ask("7")
    script.at("committed", CommitUnknown("lost"))
    script.at("begin", None, other_process(world, others))
    outcomes = world.decide(world.ask("1"), world.ask("2"))
    assert codes(list(outcomes)) == ["approved", "approved"]
    assert world.dollars("budgets:research:held") == 10
    assert len(world.recorded().of("hold")) == 3


def test_the_same_key_decided_elsewhere_meanwhile(script: Script, world: LiveWorld) -> None:
    """The commit did not happen, and the client's repeat was decided by another process: its answer holds."""
    asked = world.ask("1")
    elsewhere = world.command(
        Authorize, world.crawler, amount="1", currency="USD", category="inference", payee="openai",
        idempotency_key=asked.idempotency_key,
    )  # fmt: skip
    script.at("commit", CommitUnknown("lost"))
    script.at("begin", None, other_process(world, elsewhere))
    (outcome,) = world.decide(asked)
    assert (outcome.status, (outcome.body or {})["authorization"]) == (Status.REPLAYED, elsewhere.id)
    assert world.dollars("budgets:research:held") == 1


@pytest.mark.parametrize("place", ["commit", "committed"])
@pytest.mark.parametrize("then", ["open", "begin"])
def test_an_outcome_that_cannot_be_looked_up_is_unknown(
    script: Script, world: LiveWorld, place: str, then: str
) -> None:
    """It is said so, and the key tells later: the recorded answer, or a decision now; one record either way."""
    script.at(place, CommitUnknown("lost"))
    asked = [world.ask("1"), world.ask("2")]
    error: Exception = Unavailable("away") if then == "open" else Busy("locked")
    script.at(then, *([] if then == "open" else [None]), *[error] * ATTEMPTS_MAX)
    done = world.size()
    with pytest.raises(OutcomeUnknown):
        world.decide(*asked)
    script.calm()
    assert world.size() == done + (2 if place == "committed" else 0)
    outcomes = world.decide(*asked)
    assert codes(list(outcomes)) == [("replayed" if place == "committed" else "approved")] * 2
    assert world.size() == done + 2
    assert world.dollars("budgets:research:held") == 3


@pytest.mark.parametrize("place", ["commit", "committed"])
@pytest.mark.parametrize("others", [False, True], ids=["alone", "behind others"])
def test_batches_without_any_key_are_found_too(script: Script, world: LiveWorld, place: str, others: bool) -> None:
    """Expiry, a denial that binds no key, the owner's new key: recorded once, whether or not the head moved on."""
    world.hold(world.crawler, "60", ttl_seconds=5)
    world.hold(world.crawler, "30", ttl_seconds=600)
    world.advance(10)
    owner = Caller(None, as_owner=True)
    batches: list[tuple[Command, str, str]] = [
        (ExpireDue(caller=SWEEPER), "expiry", "done"),
        (world.ask("90"), "denial", "budget_held"),
        (
            CreateKey(caller=owner, id=world.new_id("key"), digest=b"7" * 32, role="admin", person="owner"),
            "key",
            "done",
        ),
    ]
    for command, kind, status in batches:
        before = len(world.recorded().of(kind))
        script.calm()
        script.at(place, CommitUnknown("lost"))
        if others:
            script.at("begin", None, other_process(world, world.ask("1")))
        outcomes = world.decide(command)
        assert codes(list(outcomes)) == [status], kind
        assert len(world.recorded().of(kind)) == before + 1, kind


# A command that cannot be processed.


def broken_charge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deciding on a charge fails."""

    def fail(batch: Any, asked: Charge) -> Outcome:
        raise ZeroDivisionError("a bug")

    monkeypatch.setitem(deciding.DECIDERS, Charge, fail)


def charge(world: LiveWorld) -> Charge:
    """A charge by the administrator."""
    made: Charge = world.command(
        Charge, world.admin, budget="research", amount="1", currency="USD", category="inference", payee="openai"
    )
    return made


def results_of(world: LiveWorld, *commands: Command) -> list[Any]:
    """One batch on a writer of its own; results as they are, exceptions included."""
    writer = world.writer()
    results, report = writer.process(world.book_id, commands, dry=False)
    writer.close()
    assert report.commands == len(commands)
    assert sum(report.outcomes.values()) == len(commands)
    return results


def test_a_command_that_cannot_be_processed_fails_alone(world: LiveWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its neighbours are committed, in their order, and nothing of it is."""
    broken_charge(monkeypatch)
    size = world.size()
    results = results_of(world, world.ask("1"), charge(world), world.ask("2"), charge(world), world.ask("3"))
    assert codes(results) == ["approved", "CommandFailed", "approved", "CommandFailed", "approved"]
    assert isinstance(results[1].__cause__, ZeroDivisionError)
    assert world.size() == size + 3
    approved(world, results[::2], ["1", "2", "3"])
    assert codes(results_of(world, charge(world))) == ["CommandFailed"]
    assert codes(results_of(world, world.ask("4"))) == ["approved"]


def test_the_authorizer_goes_on_after_it(world: LiveWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same connection and thread serve the next command."""
    broken_charge(monkeypatch)
    with pytest.raises(CommandFailed):
        world.decide(charge(world))
    approved(world, world.decide(world.ask()), ["1"])


def test_a_row_that_a_constraint_refuses_fails_alone(world: LiveWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database's own constraint, met by a decision that is wrong: here, an id that there is already."""
    first = world.ask("1")
    world.decide(first)
    settled = world.command(Settle, world.crawler, authorization=first.id, amount="1", currency="USD")
    results = results_of(world, world.ask("2"), world.ask("9", id=first.id), settled, world.ask("3"))
    assert codes(results) == ["approved", "CommandFailed", "done", "approved"]
    assert isinstance(results[1].__cause__, Refused)
    assert world.dollars("budgets:research:held") == 5
    assert world.dollars("budgets:research:spent") == 1


@pytest.mark.parametrize("place", ["begin", "write"])
def test_tables_of_another_version_are_no_fault_of_a_command(script: Script, world: LiveWorld, place: str) -> None:
    """The database cannot be used for now; nobody's command is to blame."""
    script.at(place, *[SchemaOutdated("no such column")] * 3)
    writer = world.writer()
    results, _ = writer.process(world.book_id, [world.ask(), world.ask()], dry=False)
    writer.close()
    assert codes(results) == ["DatabaseUnavailable", "DatabaseUnavailable"]
    assert script.count(place) == 1


def test_a_book_that_is_not_there(world: LiveWorld) -> None:
    """Is said so for each command, and leaves the connection usable."""
    writer = world.writer()
    for dry in (False, True):
        results, _ = writer.process(world.book_id ^ 1, [world.ask(), world.ask()], dry=dry)
        assert [type(one) for one in results] == [UnknownBook, UnknownBook]
    results, _ = writer.process(world.book_id, [world.ask()], dry=False)
    assert codes(results) == ["approved"]
    writer.close()


def test_a_report_counts_what_was_committed(script: Script, world: LiveWorld) -> None:
    """Records once, whatever it took; outcomes by operation."""
    script.at("write", Conflict("moved"))
    writer = world.writer()
    results, report = writer.process(world.book_id, [world.ask(), world.ask(), world.ask("500")], dry=False)
    writer.close()
    assert (report.commands, report.records) == (3, 3)
    assert report.outcomes == {("authorize", "approved"): 2, ("authorize", "insufficient_budget"): 1}
    assert 0 < report.commit_seconds <= report.seconds
    assert len(results) == 3
