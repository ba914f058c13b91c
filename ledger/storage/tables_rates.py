"""The table of rates of exchange: for each pair of currencies and day, the rate that holds from that day on.

A projection that decisions write and read. Invariant: every key is led by ``book_id``; one row for a pair and a day,
which a later record for the same day changes.
"""

from typing import Final

from ledger.core import changeset, rate
from ledger.storage.tables import _SMALL_ROWS, _big, _check, _small, _table, _text

rates: Final = _table(
    changeset.RATES,
    _text("pair"), _big("day"), _text("rate"), _text("source"), _small("max_age_days"), _big("created_index"),
    _big("changed_index"),
    _check("max_age_days_in_range", f"max_age_days >= 0 AND max_age_days <= {rate.AGE_DAYS_MAX}"),
    _check("changed_later", "changed_index >= created_index"),
    **_SMALL_ROWS,
)  # fmt: skip
