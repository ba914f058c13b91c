"""One agent's day, as a client process of its own: every task over HTTP, every answer compared with what it must be.

Invariant: the agent's budget is used by this process alone, so its own arithmetic knows each verdict beforehand.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

from ledger.cli.demo.calls import Calls, DemoError, amount_of, money
from ledger.cli.demo.plan import AgentPlan, Task
from ledger.cli.demo.purse import ZERO, Purse

TTL_SECONDS = 600
SHORT_TTL_SECONDS = 1
LONG_TTL_SECONDS = 86_400
LATE_BY_SECONDS = 0.2
REFUNDABLE_MAX = 3
PARTS = 3


@dataclass
class Finished:
    """What a client process did, for the report."""

    agent: str
    purse: Purse
    requests: int = 0
    done: Counter[str] = field(default_factory=Counter)
    refused: Counter[tuple[int, str]] = field(default_factory=Counter)
    sentences: dict[str, str] = field(default_factory=dict)
    refundable: list[tuple[str, Decimal]] = field(default_factory=list)
    seconds_asked: list[float] = field(default_factory=list)


class Reporting(Protocol):
    """Where a client process says what it has done: a queue between processes."""

    def put(self, message: tuple[str, Any]) -> None:
        """Send ("task", agent), ("finished", Finished) or ("failed", sentence)."""


def live(base_url: str, key: str, admin_key: str, plan: AgentPlan, reporting: Reporting) -> None:
    """Work through the plan and report; never raises, so that the parent always hears how it ended."""
    # Ctrl-C reaches the whole group of processes; the parent ends this one, and says so once.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Calls(base_url, key) as calls, Calls(base_url, admin_key) as admin:
            day = AgentDay(calls, admin, plan)
            for number, task in enumerate(plan.tasks):
                day.do(number, task)
                reporting.put(("task", plan.name))
            reporting.put(("finished", day.finish()))
    except DemoError as error:
        reporting.put(("failed", f"agent {plan.name}: {error}"))
    except Exception as error:
        # Whatever it was, the parent must stop waiting for this process and show it.
        reporting.put(("failed", f"agent {plan.name}: {type(error).__name__}: {error}"))


def _request(task: Task, amount: Decimal, *, ttl_seconds: int) -> dict[str, Any]:
    """The body that asks for an amount for a task."""
    return {
        "amount": money(amount),
        "category": task.category,
        "payee": task.payee,
        "resource": task.resource,
        "intent": task.intent,
        "run": task.run,
        "ttl_seconds": ttl_seconds,
    }


class AgentDay:
    """The tasks of one agent, in order."""

    def __init__(self, calls: Calls, admin: Calls, plan: AgentPlan) -> None:
        self._calls = calls
        self._admin = admin
        self._plan = plan
        self._purse = Purse(plan.name, plan.allocated)
        self._finished = Finished(plan.name, self._purse)
        self._run_spent = dict.fromkeys(plan.runs, ZERO)
        self._settled: dict[str, Decimal] = {}
        self._key = ""
        self._step = 0
        for run in plan.runs:
            calls.post("/v1/runs", {"name": run}, key=f"open-{run}", status=201)

    def do(self, number: int, task: Task) -> None:
        """Carry out one task."""
        self._key, self._step = f"{self._plan.name}-{number}", 0
        getattr(self, f"_{task.kind}")(task)

    def finish(self) -> Finished:
        """Compare the totals of the runs, and return what was done."""
        for run in self._plan.runs:
            totals = self._calls.get(f"/v1/runs/{run}")["totals"]
            spent = sum((amount_of(total["spent"]) for total in totals), ZERO)
            if spent != self._run_spent[run]:
                raise DemoError(f"run {run}: the server says {spent} spent, expected {self._run_spent[run]}")
        self._finished.requests = self._calls.requests + self._admin.requests
        self._finished.refused = self._calls.refused
        self._finished.sentences = self._calls.sentences
        return self._finished

    # The single requests.

    def _next_key(self) -> str:
        self._step += 1
        return f"{self._key}-{self._step}"

    def _ask(
        self, task: Task, amount: Decimal, *, key: str, ttl_seconds: int = TTL_SECONDS, code: str | None = None
    ) -> str | None:
        """Ask for an amount; the authorization's id where the purse says it must be approved, else None."""
        body = _request(task, amount, ttl_seconds=ttl_seconds)
        expected = code or self._purse.verdict(amount)
        status = {None: 201, "budget_held": 429}.get(expected, 403)
        started = time.perf_counter()
        answer = self._calls.post("/v1/authorizations", body, key=key, status=status, code=expected)
        self._finished.seconds_asked.append(time.perf_counter() - started)
        if expected is None:
            self._purse.hold(amount)
            self._finished.done["approved"] += 1
        else:
            self._finished.done["denied"] += 1
        self._purse.compare(answer["budget"])
        return answer["id"] if expected is None else None

    def _settle(
        self,
        reference: str,
        task: Task,
        amount: Decimal,
        *,
        held: Decimal,
        final: bool = True,
        flags: tuple[str, ...] = (),
        resource: str | None = None,
    ) -> Decimal:
        body: dict[str, Any] = {"amount": money(amount), "final": final}
        if resource is not None:
            body["resource"] = resource
        answer = self._calls.post(f"/v1/authorizations/{reference}/settle", body, key=self._next_key(), status=200)
        left = self._purse.settle(amount, held=held, final=final)
        self._run_spent[task.run] += amount
        self._settled[reference] = self._settled.get(reference, ZERO) + amount
        self._purse.compare(answer["budget"])
        if answer.get("flags", []) != list(flags):
            raise DemoError(f"{reference} has the flags {answer.get('flags')}, expected {', '.join(flags) or 'none'}")
        self._finished.done["settled" if final else "settled in part"] += 1
        for flag in flags:
            self._finished.done[f"flagged {flag}"] += 1
        if final and task.category == "inference" and len(self._finished.refundable) < REFUNDABLE_MAX:
            self._finished.refundable.append((reference, self._settled[reference]))
        return left

    def _release_hold(self, reference: str, held: Decimal, *, reason: str) -> None:
        answer = self._calls.post(
            f"/v1/authorizations/{reference}/release", {"reason": reason}, key=self._next_key(), status=200
        )
        self._purse.give_back(held)
        self._purse.compare(answer["budget"])
        self._finished.done["released"] += 1

    # The kinds of task.

    def _call(self, task: Task) -> None:
        reference = self._ask(task, task.worst, key=self._next_key())
        if reference is not None:
            self._settle(reference, task, task.actual, held=task.worst)

    def _partial(self, task: Task) -> None:
        """A long stream: what was used so far is settled while it runs."""
        reference = self._ask(task, task.worst, key=self._next_key())
        if reference is None:
            return
        part = (task.actual / PARTS).quantize(Decimal("0.000000001"))
        held = task.worst
        for _ in range(PARTS - 1):
            held = self._settle(reference, task, part, held=held, final=False)
        self._settle(reference, task, task.actual - part * (PARTS - 1), held=held)

    def _extend(self, task: Task) -> None:
        """Start with a smaller hold, and have it extended before it is used up."""
        first = (task.worst / 2).quantize(Decimal("0.000000001"))
        reference = self._ask(task, first, key=self._next_key())
        if reference is None:
            return
        more = task.worst - first
        code = self._purse.verdict(more, own=first)
        status = {None: 200, "budget_held": 429}.get(code, 403)
        body = {"amount": money(more), "ttl_seconds": 60}
        path = f"/v1/authorizations/{reference}/extend"
        answer = self._calls.post(path, body, key=self._next_key(), status=status, code=code)
        held = first
        if code is None:
            self._purse.hold(more)
            held += more
            self._finished.done["extended"] += 1
        else:
            self._finished.done["denied"] += 1
        self._purse.compare(answer["budget"])
        self._settle(reference, task, min(task.actual, held), held=held)

    def _release(self, task: Task) -> None:
        reference = self._ask(task, task.worst, key=self._next_key())
        if reference is not None:
            self._release_hold(reference, task.worst, reason="the answer was in the cache")

    def _retry(self, task: Task) -> None:
        """The answer got lost on its way, so the client asks again with the same key."""
        key = self._next_key()
        reference = self._ask(task, task.worst, key=key)
        if reference is None:
            return
        if self._asked_again(task, key, status=201, replayed=True, code=None)["id"] != reference:
            raise DemoError(f"a retry of {key} got another authorization")
        self._settle(reference, task, task.actual, held=task.worst)

    def _retry_closed(self, task: Task) -> None:
        """A retry that comes after the hold was settled must not give the money a second time."""
        key = self._next_key()
        reference = self._ask(task, task.worst, key=key)
        if reference is None:
            return
        self._settle(reference, task, task.actual, held=task.worst)
        self._asked_again(task, key, status=409, replayed=True, code="replay_closed")

    def _asked_again(self, task: Task, key: str, *, status: int, replayed: bool, code: str | None) -> Any:
        body = _request(task, task.worst, ttl_seconds=TTL_SECONDS)
        self._finished.done["retried"] += 1
        return self._calls.post("/v1/authorizations", body, key=key, status=status, code=code, replayed=replayed)

    def _overrun(self, task: Task) -> None:
        """The call cost more than was authorized: it is recorded, and flagged as that and as a mismatch."""
        reference = self._ask(task, task.worst, key=self._next_key())
        if reference is not None:
            self._settle(reference, task, task.actual, held=task.worst, flags=("overrun", "mismatch"))

    def _mismatch(self, task: Task) -> None:
        """The provider served another model than the one that was asked for."""
        reference = self._ask(task, task.worst, key=self._next_key())
        if reference is not None:
            self._settle(reference, task, task.actual, held=task.worst, flags=("mismatch",), resource="fallback-model")

    def _expire(self, task: Task) -> None:
        """A hold that nobody came back for gives its money back when its time is over."""
        reference = self._ask(task, task.worst, key=self._next_key(), ttl_seconds=SHORT_TTL_SECONDS)
        if reference is None:
            return
        time.sleep(SHORT_TTL_SECONDS + LATE_BY_SECONDS)
        self._purse.give_back(task.worst)
        self._call(task._replace(kind="call"))
        state = self._calls.get(f"/v1/authorizations/{reference}")["state"]
        if state != "expired":
            raise DemoError(f"{reference} is {state} after its time, expected expired")
        self._finished.done["expired"] += 1

    def _expire_late(self, task: Task) -> None:
        """The call was billed after all, when its hold had expired: it is recorded, and flagged."""
        reference = self._ask(task, task.worst, key=self._next_key(), ttl_seconds=SHORT_TTL_SECONDS)
        if reference is None:
            return
        time.sleep(SHORT_TTL_SECONDS + LATE_BY_SECONDS)
        self._purse.give_back(task.worst)
        self._finished.done["expired"] += 1
        self._settle(reference, task, task.actual, held=ZERO, flags=("late",))

    def _blocked(self, task: Task) -> None:
        """A worst-case hold fills the budget: others wait, and get through once it is released."""
        filling = self._purse.available
        reference = self._ask(task, filling, key=self._next_key())
        if reference is None:
            raise DemoError(f"budget {self._purse.budget} could not be filled with a hold of {filling}")
        key = self._next_key()
        if self._ask(task, task.worst, key=key) is not None:
            raise DemoError(f"budget {self._purse.budget} gave more than it has")
        self._release_hold(reference, filling, reason="the batch was not started")
        reference = self._ask(task, task.worst, key=key)
        if reference is not None:
            self._settle(reference, task, task.actual, held=task.worst)

    def _too_much(self, task: Task) -> None:
        """An agent that asks for more than its budget has."""
        self._ask(task, self._purse.available + self._purse.held + 1, key=self._next_key())

    def _in_flight(self, task: Task) -> None:
        """A call that is still running when the day ends."""
        if self._ask(task, task.worst, key=self._next_key(), ttl_seconds=LONG_TTL_SECONDS) is not None:
            self._finished.done["still held"] += 1

    def _frozen(self, task: Task) -> None:
        """An operator freezes the agent: it gets nothing more, and what is in flight can still be settled."""
        reference = self._ask(task, task.worst, key=self._next_key())
        path = f"/v1/agents/{self._plan.name}"
        self._admin.post(f"{path}/freeze", {"reason": "it writes to the wrong people"}, key="freeze-1", status=200)
        self._ask(task, task.worst, key=self._next_key(), code="agent_frozen")
        if reference is not None:
            self._settle(reference, task, task.actual, held=task.worst)
        self._admin.post(f"{path}/unfreeze", {"reason": "it was told better"}, key="unfreeze-1", status=200)
        self._call(task._replace(kind="call"))
