"""What the gateway knows of who asks: the key, the budget, what is frozen, what policies say, and how much is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, event

from ledger.core.canonical import canonical_bytes
from ledger.core.command import AssignBudget, Caller, CreateKey, FreezeAgent, RevokeKey
from ledger.core.command_budgets import CloseBudget, FreezeBook, FreezeBudget
from ledger.core.command_policies import ApplyPolicy, RetirePolicy
from ledger.core.inference import NO_RULES, InferenceRules
from ledger.core.outcome import Status
from ledger.services.asker import Asker, read_asker
from ledger.storage.engine import create_engine
from tests.services.live_world import LiveWorld
from tests.support.ledger import SECOND
from tests.support.policed import USD

LOOK_UPS_MAX = 8


@pytest.fixture
def engine(world: LiveWorld) -> Iterator[Engine]:
    """The reading engine of the world's database."""
    made = create_engine(world.url)
    yield made
    made.dispose()


def ask(world: LiveWorld, engine: Engine, caller: Caller, budget: str | None = None) -> Asker:
    """Who asks, which must be there."""
    assert caller.key_digest is not None
    with engine.connect() as connection:
        found = read_asker(connection, world.book_id, caller.key_digest, budget=budget)
    assert found is not None
    return found


def apply(world: LiveWorld, name: str, applies_to: dict[str, Any], section: dict[str, Any], **fields: Any) -> None:
    """Make a version of a policy with this section."""
    document = {"policy": name, "applies_to": applies_to, "currency": "USD", "inference": section} | fields
    done = world.do(ApplyPolicy, world.admin, id=world.new_id("pol"), document=canonical_bytes(document).decode())
    assert done.status is Status.DONE, done


def done(world: LiveWorld, kind: type[Any], **fields: Any) -> None:
    """What an admin does must work."""
    assert world.do(kind, world.admin, **fields).status is Status.DONE


def test_an_agent_with_one_budget(world: LiveWorld, engine: Engine) -> None:
    """Everything that shapes its calls."""
    found = ask(world, engine, world.crawler)
    assert (found.agent, found.role, found.principal) == ("crawler", "agent", "agent:crawler")
    assert (found.budget, found.currency, found.budgets, found.budget_problem) == (
        "research",
        "USD",
        ("research",),
        None,
    )
    assert (found.frozen, found.run, found.rules) == (None, None, NO_RULES)
    assert found.key_problem(world.sources.now) is None
    assert ask(world, engine, world.crawler, "research") == found


def test_a_key_that_is_not_there(world: LiveWorld, engine: Engine) -> None:
    """Neither one that nobody made, nor one of another book."""
    assert world.crawler.key_digest is not None
    with engine.connect() as connection:
        assert read_asker(connection, world.book_id, b"\xff" * 32, budget=None) is None
        assert read_asker(connection, world.book_id + 1, world.crawler.key_digest, budget=None) is None


def test_a_key_that_has_ended(world: LiveWorld, engine: Engine) -> None:
    """Expired at its time, whenever it was read; revoked at once."""
    brief = world.key("agent", "crawler", ttl_seconds=60)
    found = ask(world, engine, brief)
    assert found.expires_at == world.sources.now + 60 * SECOND
    assert found.key_problem(found.expires_at - 1) is None
    assert found.key_problem(found.expires_at) is Status.KEY_EXPIRED
    done(world, RevokeKey, key=found.key_id)
    assert ask(world, engine, brief).key_problem(world.sources.now) is Status.KEY_REVOKED


def test_a_person_spends_nothing(world: LiveWorld, engine: Engine) -> None:
    """No agent, so no budget."""
    found = ask(world, engine, world.admin)
    assert (found.agent, found.role, found.budget, found.budgets) == (None, "admin", None, ())


def test_which_budget_would_be_used(world: LiveWorld, engine: Engine) -> None:
    """As the core chooses: the named one, the only open one, that of a team; and what it would refuse."""
    world.agent("desk", kind="team")
    clerk = world.agent("clerk", "desk")
    none = ask(world, engine, clerk)
    assert (none.budget, none.currency, none.budget_problem, none.budgets) == (None, None, Status.NO_BUDGET, ())
    assert ask(world, engine, clerk, "nowhere").budget_problem is Status.UNKNOWN_BUDGET
    foreign = ask(world, engine, clerk, "research")
    assert (foreign.budget, foreign.budget_problem) == ("research", Status.BUDGET_NOT_PERMITTED)
    world.budget("office", "10", "desk")
    assert ask(world, engine, clerk).budget == "office"
    world.budget("travel", "10", "clerk", currency="EUR")
    several = ask(world, engine, clerk)
    assert (several.budget, several.budget_problem) == (None, Status.BUDGET_AMBIGUOUS)
    assert several.budgets == ("office", "travel")
    travel = ask(world, engine, clerk, "travel")
    assert (travel.budget, travel.currency, travel.budget_problem) == ("travel", "EUR", None)
    done(world, CloseBudget, budget="travel")
    assert ask(world, engine, clerk).budget == "office"
    assert ask(world, engine, clerk, "travel").budget_problem is Status.BUDGET_CLOSED
    done(world, CloseBudget, budget="office")
    assert ask(world, engine, clerk).budget_problem is Status.BUDGET_AMBIGUOUS


def test_the_core_says_the_same_of_budgets(world: LiveWorld, engine: Engine) -> None:
    """The two choose by rules that are written twice; here each answers for every case."""
    clerk = world.agent("clerk")
    world.budget("a", "10", "clerk")
    world.budget("shut", "10", "crawler")
    done(world, CloseBudget, budget="shut")
    world.agent("poor")
    for caller, budget in (
        (clerk, None), (clerk, "a"), (clerk, "research"), (clerk, "nowhere"), (world.crawler, None),
        (world.crawler, "shut"), (world.key("agent", "poor"), None),
    ):  # fmt: skip
        found, decided = ask(world, engine, caller, budget), world.do(type(world.ask()), caller, **_request(budget))
        assert (found.budget_problem or Status.APPROVED) is decided.status
    world.budget("b", "10", "clerk")
    assert ask(world, engine, clerk).budget_problem is world.do(type(world.ask()), clerk, **_request(None)).status


def _request(budget: str | None) -> dict[str, Any]:
    return {"amount": "1", "currency": "USD", "category": "inference", "payee": "openai", "budget": budget}


def test_whatever_is_frozen(world: LiveWorld, engine: Engine) -> None:
    """The agent, one above it, the budget, one above it, the book; and let go again."""
    world.agent("desk", kind="team")
    clerk = world.agent("clerk", "desk")
    world.budget("company", "10")
    world.budget("office", "5", "desk", parent="company")
    for kind, fields, says in (
        (FreezeAgent, {"agent": "clerk"}, Status.AGENT_FROZEN),
        (FreezeAgent, {"agent": "desk"}, Status.AGENT_FROZEN),
        (FreezeBudget, {"budget": "office"}, Status.BUDGET_FROZEN),
        (FreezeBudget, {"budget": "company"}, Status.BUDGET_FROZEN),
        (FreezeBook, {}, Status.BOOK_FROZEN),
    ):
        done(world, kind, frozen=True, reason="test", **fields)
        assert ask(world, engine, clerk).frozen is says, fields
        done(world, kind, frozen=False, reason="test", **fields)
        assert ask(world, engine, clerk).frozen is None


def test_the_rules_of_the_whole_path(world: LiveWorld, engine: Engine) -> None:
    """Of the book, team, agent above, agent, budget above and budget, of nobody else, and of none that is tried."""
    world.agent("desk", kind="team")
    world.agent("chief", "desk")
    clerk = world.agent("clerk", "chief")
    world.budget("company", "10")
    world.budget("office", "5", "desk", parent="company")
    scopes = [
        ("book", {"book": True}), ("desk", {"team": "desk"}), ("chief", {"agent": "chief"}),
        ("clerk", {"agent": "clerk"}), ("company", {"budget": "company"}), ("office", {"budget": "office"}),
    ]  # fmt: skip
    for floor, (name, applies_to) in enumerate(scopes, start=1):
        apply(world, name, applies_to, {"min_output_tokens": floor, "ceilings": {"any": f"{10 - floor}"}})
        expected = InferenceRules(None, floor, (("any", (10 - floor) * USD),))
        assert ask(world, engine, clerk).rules == expected
    apply(world, "other", {"agent": "crawler"}, {"min_output_tokens": 90})
    apply(world, "tried", {"book": True}, {"min_output_tokens": 91}, shadow=True)
    assert ask(world, engine, clerk).rules == expected
    apply(world, "office", {"budget": "office"}, {"min_output_tokens": 2})
    assert ask(world, engine, clerk).rules == InferenceRules(None, 5, (("any", 5 * USD),))
    done(world, RetirePolicy, policy="company")
    assert ask(world, engine, clerk).rules == InferenceRules(None, 4, (("any", 6 * USD),))
    assert ask(world, engine, world.crawler).rules.min_output_tokens == 90


def test_amounts_are_those_of_the_budgets_currency(world: LiveWorld, engine: Engine) -> None:
    """A ceiling in dollars bounds nothing that is spent in euros."""
    clerk = world.agent("clerk")
    world.budget("travel", "10", "clerk", currency="EUR")
    apply(world, "all", {"book": True}, {"min_output_tokens": 8, "ceilings": {"any": "1"}})
    assert ask(world, engine, clerk).rules == InferenceRules(None, 8)


def test_the_number_of_look_ups_does_not_grow(world: LiveWorld, engine: Engine) -> None:
    """However deep the trees, however many policies, budgets and keys."""
    sent: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _k, text, _v, _x, _m: sent.append(text))
    above = None
    for depth in range(6):
        world.agent(f"team-{depth}", above, kind="team")
        above = f"team-{depth}"
    clerk = world.agent("clerk", above)
    parent = None
    for depth in range(6):
        world.budget(f"level-{depth}", "9", parent=parent)
        parent = f"level-{depth}"
    done(world, AssignBudget, budget=parent, agents=("clerk",))
    for number in range(12):
        apply(world, f"p{number}", {"team": f"team-{number % 6}"}, {"min_output_tokens": number + 1})
    for budget in (None, parent):
        sent.clear()
        assert ask(world, engine, clerk, budget).rules.min_output_tokens == 12
        reads = [text for text in sent if text.lstrip().upper().startswith("SELECT")]
        assert 5 < len(reads) <= LOOK_UPS_MAX, reads


def test_every_look_up_goes_by_an_index(world: LiveWorld, engine: Engine) -> None:
    """SQLite says how it would read each of them; PostgreSQL has the same indexes."""
    if engine.dialect.name != "sqlite":
        pytest.skip("a planner of PostgreSQL scans tables as small as these")
    sent: list[tuple[str, Any]] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _k, text, values, _x, _m: sent.append((text, values)))
    world.agent("desk", kind="team")
    clerk = world.agent("clerk", "desk")
    world.budget("company", "9")
    world.budget("office", "5", "clerk", parent="company")
    ask(world, engine, clerk, "office")
    ask(world, engine, clerk)
    reads = [(text, values) for text, values in sent if text.lstrip().upper().startswith("SELECT")]
    assert len(reads) > 10
    with engine.connect() as connection:
        for text, values in reads:
            plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values)]
            steps = [step for step in plan if step.startswith(("SCAN", "SEARCH"))]
            # A search that has nothing but the book to go by reads all of the book's rows.
            assert steps, plan
            assert not any(step.startswith("SCAN") or step.endswith("(book_id=?)") for step in steps) or (
                "FROM book_heads" in text
            ), (text, plan)


def test_a_key_is_bound_to_no_run_unless_it_says_so(world: LiveWorld, engine: Engine) -> None:
    """A further key of the agent is as free as the first."""
    digest = b"\x07" * 32
    done(world, CreateKey, digest=digest, role="agent", agent="crawler")
    assert ask(world, engine, Caller(digest)).run is None
