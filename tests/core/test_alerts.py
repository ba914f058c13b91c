"""What a log tells: thresholds once, jumps against an agent's own days, and the records that are worth telling."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.core.alert_memory import Event, Memory
from ledger.core.alerts import SILENT_KINDS, currencies_of, event_id, events_of, payload_of, places_of
from ledger.core.canonical import parse
from ledger.core.command import (
    Adjust,
    AdjustmentTransfer,
    Allocate,
    Charge,
    Deallocate,
    FreezeAgent,
    Refund,
    Release,
    Reprice,
)
from ledger.core.webhook import ALERT_TYPES
from tests.support.every_kind import play
from tests.support.ledger import Ledger

DAY_SECONDS = 86_400


class Told(Ledger):
    """A book in memory whose records are told as they come."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = Memory(timezone="Europe/Paris", values={}, units={"tokens": 0})
        self.looked = 0

    def news(self) -> list[Event]:
        """What has been written since the last time gives to tell."""
        made = []
        bodies = self.bodies()
        for index in range(self.looked, len(bodies)):
            made += events_of(self.memory, index, bodies[index])
        self.looked = len(bodies)
        return made

    def types(self) -> list[str]:
        """The types of the news."""
        return [event.type for event in self.news()]


@pytest.fixture
def book() -> Told:
    """A book with agent crawler and 100 USD in budget research."""
    made = Told()
    made.crawler = made.agent("crawler")  # type: ignore[attr-defined]
    made.finance = made.key("finance", "fay")  # type: ignore[attr-defined]
    made.budget("research", "100", "crawler")
    assert made.news() == []
    return made


@pytest.mark.parametrize(
    ("held", "threshold"),
    [
        ("49.999999999", None),
        ("50", 50),
        ("79.999999999", 50),
        ("80", 80),
        ("99.999999999", 80),
        ("100", 100),
    ],
)
def test_a_threshold_is_told_when_it_is_reached(book: Any, held: str, threshold: int | None) -> None:
    """The exact percent, and one atom below; of several at once the highest."""
    book.hold(book.crawler, held)
    found = book.news()
    assert [event.data["threshold"] for event in found] == ([] if threshold is None else [threshold])


def test_a_threshold_is_told_once(book: Any) -> None:
    """More use below the next one says nothing; settling what was held changes no use; the next one is told."""
    first = book.hold(book.crawler, "50")
    assert book.types() == ["budget.threshold"]
    book.hold(book.crawler, "10")
    book.settle(book.crawler, first, "50")
    assert book.types() == []
    book.hold(book.crawler, "20")
    (event,) = book.news()
    assert event.data["threshold"] == 80
    assert event.data["held"] == {"amount": "30.00", "currency": "USD"}
    assert event.data["spent"] == {"amount": "50.00", "currency": "USD"}
    assert event.data["available"] == {"amount": "20.00", "currency": "USD"}
    assert event.data["total"] == {"amount": "100.00", "currency": "USD"}


def test_a_threshold_is_told_again_after_use_fell_below_half(book: Any) -> None:
    """Going down from 80 to 60 and up again says nothing; from below 50 it does."""
    holds = [book.hold(book.crawler, amount) for amount in ("40", "20", "20")]
    assert [event.data["threshold"] for event in book.news()] == [50, 80]
    book.do(Release, book.crawler, authorization=holds[2])
    book.hold(book.crawler, "20")
    assert book.news() == []
    book.do(Release, book.crawler, authorization=holds[0])
    book.do(Release, book.crawler, authorization=holds[1])
    assert book.news() == []
    book.hold(book.crawler, "60")
    assert [event.data["threshold"] for event in book.news()] == [80]


def test_a_threshold_is_told_anew_of_another_total(book: Any) -> None:
    """What is allocated or taken back makes it another budget to keep an eye on."""
    book.hold(book.crawler, "60")
    assert [event.data["threshold"] for event in book.news()] == [50]
    book.do(Allocate, book.admin, budget="research", amount="100", currency="USD")
    assert book.news() == []
    book.do(Deallocate, book.admin, budget="research", amount="130", currency="USD")
    assert [event.data["threshold"] for event in book.news()] == [80]


def test_an_allocation_tells_of_the_parent(book: Any) -> None:
    """What is allocated further down is no use: a parent's total falls with it."""
    book.budget("company", "100")
    book.budget("unit", None, "crawler", parent="company")
    book.do(Allocate, book.admin, budget="unit", amount="90", currency="USD")
    assert book.news() == []


def test_an_overdrawn_budget_is_used_up(book: Any) -> None:
    """Spend in a budget that never had anything."""
    book.budget("empty", None, "crawler")
    book.do(Charge, book.finance, budget="empty", amount="1", currency="USD", category="c", payee="p")
    found = {event.type: event.data for event in book.news()}
    assert found["budget.threshold"]["threshold"] == 100
    assert found["budget.threshold"]["total"] == {"amount": "0.00", "currency": "USD"}


def test_an_overrun_is_told_with_its_excess(book: Any) -> None:
    """Once for each settlement that goes above, not for what is settled after it."""
    hold = book.hold(book.crawler, "10")
    book.settle(book.crawler, hold, "12", final=False)
    (event,) = book.news()
    assert (event.type, event.data["excess"]) == ("authorization.overrun", {"amount": "2.00", "currency": "USD"})
    assert event.data["agent"] == "crawler"
    assert event.data["budget"] == "research"
    book.settle(book.crawler, hold, "0", final=True)
    assert book.news() == []


def test_late_unauthorized_and_mismatched_spend_is_told(book: Any) -> None:
    """Each as itself, with ids and amounts."""
    late = book.hold(book.crawler, "10")
    book.do(Release, book.crawler, authorization=late)
    book.settle(book.crawler, late, "3")
    (event,) = book.news()
    assert (event.type, event.data["amount"]["amount"]) == ("settlement.late", "3.00")
    odd = book.hold(book.crawler, "10")
    book.settle(book.crawler, odd, "1", final=False, payee="somebody-else")
    (event,) = book.news()
    assert (event.type, event.data["payee"]) == ("authorization.mismatch", "somebody-else")
    book.settle(book.crawler, odd, "1")
    assert book.news() == [], "the flag stays, the news does not"
    book.do(
        Charge, book.finance, budget="research", amount="1", currency="USD", category="c", payee="p", agent="crawler",
        reason="a secret reason",
    )  # fmt: skip
    (event,) = book.news()
    assert event.type == "charge.unauthorized"
    assert event.data["authorization"].startswith("chg_")


def test_a_freeze_is_told(book: Any) -> None:
    """With who did it, and not why: that is free text."""
    book.do(FreezeAgent, book.admin, agent="crawler", frozen=True, reason="looping")
    book.do(FreezeAgent, book.admin, agent="crawler", frozen=False)
    frozen, unfrozen = book.news()
    assert (frozen.type, unfrozen.type) == ("agent.frozen", "agent.unfrozen")
    assert frozen.data["agent"] == "crawler"
    assert frozen.data["by"] == "person:owner"
    assert "reason" not in frozen.data


def spend_days(book: Any, *amounts: str) -> None:
    """Approve an amount each day; nothing stays held."""
    for amount in amounts:
        book.do(Release, book.crawler, authorization=book.hold(book.crawler, amount))
        book.advance(DAY_SECONDS)


@pytest.mark.parametrize(
    ("days", "today", "told"),
    [
        (("10", "10", "10", "10", "10"), "30", False),
        (("10", "10", "10", "10", "10"), "30.000000001", True),
        (("10", "10", "10", "10"), "49", False),
        (("1", "2", "3", "4", "5"), "9", False),
        (("1", "2", "3", "4", "5"), "9.000000001", True),
    ],
)
def test_a_jump_is_more_than_three_usual_days(book: Any, days: tuple[str, ...], today: str, told: bool) -> None:
    """Above three times the mean of at least five days; at it is not above it."""
    spend_days(book, *days)
    book.news()
    book.hold(book.crawler, today)
    assert ("agent.spending_jump" in book.types()) == told


def test_a_jump_is_told_once_a_day_and_counts_active_days(book: Any) -> None:
    """A weekend without spend is no usual day; a jump is part of what is usual from then on."""
    spend_days(book, "1", "1", "1", "1", "1")
    book.advance(10 * DAY_SECONDS)
    assert book.types() == []
    book.hold(book.crawler, "2")
    book.hold(book.crawler, "1.5")
    (event,) = book.news()
    assert event.data["today"] == {"amount": "3.50", "currency": "USD"}
    assert event.data["usual"] == {"amount": "1.00", "currency": "USD"}
    assert event.data["days"] == 5
    book.hold(book.crawler, "5")
    assert book.types() == []
    book.advance(DAY_SECONDS)
    book.hold(book.crawler, "5")
    assert book.types() == [], "8.50 yesterday: usual is 2.25 now"
    book.hold(book.crawler, "2")
    assert book.types() == ["agent.spending_jump"]


def test_a_day_is_the_books_own(book: Any) -> None:
    """Paris has midnight at 23:00 UTC in winter."""
    memory = Memory(timezone="Europe/Paris", values={}, units={})
    before = memory.day_of(1_793_660_399_000_000)
    assert memory.day_of(1_793_660_400_000_000) == 1_793_660_400_000_000 != before


def test_the_same_record_gives_the_same_event(book: Any) -> None:
    """Id and bytes, whoever makes it, and another id in another book."""
    book.hold(book.crawler, "80")
    body = book.bodies()[-1]
    index = len(book.bodies()) - 1
    made = [events_of(Memory(timezone="UTC", values={}, units={}), index, body)[0] for _ in range(2)]
    assert event_id(1, made[0]) == event_id(1, made[1]) != event_id(2, made[0])
    assert payload_of(made[0]) == payload_of(made[1])
    assert parse(payload_of(made[0])) == {
        "type": "budget.threshold",
        "timestamp": body["time"],
        "data": made[0].data,
    }


def test_nothing_that_is_told_is_free_text(book: Any) -> None:
    """Neither a text nor its digest, nor the request with its labels."""
    hold = book.hold(book.crawler, "60", intent="a secret intent", labels=(("who", "a secret label"),))
    book.settle(book.crawler, hold, "70", evidence='{"a":"a secret"}', resource="a-secret-model")
    for event in book.news():
        assert "secret" not in str(event.data)
        assert not {"request", "intent", "evidence", "labels", "idempotency", "resource"} & set(event.data)


def test_what_a_settlement_says_about_itself_and_a_corrected_price_are_told(book: Any) -> None:
    """Each at its own record: a settlement afterwards says nothing again, and neither does another adjustment."""
    hold = book.hold(book.crawler, "5")
    book.news()
    metering = (("model", "a-secret-model"),)
    book.settle(book.crawler, hold, "1", final=False, flags=("estimated", "unpriced"), metering=metering)
    told = book.news()
    assert [event.type for event in told] == ["settlement.estimated", "settlement.unpriced"]
    assert told[0].data["flags"] == ["estimated", "unpriced"]
    book.settle(book.crawler, hold, "1")
    prices = {"old_price": (("secret", "1"),), "new_price": (("secret", "2"),), "reason": "secret"}
    book.do(Reprice, book.finance, authorization=hold, settled="2", amount="6", currency="USD", **prices)
    book.do(Adjust, book.finance, transfers=(AdjustmentTransfer("payables:p", "assets:b", "1", "USD"),), reason="r")
    (event,) = book.news()
    assert (event.type, event.data["authorization"]) == ("authorization.repriced", hold)
    assert (event.data["amount"]["amount"], event.data["difference"]["amount"]) == ("6.00", "4.00")
    assert event.data["flags"] == ["overrun", "estimated", "unpriced", "repriced"]
    assert "secret" not in str(event.data)


def test_what_must_be_remembered_is_named_before(book: Any) -> None:
    """Whoever reads a stretch of the log asks for all that it takes, in one go."""
    book.hold(book.crawler, "60")
    refunded = book.hold(book.crawler, "5")
    book.settle(book.crawler, refunded, "5")
    book.do(Refund, book.finance, authorization=refunded, amount="1", currency="USD")
    book.do(Adjust, book.finance, transfers=(AdjustmentTransfer("payables:p", "assets:b", "1", "USD"),), reason="r")
    book.news()
    assert book.memory.changed <= places_of(book.bodies())
    assert currencies_of(book.bodies()) == {"USD"}


HUNDRED, SEVENTY = "100000000000", "70000000000"
MIDNIGHT = 1_793_660_400_000_000


def measured(
    used: str,
    limit: str,
    *,
    kind: str = "hold",
    measure: str = "money",
    window: str = "day",
    until: int = MIDNIGHT,
    policy: tuple[str, ...] = ("cautious", "1", "d"),
    key: str = "",
    run: str = "run-1",
) -> dict[str, Any]:
    """The body of an approval of 10 USD, which was measured against one limit."""
    line = [0, "day", measure, window, limit, used, 0, until, key]
    return {
        "kind": kind, "time": "2026-11-02T09:00:00.000000Z", "book": "acme", "authorization": "auth_1", "run": run,
        "currency": "USD", "approved": "10000000000", "amount": "10000000000", "state": "held",
        "decision": {"limits": [line], "policies": [list(policy)]},
    }  # fmt: skip


def levels(*bodies: dict[str, Any]) -> list[int | None]:
    """The threshold that each of these tells, one after the other."""
    memory = Memory(timezone="UTC", values={}, units={})
    told = []
    for index, body in enumerate(bodies):
        found = events_of(memory, index, body)
        assert len(found) <= 1
        told.append(found[0].data["threshold"] if found else None)
    return told


@pytest.mark.parametrize(
    ("bodies", "told"),
    [
        ([measured("39999999999", HUNDRED)], [None]),
        ([measured("40000000000", HUNDRED)], [50]),
        ([measured("90000000000", HUNDRED)], [100]),
        ([measured("40000000000", HUNDRED), measured("50000000000", HUNDRED)], [50, None]),
        ([measured("40000000000", HUNDRED), measured(SEVENTY, HUNDRED)], [50, 80]),
        # Another window, and another maximum.
        ([measured(SEVENTY, HUNDRED), measured(SEVENTY, HUNDRED, until=0)], [80, 80]),
        ([measured(SEVENTY, HUNDRED), measured(SEVENTY, "99000000000")], [80, 80]),
        # Use fell below half in between.
        ([measured(SEVENTY, HUNDRED), measured("0", HUNDRED), measured(SEVENTY, HUNDRED)],
         [80, None, 80]),
        # Each key and each run by itself.
        ([measured(SEVENTY, HUNDRED, key="a"), measured(SEVENTY, HUNDRED, key="b")], [80, 80]),
        ([measured(SEVENTY, HUNDRED, window="run", until=0, run=name) for name in "aba"], [80, 80, None]),
        # Counts: this one is one more; an extension is none.
        ([measured("4", "10", measure="count")], [50]),
        ([measured("4", "10", measure="count", kind="extension")], [None]),
        ([measured("4", "10", measure="count", kind="approval_requested")], [50]),
        # What fills with nothing but itself, what refuses nothing, and what was refused.
        ([measured("0", "10000000000", window="authorization")], [None]),
        ([measured("90000000000", HUNDRED, policy=("cautious", "1", "d", "shadow"))], [None]),
        ([measured("90000000000", HUNDRED, kind="denial")], [None]),
    ],
)  # fmt: skip
def test_thresholds_of_limits(bodies: list[dict[str, Any]], told: list[int | None]) -> None:
    """As those of budgets: reached and not passed, once, and anew with the window, the limit, or after a fall."""
    assert levels(*bodies) == told


def test_a_limit_that_fills_says_what_and_until_when() -> None:
    """Policy, limit, window, use with this request, maximum, when it begins anew."""
    (event,) = events_of(Memory(timezone="UTC", values={}, units={}), 7, measured("70000000000", "100000000000"))
    assert event.type == "limit.threshold"
    expected = {
        "policy": "cautious", "limit": "day", "window": "day", "threshold": 80,
        "used": {"amount": "80.00", "currency": "USD"}, "max": {"amount": "100.00", "currency": "USD"},
        "resets_at": "2026-11-02T23:00:00.000000Z", "authorization": "auth_1", "run": "run-1",
    }  # fmt: skip
    assert {name: event.data[name] for name in expected} == expected


def approvals(kind: str, listed: list[Any], **more: Any) -> list[tuple[str, Any, Any]]:
    """(type, approval, decision) of what a record about approvals tells."""
    body = {
        "kind": kind, "time": "2026-11-02T09:00:00.000000Z", "book": "acme", "authorization": "auth_1", "agent": "a",
        "currency": "USD", "approved": "1", "state": "pending_approval", "approvals": listed,
        "by": {"principal": "person:ann"}, **more,
    }  # fmt: skip
    memory = Memory(timezone="UTC", values={}, units={})
    return [(one.type, one.data.get("approval"), one.data.get("decision")) for one in events_of(memory, 1, body)]


def test_approvals_are_told_when_somebody_must_act_and_when_they_end() -> None:
    """The tier that is open, one after the other; granted, refused, expired, withdrawn; forced for itself."""
    asked = [{"id": "apr_1", "state": "open", "policy": "p", "rule": "r"}, {"id": "apr_2", "state": "waiting"}]
    assert approvals("approval_requested", asked) == [("approval.waiting", "apr_1", None)]
    passed = approvals("approval_granted", [["apr_1", "granted"], ["apr_2", "open"]], approval="apr_1")
    assert passed == [("approval.decided", "apr_1", "granted"), ("approval.waiting", "apr_2", None)]
    last = approvals("approval_granted", [["apr_2", "granted"]], approval="apr_2", state="held")
    assert last == [("approval.decided", "apr_2", "granted")]
    for kind, state in (("approval_refused", "refused"), ("expiry", "expired"), ("release", "withdrawn")):
        ended = approvals(kind, [["apr_1", state], ["apr_2", state]])
        assert ended == [("approval.decided", "apr_1", state)]
    forced = approvals("approval_granted", [["apr_1", "forced"]], approval="apr_1", forced=True)
    assert [kind for kind, _, _ in forced] == ["authorization.forced", "approval.decided"]
    assert approvals("approval_vote", []) == []


@pytest.mark.parametrize(
    ("record", "body", "told"),
    [
        (
            "freeze",
            {"agent": "crawler", "id": "agt_1", "cause": {"authorization": "auth_1", "code": "overrun"}},
            "agent",
        ),
        ("budget_freeze", {"budget": "research", "id": "bud_1"}, "budget"),
        ("book_freeze", {}, "book"),
    ],
)
def test_whatever_is_frozen_is_told(record: str, body: dict[str, Any], told: str) -> None:
    """Agents and teams, budgets, the book; and what made a policy do it."""
    for kind, word in ((record, "frozen"), (record.replace("freeze", "unfreeze"), "unfrozen")):
        whole = {"kind": kind, "time": "2026-11-02T09:00:00.000000Z", "book": "acme", "by": {"principal": "p"}, **body}
        (event,) = events_of(Memory(timezone="UTC", values={}, units={}), 1, whole)
        assert event.type == f"{told}.{word}"
        assert {name: event.data[name] for name in body} == body


def test_kinds_that_tell_nothing_need_not_be_read() -> None:
    """Passing them over leaves the events of a whole story as they are."""
    story = Ledger()
    play(story)
    bodies = story.bodies()
    assert any(body["kind"] in SILENT_KINDS for body in bodies)
    told = []
    for silent in ((), SILENT_KINDS):
        memory = Memory(timezone="UTC", values={}, units={"tokens": 0})
        seen = [(index, body) for index, body in enumerate(bodies) if body["kind"] not in silent]
        told.append([event for index, body in seen for event in events_of(memory, index, body)])
    assert told[0] == told[1] != []
    assert {event.type for event in told[0]} >= {"settlement.late", "authorization.overrun", "agent.frozen"}


def test_a_type_that_can_be_told_is_documented() -> None:
    """What the code makes is in the list that endpoints may ask for."""
    assert len(set(ALERT_TYPES)) == len(ALERT_TYPES) == 22
