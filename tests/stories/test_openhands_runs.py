"""Three runs that really happened, under the policy for experiments: two that did their work, and one that ran away.

The trace is of an agent that mends issues of a compiler. Run 4588 edited a file again and again, was never satisfied,
and ended only when a cap on iterations stopped it: 49 calls, 938,015 prompt tokens, the issue not mended. Here every
call asks first, at the time it was made, and is settled at what it used. Read this to see what stops a runaway, and
when: which call is refused, by which rule, what the rule saw, and what was not spent.

A call can only say what is known before it is made. So it holds its prompt, which is there, and the longest answer; and
its fingerprint says what the agent has just done, not what the answer will make it do. ``test_result_empty`` of the
trace is false in all 105 calls, so it tells nobody anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest

from ledger.core.command import Caller, OpenRun
from ledger.core.moment import moment_of
from ledger.core.money import format_atoms
from ledger.services.policies.document_files import read_policy
from tests.support.databases import sqlite_url
from tests.support.documents import ROOT
from tests.support.policed import Policed
from tests.support.trace_server import TraceServer

TRACE = ROOT.parent / "shared" / "data" / "openhands_llm_calls.jsonl"
POLICY = ROOT / "policies" / "sandbox-run.yaml"
RUNAWAY = "ponylang__ponyc-4588"
ORDINARY = ("ponylang__ponyc-4595", "ponylang__ponyc-4593")
PAYEE = "openrouter"
DAY = 86_400_000_000
DIGITS = 9

# The price that this story counts with, in atoms (billionths of a dollar) for one token: 0.20 and 0.60 dollars for a
# million tokens in and out. An answer is at most 4,096 tokens long.
ATOMS_IN, ATOMS_OUT, ANSWER_MAX = 200, 600, 4_096

pytestmark = pytest.mark.skipif(not TRACE.exists(), reason=f"the trace {TRACE.name} is not in ../shared/data")


class Call(NamedTuple):
    """A call of a model. ``after`` is what the agent did just before, ``commands`` how many commands it had run."""

    run: str
    at: int
    model: str
    tokens_in: int
    tokens_out: int
    after: str
    commands: int

    @property
    def held(self) -> int:
        """The most that it can cost, in atoms."""
        return self.tokens_in * ATOMS_IN + ANSWER_MAX * ATOMS_OUT

    @property
    def cost(self) -> int:
        """What it did cost, in atoms."""
        return self.tokens_in * ATOMS_IN + self.tokens_out * ATOMS_OUT

    @property
    def request(self) -> dict[str, str]:
        """What it says when it asks, beside its amount."""
        return {
            "category": "inference",
            "payee": PAYEE,
            "resource": self.model,
            "run": self.run,
            "intent": f"go on after: {self.after}",
            "fingerprint": f"{self.run} {self.after} {self.commands}",
        }


class Reason(NamedTuple):
    """Why a call was refused: the first reason of the answer. A rule that counts says how many it saw."""

    code: str
    rule: str
    observed_count: int | None = None
    limit_count: int | None = None


class Refusal(NamedTuple):
    """A call that was refused: its place in the run, from 0, and why."""

    place: int
    reason: Reason


class Played(NamedTuple):
    """What became of a run: the calls that were made, and those that were refused."""

    made: list[Call]
    refused: list[Refusal]

    @property
    def tokens(self) -> int:
        """Prompt tokens used."""
        return sum(call.tokens_in for call in self.made)

    @property
    def cost(self) -> int:
        """Money spent, in atoms."""
        return sum(call.cost for call in self.made)


class Way(Protocol):
    """A way to ask a ledger: in memory, or over HTTP."""

    def set_clock(self, moment: int) -> None: ...

    def clock(self) -> int: ...

    def open_run(self, run: str) -> None: ...

    def authorize(self, call: Call) -> str | Reason:
        """The authorization, or why it was refused."""

    def settle(self, authorization: str, atoms: int) -> None: ...

    def spent_and_held(self) -> tuple[str, str]:
        """Of the budget, as decimal text."""


def read_runs() -> dict[str, list[Call]]:
    """The calls of each run, in the order in which they were made."""
    runs: dict[str, list[Call]] = {}
    after, commands = "", 0
    for line in TRACE.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        calls = runs.setdefault(row["run"], [])
        if not calls:
            after, commands = "nothing", 0
        at = moment_of(row["ts"] + "Z")
        calls.append(
            Call(row["run"], at, row["model"], row["prompt_tokens"], row["completion_tokens"], after, commands)
        )
        after = row["action"]
        commands += after == "run"
    return runs


def sandbox_policy() -> dict[str, Any]:
    """The policy as it is shipped."""
    return read_policy(POLICY).canonical()


class InMemory:
    """The ledger in memory: team ``sandbox`` with an agent, a budget of ten dollars and the policy."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._world = Policed()
        self._world.agent("sandbox", kind="team")
        self._agent: Caller = self._world.agent("coder", "sandbox")
        self._world.budget("sandbox", "10", "sandbox")
        self._world.policy(document["policy"], **document)

    def set_clock(self, moment: int) -> None:
        self._world.now = moment

    def clock(self) -> int:
        return self._world.now

    def open_run(self, run: str) -> None:
        assert self._world.do(OpenRun, self._agent, name=run).status.value == "done"

    def authorize(self, call: Call) -> str | Reason:
        outcome = self._world.authorize(self._agent, format_atoms(call.held, DIGITS), budget="sandbox", **call.request)
        body = outcome.body or {}
        if outcome.status.value == "approved":
            return str(body["authorization"])
        reason = body["decision"]["reasons"][0]
        counts = (int(reason["observed"]), int(reason["limit"])) if reason.get("unit") == "count" else ()
        return Reason(reason["code"], reason["rule"], *counts)

    def settle(self, authorization: str, atoms: int) -> None:
        settled = self._world.settle(self._agent, authorization, format_atoms(atoms, DIGITS))
        assert settled.status.value == "done"

    def spent_and_held(self) -> tuple[str, str]:
        return self._world.shown("budgets:sandbox:spent"), self._world.shown("budgets:sandbox:held")


class OverHttp:
    """A real server with the same book."""

    def __init__(self, server: TraceServer, document: dict[str, Any]) -> None:
        self._server = server
        server.make("/v1/teams", {"name": "sandbox"})
        server.make("/v1/agents", {"name": "coder", "parent": "sandbox"})
        server.make("/v1/budgets", {"name": "sandbox", "currency": "USD", "agents": ["sandbox"]})
        server.make("/v1/budgets/sandbox/allocations", {"amount": {"amount": "10.00", "currency": "USD"}})
        server.make("/v1/policies", document)
        self._key = str(server.make("/v1/keys", {"role": "agent", "agent": "coder"})["key"])

    def set_clock(self, moment: int) -> None:
        self._server.clock.moment = moment

    def clock(self) -> int:
        return self._server.clock.moment

    def open_run(self, run: str) -> None:
        self._server.make("/v1/runs", {"name": run}, key=self._key)

    def authorize(self, call: Call) -> str | Reason:
        asked = {"amount": _dollars(call.held), "budget": "sandbox", **call.request}
        answer = self._server.send("POST", "/v1/authorizations", asked, key=self._key)
        if answer.status == 201:
            return str(answer.json["id"])
        reason = answer.json["decision"]["reasons"][0]
        assert (answer.status, answer.json["code"]) == (403, reason["code"])
        return Reason(reason["code"], reason["rule"], reason.get("observed_count"), reason.get("limit_count"))

    def settle(self, authorization: str, atoms: int) -> None:
        self._server.make(f"/v1/authorizations/{authorization}/settle", {"amount": _dollars(atoms)}, key=self._key)

    def spent_and_held(self) -> tuple[str, str]:
        budget = self._server.send("GET", "/v1/budgets/sandbox").json
        return budget["spent"]["amount"], budget["held"]["amount"]


def _dollars(atoms: int) -> dict[str, str]:
    return {"amount": format_atoms(atoms, DIGITS), "currency": "USD"}


Opened = Callable[[Path], Any]


@contextmanager
def in_memory(_: Path) -> Iterator[Way]:
    """The ledger in memory, under the policy as it is shipped."""
    yield InMemory(sandbox_policy())


@contextmanager
def on_a_server(directory: Path) -> Iterator[Way]:
    """A real server, under the same."""
    with TraceServer(sqlite_url(directory)) as server:
        yield OverHttp(server, sandbox_policy())


def play(way: Way, calls: list[Call], *, obeys: bool = True) -> Played:
    """Make the calls of a run at their times of day. One that obeys stops at the first refusal; one that does not goes
    on with the next call, as if nothing had been said."""
    later = -(-(way.clock() - calls[0].at) // DAY) * DAY
    way.set_clock(calls[0].at + later)
    way.open_run(calls[0].run)
    played = Played([], [])
    for place, call in enumerate(calls):
        way.set_clock(call.at + later)
        answer = way.authorize(call)
        if isinstance(answer, str):
            way.settle(answer, call.cost)
            played.made.append(call)
            continue
        played.refused.append(Refusal(place, answer))
        if obeys:
            break
    return played


@pytest.mark.parametrize("opened", [in_memory, on_a_server])
def test_the_runaway_is_stopped_and_the_ordinary_runs_are_not(opened: Opened, tmp_path: Path) -> None:
    """One agent makes the three runs one after the other, as in the trace."""
    runs = read_runs()
    assert [len(runs[name]) for name in (*ORDINARY, RUNAWAY)] == [23, 33, 49]
    with opened(tmp_path) as way:
        played = {name: play(way, calls) for name, calls in runs.items()}
        spent = sum(one.cost for one in played.values())
        assert way.spent_and_held() == (format_atoms(spent, DIGITS), "0.00")

    # What did its work is not touched: every call is made, and costs what it cost.
    for name in ORDINARY:
        assert played[name].refused == []
        assert played[name].made == runs[name]

    # The runaway has edited for the thirteenth time, and not run anything since the first of them: 25 of its 49 calls
    # are made, and the 26th (index 25) is refused.
    stopped, calls = played[RUNAWAY], runs[RUNAWAY]
    assert stopped.refused == [Refusal(25, Reason("loop_detected", "sandbox-run/loops", 13, 12))]
    assert calls[25].after == "edit"
    assert [call.after for call in calls[:25] if call.commands == calls[25].commands].count("edit") == 12

    # Most of what it would have used was not used.
    assert story_of(stopped, calls) == (
        "call 25 refused by sandbox-run/loops, which saw 13 where 12 may be; not spent: 24 of 49 calls, "
        "560,754 of 938,015 prompt tokens, 0.113436 of 0.1909792 USD"
    )


def story_of(played: Played, calls: list[Call]) -> str:
    """What stopped a run, when, and what was saved."""
    whole = Played(calls, [])
    place, reason = played.refused[0]
    return (
        f"call {place} refused by {reason.rule}, which saw {reason.observed_count} where {reason.limit_count} may be; "
        f"not spent: {len(calls) - len(played.made)} of {len(calls)} calls, "
        f"{whole.tokens - played.tokens:,} of {whole.tokens:,} prompt tokens, "
        f"{format_atoms(whole.cost - played.cost, DIGITS)} of {format_atoms(whole.cost, DIGITS)} USD"
    )


def rules_apart() -> dict[str, dict[str, Any]]:
    """The policy with each of its rules alone. The rule on a run has two sides, its money and its calls."""
    document = sandbox_policy()
    bare = {key: value for key, value in document.items() if key not in ("limits", "loops", "overrun")}
    apart = {"loops": bare | {"loops": document["loops"]}}
    for limit in document["limits"]:
        for side, other in (("max", "max_count"), ("max_count", "max")):
            if side in limit:
                one = {key: value for key, value in limit.items() if key != other}
                apart[f"{limit['id']}.{side}"] = bare | {"limits": [one]}
    return apart


def test_the_first_rule_that_can_know_stops_it() -> None:
    """Each rule alone: which call of the runaway it would have refused. The caps of the run are the net below: they
    know only once the run is longer, or dearer, than an experiment may be."""
    calls = read_runs()[RUNAWAY]
    stops: dict[str, int] = {}
    for rule, document in rules_apart().items():
        refused = play(InMemory(document), calls).refused
        if refused:
            stops[rule] = refused[0].place
    assert stops == {"loops": 25, "run.max": 40, "run.max_count": 40}


def test_no_rule_touches_the_ordinary_runs_by_itself() -> None:
    """So none of them hides behind another."""
    runs = read_runs()
    for rule, document in rules_apart().items():
        way = InMemory(document)
        for name in ORDINARY:
            assert play(way, runs[name]).refused == [], (rule, name)


def test_an_agent_that_does_not_listen_is_held_by_the_caps_of_its_run() -> None:
    """It goes on after every refusal. What it repeats stays refused, the attempts that were refused count too; when it
    does something else it is let on, until its run has spent what it may. That is for good."""
    calls = read_runs()[RUNAWAY]
    way = InMemory(sandbox_policy())
    played = play(way, calls, obeys=False)
    looped, spent = Reason("loop_detected", "sandbox-run/loops", 13, 12), Reason("limit_exceeded", "sandbox-run/run")
    assert played.refused[:4] == [Refusal(25 + more, looped._replace(observed_count=13 + more)) for more in range(4)]
    assert played.refused[4:] == [Refusal(place, spent) for place in range(43, 49)]
    assert format_atoms(played.cost, DIGITS) == "0.1424688"
    assert way.spent_and_held() == ("0.1424688", "0.00")
