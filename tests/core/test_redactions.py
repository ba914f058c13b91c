"""Redactions as the core decides them: what is removed, what is refused, and what stays good after."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ledger.core.command import Charge, FreezeAgent, Release
from ledger.core.command_redactions import Redact
from ledger.core.deriving import text_digests
from ledger.core.outcome import Outcome, Status
from ledger.core.redaction import GROUNDS, REDACTION_TEXTS_MAX
from tests.core.test_projecting import folded
from tests.support.documents import table_under
from tests.support.worlds import World

GRID = table_under("statuses.md", "what is redacted")
STATES = [name for name in GRID[0] if name != "what is redacted"]
CELLS = [(row["what is redacted"], state, row[state]) for row in GRID for state in STATES]
MISSING = "auth_00000000000000000000000000"
Text = tuple[int, str]


def there(world: World) -> set[Text]:
    """The texts that are there."""
    return {(row.log_index, row.field) for row in world.rows("texts")}


def recorded(world: World, **meant: Any) -> tuple[Text, ...]:
    """What whoever asks finds: texts that records have digests of, those that were redacted only if there are no
    others."""
    found: list[Text] = []
    for body in world.bodies():
        about = meant.get("authorization") in (None, body.get("authorization"))
        about = about and meant.get("record") in (None, body["index"])
        about = about and meant.get("agent") in (None, body.get("agent"))
        if about and body["kind"] != "redaction":
            fields = meant.get("fields") or ("evidence", "intent", "reason")
            found += [(body["index"], field) for field in text_digests(body) if field in fields]
    gone = {(row.log_index, row.field) for row in world.rows("redactions")}
    if "before" in meant:
        return tuple(text for text in found if text not in gone)
    return tuple(text for text in found if text not in gone) or tuple(found)


def redact(world: World, *, caller: Any = None, **meant: Any) -> Outcome:
    """Redact as an admin."""
    more = {name: meant.pop(name) for name in ("idempotency_key", "ground", "texts") if name in meant}
    more.setdefault("texts", recorded(world, **meant))
    return world.do(Redact, caller or world.admin, reason="because", **meant, **more)


def arrange(world: World, what: str, state: str) -> dict[str, Any]:
    """Bring about a state; returns what names the thing."""
    finance = {"budget": "research", "amount": "1", "currency": "USD", "category": "inference", "payee": "openai"}
    said = {"reason": "for Jane", "evidence": "{}"} if state != "never had any" else {}
    if state == "no such thing":
        meant: dict[str, Any] = {
            "an authorization": {"authorization": MISSING},
            "a charge": {"authorization": MISSING.replace("auth", "chg")},
            "one record": {"record": 999},
            "one field of a record": {"record": 999, "fields": ("reason",)},
            "by age": {"before": 2**50},
            "by age, of an agent": {"before": 2**50, "agent": "nobody"},
        }[what]
        return meant
    if what in ("an authorization", "by age", "by age, of an agent"):
        intent = {"intent": "for Jane"} if said else {}
        reference = world.hold(world.crawler, "1", **intent)
        why = {"reason": "done"} if said else {}
        world.do(Release, world.crawler, authorization=reference, **why)
        named: dict[str, Any] = {"authorization": reference}
    else:
        charged = world.do(Charge, world.finance, agent="crawler", **finance, **said)
        named = {"authorization": (charged.body or {})["authorization"]}
        if what == "one record":
            named = {"record": charged.log_index}
        elif what == "one field of a record":
            named = {"record": charged.log_index, "fields": ("reason",)}
    if what.startswith("by age"):
        named = {"before": 2**50} | ({"agent": "crawler"} if "agent" in what else {})
    return named


@pytest.mark.parametrize(("what", "state", "words"), CELLS, ids=[f"{one[0]} | {one[1]}" for one in CELLS])
def test_cell(what: str, state: str, words: str) -> None:
    """The table says in words what is answered; the core does that."""
    world = World()
    named = arrange(world, what, state)
    meant = recorded(world, **named)
    if state == "some redacted before":
        assert redact(world, record=meant[0][0], texts=meant[:1]).status is Status.DONE
        if what == "one field of a record":
            # There is one text; the other field of the record is the rest.
            named = {"record": meant[0][0]}
    if state == "all redacted before":
        assert redact(world, **named).status is Status.DONE
    size, before = world.head.size, there(world)
    outcome = redact(world, **named)
    status = {
        "not found": Status.NOT_FOUND, "nothing left": Status.WRONG_STATE, "unknown agent": Status.UNKNOWN_AGENT,
        "redacted": Status.DONE, "the rest redacted": Status.DONE,
    }[words]  # fmt: skip
    assert outcome.status is status, outcome
    if status is not Status.DONE:
        assert (world.head.size, there(world)) == (size, before)
        if status is Status.WRONG_STATE:
            assert outcome.facts["state"] == "redacted"
        return
    body = world.bodies()[-1]
    removed = {(index, field) for index, field in body["texts"]}
    assert before - there(world) == removed
    assert len(removed) == len(body["texts"])
    assert {(row.log_index, row.field) for row in world.rows("redactions") if row.created_index == size} == removed
    if words == "the rest redacted":
        assert tuple(meant[0]) not in removed


def test_the_table_is_whole() -> None:
    """Every state of the page."""
    assert len(CELLS) == 30


def test_a_redaction_says_who_why_and_what() -> None:
    """In the clear but for the reason, which is a text like others and has a ground beside it."""
    world = World()
    asked = world.authorize(world.crawler, "1", intent="mail jane@example.com")
    done = redact(world, record=asked.log_index, ground="erasure", fields=("intent",))
    body = world.bodies()[-1]
    assert (body["kind"], body["ground"], body["texts"]) == ("redaction", "erasure", [[asked.log_index, "intent"]])
    assert body["by"]["principal"].startswith("person:")
    assert body["request"]["record"] == asked.log_index
    assert body["request"]["fields"] == ["intent"]
    assert b"because" not in world.rows("log_records")[-1].body
    assert (done.log_index, "reason") in there(world)


def test_every_leaf_stays_and_the_fold_follows() -> None:
    """The log before a redaction is what it was, byte for byte, and what follows from it is the same."""
    world = World()
    world.hold(world.crawler, "1", intent="mail jane@example.com")
    before = [row.body for row in world.rows("log_records")]
    redact(world, before=2**50)
    assert [row.body for row in world.rows("log_records")][: len(before)] == before
    fold, store, _ = folded(world.bodies())
    assert fold.differences == []
    assert sorted(store.redactions.rows) == sorted((row.log_index, row.field) for row in world.rows("redactions"))


def test_a_repeat_of_a_redaction_is_answered_with_it() -> None:
    """Although nothing that it means is left."""
    world = World()
    world.hold(world.crawler, "1", intent="x")
    first = redact(world, before=2**50, idempotency_key="again")
    again = redact(world, before=2**50, idempotency_key="again")
    assert (again.status, again.replayed, again.log_index) == (Status.REPLAYED, True, first.log_index)
    other = redact(world, before=2**49, idempotency_key="again")
    assert other.status is Status.IDEMPOTENCY_MISMATCH


def test_a_repeat_of_a_request_whose_intent_is_gone_is_known() -> None:
    """By its digest: the same intent is the same request, another one is not; and the text does not come back."""
    world = World()
    asked = {"intent": "mail jane@example.com", "idempotency_key": "first"}
    hold = world.authorize(world.crawler, "1", **asked)
    redact(world, record=hold.log_index)
    left = there(world)
    again = world.authorize(world.crawler, "1", **asked)
    assert (again.status, again.log_index) == (Status.REPLAYED, hold.log_index)
    other = world.authorize(world.crawler, "1", **(asked | {"intent": "another"}))
    assert other.status is Status.IDEMPOTENCY_MISMATCH
    assert there(world) == left


def test_two_redactions_of_one_text_in_one_batch() -> None:
    """The first removes it, the second is told by which record."""
    world = World()
    hold = world.authorize(world.crawler, "1", intent="x")
    texts = ((hold.log_index, "intent"),)
    one, other = (
        world.command(Redact, world.admin, texts=texts, record=hold.log_index, reason="because") for _ in range(2)
    )
    first, second = world.decide(one, other)
    assert (first.status, second.status) == (Status.DONE, Status.WRONG_STATE)
    assert second.facts == {"state": "redacted", "redacted_by": first.log_index}


def test_who_may() -> None:
    """An admin, and the owner of the database; nobody else."""
    world = World()
    hold = world.authorize(world.crawler, "1", intent="x")
    for caller in (world.crawler, world.finance, world.key("auditor", "ada"), world.key("approver", "pat")):
        assert redact(world, caller=caller, record=hold.log_index).status is Status.ROLE_NOT_ALLOWED
    assert there(world) == {(hold.log_index, "intent")}


def test_the_whole_of_a_frozen_book_can_be_redacted() -> None:
    """Retention does not wait for an incident to end."""
    world = World()
    world.hold(world.crawler, "1", intent="x")
    world.do(FreezeAgent, world.admin, agent="crawler", frozen=True, reason="looping")
    assert redact(world, before=2**50).status is Status.DONE


def test_a_field_that_a_record_never_had_is_refused_whatever_else_is_named() -> None:
    """Whoever asks proposes; the core looks at each record."""
    world = World()
    hold = world.authorize(world.crawler, "1", intent="x")
    for text in ((hold.log_index, "evidence"), (hold.log_index - 1, "intent"), (999, "intent")):
        outcome = redact(world, before=2**50, texts=((hold.log_index, "intent"), text))
        assert outcome.status is Status.NOT_FOUND, text
    too_many = tuple((hold.log_index, f"{at}") for at in range(REDACTION_TEXTS_MAX + 1))
    with pytest.raises(ValueError, match="at most"):
        redact(world, before=2**50, texts=too_many)
    assert there(world) == {(hold.log_index, "intent")}


FORGED = (
    (("ground",), "fun"),
    (("texts",), []),
    (("texts", 0, 0), 0),
    (("texts", 0, 1), "evidence"),
    (("texts", 0, 0), 10**6),
    (("texts", 0, 1), "salt"),
    (("request", "record"), 0),
    (("request", "ground"), "secret"),
)


@pytest.mark.parametrize(("path", "value"), FORGED, ids=str)
def test_a_forged_redaction_is_noted(path: tuple[Any, ...], value: Any) -> None:
    """What the body says must be what its request means, of records before it."""
    world = World()
    hold = world.authorize(world.crawler, "1", intent="x")
    redact(world, record=hold.log_index, fields=("intent",))
    bodies = copy.deepcopy(world.bodies())
    place: Any = bodies[-1]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    try:
        fold, _, _ = folded(bodies)
    except (LookupError, TypeError, ValueError):
        return
    assert fold.differences, "nothing was noted"


def test_grounds_are_documented() -> None:
    """The page names each word."""
    assert {row["ground"].strip("`") for row in table_under("retention.md", "ground")} == set(GROUNDS)
