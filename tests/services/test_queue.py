"""The queue before a writer: bounded, in order, fair, and nothing in it is split, lost or withdrawn."""

from __future__ import annotations

import threading
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.command import Caller, Command, ExpireDue
from ledger.services.errors import Overloaded, Stopping
from ledger.services.queue import CommandQueue, Result, Submission


def nobody(results: list[Result]) -> None:
    """Deliver to nobody."""


def submission(book_id: int, count: int = 1, *, dry: bool = False) -> Submission:
    """So many commands for a book."""
    commands: list[Command] = [ExpireDue(caller=Caller(None)) for _ in range(count)]
    return Submission(book_id, commands, nobody, dry)


def queue_of(*submissions: Submission, commands_max: int = 100, batch_commands_max: int = 10) -> CommandQueue:
    """A queue with these submissions in it."""
    queue = CommandQueue(commands_max=commands_max, batch_commands_max=batch_commands_max)
    for one in submissions:
        queue.put(one)
    return queue


def taken(queue: CommandQueue) -> list[list[Submission]]:
    """All batches until the queue is empty."""
    batches = []
    while queue.depth:
        batch = queue.take()
        assert batch is not None
        batches.append(batch)
    return batches


def test_what_waits_for_one_book_is_one_batch_in_order_of_arrival() -> None:
    """And the depth counts commands."""
    waiting = [submission(1), submission(1, 3), submission(1, 2)]
    queue = queue_of(*waiting)
    assert queue.depth == 6
    assert taken(queue) == [waiting]
    assert queue.depth == 0


def test_books_take_turns() -> None:
    """A book with much to do does not keep another waiting for longer than one batch."""
    busy = [submission(1, 6) for _ in range(3)]
    quiet = [submission(2)]
    assert taken(queue_of(*busy, *quiet)) == [busy[:1], quiet, busy[1:2], busy[2:3]]


def test_a_batch_is_bounded_and_a_submission_never_split() -> None:
    """What does not fit waits for the next batch; what never fits is a batch by itself."""
    sizes = [4, 5, 2, 10, 11, 1, 9]
    waiting = [submission(1, size) for size in sizes]
    batches = taken(queue_of(*waiting))
    assert [[len(one.commands) for one in batch] for batch in batches] == [[4, 5], [2], [10], [11], [1, 9]]
    assert [one for batch in batches for one in batch] == waiting


def test_an_evaluation_is_a_batch_by_itself_and_keeps_its_place() -> None:
    """What writes nothing is never decided together with what does."""
    waiting = [submission(1), submission(1), submission(1, dry=True), submission(1, dry=True), submission(1)]
    assert taken(queue_of(*waiting)) == [waiting[:2], waiting[2:3], waiting[3:4], waiting[4:]]


def test_a_full_queue_refuses_and_queues_nothing() -> None:
    """Not even a part of a submission; once there is room, it takes again."""
    queue = queue_of(submission(1, 8), commands_max=10)
    with pytest.raises(Overloaded):
        queue.put(submission(2, 3))
    assert queue.depth == 8
    queue.put(submission(2, 2))
    with pytest.raises(Overloaded):
        queue.put(submission(1))
    assert [len(batch[0].commands) for batch in taken(queue)] == [8, 2]
    queue.put(submission(2, 10))


def test_a_stopped_queue_takes_nothing_in_and_gives_all_out() -> None:
    """Then says that there is no more."""
    waiting = submission(1)
    queue = queue_of(waiting)
    queue.stop()
    with pytest.raises(Stopping):
        queue.put(submission(1))
    assert queue.take() == [waiting]
    assert queue.take() is None


def test_draining_empties_the_queue() -> None:
    """Everything is handed out once, and nothing is left to take."""
    waiting = [submission(1), submission(2), submission(1)]
    queue = queue_of(*waiting)
    queue.stop()
    assert sorted(map(id, queue.drain())) == sorted(map(id, waiting))
    assert (queue.depth, queue.drain(), queue.take()) == (0, [], None)


@pytest.mark.parametrize("wake", ["put", "stop"])
def test_whoever_waits_is_woken(wake: str) -> None:
    """By the next submission, and by the end."""
    queue = queue_of()
    got: list[list[Submission] | None] = []
    thread = threading.Thread(target=lambda: got.append(queue.take()))
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()
    sent = submission(1)
    if wake == "put":
        queue.put(sent)
    else:
        queue.stop()
    thread.join(10)
    assert got == ([[sent]] if wake == "put" else [None])


STEPS = st.lists(
    st.one_of(
        st.tuples(st.integers(1, 4), st.integers(0, 12), st.booleans()),
        st.just("take"),
    ),
    max_size=60,
)


@given(STEPS)
def test_whatever_comes_goes_out_once_in_order_and_in_turn(steps: list[tuple[int, int, bool] | str]) -> None:
    """For any submissions and takes: nothing lost or split, order kept in each book, depth right, bound kept, and a
    book waits for at most one batch of each other book."""
    queue = CommandQueue(commands_max=40, batch_commands_max=10)
    expected: dict[int, list[Submission]] = defaultdict(list)
    passed_over: dict[int, int] = defaultdict(int)
    for step in [*steps, *["take"] * 60]:
        depth = sum(len(one.commands) for lane in expected.values() for one in lane)
        assert queue.depth == depth <= 40
        if not isinstance(step, str):
            sent = submission(step[0], step[1], dry=step[2])
            if depth + step[1] > 40:
                with pytest.raises(Overloaded):
                    queue.put(sent)
            else:
                queue.put(sent)
                expected[step[0]].append(sent)
            continue
        if not any(expected.values()):
            continue
        batch = queue.take()
        assert batch
        book = batch[0].book_id
        assert batch == expected[book][: len(batch)]
        del expected[book][: len(batch)]
        assert len(batch) == 1 or sum(len(one.commands) for one in batch) <= 10
        assert len(batch) == 1 or not any(one.dry for one in batch)
        passed_over[book] = 0
        for other, lane in expected.items():
            if lane and other != book:
                passed_over[other] += 1
                assert passed_over[other] <= 3
    assert not any(expected.values())
