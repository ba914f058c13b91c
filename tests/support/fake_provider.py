"""The fake provider for a test: a process of its own, or a thread of the test's.

Owns `FakeProvider`. Invariants: it listens before the test goes on; the process or thread is gone at the end; the file
of the bill outlives a process that was killed.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from types import TracebackType
from typing import Any

import uvloop

from bench.fake_provider.connection import Connection
from bench.fake_provider.routes import Routes
from bench.fake_provider.server import FakeProvider as Server
from bench.fake_provider.server import Options

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk-fake-1"
READY_SECONDS = 60.0
ATOMS_PER_USD = 10**9


@dataclass(frozen=True)
class Seen:
    """A request as the provider saw it; header names in lower case, `answer` the body that it gave."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    status: int
    answer: bytes

    def header(self, name: str) -> str | None:
        """The last value of a header, None where it is missing."""
        return dict(self.headers).get(name.lower())


def atoms(cost: str) -> int:
    """A cost in USD as the books have it: atoms, half-even at one atom."""
    return int((Decimal(cost) * ATOMS_PER_USD).to_integral_value(rounding=ROUND_HALF_EVEN))


class FakeProvider:
    """A running fake provider; a context manager, or `start` and `stop`.

    `keys`: those that may call (none: any that starts with `sk-`). `defaults`: directives for every call, such as
    `"out=100 ttfb=20"`. `prices`: `MODEL=IN,OUT` in USD for a million tokens. `bill_path`: the file that takes the
    bill. `process`: a process of its own, which can be killed; else a thread, which starts at once.
    """

    def __init__(
        self,
        *,
        keys: Iterable[str] = (),
        defaults: str = "",
        prices: Iterable[str] = (),
        bill_path: Path | None = None,
        seed: int = 0,
        keep: int = 1000,
        process: bool = False,
    ) -> None:
        self._options = Options(
            keys=tuple(keys), defaults=defaults, prices=tuple(prices), bill=bill_path, seed=seed, keep=keep
        )
        self._in_process = process
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event | None = None
        self._listening = threading.Event()
        self._port = 0

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def openai_url(self) -> str:
        """The base URL for OpenAI's client; Anthropic's takes `url`."""
        return f"{self.url}/v1"

    def __enter__(self) -> FakeProvider:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> FakeProvider:
        """Start it, on the port it had before where it ran before, and wait until it listens."""
        if self._in_process:
            self._start_process()
        else:
            self._listening.clear()
            self._thread = threading.Thread(target=self._run, args=(Server(self._options),), daemon=True)
            self._thread.start()
            if not self._listening.wait(READY_SECONDS) or self._loop is None:
                raise AssertionError("the fake provider did not start")
        return self

    def stop(self) -> None:
        """End it and wait for its end; nothing happens when it does not run."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(READY_SECONDS)
            self._process = None
        if self._thread is not None and self._loop is not None and self._stopped is not None:
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(READY_SECONDS)
            self._thread = self._loop = None

    def kill(self) -> None:
        """Kill its process at once."""
        if self._process is None:
            raise AssertionError("only a process can be killed")
        self._process.kill()
        self._process.wait(READY_SECONDS)
        self._process = None

    def bill(self, key: str | None = None) -> dict[str, Any]:
        """The bill of a key (None: of all): `lines`, `total` in USD, `unpriced` lines."""
        answer: dict[str, Any] = self.ask("GET", "/_fake/bill" + (f"?key={key}" if key else ""))
        return answer

    def billed_atoms(self, key: str | None = None) -> int:
        """What the bill says, each line rounded as the books round a settlement."""
        return sum(atoms(line["cost"]) for line in self.bill(key)["lines"] if line["cost"] is not None)

    def await_bill(self, lines: int, *, seconds: float = 30.0) -> list[dict[str, Any]]:
        """The bill's lines once there are so many: what a client that left is billed for is known a moment later."""
        deadline = time.monotonic() + seconds
        while len(found := self.bill()["lines"]) < lines:
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(found)} lines on the bill, not {lines}")
            time.sleep(0.005)
        return list(found)

    def seen(self) -> list[Seen]:
        """The last requests, oldest first."""
        return [
            Seen(
                method=request["method"],
                path=request["path"],
                headers=[(name, value) for name, value in request["headers"]],
                body=base64.b64decode(request["body"]),
                status=request["status"],
                answer=base64.b64decode(request["answer"]),
            )
            for request in self.ask("GET", "/_fake/seen")["requests"]
        ]

    def marks(self) -> dict[str, dict[str, int]]:
        """`calls` and `connections`: how many there are `now`, were at `most` at once, and were in `total`."""
        answer = self.ask("GET", "/_fake/seen")
        return {"calls": answer["calls"], "connections": answer["connections"]}

    def defaults(self, directives: str) -> None:
        """Change what every further call does; what is not named stays."""
        self.ask("POST", "/_fake/defaults", directives.encode())

    def reset(self) -> None:
        """Forget the bill, what was seen, and changed defaults."""
        self.ask("POST", "/_fake/reset", b"")

    def ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        """One of its own routes."""
        request = urllib.request.Request(self.url + path, data=body, method=method)
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.loads(response.read())

    def _run(self, fake: Server) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve(fake))

    async def _serve(self, fake: Server) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        routes = Routes(fake)
        server = await self._loop.create_server(lambda: Connection(routes), "127.0.0.1", self._port)
        self._port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._stopped.wait()
        server.close()
        fake.bill.close()

    def _start_process(self) -> None:
        options = self._options
        command = [sys.executable, "-m", "bench.fake_provider", "--port", str(self._port)]
        command += ["--default", options.defaults, "--seed", str(options.seed), "--keep", str(options.keep)]
        command += [word for key in options.keys for word in ("--key", key)]
        command += [word for price in options.prices for word in ("--price", price)]
        command += ["--bill", str(options.bill)] if options.bill is not None else []
        with tempfile.TemporaryDirectory() as directory:
            port_file = Path(directory) / "port"
            command += ["--port-file", str(port_file)]
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            self._process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
            deadline = time.monotonic() + READY_SECONDS
            while not port_file.exists():
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self._process.kill()
                    raise AssertionError(f"the fake provider did not start: {self._process.wait()}")
                time.sleep(0.01)
            self._port = int(port_file.read_text())
