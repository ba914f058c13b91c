"""Runs in a simulation: which would have been opened, and which of the named ones would have been open.

Owns ``Runs``. Invariant: a run that the candidate would not have opened is open to no later request, and one that only
it would have opened is.
"""

from collections.abc import Mapping
from typing import Any, Final

from ledger.core.judging import judge_run
from ledger.core.planning import Plan, run_meters
from ledger.core.policy import CompiledPolicy
from ledger.core.rules import Verdict, first_denial
from ledger.core.simulated import NEWLY_APPROVED, NEWLY_DENIED, RUN, Example, Findings
from ledger.core.simulating_examples import Past
from ledger.core.simulating_reality import PLACES, reality_of
from ledger.core.simulating_uses import Counting, Marks


class Runs:
    """``known`` maps the names of runs that the records at hand name to the index of the record that opened each (None:
    none did); ``needed`` says that the candidate looks at that at all."""

    def __init__(
        self, candidate: CompiledPolicy, counting: Counting, findings: Findings, *, since: int, log_size: int
    ) -> None:
        meters = (*candidate.limits, *(rule.meter for rule in candidate.approvals))
        self.needed: Final = any("run" in meter.by for meter in meters)
        self.known: Mapping[str, int | None] = {}
        self._name = candidate.name
        self._counting = counting
        self._findings = findings
        self._since = since
        self._denied = Marks(log_size)
        self._only_here: set[str] = set()

    def is_open(self, run: str | None, index: int) -> bool:
        """Whether a run would have been open to the request at ``index``."""
        if run is None or not self.needed:
            return False
        opened = self.known.get(run)
        if opened is not None and opened < index:
            return opened not in self._denied
        return run in self._only_here

    def take(self, record: Past, plan: Plan | None) -> None:
        """A run was opened, or refused."""
        index, kind, now, body = record
        opened = kind == "run"
        meters = run_meters(plan, body["agent"]) if plan is not None else []
        if plan is None or not meters or now < self._since:
            if opened and meters:
                self._count(meters, now)
            return
        self._findings.ask(RUN, body["agent"], 0, "")
        reality = reality_of(body.get("decision", {}), self._name)
        if reality.others:
            self._findings.denied_by_others += 1
            return
        denial = first_denial(judge_run(plan, meters, now, self._counting.counters.get).denials)
        if denial is None:
            self._count(meters, now)
            if not opened:
                self._only_here.add(body["run"])
                reason = min(reality.own, key=lambda one: PLACES.get(one["code"], 0))
                self._findings.change(NEWLY_APPROVED, _example(index, now, body, reason["code"], reason["rule"]))
        elif opened:
            self._denied.set(index)
            self._findings.change(NEWLY_DENIED, _denied(index, now, body, denial))

    def _count(self, meters: list[Any], now: int) -> None:
        self._counting.count_now(tuple(meters), (0, 0, 1), now)


def _example(index: int, now: int, body: Mapping[str, Any], code: str, rule: str) -> Example:
    return Example(now, index, RUN, body["run"], body["agent"], 0, "", code, rule, "")


def _denied(index: int, now: int, body: Mapping[str, Any], verdict: Verdict) -> Example:
    code = verdict.status.value if verdict.status is not None else ""
    return _example(index, now, body, code, verdict.rule)._replace(
        detail=verdict.detail, observed=verdict.observed, limit=verdict.limit, remaining=verdict.remaining,
        counted=verdict.counted,
    )  # fmt: skip
