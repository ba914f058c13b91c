"""The fold over reconciliations, written from the rules and not from the code that decided.

What the ledger's own total was takes the lines of the payee: it is compared with them where lines are
(``services.verify_reconciliations``).
"""

from typing import Final

from ledger.core.book import PAYEE
from ledger.core.moment import moment_of, moment_text
from ledger.core.money import ATOMS_MAX
from ledger.core.projecting_record import Record
from ledger.core.reconciliation import Reconciliation

_KINDS: Final = ("missing_here", "missing_there", "price", "quantity", "amount", "timing", "tolerated")


def _signed(text: str) -> int:
    """An amount that may be below zero, as a body writes it."""
    atoms = int(text)
    if abs(atoms) > ATOMS_MAX or str(atoms) != text:
        raise ValueError(f"{text[:40]} is no amount of atoms")
    return atoms


def _moment(record: Record, field: str) -> int:
    text = record.body[field]
    moment = moment_of(text)
    if moment_text(moment) != text:
        raise ValueError(f'"{text}" is not how a body writes a time')
    return moment


def _reconciliation(record: Record) -> None:
    body, request = record.body, record.body["request"]
    starts_at, ends_at = _moment(record, "starts_at"), _moment(record, "ends_at")
    provider_total, ledger_total = _signed(body["provider_total"]), _signed(body["ledger_total"])
    if not starts_at < ends_at <= record.time:
        record.differ("a period is reconciled that is not over", record.body["time"], body["ends_at"])
    at_size, booked = body["at_size"], body.get("booked", [])
    if type(at_size) is not int or not 0 <= at_size <= record.index:
        record.differ("it stands on more records than there were", record.index, at_size)
    if any(type(index) is not int for index in booked) or booked != sorted(set(booked)):
        raise ValueError("booked names records, each once, in order")
    if booked and not 0 <= booked[0] <= booked[-1] < record.index:
        record.differ("it names records that were not there", record.index, booked[-1])
    if record.store.names.get((PAYEE, body["payee"])) is None:
        record.differ("the payee is not known", "", body["payee"])
    open_count, open_amount, explained = 0, 0, 0
    kinds = [kind for kind, _, _ in body["differences"]]
    if kinds != [kind for kind in _KINDS if kind in kinds]:
        record.differ("the differences are not each kind once, in order", list(_KINDS), kinds)
    for kind, count, text in body["differences"]:
        if type(count) is not int or count < 1:
            raise ValueError("a difference is there at least once")
        explained += _signed(text)
        if kind != "tolerated":
            open_count += count
            open_amount += _signed(text)
    if explained != provider_total - ledger_total:
        record.differ("the differences do not add up", provider_total - ledger_total, explained)
    record.expect("open_differences", open_count)
    record.expect("open_amount", str(open_amount))
    record.expect("accepted", open_count == 0 or request.get("accept") is True)
    if open_count and "accept" in request and "reason" not in request:
        record.differ("what is open is accepted without a reason", "a reason", "")
    record.store.reconciliations.add(
        body["reconciliation"],
        Reconciliation(
            record.fold.book_id, body["reconciliation"], body["payee"], body["currency"], body["source"], starts_at,
            ends_at, at_size, provider_total, ledger_total, open_count, open_amount, body["accepted"],
            body["by"]["principal"], record.time, record.index,
        ),
    )  # fmt: skip


HANDLERS: Final = {"reconciliation": _reconciliation}
"""What the record of a reconciliation does."""
