"""The fold over corrections: what a forger writes who makes every digest of a request right again is noted."""

from __future__ import annotations

import copy
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from ledger.core.canonical import canonical_bytes
from ledger.core.command import Refund
from ledger.core.command_corrections import ApproveCorrection, Reverse
from ledger.core.correction import EXPIRES_AFTER_DAYS
from ledger.core.deriving import Clock, columns_of
from ledger.core.moment import SECOND, moment_of, moment_text
from ledger.core.projecting import Fold
from tests.core.test_corrections import Office, waiting
from tests.support.memory_rows import MemoryStore

Body = dict[str, Any]


class Book:
    """The bodies of a book with an approved refund, a rule that was loosened, a refund alone, and two reversals."""

    def __init__(self) -> None:
        world = Office("5")
        self.key_of = {caller: self._key(world, caller) for caller in ("gus", "finance", "pat", "zoe", "auditor")}
        self.requested = world.head.size
        reference = waiting(world.refund("6", reason="a credit note"))
        self.approved = world.approve(reference, world.gus).log_index
        self.alone = world.refund("4").log_index
        looser = waiting(world.rule("9"))
        self.rule = world.approve(looser, world.yan).log_index
        charged = waiting(world.do(Reverse, world.gus, record=world.charge_index, reason="twice"))
        self.charge_index = world.charge_index
        self.reversal = world.do(ApproveCorrection, world.finance, correction=charged).log_index
        self.bodies = world.bodies()

    @staticmethod
    def _key(world: Office, caller: str) -> Body:
        digest = getattr(world, caller).key_digest
        row = next(row for row in world.rows("api_keys") if row.digest == digest)
        return {"key": row.id, "principal": row.principal}

    def noted(self, at: int, change: Callable[[Body], object]) -> list[str]:
        """What the fold notes at a record once it was changed and its request's digest made right."""
        made = copy.deepcopy(self.bodies[at])
        change(made)
        bound = made["approved_by"]["request"] if "approved_by" in made else made["request"]
        made["idempotency"][1] = sha256(canonical_bytes(bound)).hexdigest()
        fold = Fold(1, MemoryStore())
        for body in self.bodies[:at]:
            fold.apply(body, columns_of(body, Clock()))
        assert fold.differences == []
        fold.apply(made, columns_of(made, Clock()))
        return [difference.what for difference in fold.differences]


@pytest.fixture(scope="module")
def book() -> Book:
    """One for all."""
    return Book()


def has(noted: list[str], words: str) -> bool:
    """Whether one of the sentences has these words."""
    return any(words in one for one in noted)


def test_what_was_written_is_right(book: Book) -> None:
    """Nothing is noted about any of it."""
    for at in (book.requested, book.approved, book.alone, book.rule, book.reversal):
        assert book.noted(at, lambda body: None) == []


@pytest.mark.parametrize(
    ("who", "words"),
    [
        ("finance", "is decided by whoever asked for it"),
        ("auditor", "for what its role may not do"),
    ],
)
def test_a_forged_approver(book: Book, who: str, words: str) -> None:
    """The one who asked, or one who may not, in the place of the second person."""
    assert has(book.noted(book.approved, lambda body: body["approved_by"].update(book.key_of[who])), words)


def test_an_approver_with_anothers_key(book: Book) -> None:
    """A principal that the key does not name."""
    noted = book.noted(book.approved, lambda body: body["approved_by"].update(principal="person:pat"))
    assert has(noted, "not the person whom the key names")


def test_an_approval_that_is_left_out(book: Book) -> None:
    """Then it was above what one person may do."""
    assert has(book.noted(book.approved, lambda body: body.pop("approved_by")), "more USD alone than the rule allows")


def test_more_alone_than_the_rule(book: Book) -> None:
    """Although the body agrees with its request in everything."""

    def more(body: Body) -> None:
        body["amount"] = body["request"]["amount"] = "5500000000"

    assert has(book.noted(book.alone, more), "more USD alone than the rule allows")


def test_another_entry_than_was_asked_for(book: Book) -> None:
    """More, or by another."""

    def more(body: Body) -> None:
        body["amount"] = body["request"]["amount"] = "7000000000"

    assert has(book.noted(book.approved, more), "what was approved is not what was asked for")
    assert has(book.noted(book.approved, lambda body: body.update(by=book.key_of["pat"])), "who asked is not who is")


def test_a_rule_that_one_admin_loosened(book: Book) -> None:
    """Without the second, or by somebody in finance."""
    assert has(book.noted(book.rule, lambda body: body.pop("approved_by")), "no second person approved it")
    noted = book.noted(book.rule, lambda body: body["approved_by"].update(book.key_of["gus"]))
    assert has(noted, "for what its role may not do")


def test_a_decision_after_its_time(book: Book) -> None:
    """A fortnight later."""
    late = moment_of(book.bodies[book.approved]["time"]) + EXPIRES_AFTER_DAYS * 24 * 3600 * SECOND
    noted = book.noted(book.approved, lambda body: body.update(time=moment_text(late)))
    assert has(noted, "is decided after its time")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"amounts": [["USD", "1"]]}, "amounts is not what"),
        ({"key_made_by": "person:nobody"}, "key_made_by is not what"),
        ({"operation": "charge"}, "operation is not what"),
        ({"state": "approved"}, "state is not what"),
    ],
)
def test_a_forged_request(book: Book, change: Body, words: str) -> None:
    """What it says beside the request follows from it."""
    assert has(book.noted(book.requested, lambda body: body.update(change)), words)


def test_a_request_that_needed_nobody(book: Book) -> None:
    """It was within what one person may do."""

    def less(body: Body) -> None:
        body["request"]["amount"], body["amounts"] = "1000000000", [["USD", "1000000000"]]

    assert has(book.noted(book.requested, less), "a second person is asked who need not be")


def test_a_reversal_of_something_else(book: Book) -> None:
    """Or of what is nothing that can be reversed; or a refund that says it reverses."""
    assert has(book.noted(book.reversal, lambda body: body.update(reverses=3)), "reverses")
    with pytest.raises(LookupError):
        book.noted(book.reversal, lambda body: body["request"].update(record=3))
    noted = book.noted(book.alone, lambda body: body.update(reverses=book.charge_index))
    assert has(noted, "reverses is not what")


def test_a_request_in_another_currency_than_what_it_corrects(book: Book) -> None:
    """Although it moves as much."""
    noted = book.noted(book.requested, lambda body: body["request"].update(currency="EUR"))
    assert has(noted, "a correction is asked for in another currency")


def test_a_reversal_whose_reason_was_taken_away() -> None:
    """What may not be done without a reason has the digest of one, also once the text itself is gone."""
    world = Office(above=None)
    done = world.do(Reverse, world.finance, record=world.charge_index, reason="twice")
    bodies = world.bodies()
    bodies[done.log_index]["request"].pop("reason")
    packed = canonical_bytes(bodies[done.log_index]["request"])
    bodies[done.log_index]["idempotency"][1] = sha256(packed).hexdigest()
    fold = Fold(1, MemoryStore())
    for body in bodies:
        fold.apply(body, columns_of(body, Clock()))
    assert [one.what for one in fold.differences] == ["it was done without a reason"]


def test_a_refund_that_does_not_say_which_of_two_payees() -> None:
    """The request leaves a choice that no honest ledger makes."""
    world = Office(above=None)
    held = world.hold(world.crawler, "5")
    for payee in ("openai", "serp"):
        world.settle(world.crawler, held, "2", final=False, payee=payee)
    refund = {"authorization": held, "amount": "1", "currency": "USD", "payee": "serp"}
    done = world.do(Refund, world.finance, **refund)
    body = world.bodies()[done.log_index]
    body["request"].pop("payee")
    body["idempotency"][1] = sha256(canonical_bytes(body["request"])).hexdigest()
    fold = Fold(1, MemoryStore())
    for earlier in world.bodies()[: done.log_index]:
        fold.apply(earlier, columns_of(earlier, Clock()))
    assert fold.differences == []
    with pytest.raises(ValueError, match="not one pair"):
        fold.apply(body, columns_of(body, Clock()))
