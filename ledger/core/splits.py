"""How one authorization's spend splits over (category, payee) pairs, so that a refund goes back where it came from.

Invariant: while ``splits`` is None, everything settled and refunded belongs to the one pair (``settled_category``,
``settled_payee``); afterwards the sums over the list equal the row's ``cost`` and ``refunded``.
"""

from typing import NamedTuple

from ledger.core.authorization import SPLITS_MAX, Authorization
from ledger.core.canonical import canonical_bytes, parse
from ledger.core.outcome import Status
from ledger.core.refusal import refuse
from ledger.core.working import Batch


class Split(NamedTuple):
    """What one (category, payee) pair settled, as repriced, and got refunded, in atoms."""

    category: str
    payee: str
    settled: int
    refunded: int


def splits_of(row: Authorization) -> list[Split]:
    """The splits of a row; one, or none before the first settlement, while it has a single pair."""
    if row.splits is not None:
        return [Split(item[0], item[1], int(item[2]), int(item[3])) for item in parse(row.splits.encode())]
    if row.settled_category is None or row.settled_payee is None:
        return []
    return [Split(row.settled_category, row.settled_payee, row.cost, row.refunded)]


def pack_splits(splits: list[Split]) -> str | None:
    """Splits as a row keeps them; None while there is one pair at most."""
    if len(splits) <= 1:
        return None
    return canonical_bytes([[one.category, one.payee, str(one.settled), str(one.refunded)] for one in splits]).decode()


def settle_split(row: Authorization, category: str, payee: str, atoms: int, *, named: bool | None = None) -> str | None:
    """The packed splits once ``atoms`` more are settled for a pair; ``named`` says whether something was, where that is
    not what ``atoms`` say. Refuses more than ``SPLITS_MAX`` pairs."""
    named = atoms > 0 if named is None else named
    if row.splits is None and (
        row.settled_category is None or not named or (row.settled_category, row.settled_payee) == (category, payee)
    ):
        return None
    if not named:
        return row.splits
    splits = splits_of(row)
    for position, one in enumerate(splits):
        if (one.category, one.payee) == (category, payee):
            splits[position] = one._replace(settled=one.settled + atoms)
            break
    else:
        if len(splits) >= SPLITS_MAX:
            refuse(
                Status.TOO_MANY_SPLITS,
                f"{row.id} has settlements for {SPLITS_MAX} pairs of category and payee; use another authorization",
            )
        splits.append(Split(category, payee, atoms, 0))
    return pack_splits(splits)


def chosen_split(row: Authorization, category: str | None, payee: str | None, otherwise: Status) -> Split:
    """The one split that a category and a payee, where they are named, choose."""
    splits = splits_of(row)
    candidates = [
        one
        for one in splits
        if (category is None or one.category == category) and (payee is None or one.payee == payee)
    ]
    if len(candidates) != 1:
        pairs = [{"category": one.category, "payee": one.payee} for one in splits]
        refuse(
            otherwise, f"name the category and payee of one of the {len(pairs)} settled pairs of {row.id}", pairs=pairs
        )
    return candidates[0]


def refund_split(
    batch: Batch, row: Authorization, category: str | None, payee: str | None, atoms: int
) -> tuple[Split, str | None]:
    """(the pair a refund goes back to, the packed splits after it). Refuses what is ambiguous or too large."""
    chosen = chosen_split(row, category, payee, Status.REFUND_AMBIGUOUS)
    if atoms > chosen.settled - chosen.refunded:
        refuse(
            Status.REFUND_TOO_LARGE,
            f"at most {batch.amount_text(chosen.settled - chosen.refunded, row.currency)} can still be refunded",
            refundable=str(chosen.settled - chosen.refunded),
            currency=row.currency,
        )
    after = [one._replace(refunded=one.refunded + atoms) if one == chosen else one for one in splits_of(row)]
    return chosen, pack_splits(after)


def reprice_split(batch: Batch, row: Authorization, chosen: Split, difference: int) -> str | None:
    """The packed splits once ``chosen`` settled ``difference`` atoms more, or less. Refuses what would leave less than
    was refunded."""
    if chosen.settled + difference < chosen.refunded:
        refuse(
            Status.REPRICE_TOO_SMALL,
            f"{batch.amount_text(chosen.refunded, row.currency)} of it was refunded, so it cannot have cost less",
            refunded=str(chosen.refunded),
            currency=row.currency,
        )
    return pack_splits(
        [one._replace(settled=one.settled + difference) if one == chosen else one for one in splits_of(row)]
    )
