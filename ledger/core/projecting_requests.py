"""The fold over requests: what a record did is what was asked for, and who asked could ask for it of this thing.

Owns which field of a request each kind of record carries out in which field of its body, written from the rules and not
from the code that decided. Invariant: looked at before the record changes any row; what stands in the request alone is
left to who makes the rows.
"""

from collections.abc import Callable
from typing import Any, Final

from ledger.core.authorization import ON_EXPIRY_RELEASE, ON_EXPIRY_UNKNOWN
from ledger.core.moment import SECOND, moment_of, moment_text
from ledger.core.principal import lineage
from ledger.core.projecting_exchange import said_currency
from ledger.core.projecting_record import Record

_AGENT: Final = "agent:"
_PERSON: Final = "person:"
_AGENT_TTL_SECONDS: Final = 24 * 3600
"""How long a key lasts that an agent makes and that says nothing of it."""

SAME: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "allocation": (("amount", "amount"), ("currency", "currency")),
    "deallocation": (("amount", "amount"), ("currency", "currency")),
    "settlement": (("authorization", "authorization"), ("currency", "currency")),
    "release": (("authorization", "authorization"),),
    "extension": (("authorization", "authorization"),),
    "expiry": (("authorization", "authorization"),),
    "refund": (("authorization", "authorization"), ("currency", "currency")),
    "adjustment": (("authorization", "authorization"), ("currency", "currency")),
    "agent": (("name", "agent"), ("kind", "agent_kind")),
    "freeze": (("frozen", "frozen"),),
    "unfreeze": (("frozen", "frozen"),),
    "key": (("role", "role"),),
    "key_rotation": (("key", "replaces"),),
    "key_revocation": (("key", "key"),),
    "budget": (("name", "budget"), ("currency", "currency")),
    "budget_freeze": (("frozen", "frozen"),),
    "budget_unfreeze": (("frozen", "frozen"),),
    "book_freeze": (("frozen", "frozen"),),
    "book_unfreeze": (("frozen", "frozen"),),
    "run": (("name", "run"), ("cap", "cap"), ("cap_currency", "cap_currency")),
    "run_denial": (("name", "run"), ("cap", "cap"), ("cap_currency", "cap_currency")),
    "name": (("kind", "name_kind"), ("name", "name")),
    "outcome": (("success", "success"), ("score_millionths", "score_millionths")),
    "policy": (("policy", "policy"), ("digest", "digest")),
    "policy_retirement": (("policy", "policy"),),
    "webhook": (("url", "url"), ("events", "events")),
    "webhook_rotation": (("webhook", "webhook"),),
    "webhook_removal": (("webhook", "webhook"),),
    "approval_vote": (("approval", "approval"),),
    "approval_refused": (("approval", "approval"),),
    "delegation": (("receiver", "receiver"),),
    "delegation_revocation": (("delegation", "delegation"),),
    "reversal": (("record", "reverses"),),
    "correction_rule": (("currency", "currency"), ("above", "above")),
    "correction_refused": (("correction", "correction"),),
    "correction_withdrawn": (("correction", "correction"),),
    "period_close": (("period", "period"),),
    "period_reopen_request": (("period", "period"),),
    "period_reopening": (("period", "period"),),
    "explanation": (("authorization", "authorization"),),
    "reconciliation": tuple(
        (field, field)
        for field in (
            "payee",
            "currency",
            "source",
            "starts_at",
            "ends_at",
            "provider_total",
            "differences",
            "files",
            "lines",
            "matched",
            "booked",
        )
    ),
    "invoice": tuple(
        (field, field)
        for field in (
            "payee",
            "number",
            "currency",
            "issued_on",
            "due_on",
            "starts_on",
            "ends_on",
            "lines",
            "taxes",
            "credits",
            "total",
        )
    ),
    "invoice_void": (("invoice", "invoice"),),
    "payment": tuple((field, field) for field in ("payee", "from", "amount", "currency", "reference")),
    "payment_reversal": (("payment", "payment"),),
    "payee_terms": (("payee", "payee"), ("prepaid", "prepaid")),
    "history": tuple(
        (field, field) for field in ("amount", "currency", "category", "payee", "resource", "labels", "metering")
    ),
}
"""Kind of record to pairs of a field of the request and the field of the body that must say the same, or be absent."""
GIVEN: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "extension": (("currency", "currency"),),
    "refund": (("category", "category"), ("payee", "payee")),
    "budget_renewal": tuple((field, field) for field in ("every", "amount", "carry_over", "currency")),
    "reconciliation": (("at_size", "at_size"),),
}
"""The same, where the request need not say it."""
NAMED: Final[dict[str, tuple[tuple[str, str, str], ...]]] = {
    "hold": (("budget", "budgets", "budget"), ("run", "runs", "run")),
    "approval_requested": (("budget", "budgets", "budget"), ("run", "runs", "run")),
    "denial": (("budget", "budgets", "budget"), ("run", "runs", "run")),
    "allocation": (("budget", "budgets", "budget"),),
    "deallocation": (("budget", "budgets", "budget"),),
    "charge": (("budget", "budgets", "budget"), ("agent", "agents", "agent"), ("run", "runs", "run")),
    "history": (("budget", "budgets", "budget"), ("agent", "agents", "agent"), ("run", "runs", "run")),
    "agent": (("parent", "agents", "parent"),),
    "freeze": (("agent", "agents", "agent"),),
    "unfreeze": (("agent", "agents", "agent"),),
    "key": (("run", "runs", "run"),),
    "budget": (("parent", "budgets", "parent"),),
    "budget_agents": (("budget", "budgets", "budget"),),
    "budget_renewal": (("budget", "budgets", "budget"),),
    "budget_closure": (("budget", "budgets", "closed"),),
    "budget_freeze": (("budget", "budgets", "budget"),),
    "budget_unfreeze": (("budget", "budgets", "budget"),),
    "run": (("agent", "agents", "agent"),),
    "outcome": (("run", "runs", "run"),),
    "run_denial": (("agent", "agents", "agent"),),
}
"""Kind of record to (field of the request, rows that it names by name or id, field of the body with the name). What is
not asked for by name is not there, but for the budget of a request to spend and the agent of a run."""
_CHOSEN_BY_RULE: Final = frozenset(
    (kind, field)
    for kind, fields in (
        ("hold", ("budget",)), ("approval_requested", ("budget",)), ("denial", ("budget", "run")),
        ("run", ("agent",)), ("run_denial", ("agent",)),
    )
    for field in fields
)  # fmt: skip
_REVERSING: Final = frozenset(("refund", "adjustment"))
"""Kinds of records that a reversal is."""
_REASONED: Final = frozenset(
    ("adjust", "reprice", "reverse", "void_invoice", "reverse_payment", "request_reopening", "explain")
)
"""Operations that nobody may ask for without saying why."""
_FLAGS: Final = ("accept_pending", "partial_ok", "afford")
"""Of a request to spend: there and true, or not there."""
_OF_OWNER: Final = frozenset(("settlement", "release", "extension", "expiry", "denial"))
"""What an agent does with its own authorizations only."""


def check_request(record: Record) -> None:
    """Note a difference where the record did something else than its request asks for, or an agent acts on what is
    another's."""
    body, kind = record.body, record.columns.kind
    request = body["request"]
    if request["operation"] == "reverse" and kind in _REVERSING:
        kind = "reversal"
    elif kind in _REVERSING:
        record.expect("reverses", None)
    for field, said in SAME.get(kind, ()):
        _expect(record, field, request.get(field), _done(body, said))
    for field, said in GIVEN.get(kind, ()):
        if field in request:
            _expect(record, field, request[field], _done(body, said))
    for field, rows, said in NAMED.get(kind, ()):
        if field in request or (kind, field) not in _CHOSEN_BY_RULE:
            name = body.get(said)
            name = name["name"] if isinstance(name, dict) else name
            if not _names(record, rows, request.get(field), name):
                record.differ(f"the request's {field} is not what was done", name, request.get(field))
    if request["operation"] in _REASONED and "reason" not in request and "approved_by" not in body:
        # What a second person approved has its reason in the record of what was asked for.
        record.differ("it was done without a reason", "a reason", request["operation"])
    principal = body["by"]["principal"]
    if kind in _OF_OWNER and principal.startswith(_AGENT):
        row = record.store.authorizations.get(body["authorization"])
        if row is not None and principal != f"{_AGENT}{row.agent}":
            record.differ("an agent acts on what is another's", f"{_AGENT}{row.agent}", principal)
    special = _SPECIAL.get(kind)
    if special is not None:
        special(record, request)


def _done(body: dict[str, Any], said: str) -> Any:
    """What a body says; of a currency, the one that was asked in, where that is converted."""
    return said_currency(body) if said == "currency" else body.get(said)


def _expect(record: Record, field: str, asked: Any, done: Any) -> None:
    if asked != done or type(asked) is not type(done):
        record.differ(f"the request's {field} is not what was done", done, asked)


def _names(record: Record, rows: str, reference: Any, name: Any) -> bool:
    """Whether a reference, by name or id, is to the row of a name; both may be absent."""
    if reference == name:
        return True
    row = getattr(record.store, rows).get(name) if name is not None else None
    return row is not None and reference == row.id


def _spend(record: Record, request: dict[str, Any]) -> None:
    """A request to spend says only what can be asked for."""
    if request["on_expiry"] not in (ON_EXPIRY_RELEASE, ON_EXPIRY_UNKNOWN):
        record.differ("on_expiry is nothing that can be asked for", ON_EXPIRY_RELEASE, request["on_expiry"])
    for field in _FLAGS:
        if request.get(field, True) is not True:
            record.differ(f"{field} is said only where it is asked for", True, request[field])


def _denial(record: Record, request: dict[str, Any]) -> None:
    """The command that was denied is the one that was asked."""
    body = record.body
    record.expect("command", request["operation"])
    if request["operation"] == "extend":
        _expect(record, "authorization", request.get("authorization"), body["authorization"])
        currency = said_currency(body)
        _expect(record, "currency", request.get("currency", currency), currency)
        return
    _spend(record, request)
    if not _names(record, "runs", request.get("run"), body.get("run")):
        record.differ("the request's run is not what was done", body.get("run"), request.get("run"))


def _adjustment(record: Record, request: dict[str, Any]) -> None:
    """One that names an authorization corrects its price, and no other does; another may name what it corrects."""
    expected = "reprice" if "authorization" in record.body else "adjust"
    _expect(record, "operation", request["operation"], expected)
    corrects = request.get("corrects")
    _expect(record, "corrects", corrects, record.body.get("corrects"))
    if corrects is not None and not 0 <= corrects < record.index:
        record.differ("an adjustment corrects what is not there yet", "an earlier record", corrects)


def _granted(record: Record, request: dict[str, Any]) -> None:
    """Forcing may name the authorization in place of one of its approvals, and leaves no vote."""
    body = record.body
    forced = request["operation"] == "force_approval"
    record.expect("forced", True if forced else None)
    if not forced:
        _expect(record, "approval", request.get("approval"), body["approval"])
        return
    tier, position = record.store.approvals.get((body["authorization"], 0)), 0
    meant = {body["authorization"]}
    while tier is not None:
        meant.add(tier.id)
        position += 1
        tier = record.store.approvals.get((body["authorization"], position))
    if request.get("approval") not in meant:
        record.differ("the request's approval is not what was done", body["approval"], request.get("approval"))


def _delegation(record: Record, request: dict[str, Any]) -> None:
    """From when until when, and in which role: that of the key where somebody delegates their own voice."""
    by = record.body["by"]
    own = by["principal"].removeprefix(_PERSON)
    giver = request.get("giver", own)
    key = record.store.api_keys.get(by["key"])
    record.expect("giver", giver)
    record.expect("role", key.role if key is not None and giver == own else request.get("role"))
    if request.get("role", record.body["role"]) != record.body["role"]:
        _expect(record, "role", request["role"], record.body["role"])
    starts_at = moment_of(request["starts_at"]) if "starts_at" in request else record.time
    ends_at = moment_of(request["ends_at"]) if "ends_at" in request else starts_at + request["ttl_seconds"] * SECOND
    record.expect("starts_at", moment_text(starts_at))
    record.expect("ends_at", moment_text(ends_at))


def _key(record: Record, request: dict[str, Any]) -> None:
    """Whose the key is and how long it lasts."""
    body = record.body
    by, principal = body["by"], body["principal"]
    is_agents = by["principal"].startswith(_AGENT)
    if "person" in request:
        _expect(record, "person", f"{_PERSON}{request['person']}", principal)
    else:
        agent = principal.removeprefix(_AGENT)
        run = record.store.runs.get(body["run"]) if "run" in body else None
        chosen = by["principal"].removeprefix(_AGENT) if is_agents else run.agent if run is not None else None
        if agent == principal or not _names(record, "agents", request.get("agent", chosen), agent):
            record.differ("the request's agent is not what was done", principal, request.get("agent", chosen))
    seconds = request.get("ttl_seconds", _AGENT_TTL_SECONDS if is_agents else None)
    expires_at = None if seconds is None else record.time + seconds * SECOND
    used = record.store.api_keys.get(by["key"]) if is_agents else None
    if expires_at is not None and used is not None and used.expires_at is not None:
        expires_at = min(expires_at, used.expires_at)
    record.expect("expires_at", None if expires_at is None else moment_text(expires_at))


def _key_rotation(record: Record, request: dict[str, Any]) -> None:
    """The old key ends after the overlap, or sooner if it was to; the new one lasts as long as was asked."""
    ends_at = record.time + request["overlap_seconds"] * SECOND
    old = record.store.api_keys.get(record.body["replaces"])
    if old is not None and old.expires_at is not None:
        ends_at = min(ends_at, old.expires_at)
    record.expect("replaced_expires_at", moment_text(ends_at))
    seconds = request.get("ttl_seconds")
    record.expect("expires_at", None if seconds is None else moment_text(record.time + seconds * SECOND))


def _key_revocation(record: Record, request: dict[str, Any]) -> None:
    """An agent ends what it made."""
    principal = record.body["by"]["principal"]
    key = record.store.api_keys.get(request["key"])
    if principal.startswith(_AGENT) and key is not None and key.made_by != principal:
        record.differ("an agent acts on what is another's", key.made_by, principal)


def _webhook_rotation(record: Record, request: dict[str, Any]) -> None:
    record.expect("replaced_expires_at", moment_text(record.time + request["overlap_seconds"] * SECOND))


def _let_spend(record: Record, request: dict[str, Any]) -> None:
    """Each agent or team that is named, once and in order, but for those that could spend before."""
    body = record.body
    known = {name: name for name in body["agents"]}
    for name in body["agents"]:
        row = record.store.agents.get(name)
        if row is not None:
            known[row.id] = name
    named: list[str] = []
    for reference in request["agents"]:
        name = known.get(reference)
        if name is None and record.store.budget_agents.get((reference, body["budget"])) is not None:
            continue
        if name is None and reference.startswith("agt_"):
            # By an id, of one that could spend before; there is no looking up by id here.
            continue
        if name not in named:
            named.append(reference if name is None else name)
    if named != body["agents"]:
        record.differ("the request's agents are not what was done", body["agents"], request["agents"])


def _run(record: Record, request: dict[str, Any]) -> None:
    """For the agent that asks, or for one below it."""
    principal, agent = record.body["by"]["principal"], record.body["agent"]
    own = principal.removeprefix(_AGENT)
    if own in (principal, agent):
        return
    row = record.store.agents.get(agent)
    if "agent" not in request or row is None or own not in lineage(row.path):
        record.differ("an agent acts on what is another's", principal, agent)


def _renewal(record: Record, request: dict[str, Any]) -> None:
    _expect(record, "operation", request["operation"], "set_renewal" if "next_at" in record.body else "stop_renewal")


def _policy(record: Record, request: dict[str, Any]) -> None:
    live = record.store.policies.get(record.body["policy"])
    version = 0 if live is None or live.retired else live.version
    _expect(record, "after_version", request.get("after_version", version), version)


_SPECIAL: Final[dict[str, Callable[[Record, dict[str, Any]], None]]] = {
    "hold": _spend,
    "approval_requested": _spend,
    "denial": _denial,
    "adjustment": _adjustment,
    "approval_granted": _granted,
    "delegation": _delegation,
    "key": _key,
    "key_rotation": _key_rotation,
    "key_revocation": _key_revocation,
    "webhook_rotation": _webhook_rotation,
    "budget": _let_spend,
    "budget_agents": _let_spend,
    "run": _run,
    "run_denial": _run,
    "budget_renewal": _renewal,
    "policy": _policy,
}
