"""How closings, reopenings and explanations are answered.

Invariant: a closing says the same in the answer to its request, in a replay of that, and for ever after, because it is
read from its record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ledger.core.authorization import flag_names
from ledger.core.closing import OPEN, Explanation
from ledger.core.outcome import Outcome
from ledger.services.closing_said import REOPENING, closing_said


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


def explanation_view(row: Explanation, reason: str | None) -> dict[str, Any]:
    """An explanation in a list; its reason is that of the last."""
    shown: dict[str, Any] = {
        "authorization": row.authorization_id,
        "flags": flag_names(row.flags),
        "explained_by": row.explained_by,
        "log_index": row.changed_index,
    }
    return shown | ({"reason": reason} if reason is not None else {})
