"""Two decisions on one request side by side: the recorded one and the one that was made again, value by value.

Owns the translation of a decision as bodies say it (``deciding_authorizations.decision_said``) into values with names.
Invariant: two decisions whose bytes differ have at least one value that differs.
"""

from collections import Counter
from typing import Any, Final, NamedTuple

from ledger.core.moment import moment_text

DECISION: Final = "decision"
MONEY: Final = "money"
TEXT: Final = "text"
_LIMIT_VALUES: Final = ("window", "limit", "used before", "window start", "window end", "counted for")
_RULE_VALUES: Final = ("observed", "limit", "remaining")


class Name(NamedTuple):
    """What a value is: of which policy (empty: the ledger's own rules), of which rule in it, and which one."""

    policy: str
    rule: str
    value: str


class Value(NamedTuple):
    """A value as text; with unit ``MONEY`` it is a number of atoms."""

    text: str
    unit: str = TEXT


class Difference(NamedTuple):
    """A value that differs: ``version`` is that of the policy as recorded, else as it decided again; ``recorded`` or
    ``again`` is None where only the other has such a value."""

    policy: str
    version: int | None
    rule: str
    value: str
    recorded: Value | None
    again: Value | None


def differences(said: dict[str, Any], found: dict[str, Any]) -> list[Difference]:
    """The values in which a recorded decision and the one that was made again differ, in the order in which decisions
    say them. Raises KeyError, TypeError, ValueError or IndexError for a decision that no honest writer wrote."""
    recorded, again = _values(said), _values(found)
    versions = _versions(found) | _versions(said)
    made = [
        Difference(name.policy, versions.get(name.policy), name.rule, name.value, recorded.get(name), again.get(name))
        for name in {**recorded, **again}
        if recorded.get(name) != again.get(name)
    ]
    if not made and said != found:
        made.append(Difference("", None, DECISION, "form", Value(str(said)[:200]), Value(str(found)[:200])))
    return made


def _versions(said: dict[str, Any]) -> dict[str, int]:
    return {policy[0]: policy[1] for policy in said.get("policies", ())}


def _values(said: dict[str, Any]) -> dict[Name, Value]:
    values: dict[Name, Value] = {}
    if not said:
        return values
    seen: Counter[tuple[str, str]] = Counter()

    def put(rule: tuple[str, str], value: str, text: Any, unit: str = TEXT) -> None:
        values[Name(*rule, value)] = Value(str(text), unit)

    def again(policy: str, rule: str) -> tuple[str, str]:
        """A rule that is said twice (of each sort of fingerprint) gets a number the second time."""
        seen[policy, rule] += 1
        return policy, rule if seen[policy, rule] == 1 else f"{rule} ({seen[policy, rule]})"

    put(("", DECISION), "outcome", said["outcome"])
    names = [policy[0] for policy in said["policies"]]
    for place, (name, version, digest, *rest) in enumerate(said["policies"]):
        put((name, "policy"), "version", version)
        put((name, "policy"), "digest", digest)
        put((name, "policy"), "place", place)
        if rest:
            put((name, "policy"), "shadow", "yes")
    for place, rule, kind, *limit in said["limits"]:
        named = again(names[place], rule if kind == MONEY else f"{rule} ({kind})")
        for value, text in zip(_LIMIT_VALUES, limit, strict=True):
            if value in ("window start", "window end"):
                put(named, value, moment_text(text) if text else "none")
            elif value != "counted for" or text:
                put(named, value, text, MONEY if kind == MONEY and value in ("limit", "used before") else TEXT)
    for rule, verdict, *observed in said["rules"]:
        named = again(*_split(rule))
        put(named, "verdict", verdict)
        for value, text in zip(_RULE_VALUES, observed, strict=False):
            put(named, value, text, MONEY)
    for place, rule, window, above, used, verdict in said.get("approvals", ()):
        named = again(names[place], f"{rule} (approval)")
        put(named, "window", window)
        put(named, "above", above, MONEY)
        put(named, "used before", used, MONEY)
        put(named, "verdict", verdict)
    for kind in ("reasons", "shadow"):
        for place, reason in enumerate(said.get(kind, ()), start=1):
            policy, rule = _split(reason["rule"])
            named = again(policy, f"{rule}: {reason['code']}" + (" (shadow)" if kind == "shadow" else ""))
            put(named, "reason", place)
            for value, text in reason.items():
                if value not in ("rule", "code"):
                    counted = reason.get("unit") == "count" or value not in _RULE_VALUES
                    put(named, value.replace("_", " "), text, TEXT if counted else MONEY)
    return values


def _split(rule: str) -> tuple[str, str]:
    """(policy, rule) of POLICY/RULE; the ledger's own rules have no policy."""
    policy, slash, rest = rule.partition("/")
    return (policy, rest) if slash else ("", rule)
