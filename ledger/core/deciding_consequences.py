"""What a policy does by itself after a record: freeze the agent that spent otherwise than it was allowed to.

Invariant: each consequence is a record of its own, right behind the one that caused it, and names the policy and the
authorization; it is the policy that froze, and an admin who unfreezes.
"""

from ledger.core.authorization import Authorization
from ledger.core.changeset import copy_of
from ledger.core.planning import subject_of, would_refuse
from ledger.core.policy import THEN_FREEZE
from ledger.core.principal import AgentCount
from ledger.core.working import Batch


def freeze_by_policy(batch: Batch, agent: str, policy: str, authorization: str, cause: str) -> None:
    """Freeze an agent unless it is frozen already; ``cause`` is the status or flag that the policy acts on."""
    current = batch.agent(agent)
    if current.frozen:
        return
    row = batch.agents.get(agent) or copy_of(current)
    row.frozen = True
    row.changed_index = batch.index
    batch.agents[agent] = row
    batch.change_settings()
    body = {
        "agent": agent,
        "id": row.id,
        "frozen": True,
        "by": {"principal": f"policy:{policy}"},
        "cause": {"authorization": authorization, "code": cause},
    }
    batch.record("freeze", agent, body, [])


def is_mismatch(
    batch: Batch, row: Authorization, *, category: str, payee: str, resource: str | None, beyond: bool
) -> bool:
    """Whether what is settled is not what was asked for: another category, payee or resource, more in all
    than was approved (``beyond``), or a resource that the request did not name and the policies refuse."""
    if category != row.category or payee != row.payee or beyond:
        return True
    if resource is None or resource == row.resource:
        return False
    if row.resource is not None:
        return True
    plan = batch.plan(row.agent, row.budget)
    return bool(plan.policies) and would_refuse(plan, subject_of(row)._replace(resource=resource))


def count_mismatch(batch: Batch, row: Authorization) -> None:
    """Count a mismatch against the agent, with the record that is written next."""
    if row.agent is None:
        return
    if batch.fact("agent_counts", row.agent) is None:
        batch.add("agent_counts", row.agent, AgentCount(batch.book_id, row.agent, 0, batch.index))
    counted = batch.change("agent_counts", row.agent)
    counted.mismatches += 1
    counted.changed_index = batch.index


def follow_settlement(batch: Batch, row: Authorization, *, overrun: bool, mismatched: bool) -> None:
    """What policies do after a settlement above its hold by more than they tolerate, or after one mismatch too many."""
    if row.agent is None or not (overrun or mismatched):
        return
    for policy in batch.plan(row.agent, row.budget).policies:
        if policy.shadow or policy.error:
            continue
        percent = policy.overrun_percent
        if (
            overrun
            and percent is not None
            and policy.overrun_then == THEN_FREEZE
            and row.cost * 100 > row.approved * (100 + percent)
        ):
            freeze_by_policy(batch, row.agent, policy.name, row.id, "overrun")
        if (
            mismatched
            and policy.mismatch_above is not None
            and policy.mismatch_then == THEN_FREEZE
            and batch.fact("agent_counts", row.agent).mismatches > policy.mismatch_above
        ):
            freeze_by_policy(batch, row.agent, policy.name, row.id, "mismatch")
