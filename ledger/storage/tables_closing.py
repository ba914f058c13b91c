"""The tables of the months that are closed or were backdated into, and of what is explained.

Projections of the log, written with the decision. Invariant: what is closed has a size, a root and a digest, and what
is open has none.
"""

from typing import Final

from sqlalchemy import Column, LargeBinary

from ledger.core import changeset, closing
from ledger.storage.tables import _SMALL_ROWS, _big, _check, _index, _listed, _small, _table, _text


def _hash(name: str) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=True)


periods: Final = _table(
    changeset.PERIODS,
    _text("period"), _text("unit"), _text("state"), _big("starts_at"), _big("ends_at"),
    _big("backdated_index", null=True), _big("size", null=True), _hash("root"), _hash("digest"),
    _text("closed_by", null=True), _big("closed_at", null=True), _big("closed_index", null=True),
    _text("reopen_by", null=True), _text("reopen_backer", null=True), _big("reopen_at", null=True),
    _big("reopened_index", null=True), _big("created_index"), _big("changed_index"),
    _listed("unit", (closing.MONTH,)),
    _listed("state", closing.STATES),
    _check("ends_after_start", "ends_at > starts_at"),
    _check(
        "closed_has_statements",
        "(state = 'closed' AND size > 0 AND length(root) = 32 AND length(digest) = 32 AND closed_index >= size) OR "
        "(state = 'open' AND size IS NULL AND root IS NULL AND digest IS NULL AND closed_index IS NULL)",
    ),
    _index("periods_unit", "unit", "starts_at"),
    **_SMALL_ROWS,
)  # fmt: skip

explanations: Final = _table(
    changeset.EXPLANATIONS,
    _text("authorization_id"), _small("flags"), _text("explained_by"), _big("created_index"), _big("changed_index"),
    _check("flags_positive", "flags > 0"),
    _index("explanations_changed", "changed_index"),
    **_SMALL_ROWS,
)  # fmt: skip
