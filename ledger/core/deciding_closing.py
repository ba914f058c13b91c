"""Decisions on months: closing one, asking that it be opened again, opening it; and explaining what is flagged.

Invariants: months close one after the other, each once it is over; a closing stands on a size of the log that has all
that counts for its month, so that nothing which was recorded between the making of its statements and its record is
missing from them; no check that fails is passed over without a reason; only the month that was closed last is opened
again, by two persons.
"""

from typing import Any

from ledger.core.authorization import flag_names
from ledger.core.beginning import begin
from ledger.core.canonical import parse
from ledger.core.closing import (
    ACCEPTABLE,
    CHECKS,
    CLOSED,
    EXPLAINED_FLAGS,
    STATEMENTS_LISTED_MAX,
    Explanation,
    Month,
    digest_of,
    first_month,
    last_closed,
    month_named,
    new_month,
    next_month,
)
from ledger.core.command_closing import ApproveReopening, ClosePeriod, Explain, RequestReopening
from ledger.core.finishing import finish
from ledger.core.landing import add_month, change_month, months_of
from ledger.core.moment import moment_of, moment_text
from ledger.core.outcome import Outcome, Status
from ledger.core.period import Period
from ledger.core.refusal import refuse
from ledger.core.working import Batch


def close_period(batch: Batch, asked: ClosePeriod) -> Outcome:
    """Close a month, with the digests of its statements."""
    if bool(asked.accept) != (asked.evidence is not None):
        raise ValueError("what is accepted comes with its reasons")
    request: dict[str, Any] = {"period": asked.period}
    if asked.accept:
        request["accept"] = list(asked.accept)
    who, packed, replay = begin(batch, asked, request)
    if replay is not None:
        return replay
    months = months_of(batch)
    period = _closable(batch, asked.period, months)
    _check_size(batch, period, months, asked.size)
    _check_checks(asked)
    known = any(month.period == period.text for month in months)
    if known:
        month = change_month(batch, period.text)
    else:
        month = add_month(batch, new_month(batch.book_id, period, batch.index))
    month.state = CLOSED
    month.size, month.root, month.digest = asked.size, asked.root, digest_of(asked.statements)
    month.closed_by, month.closed_at, month.closed_index = who[0], batch.now, batch.index
    month.forget_request()
    body: dict[str, Any] = {
        "period": period.text,
        "starts_at": moment_text(period.starts_at),
        "ends_at": moment_text(period.ends_at),
        "size": asked.size,
        "root": asked.root.hex(),
        "digest": month.digest.hex(),
        "count": len(asked.statements),
        "checks": [[check.name, check.failing, list(check.items)] for check in asked.checks],
        "accepted": [check.name for check in asked.checks if check.failing],
    }
    if len(asked.statements) <= STATEMENTS_LISTED_MAX:
        body["statements"] = [list(one) for one in asked.statements]
    return finish(batch, asked, who, packed, "period_close", period.text, body, [])


def _closable(batch: Batch, name: str, months: list[Month]) -> Period:
    """The month that is meant, if it is the next to close; refuses any other."""
    timezone = batch.snapshot.book.timezone
    period = month_named(timezone, name)
    named = next((month for month in months if month.period == period.text), None)
    if named is not None and named.state == CLOSED:
        refuse(
            Status.WRONG_STATE,
            f"{period.text} was closed by record {named.closed_index}",
            state=CLOSED,
            closed_index=named.closed_index,
        )
    if period.ends_at > batch.now:
        refuse(
            Status.PERIOD_NOT_OVER,
            f"{period.text} is over at {moment_text(period.ends_at)}, and it is {batch.now_text}",
        )
    closed = last_closed(months)
    if closed is not None:
        following = next_month(timezone, month_named(timezone, closed.period))
    else:
        following = first_month(timezone, batch.snapshot.book.opened_at, months)
    if period.starts_at < following.starts_at:
        # What lies before the first that is closed can hold nothing any more.
        refuse(Status.NOT_FOUND, f"nothing counts for {period.text}: the book begins with a later month")
    if period != following:
        refuse(
            Status.PERIOD_OUT_OF_ORDER,
            f"months close one after the other: {following.text} comes before {period.text}",
            period=following.text,
        )
    return period


def _check_size(batch: Batch, period: Period, months: list[Month], size: int) -> None:
    """Refuse statements that may lack a line of their month: one that was recorded while the month was going on, or
    that was backdated into it since."""
    named = next((month for month in months if month.period == period.text), None)
    backdated = named is not None and named.backdated_index is not None and named.backdated_index >= size
    if size < 1 or size > batch.index or backdated or _time_of(batch, size) < period.ends_at:
        refuse(
            Status.PERIOD_CHANGED,
            f"something that counts for {period.text} was recorded behind the {size} records that its statements stand "
            "on; make them again",
            period=period.text,
        )


def _time_of(batch: Batch, index: int) -> int:
    """When the record at ``index`` was written, now where there is none yet; -1 where that cannot be told."""
    if index >= batch.snapshot.head.size:
        return batch.now
    packed = batch.fact("bodies", index)
    return -1 if packed is None else moment_of(parse(packed)["time"])


def _check_checks(asked: ClosePeriod) -> None:
    """Refuse to close while something fails that nobody accepted."""
    if tuple(check.name for check in asked.checks) != CHECKS:
        raise ValueError("a closing comes with what each check found")
    accepted = frozenset(asked.accept) & frozenset(ACCEPTABLE)
    failing = [check for check in asked.checks if check.failing and check.name not in accepted]
    if failing:
        said = "; ".join(f"{check.name}: {check.failing}" for check in failing)
        refuse(
            Status.CHECKS_FAILED,
            f"checks of {asked.period} fail ({said}); mend what they name, or accept them with a reason",
            period=asked.period,
            checks=[{"name": one.name, "failing": one.failing, "items": list(one.items)} for one in failing],
        )


def _last_closed(batch: Batch, name: str) -> Month:
    """The month that is meant, if it was closed last; refuses any other."""
    period = month_named(batch.snapshot.book.timezone, name)
    months = months_of(batch)
    named = next((month for month in months if month.period == period.text), None)
    if named is None or named.state != CLOSED:
        refuse(Status.WRONG_STATE, f"{period.text} is not closed", state="open")
    last = last_closed(months)
    if last is not None and last.period != named.period:
        refuse(
            Status.PERIOD_OUT_OF_ORDER,
            f"only the month that was closed last can be opened again: {last.period} comes before {named.period}",
            period=last.period,
        )
    return named


def request_reopening(batch: Batch, asked: RequestReopening) -> Outcome:
    """Ask that a month be opened again, which a second person then does."""
    who, packed, replay = begin(batch, asked, {"period": asked.period})
    if replay is not None:
        return replay
    named = _last_closed(batch, asked.period)
    if named.asks_to_reopen(batch.now):
        refuse(
            Status.WRONG_STATE,
            f"{named.reopen_by} asked for it already; it waits for a second person",
            state="reopening",
        )
    key = batch.key_of(asked.caller.key_digest) if asked.caller.key_digest is not None else None
    if key is None:
        raise LookupError("who asks to reopen has a key")
    month = change_month(batch, named.period)
    month.reopen_by, month.reopen_backer, month.reopen_at = who[0], key.backer, batch.now
    body: dict[str, Any] = {"period": month.period, "closing": month.closed_index}
    return finish(batch, asked, who, packed, "period_reopen_request", month.period, body, [])


def approve_reopening(batch: Batch, asked: ApproveReopening) -> Outcome:
    """Open a month again: the second of two persons."""
    who, packed, replay = begin(batch, asked, {"period": asked.period})
    if replay is not None:
        return replay
    named = _last_closed(batch, asked.period)
    if not named.asks_to_reopen(batch.now):
        refuse(
            Status.WRONG_STATE,
            f"nobody asks that {named.period} be opened again, or asked too long ago; ask first",
            state=CLOSED,
        )
    key = batch.key_of(asked.caller.key_digest) if asked.caller.key_digest is not None else None
    if key is None or not is_second(who[0], key.backer, named.reopen_by, named.reopen_backer):
        refuse(
            Status.NOT_AN_APPROVER,
            f"{named.reopen_by} asked for it: a second person opens {named.period} again, neither of whom made the "
            "other's key",
        )
    month = change_month(batch, named.period)
    body: dict[str, Any] = {"period": month.period, "closing": month.closed_index, "requested_by": month.reopen_by}
    month.open_again()
    month.reopened_index = batch.index
    return finish(batch, asked, who, packed, "period_reopening", month.period, body, [])


def is_second(principal: str, backer: str, first: str | None, first_backer: str | None) -> bool:
    """Whether a person is another than the one who asked, and neither of the two made the other's key: two keys of one
    person's making are one pair of eyes."""
    return principal not in (first, first_backer) and backer != first


def explain(batch: Batch, asked: Explain) -> Outcome:
    """Explain what is flagged on an authorization or a charge, so that its month can close."""
    who, packed, replay = begin(batch, asked, {"authorization": asked.authorization})
    if replay is not None:
        return replay
    found = batch.authorization(asked.authorization)
    if found is None:
        refuse(Status.NOT_FOUND, f"there is no authorization or charge {asked.authorization}")
    known: Explanation | None = batch.fact("explanations", found.id)
    flags = found.flags & EXPLAINED_FLAGS
    left = flags if known is None else flags & ~known.flags
    if not left:
        refuse(
            Status.WRONG_STATE,
            f"{found.id} has no flag that is not explained",
            state=found.state,
            authorization=found.id,
        )
    if known is None:
        row = Explanation(batch.book_id, found.id, left, who[0], batch.index, batch.index)
        batch.add("explanations", found.id, row)
    else:
        row = batch.change("explanations", found.id)
        row.flags |= left
        row.explained_by, row.changed_index = who[0], batch.index
    body: dict[str, Any] = {"authorization": found.id, "flags": flag_names(left)}
    return finish(batch, asked, who, packed, "explanation", found.id, body, [])
