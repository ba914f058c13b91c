"""A decision as answers show it: which policies were asked, what each limit says, and why not.

Owns the member ``decision`` of answers. Invariants: it is a function of the record, so a replay repeats it byte for
byte; amounts leave as money and counts as integers under names of their own (``used`` and ``used_count``); where the
request was approved, ``used`` and ``remaining`` are as they stand right after it, else as the decision found them. This
runs for every answer, so what is the same for many requests is written once and kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from math import ceil
from typing import Any, Final, NamedTuple

import orjson

from api.amounts import decimal_text, money
from ledger.core.moment import SECOND, moment_of, moment_text
from ledger.core.money import NANO_DIGITS
from ledger.core.outcome import Status
from ledger.core.rules import RULE_RUN_CAP
from ledger.core.windows import AUTHORIZATION

APPROVED: Final = orjson.Fragment(b'{"outcome":"approved","reasons":[],"policies":[],"limits":[]}')
ATOMS_OF_A_REASON: Final = ("observed", "limit", "remaining")
EVALUATED: Final = "evaluated"
"""Member of the body of an evaluation: nothing is held, so what is shown is as it is now."""
_NOT_PERMITTED: Final = Status.BUDGET_NOT_PERMITTED.value
_VELOCITY: Final = Status.VELOCITY.value
_POLICY_ERROR: Final = Status.POLICY_ERROR.value
_NOT_LOOKED_AT: Final = frozenset((Status.LIMIT_CURRENCY.value, Status.RUN_REQUIRED.value))
"""Reasons of limits that could not be looked at: what is left is not known, and the currency may be another."""
_ASKS: Final = "ask"
PARTS_KEPT: Final = 4_096
"""Standing parts of limits kept for each set of versions: a limit by agent has one for each agent."""


class More(NamedTuple):
    """What the decision itself added: ``amount`` to windows, ``total`` of the authorization (atoms), ``ones`` to counts
    of authorizations, ``attempts`` to counts of attempts."""

    amount: int
    total: int
    ones: int
    attempts: int


_NOTHING: Final = More(0, 0, 0, 0)


class _Parts(NamedTuple):
    """The JSON of one limit around the values that change from request to request."""

    head: str
    middle: str
    tail: str
    limit: int


def is_strangers(decision: Mapping[str, Any]) -> bool:
    """Whether the budget was not the asker's to spend from: what it has is then none of the asker's business."""
    return any(reason["code"] == _NOT_PERMITTED for reason in decision["reasons"])


def decision_of(decision: Mapping[str, Any], currency: str, digits: int, body: Mapping[str, Any]) -> Any:
    """A decision in an answer. ``body`` is that of its record; ``currency`` and ``digits`` are the request's."""
    outcome, reasons = decision["outcome"], decision["reasons"]
    cap = _run_cap(decision, currency, digits, body) if "run" in body and not reasons else None
    if not reasons and not decision["policies"] and outcome == "approved" and cap is None:
        return APPROVED
    known = _policies(orjson.dumps(decision["policies"]))
    names = known.names
    strangers = bool(reasons) and is_strangers(decision)
    more = _NOTHING if reasons else _more(body)
    shown: dict[str, Any] = {
        "outcome": outcome,
        "reasons": [
            reason_of(reason, names, currency, digits)
            for reason in reasons
            if not strangers or "observed" not in reason
        ],
        "policies": known.shown,
        "limits": [],
    }
    if strangers:
        return shown
    shadow = decision.get("shadow")
    limits = decision["limits"]
    if reasons or shadow:
        hidden = _hidden(reasons, shadow)
        limits = [said for said in limits if f"{names[said[0]]}/{said[1]}" not in hidden]
    if limits:
        shown["limits"] = _limits(limits, known, currency, digits, more)
    if cap is not None:
        shown["run_cap"] = cap
    approvals = decision.get("approvals")
    if approvals:
        shown["approvals"] = [_threshold(names[said[0]], said, currency, digits, more) for said in approvals]
    if shadow:
        shown["shadow"] = [reason_of(reason, names, currency, digits) for reason in shadow]
    return shown


def _run_cap(decision: Mapping[str, Any], currency: str, digits: int, body: Mapping[str, Any]) -> dict[str, Any] | None:
    """The cap of the run as an approved request leaves it, and as an evaluation found it; None where it has none."""
    said = next((rule for rule in decision["rules"] if rule[0] == RULE_RUN_CAP), None)
    if said is None:
        return None
    _, _, used, limit, remaining = said
    now = int(body["approved"]) if EVALUATED in body else 0
    return {
        "limit": money(limit, currency, digits),
        "used": money(str(int(used) - now), currency, digits),
        "remaining": money(str(int(remaining) + now), currency, digits),
    }


def _more(body: Mapping[str, Any]) -> More:
    """What an approved decision added to what it found."""
    if EVALUATED in body:
        return _NOTHING
    total = int(body.get("approved", "0"))
    if body["kind"] == "extension":
        return More(int(body["amount"]), total, 0, 0)
    return More(total, total, 1, 1)


def _hidden(reasons: Iterable[Mapping[str, Any]], shadow: Iterable[Mapping[str, Any]] | None) -> Collection[str]:
    """The rules of limits that could not be looked at."""
    return {reason["rule"] for reason in (*reasons, *(shadow or ())) if reason["code"] in _NOT_LOOKED_AT}


class _Known(NamedTuple):
    """What is the same for all requests under the same versions of policies: their names, all of them as an answer
    shows them, and the standing parts of their limits as they were met."""

    names: tuple[str, ...]
    shown: orjson.Fragment
    parts: dict[tuple[Any, ...], _Parts]


@lru_cache(maxsize=1_024)
def _policies(packed: bytes) -> _Known:
    """What is known of policies, from their JSON in a body."""
    said = orjson.loads(packed)
    shown = []
    for name, version, digest, *rest in said:
        one: dict[str, Any] = {"name": name, "version": version, "digest": digest}
        if rest:
            one["shadow"] = True
        shown.append(one)
    return _Known(tuple(item[0] for item in said), orjson.Fragment(orjson.dumps(shown)), {})


def reason_of(reason: Mapping[str, Any], names: Collection[str], currency: str, digits: int) -> dict[str, Any]:
    """Why not: a reason of a body in an answer."""
    shown: dict[str, Any] = {"code": reason["code"], "rule": reason["rule"]}
    policy, slash, _ = reason["rule"].partition("/")
    if (slash or reason["code"] == _POLICY_ERROR) and policy in names:
        shown["policy"] = policy
    shown["detail"] = reason["detail"]
    if "observed" in reason:
        if reason.get("unit") == "count":
            for name in ATOMS_OF_A_REASON:
                shown[f"{name}_count"] = int(reason[name])
        else:
            for name in ATOMS_OF_A_REASON:
                shown[name] = money(reason[name], currency, digits)
    for name in ("fits_at", "never_fits"):
        if name in reason:
            shown[name] = reason[name]
    return shown


def _parts(
    policy: str, rule: str, sort: str, window: str, limit: str, ends_at: int, key: str, currency: str, digits: int
) -> _Parts:
    """The standing parts of one limit. ``ends_at`` in microseconds, 0 where the window does not end by the calendar."""
    head = orjson.dumps({"policy": policy, "id": rule, "window": window.removeprefix("rolling within") or "within"})
    tail = f',"resets_at":"{moment_text(ends_at)}"' if ends_at else ""
    if key:
        tail += f',"key":{key}'
    if sort == "money":
        opened, closed = '":{"amount":"', f'","currency":{orjson.dumps(currency).decode()}}}'
        return _Parts(
            f'{head[:-1].decode()},"limit{opened}{decimal_text(limit, digits)}{closed},"used{opened}',
            f'{closed},"remaining{opened}',
            f"{closed}{tail}}}",
            int(limit),
        )
    return _Parts(
        f'{head[:-1].decode()},"limit_count":{limit},"used_count":', ',"remaining_count":', f"{tail}}}", int(limit)
    )


def _limits(said: Iterable[list[Any]], known: _Known, currency: str, digits: int, more: More) -> orjson.Fragment:
    """The JSON of limits. Written out in one loop: an answer may have dozens, and each call in it would show."""
    amount, total, ones, attempts = more
    names, parts = known.names, known.parts
    texts: list[str] = []
    for place, rule, sort, window, limit, before, _, ends_at, key in said:
        standing = (place, rule, sort, limit, ends_at, key, currency)
        found = parts.get(standing)
        if found is None:
            if len(parts) >= PARTS_KEPT:
                parts.clear()
            found = parts[standing] = _parts(names[place], rule, sort, window, limit, ends_at, key, currency, digits)
        head, middle, tail, maximum = found
        used = int(before)
        if sort != "money":
            used += ones if sort == "count" else attempts
            left = maximum - used
            texts.append(f"{head}{used}{middle}{left if left > 0 else 0}{tail}")
            continue
        used += total if window == AUTHORIZATION else amount
        left = maximum - used
        if left < 0:
            left = 0
        if digits == NANO_DIGITS:
            # What decimal_text does, for the digits that nearly all money has.
            has, rest = f"{used:010d}", f"{left:010d}"
            texts.append(
                f"{head}{has[:-9]}.{has[-9:].rstrip('0'):0<2}{middle}{rest[:-9]}.{rest[-9:].rstrip('0'):0<2}{tail}"
            )
        else:
            texts.append(f"{head}{decimal_text(str(used), digits)}{middle}{decimal_text(str(left), digits)}{tail}")
    return orjson.Fragment(f"[{','.join(texts)}]".encode())


def _threshold(policy: str, said: list[Any], currency: str, digits: int, more: More) -> dict[str, Any]:
    """One approval threshold."""
    _, rule, window, above, before, verdict = said
    used = int(before) + (more.total if window == AUTHORIZATION else more.amount)
    return {
        "policy": policy,
        "id": rule,
        "window": window,
        "above": money(above, currency, digits),
        "used": money(str(used), currency, digits),
        "asks": verdict == _ASKS,
    }


def patience_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """When a denied request would fit: ``fits_at`` where every reason says when it ends (the latest of them),
    ``never_fits`` where any never does; nothing where that is not known."""
    reasons = body["decision"]["reasons"]
    if any(reason.get("never_fits") for reason in reasons):
        return {"never_fits": True}
    moments = [reason["fits_at"] for reason in reasons if "fits_at" in reason]
    # All of one form, so the texts sort as the moments do.
    return {"fits_at": max(moments)} if reasons and len(moments) == len(reasons) else {}


def retry_after_seconds(body: Mapping[str, Any]) -> int | None:
    """Whole seconds, at least one, until a rate that is too fast would let the request through; None where no such
    reason is given."""
    moments = [
        moment_of(reason["fits_at"])
        for reason in body["decision"]["reasons"]
        if reason["code"] == _VELOCITY and "fits_at" in reason
    ]
    if not moments:
        return None
    return max(ceil((max(moments) - moment_of(body["time"])) / SECOND), 1)
