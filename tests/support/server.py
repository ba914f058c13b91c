"""Real `bursar serve` processes for tests: started, found ready, stopped, killed.

Owns ``ServerProcess``. Invariants: each server leads a process group of its own, so that killing the group kills its
workers and nobody else; a test leaves no process behind, however it ends; a server's log goes to a file, and its end
is quoted when the server does not do as it was told.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import psutil

from ledger.services.books import open_new_book
from ledger.storage import migrate

BURSAR = str(Path(sys.executable).parent / "bursar")
READY = re.compile(r"bursar serving on http://127\.0\.0\.1:(\d+) ")
READY_SECONDS = 60.0
STOP_SECONDS = 30.0


class ServerFailed(AssertionError):
    """The server did not start, or did not end as it must; the message ends with its log."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class ServerProcess:
    """`bursar serve` on a database; a context manager that starts it and, at the end, kills what is left of it.

    ``directory`` takes its log. The port stays the same over restarts; ``flags`` may be changed between them.
    """

    def __init__(self, database_url: str, *flags: str, directory: Path, environment: dict[str, str] | None = None):
        self.database_url = database_url
        self.port = free_port()
        self.flags = flags
        self._environment = environment or {}
        self._log_path = directory / f"server-{self.port}.log"
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def process(self) -> subprocess.Popen[str]:
        """The leader of its group. Raises ServerFailed when it was not started."""
        if self._process is None:
            raise ServerFailed("the server was not started")
        return self._process

    @property
    def pid(self) -> int:
        """The process id of the leader, which is also the group's."""
        return self.process.pid

    def processes(self) -> list[psutil.Process]:
        """The leader and everything below it that is alive."""
        leader = psutil.Process(self.pid)
        return [leader, *leader.children(recursive=True)]

    def start(self) -> None:
        """Start it and return once its ready line is there. Raises ServerFailed."""
        command = [BURSAR, "serve", "--database-url", self.database_url, "--port", str(self.port), *self.flags]
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
                env={**os.environ, **self._environment},
            )
        line = self._first_line()
        if READY.match(line) is None:
            self.kill()
            raise ServerFailed(f"the server said {line!r}" + self.log_tail())

    def _first_line(self) -> str:
        output = self.process.stdout
        if output is None:
            return ""
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            return output.readline() if selector.select(READY_SECONDS) else ""

    def terminate(self) -> None:
        """Send SIGTERM to the leader, as an operator or a supervisor does, and do not wait."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self, *, seconds: float = STOP_SECONDS) -> int:
        """Wait for its end; the exit status. Raises ServerFailed when it does not come in time."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise ServerFailed(f"the server did not end within {seconds} seconds" + self.log_tail()) from None

    def stop(self) -> None:
        """SIGTERM, and insist on status 0."""
        self.terminate()
        status = self.wait()
        if status != 0:
            raise ServerFailed(f"the server ended with {status}" + self.log_tail())
        self._close()

    def strike(self) -> None:
        """SIGKILL the whole process group at this very moment, and do not wait."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def kill(self) -> None:
        """SIGKILL the whole process group, as a crash would, and wait until nothing of it is left."""
        self.strike()
        self.process.wait(STOP_SECONDS)
        wait_until(lambda: not self._group(), seconds=STOP_SECONDS, what="the end of the process group")
        self._close()

    def _group(self) -> list[int]:
        """The processes of the group that run; what is dead and not yet reaped does not count."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(ProcessLookupError, psutil.Error):
                if os.getpgid(process.pid) == self.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process.pid)
        return found

    def _close(self) -> None:
        if self.process.stdout is not None:
            self.process.stdout.close()

    def log_tail(self) -> str:
        """The end of what it logged."""
        return "\n" + self._log_path.read_text(errors="replace")[-3000:] if self._log_path.exists() else ""

    def log_text(self) -> str:
        """Everything that it logged."""
        return self._log_path.read_text(errors="replace")

    def __enter__(self) -> ServerProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.kill()


class OpenBook(NamedTuple):
    """A database with a book in it, and the book's admin key."""

    database_url: str
    name: str
    book_id: int
    admin_key: str


def open_book(database_url: str, name: str = "acme") -> OpenBook:
    """Make the tables where there are none, and open a book."""
    migrate.upgrade(database_url)
    opened = open_new_book(database_url, name=name, currency="USD", timezone="UTC")
    return OpenBook(database_url, name, opened.book.book_id, opened.admin_key)


def verified(database_url: str) -> dict[str, Any]:
    """Run `bursar verify` as a user would and insist on status 0; its report. Raises ServerFailed."""
    done = subprocess.run(
        [BURSAR, "verify", "--database-url", database_url, "--json"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode != 0:
        raise ServerFailed(f"bursar verify ended with {done.returncode}: {done.stdout} {done.stderr}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def wait_until(condition: Any, *, seconds: float, what: str) -> None:
    """Return once ``condition()`` is true. Raises ServerFailed with ``what`` when it does not become so in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ServerFailed(f"{what} did not happen within {seconds} seconds")
        time.sleep(0.02)
