"""The fake provider's state: who may call, what was seen, what is in flight, what was billed.

Owns `FakeProvider`, one for each process. Invariants: every request that arrives whole is in `seen` with its exact
bytes; every call counts as in flight from its arrival to its end; only `bill_call` puts a line on the bill.
"""

import base64
import secrets
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from bench.fake_provider.bill import Bill, Line
from bench.fake_provider.calls import Call
from bench.fake_provider.directives import Behaviour, Directives
from bench.fake_provider.faults import with_chance_fault
from bench.fake_provider.prices import PROVIDERS, Oracle, read_table
from bench.fake_provider.usages import usage_of

KEY_PREFIX = "sk-"


@dataclass(frozen=True, slots=True)
class Options:
    """What the server is started with. `keys`: those that may call (none given: any that starts with `sk-`).

    `defaults` are directives for every call, `prices` entries for `read_table`, `keep` how many requests are
    remembered.
    """

    keys: tuple[str, ...] = ()
    defaults: str = ""
    prices: tuple[str, ...] = ()
    bill: Path | None = None
    seed: int = 0
    keep: int = 100


@dataclass(slots=True)
class Seen:
    """A request as it came, and the answer's body as it went (before compression, as far as it was written)."""

    method: str
    path: str
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    status: int = 0
    answer: list[bytes] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """For JSON: header names in lower case, bodies in base64."""
        return {
            "method": self.method,
            "path": self.path,
            "headers": [[name.decode("latin-1").lower(), value.decode("latin-1")] for name, value in self.headers],
            "body": base64.b64encode(self.body).decode(),
            "status": self.status,
            "answer": base64.b64encode(b"".join(self.answer)).decode(),
        }


@dataclass(slots=True)
class Gauge:
    """How many there are now, were at most at once, and were in all."""

    now: int = 0
    most: int = 0
    total: int = 0

    def enter(self) -> None:
        """One more."""
        self.now += 1
        self.total += 1
        self.most = max(self.most, self.now)

    def leave(self) -> None:
        """One less."""
        self.now -= 1

    def reset(self) -> None:
        """Count anew from those that there are now."""
        self.most, self.total = self.now, 0

    def document(self) -> dict[str, int]:
        """For JSON."""
        return {"now": self.now, "most": self.most, "total": self.total}


class FakeProvider:
    """One fake provider. Raises UnknownDirective or ValueError for options that it does not understand."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.directives = Directives(options.defaults)
        self.oracle = Oracle(read_table(options.prices))
        self.bill = Bill(options.bill)
        self.seen: deque[Seen] = deque(maxlen=options.keep)
        self.calls = Gauge()
        self.connections = Gauge()
        self._chance = Random(options.seed)
        self._run = secrets.token_hex(6)
        self._numbers = count(1)

    def next_id(self) -> str:
        """An id that no other call of any run has."""
        return f"{self._run}{next(self._numbers):08x}"

    def may_call(self, key: str) -> bool:
        """Whether the key is one that this provider gave out."""
        return key in self.options.keys if self.options.keys else key.startswith(KEY_PREFIX)

    def behaviour_of(self, *, header: bytes, body: bytes) -> Behaviour:
        """How to answer a call, its chance of a fault drawn. Raises UnknownDirective."""
        behaviour = self.directives.of(header=header, body=body)
        if behaviour.fail_percent and self._chance.random() * 100 < behaviour.fail_percent:
            return with_chance_fault(behaviour, self._chance)
        return behaviour

    def bill_call(self, call: Call, *, key: str, client_request_id: str, generated: int, outcome: str) -> None:
        """Put what was generated of a call on the bill."""
        counts = call.counts(generated)
        behaviour = call.behaviour
        cost = self.oracle.cost(
            provider=behaviour.provider or PROVIDERS[call.wire],
            model=call.model,
            tier=call.tier,
            speed=behaviour.speed,
            counts=counts,
        )
        self.bill.add(
            Line(
                id=call.response_id,
                key=key,
                client_request_id=client_request_id,
                wire=call.wire,
                model=call.model,
                tier=call.tier,
                stream=call.stream,
                usage=usage_of(call, counts),
                input_tokens=counts.input,
                output_tokens=counts.output,
                cost=cost,
                time=time.time(),
                outcome=outcome,
            )
        )

    def reset(self) -> None:
        """Forget what was billed and seen, set the defaults and the chance of faults as at the start."""
        self.bill.reset()
        self.seen.clear()
        self.calls.reset()
        self.connections.reset()
        self.directives.reset(self.options.defaults)
        self._chance = Random(self.options.seed)
