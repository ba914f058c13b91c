"""Corrections that need a second person: when, who that may be, and what becomes of them in every state."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.core.command import Adjust, AdjustmentTransfer, Caller, Charge, Command, CreateKey, Refund, Reprice
from ledger.core.command_corrections import (
    ApproveCorrection,
    RefuseCorrection,
    Reverse,
    SetCorrectionRule,
    WithdrawCorrection,
)
from ledger.core.correction import EXPIRES_AFTER_DAYS
from ledger.core.outcome import Outcome, Status
from tests.support.ledger import OPENED_AT, SECOND
from tests.support.policed import USD
from tests.support.worlds import World

DAY = 24 * 3600


class Office(World):
    """A world with a second person in finance, two more admins, an approver, and a charge of 20."""

    def __init__(self, above: str | None = "5") -> None:
        super().__init__()
        self.gus = self.key("finance", "gus")
        self.pat = self.key("approver", "pat")
        self.zoe, self.yan = self.key("admin", "zoe"), self.key("admin", "yan")
        done = self.do(
            Charge, self.finance, budget="research", amount="20", currency="USD", category="inference", payee="openai"
        )  # fmt: skip
        self.charge = str((done.body or {})["authorization"])
        self.charge_index = done.log_index
        if above is not None:
            assert self.rule(above).status is Status.DONE

    def rule(self, above: str | None, caller: Caller | None = None, currency: str = "USD") -> Outcome:
        """Set the rule."""
        return self.do(SetCorrectionRule, caller or self.zoe, currency=currency, above=above)

    def refund(self, amount: str, caller: Caller | None = None, **fields: Any) -> Outcome:
        """Refund part of the charge."""
        return self.do(
            Refund, caller or self.finance, authorization=self.charge, amount=amount, currency="USD", **fields
        )  # fmt: skip

    def pending(self, amount: str = "6", caller: Caller | None = None) -> str:
        """A refund that waits."""
        return waiting(self.refund(amount, caller))

    def approve(self, reference: str, caller: Caller, **fields: Any) -> Outcome:
        """Approve a correction."""
        return self.do(ApproveCorrection, caller, correction=reference, **fields)


def waiting(outcome: Outcome) -> str:
    """The id of a correction that must wait."""
    assert outcome.status is Status.PENDING_APPROVAL, outcome
    return str((outcome.body or {})["correction"])


def asked(world: Office, operation: str, **fields: Any) -> tuple[type[Command], dict[str, Any]]:
    """A correction of 6 dollars of each sort."""
    moved = (AdjustmentTransfer("expenses:hosting", "expenses:inference", "6", "USD"),)
    commands: dict[str, tuple[type[Command], dict[str, Any]]] = {
        "charge": (Charge, {"budget": "research", "amount": "6", "currency": "USD", "category": "c", "payee": "p"}),
        "refund": (Refund, {"authorization": world.charge, "amount": "6", "currency": "USD"}),
        "reprice": (
            Reprice,
            {"authorization": world.charge, "settled": "20", "amount": "14", "currency": "USD", "old_price": (),
             "new_price": (("output", "1"),), "reason": "cheaper"},
        ),
        "adjust": (Adjust, {"transfers": moved, "reason": "moved"}),
        "reverse": (Reverse, {"record": world.charge_index, "reason": "booked twice"}),
    }  # fmt: skip
    return commands[operation]


@pytest.mark.parametrize("operation", ["charge", "refund", "reprice", "adjust", "reverse"])
def test_above_the_rule_nothing_is_posted_until_another_person_approves(operation: str) -> None:
    """Then it is what it would have been, with both persons on its record."""
    world, alone = Office(), Office(above=None)
    kind, fields = asked(world, operation)
    before = world.balances()
    requested = world.do(kind, world.finance, **fields)
    reference = waiting(requested)
    assert world.balances() == before
    body = world.bodies()[requested.log_index]
    assert (body["kind"], body["operation"], body["state"]) == ("correction_requested", operation, "pending")
    assert body["amounts"] == [["USD", str((20 if operation == "reverse" else 6) * USD)]]
    done = world.approve(reference, world.gus, reason="seen")
    assert done.status is Status.DONE
    entry = world.bodies()[done.log_index]
    assert entry["by"] == body["by"]
    assert (entry["approved_by"]["correction"], entry["approved_by"]["principal"]) == (reference, "person:gus")
    texts = ("reason", "evidence")
    assert entry["request"] == {name: value for name, value in body["request"].items() if name not in texts}
    alone.do(asked(alone, operation)[0], alone.finance, **asked(alone, operation)[1])
    assert world.balances() == alone.balances()
    twin = alone.bodies()[-1]
    assert (entry["kind"], entry["transfers"]) == (twin["kind"], twin["transfers"])
    (row,) = world.rows("corrections")
    assert (row.state, row.decided_by, row.changed_index) == ("approved", "person:gus", done.log_index)


def test_up_to_the_rule_one_person_is_enough_and_without_one_always() -> None:
    """The amount itself is not above it; another currency has no rule."""
    world = Office()
    assert world.refund("5").status is Status.DONE
    free = Office(above=None)
    assert free.refund("20").status is Status.DONE
    assert free.rows("correction_sums") == []


def test_zero_asks_always() -> None:
    """For one atom too."""
    world = Office("0")
    assert world.refund("0.000000001").status is Status.PENDING_APPROVAL


def test_small_ones_of_one_person_on_one_day_add_up() -> None:
    """Of every sort, until the day of the book ends; another person begins at nothing."""
    world = Office()
    assert world.refund("3").status is Status.DONE
    kind, fields = asked(world, "charge")
    assert world.do(kind, world.finance, **(fields | {"amount": "2"})).status is Status.DONE
    assert world.refund("0.01").status is Status.PENDING_APPROVAL
    assert world.refund("5", world.gus).status is Status.DONE
    other = world.key("finance", "fred")
    assert world.refund("0.01", other).status is Status.PENDING_APPROVAL, "another key of the same person"
    world.advance(DAY)
    assert world.refund("5").status is Status.DONE
    sums = {row.person: row.amount for row in world.rows("correction_sums")}
    assert sums == {"fred": 5 * USD, "gus": 5 * USD}


def test_what_another_approved_and_what_waits_is_not_added_up() -> None:
    """Somebody else has looked at it, or it has not happened."""
    world = Office()
    reference = world.pending("9")
    assert world.refund("4").status is Status.DONE
    assert world.approve(reference, world.gus).status is Status.DONE
    assert world.refund("1").status is Status.DONE


def test_two_in_one_batch_are_added_up() -> None:
    """Neither sees the ledger without the other."""
    world = Office()
    fields = {"authorization": world.charge, "amount": "3", "currency": "USD"}
    first, second = world.decide(*(world.command(Refund, world.finance, **fields) for _ in range(2)))
    assert (first.status, second.status) == (Status.DONE, Status.PENDING_APPROVAL)


def test_an_adjustment_counts_the_larger_of_authority_and_money_in_each_currency() -> None:
    """Both sorts tell of the same thing; two of one sort are two."""
    world = Office()

    def adjust(*moved: tuple[str, str, str]) -> Status:
        transfers = tuple(AdjustmentTransfer(debit, credit, amount, "USD") for debit, credit, amount in moved)
        return world.do(Adjust, world.key("finance", f"p{world.head.size}"), transfers=transfers, reason="r").status

    spent = ("budgets:research:spent", "budgets:research:available")
    assert adjust((*spent, "5"), ("expenses:a", "payables:b", "5")) is Status.DONE
    assert adjust(("expenses:a", "payables:b", "3"), ("expenses:c", "payables:b", "3")) is Status.PENDING_APPROVAL


VOTERS = [
    ("gus", Status.DONE),
    ("pat", Status.DONE),
    ("yan", Status.DONE),
    ("finance", Status.NOT_AN_APPROVER),
    ("admin", Status.NOT_AN_APPROVER),
    ("auditor", Status.ROLE_NOT_ALLOWED),
    ("crawler", Status.ROLE_NOT_ALLOWED),
]


@pytest.mark.parametrize("kind", [ApproveCorrection, RefuseCorrection])
@pytest.mark.parametrize(("who", "status"), VOTERS)
def test_four_eyes(kind: type[Command], who: str, status: Status) -> None:
    """Neither who asked, with whichever key, nor the admin who made their key, nor a role that has no say."""
    world = Office()
    reference = world.pending()
    outcome = world.do(kind, getattr(world, who), correction=reference)
    assert outcome.status is status, outcome


def test_another_key_of_whoever_asked_is_no_second_person() -> None:
    """Persons count, not keys."""
    world = Office()
    reference = world.pending()
    for role in ("admin", "approver", "finance"):
        assert world.approve(reference, world.key(role, "fred")).status is Status.NOT_AN_APPROVER


def test_nobody_makes_a_second_person_for_themselves() -> None:
    """An admin who asks could make keys in any name."""
    world = Office()
    kind, fields = asked(world, "reprice")
    reference = waiting(world.do(kind, world.zoe, **fields))
    digest = b"\x42" * 32
    assert world.do(CreateKey, world.zoe, digest=digest, role="finance", person="dummy").status is Status.DONE
    refused = world.approve(reference, Caller(digest))
    assert (refused.status, "was made by person:zoe" in refused.detail) == (Status.NOT_AN_APPROVER, True)
    assert world.approve(reference, world.gus).status is Status.DONE


ENDS = {
    "pending": (Status.DONE, Status.DONE, Status.DONE),
    "approved": (Status.WRONG_STATE,) * 3,
    "refused": (Status.WRONG_STATE,) * 3,
    "withdrawn": (Status.WRONG_STATE,) * 3,
    "expired": (Status.WRONG_STATE,) * 3,
    "missing": (Status.NOT_FOUND,) * 3,
}


@pytest.mark.parametrize("state", ENDS)
@pytest.mark.parametrize("place", range(3), ids=["approve", "refuse", "withdraw"])
def test_state_and_command(state: str, place: int) -> None:
    """Every pair has one answer, and what is refused leaves nothing behind."""
    world = Office()
    reference = world.pending()
    if state == "approved":
        world.approve(reference, world.gus)
    elif state == "refused":
        world.do(RefuseCorrection, world.gus, correction=reference)
    elif state == "withdrawn":
        world.do(WithdrawCorrection, world.finance, correction=reference)
    elif state == "expired":
        world.advance(EXPIRES_AFTER_DAYS * DAY)
    elif state == "missing":
        reference = "cor_00000000000000000000000000"
    kind, caller = (
        (ApproveCorrection, world.gus),
        (RefuseCorrection, world.gus),
        (WithdrawCorrection, world.finance),
    )[place]
    size, balances = world.head.size, world.balances()
    outcome = world.do(kind, caller, correction=reference, reason="because")
    assert outcome.status is ENDS[state][place], outcome
    if outcome.status is Status.WRONG_STATE:
        assert (outcome.facts["state"], outcome.facts["correction"]) == (state, reference)
    if outcome.status is not Status.DONE:
        assert (world.head.size, world.balances()) == (size, balances)
    else:
        assert world.rows("corrections")[0].state == ("approved", "refused", "withdrawn")[place]


def test_one_moment_before_its_time_is_over_it_can_be_approved() -> None:
    """And at that moment not."""
    world = Office()
    reference = world.pending()
    world.advance(EXPIRES_AFTER_DAYS * DAY - 1)
    assert world.approve(reference, world.gus).status is Status.DONE


def test_only_who_asked_withdraws() -> None:
    """Others refuse."""
    world = Office()
    reference = world.pending()
    for caller in (world.gus, world.zoe):
        assert world.do(WithdrawCorrection, caller, correction=reference).status is Status.NOT_AN_APPROVER


def test_of_two_who_approve_at_once_one_does() -> None:
    """It is done once."""
    world = Office()
    reference = world.pending()
    before = world.balance("payables:openai")
    outcomes = world.decide(
        *(world.command(ApproveCorrection, caller, correction=reference) for caller in (world.gus, world.pat))
    )
    assert [one.status for one in outcomes] == [Status.DONE, Status.WRONG_STATE]
    assert world.balance("payables:openai") - before == 6 * USD


def test_what_cannot_be_done_any_more_says_why_and_goes_on_waiting() -> None:
    """It is decided from the facts of the moment it is approved."""
    world = Office()
    reference = world.pending("19")
    small = world.refund("5")
    assert small.status is Status.DONE
    refused = world.approve(reference, world.gus)
    assert (refused.status, refused.facts) == (
        Status.WRONG_STATE,
        {"state": "pending", "reason": "refund_too_large", "correction": reference},
    )
    assert "at most 15.00 USD can still be refunded" in refused.detail
    assert world.rows("corrections")[0].state == "pending"
    assert world.do(WithdrawCorrection, world.finance, correction=reference).status is Status.DONE


def test_a_request_that_cannot_be_done_is_refused_at_once() -> None:
    """Nobody is asked to approve what is impossible."""
    world = Office()
    size = world.head.size
    assert world.refund("21").status is Status.REFUND_TOO_LARGE
    assert world.head.size == size


def test_the_same_key_tells_what_has_become_of_it() -> None:
    """The request is answered again with its state; the approval with the record that it made."""
    world = Office()
    reference = waiting(world.refund("6", idempotency_key="k"))

    def again() -> tuple[Status, Any]:
        outcome = world.refund("6", idempotency_key="k")
        assert (outcome.body or {})["correction"] == reference
        return outcome.status, outcome.facts["state"]

    assert again() == (Status.REPLAYED, "pending")
    done = world.approve(reference, world.gus, idempotency_key="g")
    assert again() == (Status.REPLAYED, "approved")
    repeated = world.approve(reference, world.gus, idempotency_key="g")
    assert (repeated.status, repeated.log_index) == (Status.REPLAYED, done.log_index)
    assert world.approve(reference, world.gus, idempotency_key="g", reason="x").status is Status.IDEMPOTENCY_MISMATCH
    expired = waiting(world.refund("7", idempotency_key="l"))
    world.advance(EXPIRES_AFTER_DAYS * DAY)
    outcome = world.refund("7", idempotency_key="l")
    assert ((outcome.body or {})["correction"], outcome.facts["state"]) == (expired, "expired")


def test_the_day_that_it_counts_for_is_kept() -> None:
    """As it was asked for, not that of the approval."""
    world = Office()
    world.advance(5)
    reference = waiting(world.refund("6", effective_at=OPENED_AT + SECOND))
    request = world.rows("log_records")[-1]
    assert request.effective_at == request.recorded_at
    world.advance(DAY)
    done = world.approve(reference, world.gus)
    assert world.rows("log_records")[done.log_index].effective_at == OPENED_AT + SECOND


def test_texts_stand_beside_the_request_and_the_answer_each() -> None:
    """And are not copied to the record of what was done."""
    world = Office()
    requested = world.refund("6", reason="a credit note")
    done = world.approve(waiting(requested), world.gus, reason="seen it")
    texts = {(row.log_index, row.field): row.content for row in world.rows("texts")}
    assert texts[requested.log_index, "reason"] == "a credit note"
    assert texts[done.log_index, "reason"] == "seen it"


# Rules.


def test_the_first_rule_and_a_stricter_one_hold_at_once() -> None:
    """By one admin."""
    world = Office("5")
    assert world.rule("3").status is Status.DONE
    assert world.rule("3").status is Status.DONE
    (row,) = world.rows("correction_rules")
    assert row.above == 3 * USD
    assert world.refund("4").status is Status.PENDING_APPROVAL


@pytest.mark.parametrize("above", ["6", None], ids=["more", "everything"])
def test_a_rule_that_allows_more_needs_another_admin(above: str | None) -> None:
    """Else whoever sets rules could do anything alone."""
    world = Office("5")
    reference = waiting(world.rule(above))
    assert world.refund("5.5").status is Status.PENDING_APPROVAL, "it does not hold yet"
    for caller in (world.gus, world.pat):
        assert world.approve(reference, caller).status is Status.NOT_AN_APPROVER
    done = world.approve(reference, world.yan)
    assert done.status is Status.DONE
    body = world.bodies()[done.log_index]
    assert (body["kind"], body["before"], body.get("above")) == (
        "correction_rule", str(5 * USD), None if above is None else str(6 * USD)
    )  # fmt: skip
    assert world.refund("5.5", world.gus).status is Status.DONE


def test_a_rule_after_none_holds_at_once() -> None:
    """It allows less."""
    world = Office("5")
    world.approve(waiting(world.rule(None)), world.yan)
    assert world.rule("100").status is Status.DONE


def test_a_rule_is_of_a_currency_or_unit_of_the_book() -> None:
    """And its amount is of that scale, zero or more."""
    world = Office()
    for above, currency, status in (
        ("1", "XTS", Status.UNKNOWN_CURRENCY),
        (None, "XTS", Status.UNKNOWN_CURRENCY),
        ("-1", "USD", Status.AMOUNT_NOT_POSITIVE),
        ("0.0000000001", "USD", Status.AMOUNT_TOO_PRECISE),
        ("much", "USD", Status.AMOUNT_MALFORMED),
    ):
        assert world.rule(above, currency=currency).status is status
