"""The fold over policies and what they count.

Invariants: the counters are made from the rows that the fold has made, never from what a body says of them; a meter
that is new with a version starts with what every authorization before it used.
"""

from typing import Any, Final

from ledger.core.authorization import Authorization
from ledger.core.canonical import canonical_bytes, digest_hex
from ledger.core.compiling import bases_of, compile_row
from ledger.core.counter import Counter, Sums
from ledger.core.filling import Filling, Trees
from ledger.core.planning import CounterKey, Plan, make_plan, run_meters, scopes_of, subject_of
from ledger.core.policy import LOOPS, METERS_MAX, Meter, scope_of
from ledger.core.policy_row import Policy, PolicyVersion
from ledger.core.principal import AgentCount, lineage
from ledger.core.projecting_record import Progress, Record
from ledger.core.uses import Uses, change_of, counts_as_one, uses_of

PLANS_KEPT: Final = 10_000


def plan_of(fold: Progress, agent: str | None, budget: str | None) -> Plan:
    """The policies that are live on a path where the fold stands."""
    found: Plan | None = fold.plans.get((agent, budget))
    if found is None:
        if fold.book is None:
            raise LookupError("the book's first record is missing")
        if len(fold.plans) >= PLANS_KEPT:
            fold.plans.clear()
        agents = [*_above(fold.store.agents, agent), agent] if agent is not None else []
        budgets = [*_above(fold.store.budgets, budget), budget] if budget is not None else []
        found = fold.plans[agent, budget] = make_plan(
            agent, scopes_of(agents, budgets), fold.bindings.get, fold.compiled, timezone=fold.book.timezone
        )
    return found


def _above(rows: Any, name: str) -> list[str]:
    found = rows.get(name)
    if found is None:
        raise LookupError(f"there is no {name}")
    return lineage(found.path)


def count(record: Record, counted: list[tuple[Meter, CounterKey]], changes: list[tuple[int, Sums]]) -> None:
    """Count changes in every meter whose window has them when the record was written."""
    store, now = record.store.counters, record.time
    for meter, key in counted:
        frame = meter.frame(now)
        inside = [(at, sums if meter.counts_money() else (0, 0, sums[2])) for at, sums in changes if frame.has(at)]
        inside = [(at, sums) for at, sums in inside if any(sums)]
        if not inside:
            continue
        if store.get(key) is None:
            buckets = "[]" if frame.width else None
            store.add(key, Counter(record.fold.book_id, *key, frame.starts_at, 0, 0, 0, buckets, record.index))
        counter = store.change(key)
        counter.roll(frame)
        for at, sums in inside:
            counter.add(frame, at, sums)
        counter.changed_index = record.index


def count_use(record: Record, row: Authorization, before: Uses, *, new: bool = False) -> None:
    """Count what changed of an authorization's use, and the authorization itself when it is new."""
    changes = change_of(before, uses_of(row))
    if new and counts_as_one(row):
        changes = [*changes, (row.created_at, (0, 0, 1))]
    if changes:
        plan = plan_of(record.fold, row.agent, row.budget)
        if plan.policies:
            count(record, list(plan.applied(subject_of(row)).counted), changes)


def count_attempt(record: Record, agent: str, budget: str) -> None:
    """Count an attempt towards loops."""
    plan = plan_of(record.fold, agent, budget)
    if plan.has_loops():
        keys = plan.loop_keys(fingerprints_said(record.body))
        count(record, [(meter, key) for _, _, meter, key in keys], [(record.time, (0, 0, 1))])


def fingerprints_said(body: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """(sort, fingerprint) of a request, as its record has them."""
    derived = ("derived", body["fingerprint"])
    sent = body["request"].get("fingerprint")
    return (derived,) if sent is None else (derived, ("client", sent))


def count_run(record: Record, agent: str) -> None:
    """Count the opening of a run."""
    plan = plan_of(record.fold, agent, None)
    if plan.policies:
        count(record, run_meters(plan, agent), [(record.time, (0, 0, 1))])


def count_mismatch(record: Record, agent: str) -> None:
    """One more settlement of the agent that was not what it had asked for."""
    counts = record.store.agent_counts
    if counts.get(agent) is None:
        counts.add(agent, AgentCount(record.fold.book_id, agent, 0, record.index))
    row = counts.change(agent)
    row.mismatches += 1
    row.changed_index = record.index


def _policy(record: Record) -> None:
    body, fold = record.body, record.fold
    document, name = body["document"], body["policy"]
    scope = scope_of(document["applies_to"])
    packed = canonical_bytes(
        {"document": document, "digits": body["digits"], "meters": body["meters"]}
    ).decode()  # fmt: skip
    record.expect("digest", digest_hex(document))
    if document["policy"] != name:
        record.differ("the document is that of another policy", name, document["policy"])
    live = record.store.policies.get(name)
    record.expect("version", 1 if live is None else live.version + 1)
    _expect_meters(record, live)
    made = Policy(
        fold.book_id, name, body["id"], body["version"], *scope, body["digest"], packed, False, record.index,
        record.index,
    )  # fmt: skip
    if live is None:
        record.store.policies.add(name, made)
    else:
        record.expect("id", live.id)
        _unbind(record, live)
        made.created_index = live.created_index
        row = record.store.policies.change(name)
        for field in ("version", "scope_kind", "scope", "digest", "packed", "retired", "changed_index"):
            setattr(row, field, getattr(made, field))
    bound = [policy for policy in fold.bindings.get(scope, ()) if policy.name != name]
    fold.bindings[scope] = tuple(sorted((*bound, made), key=lambda policy: policy.name))
    record.store.policy_versions.add(
        (name, made.version),
        PolicyVersion(
            fold.book_id, name, made.version, made.digest, packed, body["by"]["principal"], record.time, record.index
        ),
    )
    fold.plans.clear()
    _fill(record, made)


def _expect_meters(record: Record, live: Policy | None) -> None:
    """A rule keeps its meter while it counts the same; else it gets the next number of this record."""
    known: dict[tuple[str, str, str], int] = {}
    if live is not None and not live.retired:
        compiled = record.fold.meters.get(live.name, [])
        known = {(item[0], item[1], item[2]): item[3] for item in compiled}
    if record.fold.book is None:
        raise LookupError("the book's first record is missing")
    expected = [
        [kind, rule, basis, known.get((kind, rule, basis), record.index * METERS_MAX + position)]
        for position, (kind, rule, basis) in enumerate(
            bases_of(record.body["document"], timezone=record.fold.book.timezone)
        )
    ]
    record.expect("meters", expected)
    record.fold.meters[record.body["policy"]] = expected


def _fill(record: Record, row: Policy) -> None:
    """The counters of the meters that are new with this record, from all rows so far."""
    fold = record.fold
    if fold.book is None:
        raise LookupError("the book's first record is missing")
    compiled = compile_row(row, timezone=fold.book.timezone)
    if compiled.error:
        record.differ("the policy cannot be compiled", "", compiled.error)
        return
    meters = [
        meter
        for meter in {meter.number: meter for meter in (*compiled.meters, *compiled.run_limits)}.values()
        if meter.number // METERS_MAX == record.index and meter.kind != LOOPS
    ]
    if not meters:
        return
    trees = Trees(_Paths(fold, "agents"), _Paths(fold, "budgets"))
    filling = Filling(fold.book_id, (row.scope_kind, row.scope), meters, trees)
    for authorization in record.store.all_authorizations():
        filling.add(authorization)
    for run in record.store.all_runs():
        filling.add_run(run.agent, run.opened_at)
    for counter in filling.counters(record.time, record.index):
        record.store.counters.add((counter.meter, counter.key), counter)


class _Paths(dict[str, str]):
    """The ancestors of agents or budgets, looked up in the fold's rows."""

    def __init__(self, fold: Progress, kind: str) -> None:
        super().__init__()
        self._rows = getattr(fold.store, kind)

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
        """The path of ``name``."""
        found = self._rows.get(name)
        return default if found is None else str(found.path)


def _unbind(record: Record, row: Policy) -> None:
    fold, scope = record.fold, (row.scope_kind, row.scope)
    fold.bindings[scope] = tuple(policy for policy in fold.bindings.get(scope, ()) if policy.name != row.name)
    fold.plans.clear()


def _retirement(record: Record) -> None:
    row = record.store.policies.change(record.body["policy"])
    record.expect("id", row.id)
    record.expect("version", row.version)
    _unbind(record, row)
    row.retired = True
    row.changed_index = record.index


HANDLERS: Final = {"policy": _policy, "policy_retirement": _retirement}
"""What each kind of record about policies does."""
