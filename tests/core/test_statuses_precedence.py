"""docs/statuses.md, row by row: which status is answered, what it says, what it leaves behind; and who may do what."""

from __future__ import annotations

from functools import reduce
from itertools import pairwise
from operator import or_

import pytest

from api.problems import STATUS_ROWS
from ledger.core import command as commands
from ledger.core import roles
from ledger.core.command import AdjustmentTransfer, Authorize, Command
from ledger.core.command_rates import GivenRate
from ledger.core.decide import DECIDERS
from ledger.core.outcome import DENIALS, UNBOUND_DENIALS, Status
from tests.core import (
    status_cases,
    status_cases_closing,
    status_cases_control,
    status_cases_payables,
    status_cases_runs,
)
from tests.support.documents import table_under
from tests.support.policed import Policed, limit
from tests.support.worlds import World

ORDER = list(Status)
ROWS = table_under("statuses.md", "status")
ROLE_ROWS = table_under("statuses.md", "operation")
MISSING = "auth_00000000000000000000000000"
CASES = (status_cases, status_cases_control, status_cases_runs, status_cases_closing, status_cases_payables)
ALONE = reduce(or_, (module.ALONE for module in CASES))
BOTH = reduce(or_, (module.BOTH for module in CASES))
NEVER_BOTH = reduce(or_, (module.NEVER_BOTH for module in CASES))


def test_the_page_has_every_status_in_the_order_of_precedence() -> None:
    """One row each, and the enum's order is the page's."""
    assert [row["status"] for row in ROWS] == [status.value for status in ORDER]
    assert all(row["meaning"] for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["status"])
def test_row(row: dict[str, str]) -> None:
    """A command that ends in the status: its HTTP status, whether it is on record, whether it binds the key."""
    status = Status(row["status"])
    assert STATUS_ROWS[status].http == int(row["HTTP"])
    world = Policed(strict_names=True)
    outcome = ALONE[status](world)
    assert outcome.status is status
    recorded = world.head.size - 1 == outcome.log_index and not outcome.replayed
    assert recorded == (row["on record"] == "yes")
    bound = [key for key in world.rows("idempotency_keys") if recorded and key.log_index == outcome.log_index]
    assert bool(bound) == (row["binds the key"] == "yes")
    assert outcome.detail or recorded or outcome.replayed, "a refusal says what to change"
    assert (status in DENIALS) == (recorded and STATUS_ROWS[status].http >= 400)
    assert (status in UNBOUND_DENIALS) == (recorded and not bound)


@pytest.mark.parametrize("status", [one for one in ORDER if one not in DENIALS and STATUS_ROWS[one].http >= 400])
def test_a_refusal_leaves_nothing_behind(status: Status) -> None:
    """The same command right after is refused again, in a book that is as it was but for what was due."""
    world = Policed(strict_names=True)
    ALONE[status](world)
    tables = {name: len(rows) for name, rows in world.tables.items()}
    balances = world.balances()
    if status is Status.EXPIRY_BACKLOG:
        assert world.decide(world.last)[0].status is Status.EXPIRY_BACKLOG
        assert world.decide(world.last)[0].status is Status.APPROVED, "decided once all that was due has ended"
        return
    assert world.decide(world.last)[0].status is status
    assert {name: len(rows) for name, rows in world.tables.items()} == tables
    assert world.balances() == balances


@pytest.mark.parametrize(("earlier", "later"), BOTH, ids=lambda status: status.value)
def test_of_two_that_apply_the_earlier_is_answered(earlier: Status, later: Status) -> None:
    """Each scene meets both conditions; ``test_row`` shows either alone."""
    assert ORDER.index(earlier) < ORDER.index(later)
    assert BOTH[earlier, later](Policed(strict_names=True)).status is earlier


def test_every_pair_of_neighbours_is_walked() -> None:
    """Each is tested, or there is a reason why no command can meet both."""
    neighbours = set(pairwise(ORDER))
    assert neighbours - set(BOTH) == set(NEVER_BOTH) & neighbours - set(BOTH)
    assert neighbours <= set(BOTH) | set(NEVER_BOTH)
    assert not set(BOTH) & set(NEVER_BOTH)
    assert set(ALONE) == set(ORDER)


# Who may do what.

KINDS: dict[str, type[Command]] = {kind.operation: kind for kind in DECIDERS if kind.operation != "expire_due"}
FIELDS: dict[str, dict[str, object]] = {
    "authorize": {"amount": "1", "currency": "USD", "category": "inference", "payee": "openai"},
    "settle": {"authorization": "HOLD", "amount": "1", "currency": "USD"},
    "extend": {"authorization": "HOLD", "ttl_seconds": 5},
    "release": {"authorization": "HOLD"},
    "mark_unknown": {"authorization": "KEPT"},
    "open_run": {"name": "run-1", "agent": "crawler"},
    "report_outcome": {"run": "RUN", "success": True},
    "charge": {"budget": "research", "amount": "1", "currency": "USD", "category": "c", "payee": "p"},
    "refund": {"authorization": "SETTLED", "amount": "1", "currency": "USD"},
    "reprice": {
        "authorization": "SETTLED",
        "settled": "1",
        "amount": "2",
        "currency": "USD",
        "old_price": (),
        "new_price": (("output", "2"),),
        "reason": "mistyped",
    },
    "adjust": {"transfers": (AdjustmentTransfer("payables:p", "assets:bank", "1", "USD"),), "reason": "paid"},
    "reverse": {"record": "ADJUSTMENT", "reason": "a mistake"},
    "set_correction_rule": {"currency": "USD", "above": "5"},
    "approve_correction": {"correction": "CORRECTION"},
    "refuse_correction": {"correction": "CORRECTION"},
    "withdraw_correction": {"correction": "OWN CORRECTION"},
    **status_cases_payables.FIELDS,
    "allocate": {"budget": "research", "amount": "1", "currency": "USD"},
    "deallocate": {"budget": "research", "amount": "1", "currency": "USD"},
    "create_agent": {"name": "new", "kind": "agent"},
    "freeze_agent": {"agent": "crawler", "frozen": True},
    "create_key": {"digest": b"\x77" * 32, "role": "agent", "agent": "writer"},
    "rotate_key": {"key": "KEY", "digest": b"\x77" * 32},
    "revoke_key": {"key": "KEY"},
    "create_budget": {"name": "new", "currency": "USD"},
    "assign_budget": {"budget": "research", "agents": ("writer",)},
    "set_renewal": {"budget": "research", "every": "day", "amount": "1", "currency": "USD"},
    "stop_renewal": {"budget": "research"},
    "close_budget": {"budget": "research"},
    "freeze_budget": {"budget": "research", "frozen": True},
    "freeze_book": {"frozen": True},
    "give_rates": {"rates": (GivenRate(base="EUR", quote="USD", rate="1.1", day=20_000),)},
    "define_unit": {"name": "tokens", "digits": 0},
    "add_name": {"kind": "payee", "name": "new"},
    "register_webhook": {"url": "https://a.example/", "events": ("*",), "secret": "whs_1"},
    "rotate_webhook": {"webhook": "WEBHOOK", "secret": "whs_2"},
    "remove_webhook": {"webhook": "WEBHOOK"},
    "redact": {"texts": "INTENT", "before": 2**50, "reason": "its time is over"},
    "reconcile": {
        "payee": "openai",
        "currency": "USD",
        "source": "csv",
        "starts_at": 1,
        "ends_at": 2,
        "at_size": 1,
        "lines": 0,
        "matched": 0,
        "ledger_total": 0,
        "provider_total": "0",
    },
    "close_period": {"period": "2026-10"},
    "request_reopening": {"period": "2026-10", "reason": "an invoice came late"},
    "approve_reopening": {"period": "2026-10"},
    "explain": {"authorization": "CHARGE", "reason": "found on the invoice"},
    "adopt_signing_key": {"public_key": b"\x11" * 32, "name": "bursar/test"},
    "grant_approval": {"approval": "APPROVAL"},
    "refuse_approval": {"approval": "APPROVAL"},
    "force_approval": {"approval": "APPROVAL", "reason": "an emergency"},
    "delegate": {"receiver": "fred", "ttl_seconds": 60},
    "revoke_delegation": {"delegation": "DELEGATION"},
    "apply_policy": {"document": '{"applies_to":{"book":true},"policy":"new"}'},
    "retire_policy": {"policy": "caps"},
}


def prepare(world: Policed, operation: str, person: str) -> dict[str, object]:
    """The fields of a command, with what they refer to made first; ``person`` is whose delegation is revoked."""
    written = dict(FIELDS[operation])
    named = written.get("authorization")
    if named in ("HOLD", "KEPT", "SETTLED"):
        written["authorization"] = world.hold(world.crawler, on_expiry="unknown" if named == "KEPT" else "release")
        if named == "SETTLED":
            world.settle(world.crawler, str(written["authorization"]), "1")
    if "key" in written:
        digest = world.key("agent", "writer").key_digest
        written["key"] = next(row.id for row in world.rows("api_keys") if row.digest == digest)
    if written.get("texts") == "INTENT":
        asked = world.authorize(world.crawler, "1", intent="a ticket")
        written["texts"] = ((asked.log_index, "intent"),)
    for name, making in (("invoice", "record_invoice"), ("payment", "record_payment")):
        if written.get(name) == "MADE":
            made = world.do(KINDS[making], world.finance, **FIELDS[making])
            written[name] = (made.body or {})[name]
    if written.get("webhook") == "WEBHOOK":
        made = world.do(KINDS["register_webhook"], world.admin, **FIELDS["register_webhook"])
        written["webhook"] = (made.body or {})["webhook"]
    if "approval" in written:
        anybody = ["approver", "finance", "admin"]
        rule = {"id": "any", "above": "2", "per": "authorization", "approvers": anybody, "quorum": 1}
        world.policy(approval=[rule | {"expires_after": 60}])
        asked = world.authorize(world.crawler, accept_pending=True)
        written["approval"] = (asked.body or {})["approvals"][0]["id"]
    if "delegation" in written:
        given = world.do(KINDS["delegate"], world.finance, receiver=person, ttl_seconds=60)
        written["delegation"] = (given.body or {})["delegation"]
    if written.get("run") == "RUN":
        assert world.do(commands.OpenRun, world.crawler, name="run-1").status is Status.DONE
        written["run"] = "run-1"
    if operation == "reconcile":
        world.hold(world.crawler)
    if written.get("record") == "ADJUSTMENT":
        written["record"] = world.do(KINDS["adjust"], world.finance, **FIELDS["adjust"]).log_index
    if "correction" in written:
        own = written["correction"] == "OWN CORRECTION"
        assert world.do(KINDS["set_correction_rule"], world.admin, currency="USD", above="0").status is Status.DONE
        caller = world.key("finance", person) if own else world.finance
        asked = world.do(KINDS["adjust"], caller, **FIELDS["adjust"])
        written["correction"] = (asked.body or {})["correction"]
    if "period" in written or named == "CHARGE":
        written |= status_cases_closing.prepared(world, operation)
    if operation == "retire_policy":
        world.policy(limits=[limit(maximum="50")])
    if operation == "stop_renewal":
        assert world.do(KINDS["set_renewal"], world.admin, **FIELDS["set_renewal"]).status is Status.DONE
    return written


def of_its_own(world: Policed, operation: str) -> dict[str, object]:
    """What an agent makes and ends of keys: its own, for one run."""
    assert world.do(commands.OpenRun, world.crawler, name="run-1").status is Status.DONE
    made = {"digest": b"\x78" * 32, "role": "agent", "run": "run-1"}
    if operation == "create_key":
        return dict(made)
    done = world.do(KINDS["create_key"], world.crawler, **made)
    return {"key": (done.body or {})["key"]}


def test_the_role_table_is_the_page() -> None:
    """Operations, roles and cells; what the page calls own is a yes that the core bounds to the agent's own."""
    assert [row["operation"] for row in ROLE_ROWS] == list(roles.PERMISSIONS)
    assert list(ROLE_ROWS[0])[2:] == list(roles.ROLES)
    for row in ROLE_ROWS:
        for role in roles.ROLES:
            assert row[role] in ("yes", "own", "no")
            assert roles.allowed(row["operation"], role) == (row[role] != "no")
    assert not roles.allowed("fly", "admin")
    reads = {"read_own", "read_all", "read_keys", "read_log", "read_approvals", "read_webhooks"}
    reads |= {"read_checkpoints", "make_checkpoint", "cosign_checkpoint", "prove"}
    assert set(KINDS) | {"evaluate"} | reads == set(roles.PERMISSIONS)


@pytest.mark.parametrize("role", roles.ROLES)
@pytest.mark.parametrize("operation", KINDS)
def test_cell_of_the_role_table(operation: str, role: str) -> None:
    """A key of each role gives each command: it is done, or refused for the role and nothing else."""
    world = Policed()
    caller = world.crawler if role == "agent" else world.key(role, "pat")
    written = prepare(world, operation, "ada" if role == "agent" else "pat")
    if role == "agent" and operation in ("create_key", "revoke_key"):
        written = of_its_own(world, operation)
    size = world.head.size
    outcome = world.do(KINDS[operation], caller, **written)
    cell = next(row[role] for row in ROLE_ROWS if row["operation"] == operation)
    if cell == "no":
        assert outcome.status is Status.ROLE_NOT_ALLOWED
        assert world.head.size == size
    else:
        assert outcome.status in (Status.DONE, Status.APPROVED)
        assert world.head.size == size + 1


@pytest.mark.parametrize("operation", ["settle", "extend", "release", "mark_unknown", "open_run"])
def test_own_is_the_agents_own(operation: str) -> None:
    """Another agent's hold is not there for it, nor may it open runs in another's name."""
    world = World()
    written = dict(FIELDS[operation])
    if "authorization" in written:
        written["authorization"] = world.hold(world.crawler)
    outcome = world.do(KINDS[operation], world.writer, **written)
    assert outcome.status is Status.NOT_YOURS
    if "authorization" in written:
        unknown = world.do(KINDS[operation], world.writer, **(written | {"authorization": MISSING}))
        assert outcome.detail.replace(str(written["authorization"]), MISSING) == unknown.detail, "no trace of it"


def test_an_agent_opens_runs_for_agents_below_it() -> None:
    """The page says so."""
    world = World()
    world.agent("spawned", "crawler")
    assert world.do(commands.OpenRun, world.crawler, name="r", agent="spawned").status is Status.DONE
    assert world.do(commands.OpenRun, world.writer, name="s", agent="spawned").status is Status.NOT_YOURS


def test_the_owner_of_the_database_is_nobody_who_spends() -> None:
    """The owner may do what an admin may; an authorization needs an agent."""
    world = World()
    owner = commands.Caller(None, as_owner=True)
    made = world.do(commands.CreateKey, owner, idempotency_key="", digest=b"\x77" * 32, role="admin", person="owner")
    assert made.status is Status.DONE
    assert (made.body or {})["by"] == {"principal": "system:database-owner"}
    spend = world.do(Authorize, owner, idempotency_key="", **FIELDS["authorize"])
    assert spend.status is Status.ROLE_NOT_ALLOWED
    assert world.do(Authorize, commands.Caller(None), **FIELDS["authorize"]).status is Status.KEY_UNKNOWN
