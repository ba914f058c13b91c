"""What the policies on a path say about one request: facts in, verdicts out.

Owns the judgement of lists, hours, conditions, limits, loops and approval thresholds. Invariants: pure and total (what
goes wrong inside a policy is a denial by that policy); every limit is looked at and said, also when another denies;
a shadow policy is judged and said, and refuses nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfoNotFoundError

from ledger.core.affording import CounterOf, Limits, afforded
from ledger.core.asking import Asking as Asking
from ledger.core.asking import judge_times
from ledger.core.counter import Counter, Sums
from ledger.core.outcome import Status
from ledger.core.planning import Applied, CounterKey, Plan
from ledger.core.policy import THEN_FREEZE, ApprovalRule, CompiledPolicy, Meter, Subject
from ledger.core.rules import ALLOW, DENY, Verdict
from ledger.core.windows import AUTHORIZATION, LIFETIME, MINUTE, RUN, bucket_leaves_at

SOON: Final = 60_000_000
"""What fits within a minute is told to come back (429) instead of being denied."""


class Tier(NamedTuple):
    """Persons who must agree before the authorization holds for good. ``expires_after`` in seconds."""

    policy: str
    version: int
    rule: str
    approvers: tuple[str, ...]
    quorum: int
    expires_after: int


class Judgement(NamedTuple):
    """``amount`` is what may be approved as far as policies go (less than asked only where that is of use); ``limits``
    and ``approvals`` are said as ``decision`` in a body says them; ``freezers`` are policies that freeze the agent."""

    denials: list[Verdict]
    shadow: list[Verdict]
    rules: list[list[str]]
    limits: list[list[Any]]
    approvals: list[list[Any]]
    tiers: tuple[Tier, ...]
    amount: int
    freezers: tuple[str, ...]


class _Seen(NamedTuple):
    """One limit as it was found."""

    meter: Meter
    counter: Counter | None
    sums: Sums


def unjudged(amount: int) -> Judgement:
    """The judgement of a request for ``amount`` that no policy is about."""
    return Judgement([], [], [], [], [], (), amount, ())


def judge(plan: Plan, asking: Asking, counter_of: CounterOf) -> Judgement:
    """Judge one request by every policy of ``plan``. Never raises for what a document says."""
    if not plan.policies:
        return unjudged(afforded((), asking, counter_of))
    try:
        return _judge(plan, asking, counter_of)
    except ZoneInfoNotFoundError as error:
        failure = Verdict("policies", DENY, Status.POLICY_ERROR, detail=f"a time zone is not known here: {error}")
        return Judgement([failure], [], [], [], [], (), asking.amount, ())
    except LookupError:
        # A fact that was not read is a fault of ours and not of a policy.
        raise
    except Exception as error:
        failure = Verdict("policies", DENY, Status.POLICY_ERROR, detail=f"{type(error).__name__}: {error}")
        return Judgement([failure], [], [], [], [], (), asking.amount, ())


def _judge(plan: Plan, asking: Asking, counter_of: CounterOf) -> Judgement:
    applied = plan.applied(asking.subject)
    amount = (_affordable if asking.partial_ok else afforded)(applied.limits, asking, counter_of)
    if amount != asking.amount:
        asking = asking._replace(amount=amount, total=asking.total - asking.amount + amount)
    denials = list(applied.denials)
    shadow = list(applied.shadow)
    rules = [list(rule) for rule in applied.rules]
    if plan.timed:
        judge_times(plan, asking, denials, shadow, rules)
    said: list[list[Any]] = []
    _judge_limits(applied, asking, counter_of, denials, shadow, said)
    freezers = _judge_loops(plan, asking, counter_of, denials, shadow, said) if plan.loops else ()
    if not applied.approvals:
        return Judgement(denials, shadow, rules, said, [], (), amount, freezers)
    tiers, thresholds = _judge_thresholds(plan, applied, asking, counter_of, denials, shadow)
    return Judgement(denials, shadow, rules, said, thresholds, tiers, amount, freezers)


_ZERO: Final = (0, 0, 0)


def _affordable(limits: Limits, asking: Asking, counter_of: CounterOf) -> int:
    """What every limit has room for, or all that was asked when that is nothing."""
    amount = asking.amount
    for _, meter, key in limits:
        if meter.maximum is None or meter.shadow or meter.currency != asking.subject.currency:
            continue
        if key is None:
            room = meter.maximum - (asking.total - asking.amount)
        else:
            counter = counter_of(key)
            settled, held, _ = counter.seen(meter.frame(asking.now)) if counter is not None else _ZERO
            room = meter.maximum - settled - held
        if room <= 0:
            return asking.amount
        amount = min(amount, room)
    return amount


def judge_run(plan: Plan, meters: Sequence[tuple[Meter, CounterKey]], now: int, counter_of: CounterOf) -> Judgement:
    """Judge the opening of a run by the limits on it."""
    asking = Asking(Subject(plan.agent, "", None, "", "", None, ""), 0, 0, 1, now, True)
    places = {policy.name: place for place, policy in enumerate(plan.policies)}
    denials: list[Verdict] = [
        Verdict(policy.name, DENY, Status.POLICY_ERROR, detail=policy.error)
        for policy in plan.policies
        if policy.error and not policy.shadow
    ]
    shadow: list[Verdict] = []
    said: list[list[Any]] = []
    limits = tuple((places[meter.policy], meter, key) for meter, key in meters)
    applied = Applied((), (), (), limits, (), (), ())
    _judge_limits(applied, asking, counter_of, denials, shadow, said)
    return Judgement(denials, shadow, [], said, [], (), 0, ())


def _judge_limits(
    applied: Applied,
    asking: Asking,
    counter_of: CounterOf,
    denials: list[Verdict],
    shadow: list[Verdict],
    said: list[list[Any]],
) -> None:
    """Every limit that the request meets. The hot path: names are bound once, and nothing is made where it fits."""
    now, amount, total, ones, run_open = asking.now, asking.amount, asking.total, asking.ones, asking.run_open
    currency = asking.subject.currency
    for place, meter, key in applied.limits:
        known = meter.at_hand
        frame, starts_at, ends_at, window, said_maximum, said_count = (
            known[1] if known is not None and known[0] == now else meter.face(now)
        )
        counter = None if key is None else counter_of(key)
        sums = _ZERO if counter is None else counter.seen(frame)
        fits = run_open or not meter.by or not _lacks_run(meter, asking)
        named = key[1] if key is not None and meter.by else ""
        maximum = meter.maximum
        if maximum is not None:
            used = sums[0] + sums[1]
            said.append([place, meter.id, "money", window, said_maximum, str(used), starts_at, ends_at, named])
            if meter.currency != currency:
                fits = False
            elif key is None:
                fits = fits and total <= maximum
            elif used + amount > maximum and amount:
                fits = False
        if meter.max_count is not None:
            count = sums[2]
            said.append([place, meter.id, "count", window, said_count, str(count), starts_at, ends_at, named])
            if ones and count + ones > meter.max_count:
                fits = False
        if not fits:
            (shadow if meter.shadow else denials).extend(_refusals(_Seen(meter, counter, sums), asking))


def _refusals(found: _Seen, asking: Asking) -> list[Verdict]:
    """Why a limit does not fit: for want of a run, else for its money, its count or both."""
    meter = found.meter
    rule = f"{meter.policy}/{meter.id}"
    if _lacks_run(meter, asking):
        detail = "the limit counts each run apart, and the request names no run that was opened"
        return [Verdict(rule, DENY, Status.RUN_REQUIRED, detail=detail)]
    refusals: list[Verdict] = []
    if meter.maximum is not None:
        verdict = _judge_money(found, asking, rule, found.sums[0] + found.sums[1])
        if verdict is not None:
            refusals.append(verdict)
    if meter.max_count is not None and asking.ones and found.sums[2] + asking.ones > meter.max_count:
        refusals.append(_judge_count(found, asking, rule, found.sums[2]))
    return refusals


def _lacks_run(meter: Meter, asking: Asking) -> bool:
    """Whether a limit counts each run apart and the request names none that was opened: a name that is made up must not
    be a fresh allowance. A limit ``by`` run in another window counts requests that name no run together."""
    if asking.run_open:
        return False
    return meter.per == RUN or ("run" in meter.by and asking.subject.run is not None)


def _judge_money(found: _Seen, asking: Asking, rule: str, used: int) -> Verdict | None:
    meter, amount, maximum = found.meter, asking.amount, found.meter.maximum or 0
    if meter.currency != asking.subject.currency:
        return Verdict(
            rule, DENY, Status.LIMIT_CURRENCY,
            detail=f"the limit is in {meter.currency}, which {asking.subject.currency} cannot be converted to",
        )  # fmt: skip
    if meter.per == AUTHORIZATION:
        if asking.total <= maximum:
            return None
        return Verdict(
            rule, DENY, Status.LIMIT_TOO_SMALL, asking.total, maximum, maximum,
            f"one authorization may be at most the limit {meter.id}", never=True,
        )  # fmt: skip
    if used + amount <= maximum or not amount:
        return None
    remaining = max(maximum - used, 0)
    if amount > maximum:
        return Verdict(
            rule, DENY, Status.LIMIT_TOO_SMALL, used + amount, maximum, remaining,
            f"the amount alone is above the limit {meter.id}, so it never fits", never=True,
        )  # fmt: skip
    fits_at = _money_fits_at(found, asking, used + amount - maximum)
    status, detail = _patience(asking.now, fits_at, found.sums[0] + amount <= maximum, meter)
    return Verdict(
        rule, DENY, status, used + amount, maximum, remaining, detail, fits_at=fits_at,
        never=fits_at is None and status is Status.LIMIT_EXCEEDED,
    )  # fmt: skip


def _judge_count(found: _Seen, asking: Asking, rule: str, count: int) -> Verdict:
    meter, maximum = found.meter, found.meter.max_count or 0
    remaining = max(maximum - count, 0)
    if maximum == 0:
        return Verdict(
            rule, DENY, Status.LIMIT_TOO_SMALL, count + 1, 0, 0, f"the limit {meter.id} allows none", never=True,
            counted=True,
        )  # fmt: skip
    fits_at = _count_fits_at(found, asking, count + asking.ones - maximum)
    status, detail = _patience(asking.now, fits_at, False, meter)
    return Verdict(
        rule, DENY, status, count + asking.ones, maximum, remaining, detail, fits_at=fits_at,
        never=fits_at is None, counted=True,
    )  # fmt: skip


def _patience(now: int, fits_at: int | None, only_held: bool, meter: Meter) -> tuple[Status, str]:
    """How long there is to wait: a moment, until holds come free, until the window resets, or for ever."""
    # A rolling minute counts up to a sub-bucket more, and is still a rate.
    soon = SOON + (meter.span[0] if meter.rolling and meter.per == MINUTE else 0)
    if fits_at is not None and fits_at - now <= soon:
        return Status.VELOCITY, f"the limit {meter.id} has room again within a minute"
    if only_held:
        return Status.LIMIT_HELD, f"the limit {meter.id} has room only once open holds are settled or released"
    if fits_at is not None:
        return Status.LIMIT_EXCEEDED, f"the limit {meter.id} has too little left until its window moves on"
    return Status.LIMIT_EXCEEDED, f"the limit {meter.id} has too little left, and it never resets"


def _money_fits_at(found: _Seen, asking: Asking, excess: int) -> int | None:
    return _fits_at(found, asking, excess, lambda sums: sums[0] + sums[1])


def _count_fits_at(found: _Seen, asking: Asking, excess: int) -> int | None:
    return _fits_at(found, asking, excess, lambda sums: sums[2])


def _fits_at(found: _Seen, asking: Asking, excess: int, measure: Callable[[Sums], int]) -> int | None:
    """When the window will have ``excess`` less in it if nothing else happens; None: never."""
    meter = found.meter
    if not meter.rolling:
        return None if meter.per in (RUN, LIFETIME) else meter.bounds(asking.now)[1]
    if found.counter is None:
        return None
    width, count = meter.span
    freed = 0
    for number, sums in found.counter.aged(meter.frame(asking.now)):
        freed += measure(sums)
        if freed >= excess:
            return bucket_leaves_at(width=width, count=count, bucket=number)
    return None


def _judge_loops(
    plan: Plan,
    asking: Asking,
    counter_of: CounterOf,
    denials: list[Verdict],
    shadow: list[Verdict],
    said: list[list[Any]],
) -> tuple[str, ...]:
    """The same request again and again: counts attempts, whatever became of them."""
    if not asking.ones or not asking.fingerprints:
        return ()
    freezers: list[str] = []
    for place, policy, meter, key in plan.loop_keys(asking.fingerprints):
        counter = counter_of(key)
        frame = meter.frame(asking.now)
        attempts = counter.seen(frame)[2] if counter is not None else 0
        maximum = meter.max_count or 0
        starts_at = frame.first * frame.width
        said.append([place, meter.id, "attempts", "rolling within", str(maximum), str(attempts), starts_at, 0, ""])
        if attempts + 1 <= maximum:
            continue
        width, count = meter.span
        fits_at = _attempts_fit_at(counter, frame, attempts + 1 - maximum, width, count)
        verdict = Verdict(
            f"{policy.name}/loops", DENY, Status.LOOP_DETECTED, attempts + 1, maximum, 0,
            f"the same request came {attempts + 1} times within {meter.within} seconds", fits_at=fits_at, counted=True,
        )  # fmt: skip
        (shadow if policy.shadow else denials).append(verdict)
        if policy.loops_then == THEN_FREEZE and not policy.shadow and policy.name not in freezers:
            freezers.append(policy.name)
    return tuple(freezers)


def _attempts_fit_at(counter: Counter | None, frame: Any, excess: int, width: int, count: int) -> int | None:
    freed = 0
    for number, sums in counter.aged(frame) if counter is not None else ():
        freed += sums[2]
        if freed >= excess:
            return bucket_leaves_at(width=width, count=count, bucket=number)
    return None


def _judge_thresholds(
    plan: Plan,
    applied: Applied,
    asking: Asking,
    counter_of: CounterOf,
    denials: list[Verdict],
    shadow: list[Verdict],
) -> tuple[tuple[Tier, ...], list[list[Any]]]:
    """Which persons must be asked. A shadow policy's threshold is said and asks nobody. As with a limit, leaving out
    the run, or making one up, is no way to a total that begins anew."""
    tiers: list[Tier] = []
    said: list[list[Any]] = []
    for place, rule, key in applied.approvals:
        meter, policy = rule.meter, plan.policies[place]
        if _lacks_run(meter, asking):
            detail = "the rule adds up each run apart, and the request names no run that was opened"
            verdict = Verdict(f"{policy.name}/{rule.id}", DENY, Status.RUN_REQUIRED, detail=detail)
            (shadow if policy.shadow else denials).append(verdict)
            continue
        if meter.currency != asking.subject.currency:
            # What cannot be compared with the threshold is asked about.
            if asking.amount and not policy.shadow:
                tiers.append(tier_of(policy, rule))
            continue
        used = 0
        if key is not None:
            counter = counter_of(key)
            sums = counter.seen(meter.frame(asking.now)) if counter is not None else _ZERO
            used = sums[0] + sums[1]
        reached = (asking.total if key is None else used + asking.amount) > rule.above
        said.append([place, rule.id, meter.window, str(rule.above), str(used), "ask" if reached else ALLOW])
        if reached and not policy.shadow:
            tiers.append(tier_of(policy, rule))
    return tuple(tiers), said


def tier_of(policy: CompiledPolicy, rule: ApprovalRule) -> Tier:
    """The persons whom a rule asks."""
    return Tier(policy.name, policy.version, rule.id, rule.approvers, rule.quorum, rule.expires_after)
