"""The lines of a writer thread by themselves: order, bounds, who is tried when, and that everybody is answered once."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.core.command import Authorize, Caller, Extend, Settle
from ledger.core.line import NOBODY
from ledger.core.outcome import Outcome, Status
from ledger.services.book_line import RETRY_SECONDS, TRIES_BATCH_MAX, TRIES_MAX, TRIES_MIN
from ledger.services.errors import CommandFailed, LeftLine, Stopping
from ledger.services.line import Answers, Lines, Try, in_line
from ledger.services.place import Place
from ledger.services.queue import Submission

BOOK = 7
CALLER = Caller(b"\x01" * 32)
APPROVED = Outcome(Status.APPROVED, {"kind": "hold"}, 5, b"leaf")
DENIED = Outcome(Status.BUDGET_HELD, {"kind": "denial"}, 6, b"leaf")


class Scene:
    """Lines whose clock the test moves; commands are told by the name in their idempotency key."""

    def __init__(self, members_max: int = 1_000) -> None:
        self.lines = Lines(members_max=members_max)
        self.now = 100.0
        self.told: list[tuple[str, Any]] = []

    def enter(
        self,
        name: str,
        *,
        extension: bool = False,
        budget: str = "research",
        status: Status = Status.BUDGET_HELD,
        wait_seconds: float = 10.0,
        key: str | None = None,
        book_id: int = BOOK,
    ) -> Place:
        """Let a command stand in line, as the core has told."""
        usual = {"caller": CALLER, "idempotency_key": key or name, "amount": "1", "currency": "USD"}
        command: Authorize | Extend = (
            Extend(authorization=name, **usual) if extension else Authorize(id=name, category="c", payee="p", **usual)  # type: ignore[arg-type]
        )
        place = Place(now=self.now, wait_seconds=wait_seconds, on_leave=self.lines.leave)
        submission = Submission(book_id, (command,), lambda results: None, place=place)
        self.tell(self.lines.enter(submission, waits(budget, status), self.now))
        return place

    def tell(self, answers: Answers) -> None:
        """Note who was told what."""
        for submission, (result,) in answers:
            self.told.append((name_of(submission), result.status if isinstance(result, Outcome) else type(result)))

    def tries(self, *, hurry: bool = False) -> list[Try]:
        """Who is to be tried now."""
        return self.lines.tries(BOOK, self.now, hurry=hurry)

    def names(self, *, woken: bool = True) -> list[str]:
        """Who is to be tried now, each put back with what it waits for."""
        if woken:
            self.lines.wake(BOOK)
        tries = self.tries()
        for one in tries:
            self.lines.tried(BOOK, one, waits(one.waiter.budget, one.waiter.status))
        return [name_of(one.member) for one in tries]

    def end(self, one: Try, result: Outcome | Exception = APPROVED) -> None:
        """Let a try end with a result."""
        self.tell(self.lines.tried(BOOK, one, result))


def waits(budget: str, status: Status) -> Outcome:
    """What the core says of a command that waits."""
    facts = {"budget": budget, "waits_for": status.value, "principal": "agent:a", "request_digest": "ab"}
    return Outcome(Status.WAITING, facts=facts)


def name_of(submission: Submission) -> str:
    """The id of an authorization, or of the hold that an extension is of."""
    command = submission.commands[0]
    return command.authorization if isinstance(command, Extend) else command.id  # type: ignore[attr-defined, no-any-return]


def test_first_come_first_served_extensions_first() -> None:
    """Within a budget by arrival; an extension before every authorization, in the order of extensions."""
    scene = Scene()
    for name in ("a1", "a2"):
        scene.enter(name)
    for name in ("e1", "e2"):
        scene.enter(name, extension=True)
    assert scene.names() == ["e1", "e2", "a1", "a2"]
    tries = scene.tries()
    assert tries == [], "nothing was woken"


def test_a_line_is_tried_when_woken_and_at_an_interval() -> None:
    """And not in between."""
    scene = Scene()
    scene.enter("a")
    assert scene.names(woken=False) == []
    assert scene.lines.next_book(scene.now) is None
    patience = scene.lines.patience(scene.now)
    assert patience is not None
    assert RETRY_SECONDS[0] <= patience <= RETRY_SECONDS[1]
    scene.lines.wake(BOOK)
    assert scene.lines.patience(scene.now) == 0
    assert scene.lines.next_book(scene.now) == BOOK
    assert scene.names(woken=False) == ["a"]
    assert scene.names(woken=False) == []
    scene.now += RETRY_SECONDS[1]
    assert scene.names(woken=False) == ["a"]


def test_tries_are_bounded_and_grow_while_they_succeed() -> None:
    """From few to many, and back to few when the head is stuck."""
    scene = Scene()
    for number in range(500):
        scene.enter(f"a{number:03}")
    widths = []
    for _ in range(7):
        scene.lines.wake(BOOK)
        tries = scene.tries()
        widths.append(len(tries))
        for one in tries:
            scene.end(one)
    assert widths == [TRIES_MIN, 8, 16, 32, TRIES_MAX, TRIES_MAX, TRIES_MAX]
    assert scene.told == [(f"a{number:03}", Status.APPROVED) for number in range(sum(widths))]
    assert len(scene.names()) == TRIES_MAX
    assert len(scene.names()) == TRIES_MIN


def test_the_next_are_tried_as_soon_as_one_is_gone() -> None:
    """Whatever it ended with, also where nothing was recorded."""
    scene = Scene()
    for number in range(9):
        scene.enter(f"a{number}")
    scene.lines.wake(BOOK)
    tries = scene.tries()
    scene.end(tries[0], Outcome(Status.KEY_REVOKED, detail="gone"))
    for one in tries[1:]:
        scene.end(one, waits("research", Status.BUDGET_HELD))
    assert scene.names(woken=False) == ["a1", "a2", "a3", "a4"]


def test_many_budgets_take_turns_in_bounded_batches() -> None:
    """Each is tried once before any is tried again."""
    scene = Scene()
    for number in range(TRIES_BATCH_MAX + 50):
        scene.enter(f"a{number}", budget=f"b{number}")
    first = scene.names()
    second = scene.names(woken=False)
    assert len(first) == TRIES_BATCH_MAX
    assert len(second) == 50
    assert not set(first) & set(second)


def test_who_waits_for_limits_is_tried_in_turn() -> None:
    """The first few each time, because they came first, and the others one after the other: they may be under limits of
    their own."""
    scene = Scene()
    for number in range(20):
        scene.enter(f"a{number}", status=Status.LIMIT_HELD)
    seen: set[str] = set()
    for _ in range(4):
        names = scene.names()
        assert names[:TRIES_MIN] == ["a0", "a1", "a2", "a3"]
        seen |= set(names)
    assert len(seen) == 20


def test_what_a_newcomer_finds_before_it() -> None:
    """Budgets whose line is not wholly tried in the same batch."""
    scene = Scene()
    assert scene.lines.line_of(BOOK) is NOBODY
    for number in range(6):
        scene.enter(f"a{number}")
    scene.enter("e", extension=True, budget="lab")
    scene.enter("l", status=Status.LIMIT_HELD, budget="club")
    line = scene.lines.line_of(BOOK)
    assert (line.authorizations, line.extensions) == ({"research"}, {"lab"})
    assert line.is_before("lab", is_extension=False)
    assert not line.is_before("research", is_extension=True)
    assert not line.is_before("club", is_extension=False)
    assert line.digests["agent:a", "a3"] == b"\xab"
    scene.lines.wake(BOOK)
    tries = scene.tries()
    assert len(tries) == TRIES_MIN + 2
    line = scene.lines.line_of(BOOK)
    assert (line.authorizations, line.extensions) == ({"research"}, set())


def test_who_waits_for_a_limit_does_not_pass_an_older_one_who_waits_for_money() -> None:
    """It came later, and the older one is not in the batch."""
    scene = Scene()
    for number in range(6):
        scene.enter(f"a{number}")
    scene.enter("l", status=Status.LIMIT_HELD)
    scene.lines.wake(BOOK)
    tries = {name_of(one.member): one.command for one in scene.tries()}
    command = tries["l"]
    assert isinstance(command, Authorize)
    assert command.line is not None
    assert command.line.is_before("research", is_extension=False)
    head = tries["a0"]
    assert isinstance(head, Authorize)
    assert head.line is NOBODY


def test_who_waits_for_something_else_keeps_its_number() -> None:
    """From a limit's line into the budget's, before those who came after it."""
    scene = Scene()
    scene.enter("l", status=Status.LIMIT_HELD)
    scene.enter("a")
    scene.lines.wake(BOOK)
    for one in scene.tries():
        scene.end(one, waits("research", Status.BUDGET_HELD))
    assert scene.names() == ["l", "a"]
    assert scene.told == []


def test_at_its_deadline_it_is_decided_for_good() -> None:
    """As a command that does not wait, whether or not the line was woken; the rest waits on."""
    scene = Scene()
    scene.enter("a", wait_seconds=5)
    scene.enter("b", wait_seconds=0.05)
    assert scene.lines.patience(scene.now) == pytest.approx(0.05)
    scene.now += 0.06
    (one,) = scene.tries()
    command = one.command
    assert isinstance(command, Authorize)
    assert (name_of(one.member), command.line) == ("b", None)
    scene.end(one, DENIED)
    assert scene.told == [("b", Status.BUDGET_HELD)]
    assert scene.names() == ["a"]


def test_a_repeat_joins_and_both_get_the_one_outcome() -> None:
    """The first as it is, the other as a replay of it."""
    scene = Scene()
    scene.enter("a", key="k")
    scene.enter("again", key="k")
    assert scene.lines.size == 2
    scene.lines.wake(BOOK)
    (one,) = scene.tries()
    scene.end(one)
    assert scene.told == [("a", Status.APPROVED), ("again", Status.REPLAYED)]
    assert scene.lines.is_idle


def test_the_time_of_one_is_over_and_who_repeated_it_waits_on() -> None:
    """With a command of its own, so that its authorization is another than the one denied."""
    scene = Scene()
    scene.enter("a", key="k", wait_seconds=1)
    scene.enter("again", key="k", wait_seconds=9)
    scene.now += 2
    (one,) = [one for one in scene.tries() if one.due]
    scene.end(one, DENIED)
    assert scene.told == [("a", Status.BUDGET_HELD)]
    assert scene.names() == ["again"]
    scene.now += 8
    (one,) = [one for one in scene.tries() if one.due]
    scene.end(one)
    assert scene.told[1:] == [("again", Status.APPROVED)]
    assert scene.lines.is_idle


def test_a_refusal_that_waiting_does_not_mend_is_everybodys() -> None:
    """Though the time of one of them is not over."""
    scene = Scene()
    scene.enter("a", key="k", wait_seconds=1)
    scene.enter("again", key="k", wait_seconds=9)
    scene.now += 2
    (one,) = [one for one in scene.tries() if one.due]
    scene.end(one, Outcome(Status.INSUFFICIENT_BUDGET, {"kind": "denial"}, 9, b"leaf"))
    assert scene.told == [("a", Status.INSUFFICIENT_BUDGET), ("again", Status.REPLAYED)]


def test_who_leaves_is_dropped_and_told() -> None:
    """The others move up; one that was joined stands as long as somebody wants it."""
    scene = Scene()
    first, joiner, last = scene.enter("a", key="k"), scene.enter("again", key="k"), scene.enter("b")
    first.leave()
    first.leave()
    scene.tell(scene.lines.take_left())
    assert scene.told == [("a", LeftLine)]
    assert scene.names() == ["again", "b"]
    joiner.leave()
    scene.tell(scene.lines.take_left())
    assert scene.names(woken=False) == ["b"], "it is the first now"
    last.leave()
    scene.tell(scene.lines.take_left())
    assert [name for name, _ in scene.told] == ["a", "again", "b"]
    assert scene.lines.is_idle
    assert scene.lines.size == 0
    last.leave()
    assert scene.lines.take_left() == []


def test_who_left_before_it_stood_in_line_does_not_stand_there() -> None:
    """Its leave was looked at before, in vain."""
    scene = Scene()
    usual = {"caller": CALLER, "idempotency_key": "k", "amount": "1", "currency": "USD"}
    command = Extend(authorization="e", **usual)  # type: ignore[arg-type]
    place = Place(now=scene.now, wait_seconds=10, on_leave=scene.lines.leave)
    place.leave()
    assert scene.lines.take_left() == []
    submission = Submission(BOOK, (command,), lambda results: None, place=place)
    scene.tell(scene.lines.enter(submission, waits("research", Status.BUDGET_HELD), scene.now))
    assert scene.told == [("e", LeftLine)]
    assert scene.lines.is_idle


def test_where_the_line_is_full_time_is_over_at_once() -> None:
    """Decided for good in the next batch, and the bound is kept but for those."""
    scene = Scene(members_max=2)
    for name in ("a", "b", "c"):
        scene.enter(name)
    assert scene.lines.next_book(scene.now) == BOOK
    assert [(name_of(one.member), bool(one.due)) for one in scene.tries()] == [("c", True)]


def test_a_failure_is_told_to_all_who_asked_for_it() -> None:
    """And to nobody else."""
    scene = Scene()
    scene.enter("a", key="k")
    scene.enter("again", key="k")
    scene.enter("b")
    scene.lines.wake(BOOK)
    tries = scene.tries()
    scene.end(tries[0], CommandFailed("a bug"))
    scene.end(tries[1], waits("research", Status.BUDGET_HELD))
    assert scene.told == [("a", CommandFailed), ("again", CommandFailed)]
    assert scene.lines.size == 1


def test_in_a_hurry_all_are_decided_for_good() -> None:
    """Which is how a server stops."""
    scene = Scene()
    for number in range(100):
        scene.enter(f"a{number}")
    tries = scene.tries(hurry=True)
    assert len(tries) == 100
    assert all(one.due for one in tries)
    for one in tries:
        scene.end(one, DENIED)
    assert scene.lines.is_idle


def test_what_is_abandoned_is_answered_once() -> None:
    """Those who are being tried get what becomes of that; nobody stands in line afterwards."""
    scene = Scene()
    for number in range(6):
        scene.enter(f"a{number}")
    scene.lines.wake(BOOK)
    tries = scene.tries()
    scene.tell(scene.lines.abandon())
    assert scene.told == [("a4", Stopping), ("a5", Stopping)]
    scene.end(tries[0])
    scene.end(tries[1], waits("research", Status.BUDGET_HELD))
    for one in tries[2:]:
        scene.end(one, DENIED)
    scene.enter("late")
    assert [result for _, result in scene.told[2:]] == [
        Status.APPROVED, Stopping, Status.BUDGET_HELD, Status.BUDGET_HELD, Stopping,
    ]  # fmt: skip
    assert scene.lines.is_idle


def test_deadlines_of_those_answered_are_forgotten() -> None:
    """A line that moves quickly remembers no more than who stands in it."""
    scene = Scene()
    scene.enter("stays", wait_seconds=30, budget="lab")
    for number in range(2_000):
        scene.enter(f"a{number}", wait_seconds=30)
        scene.lines.wake(BOOK)
        for one in scene.tries():
            scene.end(one, APPROVED if one.waiter.budget == "research" else waits("lab", Status.BUDGET_HELD))
    assert len(scene.lines._books[BOOK].deadlines) < 200


def test_books_take_turns() -> None:
    """A book that is always ready does not keep another from its turn."""
    scene = Scene()
    for book_id in (1, 2, 3):
        scene.enter(f"a{book_id}", book_id=book_id)
    for book_id in (1, 2, 3):
        scene.lines.wake(book_id)
    assert [scene.lines.next_book(scene.now) for _ in range(6)] == [1, 2, 3, 1, 2, 3]


def test_only_what_may_wait_waits() -> None:
    """A settlement is never in line."""
    with pytest.raises(TypeError, match="settle"):
        in_line(Settle(caller=CALLER, authorization="a", amount="1", currency="USD"), NOBODY)
