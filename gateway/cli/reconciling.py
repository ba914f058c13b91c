"""What is to become of calls whose outcome is not known: found in a bill, absent from it, or as whoever asks says.

Owns the plan; nothing here asks a server. Invariants: amounts are exact decimals, rounded half-even once, at one atom
of the currency; a call is settled for what was billed less what it has settled before, never below zero; what a bill
does not cover, or says in another currency or without a cost, is kept as it is, with the reason.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any, Final

from gateway.cli.bill import BillLine
from ledger.core.moment import moment_of, moment_text
from ledger.core.money import currency_digits

SETTLE: Final = "settle"
RELEASE: Final = "release"
KEEP: Final = "keep"
EVIDENCE_BYTES: Final = 7_000
"""Less than the 8,192 that the server takes as evidence."""
BILL_SOURCE: Final = "bill"
"""The source of a cost that a bill said, or of the sum of several lines."""
EXACT: Final = Context(prec=120)
"""Sums of costs of any bill are exact in it."""


@dataclass(frozen=True, slots=True)
class Call:
    """A hold of a call that nobody knows the outcome of; times in microseconds. ``settled`` is what it has cost so far,
    at the prices that hold now; ``said_unknown`` is False for one whose time has not run out. ``response_id`` is what a
    partial settlement was metered from, empty where none was."""

    authorization: str
    agent: str
    model: str
    payee: str
    currency: str
    held: Decimal
    settled: Decimal
    created_at: int
    ends_at: int
    said_unknown: bool
    response_id: str

    def age_seconds(self, now: int) -> int:
        """Whole seconds since it was authorized."""
        return max(0, (now - self.created_at) // 1_000_000)


def call_of(view: dict[str, Any]) -> Call:
    """A call as the server lists its authorization."""
    created = moment_of(view["created_at"])
    return Call(
        authorization=view["id"],
        agent=view["agent"] or "",
        model=view["resource"] or "",
        payee=view["payee"],
        currency=view["held"]["currency"],
        held=Decimal(view["held"]["amount"]),
        settled=EXACT.add(Decimal(view["settled"]["amount"]), Decimal(view["repriced"]["amount"])),
        created_at=created,
        ends_at=moment_of(view["expires_at"]) if view["expires_at"] is not None else created,
        said_unknown="unknown" in view["flags"],
        response_id=view["metering"].get("response_id", ""),
    )


@dataclass(frozen=True, slots=True)
class Wish:
    """What whoever asks wants done. ``everything`` (settle or release) is for all calls, whatever a bill says;
    ``absent`` for those that the bill does not name though it covers them: from ``covers_from`` to before
    ``covers_until`` (microseconds; None: it covers nothing for sure). ``currency`` is that of costs which name none."""

    everything: str | None = None
    absent: str = KEEP
    covers_from: int = 0
    covers_until: int | None = None
    currency: str = "USD"
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done with one call: ``amount`` is what is settled, None unless ``action`` is settle. ``guess`` says
    that no bill named its cost."""

    call: Call
    action: str
    why: str
    amount: Decimal | None = None
    lines: tuple[BillLine, ...] = ()
    guess: bool = False

    def idempotency_key(self) -> str:
        """The same for the same call, action, amount and lines of a bill, wherever the bill's file is and whatever it
        is called; so that a second run repeats the first one's request."""
        lines = sorted(
            json.dumps({name: value for name, value in line.evidence().items() if name != "line"}, sort_keys=True)
            for line in self.lines
        )
        said = [self.call.authorization, self.action, str(self.amount), lines]
        return "reconcile-" + hashlib.sha256(json.dumps(said).encode()).hexdigest()[:40]


@dataclass(slots=True)
class Matches:
    """The lines of bills by the call that they name, and the cost of all other lines by currency."""

    lines: dict[str, list[BillLine]] = field(default_factory=dict)
    other_lines: int = 0
    other_cost: dict[str, Decimal] = field(default_factory=dict)


def match(calls: Iterable[Call], bill: Iterable[BillLine], *, currency: str) -> Matches:
    """Find the calls that a bill names: by the client's request id, which is the authorization's id, or by the id of
    the response. ``currency`` is that of costs which name none."""
    by_id: dict[str, str] = {}
    for call in calls:
        by_id[call.authorization] = call.authorization
        if call.response_id:
            by_id.setdefault(call.response_id, call.authorization)
    found = Matches()
    for line in bill:
        named = by_id.get(line.client_request_id) or by_id.get(line.response_id)
        if named is not None:
            found.lines.setdefault(named, []).append(line)
            continue
        found.other_lines += 1
        if line.cost is not None:
            of = line.currency or currency
            found.other_cost[of] = EXACT.add(found.other_cost.get(of, Decimal(0)), line.cost)
    return found


def plan(calls: Sequence[Call], matches: Matches, wish: Wish) -> list[Step]:
    """What is to become of each call, in their order."""
    return [_step(call, tuple(matches.lines.get(call.authorization, ())), wish) for call in calls]


def _step(call: Call, lines: tuple[BillLine, ...], wish: Wish) -> Step:
    if wish.everything is not None:
        return _guess(call, wish.everything, wish.reason)
    if lines:
        return _billed(call, lines, wish.currency)
    if wish.covers_until is None:
        return Step(call, KEEP, "no line of the bill names it" if wish.absent != KEEP else "")
    # A call may have been made at any time until its hold ended.
    if call.created_at < wish.covers_from or call.ends_at >= wish.covers_until:
        return Step(call, KEEP, "the bill does not cover its time")
    if wish.absent == KEEP:
        return Step(call, KEEP, "the bill does not name it")
    covered = f"the bill, which covers it (up to {moment_text(wish.covers_until)}), does not name it"
    return _guess(call, wish.absent, f"{covered}; {wish.reason}" if wish.reason else covered)


def _guess(call: Call, action: str, why: str) -> Step:
    return Step(call, action, why, call.held if action == SETTLE else None, guess=True)


def _billed(call: Call, lines: tuple[BillLine, ...], currency: str) -> Step:
    digits = currency_digits(call.currency)
    if any(line.cost is None for line in lines):
        return Step(call, KEEP, f"{_count(lines)} names it without a cost that can be known", lines=lines)
    if digits is None or any((line.currency or currency) != call.currency for line in lines):
        return Step(call, KEEP, f"{_count(lines)} names it in another currency than {call.currency}", lines=lines)
    billed = Decimal(0)
    for line in lines:
        billed = EXACT.add(billed, line.cost or Decimal(0))
    billed = billed.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_EVEN, EXACT)
    if billed < 0:
        return Step(call, KEEP, f"{_count(lines)} comes to less than nothing", lines=lines)
    why = f"{_count(lines)} names it, {shown(billed)} {call.currency}"
    if call.settled:
        why += f" of which {shown(min(billed, call.settled))} is settled already"
    if billed < call.settled:
        why += f"; {shown(call.settled - billed)} more than billed is settled, which a refund can mend"
    return Step(call, SETTLE, why, max(billed - call.settled, Decimal(0)), lines)


def _count(lines: Sequence[BillLine]) -> str:
    return "one line" if len(lines) == 1 else f"the sum of {len(lines)} lines"


def shown(amount: Decimal) -> str:
    """An amount as plain decimal text, without zeros that say nothing."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def body_of(step: Step) -> dict[str, Any]:
    """The request that settles a call."""
    if step.amount is None:
        raise ValueError("what is not settled has no amount")
    body: dict[str, Any] = {
        "amount": {"amount": shown(step.amount), "currency": step.call.currency},
        "final": True,
        "evidence": _evidence(step),
    }
    metering = _metering(step.call, step.lines)
    if metering:
        body["metering"] = metering
    if step.guess:
        body["flags"] = ["estimated"]
    return body


def _evidence(step: Step) -> dict[str, Any]:
    """Why, and the lines of the bill, as many as fit."""
    said: dict[str, Any] = {"reconciled_by": "bill" if step.lines else "decision", "why": step.why}
    left = EVIDENCE_BYTES - len(json.dumps(said, ensure_ascii=False).encode())
    lines: list[dict[str, Any]] = []
    for line in step.lines:
        shown_line = {"bill": line.bill, **line.evidence()}
        left -= len(json.dumps(shown_line, ensure_ascii=False).encode())
        if left < 0:
            said["more_lines"] = len(step.lines) - len(lines)
            break
        lines.append(shown_line)
    return said | {"lines": lines} if step.lines else said


def _metering(call: Call, lines: Sequence[BillLine]) -> dict[str, str]:
    """What the bill says was used, summed over its lines; nothing where it says nothing of that. The source of the
    price tells `bursar reprice` to leave alone what a bill said."""
    usage: dict[str, int] = {}
    for line in lines:
        for name, count in line.usage.items():
            usage[name] = usage.get(name, 0) + count
    if not usage:
        return {}
    if len(lines) == 1 and lines[0].recorded:
        return dict(lines[0].recorded)
    said = {"provider": call.payee, "model": call.model} if call.model else {"provider": call.payee}
    for name in ("provider", "model", "tier", "response_id"):
        values = {getattr(line, name) for line in lines} - {""}
        if len(values) == 1:
            said[name] = values.pop()
    said["price.source"] = BILL_SOURCE
    return said | {name: str(count) for name, count in sorted(usage.items())[:30]}
