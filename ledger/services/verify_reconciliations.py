"""What reconciliations say of the ledger, recomputed from the lines of the payee.

Invariants: looked at once lines were compared with the log, so that a total that differs is the reconciliation's; one
that stands on records whose lines are not written yet is left for the next time; each is read in a short transaction.
"""

from typing import Final

from ledger.core.canonical import parse
from ledger.core.invariants import ENTRIES_FOLLOW_RULES, Difference
from ledger.core.money import currency_digits
from ledger.core.reconciliation import Reconciliation
from ledger.services.verify_findings import Findings
from ledger.storage.proof_reader import ProofReader
from ledger.storage.queries_reconciliations import BOOKED_KINDS, USAGE_KINDS
from ledger.storage.scratch import Scratch

_CURSOR: Final = "SELECT next_index FROM spend_cursor WHERE book_id = :book"
_OF_PAYEE: Final = "FROM spend_lines WHERE book_id = :book AND payee = :payee AND currency = :currency"
_USAGE: Final = ", ".join(f"'{kind}'" for kind in USAGE_KINDS)
_BILLED: Final = "(CASE WHEN authorization_id IS NULL THEN amount ELSE owed END)"
"""``SpendLine.billed`` of what is money."""
_BOOKED: Final = ", ".join(f"'{kind}'" for kind in BOOKED_KINDS)


def check_reconciliations(reader: ProofReader, scratch: Scratch, findings: Findings) -> None:
    """Compare each total and each record that is named as booked with the stored lines. Raises EnoughFound,
    StorageError."""
    for row in scratch.all_reconciliations():
        for difference in _differences(reader, row):
            findings.add(difference)


def _differences(reader: ProofReader, row: Reconciliation) -> list[Difference]:
    packed = reader.body(row.created_index)
    booked = parse(packed).get("booked", []) if packed else []
    with reader.reading() as (connection, _):
        cursor = reader.rows(connection, _CURSOR)
        if not cursor or type(cursor[0][0]) is not int or cursor[0][0] < max(row.at_size, *booked, 0):
            return []
        billed = "amount" if currency_digits(row.currency) is None else _BILLED
        upper, lower = reader.rows(
            connection,
            f"SELECT coalesce(sum({billed} >> 32), 0), coalesce(sum({billed} & 4294967295), 0) {_OF_PAYEE}"
            f" AND effective_at >= :low AND effective_at < :high AND log_index < :size AND kind IN ({_USAGE})",
            payee=row.payee, currency=row.currency, low=row.starts_at, high=row.ends_at, size=row.at_size,
        )[0]  # fmt: skip
        strangers = [
            index
            for index in booked
            if not reader.rows(
                connection, f"SELECT 1 {_OF_PAYEE} AND log_index = :at AND kind IN ({_BOOKED})", payee=row.payee,
                currency=row.currency, at=index,
            )
        ]  # fmt: skip
    found = []
    total = (int(upper) << 32) + int(lower)
    if total != row.ledger_total:
        what = "the ledger's total is not what the records before it give"
        found.append(_difference(row, what, "ledger_total", total, row.ledger_total))
    found += [
        _difference(row, "it says to have led to what is no charge or correction of its payee", "booked", "", index)
        for index in strangers
    ]
    return found


def _difference(row: Reconciliation, what: str, field: str, expected: object, said: object) -> Difference:
    return Difference(
        "log_records", what, row.created_index, row.id, field, str(expected), str(said), ENTRIES_FOLLOW_RULES
    )
