"""Policies as answers show them.

Owns the shapes of ``api.schemas.policies``. Invariant: a document leaves as the log keeps it, canonical, whatever form
it was sent in.
"""

from __future__ import annotations

from typing import Any

from api.amounts import Scale
from ledger.core.canonical import parse
from ledger.core.moment import moment_text
from ledger.core.outcome import Outcome
from ledger.core.policy_row import SCOPE_BOOK, Policy, PolicyVersion
from ledger.services.policies.comparing import Comparison, CountedRule, filled_from_history
from ledger.storage.queries_policies import LivePolicy


def scope_shown(applies_to: dict[str, Any]) -> dict[str, Any]:
    """What a policy applies to: ``kind``, and ``name`` unless it is the book."""
    ((kind, name),) = applies_to.items()
    return {"kind": kind} if kind == SCOPE_BOOK else {"kind": kind, "name": name}


def policy_answer(outcome: Outcome, scale: Scale) -> dict[str, Any]:
    """The answer to a new version, and to the retirement of a policy."""
    body = outcome.body or {}
    shown: dict[str, Any] = {"id": body["id"], "name": body["policy"], "version": body["version"]}
    if body["kind"] == "policy":
        document = body["document"]
        shown |= {"digest": body["digest"], "scope": scope_shown(document["applies_to"])}
        shown |= {"shadow": bool(document.get("shadow", False)), "retired": False, "document": document}
    else:
        shown["retired"] = True
    return {**shown, "log": {"index": outcome.log_index, "leaf_hash": outcome.leaf_hash.hex()}}


def _document(row: Policy | PolicyVersion) -> dict[str, Any]:
    document: dict[str, Any] = parse(row.packed.encode())["document"]
    return document


def policy_view(found: LivePolicy, *, document: bool = False) -> dict[str, Any]:
    """The live version of a policy, or the last one of a retired policy."""
    row, document_said = found.policy, _document(found.policy)
    shown: dict[str, Any] = {
        "id": row.id,
        "name": row.name,
        "version": row.version,
        "digest": row.digest,
        "scope": scope_shown(document_said["applies_to"]),
        "shadow": bool(document_said.get("shadow", False)),
        "retired": row.retired,
        "made_by": found.made_by,
        "recorded_at": moment_text(found.recorded_at),
    }
    if document:
        shown["document"] = document_said
    return {**shown, "log": {"index": row.changed_index}}


def version_view(row: PolicyVersion, *, live: int | None, document: bool = False, reason: str | None = None) -> Any:
    """One version of a policy. ``live`` is the version that decides now, None where the policy is retired."""
    shown: dict[str, Any] = {
        "name": row.policy,
        "version": row.version,
        "digest": row.digest,
        "live": row.version == live,
        "made_by": row.made_by,
        "recorded_at": moment_text(row.recorded_at),
    }
    if reason is not None:
        shown["reason"] = reason
    if document:
        shown["document"] = _document(row)
    return {**shown, "log": {"index": row.created_index}}


def comparison_shown(found: Comparison) -> dict[str, Any]:
    """What applying a document would change."""
    return {
        "name": found.name,
        "digest": found.digest,
        "live_version": found.live_version,
        "next_version": found.next_version,
        "unchanged": found.unchanged,
        "difference": found.difference,
        "limits": [
            {"kind": rule.kind, "id": rule.id, "use": "kept" if rule.kept else _use_of_new(rule)}
            for rule in found.limits
        ],
        "dropped": [{"kind": rule.kind, "id": rule.id} for rule in found.dropped],
    }


def _use_of_new(rule: CountedRule) -> str:
    return "filled" if filled_from_history(rule) else "new"
