"""The lines of one writer thread: who waits for what open holds reserve, in which order, and who is to be tried.

Owns the lines of all books, and when they are tried: after each batch that committed something on their book, at a
short interval, and at the deadline of each waiter for good. Invariants: within a budget those who wait for its money
are tried first come first served, extensions before authorizations; whoever stands here is answered exactly once: with
an outcome, with what kept it from one, with ``LeftLine`` or with ``Stopping``.
"""

from collections import deque
from dataclasses import replace
from threading import RLock
from typing import Final, NamedTuple

from ledger.core.command import Authorize, Command, Extend
from ledger.core.line import NOBODY, Line
from ledger.core.outcome import WAITABLE, Outcome, Status
from ledger.core.waiting import can_repeat
from ledger.services.book_line import BookLine, Waiter
from ledger.services.errors import LeftLine, Stopping
from ledger.services.place import Place
from ledger.services.queue import Result, Submission

WAIT_SECONDS_MAX: Final = 30
"""How long a command may wait in line at most."""
Answer = tuple[Submission, list[Result]]
Answers = list[Answer]


class Try(NamedTuple):
    """A waiter to be decided in the batch at hand with ``command``, which is that of ``member``. The time of those in
    ``due`` is over, and then it is decided for good."""

    waiter: Waiter
    command: Command
    member: Submission
    due: tuple[Submission, ...] = ()


class Lines:
    """The lines of the books of one writer thread, which alone calls it; but ``leave`` and ``abandon`` may come from
    any thread, and ``size`` may be read from any. ``members_max`` bounds who may stand here."""

    def __init__(self, *, members_max: int) -> None:
        self._members_max = members_max
        self._books: dict[int, BookLine] = {}
        self._leaving: deque[Place] = deque()
        self._lock = RLock()
        self._closed = False
        self._tickets = 0
        self.size = 0

    @property
    def is_idle(self) -> bool:
        """Whether nobody stands here and nobody is leaving."""
        return not self._books and not self._leaving

    def patience(self, now: float) -> float | None:
        """Seconds until somebody is to be tried; None while nobody stands here."""
        if not self._books:
            return None
        with self._lock:
            return max(0.0, min((book.next_at() for book in self._books.values()), default=now) - now)

    def next_book(self, now: float) -> int | None:
        """A book whose lines are to be tried now; books take turns."""
        with self._lock:
            found = next((book_id for book_id, book in self._books.items() if book.next_at() <= now), None)
            if found is not None:
                self._books[found] = self._books.pop(found)
            return found

    def book_ids(self) -> list[int]:
        """The books in which somebody stands in line."""
        return list(self._books)

    def wake(self, book_id: int) -> None:
        """Have the lines of a book tried: something was committed there."""
        with self._lock:
            book = self._books.get(book_id)
            if book is not None:
                book.wake()

    def line_of(self, book_id: int) -> Line:
        """What a newcomer finds before it, beside those who are tried in the same batch."""
        book = self._books.get(book_id)
        if book is None:
            return NOBODY
        with self._lock:
            return book.line()

    def tries(self, book_id: int, now: float, *, hurry: bool) -> list[Try]:
        """Whom to decide in the next batch of a book, in order; none where its time has not come. With ``hurry``, all
        are decided for good. Each must be handed to ``tried`` with its result."""
        book = self._books.get(book_id)
        if book is None:
            return []
        with self._lock:
            due = book.due(float("inf") if hurry else now)
            waiters = book.chosen(now, due, hurry=hurry)
            return [self._try(book, waiter, due.get(waiter)) for waiter in waiters]

    @staticmethod
    def _try(book: BookLine, waiter: Waiter, due: list[Submission] | None) -> Try:
        if due:
            return Try(waiter, due[0].commands[0], due[0], tuple(due))
        line = NOBODY
        if waiter.status is not Status.BUDGET_HELD and book.is_behind(waiter):
            line = Line((waiter.budget,), (waiter.budget,), {})
        member = waiter.members[0]
        return Try(waiter, in_line(member.commands[0], line), member)

    def tried(self, book_id: int, one: Try, result: Result) -> Answers:
        """Note what became of a try; who is to be told what."""
        waiter = one.waiter
        with self._lock:
            book = self._books[book_id]
            waiter.is_tried = False
            if isinstance(result, Outcome):
                if result.status is Status.WAITING:
                    if self._closed:
                        return self._end(book_id, book, waiter, Stopping("this server is shutting down"))
                    book.refile(waiter, result.facts["budget"], Status(result.facts["waits_for"]))
                    return []
                staying = [member for member in waiter.members if member not in one.due]
                if one.due and staying and result.status in WAITABLE:
                    # Its time is over for those who asked first; whoever repeated the request waits on.
                    waiter.members = staying
                    return [self._told(book, member, _shared(result, member, one.member)) for member in one.due]
            return self._end(book_id, book, waiter, result, one.member)

    def enter(self, submission: Submission, outcome: Outcome, now: float) -> Answers:
        """Let a newcomer that ended ``WAITING`` stand in line, or join the one it repeats. Where the line is full, or
        closed, its time is over at once."""
        place = submission.place
        if place is None:
            raise ValueError("who does not wait has no place in line")
        with self._lock:
            if self._closed:
                return [(submission, [Stopping("this server is shutting down")])]
            if place.left:
                return [(submission, [LeftLine("the caller left the line")])]
            if self.size >= self._members_max:
                place.deadline = now
            book = self._books.get(submission.book_id)
            if book is None:
                book = self._books[submission.book_id] = BookLine(now)
            command = submission.commands[0]
            facts = outcome.facts
            pair = (facts["principal"], command.idempotency_key) if can_repeat(command) else None
            waiter = book.pairs.get(pair) if pair is not None else None
            if waiter is None:
                self._tickets += 1
                order = (0 if isinstance(command, Extend) else 1, self._tickets)
                waiter = Waiter(order, pair, facts["budget"], Status(facts["waits_for"]))
                book.file(waiter)
                if pair is not None:
                    book.pairs[pair] = waiter
                    book.digests[pair] = bytes.fromhex(facts["request_digest"])
            waiter.members.append(submission)
            place.waiter = waiter
            book.members += 1
            self.size += 1
            self._tickets += 1
            book.note_deadline(place.deadline, self._tickets, submission)
            return []

    def leave(self, place: Place) -> None:
        """Have the one who has this place dropped at the next ``take_left``."""
        self._leaving.append(place)

    def take_left(self) -> Answers:
        """Drop those who left while they stood here."""
        answers: Answers = []
        with self._lock:
            while self._leaving:
                place = self._leaving.popleft()
                waiter: Waiter | None = place.waiter
                if waiter is None or place.is_answered:
                    continue
                member = next(one for one in waiter.members if one.place is place)
                book_id = member.book_id
                book = self._books[book_id]
                waiter.members.remove(member)
                answers.append(self._told(book, member, LeftLine("the caller left the line")))
                if not waiter.members:
                    self._remove(book_id, book, waiter)
        return answers

    def abandon(self) -> Answers:
        """Let nobody stand here any more; what is being tried is answered by ``tried``."""
        answers: Answers = []
        with self._lock:
            self._closed = True
            for book_id, book in list(self._books.items()):
                waiting = [waiter for queue in book.queues.values() for waiter in queue.waiters if not waiter.is_tried]
                for waiter in waiting:
                    answers += self._end(book_id, book, waiter, Stopping("this server is shutting down"))
        return answers

    def _end(
        self, book_id: int, book: BookLine, waiter: Waiter, result: Result, asked: Submission | None = None
    ) -> Answers:
        """Tell everybody who stands there the result of the command of ``asked``, and let nobody stand there."""
        answers = [self._told(book, member, _shared(result, member, asked)) for member in waiter.members]
        self._remove(book_id, book, waiter)
        return answers

    def _told(self, book: BookLine, member: Submission, result: Result) -> Answer:
        if member.place is not None:
            member.place.is_answered = True
        book.members -= 1
        self.size -= 1
        return member, [result]

    def _remove(self, book_id: int, book: BookLine, waiter: Waiter) -> None:
        book.unfile(waiter)
        if waiter.pair is not None:
            del book.pairs[waiter.pair]
            del book.digests[waiter.pair]
        if not book.queues:
            del self._books[book_id]


def in_line(command: Command, line: Line) -> Command:
    """The command, which may wait behind ``line``. Raises TypeError for one that cannot wait."""
    if not isinstance(command, (Authorize, Extend)):
        raise TypeError(f"{command.operation} does not wait in line")
    return replace(command, line=line)


def _shared(result: Result, member: Submission, asked: Submission | None) -> Result:
    """The result for one of those who asked for the same: whoever's command was not the one decided gets the recorded
    answer, marked as a replay."""
    if member is asked or not isinstance(result, Outcome) or result.body is None:
        return result
    return Outcome(Status.REPLAYED, result.body, result.log_index, result.leaf_hash, replayed=True)
