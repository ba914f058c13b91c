"""The tables of corrections: rules, what each person corrected alone, what waits for a second person, and reversals.

Invariant: every primary key and every index is led by ``book_id``.
"""

from typing import Final

from ledger.core import changeset, correction
from ledger.storage.tables import _SMALL_ROWS, _big, _check, _index, _listed, _table, _text

correction_rules: Final = _table(
    changeset.CORRECTION_RULES,
    _text("currency"), _big("above", null=True), _big("created_index"), _big("changed_index"),
    _check("above_not_negative", "above >= 0"),
    **_SMALL_ROWS,
)  # fmt: skip

correction_sums: Final = _table(
    changeset.CORRECTION_SUMS,
    _text("person"), _text("currency"), _big("day"), _big("amount"), _big("changed_index"),
    _check("amount_not_negative", "amount >= 0"),
    **_SMALL_ROWS,
)  # fmt: skip

corrections: Final = _table(
    changeset.CORRECTIONS,
    _text("id"), _text("operation"), _text("state"), _text("request"), _text("amounts"), _text("requested_by"),
    _text("requested_key"), _text("key_made_by"), _big("created_at"), _big("expires_at"),
    _big("decided_at", null=True), _text("decided_by", null=True), _big("created_index"), _big("changed_index"),
    _listed("operation", correction.OPERATIONS),
    _listed("state", correction.STATES),
    # Whoever asked may end a request, and nobody approves their own.
    _check("approved_by_another", "state <> 'approved' OR decided_by <> requested_by"),
    _check("decided_or_pending", "(decided_at IS NULL) = (state = 'pending')"),
    _index("corrections_created", "created_index"),
    _index("corrections_state", "state", "created_index"),
)  # fmt: skip

reversals: Final = _table(
    changeset.REVERSALS,
    _big("log_index"), _big("created_index"),
    _check("reversed_later", "created_index > log_index"),
    _index("reversals_created", "created_index", unique=True),
    **_SMALL_ROWS,
)  # fmt: skip
"""The primary key lets a record be reversed once."""
