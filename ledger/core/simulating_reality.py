"""What really became of a past request, as its record says it, seen from the policy whose place a candidate takes.

Invariant: reads a body and nothing else. A denial is the policy's own only where every reason given is its own, because
any other would have refused the request all the same.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ledger.core.outcome import PRECEDENCE, Status
from ledger.core.rules import RULE_APPROVAL

PLACES: Final[Mapping[str, int]] = {status.value: place for status, place in PRECEDENCE.items()}
_APPROVAL: Final = Status.APPROVAL_REQUIRED.value
_POLICY_ERROR: Final = Status.POLICY_ERROR.value


class Reality(NamedTuple):
    """``asked`` says that persons were asked, or would have had to be, because of the policy itself, and ``asked_too``
    because of another one; ``own`` are the reasons of a denial that are the policy's own, ``others`` the codes of those
    that are not."""

    denied: bool
    asked: bool
    asked_too: bool
    own: tuple[Mapping[str, Any], ...]
    others: tuple[str, ...]

    @property
    def code(self) -> str | None:
        """The code of the denial that was answered; None where it was none."""
        codes = [*(reason["code"] for reason in self.own), *self.others]
        return min(codes, key=lambda code: PLACES.get(code, 0)) if codes else None


_HELD: Final = Reality(False, False, False, (), ())


def reality_of(decision: Mapping[str, Any], policy: str) -> Reality:
    """What a recorded decision was, seen from the policy of that name."""
    outcome = decision.get("outcome", "approved")
    if outcome == "approved":
        return _HELD
    asked = asked_too = False
    for item in decision.get("approvals", ()):
        if item[5] == "ask":
            named = decision["policies"][item[0]]
            if len(named) > 3:
                continue
            if named[0] == policy:
                asked = True
            else:
                asked_too = True
    if outcome != "denied":
        return Reality(False, asked, asked_too, (), ())
    own, others = [], []
    prefix = f"{policy}/"
    for reason in decision["reasons"]:
        code, rule = reason["code"], reason["rule"]
        if (
            rule.startswith(prefix)
            or (rule == policy and code == _POLICY_ERROR)
            or (rule == RULE_APPROVAL and code == _APPROVAL and asked and not asked_too)
        ):
            own.append(reason)
        else:
            others.append(code)
    waited = any(reason["code"] == _APPROVAL for reason in own)
    return Reality(True, waited, asked_too, tuple(own), tuple(others))
