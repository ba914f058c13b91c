"""For each status a command that ends in it, and for two statuses a command to which both apply.

``ALONE`` maps a status to a function from a world to the outcome; ``BOTH`` maps (earlier, later) to one. A world has
strict names; its clock stands at the opening. ``NEVER_BOTH`` says why no command can meet two neighbours at once. The
statuses of policies, of approvals and of a budget's life are in ``status_cases_control``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ledger.core.canonical import idempotency_digest
from ledger.core.command import (
    AddName,
    Adjust,
    AdjustmentTransfer,
    Allocate,
    Authorize,
    Caller,
    Charge,
    Command,
    CreateAgent,
    CreateBudget,
    CreateKey,
    Deallocate,
    DefineUnit,
    Extend,
    FreezeAgent,
    OpenRun,
    Refund,
    Release,
    Reprice,
    RevokeKey,
    Settle,
)
from ledger.core.command_rates import GivenRate, GiveRates
from ledger.core.outcome import Outcome, Status
from tests.support.worlds import World

Scene = Callable[[World], Outcome]
MISSING = "auth_00000000000000000000000000"
LARGEST = "9223372036.854775807"
DAY = 24 * 3600
TRANSFER = AdjustmentTransfer


def command(world: World, kind: type[Command], caller: Caller, /, **fields: object) -> Outcome:
    """Give a command; the last outcome is what a test looks at."""
    world.last = world.command(kind, caller, **fields)
    return world.decide(world.last)[0]


def authorize(world: World, caller: Caller | None = None, **fields: object) -> Outcome:
    """Ask for five dollars, but for what is given."""
    usual = {"amount": "5", "currency": "USD", "category": "inference", "payee": "openai"}
    return command(world, Authorize, caller or world.crawler, **(usual | fields))


def settle(world: World, reference: str, amount: str = "1", **fields: object) -> Outcome:
    """Settle as the crawler."""
    usual = {"authorization": reference, "amount": amount, "currency": "USD"}
    return command(world, Settle, world.crawler, **(usual | fields))


def adjust(world: World, *transfers: tuple[str, str, str, str], **fields: object) -> Outcome:
    """Adjust as finance."""
    moved = tuple(TRANSFER(*one) for one in transfers)
    return command(world, Adjust, world.finance, transfers=moved, reason="because", **fields)


def charge(world: World, **fields: object) -> Outcome:
    """Charge as finance."""
    usual = {"budget": "research", "amount": "1", "currency": "USD", "category": "inference", "payee": "openai"}
    return command(world, Charge, world.finance, **(usual | fields))


def refund(world: World, reference: str, amount: str = "1", **fields: object) -> Outcome:
    """Refund as finance."""
    usual = {"authorization": reference, "amount": amount, "currency": "USD"}
    return command(world, Refund, world.finance, **(usual | fields))


def reprice(world: World, reference: str, settled: str = "5", amount: str = "6", **fields: object) -> Outcome:
    """Reprice as finance."""
    prices = {"old_price": (("output", "5"),), "new_price": (("output", "6"),), "reason": "a mistyped price"}
    said = {"authorization": reference, "settled": settled, "amount": amount, "currency": "USD"}
    return command(world, Reprice, world.finance, **(said | prices | fields))


def give_rate(world: World, **fields: object) -> Outcome:
    """Give a rate as finance."""
    usual = {"base": "EUR", "quote": "USD", "rate": "1.0842", "day": 20_000}
    return command(world, GiveRates, world.finance, rates=(GivenRate(**(usual | fields)),))


def counting(world: World) -> World:
    """The same world with a unit that is not money."""
    world.do(DefineUnit, world.admin, name="tokens", digits=0)
    return world


def refunded(world: World) -> str:
    """An authorization settled for 5 of which 2 were refunded."""
    reference = settled(world)
    world.do(Refund, world.finance, authorization=reference, amount="2", currency="USD")
    return reference


def deep_agents(world: World) -> str:
    """A chain of agents as deep as is allowed; returns the lowest."""
    above = None
    for level in range(17):
        assert world.do(CreateAgent, world.admin, name=f"deep-{level}", kind="agent", parent=above).body
        above = f"deep-{level}"
    return above or ""


def settled(world: World, amount: str = "5") -> str:
    """An authorization settled for ``amount``."""
    reference = world.hold(world.crawler, amount)
    world.settle(world.crawler, reference, amount)
    return reference


def gateway_hold(world: World, caller: Caller) -> str:
    """A hold of a call that the gateway makes for this caller."""
    return world.hold(replace(caller, as_gateway=True))


def two_pairs(world: World) -> str:
    """An authorization settled for a dollar with each of two payees."""
    world.do(AddName, world.admin, kind="payee", name="anthropic")
    reference = world.hold(world.crawler)
    world.settle(world.crawler, reference, "1", final=False)
    world.settle(world.crawler, reference, "1", payee="anthropic")
    return reference


def many_pairs(world: World) -> str:
    """An authorization settled for as many payees as one may have; ``p-16`` is known and would be one more."""
    reference = world.hold(world.crawler, "20")
    for number in range(17):
        world.do(AddName, world.admin, kind="payee", name=f"p-{number}")
        if number < 16:
            world.settle(world.crawler, reference, "1", final=False, payee=f"p-{number}")
    return reference


def held_key(world: World, **fields: object) -> str:
    """A hold whose request bound the idempotency key ``bound``."""
    return world.hold(world.crawler, idempotency_key="bound", **fields)


def revoked(world: World, role: str = "finance", **fields: object) -> Caller:
    """A key that was revoked."""
    caller = world.key(role, "rita", **fields)
    key = next(row.id for row in world.rows("api_keys") if row.digest == caller.key_digest)
    assert world.do(RevokeKey, world.admin, key=key).status is Status.DONE
    return caller


def expired(world: World, role: str) -> Caller:
    """A key whose time is over."""
    caller = world.key(role, "crawler" if role == "agent" else "eric", ttl_seconds=60)
    world.advance(60)
    return caller


def lapsing(world: World) -> Caller:
    """A key that was revoked and whose time is over too."""
    caller = revoked(world, ttl_seconds=60)
    world.advance(60)
    return caller


def frozen(world: World) -> World:
    """The same world, with the team frozen."""
    assert world.do(FreezeAgent, world.admin, agent="research", frozen=True).status is Status.DONE
    return world


def other_budget(world: World, *agents: str, currency: str = "USD") -> World:
    """The same world with a second budget that has 5."""
    world.budget("other", "5", *agents, currency=currency)
    return world


def foreign_run(world: World) -> World:
    """The same world with a run that belongs to the writer."""
    assert world.do(OpenRun, world.writer, name="run-w").status is Status.DONE
    return world


def backlog(world: World) -> World:
    """The same world with more holds due than one batch expires, and 10 available."""
    for _ in range(6):
        world.hold(world.writer, "15", ttl_seconds=60)
    world.advance(60)
    world.due_max = 2
    return world


def closed(world: World) -> World:
    """The same world, where the request under key ``bound`` was approved and its hold ended."""
    world.do(Release, world.crawler, authorization=held_key(world))
    return world


def archived(world: World) -> World:
    """The same world, where the request under key ``bound`` was answered by a record that is archived."""
    place = (1, idempotency_digest("agent:crawler", "bound"))
    if place not in world.tables["idempotency_keys"]:
        held_key(world)
    del world.tables["log_records"][1, world.tables["idempotency_keys"][place].log_index]
    return world


def full(world: World) -> World:
    """The same world with a parent budget nearly as large as can be, and an empty child ``child``."""
    room = f"{9223372036 - 100}.854775807"
    world.budget("parent", room)
    world.budget("child", None, parent="parent")
    return world


ALONE: dict[Status, Scene] = {
    Status.KEY_UNKNOWN: lambda w: authorize(w, w.nobody),
    Status.KEY_REVOKED: lambda w: charge_by(w, revoked(w)),
    Status.KEY_EXPIRED: lambda w: authorize(w, expired(w, "agent")),
    Status.ROLE_NOT_ALLOWED: lambda w: authorize(w, w.auditor),
    Status.UNKNOWN_CURRENCY: lambda w: authorize(w, currency="XTS"),
    Status.AMOUNT_MALFORMED: lambda w: authorize(w, amount="5,00"),
    Status.AMOUNT_TOO_PRECISE: lambda w: authorize(w, amount="0.0000000001"),
    Status.AMOUNT_TOO_LARGE: lambda w: authorize(w, amount="9223372036.854775808"),
    Status.AMOUNT_NOT_POSITIVE: lambda w: authorize(w, amount="0"),
    Status.IDEMPOTENCY_MISMATCH: lambda w: (held_key(w), authorize(w, amount="6", idempotency_key="bound"))[1],
    Status.RECORD_ARCHIVED: lambda w: authorize(archived(w), idempotency_key="bound"),
    Status.REPLAY_CLOSED: lambda w: authorize(closed(w), idempotency_key="bound"),
    Status.REPLAYED: lambda w: (held_key(w), authorize(w, idempotency_key="bound"))[1],
    Status.ROLE_PRINCIPAL_MISMATCH: lambda w: create_key(w, role="finance", agent="crawler"),
    Status.ACCOUNT_INVALID: lambda w: adjust(w, ("bank", "payables:openai", "1", "USD")),
    Status.HELD_UNTOUCHABLE: lambda w: adjust(w, ("budgets:research:held", "authority", "1", "USD")),
    Status.SORTS_MIXED: lambda w: adjust(w, ("expenses:inference", "authority", "1", "USD")),
    Status.NOT_FOUND: lambda w: settle(w, MISSING),
    Status.NOT_YOURS: lambda w: settle(w, w.hold(w.writer)),
    Status.GATEWAY_ONLY: lambda w: settle(w, gateway_hold(w, w.crawler)),
    Status.UNKNOWN_AGENT: lambda w: charge(w, agent="nobody"),
    Status.UNKNOWN_BUDGET: lambda w: authorize(w, budget="nowhere"),
    Status.NO_BUDGET: lambda w: authorize(w, w.agent("loner")),
    Status.BUDGET_AMBIGUOUS: lambda w: authorize(other_budget(w, "crawler")),
    Status.UNKNOWN_CATEGORY: lambda w: authorize(w, category="yachts"),
    Status.UNKNOWN_PAYEE: lambda w: authorize(w, payee="someone"),
    Status.UNKNOWN_RUN: lambda w: authorize(w, run="run_00000000000000000000000000"),
    Status.CURRENCY_MISMATCH: lambda w: authorize(counting(w), currency="tokens"),
    Status.RATE_INVALID: lambda w: give_rate(w, rate="0.0"),
    Status.EFFECTIVE_AT_INVALID: lambda w: charge(w, effective_at=w.now + 1),
    Status.TREE_TOO_DEEP: lambda w: command(
        w, CreateAgent, w.admin, name="deeper", kind="agent", parent=deep_agents(w)
    ),
    Status.NAME_TAKEN: lambda w: command(w, CreateAgent, w.admin, name="crawler", kind="agent"),
    Status.WRONG_STATE: lambda w: settle(w, settled(w)),
    Status.TTL_TOO_LONG: lambda w: extend(w, w.hold(w.crawler), ttl_seconds=30 * DAY),
    Status.TOO_MANY_SPLITS: lambda w: settle(w, many_pairs(w), payee="p-16"),
    Status.REFUND_AMBIGUOUS: lambda w: refund(w, two_pairs(w)),
    Status.REFUND_TOO_LARGE: lambda w: refund(w, settled(w), "5.01"),
    Status.REPRICE_AMBIGUOUS: lambda w: reprice(w, two_pairs(w), "2", "3"),
    Status.REPRICE_STALE: lambda w: reprice(w, settled(w), "4.99"),
    Status.REPRICE_UNCHANGED: lambda w: reprice(w, settled(w), amount="5.00"),
    Status.REPRICE_TOO_SMALL: lambda w: reprice(w, refunded(w), amount="1.99"),
    Status.RATE_NEEDED: lambda w: charge(w, currency="EUR"),
    Status.NO_RATE: lambda w: authorize(w, currency="EUR"),
    Status.INSUFFICIENT_AVAILABLE: lambda w: command(
        w, Deallocate, w.admin, budget="research", amount="100.01", currency="USD"
    ),
    Status.BALANCE_OVERFLOW: lambda w: command(w, Allocate, w.admin, budget="research", amount=LARGEST, currency="USD"),
    Status.AGENT_FROZEN: lambda w: authorize(frozen(w)),
    Status.BUDGET_NOT_PERMITTED: lambda w: authorize(other_budget(w), budget="other"),
    Status.RUN_NOT_PERMITTED: lambda w: authorize(foreign_run(w), run="run-w"),
    Status.EXPIRY_BACKLOG: lambda w: authorize(backlog(w), amount="90"),
    Status.INSUFFICIENT_BUDGET: lambda w: authorize(w, amount="100.01"),
    Status.BUDGET_HELD: lambda w: (w.hold(w.writer, "60"), authorize(w, amount="60"))[1],
    Status.APPROVED: authorize,
    Status.DONE: charge,
}


def charge_by(world: World, caller: Caller) -> Outcome:
    """Charge with somebody's key."""
    usual = {"budget": "research", "amount": "1", "currency": "USD", "category": "inference", "payee": "openai"}
    return command(world, Charge, caller, **usual)


def create_key(world: World, **fields: object) -> Outcome:
    """Make a key as admin."""
    return command(world, CreateKey, world.admin, digest=b"\x77" * 32, **fields)


def extend(world: World, reference: str, **fields: object) -> Outcome:
    """Extend as the crawler."""
    return command(world, Extend, world.crawler, authorization=reference, **fields)


def create_budget(world: World, **fields: object) -> Outcome:
    """Make a budget as admin."""
    return command(world, CreateBudget, world.admin, **({"name": "more", "currency": "USD"} | fields))


FUTURE = 4_000_000_000_000_000
BOTH: dict[tuple[Status, Status], Scene] = {
    (Status.KEY_REVOKED, Status.KEY_EXPIRED): lambda w: charge_by(w, lapsing(w)),
    (Status.KEY_EXPIRED, Status.ROLE_NOT_ALLOWED): lambda w: authorize(w, expired(w, "auditor")),
    (Status.KEY_REVOKED, Status.ROLE_NOT_ALLOWED): lambda w: authorize(w, revoked(w, "auditor")),
    (Status.ROLE_NOT_ALLOWED, Status.UNKNOWN_CURRENCY): lambda w: authorize(w, w.auditor, currency="XTS"),
    (Status.UNKNOWN_CURRENCY, Status.AMOUNT_MALFORMED): lambda w: authorize(w, currency="XTS", amount="five"),
    (Status.AMOUNT_TOO_PRECISE, Status.AMOUNT_TOO_LARGE): lambda w: authorize(w, amount="9223372037.0000000001"),
    (Status.AMOUNT_TOO_LARGE, Status.AMOUNT_NOT_POSITIVE): lambda w: authorize(w, amount="-9223372037"),
    (Status.AMOUNT_NOT_POSITIVE, Status.IDEMPOTENCY_MISMATCH): lambda w: (
        held_key(w),
        authorize(w, amount="0", idempotency_key="bound"),
    )[1],
    (Status.IDEMPOTENCY_MISMATCH, Status.RECORD_ARCHIVED): lambda w: authorize(
        archived(w), amount="6", idempotency_key="bound"
    ),
    (Status.RECORD_ARCHIVED, Status.REPLAY_CLOSED): lambda w: authorize(archived(closed(w)), idempotency_key="bound"),
    (Status.IDEMPOTENCY_MISMATCH, Status.ROLE_PRINCIPAL_MISMATCH): lambda w: (
        w.do(AddName, w.admin, kind="payee", name="z", idempotency_key="admin"),
        create_key(w, role="agent", person="paul", idempotency_key="admin"),
    )[1],
    (Status.UNKNOWN_CURRENCY, Status.IDEMPOTENCY_MISMATCH): lambda w: (
        w.do(AddName, w.admin, kind="payee", name="z", idempotency_key="admin"),
        create_budget(w, currency="XTS", idempotency_key="admin"),
    )[1],
    (Status.IDEMPOTENCY_MISMATCH, Status.ACCOUNT_INVALID): lambda w: (
        charge(w, idempotency_key="fin"),
        adjust(w, ("bank", "bank", "1", "USD"), idempotency_key="fin"),
    )[1],
    (Status.ROLE_PRINCIPAL_MISMATCH, Status.UNKNOWN_AGENT): lambda w: create_key(w, role="finance", agent="nobody"),
    (Status.ACCOUNT_INVALID, Status.HELD_UNTOUCHABLE): lambda w: adjust(
        w, ("budgets:research:held", "authority", "1", "USD"), ("bank", "authority", "1", "USD")
    ),
    (Status.HELD_UNTOUCHABLE, Status.SORTS_MIXED): lambda w: adjust(
        w, ("expenses:inference", "authority", "1", "USD"), ("budgets:research:held", "assets:bank", "1", "USD")
    ),
    (Status.SORTS_MIXED, Status.UNKNOWN_BUDGET): lambda w: adjust(
        w, ("budgets:nowhere:spent", "assets:bank", "1", "USD")
    ),
    (Status.UNKNOWN_CURRENCY, Status.AMOUNT_NOT_POSITIVE): lambda w: adjust(
        w, ("authority", "budgets:research:spent", "0", "USD"), ("authority", "budgets:research:spent", "1", "XTS")
    ),
    (Status.NOT_YOURS, Status.GATEWAY_ONLY): lambda w: settle(w, gateway_hold(w, w.writer)),
    (Status.NOT_YOURS, Status.CURRENCY_MISMATCH): lambda w: settle(w, w.hold(w.writer), currency="EUR"),
    (Status.UNKNOWN_AGENT, Status.UNKNOWN_BUDGET): lambda w: charge(w, agent="nobody", budget="nowhere"),
    (Status.UNKNOWN_AGENT, Status.NAME_TAKEN): lambda w: create_budget(w, name="research", agents=("nobody",)),
    (Status.UNKNOWN_BUDGET, Status.UNKNOWN_CATEGORY): lambda w: charge(w, budget="nowhere", category="yachts"),
    (Status.NO_BUDGET, Status.UNKNOWN_CATEGORY): lambda w: authorize(w, w.agent("loner"), category="yachts"),
    (Status.BUDGET_AMBIGUOUS, Status.UNKNOWN_CATEGORY): lambda w: authorize(
        other_budget(w, "crawler"), category="yachts"
    ),
    (Status.UNKNOWN_CATEGORY, Status.UNKNOWN_PAYEE): lambda w: authorize(w, category="yachts", payee="someone"),
    (Status.UNKNOWN_PAYEE, Status.UNKNOWN_RUN): lambda w: authorize(
        w, payee="someone", run="run_00000000000000000000000000"
    ),
    (Status.UNKNOWN_RUN, Status.CURRENCY_MISMATCH): lambda w: authorize(
        counting(w), currency="tokens", run="run_00000000000000000000000000"
    ),
    (Status.UNKNOWN_CATEGORY, Status.CURRENCY_MISMATCH): lambda w: authorize(
        counting(w), category="yachts", currency="tokens"
    ),
    (Status.CURRENCY_MISMATCH, Status.EFFECTIVE_AT_INVALID): lambda w: charge(
        counting(w), currency="tokens", effective_at=FUTURE
    ),
    (Status.EFFECTIVE_AT_INVALID, Status.RATE_NEEDED): lambda w: charge(w, currency="EUR", effective_at=FUTURE),
    (Status.UNKNOWN_CATEGORY, Status.RATE_NEEDED): lambda w: charge(w, currency="EUR", category="yachts"),
    (Status.CURRENCY_MISMATCH, Status.WRONG_STATE): lambda w: settle(w, settled(w), currency="EUR"),
    (Status.CURRENCY_MISMATCH, Status.AGENT_FROZEN): lambda w: authorize(counting(frozen(w)), currency="tokens"),
    (Status.AGENT_FROZEN, Status.NO_RATE): lambda w: authorize(frozen(w), currency="EUR"),
    (Status.EFFECTIVE_AT_INVALID, Status.WRONG_STATE): lambda w: refund(w, w.hold(w.crawler), effective_at=FUTURE),
    (Status.EFFECTIVE_AT_INVALID, Status.INSUFFICIENT_AVAILABLE): lambda w: adjust(
        w, ("authority", "budgets:research:available", "101", "USD"), effective_at=FUTURE
    ),
    (Status.TREE_TOO_DEEP, Status.NAME_TAKEN): lambda w: command(
        w, CreateAgent, w.admin, name="crawler", kind="agent", parent=deep_agents(w)
    ),
    (Status.WRONG_STATE, Status.TTL_TOO_LONG): lambda w: extend(w, settled(w), ttl_seconds=31 * DAY),
    (Status.WRONG_STATE, Status.TOO_MANY_SPLITS): lambda w: (
        reference := many_pairs(w),
        w.settle(w.crawler, reference, "0"),
        settle(w, reference, payee="p-16"),
    )[2],
    (Status.TTL_TOO_LONG, Status.INSUFFICIENT_BUDGET): lambda w: extend(
        w, w.hold(w.crawler), ttl_seconds=31 * DAY, amount="1000", currency="USD"
    ),
    (Status.REFUND_AMBIGUOUS, Status.REFUND_TOO_LARGE): lambda w: refund(w, two_pairs(w), "50"),
    (Status.EFFECTIVE_AT_INVALID, Status.REPRICE_STALE): lambda w: reprice(w, settled(w), "4", effective_at=FUTURE),
    (Status.WRONG_STATE, Status.REPRICE_STALE): lambda w: reprice(w, w.hold(w.crawler), "4"),
    (Status.REPRICE_AMBIGUOUS, Status.REPRICE_STALE): lambda w: reprice(w, two_pairs(w), "3"),
    (Status.REPRICE_STALE, Status.REPRICE_UNCHANGED): lambda w: reprice(w, settled(w), "6", "6"),
    (Status.REPRICE_STALE, Status.REPRICE_TOO_SMALL): lambda w: reprice(w, refunded(w), "4", "1"),
    (Status.REPRICE_STALE, Status.BALANCE_OVERFLOW): lambda w: (
        charge(w),
        reprice(w, settled(w), "4", LARGEST),
    )[1],
    (Status.WRONG_STATE, Status.REPRICE_AMBIGUOUS): lambda w: reprice(w, w.hold(w.crawler), payee="nobody"),
    (Status.INSUFFICIENT_AVAILABLE, Status.BALANCE_OVERFLOW): lambda w: command(
        full(w), Deallocate, w.admin, budget="child", amount="200", currency="USD"
    ),
    (Status.BALANCE_OVERFLOW, Status.AGENT_FROZEN): lambda w: extend(
        frozen_with_hold(w), w.kept, amount=LARGEST, currency="USD"
    ),
    (Status.AGENT_FROZEN, Status.BUDGET_NOT_PERMITTED): lambda w: authorize(other_budget(frozen(w)), budget="other"),
    (Status.BUDGET_NOT_PERMITTED, Status.RUN_NOT_PERMITTED): lambda w: authorize(
        other_budget(foreign_run(w)), budget="other", run="run-w"
    ),
    (Status.RUN_NOT_PERMITTED, Status.EXPIRY_BACKLOG): lambda w: authorize(
        backlog(foreign_run(w)), run="run-w", amount="1000"
    ),
    (Status.RUN_NOT_PERMITTED, Status.INSUFFICIENT_BUDGET): lambda w: authorize(
        foreign_run(w), run="run-w", amount="1000"
    ),
    (Status.EXPIRY_BACKLOG, Status.INSUFFICIENT_BUDGET): lambda w: authorize(backlog(w), amount="1000"),
}


def frozen_with_hold(world: World) -> World:
    """A frozen world whose crawler has a hold, ``world.kept``."""
    world.kept = world.hold(world.crawler)
    return frozen(world)


NEVER_BOTH: dict[tuple[Status, Status], str] = {
    (Status.KEY_UNKNOWN, Status.KEY_REVOKED): "an unknown key was never revoked",
    (Status.AMOUNT_MALFORMED, Status.AMOUNT_TOO_PRECISE): "what is not a number has no digits to count",
    (Status.REPLAY_CLOSED, Status.REPLAYED): "a hold is open or closed",
    (Status.REPLAYED, Status.ROLE_PRINCIPAL_MISMATCH): "what was recorded was well formed",
    (Status.ROLE_PRINCIPAL_MISMATCH, Status.ACCOUNT_INVALID): "keys have no accounts",
    (Status.SORTS_MIXED, Status.NOT_FOUND): "an adjustment refers to accounts and budgets only",
    (Status.NOT_FOUND, Status.NOT_YOURS): "what is not there is nobody's",
    (Status.GATEWAY_ONLY, Status.UNKNOWN_AGENT): "who ends a hold names no agent",
    (Status.UNKNOWN_BUDGET, Status.NO_BUDGET): "a request names a budget or names none",
    (Status.NO_BUDGET, Status.BUDGET_AMBIGUOUS): "an agent has none or several",
    (Status.CURRENCY_MISMATCH, Status.RATE_INVALID): "a rate is of two currencies, and of none that it should be in",
    (Status.RATE_INVALID, Status.EFFECTIVE_AT_INVALID): "a rate says its own day",
    (Status.RATE_NEEDED, Status.INSUFFICIENT_AVAILABLE): "spend that did happen is not refused for lack of money",
    (Status.TTL_TOO_LONG, Status.TOO_MANY_SPLITS): "an extension settles nothing",
    (Status.TOO_MANY_SPLITS, Status.REFUND_AMBIGUOUS): "a settlement or a refund",
    (Status.REFUND_TOO_LARGE, Status.REPRICE_AMBIGUOUS): "a refund or a reprice",
    (Status.REPRICE_UNCHANGED, Status.REPRICE_TOO_SMALL): "what is recorded now is at least what was refunded",
    (Status.INSUFFICIENT_BUDGET, Status.BUDGET_HELD): "open holds make the difference, or they do not",
    (Status.APPROVED, Status.DONE): "an authorization is approved, anything else is done",
}
"""Neighbours that cannot meet."""
