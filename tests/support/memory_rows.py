"""The fold's rows in plain dicts: ``core.projecting_record.Store`` for tests, with nothing to go wrong in it."""

from __future__ import annotations

from typing import Any

TABLES = (
    "accounts authorizations idempotency_keys runs run_totals agents persons api_keys budgets budget_agents renewals "
    "units names webhook_endpoints policies policy_versions counters agent_counts approvals approval_votes delegations "
    "signing_keys redactions reconciliations run_outcomes corrections correction_rules correction_sums reversals "
    "periods explanations invoices payments invoice_payments payee_terms rates"
).split()
REMEMBERED = ("reversible",)
"""What the fold remembers beside the rows of tables."""


class MemoryRows:
    """The rows of one table."""

    def __init__(self) -> None:
        self.rows: dict[Any, Any] = {}

    def get(self, key: Any) -> Any:
        """The row or None."""
        return self.rows.get(key)

    def change(self, key: Any) -> Any:
        """The row, to be changed."""
        if key not in self.rows:
            raise LookupError(f"there is no {key}")
        return self.rows[key]

    def add(self, key: Any, row: Any) -> None:
        """A new row."""
        if key in self.rows:
            raise ValueError(f"{key} is made twice")
        self.rows[key] = row


class MemoryStore:
    """Every table, as an attribute."""

    accounts: MemoryRows
    authorizations: MemoryRows
    idempotency_keys: MemoryRows
    runs: MemoryRows
    run_totals: MemoryRows
    agents: MemoryRows
    persons: MemoryRows
    api_keys: MemoryRows
    budgets: MemoryRows
    budget_agents: MemoryRows
    renewals: MemoryRows
    units: MemoryRows
    names: MemoryRows
    policies: MemoryRows
    policy_versions: MemoryRows
    counters: MemoryRows
    agent_counts: MemoryRows
    approvals: MemoryRows
    approval_votes: MemoryRows
    delegations: MemoryRows
    webhook_endpoints: MemoryRows
    signing_keys: MemoryRows
    redactions: MemoryRows
    rates: MemoryRows
    corrections: MemoryRows
    correction_rules: MemoryRows
    correction_sums: MemoryRows
    reversals: MemoryRows
    reversible: MemoryRows
    periods: MemoryRows
    explanations: MemoryRows
    reconciliations: MemoryRows
    run_outcomes: MemoryRows
    invoices: MemoryRows
    payments: MemoryRows
    invoice_payments: MemoryRows
    payee_terms: MemoryRows

    def __init__(self) -> None:
        for name in (*TABLES, *REMEMBERED):
            setattr(self, name, MemoryRows())

    def all_authorizations(self) -> Any:
        """Every authorization so far."""
        return iter(list(self.authorizations.rows.values()))

    def all_runs(self) -> Any:
        """Every run so far."""
        return iter(list(self.runs.rows.values()))
