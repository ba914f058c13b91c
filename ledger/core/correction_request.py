"""From what was asked for, as its record has it, back to the command that asked.

Invariant: a command that is made again asks for the same, atom by atom; free texts stay beside the record of the
request and are not copied.
"""

from collections.abc import Callable
from typing import Any, Final

from ledger.core.canonical import parse
from ledger.core.command import Adjust, AdjustmentTransfer, Charge, Command, Refund, Reprice
from ledger.core.command_corrections import ApproveCorrection, Reverse, SetCorrectionRule
from ledger.core.correction import Correction
from ledger.core.deriving import TEXT_FIELDS
from ledger.core.ids import ADJUSTMENT, CHARGE, REFUND, REVERSAL
from ledger.core.moment import moment_of
from ledger.core.money import format_atoms

Digits = Callable[[str], int]
_TYPES: Final[dict[str, tuple[type[Command], str]]] = {
    "charge": (Charge, CHARGE),
    "refund": (Refund, REFUND),
    "reprice": (Reprice, ADJUSTMENT),
    "adjust": (Adjust, ADJUSTMENT),
    "reverse": (Reverse, REVERSAL),
    "set_correction_rule": (SetCorrectionRule, ""),
}
"""The command of each operation that may wait for a second person, and what the ids of its entries begin with."""
_AMOUNTS: Final = ("amount", "settled", "above")
_PRICES: Final = ("old_price", "new_price")


def without_texts(request: dict[str, Any]) -> dict[str, Any]:
    """A request as the record of what became of it has it: its texts stand with the request itself."""
    return {field: value for field, value in request.items() if field not in TEXT_FIELDS}


def command_of(row: Correction, asked: ApproveCorrection, digits: Digits) -> Command:
    """The command that a correction asked for, to be decided for whoever approves it. ``digits`` are those of a
    currency."""
    request: dict[str, Any] = parse(row.request.encode())
    made, prefix = _TYPES[row.operation]
    fields: dict[str, Any] = {
        "caller": asked.caller,
        "idempotency_key": asked.idempotency_key,
        "id": f"{prefix}_{row.id.partition('_')[2]}",
    }
    for field, value in request.items():
        if field == "operation":
            continue
        if field in _AMOUNTS:
            fields[field] = format_atoms(int(value), digits(request["currency"]))
        elif field in _PRICES:
            fields[field] = tuple((name, said) for name, said in value)
        elif field == "effective_at":
            fields[field] = moment_of(value)
        elif field == "transfers":
            fields[field] = tuple(
                AdjustmentTransfer(debit, credit, format_atoms(int(atoms), digits(currency)), currency)
                for debit, credit, atoms, currency in value
            )
        else:
            fields[field] = value
    return made(**fields)
