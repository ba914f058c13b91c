"""What a writer reads before a decision: how each kind of need is looked up, and how rows become facts.

Owns the table of look-ups, so that both databases ask the same questions. Invariants: one statement per kind of need,
whatever the number of keys; every key that was asked for ends up in the snapshot, as ``None`` when nothing is there.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from ledger.core import changeset, ids
from ledger.core.account import Account
from ledger.core.approval import Approval, Delegation, Vote
from ledger.core.authorization import Authorization
from ledger.core.book import Head, Name, Unit
from ledger.core.budget import Budget, Renewal
from ledger.core.canonical import idempotency_digest
from ledger.core.closing import Explanation, Month
from ledger.core.correction import Correction, CorrectionRule, CorrectionSum, Reversal
from ledger.core.counter import Counter
from ledger.core.journal import LogRecord
from ledger.core.needs import Needs
from ledger.core.policy_row import Policy, PolicyVersion
from ledger.core.principal import Agent, AgentCount, Key, Person
from ledger.core.rate import Rate
from ledger.core.redaction import Redaction
from ledger.core.run import Run, RunTotal
from ledger.core.signing_key import SigningKey
from ledger.core.snapshot import Known, PriorAnswer, Snapshot
from ledger.core.webhook import Webhook
from ledger.storage import facts_payables
from ledger.storage.lookup import Lookup as Lookup
from ledger.storage.lookup import Row as Row
from ledger.storage.lookup import put_found as _put

_BY_NAME_OR_ID: Final = (("name",), ("id",))

LOOKUPS: Final = (
    Lookup("keys", changeset.KEYS, (("digest",),)),
    Lookup("key_ids", changeset.KEYS, (("id",),)),
    Lookup("agent_refs", changeset.AGENTS, _BY_NAME_OR_ID),
    Lookup("persons", changeset.PERSONS, (("name",),)),
    Lookup("agent_budgets", changeset.BUDGET_AGENTS, (("agent",),), many=True),
    Lookup("budget_refs", changeset.BUDGETS, _BY_NAME_OR_ID),
    Lookup("accounts", changeset.ACCOUNTS, (("name", "currency"),)),
    Lookup("authorizations", changeset.AUTHORIZATIONS, (("id",),)),
    Lookup("run_refs", changeset.RUNS, _BY_NAME_OR_ID),
    Lookup("run_totals", changeset.RUN_TOTALS, (("run", "currency"),)),
    Lookup("units", changeset.UNITS, (("name",),)),
    Lookup("names", changeset.NAMES, (("kind", "name"),)),
    Lookup("webhooks", changeset.WEBHOOKS, (("id",),)),
    Lookup("signing_keys", changeset.SIGNING_KEYS, (("algorithm",),), many=True),
    Lookup("policies", changeset.POLICIES, (("name",),)),
    Lookup("policy_versions", changeset.POLICY_VERSIONS, (("policy", "version"),)),
    Lookup("bindings", changeset.POLICIES, (("scope_kind", "scope"),), many=True),
    Lookup("counters", changeset.COUNTERS, (("meter", "key"),)),
    Lookup("agent_counts", changeset.AGENT_COUNTS, (("agent",),)),
    Lookup("approvals", changeset.APPROVALS, (("id",),)),
    Lookup("approvals_of", changeset.APPROVALS, (("authorization_id",),), many=True),
    Lookup("votes", changeset.VOTES, (("approval",),), many=True),
    Lookup("delegations", changeset.DELEGATIONS, (("id",),)),
    Lookup("delegations_to", changeset.DELEGATIONS, (("receiver",),), many=True),
    Lookup("renewals", changeset.RENEWALS, (("budget",),)),
    Lookup("open_children", changeset.BUDGETS, (("parent",),), many=True),
    Lookup("bodies", changeset.LOG_RECORDS, (("log_index",),)),
    Lookup("redactions", changeset.REDACTIONS, (("log_index", "field"),)),
    Lookup("rates", changeset.RATES, (("pair", "day"),)),
    Lookup("texts", changeset.TEXTS, (("log_index", "field"),)),
    Lookup("corrections", changeset.CORRECTIONS, (("id",),)),
    Lookup("correction_rules", changeset.CORRECTION_RULES, (("currency",),)),
    Lookup("correction_sums", changeset.CORRECTION_SUMS, (("person", "currency"),)),
    Lookup("reversals", changeset.REVERSALS, (("log_index",),)),
    Lookup("periods_of", changeset.PERIODS, (("unit",),), many=True),
    Lookup("explanations", changeset.EXPLANATIONS, (("authorization_id",),)),
    *facts_payables.LOOKUPS,
)
"""One statement each. ``idempotency`` is apart, because it joins two tables."""

IDEMPOTENCY: Final = "idempotency"
IDEMPOTENCY_COLUMNS: Final = ("i.digest", "i.request_digest", "i.log_index", "l.body", "l.leaf_hash")


def digests_of(pairs: set[tuple[str, str]]) -> dict[bytes, tuple[str, str]]:
    """The stored digest of each (principal, idempotency key)."""
    return {idempotency_digest(*pair): pair for pair in pairs}


@dataclass(slots=True)
class Facts:
    """Rows read for ``needs``, by kind of need. ``digests`` says which pair an idempotency digest stands for."""

    needs: Needs
    rows: dict[str, list[Row]] = field(default_factory=dict)
    digests: dict[bytes, tuple[str, str]] = field(default_factory=dict)

    def put_into(self, snapshot: Snapshot) -> None:
        """Let ``snapshot`` know every fact that was asked for; what is not there becomes ``None``."""
        for need, rows in self.rows.items():
            _PUT[need](self, snapshot, rows)


@dataclass(slots=True)
class Opening:
    """What a transaction begins with. ``head`` is None when the book does not exist (yet); ``clock_us`` is the
    database's clock, read under the head's lock, in microseconds since 1970 UTC."""

    head: Head | None
    clock_us: int
    facts: Facts


def _put_keys(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    found = {row[1]: Key(*row) for row in rows}
    _put(snapshot.keys, facts.needs.keys, found)
    for key in found.values():
        snapshot.keys_by_id.put(key.id, key)


def _put_key_ids(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    found = {row[2]: Key(*row) for row in rows}
    _put(snapshot.keys_by_id, facts.needs.key_ids, found)
    for key in found.values():
        snapshot.keys.put(key.digest, key)


def _put_referred(snapshot: Snapshot, known: Known[str, Any], wanted: set[str], found: list[Any], kind: str) -> None:
    """Entities that are asked for by name or by id. An id that is not there is an alias of nothing; a name that is not
    there is one that nobody bears."""
    for entity in found:
        known.put(entity.name, entity)
        snapshot.aliases.put(entity.id, entity.name)
    there = {reference for entity in found for reference in (entity.name, entity.id)}
    for reference in wanted - there:
        if ids.is_id_of(kind, reference):
            snapshot.aliases.put(reference, None)
        else:
            known.put(reference, None)


def _put_agents(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    # SQLite has no boolean of its own: ``frozen`` arrives as 0 or 1.
    found = [Agent(*row) for row in rows]
    for agent in found:
        agent.frozen = bool(agent.frozen)
    _put_referred(snapshot, snapshot.agents, facts.needs.agent_refs, found, "agents")


def _put_budgets(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    found = [Budget(*row) for row in rows]
    for budget in found:
        budget.frozen = bool(budget.frozen)
    _put_referred(snapshot, snapshot.budgets, facts.needs.budget_refs, found, "budgets")


def _put_runs(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    found = [Run(*row) for row in rows]
    _put_referred(snapshot, snapshot.runs, facts.needs.run_refs, found, "runs")


def _put_agent_budgets(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    budgets: dict[str, list[str]] = {agent: [] for agent in facts.needs.agent_budgets}
    for _book, agent, budget, _created in rows:
        budgets[agent].append(budget)
    for agent, names in budgets.items():
        snapshot.agent_budgets.put(agent, tuple(sorted(names)))


def _put_persons(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    _put(snapshot.persons, facts.needs.persons, {row[1]: Person(*row) for row in rows})


def _put_accounts(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    _put(snapshot.accounts, facts.needs.accounts, {(row[2], row[3]): Account(*row) for row in rows})


def _put_authorizations(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    _put(snapshot.authorizations, facts.needs.authorizations, {row[1]: Authorization(*row) for row in rows})


def _put_run_totals(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    _put(snapshot.run_totals, facts.needs.run_totals, {(row[1], row[2]): RunTotal(*row) for row in rows})


def _put_units(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    _put(snapshot.units, facts.needs.units, {row[1]: Unit(*row) for row in rows})


def _put_names(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    _put(snapshot.names, facts.needs.names, {(row[1], row[2]): Name(*row) for row in rows})


def _policy(row: Row) -> Policy:
    policy = Policy(*row)
    policy.retired = bool(policy.retired)
    return policy


def _put_policies(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    _put(snapshot.policies, facts.needs.policies, {row[1]: _policy(row) for row in rows})


def _put_policy_versions(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    _put(snapshot.policy_versions, facts.needs.policy_versions, {(row[1], row[2]): PolicyVersion(*row) for row in rows})


def _put_bindings(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    bound: dict[tuple[str, str], list[Policy]] = {scope: [] for scope in facts.needs.bindings}
    for policy in map(_policy, rows):
        if not policy.retired:
            bound[policy.scope_kind, policy.scope].append(policy)
    for scope, policies in bound.items():
        snapshot.bindings.put(scope, tuple(sorted(policies, key=lambda policy: policy.name)))


def _put_counters(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    _put(snapshot.counters, facts.needs.counters, {(row[1], row[2]): Counter(*row) for row in rows})


def _put_agent_counts(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    _put(snapshot.agent_counts, facts.needs.agent_counts, {row[1]: AgentCount(*row) for row in rows})


def _put_approvals(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    _put(snapshot.approvals, facts.needs.approvals, {row[1]: Approval(*row) for row in rows})


def _put_approvals_of(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    found = sorted((Approval(*row) for row in rows), key=lambda approval: approval.position)
    for approval in found:
        snapshot.approvals.put(approval.id, approval)
    for reference in facts.needs.approvals_of:
        snapshot.approvals_of.put(
            reference, tuple(approval.id for approval in found if approval.authorization_id == reference)
        )


def _put_votes(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    votes = sorted((Vote(*row) for row in rows), key=lambda vote: vote.created_index)
    for reference in facts.needs.votes:
        snapshot.votes.put(reference, tuple(vote for vote in votes if vote.approval == reference))


def _put_delegations(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    _put(snapshot.delegations, facts.needs.delegations, {row[1]: Delegation(*row) for row in rows})


def _put_delegations_to(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    found = sorted((Delegation(*row) for row in rows), key=lambda delegation: delegation.created_index)
    for delegation in found:
        snapshot.delegations.put(delegation.id, delegation)
    for person in facts.needs.delegations_to:
        snapshot.delegations_to.put(
            person, tuple(delegation.id for delegation in found if delegation.receiver == person)
        )


def _put_renewals(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    _put(snapshot.renewals, facts.needs.renewals, {row[1]: Renewal(*row) for row in rows})


def _put_open_children(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    budgets = [Budget(*row) for row in rows]
    for parent in facts.needs.open_children:
        children = (budget.name for budget in budgets if budget.parent == parent and budget.closed_at is None)
        snapshot.open_children.put(parent, tuple(sorted(children)))


def _put_bodies(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    place = LogRecord._fields.index("body")
    _put(snapshot.bodies, facts.needs.bodies, {row[1]: bytes(row[place]) for row in rows})


def _put_redactions(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    _put(snapshot.redactions, facts.needs.redactions, {(row[1], row[2]): Redaction(*row) for row in rows})


def _put_rates(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    _put(snapshot.rates, facts.needs.rates, {(row[1], row[2]): Rate(*row) for row in rows})


def _put_texts(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    # That it is there, and nothing of what it says.
    _put(snapshot.texts, facts.needs.texts, {(row[1], row[2]): True for row in rows})


def _put_corrections(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    _put(snapshot.corrections, facts.needs.corrections, {row[1]: Correction(*row) for row in rows})


def _put_correction_rules(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    _put(snapshot.correction_rules, facts.needs.correction_rules, {row[1]: CorrectionRule(*row) for row in rows})


def _put_correction_sums(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    _put(snapshot.correction_sums, facts.needs.correction_sums, {(row[1], row[2]): CorrectionSum(*row) for row in rows})


def _put_reversals(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    _put(snapshot.reversals, facts.needs.reversals, {row[1]: Reversal(*row) for row in rows})


def _put_periods_of(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    found = sorted((Month(*row) for row in rows), key=lambda month: month.period)
    for month in found:
        snapshot.periods.put(month.period, month)
    for unit in facts.needs.periods_of:
        snapshot.periods_of.put(unit, tuple(month.period for month in found if month.unit == unit))


def _put_explanations(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    _put(snapshot.explanations, facts.needs.explanations, {row[1]: Explanation(*row) for row in rows})


def _put_webhooks(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    _put(snapshot.webhooks, facts.needs.webhooks, {row[1]: Webhook(*row) for row in rows})


def _put_signing_keys(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    found = sorted((SigningKey(*row) for row in rows), key=lambda key: key.created_index)
    for algorithm in facts.needs.signing_keys:
        snapshot.signing_keys.put(algorithm, tuple(key for key in found if key.algorithm == algorithm))


def _put_idempotency(facts: Facts, snapshot: Snapshot, rows: list[Row]) -> None:
    # A record that is not there has been archived: the key is used all the same.
    found = {facts.digests[row[0]]: PriorAnswer(row[1], row[2], row[3] or b"", row[4] or b"") for row in rows}
    _put(snapshot.idempotency, facts.needs.idempotency, found)


_PUT: Final[dict[str, Callable[[Facts, Snapshot, list[Row]], None]]] = {
    "keys": _put_keys,
    "key_ids": _put_key_ids,
    "agent_refs": _put_agents,
    "persons": _put_persons,
    "agent_budgets": _put_agent_budgets,
    "budget_refs": _put_budgets,
    "accounts": _put_accounts,
    "authorizations": _put_authorizations,
    "run_refs": _put_runs,
    "run_totals": _put_run_totals,
    "units": _put_units,
    "names": _put_names,
    "webhooks": _put_webhooks,
    "signing_keys": _put_signing_keys,
    "policies": _put_policies,
    "policy_versions": _put_policy_versions,
    "bindings": _put_bindings,
    "counters": _put_counters,
    "agent_counts": _put_agent_counts,
    "approvals": _put_approvals,
    "approvals_of": _put_approvals_of,
    "votes": _put_votes,
    "delegations": _put_delegations,
    "delegations_to": _put_delegations_to,
    "renewals": _put_renewals,
    "open_children": _put_open_children,
    "bodies": _put_bodies,
    "redactions": _put_redactions,
    **facts_payables.PUT,
    "rates": _put_rates,
    "texts": _put_texts,
    "corrections": _put_corrections,
    "correction_rules": _put_correction_rules,
    "correction_sums": _put_correction_sums,
    "reversals": _put_reversals,
    "periods_of": _put_periods_of,
    "explanations": _put_explanations,
    IDEMPOTENCY: _put_idempotency,
}
