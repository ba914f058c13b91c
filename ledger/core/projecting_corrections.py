"""The fold over corrections: who corrected alone, what waited for a second person, and what became of it.

Invariants: written from the rules and not from the code that decided; nobody corrected more alone than the rules of the
moment allowed, and nobody approved who had a part in what was asked; what was approved is what had been asked for.
"""

from dataclasses import replace
from typing import Any, Final

from ledger.core.account import BUDGETARY, classify
from ledger.core.canonical import canonical_bytes, parse
from ledger.core.correction import (
    APPROVED,
    EXPIRES_AFTER_DAYS,
    OPERATIONS,
    PENDING,
    REFUSED,
    SET_RULE,
    WITHDRAWN,
    Correction,
    CorrectionRule,
    CorrectionSum,
    Reversal,
    Reversible,
)
from ledger.core.deriving import TEXT_FIELDS
from ledger.core.exchange import asked_side
from ledger.core.moment import SECOND, moment_of, moment_text
from ledger.core.projecting_exchange import count_spend, found_exchange, named_pair
from ledger.core.projecting_record import Record, atoms_of
from ledger.core.roles import ADMIN, allowed
from ledger.core.windows import date_at

_PERSON: Final = "person:"
_DAY: Final = 24 * 3600 * SECOND
APPROVABLE: Final = frozenset(("charge", "refund", "adjustment", "correction_rule"))
"""Kinds of records that a second person may have approved."""


def sums_of(transfers: list[list[str]]) -> dict[str, int]:
    """How much transfers move: of each currency the larger of what they move of authority and of money."""
    sums: dict[tuple[str, bool], int] = {}
    for debit, _, text, currency in transfers:
        kind, _ = classify(debit) or ("", "")
        sort = (currency, kind == BUDGETARY)
        sums[sort] = sums.get(sort, 0) + atoms_of(text)
    found: dict[str, int] = {}
    for (currency, _), atoms in sums.items():
        found[currency] = max(found.get(currency, 0), atoms)
    return found


def _today(record: Record) -> int:
    book = record.fold.book
    if book is None:
        raise LookupError("a correction stands before its book")
    return date_at(book.timezone, record.time).toordinal()


def _alone(record: Record, person: str, currency: str) -> int:
    row = record.store.correction_sums.get((person, currency))
    return row.amount if row is not None and row.day == _today(record) else 0


def check_alone(record: Record, amounts: dict[str, int]) -> None:
    """Count what somebody corrected alone, and note a difference where a rule asked for a second person. Nothing is
    counted where there was one."""
    principal = record.body["by"]["principal"]
    if "approved_by" in record.body or not principal.startswith(_PERSON):
        return
    person = principal.removeprefix(_PERSON)
    for currency, atoms in sorted(amounts.items()):
        rule = record.store.correction_rules.get(currency)
        if rule is None or rule.above is None:
            continue
        total = _alone(record, person, currency) + atoms
        if total > rule.above:
            record.differ(f"{person} corrected more {currency} alone than the rule allows", rule.above, total)
        if record.store.correction_sums.get((person, currency)) is None:
            row = CorrectionSum(record.fold.book_id, person, currency, 0, 0, record.index)
            record.store.correction_sums.add((person, currency), row)
        changed = record.store.correction_sums.change((person, currency))
        changed.day, changed.amount, changed.changed_index = _today(record), total, record.index


def check_approved(record: Record) -> None:
    """What a second person approved: that they could, and that it is what was asked for by whoever is named."""
    body = record.body
    said = body["approved_by"]
    if record.columns.kind not in APPROVABLE:
        record.differ("a second person approved what needs none", sorted(APPROVABLE), record.columns.kind)
    row = _decided(record, said["correction"], said["principal"], said.get("key"), "approve_correction", APPROVED)
    asked = parse(row.request.encode())
    expected = {field: value for field, value in asked.items() if field not in TEXT_FIELDS}
    if body["request"] != expected:
        record.differ("what was approved is not what was asked for", expected, body["request"])
    if body["by"] != {"principal": row.requested_by, "key": row.requested_key}:
        record.differ("who asked is not who is named", row.requested_by, body["by"])
    request = said["request"]
    if (request["operation"], request["correction"]) != ("approve_correction", row.id):
        record.differ("the request of the second person is not an approval of this", row.id, request)
    if not {"operation", "correction", "reason"} >= request.keys():
        record.differ("the request of the second person says more than it can", "", sorted(request))
    if "idempotency" not in body:
        record.differ("what is asked for with a key has an idempotency key", "", said.get("key"))


def _decided(
    record: Record, reference: str, principal: str, key_id: str | None, operation: str, state: str
) -> Correction:
    """The correction that a record decides on, taken to ``state``; notes a difference for whoever had no say."""
    row = record.store.corrections.change(reference)
    if row.state != PENDING:
        record.differ(f"{row.id} is decided twice", PENDING, row.state)
    if row.expires_at <= record.time:
        record.differ(f"{row.id} is decided after its time", row.expires_at, record.time)
    key = record.store.api_keys.get(key_id) if key_id is not None else None
    if key is None or key.principal != principal or not principal.startswith(_PERSON):
        record.differ("who decided is not the person whom the key names", principal, key_id)
    else:
        if key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= record.time):
            record.differ("a key is used that was valid no more", "a valid key", key_id)
        if not allowed(operation, key.role) or (row.operation == SET_RULE and state != WITHDRAWN and key.role != ADMIN):
            record.differ("a key is used for what its role may not do", operation, key.role)
        if state != WITHDRAWN and row.requested_by in (principal, key.backer):
            record.differ(f"{row.id} is decided by whoever asked for it", "a second person", principal)
    if state == WITHDRAWN and principal != row.requested_by:
        record.differ(f"{row.id} is withdrawn by another than who asked", row.requested_by, principal)
    if state != WITHDRAWN and principal == row.key_made_by:
        record.differ(f"{row.id} is decided by whoever made the key of the request", "another", principal)
    row.state = state
    row.decided_at, row.decided_by = record.time, principal
    row.changed_index = record.index
    return row


def _asked_amounts(record: Record, request: dict[str, Any]) -> dict[str, int]:
    """How much what is asked for would move: what is converted, in both currencies."""
    operation = request["operation"]
    if operation == "charge":
        return _charged_amounts(record, request)
    if operation == "refund":
        return _taken_amounts(record, request["authorization"], request, refunded=atoms_of(request["amount"]))
    if operation == "reprice":
        difference = atoms_of(request["amount"]) - atoms_of(request["settled"])
        return _taken_amounts(record, request["authorization"], request, repriced=difference)
    if operation == "adjust":
        return sums_of(request["transfers"])
    if operation == SET_RULE:
        return {}
    before = _reversible(record, request["record"])
    if before.authorization is None:
        return sums_of(parse(before.transfers.encode()))
    row = record.store.authorizations.get(before.authorization)
    if row is None:
        raise LookupError(f"there is no charge {before.authorization}")
    side = asked_side(row)
    return _taken_amounts(record, row.id, {}, refunded=side.cost - side.refunded)


def _charged_amounts(record: Record, request: dict[str, Any]) -> dict[str, int]:
    """What a charge is in its currency, and in its budget's by the rate of the day that it is meant for."""
    asked, currency = atoms_of(request["amount"]), request["currency"]
    meant = moment_of(request["effective_at"]) if "effective_at" in request else record.time
    exchange, budget_currency = found_exchange(record.fold, request["budget"], currency, asked, meant)
    return {currency: asked} | ({} if exchange is None else {budget_currency: exchange.even(asked)})


def _taken_amounts(
    record: Record, reference: str, request: dict[str, Any], *, refunded: int = 0, repriced: int = 0
) -> dict[str, int]:
    """What a refund or a reprice of the one pair that a request names moves, in both currencies."""
    row = record.store.authorizations.get(reference)
    if row is None:
        raise LookupError(f"there is no authorization {reference}")
    category, payee = named_pair(row, request)
    currency = asked_side(row).currency
    if request and request["currency"] != currency:
        record.differ("a correction is asked for in another currency", currency, request["currency"])
    atoms, _ = count_spend(replace(row), category, payee, refunded=refunded, repriced=repriced)
    return {currency: refunded + abs(repriced), row.currency: abs(atoms)}


def _reversible(record: Record, index: int) -> Reversible:
    """The adjustment or charge at ``index``, which must be there."""
    found = record.store.reversible.get(index)
    if found is None:
        raise LookupError(f"record {index} is nothing that can be reversed")
    return found


def _requested(record: Record) -> None:
    body, request, by = record.body, record.body["request"], record.body["by"]
    operation = request["operation"]
    key = record.store.api_keys.get(by.get("key", ""))
    if operation not in OPERATIONS or key is None or not by["principal"].startswith(_PERSON):
        raise ValueError("a second person is asked for what nobody can ask")
    amounts = _asked_amounts(record, request)
    pairs = [[currency, str(atoms)] for currency, atoms in sorted(amounts.items())]
    row = Correction(
        record.fold.book_id, body["correction"], operation, PENDING, canonical_bytes(request).decode(),
        canonical_bytes(pairs).decode(), by["principal"], key.id, key.backer, record.time,
        record.time + EXPIRES_AFTER_DAYS * _DAY, None, None, record.index, record.index,
    )  # fmt: skip
    record.post([])
    for field, expected in (
        ("operation", operation),
        ("state", PENDING),
        ("amounts", pairs),
        ("key_made_by", row.key_made_by),
        ("expires_at", moment_text(row.expires_at)),
    ):
        record.expect(field, expected)
    if not _needs_another(record, request, amounts):
        record.differ("a second person is asked who need not be", "", pairs)
    record.store.corrections.add(row.id, row)


def _needs_another(record: Record, request: dict[str, Any], amounts: dict[str, int]) -> bool:
    if request["operation"] == SET_RULE:
        return _allows_more(record, request)
    person = record.body["by"]["principal"].removeprefix(_PERSON)
    for currency, atoms in amounts.items():
        rule = record.store.correction_rules.get(currency)
        if rule is not None and rule.above is not None and _alone(record, person, currency) + atoms > rule.above:
            return True
    return False


def _allows_more(record: Record, request: dict[str, Any]) -> bool:
    rule = record.store.correction_rules.get(request["currency"])
    if rule is None or rule.above is None:
        return False
    return "above" not in request or atoms_of(request["above"]) > rule.above


def _ended(record: Record) -> None:
    body, by = record.body, record.body["by"]
    state = REFUSED if record.columns.kind == "correction_refused" else WITHDRAWN
    operation = "refuse_correction" if state == REFUSED else "withdraw_correction"
    row = _decided(record, body["correction"], by["principal"], by.get("key"), operation, state)
    record.post([])
    for field, expected in (
        ("operation", row.operation),
        ("state", state),
        ("requested", row.created_index),
        ("requested_by", row.requested_by),
    ):
        record.expect(field, expected)


def _rule(record: Record) -> None:
    body, request = record.body, record.body["request"]
    currency = body["currency"]
    record.post([])
    if "approved_by" not in body and _allows_more(record, request):
        record.differ("a rule allows more than before, and no second person approved it", "", request)
    above = atoms_of(request["above"]) if "above" in request else None
    known = record.store.correction_rules.get(currency)
    record.expect("before", None if known is None or known.above is None else str(known.above))
    if known is None:
        row = CorrectionRule(record.fold.book_id, currency, above, record.index, record.index)
        record.store.correction_rules.add(currency, row)
        return
    changed = record.store.correction_rules.change(currency)
    changed.above, changed.changed_index = above, record.index


def remember(record: Record) -> None:
    """An adjustment or a charge can be reversed; what it moved is what its reversal gives back."""
    packed = canonical_bytes(record.body["transfers"]).decode()
    row = Reversible(record.fold.book_id, record.index, record.body.get("authorization"), packed)
    record.store.reversible.add(record.index, row)


def reverse(record: Record) -> Reversible:
    """What a record reverses, which must be there; each is reversed once."""
    index = record.body["request"]["record"]
    record.expect("reverses", index)
    before = _reversible(record, index)
    known = record.store.reversals.get(index)
    if known is not None:
        record.differ(f"record {index} is reversed twice", known.created_index, record.index)
    else:
        record.store.reversals.add(index, Reversal(record.fold.book_id, index, record.index))
    return before


def opposite(before: Reversible) -> list[list[str]]:
    """The transfers that reverse others."""
    return [[credit, debit, atoms, currency] for debit, credit, atoms, currency in parse(before.transfers.encode())]


HANDLERS: Final = {
    "correction_requested": _requested,
    "correction_refused": _ended,
    "correction_withdrawn": _ended,
    "correction_rule": _rule,
}
"""What each kind of record about corrections does."""
