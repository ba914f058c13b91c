"""What the naive ledger's rules look at: what a request is about, what a hold uses and when, what a ruling says."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any

from tests.model import naive_windows as windows
from tests.model.naive_parts import ZERO, Hold

MINUTE = 60_000_000
LISTS = (("categories", "category"), ("payees", "payee"), ("resources", "resource"))
# What conditions the tests use, and what they mean.
CONDITIONS: dict[str, Any] = {
    'category != "tools"': lambda about: about["category"] != "tools",
    'resource != "" || payee == "serp"': lambda about: about["resource"] is not None or about["payee"] == "serp",
}
Sums = tuple[Decimal, Decimal, int]
"""(spent, held, how many)."""


@dataclass
class Tier:
    """Persons who are asked about one request."""

    policy: str
    rule: dict[str, Any]
    state: str = "waiting"
    expires: int | None = None
    votes: list[str] = field(default_factory=list)


@dataclass
class Ruling:
    """What all policies say. ``limits`` is what each limit had used: (policy, rule, sort) to amount or number;
    ``bounds`` what a rolling one has in it to the microsecond, and in a window that is a part longer."""

    codes: list[str] = field(default_factory=list)
    shadow: list[str] = field(default_factory=list)
    limits: dict[tuple[str, str, str], Any] = field(default_factory=dict)
    bounds: dict[tuple[str, str, str], tuple[Any, Any]] = field(default_factory=dict)
    thresholds: dict[tuple[str, str], tuple[Decimal, bool]] = field(default_factory=dict)
    tiers: list[Tier] = field(default_factory=list)
    amount: Decimal = ZERO
    freezers: list[str] = field(default_factory=list)


@dataclass
class Attempt:
    """A request that came, whatever became of it."""

    at: int
    agent: str
    budget: str
    fingerprints: list[tuple[str, Any]]


def about(hold: Hold) -> dict[str, Any]:
    """What rules look at, of a hold or a charge."""
    asked = hold.asked
    return {
        "agent": hold.agent, "budget": hold.budget, "run": hold.run, "category": asked.category, "payee": asked.payee,
        "resource": asked.resource, "currency": hold.currency, "labels": dict(getattr(asked, "labels", ())),
    }  # fmt: skip


def soon_after(rule: dict[str, Any]) -> int:
    """How long is no wait: a minute, and for a rolling minute the part of it that may be counted too long."""
    return MINUTE + (windows.SECOND if rule.get("rolling") and rule["per"] == "minute" else 0)


def listed(globs: list[str], value: str | None) -> bool:
    """Whether a value is on a list; nothing is on no list."""
    return value is not None and any(fnmatchcase(value.casefold(), glob.casefold()) for glob in globs)


def meets(rule: dict[str, Any], one: dict[str, Any]) -> bool:
    """Whether a rule is about something."""
    match = rule.get("match", {})
    for plural, single in (*LISTS, ("agents", "agent"), ("currencies", "currency")):
        if plural in match and not listed(match[plural], one[single]):
            return False
    return all(listed(globs, one["labels"].get(name)) for name, globs in match.get("labels", {}).items())


def key_of(rule: dict[str, Any], one: dict[str, Any]) -> list[str]:
    """What a rule counts apart."""
    words = (["run"] if rule["per"] == "run" else []) + rule.get("by", [])
    values = [(one["labels"].get(word[6:]) if word.startswith("label.") else one[word]) or "" for word in words]
    return [text if word == "run" else text.casefold() for word, text in zip(words, values, strict=True)]


def lacks_run(rule: dict[str, Any], one: dict[str, Any], opened: Any) -> bool:
    """Whether a rule counts each run apart, and what is asked names none that was opened."""
    needs_run = rule["per"] == "run" or ("run" in rule.get("by", ()) and one["run"] is not None)
    return needs_run and one["run"] not in opened


def uses(hold: Hold) -> list[tuple[int, Decimal, Decimal]]:
    """(moment, spent, held) of a hold: laid on a line, what is spent comes first and what is held next; each portion is
    a stretch of the line, and what lies beyond the last one belongs to the first."""
    facts = hold.facts()
    spent = facts["settled"] + facts["repriced"] - facts["refunded"]
    whole = spent + facts["held"]
    portions = [(hold.at, ZERO)]
    for event in hold.events:
        if event[0] == "hold":
            portions = [(hold.at, event[1])]
        elif event[0] == "extend" and event[1]:
            portions.append((event[3], event[1]))
    found = []
    low = ZERO
    for moment, amount in portions:
        high = low + amount
        found.append((moment, max(min(high, spent) - low, ZERO), max(min(high, whole) - max(low, spent), ZERO)))
        low = high
    moment, first_spent, first_held = found[0]
    over = max(spent - low, ZERO)
    found[0] = (moment, first_spent + over, first_held + max(whole - max(low, spent), ZERO))
    return found
