"""The fold over spending: what holds, denials, extensions, settlements, releases and expiries do to authorizations, run
totals and accounts.

Invariants: written from the accounting rules, without the code that decided; a settled authorization's total changes by
a refund or a reprice only; what a hold still holds is what its records left.
"""

from dataclasses import replace
from typing import Any, Final

from ledger.core.account import available_name, held_name, spent_name
from ledger.core.approval import EXPIRED as TIER_EXPIRED
from ledger.core.approval import WITHDRAWN
from ledger.core.authorization import (
    DENIED,
    EXPIRED,
    FLAG_GATEWAY,
    FLAG_LATE,
    FLAG_MISMATCH,
    FLAG_OVERRUN,
    FLAG_UNKNOWN,
    GATEWAY,
    HELD,
    ON_EXPIRY_UNKNOWN,
    PENDING,
    RELEASED,
    SETTLE_FLAGS,
    SETTLED,
    Authorization,
    flag_bits,
    flag_names,
)
from ledger.core.book import CATEGORY, PAYEE
from ledger.core.canonical import canonical_bytes
from ledger.core.exchange import asked_side
from ledger.core.invariants import SETTLED_IS_FINAL
from ledger.core.metering import pairs_of
from ledger.core.moment import SECOND, moment_of
from ledger.core.money import ATOMS_MAX
from ledger.core.planning import subject_of, would_refuse
from ledger.core.projecting_exchange import (
    Moved,
    amount_asked,
    approve,
    cost_transfers,
    count_spend,
    expect_exchange,
    extended,
    found_exchange,
)
from ledger.core.projecting_policies import count_attempt, count_mismatch, count_use, plan_of
from ledger.core.projecting_record import UNBOUND_CODES, Record, atoms_of
from ledger.core.projecting_tiers import close_tiers
from ledger.core.run import RunTotal
from ledger.core.uses import NO_USE, portions_of, uses_of

_ENDED: Final = (RELEASED, EXPIRED)


def total_of(record: Record, run: str | None, currency: str, since: int) -> RunTotal | None:
    """The run total that an authorization made at log index ``since`` counts towards, if the run was open by then."""
    if run is None:
        return None
    opened = record.store.runs.get(run)
    if opened is None or opened.created_index >= since:
        return None
    key = (run, currency)
    if record.store.run_totals.get(key) is None:
        record.store.run_totals.add(key, RunTotal(record.fold.book_id, run, currency, 0, 0, 0, 0, record.index))
    total = record.store.run_totals.change(key)
    total.changed_index = record.index
    return total


def asked_row(record: Record) -> Authorization:
    """The row of a request to spend as it is when denied; a hold fills in the rest."""
    body, request = record.body, record.body["request"]
    amount, currency = atoms_of(request["amount"]), request["currency"]
    exchange, budget_currency = found_exchange(record.fold, body["budget"]["name"], currency, amount, record.time)
    if exchange is not None:
        currency, amount = budget_currency, exchange.up(amount)
    elif currency != budget_currency and record.columns.kind != "denial":
        record.differ("what has no rate is held", "a denial", record.columns.kind)
    record.expect("amount", str(amount))
    record.expect("currency", currency)
    record.expect("agent", body["by"]["principal"].removeprefix("agent:"))
    if not amount:
        raise ValueError("a request to spend nothing")
    row = Authorization(
        record.fold.book_id, body["authorization"], body["agent"], body["budget"]["name"], body.get("run"),
        request["category"], request["payee"], request.get("resource"), currency, amount, 0, 0, 0, 0, DENIED,
        0, None, request["on_expiry"], record.time, None, None, None, None, None, _labels(request), None, record.index,
        record.index,
    )  # fmt: skip
    row.exchange = None if exchange is None else exchange.text()
    return row


def _labels(request: dict[str, Any]) -> str | None:
    """Labels as the row keeps them."""
    return canonical_bytes(request["labels"]).decode() if request.get("labels") else None


def _hold(record: Record) -> None:
    body, request = record.body, record.body["request"]
    row = asked_row(record)
    approve(record, row, HELD)
    if request.get("operator") == GATEWAY:
        row.flags |= FLAG_GATEWAY
    row.expires_at = row.due_at = record.time + request["ttl_seconds"] * SECOND
    record.post([[held_name(row.budget), available_name(row.budget), body["approved"], row.currency]])
    total = total_of(record, row.run, row.currency, record.index)
    if total is not None:
        total.approved_count += 1
        total.held += row.approved
    record.meet_name(CATEGORY, row.category)
    record.meet_name(PAYEE, row.payee)
    record.store.authorizations.add(row.id, row)
    count_attempt(record, body["agent"], row.budget)
    count_use(record, row, NO_USE, new=True)
    record.expect("state", HELD)
    record.expect("flags", flag_names(row.flags) or None)
    _expect_expiry(record, row)
    record.expect_budget("budget", row.budget, row.currency)
    if body["decision"]["outcome"] != "approved":
        record.differ("a hold that was not approved", "approved", body["decision"]["outcome"])


def _denial(record: Record) -> None:
    body = record.body
    record.post([])
    if body["decision"]["outcome"] != "denied":
        record.differ("a denial that was not denied", "denied", body["decision"]["outcome"])
    if body["command"] == "extend":
        previous, row = changed_row(record)
        atoms = extended(replace(row), amount_asked(record))
        record.expect("amount", str(atoms))
        expect_row(record, row, previous)
        return
    row = asked_row(record)
    row.reason = body["decision"]["reasons"][0]["code"]
    stranger = any(reason["code"] == "run_not_permitted" for reason in body["decision"]["reasons"])
    total = total_of(record, row.run, row.currency, record.index) if not stranger else None
    if total is not None:
        total.denied_count += 1
    record.store.authorizations.add(row.id, row)
    if row.reason not in UNBOUND_CODES:
        count_attempt(record, body["agent"], row.budget)
    record.expect("state", DENIED)
    expect_exchange(record, row)
    budget = record.store.budgets.get(row.budget)
    if budget is not None and budget.currency != row.currency:
        # Its balances are in a currency that there is no rate to.
        record.expect("budget", {"id": budget.id, "name": budget.name})
    else:
        record.expect_budget("budget", row.budget, row.currency)


def changed_row(record: Record) -> tuple[int, Authorization]:
    """The authorization that a record is about, to be changed, and the log index of the record before on it."""
    row = record.store.authorizations.change(record.body["authorization"])
    previous, row.changed_index = row.changed_index, record.index
    return previous, row


def _expect_expiry(record: Record, row: Authorization) -> None:
    text = record.body.get("expires_at")
    if (None if text is None else moment_of(text)) != row.expires_at:
        record.differ("expires_at is not what the records before it give", row.expires_at, text)


def expect_row(record: Record, row: Authorization, previous: int) -> None:
    """The body says how the authorization stands after it."""
    body = record.body
    if (
        body.get("state") != row.state
        or body.get("held") != str(row.held)
        or body.get("settled") != str(row.settled)
        or body.get("approved") != str(row.approved)
        or body.get("previous") != previous
        or body.get("currency") != row.currency
        or body.get("agent") != row.agent
        or body.get("run") != row.run
        or body.get("flags", []) != flag_names(row.flags)
        or body.get("portions") != row.portions
        or body.get("refunded", "0") != str(row.refunded)
        or body.get("repriced", "0") != str(row.repriced)
        or row.exchange is not None
        or "exchange" in body
    ):
        expect_exchange(record, row)
        for field, expected in (
            ("state", row.state),
            ("held", str(row.held)),
            ("settled", str(row.settled)),
            ("approved", str(row.approved)),
            ("previous", previous),
            ("currency", row.currency),
            ("agent", row.agent),
            ("run", row.run),
            ("flags", flag_names(row.flags) or None),
            ("portions", row.portions),
            ("refunded", str(row.refunded) if row.refunded else None),
            ("repriced", str(row.repriced) if row.repriced else None),
        ):
            record.expect(field, expected)
    _expect_expiry(record, row)
    record.expect_budget("budget", row.budget, row.currency)


def _require_held(record: Record, row: Authorization) -> None:
    if row.state != HELD:
        record.differ(f"{row.id} is {row.state}, and nothing of it is held", HELD, row.state, check=SETTLED_IS_FINAL)


def _extension(record: Record) -> None:
    request = record.body["request"]
    previous, row = changed_row(record)
    _require_held(record, row)
    atoms = extended(row, amount_asked(record))
    if record.atoms("amount") != atoms:
        record.differ("the amount added is not what was asked", atoms, record.body["amount"])
    before = uses_of(row)
    if atoms:
        portions = [*portions_of(row), (record.time, atoms)]
        row.portions = canonical_bytes([[moment, str(part)] for moment, part in portions]).decode()
    row.approved += atoms
    row.held += atoms
    count_use(record, row, before)
    seconds = request.get("ttl_seconds", 0)
    if seconds and row.expires_at is not None:
        row.expires_at = row.due_at = max(row.expires_at, record.time) + seconds * SECOND
        row.flags &= ~FLAG_UNKNOWN
    total = total_of(record, row.run, row.currency, row.created_index)
    if total is not None:
        total.held += atoms
    added = [[held_name(row.budget), available_name(row.budget), str(atoms), row.currency]] if atoms else []
    record.post(added)
    expect_row(record, row, previous)


def _settlement(record: Record) -> None:
    body, request = record.body, record.body["request"]
    previous, row = changed_row(record)
    if row.state != HELD and row.state not in _ENDED:
        record.differ(
            f"{row.id} is {row.state} and changes by a refund or a reprice only",
            HELD,
            row.state,
            check=SETTLED_IS_FINAL,
        )
    asked, final = atoms_of(request["amount"]), body["final"]
    category, payee = request.get("category", row.category), request.get("payee", row.payee)
    record.expect("category", category)
    record.expect("payee", payee)
    record.expect("final", request["final"])
    before, side = uses_of(row), asked_side(row)
    atoms, _ = count_spend(row, category, payee, settled=asked)
    record.expect("amount", str(atoms))
    within = min(atoms, row.held)
    rest = row.held - within if final else 0
    if row.state in _ENDED:
        row.flags |= FLAG_LATE
    elif atoms > within:
        row.flags |= FLAG_OVERRUN
    was_granted = row.expires_at is not None
    if _is_mismatch(record, row, category, payee, beyond=side.cost + asked > (side.approved if was_granted else 0)):
        row.flags |= FLAG_MISMATCH
        if row.agent is not None:
            count_mismatch(record, row.agent)
    total = total_of(record, row.run, row.currency, row.created_index)
    if total is not None:
        total.held -= within + rest
        total.spent += atoms
    row.held -= within + rest
    row.settled += atoms
    if row.settled > ATOMS_MAX or row.cost > ATOMS_MAX:
        raise ValueError("a total settled leaves 64 bits")
    _take_metering(record, row)
    if asked or row.settled_category is None:
        row.settled_category, row.settled_payee = category, payee
    if final:
        row.state = SETTLED
        row.flags &= ~FLAG_UNKNOWN
        row.due_at = None
    count_use(record, row, before)
    record.meet_name(CATEGORY, category)
    record.meet_name(PAYEE, payee)
    moved = Moved(atoms, asked, category, payee)
    record.post(spent_transfers(record, row, moved, within=within, beyond=atoms - within, rest=rest))
    expect_row(record, row, previous)


def _take_metering(record: Record, row: Authorization) -> None:
    """What the settlement was metered from, and the flags that whoever settled said."""
    request = record.body["request"]
    metering, said = request.get("metering"), request.get("flags", [])
    if metering is not None:
        if [list(pair) for pair in pairs_of(dict(metering))] != metering or not metering:
            record.differ("what it was metered from is not in order", "sorted pairs", metering)
        row.metering = canonical_bytes(metering).decode()
    if said != sorted(set(said)) or not set(said) <= set(SETTLE_FLAGS):
        record.differ("flags that a settlement cannot say", SETTLE_FLAGS, said)
        return
    row.flags |= flag_bits(said)


def _is_mismatch(record: Record, row: Authorization, category: str, payee: str, *, beyond: bool) -> bool:
    """Spent on something else, or more of it, than was asked; or on what the lists refuse, where nothing was named."""
    if beyond or (category, payee) != (row.category, row.payee):
        return True
    resource = record.body["request"].get("resource")
    if resource in (None, row.resource):
        return False
    if row.resource is not None:
        return True
    plan = plan_of(record.fold, row.agent, row.budget)
    return bool(plan.policies) and would_refuse(plan, subject_of(row)._replace(resource=resource))


def spent_transfers(
    record: Record, row: Authorization, moved: Moved, *, within: int, beyond: int, rest: int
) -> list[list[str]]:
    """The transfers of spend: what the hold covers, what it does not, what goes back, and the cost itself in money."""
    available, held, spent = available_name(row.budget), held_name(row.budget), spent_name(row.budget)
    made = [(spent, held, within), (spent, available, beyond), (available, held, rest)]
    transfers = [[debit, credit, str(atoms), row.currency] for debit, credit, atoms in made if atoms]
    return transfers + cost_transfers(record, row, moved)


def end_row(record: Record, row: Authorization, state: str) -> list[list[str]]:
    """End a hold; the transfers that give back what it still held."""
    held = row.held
    before = uses_of(row)
    total = total_of(record, row.run, row.currency, row.created_index)
    if total is not None:
        total.held -= held
    row.held = 0
    row.state = state
    row.flags &= ~FLAG_UNKNOWN
    row.due_at = None
    count_use(record, row, before)
    return [[available_name(row.budget), held_name(row.budget), str(held), row.currency]] if held else []


def _release(record: Record) -> None:
    previous, row = changed_row(record)
    if row.state == PENDING:
        close_tiers(record, row, WITHDRAWN)
    else:
        _require_held(record, row)
    record.expect("amount", str(row.held))
    record.post(end_row(record, row, RELEASED))
    expect_row(record, row, previous)


def _expiry(record: Record) -> None:
    previous, row = changed_row(record)
    pending = row.state == PENDING
    if pending:
        close_tiers(record, row, TIER_EXPIRED)
    else:
        _require_held(record, row)
    if "by" in record.body:
        # Somebody said so: it need not be due, and only a hold that is kept can be kept.
        if pending or row.on_expiry != ON_EXPIRY_UNKNOWN or row.flags & FLAG_UNKNOWN:
            record.differ(f"{row.id} cannot be marked as not known", ON_EXPIRY_UNKNOWN, row.on_expiry)
    elif row.due_at is None or row.due_at > record.time:
        record.differ(f"{row.id} expired before its time", row.due_at, record.time)
    record.expect("on_expiry", row.on_expiry)
    if row.on_expiry == ON_EXPIRY_UNKNOWN and not pending:
        row.flags |= FLAG_UNKNOWN
        row.due_at = None
        record.expect("amount", "0")
        record.post([])
    else:
        record.expect("amount", str(row.held))
        record.post(end_row(record, row, EXPIRED))
    expect_row(record, row, previous)


HANDLERS: Final = {
    "hold": _hold,
    "denial": _denial,
    "extension": _extension,
    "settlement": _settlement,
    "release": _release,
    "expiry": _expiry,
}
"""What each kind of record about spending does."""
