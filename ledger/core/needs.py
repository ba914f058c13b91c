"""The facts that a batch still lacks, by kind.

Owns ``Needs``. Invariant: one set per map of facts, of the keys which that map uses.
"""


class Needs:
    """Facts to be read: one set per kind, of the keys that ``Snapshot``'s maps use. ``agent_refs``, ``budget_refs``
    and ``run_refs`` are names or ids."""

    __slots__ = (
        "accounts",
        "agent_budgets",
        "agent_counts",
        "agent_refs",
        "approvals",
        "approvals_of",
        "authorizations",
        "bindings",
        "bodies",
        "budget_refs",
        "correction_rules",
        "correction_sums",
        "corrections",
        "counters",
        "delegations",
        "delegations_to",
        "explanations",
        "idempotency",
        "invoice_numbers",
        "invoices",
        "key_ids",
        "keys",
        "names",
        "open_children",
        "open_invoices",
        "paid_invoices",
        "payee_terms",
        "payments",
        "periods_of",
        "persons",
        "policies",
        "policy_versions",
        "rates",
        "redactions",
        "renewals",
        "reversals",
        "run_refs",
        "run_totals",
        "signing_keys",
        "texts",
        "units",
        "votes",
        "webhooks",
    )  # fmt: skip

    def __init__(self) -> None:
        self.keys: set[bytes] = set()
        self.key_ids: set[str] = set()
        self.agent_refs: set[str] = set()
        self.persons: set[str] = set()
        self.agent_budgets: set[str] = set()
        self.budget_refs: set[str] = set()
        self.accounts: set[tuple[str, str]] = set()
        self.authorizations: set[str] = set()
        self.run_refs: set[str] = set()
        self.run_totals: set[tuple[str, str]] = set()
        self.signing_keys: set[str] = set()
        self.units: set[str] = set()
        self.webhooks: set[str] = set()
        self.names: set[tuple[str, str]] = set()
        self.policies: set[str] = set()
        self.policy_versions: set[tuple[str, int]] = set()
        self.bindings: set[tuple[str, str]] = set()
        self.counters: set[tuple[int, str]] = set()
        self.agent_counts: set[str] = set()
        self.approvals: set[str] = set()
        self.approvals_of: set[str] = set()
        self.votes: set[str] = set()
        self.delegations: set[str] = set()
        self.delegations_to: set[str] = set()
        self.renewals: set[str] = set()
        self.open_children: set[str] = set()
        self.bodies: set[int] = set()
        self.rates: set[tuple[str, int]] = set()
        self.redactions: set[tuple[int, str]] = set()
        self.texts: set[tuple[int, str]] = set()
        self.corrections: set[str] = set()
        self.correction_rules: set[str] = set()
        self.correction_sums: set[tuple[str, str]] = set()
        self.reversals: set[int] = set()
        self.periods_of: set[str] = set()
        self.explanations: set[str] = set()
        self.invoices: set[str] = set()
        self.invoice_numbers: set[tuple[str, str]] = set()
        self.open_invoices: set[tuple[str, str]] = set()
        self.payments: set[str] = set()
        self.paid_invoices: set[str] = set()
        self.payee_terms: set[str] = set()
        self.idempotency: set[tuple[str, str]] = set()

    def __bool__(self) -> bool:
        return any(getattr(self, kind) for kind in Needs.__slots__)

    def only_idempotency(self) -> bool:
        """Whether nothing but idempotency keys is to be read."""
        return not any(getattr(self, kind) for kind in Needs.__slots__ if kind != "idempotency")

    def count(self) -> int:
        """How many facts are to be read."""
        return sum(len(getattr(self, kind)) for kind in Needs.__slots__)
