"""Alerts: what of a log record is worth telling somebody, as a pure function of the record and of what was told.

Owns the events. Invariants: an event derives from one
committed record, so it can be made again and bears the same id; it carries ids and amounts and no free text; amounts
are integers until they are shown.
"""

from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple

from ledger.core.alert_memory import AGENT, BUDGET, LIMIT, Event, Memory, Place
from ledger.core.canonical import canonical_bytes
from ledger.core.ids import ALPHABET, BODY_LENGTH, EVENT
from ledger.core.moment import moment_of, moment_text
from ledger.core.windows import AUTHORIZATION, RUN

THRESHOLDS: Final = (100, 80, 50)
"""Percent of a budget or limit at which somebody is told; each once, and of several that are crossed the highest."""
JUMP_TIMES: Final = 3
JUMP_DAYS_MIN: Final = 5
JUMP_DAYS_KEPT: Final = 28

SILENT_KINDS: Final = ("denial", "run_denial", "approval_vote")
"""Kinds of records that never give anything to tell: they change no balance and no state that is told. There may be
very many denials, and their bodies need not even be read."""


def event_id(book_id: int, event: Event) -> str:
    """The id of an event: the same whoever makes it, and however often."""
    return named_event_id(f"{book_id}\x00{event.log_index}\x00{event.type}\x00{event.ordinal}")


def named_event_id(name: str) -> str:
    """The id of the event that ``name`` is about: 130 bits of its SHA-256."""
    number = int.from_bytes(sha256(name.encode()).digest())
    return f"{EVENT}_" + "".join(ALPHABET[(number >> 5 * at) & 31] for at in range(BODY_LENGTH))


def payload_of(event: Event) -> bytes:
    """The body that is sent: ``type``, ``timestamp``, ``data``, as Standard Webhooks has it."""
    return canonical_bytes({"type": event.type, "timestamp": event.time, "data": event.data})


def places_of(bodies: Iterable[Mapping[str, Any]]) -> set[Place]:
    """What ``events_of`` may want to remember about when it is shown these bodies."""
    places: set[Place] = set()
    for body in bodies:
        for _, budget in _budgets_in(body):
            places.add((BUDGET, budget["name"]))
        if body["kind"] in _APPROVING and "agent" in body:
            places.add((AGENT, f"{body['agent']} {body['currency']}"))
        places.update((LIMIT, limit.place) for limit in _limits_of(body))
    return places


def currencies_of(bodies: Iterable[Mapping[str, Any]]) -> set[str]:
    """The currencies and units whose digits are needed to tell of these bodies."""
    found: set[str] = set()
    for body in bodies:
        if "currency" in body:
            found.add(body["currency"])
        found.update(currency for currency, _ in body.get("amounts", ()))
    return found


def events_of(memory: Memory, index: int, body: Mapping[str, Any]) -> list[Event]:
    """What the record at ``index`` gives to tell, in order. What must be remembered for the next record changes in
    ``memory``. Raises KeyError, TypeError or ValueError for a body that is not one."""
    told: list[tuple[str, dict[str, Any]]] = []
    handler = _HANDLERS.get(body["kind"])
    if handler is not None:
        told += handler(memory, body)
    told += _budget_thresholds(memory, body)
    told += _limit_thresholds(memory, body)
    if body["kind"] in _APPROVING and "agent" in body:
        told += _spending_jump(memory, body)
    return [
        Event(index, ordinal, kind, body["time"], {"book": body["book"], "log_index": index, **data})
        for ordinal, (kind, data) in enumerate(told)
    ]


Told = list[tuple[str, dict[str, Any]]]
_APPROVING: Final = ("hold", "extension", "approval_granted")
"""Kinds of records that approve an amount."""
_MEASURED: Final = ("hold", "extension", "approval_requested")
"""Kinds of records whose amount was measured against limits, and counts there from then on."""
_FREEZES: Final = {
    "freeze": "agent.frozen",
    "unfreeze": "agent.unfrozen",
    "budget_freeze": "budget.frozen",
    "budget_unfreeze": "budget.unfrozen",
    "book_freeze": "book.frozen",
    "book_unfreeze": "book.unfrozen",
}
_PENDING: Final = "pending_approval"
_OPEN: Final = "open"
_NAMED: Final = ("authorization", "agent", "run", "category", "payee", "flags", "state")


def _about(memory: Memory, body: Mapping[str, Any]) -> dict[str, Any]:
    """What any event about an authorization says: ids, names, flags, and the amounts of the record."""
    data: dict[str, Any] = {name: body[name] for name in _NAMED if name in body}
    if "budget" in body:
        data["budget"] = body["budget"]["name"] if isinstance(body["budget"], dict) else body["budget"]
    currency = body.get("currency")
    if currency is not None:
        for name in ("amount", "approved", "held", "settled"):
            if name in body:
                data[name] = memory.money(int(body[name]), currency)
    return data


def _settlement(memory: Memory, body: Mapping[str, Any]) -> Told:
    flags = body.get("flags", ())
    about = _about(memory, body)
    told: Told = []
    excess = sum(
        int(atoms)
        for debit, credit, atoms, _ in body.get("transfers", ())
        if debit.endswith(":spent") and credit.endswith(":available")
    )
    # Flags stay with the authorization; what is told is the settlement that earned them.
    if "late" in flags:
        told.append(("settlement.late", about))
    elif "overrun" in flags and excess:
        told.append(("authorization.overrun", {**about, "excess": memory.money(excess, body["currency"])}))
    told += [(f"settlement.{flag}", about) for flag in body.get("request", {}).get("flags", ())]
    names_its_own = any(name in body.get("request", ()) for name in ("category", "payee", "resource"))
    # What is settled above what was approved is a mismatch too, and is told as the overrun that it is.
    if "mismatch" in flags and names_its_own:
        told.append(("authorization.mismatch", about))
    return told


def _repriced(memory: Memory, body: Mapping[str, Any]) -> Told:
    """A price that was corrected; any other adjustment is told of by nobody."""
    if "reprice" not in body:
        return []
    said = {name: memory.money(int(body["reprice"][name]), body["currency"]) for name in ("amount", "difference")}
    return [("authorization.repriced", {**_about(memory, body), **said})]


def _charge(memory: Memory, body: Mapping[str, Any]) -> Told:
    return [("charge.unauthorized", _about(memory, body))]


def _approvals(memory: Memory, body: Mapping[str, Any]) -> Told:
    """Approvals that persons are asked for from this record on, and those that it ends."""
    listed = body.get("approvals", ())
    about = _about(memory, body)
    told: Told = []
    if body.get("forced") is True:
        told.append(("authorization.forced", {**about, "by": body["by"]["principal"]}))
    ended = [said for said in listed if isinstance(said, list) and said[1] != _OPEN]
    if ended:
        data: dict[str, Any] = {"approval": body.get("approval", ended[0][0]), "decision": ended[0][1]}
        if "by" in body:
            data["by"] = body["by"]["principal"]
        told.append(("approval.decided", {**about, **data}))
    for said in listed:
        if isinstance(said, list):
            if said[1] == _OPEN:
                expires = {"expires_at": body["approval_expires_at"]} if "approval_expires_at" in body else {}
                told.append(("approval.waiting", {**about, "approval": said[0], **expires}))
        elif said["state"] == _OPEN:
            data = {name: said[name] for name in ("policy", "rule", "quorum", "expires_at") if name in said}
            told.append(("approval.waiting", {**about, "approval": said["id"], **data}))
    return told


def _correction(memory: Memory, body: Mapping[str, Any]) -> Told:
    """A second person is asked for."""
    data = {name: body[name] for name in ("correction", "operation", "expires_at")}
    amounts = [memory.money(int(atoms), currency) for currency, atoms in body["amounts"]]
    return [("correction.requested", {**data, "amounts": amounts, "by": body["by"]["principal"]})]


def _freeze(memory: Memory, body: Mapping[str, Any]) -> Told:
    data: dict[str, Any] = {"by": body["by"]["principal"]} if "by" in body else {}
    if "cause" in body:
        data["cause"] = {name: body["cause"][name] for name in ("authorization", "code") if name in body["cause"]}
    for name in ("agent", "budget", "id"):
        if name in body:
            data[name] = body[name]
    return [(_FREEZES[body["kind"]], data)]


def _period(memory: Memory, body: Mapping[str, Any]) -> Told:
    """A month that was closed, or opened again by a second person."""
    data: dict[str, Any] = {"period": body["period"], "by": body["by"]["principal"]}
    if body["kind"] == "period_close":
        data |= {name: body[name] for name in ("size", "root", "digest", "accepted")}
        return [("period.closed", data)]
    return [("period.reopened", data | {name: body[name] for name in ("requested_by", "closing")})]


def _budgets_in(body: Mapping[str, Any]) -> list[tuple[str, Mapping[str, str]]]:
    """(currency, balances) of the budgets that a body shows as they stand after it."""
    shown = (body.get("budget"), body.get("parent"))
    return [(body["currency"], budget) for budget in shown if isinstance(budget, dict) and "available" in budget]


def _level(used: int, total: int) -> int:
    """The highest threshold that ``used`` of ``total`` has reached, 0 for none. All of nothing is used up at once."""
    if used <= 0:
        return 0
    return next((percent for percent in THRESHOLDS if used * 100 >= percent * total), 0)


def _budget_thresholds(memory: Memory, body: Mapping[str, Any]) -> Told:
    told: Told = []
    for currency, budget in _budgets_in(body):
        place = (BUDGET, budget["name"])
        available, held, spent = int(budget["available"]), int(budget["held"]), int(budget["spent"])
        before = memory.values.get(place)
        is_renewed = body["kind"] == "renewal" and body["renewed"] == budget["name"]
        # A budget that renews begins anew: what earlier periods spent fills nothing.
        passed = spent if is_renewed else int(before.get("passed", "0")) if before is not None else 0
        spent -= passed
        used, total = held + spent, available + held + spent
        level = _level(used, total)
        known = 0
        if before is not None and not is_renewed and before["total"] == str(total):
            known = before["told"]
        if level > known:
            told.append(
                (
                    "budget.threshold",
                    {
                        "budget": budget["name"],
                        "id": budget.get("id", budget["name"]),
                        "threshold": level,
                        "available": memory.money(available, currency),
                        "held": memory.money(held, currency),
                        "spent": memory.money(spent, currency),
                        "total": memory.money(total, currency),
                    },
                )
            )
        if level or passed:
            kept = {"told": max(level, known) if level else 0, "total": str(total)}
            memory.keep(place, {**kept, "passed": str(passed)} if passed else kept)
        elif before is not None:
            memory.keep(place, None)
    return told


class _Limit(NamedTuple):
    """One limit as it stands after a record. ``until`` is when its window ends, 0 where that is at no fixed time;
    ``currency`` is None for a count."""

    place: str
    policy: str
    id: str
    used: int
    limit: int
    currency: str | None
    window: str
    until: int


def _limits_of(body: Mapping[str, Any]) -> list[_Limit]:
    """The limits that an approved or pending amount was measured against. Limits of one authorization are not there,
    because nothing fills them, nor those of shadow policies, because they refuse nothing."""
    decision = body.get("decision")
    if body["kind"] not in _MEASURED or decision is None:
        return []
    policies = decision["policies"]
    limits = []
    for place, meter, measure, window, limit, used, _, until, key in decision["limits"]:
        policy = policies[place]
        if window == AUTHORIZATION or len(policy) > 3:
            continue
        if measure == "money":
            added = int(body.get("amount" if body["kind"] == "extension" else "approved", "0"))
            currency = body["currency"]
        else:
            added = int(body["kind"] != "extension")
            currency = None
        run = body.get("run", "") if window == RUN else ""
        name = canonical_bytes([policy[0], meter, measure, key, run]).decode()
        limits.append(_Limit(name, policy[0], meter, int(used) + added, int(limit), currency, window, until))
    return limits


def _limit_thresholds(memory: Memory, body: Mapping[str, Any]) -> Told:
    told: Told = []
    for limit in _limits_of(body):
        place = (LIMIT, limit.place)
        level = _level(limit.used, limit.limit)
        before = memory.values.get(place)
        known = 0
        if before is not None and (before["limit"], before["until"]) == (str(limit.limit), limit.until):
            known = before["told"]
        if level > known:
            data: dict[str, Any] = {
                "policy": limit.policy, "limit": limit.id, "window": limit.window, "threshold": level,
            }  # fmt: skip
            if limit.until:
                data["resets_at"] = moment_text(limit.until)
            if limit.currency is None:
                data |= {"used_count": limit.used, "max_count": limit.limit}
            else:
                data["used"] = memory.money(limit.used, limit.currency)
                data["max"] = memory.money(limit.limit, limit.currency)
            told.append(("limit.threshold", {**_about(memory, body), **data}))
        if level:
            memory.keep(place, {"told": max(level, known), "limit": str(limit.limit), "until": limit.until})
        elif before is not None:
            memory.keep(place, None)
    return told


def _spending_jump(memory: Memory, body: Mapping[str, Any]) -> Told:
    """Whether the agent was approved more today than several times what it is on a usual day."""
    added = int(body.get("amount" if body["kind"] == "extension" else "approved", "0"))
    if added <= 0 or body.get("state") == _PENDING:
        return []
    currency = body["currency"]
    place = (AGENT, f"{body['agent']} {currency}")
    day = memory.day_of(moment_of(body["time"]))
    before = memory.values.get(place) or {"day": 0, "total": "0", "told": False, "days": []}
    total, told, days = int(before["total"]), before["told"], before["days"]
    if before["day"] != day:
        if total:
            days = [*days, str(total)][-JUMP_DAYS_KEPT:]
        total, told = 0, False
    total += added
    usual = sum(map(int, days))
    jumped = not told and len(days) >= JUMP_DAYS_MIN and total * len(days) > JUMP_TIMES * usual
    memory.keep(place, {"day": day, "total": str(total), "told": told or jumped, "days": days})
    if not jumped:
        return []
    data = {
        "agent": body["agent"],
        "today": memory.money(total, currency),
        "usual": memory.money(usual // len(days), currency),
        "days": len(days),
    }
    return [("agent.spending_jump", data)]


_HANDLERS: Final[dict[str, Callable[[Memory, Mapping[str, Any]], Told]]] = {
    "settlement": _settlement,
    "charge": _charge,
    "adjustment": _repriced,
    "correction_requested": _correction,
    **dict.fromkeys(_FREEZES, _freeze),
    **dict.fromkeys(("period_close", "period_reopening"), _period),
    **dict.fromkeys(("approval_requested", "approval_granted", "approval_refused", "expiry", "release"), _approvals),
}
"""Kinds of records that are worth telling by themselves."""
