"""A policy in the form that decides: compiled once per version from its canonical document, plain and frozen.

Owns the rules as data (``compiling`` makes them of documents). Invariant: nothing here changes once made, but for what
a meter remembers of the time it was last asked about.
"""

import re
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Any, Final, NamedTuple

from ledger.core.conditions import Condition
from ledger.core.counter import Frame
from ledger.core.policy_row import SCOPE_AGENT, SCOPE_BOOK, SCOPE_BUDGET
from ledger.core.windows import (
    AUTHORIZATION,
    LIFETIME,
    ROLLING,
    RUN,
    Hours,
    calendar_bounds,
    rolling_first_bucket,
)

METERS_MAX: Final = 256
LIMIT: Final = "limit"
APPROVAL: Final = "approval"
LOOPS: Final = "loops"
RUNS: Final = "runs"
THEN_DENY: Final = "deny"
THEN_FREEZE: Final = "freeze"
THEN_FLAG: Final = "flag"
_SECOND: Final = 1_000_000
LOOP_BUCKETS: Final = 60


@dataclass(frozen=True, slots=True)
class Globs:
    """A list of globs as one expression; matching ignores case, and an absent value matches nothing."""

    patterns: tuple[str, ...]
    expression: re.Pattern[str]

    def match(self, value: str | None) -> bool:
        """Whether any glob fits ``value``."""
        return value is not None and self.expression.match(value.casefold()) is not None


def globs_of(patterns: list[str] | None) -> Globs | None:
    """Compile a list of globs; None stays None."""
    if patterns is None:
        return None
    joined = "|".join(translate(pattern.casefold()) for pattern in patterns) or r"(?!)"
    return Globs(tuple(patterns), re.compile(joined))


class Subject(NamedTuple):
    """What globs are matched against. ``labels`` are sorted pairs."""

    agent: str | None
    budget: str
    run: str | None
    category: str
    payee: str
    resource: str | None
    currency: str
    labels: tuple[tuple[str, str], ...] = ()

    def value(self, name: str) -> str:
        """The value of a ``by`` word, empty where there is none. What a client may write as it likes is folded as it is
        for globs, so that another spelling is not a fresh allowance; names and runs are what they are."""
        if name.startswith("label."):
            wanted = name[6:]
            return next((text for key, text in self.labels if key == wanted), "").casefold()
        value: str = getattr(self, name) or ""
        return value.casefold() if name == "resource" else value


@dataclass(frozen=True, slots=True)
class Match:
    """Which requests a rule is about: every list that is given must fit."""

    categories: Globs | None = None
    payees: Globs | None = None
    resources: Globs | None = None
    agents: Globs | None = None
    currencies: Globs | None = None
    labels: tuple[tuple[str, Globs], ...] = ()

    def fits(self, subject: Subject) -> bool:
        """Whether the rule is about ``subject``."""
        for globs, value in (
            (self.categories, subject.category),
            (self.payees, subject.payee),
            (self.resources, subject.resource),
            (self.agents, subject.agent),
            (self.currencies, subject.currency),
        ):
            if globs is not None and not globs.match(value):
                return False
        if self.labels:
            held = dict(subject.labels)
            return all(globs.match(held.get(key)) for key, globs in self.labels)
        return True


class Face(NamedTuple):
    """A meter at one moment: its frame, where its window starts and ends (microseconds, 0: it does not), and its
    window and limits as a decision says them."""

    frame: Frame
    starts_at: int
    ends_at: int
    window: str
    maximum: str
    max_count: str


@dataclass(slots=True)
class Meter:
    """What a limit, a cumulative threshold or a loop rule counts, and how it divides time.

    ``number`` names its counters (0 for a rule per authorization, which counts nothing); amounts in atoms of
    ``currency``. ``at_hand`` is the face it had last; it and the two underscored fields remember what are functions of
    time.
    """

    number: int
    kind: str
    policy: str
    id: str
    per: str
    rolling: bool
    timezone: str
    currency: str | None
    match: Match | None
    by: tuple[str, ...]
    maximum: int | None
    max_count: int | None
    shadow: bool
    within: int = 0
    _window: tuple[int, int] = (0, 0)
    _frame: tuple[int, Frame] = (-1, Frame(0, 0, 0))
    at_hand: tuple[int, Face] | None = None

    @property
    def window(self) -> str:
        """The window in one word or two: ``day``, ``rolling hour``."""
        return f"rolling {self.per}" if self.rolling else self.per

    @property
    def span(self) -> tuple[int, int]:
        """(bucket width in microseconds, number of buckets) of a rolling meter."""
        if self.kind == LOOPS:
            width = -(-self.within * _SECOND // LOOP_BUCKETS)
            return width, LOOP_BUCKETS
        return ROLLING[self.per]

    def bounds(self, now: int) -> tuple[int, int]:
        """[start, end) of the calendar window at ``now``; (0, 0) where the meter has none."""
        if self.rolling or self.per in (AUTHORIZATION, RUN, LIFETIME):
            return 0, 0
        start, end = self._window
        if not start <= now < end:
            start, end = self._window = calendar_bounds(self.per, timezone=self.timezone, now=now)
        return start, end

    def frame(self, now: int) -> Frame:
        """How the meter divides time at ``now``."""
        known, frame = self._frame
        if known == now:
            return frame
        if self.rolling:
            width, count = self.span
            frame = Frame(0, width, rolling_first_bucket(width=width, count=count, now=now))
        else:
            frame = Frame(self.bounds(now)[0], 0, 0)
        self._frame = (now, frame)
        return frame

    def face(self, now: int) -> Face:
        """What a decision at ``now`` says of the meter."""
        known = self.at_hand
        if known is not None and known[0] == now:
            return known[1]
        frame = self.frame(now)
        starts_at, ends_at = self.bounds(now)
        if self.rolling:
            starts_at = frame.first * frame.width
        face = Face(frame, starts_at, ends_at, self.window, str(self.maximum), str(self.max_count))
        self.at_hand = (now, face)
        return face

    def counts_money(self) -> bool:
        """Whether amounts are counted, and not only authorizations."""
        return self.currency is not None

    def counts(self, subject: Subject) -> bool:
        """Whether an authorization of ``subject`` on the policy's path is counted."""
        if self.currency is not None and subject.currency != self.currency:
            return False
        return self.match is None or self.match.fits(subject)


@dataclass(frozen=True, slots=True)
class ApprovalRule:
    """A threshold above which persons are asked. ``expires_after`` in seconds."""

    id: str
    meter: Meter
    above: int
    approvers: tuple[str, ...]
    quorum: int
    expires_after: int


@dataclass(frozen=True, slots=True)
class CompiledPolicy:
    """One version of a policy. ``error`` is empty unless the document could not be compiled."""

    name: str
    version: int
    digest: str
    scope_kind: str
    scope: str
    shadow: bool = False
    timezone: str = "UTC"
    error: str = ""
    allow: Match | None = None
    deny: Match | None = None
    hours: Hours | None = None
    limits: tuple[Meter, ...] = ()
    run_limits: tuple[Meter, ...] = ()
    approvals: tuple[ApprovalRule, ...] = ()
    loops: Meter | None = None
    loops_then: str = THEN_DENY
    overrun_percent: int | None = None
    overrun_then: str = THEN_FLAG
    mismatch_above: int | None = None
    mismatch_then: str = THEN_FLAG
    conditions: tuple[tuple[str, Condition], ...] = ()
    meters: tuple[Meter, ...] = field(default=())


def scope_of(applies_to: dict[str, Any]) -> tuple[str, str]:
    """(scope kind, name) that a document's ``applies_to`` stands for."""
    ((kind, name),) = applies_to.items()
    if kind == "book":
        return SCOPE_BOOK, ""
    return (SCOPE_BUDGET if kind == "budget" else SCOPE_AGENT), str(name)
