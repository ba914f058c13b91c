"""Decisions on policies: a new version takes effect with the record that carries it, or not at all.

Invariants: a version's document, digits and meters are in its record; a rule that counts as it did before keeps its
meter and so its use; a meter that is new starts with what history says, caught up to the very record before it.
"""

from typing import Any, Final

from ledger.core.authorization import Authorization
from ledger.core.beginning import begin
from ledger.core.canonical import canonical_bytes, digest_hex, parse
from ledger.core.changeset import row_of
from ledger.core.command_policies import ApplyPolicy, RetirePolicy
from ledger.core.compiling import bases_of, compile_policy, currencies_of
from ledger.core.filling import (
    COUNTERS_MAX,
    TAIL_MAX,
    Filling,
    Trees,
    changed_since,
    state_before,
)
from ledger.core.finishing import finish
from ledger.core.moment import moment_of
from ledger.core.outcome import Outcome, Status
from ledger.core.policy import LOOPS, METERS_MAX, CompiledPolicy, Meter, scope_of
from ledger.core.policy_row import SCOPE_AGENT, SCOPE_BUDGET, Policy, PolicyVersion
from ledger.core.principal import KIND_AGENT, KIND_TEAM
from ledger.core.refusal import refuse
from ledger.core.working import Batch

_KIND_OF: Final = {"agent": KIND_AGENT, "team": KIND_TEAM}


def apply_policy(batch: Batch, asked: ApplyPolicy) -> Outcome:
    """Make a document the next version of its policy."""
    document = _document(batch, asked)
    digest = digest_hex(document)
    request: dict[str, Any] = {"policy": document["policy"], "digest": digest}
    if asked.after_version is not None:
        request["after_version"] = asked.after_version
    who, packed, replay = begin(batch, asked, request)
    if replay is not None:
        return replay
    name = document["policy"]
    live: Policy | None = batch.fact("policies", name)
    scope = _existing_scope(batch, document["applies_to"])
    digits = {currency: batch.digits(currency) for currency in currencies_of(document)}
    meters, fresh = _meters(batch, document, live)
    version = 1 if live is None else live.version + 1
    compiled = _compiled(batch, document, digits, meters, version=version, digest=digest)
    _check_version(asked, live, digest)
    fill = _fill(batch, asked, compiled, fresh) if fresh else None
    inputs = {"document": document, "digits": digits, "meters": [list(item) for item in meters]}
    row = Policy(
        batch.book_id, name, live.id if live is not None else asked.id, version, *scope, digest,
        canonical_bytes(inputs).decode(), False, live.created_index if live is not None else batch.index, batch.index,
    )  # fmt: skip
    for counter in fill.counters(batch.now, batch.index) if fill is not None else ():
        batch.add("counters", (counter.meter, counter.key), counter)
    _bind(batch, live, row)
    batch.inserts["policy_versions"].append(
        row_of(PolicyVersion(batch.book_id, name, version, digest, row.packed, who[0], batch.now, batch.index))
    )
    body: dict[str, Any] = {"policy": name, "id": row.id, "version": version, "digest": digest, **inputs}
    return finish(batch, asked, who, packed, "policy", name, body, [])


def retire_policy(batch: Batch, asked: RetirePolicy) -> Outcome:
    """Let a policy bind nobody any more."""
    who, packed, replay = begin(batch, asked, {"policy": asked.policy})
    if replay is not None:
        return replay
    live: Policy | None = batch.fact("policies", asked.policy)
    if live is None:
        refuse(Status.NOT_FOUND, f"there is no policy {asked.policy}")
    if live.retired:
        refuse(Status.WRONG_STATE, f"{asked.policy} is retired already", state="retired")
    row = batch.change("policies", asked.policy)
    row.retired = True
    row.changed_index = batch.index
    _unbind(batch, row)
    body = {"policy": row.name, "id": row.id, "version": row.version}
    return finish(batch, asked, who, packed, "policy_retirement", row.name, body, [])


def _document(batch: Batch, asked: ApplyPolicy) -> dict[str, Any]:
    try:
        document: dict[str, Any] = parse(asked.document.encode())
        if not isinstance(document["policy"], str) or not isinstance(document["applies_to"], dict):
            raise TypeError("policy is a name and applies_to an object")
        scope_of(document["applies_to"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        batch.admit(asked)
        refuse(Status.POLICY_INVALID, f"the document is no policy: {error}")
    return document


def _check_version(asked: ApplyPolicy, live: Policy | None, digest: str) -> None:
    version = 0 if live is None or live.retired else live.version
    if asked.after_version is not None and asked.after_version != version:
        refuse(
            Status.POLICY_CHANGED,
            f"the live version is {version or 'none'} and not {asked.after_version or 'none'}",
            version=version,
        )
    if live is not None and not live.retired and live.digest == digest:
        refuse(Status.POLICY_UNCHANGED, f"version {live.version} says the same already", version=live.version)


def _existing_scope(batch: Batch, applies_to: dict[str, Any]) -> tuple[str, str]:
    ((word, name),) = applies_to.items()
    kind, scope = scope_of(applies_to)
    if kind == SCOPE_AGENT:
        found = batch.agents.get(scope) or batch.fact("agents", scope)
        if found is None or found.kind != _KIND_OF[word]:
            refuse(Status.UNKNOWN_AGENT, f"there is no {word} {name} that the policy could apply to")
    elif kind == SCOPE_BUDGET and batch.fact("budgets", scope) is None:
        refuse(Status.UNKNOWN_BUDGET, f"there is no budget {name} that the policy could apply to")
    return kind, scope


def _meters(
    batch: Batch, document: dict[str, Any], live: Policy | None
) -> tuple[list[tuple[str, str, str, int]], dict[tuple[str, str], str]]:
    """((kind, rule, basis, number) of each rule that counts, basis of those whose meter is new)."""
    known: dict[tuple[str, str, str], int] = {}
    if live is not None and not live.retired:
        known = {(item[0], item[1], item[2]): item[3] for item in parse(live.packed.encode())["meters"]}
    meters: list[tuple[str, str, str, int]] = []
    fresh: dict[tuple[str, str], str] = {}
    for position, (kind, rule, basis) in enumerate(bases_of(document, timezone=batch.snapshot.book.timezone)):
        if position >= METERS_MAX:
            refuse(Status.POLICY_INVALID, f"a policy has at most {METERS_MAX} rules that count")
        number = known.get((kind, rule, basis))
        if number is None:
            number = batch.index * METERS_MAX + position
            if kind != LOOPS:
                fresh[kind, rule] = basis
        meters.append((kind, rule, basis, number))
    return meters, fresh


def _compiled(
    batch: Batch,
    document: dict[str, Any],
    digits: dict[str, int],
    meters: list[tuple[str, str, str, int]],
    *,
    version: int,
    digest: str,
) -> CompiledPolicy:
    try:
        return compile_policy(
            document,
            digits=digits,
            meters={(kind, rule): number for kind, rule, _, number in meters},
            version=version,
            digest=digest,
            timezone=batch.snapshot.book.timezone,
        )
    except Exception as error:
        refuse(Status.POLICY_INVALID, f"the policy cannot be compiled: {error}")


class _Paths(dict[str, str]):
    """The ancestors of agents or budgets, looked up in the batch."""

    def __init__(self, batch: Batch, kind: str) -> None:
        super().__init__()
        self._batch = batch
        self._kind = kind

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
        """The path of ``name``."""
        found = self._batch.fact(self._kind, name)
        return default if found is None else str(found.path)


def _fill(batch: Batch, asked: ApplyPolicy, compiled: CompiledPolicy, fresh: dict[tuple[str, str], str]) -> Filling:
    """The counters of new meters, caught up to this very record."""
    filled = asked.filled
    head = batch.snapshot.head.size
    if filled is None or any(filled.bases.get(rule) != basis for rule, basis in fresh.items()):
        refuse(Status.FILL_NEEDED, "the limits that are new must be filled from history first")
    if not 0 <= head - filled.size <= TAIL_MAX:
        refuse(Status.FILL_NEEDED, "the book went on too far while the limits were filled")
    new = [meter for meter in (*compiled.meters, *compiled.run_limits) if (meter.kind, meter.id) in fresh]
    meters: list[Meter] = list({meter.number: meter for meter in new}.values())
    trees = Trees(_Paths(batch, "agents"), _Paths(batch, "budgets"))
    filling = Filling(batch.book_id, (compiled.scope_kind, compiled.scope), meters, trees)
    filling.take(filled, meters)
    written = {record[1]: record[6] for record in batch.inserts["log_records"]}
    bodies = [
        written[index] if index in written else batch.fact("bodies", index) for index in range(filled.size, batch.index)
    ]
    # What the tail of the log changed stood before it as its body says, and what only this batch changes as the
    # snapshot has it.
    previous, _ = changed_since(bodies[: head - filled.size])
    touched, runs = changed_since(bodies)
    for reference, before in touched.items():
        row: Authorization | None = batch.authorization(reference)
        if row is None:
            raise LookupError(f"authorization {reference} vanished from the facts")
        stood: Authorization | None = None
        if before is not None and reference in previous:
            stood = state_before(row, parse(batch.fact("bodies", before)))
        elif before is not None:
            stood = batch.snapshot.authorizations[reference]
        if stood is not None:
            filling.add(stood, sign=-1)
        filling.add(row)
    for agent, index in runs:
        filling.add_run(agent, moment_of(parse(bodies[index - filled.size])["time"]))
    if len(filling.counted) > COUNTERS_MAX:
        refuse(
            Status.POLICY_INVALID,
            f"its limits would count under {len(filling.counted)} keys from the start, more than {COUNTERS_MAX}; "
            "use a by with fewer values",
        )
    return filling


def _bind(batch: Batch, live: Policy | None, row: Policy) -> None:
    if live is not None and not live.retired:
        _unbind(batch, live)
    scope = (row.scope_kind, row.scope)
    bound = [policy for policy in batch.fact("bindings", scope) or () if policy.name != row.name]
    batch.add("policies", row.name, row)
    batch.make("bindings", scope, tuple(sorted((*bound, row), key=lambda policy: policy.name)))


def _unbind(batch: Batch, row: Policy) -> None:
    scope = (row.scope_kind, row.scope)
    rest = tuple(policy for policy in batch.fact("bindings", scope) or () if policy.name != row.name)
    batch.make("bindings", scope, rest)
