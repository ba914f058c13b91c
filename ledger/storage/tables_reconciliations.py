"""The table of reconciliations: one row for each comparison with a payee's figures that was put on record.

Invariant: rows are added and never changed.
"""

from typing import Final

from ledger.core import changeset
from ledger.storage.tables import _SMALL_ROWS, _big, _check, _flag, _index, _table, _text

reconciliations: Final = _table(
    changeset.RECONCILIATIONS,
    _text("id"), _text("payee"), _text("currency"), _text("source"), _big("starts_at"), _big("ends_at"),
    _big("at_size"), _big("provider_total"), _big("ledger_total"), _big("open_differences"), _big("open_amount"),
    _flag("accepted"), _text("made_by"), _big("created_at"), _big("created_index"),
    _check("ends_after_start", "ends_at > starts_at"),
    _check("stands_on_records_before", "at_size >= 0 AND at_size <= created_index"),
    _check("open_not_negative", "open_differences >= 0"),
    _check("equal_unless_open", "open_differences > 0 OR (open_amount = 0 AND accepted)"),
    _index("reconciliations_ends_at", "ends_at"),
    _index("reconciliations_created", "created_index"),
    _index("reconciliations_payee", "payee", "created_index"),
    **_SMALL_ROWS,
)  # fmt: skip
