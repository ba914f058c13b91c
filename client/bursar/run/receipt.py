"""The receipt of a run: what its calls cost, what was refused and why, what is still open, what is left of the cap.

Pure, but for ``read``, which asks the server. Invariants: sums are exact decimals, one for each currency, and never
added across currencies; what a server does not tell is said to be unknown and not taken for zero; where a run has more
calls than are read, the receipt says so and takes the totals from the run itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Context, Decimal
from typing import Any, Final
from urllib.parse import quote

from bursar.asking import CannotAsk, Refused, Remote

ROWS_MAX: Final = 20_000
EXPLAINED_MAX: Final = 5
EXACT: Final = Context(prec=80)
REFUSED_STATES: Final = frozenset({"denied", "refused"})
OPEN_STATES: Final = frozenset({"held", "pending_approval"})
WITHOUT_COST: Final = frozenset({"released", "expired"})
NO_MODEL: Final = "(not named)"
TOKEN_COUNTS: Final = ("input_tokens", "output_tokens")


def read(server: Remote, run: str) -> dict[str, Any]:
    """The receipt of a run as it stands now. Raises Refused or CannotAsk."""
    found = server.get(f"/v1/runs/{quote(run, safe='')}")
    rows = server.items("/v1/authorizations", limit=ROWS_MAX, run=run)
    receipt = receipt_of(found, rows)
    for refusal in receipt["refused"][:EXPLAINED_MAX]:
        refusal |= _explained(server, refusal.pop("example"))
    for refusal in receipt["refused"]:
        refusal.pop("example", None)
    return receipt


def receipt_of(run: Mapping[str, Any], rows: list[Any]) -> dict[str, Any]:
    """The receipt of a run and its authorizations, newest first, as the server shows them: a JSON object whose amounts
    are {"amount", "currency"} with decimal text. Each item of ``refused`` has the id of an ``example``."""
    taken = [row for row in rows if row["state"] not in REFUSED_STATES]
    totals = [_total(total) for total in run.get("totals") or ()]
    counted = sum(total["approved_count"] + total["denied_count"] for total in totals)
    receipt: dict[str, Any] = {
        "run": run["name"],
        "agent": run["agent"],
        "calls": {
            "settled": sum(row["state"] == "settled" for row in taken),
            "without_cost": sum(row["state"] in WITHOUT_COST for row in taken),
            "open": sum(row["state"] in OPEN_STATES and not _unknown(row) for row in taken),
            "unknown": sum(_unknown(row) for row in taken),
            "refused": len(rows) - len(taken),
        },
        "tokens": _tokens(taken),
        "spent": [{"amount": total["spent"]["amount"], "currency": total["currency"]} for total in totals],
        "held": [{"amount": total["held"]["amount"], "currency": total["currency"]} for total in totals],
        "models": list(_by_model(taken)),
        "open": [_open(row) for row in taken if row["state"] in OPEN_STATES],
        "refused": list(_refused(rows)),
        "cap": run.get("cap"),
        "remaining": run.get("remaining"),
    }
    if len(rows) >= ROWS_MAX and counted > len(rows):
        receipt["rows_read"] = len(rows)
    return receipt


def _total(total: Mapping[str, Any]) -> dict[str, Any]:
    return {"approved_count": 0, "denied_count": 0, **total}


def _unknown(row: Mapping[str, Any]) -> bool:
    """Whether money is held for a call whose outcome nobody knows."""
    return row["state"] in OPEN_STATES and "unknown" in (row.get("flags") or ())


def _tokens(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Tokens in and out, and of how many settled calls the server does not tell them."""
    found = {**dict.fromkeys(TOKEN_COUNTS, 0), "calls_not_told": 0}
    for row in rows:
        if row["state"] != "settled":
            continue
        counts = [_count(row, name) for name in TOKEN_COUNTS]
        if all(count is None for count in counts):
            found["calls_not_told"] += 1
        for name, count in zip(TOKEN_COUNTS, counts, strict=True):
            found[name] += count or 0
    return found


def _count(row: Mapping[str, Any], name: str) -> int | None:
    text = str((row.get("metering") or {}).get(name, ""))
    return int(text) if text.isascii() and text.isdigit() else None


def _model(row: Mapping[str, Any]) -> str:
    return str((row.get("metering") or {}).get("model") or row.get("resource") or NO_MODEL)


def _by_model(rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Calls, tokens and net cost of each model and currency, the dearest first."""
    grouped: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["state"] == "settled" or _cost(row):
            grouped.setdefault((row["settled"]["currency"], _model(row)), []).append(row)
    costs = {group: _sum(_cost(row) for row in members) for group, members in grouped.items()}
    for currency, model in sorted(grouped, key=lambda group: (group[0], -costs[group], group[1])):
        members = grouped[currency, model]
        yield {
            "model": model,
            "calls": len(members),
            **{name: sum(_count(row, name) or 0 for row in members) for name in TOKEN_COUNTS},
            "cost": {"amount": f"{costs[currency, model]:f}", "currency": currency},
        }


def _cost(row: Mapping[str, Any]) -> Decimal:
    """What a call cost in the end: settled, as repriced since, less what was refunded."""
    plus = [row["settled"], row.get("repriced")]
    minus = row.get("refunded")
    return EXACT.subtract(_sum(Decimal(item["amount"]) for item in plus if item), _decimal(minus))


def _decimal(money: Mapping[str, str] | None) -> Decimal:
    return Decimal(money["amount"]) if money else Decimal()


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    total = Decimal()
    for amount in amounts:
        total = EXACT.add(total, amount)
    return total


def _open(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "authorization": row["id"],
        "state": "unknown" if _unknown(row) else row["state"],
        "model": _model(row),
        "held": row.get("held") or row["amount"],
        "expires_at": row.get("expires_at"),
    }


def _refused(rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """How often each reason refused which model, the most frequent first, with the newest as an example."""
    grouped: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["state"] in REFUSED_STATES:
            reason = str(row.get("reason") or row["state"])
            grouped.setdefault((reason, _model(row)), []).append(row)
    for (reason, model), members in sorted(grouped.items(), key=lambda item: (-len(item[1]), item[0])):
        yield {"reason": reason, "model": model, "count": len(members), "example": members[0]["id"]}


def _explained(server: Remote, authorization: str) -> dict[str, str]:
    """The rule and the sentence of one refusal; empty where they cannot be had, which must not cost the receipt."""
    try:
        found = server.get(f"/v1/authorizations/{quote(authorization, safe='')}")
        first = (found.get("decision") or {}).get("reasons", ())[0]
    except (Refused, CannotAsk, LookupError, TypeError):
        return {}
    return {name: str(first[name]) for name in ("rule", "detail") if first.get(name)}
