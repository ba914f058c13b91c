"""Who may do what: one table, checked in the core at the commit and shown in ``docs/statuses.md``.

Invariant: what is not in the table is not allowed.
"""

from typing import Final

AGENT: Final = "agent"
FINANCE: Final = "finance"
ADMIN: Final = "admin"
APPROVER: Final = "approver"
AUDITOR: Final = "auditor"
ROLES: Final = (AGENT, FINANCE, ADMIN, APPROVER, AUDITOR)
PERSON_ROLES: Final = (FINANCE, ADMIN, APPROVER, AUDITOR)

_ADMIN_ONLY: Final = frozenset((ADMIN,))
_FINANCE_ONLY: Final = frozenset((FINANCE,))
_CLOSING: Final = frozenset((FINANCE, ADMIN))
_BOOKKEEPERS: Final = frozenset((FINANCE, ADMIN))
APPROVING_ROLES: Final = frozenset((APPROVER, FINANCE, ADMIN))
"""Roles that approvers of a policy may be named by."""
_READERS: Final = frozenset((FINANCE, ADMIN, APPROVER, AUDITOR))

PERMISSIONS: Final[dict[str, frozenset[str]]] = {
    "authorize": frozenset((AGENT,)),
    "evaluate": frozenset((AGENT,)),
    "settle": frozenset((AGENT, FINANCE)),
    "extend": frozenset((AGENT,)),
    "release": frozenset((AGENT, FINANCE)),
    "mark_unknown": frozenset((AGENT, FINANCE, ADMIN)),
    "open_run": frozenset((AGENT, ADMIN)),
    "report_outcome": frozenset((AGENT, FINANCE, ADMIN)),
    "charge": _FINANCE_ONLY,
    "refund": _FINANCE_ONLY,
    "reprice": frozenset((FINANCE, ADMIN)),
    "adjust": _FINANCE_ONLY,
    "give_rates": frozenset((FINANCE, ADMIN)),
    "reverse": _FINANCE_ONLY,
    "set_correction_rule": _ADMIN_ONLY,
    "approve_correction": APPROVING_ROLES,
    "refuse_correction": APPROVING_ROLES,
    "withdraw_correction": frozenset((FINANCE, ADMIN)),
    "record_invoice": _BOOKKEEPERS,
    "void_invoice": _BOOKKEEPERS,
    "record_payment": _BOOKKEEPERS,
    "reverse_payment": _BOOKKEEPERS,
    "set_payee": _BOOKKEEPERS,
    "take_over": _BOOKKEEPERS,
    "allocate": _ADMIN_ONLY,
    "deallocate": _ADMIN_ONLY,
    "create_agent": _ADMIN_ONLY,
    "freeze_agent": _ADMIN_ONLY,
    "create_key": frozenset((AGENT, ADMIN)),
    "rotate_key": _ADMIN_ONLY,
    "revoke_key": frozenset((AGENT, ADMIN)),
    "create_budget": _ADMIN_ONLY,
    "assign_budget": _ADMIN_ONLY,
    "set_renewal": _ADMIN_ONLY,
    "stop_renewal": _ADMIN_ONLY,
    "close_budget": _ADMIN_ONLY,
    "freeze_budget": _ADMIN_ONLY,
    "freeze_book": _ADMIN_ONLY,
    "define_unit": _ADMIN_ONLY,
    "add_name": _ADMIN_ONLY,
    "grant_approval": APPROVING_ROLES,
    "refuse_approval": APPROVING_ROLES,
    "force_approval": _ADMIN_ONLY,
    "delegate": APPROVING_ROLES,
    "revoke_delegation": APPROVING_ROLES,
    "apply_policy": _ADMIN_ONLY,
    "retire_policy": _ADMIN_ONLY,
    "register_webhook": _ADMIN_ONLY,
    "rotate_webhook": _ADMIN_ONLY,
    "remove_webhook": _ADMIN_ONLY,
    "adopt_signing_key": _ADMIN_ONLY,
    "redact": _ADMIN_ONLY,
    "close_period": _CLOSING,
    "request_reopening": _CLOSING,
    "approve_reopening": _CLOSING,
    "explain": _CLOSING,
    "reconcile": frozenset((FINANCE, ADMIN)),
    "read_own": frozenset(ROLES),
    "read_all": _READERS,
    "read_keys": frozenset((ADMIN, AUDITOR)),
    "read_approvals": _READERS,
    "read_log": frozenset((FINANCE, ADMIN, AUDITOR)),
    "read_webhooks": frozenset((ADMIN, AUDITOR)),
    "read_checkpoints": frozenset(ROLES),
    "make_checkpoint": frozenset((FINANCE, ADMIN, AUDITOR)),
    "cosign_checkpoint": frozenset((ADMIN, AUDITOR)),
    "prove": frozenset(ROLES),
}
"""Operation to the roles that may do it. An agent acts on its own authorizations and runs only, and makes and ends keys
of its own that are for one run only."""

GATEWAY_REPORTS: Final = frozenset(("settle", "release", "mark_unknown"))
"""What the gateway says of a call that it made, and is taken although the caller's key has ended meanwhile."""
RUN_SCOPED: Final = frozenset(
    ("authorize", "evaluate", "settle", "extend", "release", "mark_unknown", "report_outcome", "read_own")
)
"""What a key that is for one run may do, and there only for that run. Whatever is added is not for such a key until it
is named here."""


def allowed(operation: str, role: str) -> bool:
    """Whether ``role`` may do ``operation``; False for an operation that the table does not know."""
    return role in PERMISSIONS.get(operation, frozenset())
