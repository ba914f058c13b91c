"""How months, their closings and explanations are shown.

Invariant: a closing says the same in the answer to its request, in a replay of that, and for ever after, because it is
read from its record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ledger.core.authorization import flag_names
from ledger.core.closing import OPEN, REOPEN_SECONDS, CheckResult, Explanation, Month
from ledger.core.moment import SECOND, moment_text
from ledger.core.outcome import Outcome
from ledger.services.closing import MonthSeen

REOPENING = "reopening"
"""A month that is closed, and that somebody asked to open again."""


def closing_said(body: Mapping[str, Any]) -> dict[str, Any]:
    """What the record of a closing says."""
    return {
        "size": body["size"],
        "root": body["root"],
        "digest": body["digest"],
        "statements": [{"scope": scope, "digest": digest} for scope, digest in body.get("statements", ())],
        "statements_count": body["count"],
        "checks": [check_shown(CheckResult(name, failing, tuple(items))) for name, failing, items in body["checks"]],
        "accepted": body["accepted"],
    }


def check_shown(check: CheckResult) -> dict[str, Any]:
    """What one check found."""
    return {"name": check.name, "failing": check.failing, "items": list(check.items)}


def closed_answer(outcome: Outcome, scale: Mapping[str, int]) -> dict[str, Any]:
    """The answer to the closing of a month."""
    body = outcome.body or {}
    return {
        "period": body["period"],
        "state": "closed",
        "from": body["starts_at"],
        "to": body["ends_at"],
        **closing_said(body),
        "closed_by": body["by"]["principal"],
        "closed_at": body["time"],
        "log": _log(outcome),
    }


def reopening_answer(outcome: Outcome, scale: Mapping[str, int]) -> dict[str, Any]:
    """The answer to whoever asks that a month be opened again, and to the second person, who opens it."""
    body = outcome.body or {}
    asks = body["kind"] == "period_reopen_request"
    by = body["by"]["principal"]
    shown = {"period": body["period"], "state": REOPENING if asks else OPEN, "closing": body["closing"]}
    if asks:
        return {**shown, "requested_by": by, "log": _log(outcome)}
    return {**shown, "requested_by": body["requested_by"], "approved_by": by, "log": _log(outcome)}


def explanation_answer(outcome: Outcome, scale: Mapping[str, int]) -> dict[str, Any]:
    """The answer to an explanation."""
    body = outcome.body or {}
    return {
        "authorization": body["authorization"],
        "flags": body["flags"],
        "explained_by": body["by"]["principal"],
        "recorded_at": body["time"],
        "log": _log(outcome),
    }


CLOSING_ANSWERS: Final[Mapping[str, Callable[[Outcome, Mapping[str, int]], dict[str, Any]]]] = {
    "period_close": closed_answer,
    **dict.fromkeys(("period_reopen_request", "period_reopening"), reopening_answer),
    "explanation": explanation_answer,
}
"""Kind of record to the answer of the request that wrote it."""


def _log(outcome: Outcome) -> dict[str, Any]:
    return {"index": outcome.log_index, "leaf_hash": outcome.leaf_hash.hex()}


def month_shown(seen: MonthSeen, now: int) -> dict[str, Any]:
    """A month in a list."""
    period, row = seen.period, seen.row
    shown: dict[str, Any] = {
        "period": period.text,
        "state": seen.state,
        "first_day": period.first.isoformat(),
        "last_day": period.last.isoformat(),
        "from": moment_text(period.starts_at),
        "to": moment_text(period.ends_at),
        "is_over": period.ends_at <= now,
        "closed": None,
        "reopening": None,
        "reopened_index": row.reopened_index if row is not None else None,
    }
    if row is None or row.closed_at is None:
        return shown
    shown["closed"] = {
        "by": row.closed_by,
        "at": moment_text(row.closed_at),
        "log_index": row.closed_index,
        "size": row.size,
        "root": (row.root or b"").hex(),
        "digest": (row.digest or b"").hex(),
    }
    if row.asks_to_reopen(now):
        shown["state"] = REOPENING
        shown["reopening"] = _reopening(row)
    return shown


def _reopening(row: Month) -> dict[str, Any]:
    requested_at = row.reopen_at or 0
    return {
        "requested_by": row.reopen_by,
        "requested_at": moment_text(requested_at),
        "lapses_at": moment_text(requested_at + REOPEN_SECONDS * SECOND),
    }


def explanation_view(row: Explanation, reason: str | None) -> dict[str, Any]:
    """An explanation in a list; its reason is that of the last."""
    shown: dict[str, Any] = {
        "authorization": row.authorization_id,
        "flags": flag_names(row.flags),
        "explained_by": row.explained_by,
        "log_index": row.changed_index,
    }
    return shown | ({"reason": reason} if reason is not None else {})
