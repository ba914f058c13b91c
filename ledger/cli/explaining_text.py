"""What `bursar explain` prints.

Owns the words. Invariant: a pure function of what is on record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from ledger.core.approval import GRANT, Approval, Vote
from ledger.core.authorization import DENIED, EXPIRED, HELD, PENDING, REFUSED, RELEASED, SETTLED, flag_names
from ledger.core.canonical import parse
from ledger.core.metering import pairs_said
from ledger.core.moment import SECOND, moment_of, moment_text
from ledger.core.money import format_atoms
from ledger.core.outcome import Status
from ledger.services.explaining import Explanation, PolicyThen, Told

_BUILT_IN: Final = {
    "book_active": "the book is not frozen",
    "agent_active": "the agent is not frozen",
    "budget_open": "the budget is open",
    "budget_permitted": "the agent may spend from the budget",
    "run_permitted": "the run is the agent's",
    "run_cap": "the run is within its cap",
    "budget_available": "the budget has the money",
}
_FLAGS: Final = {
    "overrun": "more was settled than was held",
    "late": "it was settled after its hold had ended",
    "mismatch": "what was settled is not what was asked for",
    "unauthorized": "it was spent without an authorization",
    "unknown": "nobody knows whether it was spent",
    "partial": "less was approved than was asked for",
    "forced": "an admin granted it against the approval that was asked for",
    "estimated": "no usage was reported, so its amount is an estimate",
    "unpriced": "there was usage that nobody could price",
    "repriced": "its price was corrected later",
    "gateway": "the gateway made the call",
}
_KINDS: Final = {
    "extension": "extended",
    "settlement": "settled",
    "release": "released",
    "expiry": "expired",
    "refund": "refunded",
    "denial": "extension denied",
    "approval_vote": "vote",
    "approval_granted": "approval granted",
    "approval_refused": "approval refused",
}
_DENY: Final = "deny"
_WOULD_DENY: Final = "would deny"
_NOT_LOOKED_AT: Final = (Status.LIMIT_CURRENCY.value, Status.RUN_REQUIRED.value)
_DIGEST_SHOWN: Final = 12


def lines_of(found: Explanation) -> Iterator[str]:
    """The lines for one authorization or charge."""
    yield from _head(found)
    decision = found.made.body.get("decision")
    if decision is not None:
        yield from _reasons(found, decision)
        yield from _rules(found, decision)
        yield from _approvals(found)
        yield from _policies(found.policies)
        yield from _shadow(found, decision)
    yield from _since(found)


def _money(found: Explanation, atoms: str | int) -> str:
    return f"{format_atoms(int(atoms), found.digits)} {found.row.currency}"


def _at(text: str) -> str:
    """A moment in a record, to the second."""
    return f"{text[:10]} {text[11:19]} UTC"


def _when(text: str) -> str:
    """A moment from which on something is so, to the second and never too early."""
    return _at(moment_text(-(-moment_of(text) // SECOND) * SECOND))


def _head(found: Explanation) -> Iterator[str]:
    row, body = found.row, found.made.body
    yield f"{row.id}  {_state(found)}"
    yield ""
    if row.agent is None or "decision" not in body:
        yield f"  Recorded {_at(body['time'])}: {_money(found, row.amount)}"
    else:
        yield f"  {row.agent} asked on {_at(body['time'])} for {_money(found, row.amount)}"
    resource = f" ({row.resource})" if row.resource is not None else ""
    yield f"  from budget {row.budget}, for {row.category} at {row.payee}{resource}"
    if row.run is not None:
        yield f"  in run {row.run}"
    if row.labels is not None:
        yield "  labels " + ", ".join(f"{name}={value}" for name, value in parse(row.labels.encode()))
    for line in _texts(found.made):
        yield f"  {line}"
    if row.metering is not None:
        yield "  metered from " + ", ".join(f"{name}={value}" for name, value in pairs_said(row.metering).items())
    yield f"  log record {row.created_index}"
    for flag in flag_names(row.flags):
        yield f"  flagged {flag}: {_FLAGS[flag]}"


def _state(found: Explanation) -> str:
    row = found.row
    approved = _money(found, row.approved)
    spent = _money(found, row.cost - row.refunded)
    if row.state == DENIED:
        return f"denied: {row.reason}"
    if row.state == PENDING:
        return f"waits for approval; {_money(found, row.held)} is held meanwhile"
    if row.state == HELD:
        until = f" until {_at(moment_text(row.expires_at))}" if row.expires_at is not None else ""
        return f"approved; {_money(found, row.held)} is held{until}"
    words = {
        SETTLED: f"settled: {spent} spent of {approved} approved",
        RELEASED: f"released; {spent} spent of {approved} approved",
        EXPIRED: f"expired; {spent} spent of {approved} approved",
        REFUSED: "approval refused; nothing was spent",
    }
    return words.get(row.state, row.state)


def _reasons(found: Explanation, decision: dict[str, Any]) -> Iterator[str]:
    reasons = decision["reasons"]
    if not reasons:
        return
    yield ""
    yield "Why not"
    for reason in reasons:
        yield f"  {reason['code']}: {reason['detail']} [{reason['rule']}]"
        values = _values(found, reason)
        if values:
            yield f"      {values}"
    yield f"  {_patience(reasons)}"


def _values(found: Explanation, reason: dict[str, Any]) -> str:
    parts = []
    if "observed" in reason:
        observed, limit, left = (_value(found, reason, name) for name in ("observed", "limit", "remaining"))
        parts.append(f"with this request {observed}, the limit is {limit}, {left} was left")
    if reason.get("never_fits"):
        parts.append("it never fits")
    elif "fits_at" in reason:
        parts.append(f"it fits from {_when(reason['fits_at'])}")
    return "; ".join(parts)


def _value(found: Explanation, reason: dict[str, Any], name: str) -> str:
    return str(reason[name]) if reason.get("unit") == "count" else _money(found, reason[name])


def _patience(reasons: Sequence[dict[str, Any]]) -> str:
    """When the whole request would fit."""
    if any(reason.get("never_fits") for reason in reasons):
        return "Waiting does not help: as it was asked, it can never be approved under these policies."
    moments = [reason["fits_at"] for reason in reasons if "fits_at" in reason]
    if moments and len(moments) == len(reasons):
        return f"It would fit from {_when(max(moments))} on, if nothing else were spent until then."
    return "Nothing says when it would fit: time alone does not mend every reason."


def _rules(found: Explanation, decision: dict[str, Any]) -> Iterator[str]:
    """Every rule with what it saw, as one table."""
    refusing = {reason["rule"] for reason in decision["reasons"]}
    shadow = {reason["rule"] for reason in decision.get("shadow", ())}
    tried = {policy.name for policy in found.policies if policy.shadow}
    unknown = {reason["rule"] for reason in _all_reasons(decision) if reason["code"] in _NOT_LOOKED_AT}
    rows = [("RULE", "VERDICT", "WITH THIS", "LIMIT", "LEFT", "ABOUT")]
    for rule, verdict, *values in decision["rules"]:
        window = _BUILT_IN.get(rule, "")
        if verdict == _DENY and rule.partition("/")[0] in tried:
            verdict = _WOULD_DENY
        if values:
            observed, limit, left = (_money(found, value) for value in values)
            rows.append((rule, verdict, observed, limit, left, window))
        else:
            rows.append((rule, verdict, "", "", "", window))
    denied = bool(refusing)
    for said in decision["limits"]:
        name = decision["policies"][said[0]][0]
        rule = f"{name}/{said[1]}"
        verdict = _DENY if rule in refusing else _WOULD_DENY if rule in shadow else "allow"
        if rule in unknown:
            # It was not looked at: what it has left is not known, and its currency may be another.
            rows.append((rule, verdict, "", "", "", _window(found, said)))
            continue
        rows.append((rule, verdict, *_limit(found, said, denied=denied), _window(found, said)))
    yield ""
    yield "Each rule"
    yield from _table(rows)


def _all_reasons(decision: dict[str, Any]) -> list[dict[str, Any]]:
    return [*decision["reasons"], *decision.get("shadow", ())]


def _limit(found: Explanation, said: Sequence[Any], *, denied: bool) -> tuple[str, str, str]:
    """(with this request, limit, what is left) of a limit."""
    sort, limit, before = said[2], int(said[4]), int(said[5])
    if sort == "money":
        amount = int(found.made.body.get("approved", found.made.body["amount"]))
        observed = before + amount
        left = limit - (before if denied else observed)
        return _money(found, observed), _money(found, limit), _money(found, max(left, 0))
    left = limit - (before if denied else before + 1)
    return str(before + 1), str(limit), str(max(left, 0))


def _window(found: Explanation, said: Sequence[Any]) -> str:
    sort, window, ends_at, key = said[2], said[3], said[7], said[8]
    if sort == "attempts":
        return "the same request again"
    words = "each request" if window == "authorization" else f"per {window}"
    if key:
        words += f", {', '.join(parse(key.encode()))}"
    return f"{words}, until {_at(moment_text(ends_at))}" if ends_at else words


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        # Numbers stand right, so that they can be compared.
        cells = [
            cell.rjust(width) if column in (2, 3, 4) else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        yield ("  " + "  ".join([*cells, row[-1]])).rstrip()


def _approvals(found: Explanation) -> Iterator[str]:
    said = found.made.body["decision"].get("approvals", ())
    if not said and not found.approvals:
        return
    names = [policy[0] for policy in found.made.body["decision"]["policies"]]
    yield ""
    yield "Approval by persons"
    for place, rule, window, above, _, verdict in said:
        scope = "each request" if window == "authorization" else f"per {window}"
        answer = "asked" if verdict == "ask" else "not reached"
        yield f"  {names[place]}/{rule}: above {_money(found, above)} {scope}: {answer}"
    for tier, votes in found.approvals:
        yield from _tier(tier, votes)


def _tier(tier: Approval, votes: Iterable[Vote]) -> Iterator[str]:
    approvers = ", ".join(parse(tier.approvers.encode()))
    until = f", until {_at(moment_text(tier.expires_at))}" if tier.state == "open" and tier.expires_at else ""
    yield f"  {tier.id} {tier.state}: {tier.quorum} of {approvers}{until} [{tier.policy}/{tier.rule}]"
    for vote in votes:
        seat = f" for {vote.seat}" if vote.seat != vote.person else ""
        word = "granted" if vote.verdict == GRANT else "refused"
        yield f"      {vote.person}{seat} {word} on {_at(moment_text(vote.recorded_at))}"


def _policies(policies: Sequence[PolicyThen]) -> Iterator[str]:
    if not policies:
        return
    yield ""
    yield "Policies asked"
    for policy in policies:
        now = ""
        if policy.live_version is None:
            now = "; retired since"
        elif policy.live_version != policy.version:
            now = f"; version {policy.live_version} decides now"
        shadow = ", shadow: refuses nothing" if policy.shadow else ""
        made = f", log record {policy.log_index}" if policy.log_index is not None else ""
        yield f"  {policy.name} version {policy.version} ({policy.digest[:_DIGEST_SHOWN]}{made}{shadow}){now}"


def _shadow(found: Explanation, decision: dict[str, Any]) -> Iterator[str]:
    reasons = decision.get("shadow", ())
    if not reasons:
        return
    yield ""
    yield "Shadow policies would have refused"
    for reason in reasons:
        yield f"  {reason['code']}: {reason['detail']} [{reason['rule']}]"
        values = _values(found, reason)
        if values:
            yield f"      {values}"


def _since(found: Explanation) -> Iterator[str]:
    if not found.since:
        return
    yield ""
    yield "Since then"
    if found.cut:
        yield "  (older records are left out)"
    for told in found.since:
        yield f"  {_at(told.body['time'])}  {_happened(found, told)}"
        if told.body["kind"] == "denial":
            for reason in told.body["decision"]["reasons"]:
                yield f"      {reason['code']}: {reason['detail']} [{reason['rule']}]"
        for line in _texts(told):
            yield f"      {line}"


def _texts(told: Told) -> Iterator[str]:
    """The free texts beside a record, and which of them were removed."""
    for field, text in sorted(told.texts.items()):
        yield f"{field}: {' '.join(text.split())}"
    for field, index in told.redacted.items():
        yield f"{field}: (redacted by log record {index})"


def _happened(found: Explanation, told: Told) -> str:
    body = told.body
    words = _KINDS.get(body["kind"], body["kind"].replace("_", " "))
    if "reprice" in body:
        said = body["reprice"]
        words = f"repriced from {_money(found, said['settled'])} to {_money(found, said['amount'])}"
    elif body["kind"] == "expiry" and "by" in body:
        words = "marked as not known"
    if body.get("amount", "0") != "0":
        words += f" {_money(found, body['amount'])}"
    if body["kind"] == "settlement" and not body.get("final", True):
        words += " (not the last)"
    asked = {name: getattr(found.row, name) for name in ("category", "payee")}
    other = [f"{name} {body[name]}" for name in asked if name in body and body[name] != asked[name]]
    if other and body["kind"] == "settlement":
        words += f" as {', '.join(other)}"
    if body.get("flags"):
        words += f", flagged {', '.join(body['flags'])}"
    by = body.get("by", {}).get("principal")
    return f"{words}{f' by {by}' if by else ''} (log record {told.record.log_index})"
