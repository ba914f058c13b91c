"""Rates, and what was asked in another currency than its budget's, as answers show them.

Invariant: amounts are shown in the currency that was asked, beside those in the budget's, and never added to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from api.amounts import MONEY_SCALE, Scale, money
from ledger.core.outcome import Outcome
from ledger.core.rate import Rate, day_text

_AMOUNTS: Final = ("amount", "approved", "settled", "refunded", "repriced")


def exchange_said(exchange: Mapping[str, Any]) -> dict[str, Any]:
    """The asked side of an authorization or a charge, with the rates that it is converted by."""
    currency = exchange["currency"]
    digits = MONEY_SCALE[currency]
    return {
        **{name: money(exchange[name], currency, digits) for name in _AMOUNTS},
        "rates": [_used(rate) for rate in exchange["rates"]],
    }


def _used(rate: Sequence[Any]) -> dict[str, Any]:
    log_index, base, quote, text, day, source, is_inverse = rate
    return {
        "base": base,
        "quote": quote,
        "rate": text,
        "valid_from": day,
        "source": source,
        "inverse": is_inverse,
        "log_index": log_index,
    }


def rates_answer(outcome: Outcome, scale: Scale) -> dict[str, Any]:
    """The rates that a record gave."""
    body = outcome.body or {}
    return {
        "id": body["rate"],
        "source": body["source"],
        "max_age_days": body["max_age_days"],
        "rates": [
            {"base": base, "quote": quote, "rate": rate, "valid_from": day} for base, quote, rate, day in body["rates"]
        ],
        "recorded_at": body["time"],
        "log": {"index": outcome.log_index, "leaf_hash": outcome.leaf_hash.hex()},
    }


def rate_view(row: Rate) -> dict[str, Any]:
    """The rate that is there for a pair and a day."""
    base, _, quote = row.pair.partition("/")
    return {
        "base": base,
        "quote": quote,
        "rate": row.rate,
        "valid_from": day_text(row.day),
        "source": row.source,
        "max_age_days": row.max_age_days,
        "log": {"index": row.changed_index},
    }
