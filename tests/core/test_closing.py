"""Months that close: docs/month-end.md cell by cell, where entries land, who opens one again, and odd days."""

from __future__ import annotations

import copy
from hashlib import sha256
from typing import Any

import pytest

from ledger.core.book import Book
from ledger.core.canonical import canonical_bytes
from ledger.core.closing import CHECKS, CheckResult, accepted_said, first_month, month_at, month_named, next_month
from ledger.core.command import Adjust, AdjustmentTransfer, Caller, Charge, CreateKey, ExpireDue, Refund, Reprice
from ledger.core.command_closing import ApproveReopening, ClosePeriod, Explain, RequestReopening
from ledger.core.deriving import Clock, columns_of
from ledger.core.moment import moment_of, moment_text
from ledger.core.outcome import Outcome, Status
from ledger.core.projecting import Fold
from tests.core.test_projecting import folded
from tests.support import closing_months
from tests.support.closing_months import checks
from tests.support.documents import table_under
from tests.support.ledger import OPENED_AT, SECOND, Ledger
from tests.support.memory_rows import MemoryStore
from tests.support.worlds import World

DAY = 24 * 3600
OCTOBER = moment_of("2026-10-13T12:00:00Z")
SEPTEMBER = moment_of("2026-09-13T12:00:00Z")
ZONE = "Europe/Paris"
NOVEMBER_STARTS = moment_of("2026-10-31T23:00:00Z")


class Months(World):
    """A world with two persons of finance, which the fold follows at the end of a test."""

    def __init__(self) -> None:
        super().__init__()
        self.gus = self.key("finance", "gus")

    def charged(self, effective_at: int | None = OCTOBER, amount: str = "1", **fields: Any) -> Outcome:
        """A charge that is meant for a moment."""
        return self.do(
            Charge, self.finance, budget="research", amount=amount, currency="USD", category="inference",
            payee="openai", effective_at=effective_at, **fields,
        )  # fmt: skip

    def close(self, period: str = "2026-10", **fields: Any) -> Outcome:
        """Close a month as finance."""
        return closing_months.close(self, fields.pop("caller", self.finance), period, **fields)

    def ask(self, period: str = "2026-10", caller: Caller | None = None) -> Outcome:
        """Ask that a month be opened again."""
        return self.do(RequestReopening, caller or self.finance, period=period, reason="an invoice came late")

    def approve(self, period: str = "2026-10", caller: Caller | None = None) -> Outcome:
        """Open a month again."""
        return self.do(ApproveReopening, caller or self.gus, period=period)


@pytest.fixture
def world() -> Any:
    """What a test did is what the fold makes of the log."""
    made = Months()
    yield made
    fold, store, _ = folded(made.bodies())
    assert fold.differences == []
    for name in ("periods", "explanations", "authorizations", "accounts"):
        assert sorted(map(repr, getattr(store, name).rows.values())) == sorted(map(repr, made.rows(name))), name


def done(*outcomes: Outcome) -> None:
    """Each was carried out."""
    assert [outcome.status for outcome in outcomes] == [Status.DONE] * len(outcomes), outcomes


# Which month in which state: the table of docs/month-end.md.


def _going_on(world: Months) -> str:
    return "2026-11"


def _behind_another(world: Months) -> str:
    done(world.charged(), world.charged(SEPTEMBER))
    return "2026-10"


def _next(world: Months) -> str:
    done(world.charged())
    return "2026-10"


def _closed_last(world: Months) -> str:
    done(world.charged(), world.close())
    return "2026-10"


def _asked(world: Months) -> str:
    done(world.charged(), world.close(), world.ask())
    return "2026-10"


def _asked_long_ago(world: Months) -> str:
    done(world.charged(), world.close(), world.ask())
    world.advance(7 * DAY)
    return "2026-10"


def _closed_before(world: Months) -> str:
    done(world.charged(), world.charged(SEPTEMBER), world.close("2026-09"), world.close())
    return "2026-09"


STATES = {
    "going on": _going_on,
    "over, and another comes first": _behind_another,
    "over and next": _next,
    "closed last": _closed_last,
    "closed last, and somebody asked": _asked,
    "closed last, and somebody asked too long ago": _asked_long_ago,
    "closed, and a later one too": _closed_before,
}
WORDS = {
    "not over": Status.PERIOD_NOT_OVER,
    "out of order": Status.PERIOD_OUT_OF_ORDER,
    "wrong state": Status.WRONG_STATE,
    "closed": Status.DONE,
    "asked for": Status.DONE,
    "opened": Status.DONE,
}
ROWS = table_under("month-end.md", "the month is")


def test_the_table_has_every_state() -> None:
    """Each once."""
    assert [row["the month is"] for row in ROWS] == list(STATES)


@pytest.mark.parametrize("command", ["close", "ask to open it again", "open it again"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["the month is"])
def test_every_state_and_command(world: Months, row: dict[str, str], command: str) -> None:
    """What is answered, and the state of the month afterwards."""
    month = STATES[row["the month is"]](world)
    before = {one.period: (one.state, one.reopen_at) for one in world.rows("periods")}
    give = {"close": world.close, "ask to open it again": world.ask, "open it again": world.approve}
    outcome = give[command](month)
    assert outcome.status is WORDS[row[command]], outcome
    after = {one.period: (one.state, one.reopen_at) for one in world.rows("periods")}
    if outcome.status is not Status.DONE:
        assert after == before
        return
    expected = {"closed": ("closed", None), "asked for": ("closed", world.now), "opened": ("open", None)}
    assert after[month] == expected[row[command]]


# Where entries land.


def test_every_backdated_entry_lands_where_the_open_months_begin(world: Months) -> None:
    """Charge, refund, reprice and adjustment: each says what it was meant for; its transfers count where it landed."""
    charged = world.charged()
    reference = str((charged.body or {})["authorization"])
    closing = world.close()
    done(charged, closing)
    moved = (AdjustmentTransfer("expenses:search", "expenses:inference", "0.1", "USD"),)
    prices = {"old_price": (("a", "1"),), "new_price": (("a", "2"),)}
    landed = [
        world.charged(),
        world.do(Refund, world.finance, authorization=reference, amount="0.2", currency="USD", effective_at=OCTOBER),
        world.do(
            Reprice, world.finance, authorization=reference, settled="1", amount="2", currency="USD",
            effective_at=OCTOBER, reason="mistyped", **prices,
        ),
        world.do(Adjust, world.finance, transfers=moved, reason="mistyped", effective_at=OCTOBER),
    ]  # fmt: skip
    done(*landed)
    for outcome in landed:
        body = outcome.body or {}
        said = (body["effective_at"], body["meant_for"], body["closed_by"])
        assert said == (moment_text(NOVEMBER_STARTS), moment_text(OCTOBER), closing.log_index)
        counted = {row.effective_at for row in world.rows("transfers") if row.log_index == outcome.log_index}
        assert counted == {NOVEMBER_STARTS}


def test_a_day_of_an_open_month_is_kept(world: Months) -> None:
    """Also that of a month which is over, and of the first instant behind what is closed."""
    done(world.charged(), world.close())
    world.advance(40 * DAY)
    for moment in (NOVEMBER_STARTS, world.now, world.now - 20 * DAY * SECOND):
        body = world.charged(moment).body or {}
        assert body["effective_at"] == moment_text(moment)
        assert not {"meant_for", "closed_by"} & body.keys()
    before = world.charged(NOVEMBER_STARTS - 1).body or {}
    assert before["meant_for"] == moment_text(NOVEMBER_STARTS - 1)


def test_what_is_meant_for_long_before_names_the_first_closing(world: Months) -> None:
    """Nothing counted for it, so nothing was closed there; the first closing keeps it out."""
    done(world.charged(), world.close())
    world.advance(40 * DAY)
    closed = world.close("2026-11")
    done(closed)
    first = next(body for body in world.bodies() if body["kind"] == "period_close")
    body = world.charged(SEPTEMBER).body or {}
    assert body["closed_by"] == first["index"]
    assert (world.charged(NOVEMBER_STARTS).body or {})["closed_by"] == closed.log_index


def test_what_time_brings_is_never_kept_out(world: Months) -> None:
    """A hold that was made in a closed month is settled and expires as ever, when it is."""
    held, expiring = world.hold(world.crawler, "5"), world.hold(world.crawler, "6", ttl_seconds=60)
    world.advance(40 * DAY)
    world.do(ExpireDue, Caller(None), idempotency_key="")
    done(world.close("2026-11"))
    settled = world.settle(world.crawler, held, "4")
    body = settled.body or {}
    assert (settled.status, "effective_at" in body, "late" in body["flags"]) == (Status.DONE, False, True)
    assert world.authorization(expiring).state == "expired"


def test_a_close_and_a_backdated_entry_of_one_batch_see_each_other(world: Months) -> None:
    """Whichever comes first: the entry lands behind the closing, or the closing finds that the month changed."""
    done(world.charged())
    charge = {
        "budget": "research", "amount": "1", "currency": "USD", "category": "inference", "payee": "openai",
        "effective_at": OCTOBER,
    }  # fmt: skip

    def closing() -> Any:
        head = world.head
        given = {"size": head.size, "root": head.root, "statements": closing_months.STATEMENTS, "checks": checks()}
        return world.command(ClosePeriod, world.finance, period="2026-10", **given)

    entry, close = world.command(Charge, world.finance, **charge), closing()
    outcomes = world.decide(entry, close)
    assert [outcome.status for outcome in outcomes] == [Status.DONE, Status.PERIOD_CHANGED]
    close, entry = closing(), world.command(Charge, world.finance, **charge)
    outcomes = world.decide(close, entry)
    done(*outcomes)
    assert (outcomes[1].body or {})["closed_by"] == outcomes[0].log_index


def test_statements_stand_on_everything_that_was_recorded_while_the_month_was_going_on(world: Months) -> None:
    """A size from before its end may lack a line; what is behind the end never does, however much is spent there."""
    early = world.head
    world.advance(40 * DAY)
    world.hold(world.crawler, "1")
    world.hold(world.crawler, "1")
    late = world.head
    fields = {"root": early.root, "size": early.size - 1}
    assert world.close("2026-11", **fields).status is Status.PERIOD_CHANGED
    assert world.close("2026-11", size=early.size).status is Status.DONE, "the record behind it is of December"
    assert world.close("2026-12", size=late.size).status is Status.PERIOD_NOT_OVER


def test_a_repeat_is_answered_with_the_closing(world: Months) -> None:
    """Although it was found that the log is longer; another month under the same key is another request."""
    done(world.charged())
    first = world.close(idempotency_key="same")
    again = world.close(idempotency_key="same", size=0)
    assert (again.status, again.log_index) == (Status.REPLAYED, first.log_index)
    assert world.close("2026-11", idempotency_key="same").status is Status.IDEMPOTENCY_MISMATCH


def test_what_fails_is_accepted_by_name_and_with_a_reason(world: Months) -> None:
    """All of it; books that do not balance never."""
    done(world.charged())
    found = checks(flags=("chg_1 unauthorized",), reconciliation=("openai USD",))
    accept, evidence = accepted_said({"flags": "seen"})
    refused = world.close(checks=found, accept=accept, evidence=evidence)
    assert (refused.status, [one["name"] for one in refused.facts["checks"]]) == (
        Status.CHECKS_FAILED, ["reconciliation"],
    )  # fmt: skip
    unbalanced = checks(trial_balance=("money in USD",))
    all_named = accepted_said(dict.fromkeys(CHECKS, "seen"))
    assert world.close(checks=unbalanced, accept=all_named[0], evidence=all_named[1]).status is Status.CHECKS_FAILED
    accept, evidence = accepted_said({"reconciliation": "no invoice", "flags": "seen"})
    closed = world.close(checks=found, accept=accept, evidence=evidence)
    done(closed)
    assert (closed.body or {})["accepted"] == ["flags", "reconciliation"]
    texts = [row for row in world.rows("texts") if row.log_index == closed.log_index]
    assert [(row.field, row.content) for row in texts] == [("evidence", evidence)]


def test_many_statements_are_one_digest(world: Months) -> None:
    """So that a record stays small; of fewer, each is there."""
    done(world.charged())
    many = (("book", "0" * 64), *((f"agent:a{at:04d}", "1" * 64) for at in range(300)))
    body = world.close(statements=many).body or {}
    assert (body["count"], "statements" in body) == (301, False)


# Four eyes.


def test_whoever_asks_and_whoever_made_their_key_is_no_second_person(world: Months) -> None:
    """Nor whoever the asker made a key for: two keys of one person's making are one pair of eyes."""
    done(world.charged(), world.close(), world.ask())
    own = world.key("admin", "fred")
    for caller in (world.finance, own, world.admin):
        assert world.approve(caller=caller).status is Status.NOT_AN_APPROVER
    done(world.approve())
    done(world.close())
    second_admin = world.key("admin", "ann")
    made = world.do(CreateKey, second_admin, digest=b"\x61" * 32, role="finance", person="puppet")
    done(made, world.ask(caller=second_admin))
    assert world.approve(caller=Caller(b"\x61" * 32)).status is Status.NOT_AN_APPROVER
    done(world.approve())


def test_a_month_that_was_opened_again_takes_entries_and_closes_anew(world: Months) -> None:
    """Its first closing stays on record."""
    done(world.charged(), world.close(), world.ask(), world.approve())
    body = world.charged().body or {}
    assert body["effective_at"] == moment_text(OCTOBER)
    done(world.close())
    assert [body["kind"] for body in world.bodies() if body["kind"].startswith("period")] == [
        "period_close", "period_reopen_request", "period_reopening", "period_close",
    ]  # fmt: skip


# Explanations.


def test_a_flag_is_explained_until_there_is_another(world: Months) -> None:
    """What nothing is flagged on is not explained, and nothing twice."""
    held = world.hold(world.crawler, "5")
    assert world.do(Explain, world.finance, authorization="auth_none", reason="?").status is Status.NOT_FOUND
    assert world.do(Explain, world.finance, authorization=held, reason="?").status is Status.WRONG_STATE
    world.settle(world.crawler, held, "6", final=False)
    first = world.do(Explain, world.finance, authorization=held, reason="a long answer")
    assert (first.body or {})["flags"] == ["overrun", "mismatch"]
    assert world.do(Explain, world.finance, authorization=held, reason="again").status is Status.WRONG_STATE
    world.settle(world.crawler, held, "0")
    world.do(Refund, world.finance, authorization=held, amount="1", currency="USD")
    assert world.do(Explain, world.finance, authorization=held, reason="again").status is Status.WRONG_STATE
    (row,) = world.rows("explanations")
    assert (row.authorization_id, row.created_index) == (held, first.log_index)


# Zones.


@pytest.mark.parametrize(
    ("zone", "month", "starts_at", "ends_at"),
    [
        ("UTC", "2026-02", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"),
        ("Europe/Paris", "2026-10", "2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z"),
        ("Europe/Paris", "2026-03", "2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z"),
        ("America/New_York", "2026-11", "2026-11-01T04:00:00Z", "2026-12-01T05:00:00Z"),
        ("Pacific/Kiritimati", "2026-12", "2026-11-30T10:00:00Z", "2026-12-31T10:00:00Z"),
        ("Pacific/Apia", "2011-12", "2011-12-01T10:00:00Z", "2011-12-31T10:00:00Z"),
        ("Africa/Cairo", "2026-10", "2026-09-30T21:00:00Z", "2026-10-31T22:00:00Z"),
    ],
)
def test_a_month_is_the_zones_own(zone: str, month: str, starts_at: str, ends_at: str) -> None:
    """From midnight to midnight by the clock on the wall, whatever the clocks did in it, and with no gap between."""
    period = month_named(zone, month)
    assert (period.starts_at, period.ends_at) == (moment_of(starts_at), moment_of(ends_at))
    for moment in (period.starts_at, period.ends_at - 1):
        assert month_at(zone, moment) == period
    following = next_month(zone, period)
    assert (following.starts_at, month_at(zone, period.ends_at)) == (period.ends_at, following)
    assert first_month(zone, period.starts_at, ()) == period


@pytest.mark.parametrize(
    "text", ["", "2026", "2026-1", "2026-13", "2026-00", "1969-12", "9999-01", "٢٠٢٦-11", "2026-11-01"]
)
def test_what_is_no_month_is_refused(text: str) -> None:
    """With a sentence."""
    with pytest.raises(ValueError, match=r"\w"):
        month_named("UTC", text)


@pytest.mark.parametrize("zone", ["Europe/Paris", "America/New_York", "Pacific/Kiritimati", "UTC"])
def test_the_edge_of_a_month_is_that_of_the_books_zone(zone: str) -> None:
    """The last microsecond lands behind the closing, the next one does not; closing a moment earlier is too early."""
    made = Ledger()
    made.book = Book(1, "acme", "USD", zone, False, OPENED_AT)
    made.tables["books"][(1,)] = made.book
    finance = made.key("finance", "fay")
    made.budget("research", "10")
    end = month_named(zone, "2026-11").ends_at
    made.now = end - 1
    assert closing_months.close(made, finance, "2026-11").status is Status.PERIOD_NOT_OVER
    made.now = end
    assert closing_months.close(made, finance, "2026-11").status is Status.DONE
    fields = {"budget": "research", "amount": "1", "currency": "USD", "category": "c", "payee": "p"}
    last = made.do(Charge, finance, effective_at=end - 1, **fields).body or {}
    first = made.do(Charge, finance, effective_at=end, **fields).body or {}
    assert (last["effective_at"], last["meant_for"]) == (moment_text(end), moment_text(end - 1))
    assert "meant_for" not in first


# Forged records.


def refolded(bodies: list[dict[str, Any]], at: int, change: Any) -> list[str]:
    """What the fold notes of a record whose body was changed and whose digest was made right again."""
    fold, clock = Fold(1, MemoryStore()), Clock()
    for body in bodies[:at]:
        fold.apply(body, columns_of(body, clock))
    assert fold.differences == []
    forged = copy.deepcopy(bodies[at])
    change(forged)
    forged["idempotency"][1] = sha256(canonical_bytes(forged["request"])).hexdigest()
    fold.apply(forged, columns_of(forged, Clock()))
    return [difference.what for difference in fold.differences]


def _set(**fields: Any) -> Any:
    return lambda body: body.update(fields)


def _both(period: str) -> Any:
    def change(body: dict[str, Any]) -> None:
        body["period"] = body["request"]["period"] = period

    return change


def _drop(field: str) -> Any:
    return lambda body: body.pop(field)


FORGERIES = {
    "period_close": (
        _set(size=3), _set(size=10_000), _set(size="10"), _set(root="00"), _set(digest="0" * 64), _set(count=2),
        _set(starts_at="2026-10-01T00:00:00.000000Z"), _set(ends_at="2026-10-31T00:00:00.000000Z"),
        _set(accepted=["flags"]), _set(checks=[]), _set(checks=[[name, 1, ["x"]] for name in CHECKS]),
        _set(statements=[["book", "0" * 64], ["book", "1" * 64], ["payee:a", "2" * 64]]), _drop("statements"),
        _both("2026-09"), _both("2026-11"), lambda body: body["request"].update(accept=["flags"]),
    ),
    "period_reopen_request": (_set(closing=3), _both("2026-11"), _both("2026-09")),
    "period_reopening": (
        _set(closing=3), _set(requested_by="person:ann"),
        lambda body: body.update(by={"principal": "person:fred", "key": body["_fred"]}),
    ),
    "charge": (
        _set(effective_at=moment_text(OCTOBER)), _set(meant_for=moment_text(SEPTEMBER)), _set(closed_by=3),
        _drop("meant_for"), _drop("closed_by"),
    ),
    "explanation": (_set(flags=["late"]), _set(flags=[])),
}  # fmt: skip


@pytest.mark.parametrize("kind", FORGERIES)
def test_a_forged_record_is_found(kind: str) -> None:
    """By somebody who makes its request's digest right again, and the hashes too."""
    made = Months()
    charged = made.charged()
    done(
        charged, made.close(), made.ask(), made.approve(), made.close(), made.charged(),
        made.do(Explain, made.finance, authorization=str((charged.body or {})["authorization"]), reason="seen"),
    )  # fmt: skip
    bodies = made.bodies()
    fred = next(body["key"] for body in bodies if body["kind"] == "key" and body["principal"] == "person:fred")
    at = max(place for place, body in enumerate(bodies) if body["kind"] == kind)
    for number, change in enumerate(FORGERIES[kind]):

        def forge(body: dict[str, Any], change: Any = change) -> None:
            body["_fred"] = fred
            change(body)
            del body["_fred"]

        try:
            noted = refolded(bodies, at, forge)
        except (KeyError, TypeError, ValueError, LookupError) as error:
            noted = [f"cannot be followed: {error}"]
        assert noted, f"forgery {number} of {kind} is not found"


def test_a_check_names_at_most_twenty(world: Months) -> None:
    """And counts all; the fold knows both."""
    done(world.charged())
    names = tuple(f"chg_{at} unauthorized" for at in range(20))
    found = tuple(
        CheckResult(one.name, 31, names) if one.name == "flags" else one for one in checks()
    )  # fmt: skip
    accept, evidence = accepted_said({"flags": "seen"})
    done(world.close(checks=found, accept=accept, evidence=evidence))
