"""Reconciliations as answers show them, from the record or, where that is archived, from the row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.amounts import Scale, money
from ledger.core.moment import moment_text
from ledger.core.outcome import Outcome
from ledger.core.reconciliation import Reconciliation
from ledger.core.reconciling_lines import quantities_of
from ledger.services.reconciling import UsedLine


def reconciliation_answer(outcome: Outcome, scale: Scale) -> dict[str, Any]:
    """What the request that wrote the record is answered with."""
    return said(outcome.body or {}, outcome.log_index, outcome.leaf_hash, scale)


def said(body: Mapping[str, Any], index: int, leaf_hash: bytes, scale: Scale) -> dict[str, Any]:
    """A reconciliation as its record has it."""
    currency = body["currency"]
    digits = scale[currency]
    differences = [
        {"kind": kind, "count": count, "amount": money(atoms, currency, digits)}
        for kind, count, atoms in body["differences"]
    ]
    return {
        "id": body["reconciliation"],
        **{name: body[name] for name in ("payee", "currency", "source", "starts_at", "ends_at", "at_size")},
        **{name: money(body[name], currency, digits) for name in ("provider_total", "ledger_total", "open_amount")},
        **{name: body[name] for name in ("open_differences", "accepted", "lines", "matched", "files")},
        "differences": differences,
        "booked": body.get("booked", []),
        "recorded_at": body["time"],
        "log": {"index": index, "leaf_hash": leaf_hash.hex()},
    }


def kept(row: Reconciliation, scale: Scale) -> dict[str, Any]:
    """A reconciliation whose record was archived: what its row says."""
    digits = scale[row.currency]
    return {
        "id": row.id,
        **{name: getattr(row, name) for name in ("payee", "currency", "source", "at_size")},
        "starts_at": moment_text(row.starts_at),
        "ends_at": moment_text(row.ends_at),
        **{
            name: money(str(getattr(row, name)), row.currency, digits)
            for name in ("provider_total", "ledger_total", "open_amount")
        },
        "open_differences": row.open_differences,
        "accepted": row.accepted,
        "recorded_at": moment_text(row.created_at),
        "log": {"index": row.created_index},
    }


def used_line(used: UsedLine, scale: Scale) -> dict[str, Any]:
    """A line of the ledger's side."""
    line = used.line
    return {
        "index": line.log_index,
        **{
            name: getattr(line, name) for name in ("position", "kind", "agent", "budget", "run", "category", "resource")
        },
        "authorization": line.authorization_id,
        "amount": money(str(line.billed), line.currency, scale[line.currency]),
        "effective_at": moment_text(line.effective_at),
        "started_at": moment_text(used.asked_at),
        "model": used.metering.get("model"),
        "response_id": used.metering.get("response_id"),
        "quantities": quantities_of(used.metering),
    }
