"""The fold over months: what was backdated lands where it may, closings stand on all that counts for their month, and
two persons open one again. Written from the rules and not from the code that decided.

What the digests of a closing are digests of takes whole statements: ``services.closing`` makes those again.
"""

from typing import Any, Final

from ledger.core.authorization import flag_bits, flag_names
from ledger.core.closing import (
    ACCEPTABLE,
    CHECK_ITEMS_MAX,
    CHECKS,
    CLOSED,
    EXPLAINED_FLAGS,
    STATEMENTS_LISTED_MAX,
    Explanation,
    Month,
    digest_of,
    month_at,
    month_named,
    new_month,
)
from ledger.core.merkle import HASH_SIZE
from ledger.core.moment import moment_of, moment_text
from ledger.core.period import Period
from ledger.core.projecting_record import Record
from ledger.core.statement import AGENT, BOOK, BUDGET, PAYEE, TEAM, parse_scope

_ORDER: Final = {kind: place for place, kind in enumerate((BOOK, BUDGET, TEAM, AGENT, PAYEE))}
"""The scopes that a closing has statements of, in the order in which it lists them."""


def note_time(record: Record) -> None:
    """Note the first record of a month, by when it was written."""
    fold = record.fold
    if record.time < fold.month_until or fold.book is None:
        return
    timezone = fold.book.timezone
    month = month_at(timezone, record.time)
    if month != month_at(timezone, fold.recorded_at):
        fold.begun[month.text] = record.index
    fold.month_until = month.ends_at


def check_landing(record: Record) -> None:
    """Note a difference unless the record counts for the moment that was asked for, or where that lies in a closed
    month for the first instant after the last of these; and note which month it was backdated into."""
    body = record.body
    # What is asked for and waits for a second person counts for no moment yet.
    waits = record.columns.kind == "correction_requested"
    meant = None if waits else body.get("request", _NOTHING).get("effective_at")
    if meant is None:
        for field in _LANDING:
            if field in body:
                record.expect(field, None)
        return
    closed = sorted((row for row in _months(record) if row.state == CLOSED), key=lambda row: row.starts_at)
    moment = moment_of(meant)
    if closed and moment < closed[-1].ends_at:
        by = next(row for row in closed if moment < row.ends_at)
        expected: tuple[Any, ...] = (moment_text(closed[-1].ends_at), meant, by.closed_index)
    else:
        expected = (meant, None, None)
    for field, value in zip(_LANDING, expected, strict=True):
        record.expect(field, value)
    period = month_at(_timezone(record), record.columns.effective_at)
    if period.ends_at <= record.time:
        _row(record, period).backdated_index = record.index


_NOTHING: Final[dict[str, Any]] = {}
_LANDING: Final = ("effective_at", "meant_for", "closed_by")


def _timezone(record: Record) -> str:
    book = record.fold.book
    if book is None:
        raise LookupError("there is no book")
    return book.timezone


def _months(record: Record) -> list[Month]:
    found = (record.store.periods.get(name) for name in record.fold.months)
    return [row for row in found if row is not None]


def _row(record: Record, period: Period) -> Month:
    """The row of a month, to be changed; made where there is none."""
    if period.text in record.fold.months:
        row = record.store.periods.change(period.text)
        row.changed_index = record.index
        return row
    made = new_month(record.fold.book_id, period, record.index)
    record.store.periods.add(period.text, made)
    record.fold.months = sorted((*record.fold.months, period.text))
    return made


def _close(record: Record) -> None:
    body, period = record.body, month_named(_timezone(record), record.body["period"])
    record.expect("starts_at", moment_text(period.starts_at))
    record.expect("ends_at", moment_text(period.ends_at))
    months = _months(record)
    if record.time < period.ends_at:
        record.differ("a month is closed that is not over", moment_text(period.ends_at), body["time"])
    following = _following(record, months)
    if period != following:
        record.differ("months are closed out of order", following.text, period.text)
    size, named = body["size"], next((row for row in months if row.period == period.text), None)
    since = _since(record, period)
    if named is not None and named.backdated_index is not None:
        since = max(since, named.backdated_index + 1)
    if type(size) is not int or not max(since, 1) <= size <= record.index:
        record.differ("the statements lack something that counts for the month", f"{since} to {record.index}", size)
    root = bytes.fromhex(body["root"])
    if len(root) != HASH_SIZE:
        record.differ("the root is no hash", f"{HASH_SIZE} bytes", len(root))
    _checks(record)
    digest = _digest(record)
    row = _row(record, period)
    row.state, row.size, row.root, row.digest = CLOSED, size, root, digest
    row.closed_by, row.closed_at, row.closed_index = body["by"]["principal"], record.time, record.index
    row.forget_request()


def _since(record: Record, period: Period) -> int:
    """The first record that was written when a month was over; its own index for a closing that is the first."""
    fold = record.fold
    if fold.book is not None and fold.book.opened_at >= period.ends_at:
        return 0
    return min((index for month, index in fold.begun.items() if month > period.text), default=record.index)


def _following(record: Record, months: list[Month]) -> Period:
    """The month that is to be closed next."""
    timezone, book = _timezone(record), record.fold.book
    ends = [row.ends_at for row in months if row.state == CLOSED]
    if ends:
        return month_at(timezone, max(ends))
    opened_at = book.opened_at if book is not None else 0
    return month_at(timezone, min([opened_at, *(row.starts_at for row in months)]))


def _checks(record: Record) -> None:
    """Every check was made, and what fails was accepted, with a reason."""
    body, request = record.body, record.body["request"]
    accept = request.get("accept", [])
    if [check[0] for check in body["checks"]] != list(CHECKS):
        record.differ("a closing says what each check found", list(CHECKS), body["checks"])
    failing = []
    for name, count, items in body["checks"]:
        if type(count) is not int or count < 0 or len(items) != min(count, CHECK_ITEMS_MAX):
            record.differ(f"check {name} does not name what it counts", count, items)
        if count:
            failing.append(name)
            if name not in accept or name not in ACCEPTABLE:
                record.differ(f"check {name} fails, and nobody accepted it", accept, count)
    record.expect("accepted", failing)
    if bool(accept) != ("evidence" in request):
        record.differ("what is accepted has a reason", accept, request.get("evidence"))


def _digest(record: Record) -> bytes:
    """The digest over the statements, which are listed where they are not too many."""
    body = record.body
    digest, count, listed = bytes.fromhex(body["digest"]), body["count"], body.get("statements")
    if len(digest) != HASH_SIZE:
        record.differ("the digest is no hash", f"{HASH_SIZE} bytes", len(digest))
    if type(count) is not int or (count <= STATEMENTS_LISTED_MAX) != (listed is not None):
        record.differ("the statements are listed where they are not too many", STATEMENTS_LISTED_MAX, count)
    if listed is not None:
        if len(listed) != count:
            record.differ("the statements are not as many as it says", count, len(listed))
        scopes = [parse_scope(scope) for scope, _ in listed]
        ordered = sorted(set(scopes), key=lambda scope: (_ORDER[scope.kind], scope.name))
        if scopes != ordered or BOOK not in {scope.kind for scope in scopes}:
            record.differ("the statements are not each once and in order", [str(one) for one in ordered], listed)
        expected = digest_of([(scope, said) for scope, said in listed])
        if expected != digest:
            record.differ("the digest is not that of the statements", expected.hex(), digest.hex())
    return digest


def _last_closed(record: Record) -> Month:
    """The row of the month that a record opens again, or asks to: that which was closed last."""
    name = month_named(_timezone(record), record.body["period"]).text
    closed = sorted((row for row in _months(record) if row.state == CLOSED), key=lambda row: row.starts_at)
    if not closed or closed[-1].period != name:
        said = closed[-1].period if closed else "none"
        record.differ("only the month that was closed last is opened again", said, name)
    row = record.store.periods.change(name)
    record.expect("closing", row.closed_index)
    row.changed_index = record.index
    return row


def _request(record: Record) -> None:
    row, by = _last_closed(record), record.body["by"]
    if row.asks_to_reopen(record.time):
        record.differ("a reopening is asked for that is asked for already", "", row.reopen_by)
    key = record.store.api_keys.get(by["key"])
    if key is None:
        raise LookupError(f"there is no key {by['key']}")
    row.reopen_by, row.reopen_backer, row.reopen_at = by["principal"], key.backer, record.time


def _reopening(record: Record) -> None:
    row, by = _last_closed(record), record.body["by"]
    record.expect("requested_by", row.reopen_by)
    if not row.asks_to_reopen(record.time):
        record.differ("a month is opened again that nobody asked for", "a request", row.reopen_at)
    key = record.store.api_keys.get(by["key"])
    if key is None:
        raise LookupError(f"there is no key {by['key']}")
    if by["principal"] in (row.reopen_by, row.reopen_backer) or key.backer == row.reopen_by:
        record.differ("a month is opened again by one pair of eyes", "a second person", by["principal"])
    row.open_again()
    row.reopened_index = record.index


def _explanation(record: Record) -> None:
    reference = record.body["authorization"]
    row = record.store.authorizations.get(reference)
    if row is None:
        raise LookupError(f"there is no authorization {reference}")
    known = record.store.explanations.get(reference)
    left = row.flags & EXPLAINED_FLAGS & ~(known.flags if known is not None else 0)
    record.expect("flags", flag_names(left))
    if not left:
        record.differ("something is explained that is not flagged", "a flag", reference)
    flags, principal = flag_bits(record.body["flags"]), record.body["by"]["principal"]
    if known is None:
        made = Explanation(record.fold.book_id, reference, flags, principal, record.index, record.index)
        record.store.explanations.add(reference, made)
    else:
        changed = record.store.explanations.change(reference)
        changed.flags |= flags
        changed.explained_by, changed.changed_index = principal, record.index


HANDLERS: Final = {
    "period_close": _close,
    "period_reopen_request": _request,
    "period_reopening": _reopening,
    "explanation": _explanation,
}
"""What each kind of record about months and explanations does."""
