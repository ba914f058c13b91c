"""The fold: from record bodies alone to every projection row, written from the accounting rules and not from the code
that decided, so that a mistake there shows here.

Owns the order in which things happen; ``projecting_asking`` owns who may have asked, ``projecting_requests`` for what,
and ``projecting_record``, ``_spending``, ``_finance`` and ``_setup`` own what it does.
Invariants: a body whose transfers or amounts are not those that its kind makes is noted as a difference; the rows are
what an honest writer would have written, column by column.
"""

from collections.abc import Callable
from typing import Any, Final

from ledger.core import (
    projecting_approvals,
    projecting_budgets,
    projecting_closing,
    projecting_corrections,
    projecting_finance,
    projecting_history,
    projecting_outcomes,
    projecting_payables,
    projecting_policies,
    projecting_rates,
    projecting_reconciliations,
    projecting_redactions,
    projecting_setup,
    projecting_signing,
    projecting_spending,
    projecting_webhooks,
)
from ledger.core.deriving import Columns
from ledger.core.journal import SEMANTICS
from ledger.core.projecting_asking import check_asking
from ledger.core.projecting_closing import check_landing, note_time
from ledger.core.projecting_corrections import check_approved
from ledger.core.projecting_record import Progress, Record, TransferRow
from ledger.core.projecting_requests import check_request
from ledger.core.replaying import DECISIONS, check_decision

HANDLERS: Final[dict[str, Callable[[Record], None]]] = {
    **projecting_spending.HANDLERS,
    **projecting_finance.HANDLERS,
    **projecting_setup.HANDLERS,
    **projecting_policies.HANDLERS,
    **projecting_approvals.HANDLERS,
    **projecting_webhooks.HANDLERS,
    **projecting_signing.HANDLERS,
    **projecting_redactions.HANDLERS,
    **projecting_rates.HANDLERS,
    **projecting_reconciliations.HANDLERS,
    **projecting_outcomes.HANDLERS,
    **projecting_payables.HANDLERS,
    **projecting_history.HANDLERS,
    **projecting_budgets.HANDLERS,
    **projecting_corrections.HANDLERS,
    **projecting_closing.HANDLERS,
}
"""What each kind of record does to the rows."""

RULES: Final = {SEMANTICS: (HANDLERS, check_decision)}
"""Version of the semantics to what its records do and how its decisions are made again. When the rules change, the old
ones stay under their number: a version that was released is never taken away."""


class Fold(Progress):
    """The projections of one book as its records are applied, in order, from the first."""

    def apply(self, body: dict[str, Any], columns: Columns) -> list[TransferRow]:
        """Apply the record at index ``size`` and return its rows of ``transfers``.

        Raises KeyError, TypeError, ValueError or LookupError for a body that cannot be followed; the rows are then
        those of no size, and nothing more can be applied.
        """
        rules = RULES.get(body["semantics"])
        if rules is None:
            known = ", ".join(map(str, RULES))
            raise ValueError(
                f"it was decided by rules of version {body['semantics']}, and this version of Bursar knows {known}:"
                " use the version that wrote it, or a newer one"
            )
        handlers, check = rules
        record = Record(self, self.size, body, columns)
        if self.decides and columns.kind in DECISIONS:
            check(record)
        check_asking(record)
        if "request" in body and "by" in body:
            check_request(record)
        if "approved_by" in body:
            check_approved(record)
        note_time(record)
        handlers[columns.kind](record)
        check_landing(record)
        if "idempotency" in body:
            record.bind_key()
        self.size += 1
        self.recorded_at = columns.recorded_at
        return record.transfers
