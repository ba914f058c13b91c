"""Server processes to measure: started, pinned to one core, found ready, and always stopped.

Invariant: every process started here is ended here, by its own process id; its output goes to a file beside
its data, and is quoted when it does not start.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil

PROJECT_ROOT = Path(__file__).resolve().parents[1]
READY_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 30.0
BOOK = "bench"


class ServerFailed(Exception):
    """A server did not start, or a command that it needs failed; the message ends with its output."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which processor runs what. With one processor, both are that one, and the figures mean little."""

    server: int
    load: int
    available: int

    @classmethod
    def of_this_machine(cls) -> "Cores":
        """The first two processors that this process may use."""
        cores = sorted(os.sched_getaffinity(0))
        return cls(server=cores[0], load=cores[1] if len(cores) > 1 else cores[0], available=len(cores))


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def bursar_command() -> str:
    """The `bursar` program of the environment that runs the bench. Raises ServerFailed when there is none."""
    program = Path(sys.executable).parent / "bursar"
    if not program.exists():
        raise ServerFailed(f"{program} is missing: run `make setup`")
    return str(program)


class Server:
    """One server process on 127.0.0.1, pinned to a core (None: any); a context manager.

    `command` is the program with its arguments; it must listen on `port`.
    """

    def __init__(self, name: str, command: Sequence[str], *, port: int, core: int | None, directory: Path) -> None:
        self.name = name
        self.port = port
        self.core = core
        self._command = list(command)
        self._log_path = directory / f"{name}-{port}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "Server":
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=PROJECT_ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        if self.core is not None:
            os.sched_setaffinity(self._process.pid, {self.core})
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process: asked first, killed after a while."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def processor_seconds(self) -> float:
        """Processor time used so far, in seconds, by the process and its children."""
        if self._process is None:
            return 0.0
        process = psutil.Process(self._process.pid)
        return sum(
            times.user + times.system
            for times in (each.cpu_times() for each in (process, *process.children(recursive=True)))
        )

    def log_tail(self) -> str:
        """The end of what the server wrote."""
        return self._log_path.read_text(errors="replace")[-2000:] if self._log_path.exists() else ""

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            if self._process is not None and self._process.poll() is not None:
                raise ServerFailed(f"{self.name} ended with {self._process.returncode}:\n{self.log_tail()}")
            if _answers(self.port):
                return
            time.sleep(0.05)
        raise ServerFailed(f"{self.name} not ready after {READY_TIMEOUT_SECONDS:.0f} s:\n{self.log_tail()}")


def _answers(port: int) -> bool:
    """Whether something on the port answers readiness with anything but a server error."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def module_server(module: str, *arguments: str, core: int, directory: Path) -> Server:
    """One of the bench's own servers, which take a port, a core and what else they need."""
    port = free_port()
    command = [sys.executable, "-m", module, str(port), str(core), *arguments]
    return Server(module.rpartition(".")[2], command, port=port, core=core, directory=directory)


def initialize_book(database_url: str, *, currency: str = "USD") -> str:
    """Run `bursar init` on the database; return the admin key. Raises ServerFailed."""
    command = [bursar_command(), "init", "--database-url", database_url, "--book", BOOK]
    command += ["--currency", currency, "--timezone", "UTC", "--json"]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise ServerFailed(f"bursar init ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return str(json.loads(done.stdout)["admin_key"])


def fake_provider(*, port: int, core: int, directory: Path, behaviour: str = "in=100 out=100") -> Server:
    """The fake provider on this port (0: any that is free), which takes any key that begins with `sk-`."""
    port = port or free_port()
    command = [sys.executable, "-m", "bench.fake_provider", "--port", str(port), "--core", str(core)]
    command += ["--default", behaviour, "--keep", "1"]
    return Server("fake-provider", command, port=port, core=core, directory=directory)


def bursar_server(
    name: str, database_url: str, *, core: int | None, directory: Path, options: Sequence[str] = ()
) -> Server:
    """`bursar serve` with one worker on an initialized database, with no bound on a key's rate."""
    port = free_port()
    command = [bursar_command(), "serve", "--database-url", database_url]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--rate-limit-per-second", "0", *options]
    return Server(name, command, port=port, core=core, directory=directory)
