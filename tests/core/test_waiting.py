"""Standing in line, as the core sees it: who waits, behind whom, and that nothing is left behind."""

from __future__ import annotations

import pytest

from ledger.core.authorization import HELD
from ledger.core.command import Authorize, Command, Extend, OpenRun, Release
from ledger.core.line import NOBODY, Line
from ledger.core.outcome import WAITABLE, Outcome, Status
from tests.support.policed import Policed, limit

USUAL = {"currency": "USD", "category": "inference", "payee": "openai"}


class Office(Policed):
    """Budget ``research`` of 100 USD, 90 of it held by ``writer``; ``lab`` of 10 USD, all held."""

    def __init__(self, *, due_max: int = 500) -> None:
        super().__init__(due_max=due_max)
        self.held = self.hold(self.writer, "90", budget="research")
        self.budget("lab", "10", "crawler")
        self.in_lab = self.hold(self.crawler, "10", budget="lab")

    def ask(self, amount: str, line: Line | None = NOBODY, **fields: object) -> Authorize:
        """A request of the crawler that may wait, unless told otherwise."""
        asked: Authorize = self.command(
            Authorize, self.crawler, **(USUAL | {"amount": amount, "budget": "research", "line": line} | fields)
        )
        return asked

    def more(self, reference: str, amount: str | None, line: Line | None = NOBODY, **fields: object) -> Extend:
        """An extension that may wait, unless told otherwise."""
        caller = fields.pop("caller", self.crawler)
        money = {"amount": amount, "currency": "USD"} if amount is not None else {}
        asked: Extend = self.command(Extend, caller, authorization=reference, line=line, **money, **fields)
        return asked

    def say(self, *commands: Command) -> list[str]:
        """The status of each command of one batch."""
        return [one.status.value for one in self.decide(*commands)]


def line(*budgets: str, extensions: tuple[str, ...] = (), digests: object = None) -> Line:
    """A line before authorizations on ``budgets``, and before extensions on ``extensions``."""
    return Line(budgets, extensions, digests or {})


ROWS = [
    # amount, line, status
    ("10", None, "approved"),
    ("10", NOBODY, "approved"),
    ("10.01", None, "budget_held"),
    ("10.01", NOBODY, "waiting"),
    ("100", NOBODY, "waiting"),
    ("100.01", NOBODY, "insufficient_budget"),
    ("10", line("research"), "waiting"),
    ("10", line("lab"), "approved"),
    ("10", line(extensions=("research",)), "waiting"),
    ("100.01", line("research"), "insufficient_budget"),
]


@pytest.mark.parametrize(("amount", "before", "status"), ROWS)
def test_what_waits(amount: str, before: Line | None, status: str) -> None:
    """Only what open holds stand in the way of, or what finds a line before it, and only if it may."""
    office = Office()
    size, keys, available = office.head.size, len(office.rows("idempotency_keys")), office.balances()
    (outcome,) = office.decide(office.ask(amount, before))
    assert outcome.status.value == status
    if status == "waiting":
        assert (office.head.size, len(office.rows("idempotency_keys"))) == (size, keys)
        assert office.balances() == available
        assert outcome.body is None
        assert outcome.detail


def test_what_waits_says_where() -> None:
    """Enough for whoever keeps the line: the budget, what it waits for, who asks, and which request it is."""
    office = Office()
    first = office.ask("20", intent="a ticket")
    (outcome,) = office.decide(first)
    assert {name: outcome.facts[name] for name in ("budget", "waits_for", "principal")} == {
        "budget": "research",
        "waits_for": "budget_held",
        "principal": "agent:crawler",
    }
    denied = office.decide(office.ask("20", None, intent="a ticket", idempotency_key=first.idempotency_key))[0]
    assert denied.body is not None
    assert outcome.facts["request_digest"] == denied.body["idempotency"][1], "waiting is no part of the request"


def test_a_limit_that_holds_fill_is_waited_for_and_holds_up_nobody() -> None:
    """The later one is under no such limit; both see the same budget."""
    office = Office()
    office.policy("caps", limits=[limit(maximum="5", match={"resources": ["big"]})])
    assert office.say(office.ask("4", None, resource="big")) == ["approved"]
    first, second = office.decide(office.ask("2", resource="big"), office.ask("2"))
    assert (first.status, first.facts["waits_for"]) == (Status.WAITING, "limit_held")
    assert second.status is Status.APPROVED


def test_a_limit_that_time_fills_is_not_waited_for() -> None:
    """Nothing that somebody could settle would help."""
    office = Office()
    office.advance(120)
    office.policy("caps", limits=[limit("rate", "minute", max_count=1, rolling=True)])
    assert office.say(office.ask("1", None), office.ask("1")) == ["approved", "velocity"]


def test_in_a_batch_the_later_wait_behind_the_first() -> None:
    """Those who may wait on the same budget; who does not wait overtakes, and another budget is another line."""
    office = Office()
    office.decide(office.command(Release, office.crawler, authorization=office.in_lab))
    assert office.say(
        office.ask("20"), office.ask("1"), office.ask("1", None), office.ask("5", budget="lab"), office.ask("1000")
    ) == ["waiting", "waiting", "approved", "approved", "insufficient_budget"]


def test_an_extension_is_behind_extensions_only() -> None:
    """It goes before authorizations that came earlier; one that asks for time alone waits for nobody."""
    office = Office()
    mine = office.hold(office.crawler, "2", budget="research")
    assert office.say(office.ask("20"), office.more(mine, "3"), office.ask("1")) == ["waiting", "done", "waiting"]
    assert office.say(office.more(mine, "50"), office.more(mine, "1"), office.ask("1")) == ["waiting"] * 3
    before = line("research", extensions=("research",))
    assert office.say(office.more(mine, None, before, ttl_seconds=60)) == ["done"]
    assert office.say(office.more(mine, "1", line("research"))) == ["done"]
    assert office.say(office.more(mine, "1", before)) == ["waiting"]
    row = office.tables["authorizations"][1, mine]
    assert (row.state, row.approved) == (HELD, 6 * 10**9)


def test_an_extension_that_waits_changes_nothing() -> None:
    """And says the budget of its hold."""
    office = Office()
    mine = office.hold(office.crawler, "2", budget="research")
    size = office.head.size
    (outcome,) = office.decide(office.more(mine, "20"))
    assert (outcome.status, outcome.facts["budget"], office.head.size) == (Status.WAITING, "research", size)
    (denied,) = office.decide(office.more(mine, "20", None))
    assert denied.status is Status.BUDGET_HELD


def test_a_key_in_line_with_another_request_is_a_mismatch() -> None:
    """In the same batch, and where it stands in line from before; the same request waits too, to be joined."""
    office = Office()
    first = office.ask("20")
    other = office.ask("21", idempotency_key=first.idempotency_key)
    same = office.ask("20", idempotency_key=first.idempotency_key)
    outcomes = office.decide(first, other, same)
    assert [one.status.value for one in outcomes] == ["waiting", "idempotency_mismatch", "waiting"]
    digest = bytes.fromhex(outcomes[0].facts["request_digest"])
    pair = ("agent:crawler", first.idempotency_key)
    assert office.say(office.ask("1", line(digests={pair: digest}), idempotency_key=pair[1])) == [
        "idempotency_mismatch"
    ]
    assert office.decide(office.command(Release, office.writer, authorization=office.held))[0].status is Status.DONE
    repeat = office.ask("20", line(digests={pair: digest}), idempotency_key=pair[1])
    assert office.say(repeat) == ["waiting"], "it joins, though it would fit"


def test_an_answered_key_is_answered_and_not_in_line() -> None:
    """The record is what counts."""
    office = Office()
    first = office.ask("10")
    assert office.say(first) == ["approved"]
    again = office.ask("10", line("research"), idempotency_key=first.idempotency_key)
    assert office.say(again) == ["replayed"]


def test_what_is_due_expires_before_anybody_waits() -> None:
    """A backlog of expiries is worked off first; then there is room."""
    office = Office(due_max=1)
    for _ in range(3):
        office.hold(office.crawler, "3", budget="research", ttl_seconds=1)
    office.advance(2)
    asked = office.ask("8")
    answers = [office.decide(asked)[0].status for _ in range(3)]
    assert answers == [Status.EXPIRY_BACKLOG, Status.EXPIRY_BACKLOG, Status.APPROVED]


def test_partly_approved_only_without_a_line_before() -> None:
    """What there is goes to who stands first."""
    office = Office()
    assert office.say(office.ask("20", line("research"), partial_ok=True)) == ["waiting"]
    assert office.say(office.ask("20", partial_ok=True)) == ["approved"]


def test_waitable_denials_do_not_bind_the_key() -> None:
    """Else who waited and was denied could not ask again."""
    office = Office()
    for status in WAITABLE:
        assert status.value.endswith("_held")
    asked = office.ask("20", None)
    outcomes: list[Outcome] = office.decide(asked)
    assert outcomes[0].status in WAITABLE
    assert office.decide(office.command(Release, office.writer, authorization=office.held))[0].status is Status.DONE
    assert office.say(office.ask("20", idempotency_key=asked.idempotency_key)) == ["approved"]
    office.prove()


def test_a_request_waits_for_the_room_under_a_cap() -> None:
    """What the run's own open holds reserve comes free too; who asks for less in all waits instead of getting less."""
    office = Office()
    capped = {"name": "run-1", "cap_amount": "8", "cap_currency": "USD"}
    assert office.say(office.command(OpenRun, office.crawler, **capped)) == ["done"]
    held = office.hold(office.crawler, "1", budget="research", run="run-1")
    asked = office.ask("9", run="run-1", afford=True)
    assert office.say(asked) == ["waiting"]
    outcome = office.decide(asked)[0]
    assert outcome.facts["waits_for"] == "run_held"
    assert office.say(office.command(Release, office.crawler, authorization=held)) == ["done"]
    approved = office.decide(asked)[0]
    assert (approved.status, (approved.body or {})["approved"]) == (Status.APPROVED, str(8 * 10**9))
    office.prove()
