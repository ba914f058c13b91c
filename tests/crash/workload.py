"""Seeded agent work for crashes: what each client asks, and a journal of what it was told.

Owns plans and journals. Invariants: a plan is a function of its seed; its budget has room for all of it, so its books
are the same in whatever order and however often its requests arrive; a client stops at the first request that got no
answer, and a client that goes on repeats every request of its plan with the key it had.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from ledger.core.canonical import idempotency_digest
from tests.support.clients import Answer, Client, NoAnswer, authorization, usd

CLIENTS: Final = 12
PAUSE_SECONDS: Final = 0.05
PATIENCE_SECONDS: Final = 90.0
AGENT: Final = "crawler"
BUDGET: Final = "research"
ALLOCATED: Final = "1000000.00"


@dataclass(frozen=True)
class Step:
    """One request: ``verb`` is authorize, settle, extend or release."""

    verb: str
    key: str
    body: dict[str, Any]

    @property
    def digest(self) -> str:
        """The idempotency key as the log holds it."""
        return idempotency_digest(f"agent:{AGENT}", self.key).hex()


@dataclass
class Journal:
    """What clients were told. ``told`` has the first success of each key; ``unanswered`` the requests without an
    answer; ``refused`` each 503."""

    told: dict[str, Answer] = field(default_factory=dict)
    unanswered: list[Step] = field(default_factory=list)
    refused: list[Answer] = field(default_factory=list)
    on_answer: Callable[[], None] = lambda: None


Flow = list[Step]


def cents(amount: int) -> dict[str, str]:
    """An amount of this many cents."""
    return usd(f"{amount // 100}.{amount % 100:02}")


def flow(chance: random.Random, name: str) -> Flow:
    """One authorization and how it goes on."""
    asked = chance.randint(50, 500)
    body = authorization(resource=name) | {"amount": cents(asked)}
    steps = [Step("authorize", f"{name}-authorize", body)]

    def then(verb: str, **more: Any) -> None:
        steps.append(Step(verb, f"{name}-{len(steps)}-{verb}", more))

    kind = chance.choice(("settle", "parts", "release", "extend", "open", "above"))
    if kind == "settle":
        then("settle", amount=cents(chance.randint(0, asked)))
    elif kind == "parts":
        then("settle", amount=cents(chance.randint(1, asked // 2)), final=False)
        then("settle", amount=cents(chance.randint(1, asked // 2)))
    elif kind == "release":
        then("release", reason="the call was not made")
    elif kind == "extend":
        more = chance.randint(1, 300)
        then("extend", amount=cents(more))
        then("settle", amount=cents(asked + more))
    elif kind == "above":
        then("settle", amount=cents(asked + chance.randint(1, 100)))
    return steps


def plan(seed: int, name: str, *, flows: int, clients: int = CLIENTS) -> list[list[Flow]]:
    """What each client does: ``flows`` authorizations one after the other."""
    chance = random.Random(f"{seed}-{name}")
    return [[flow(chance, f"{name}-{client}-{number}") for number in range(flows)] for client in range(clients)]


def requests_of(planned: list[list[Flow]]) -> list[Step]:
    """Every request of a plan."""
    return [step for client in planned for steps in client for step in steps]


async def work(port: int, key: str, planned: list[list[Flow]], journal: Journal, *, patient: bool = False) -> None:
    """Do a whole plan, all clients at once. Each stops at its first request without an answer; patient ones repeat it
    instead, as they repeat what was refused with 503."""
    clients = [Client(port, key) for _ in planned]
    try:
        await asyncio.gather(
            *(_work(client, flows, journal, patient) for client, flows in zip(clients, planned, strict=True))
        )
    finally:
        for client in clients:
            client.close()


async def _work(client: Client, flows: list[Flow], journal: Journal, patient: bool) -> None:
    for steps in flows:
        reference = ""
        for step in steps:
            answer = await _ask(client, step, reference, journal, patient)
            if answer is None:
                return
            if step.verb == "authorize":
                # A closed hold's replay has no id; the client knows it from the answer that it had.
                reference = journal.told[step.key].json["id"]


async def _ask(client: Client, step: Step, reference: str, journal: Journal, patient: bool) -> Answer | None:
    path = "/v1/authorizations" + (f"/{reference}/{step.verb}" if reference else "")
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_SECONDS
    while True:
        try:
            answer = await client.post(path, step.body, idempotency_key=step.key)
        except NoAnswer:
            journal.unanswered.append(step)
            if not patient:
                return None
        else:
            if answer.status < 300:
                _agree(journal.told.setdefault(step.key, answer), answer, step)
                journal.on_answer()
                return answer
            if answer.status == 409 and answer.code == "replay_closed" and step.key in journal.told:
                return answer
            if answer.status != 503:
                raise AssertionError(f"{step}: {answer.status} {answer.body.decode()}")
            journal.refused.append(answer)
        if loop.time() > deadline:
            raise AssertionError(f"no answer to {step} for {PATIENCE_SECONDS} seconds")
        await asyncio.sleep(PAUSE_SECONDS)


def _agree(first: Answer, again: Answer, step: Step) -> None:
    """Insist that a repeated request is told what it was told before."""
    if first is not again and (first.body, True) != (again.body, again.replayed):
        raise AssertionError(f"{step} was told {first.body.decode()} and then {again.body.decode()}")
