"""Several worker processes on one port: started, watched, replaced when they die, stopped together.

Owns the children of ``bursar serve --workers N``. Invariants: the socket is bound once and shared; a child holds the
reading end of a pipe whose writing end only the parent holds, so it ends when the parent does, by whatever death;
a child that cannot start ends everything, a child that dies later is replaced, at most so often.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, Final

import orjson
from prometheus_client.multiprocess import mark_process_dead

from api import logs
from api.metrics import MULTIPROCESS_DIRECTORY
from api.settings import Settings

START_SECONDS: Final = 60.0
REPLACED_PER_MINUTE_MAX: Final = 10
_POLL_SECONDS: Final = 0.2
_MARGIN_SECONDS: Final = 10.0


class Supervisor:
    """Runs the workers until SIGTERM or SIGINT."""

    def __init__(self, settings: Settings, listener: socket.socket, *, on_ready: Callable[[], None]) -> None:
        self._settings = settings
        self._listener = listener
        self._on_ready = on_ready
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._stopping = False
        self._alive_reader, self._alive_writer = os.pipe()
        self._directory = tempfile.mkdtemp(prefix="bursar-metrics-")
        self._replaced: list[float] = []

    def run(self) -> int:
        """Serve. Returns the exit status: 0 after a signal, 1 when the workers could not be kept running."""
        logs.configure(level=self._settings.log_level, log_format=self._settings.log_format)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        try:
            started = [self._start() for _ in range(self._settings.workers)]
            if not all(self._is_ready(descriptor) for descriptor in started):
                return 0 if self._stopping else 1
            self._on_ready()
            sys.stdout.flush()
            return self._watch()
        finally:
            self._end()

    def _stop(self, number: int, frame: Any) -> None:
        self._stopping = True

    def _start(self) -> int:
        """Start one worker; a descriptor on which it says that it answers requests, for ``_is_ready``."""
        ready_reader, ready_writer = os.pipe()
        descriptors = (self._listener.fileno(), self._alive_reader, ready_writer)
        child = subprocess.Popen(
            [sys.executable, "-m", "api.worker", *map(str, descriptors)],
            stdin=subprocess.PIPE,
            pass_fds=descriptors,
            env={**os.environ, MULTIPROCESS_DIRECTORY: self._directory},
        )
        os.close(ready_writer)
        self._children[child.pid] = child
        # A worker that died at once closes its end of both pipes, which its silence then tells.
        with contextlib.suppress(BrokenPipeError):
            if child.stdin is not None:
                child.stdin.write(settings_bytes(self._settings))
                child.stdin.close()
        return ready_reader

    def _is_ready(self, descriptor: int) -> bool:
        """Wait until a worker answers requests. False when it does not come up, or the signal came first."""
        deadline = time.monotonic() + START_SECONDS
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(descriptor, selectors.EVENT_READ)
                while time.monotonic() < deadline and not self._stopping:
                    if selector.select(_POLL_SECONDS):
                        return os.read(descriptor, 1) == b"+"
            return False
        finally:
            os.close(descriptor)

    def _watch(self) -> int:
        while not self._stopping:
            time.sleep(_POLL_SECONDS)
            for pid, child in list(self._children.items()):
                if child.poll() is None or self._stopping:
                    continue
                del self._children[pid]
                self._forget_metrics(pid)
                logs.SERVER.error("worker %d ended with status %s; starting another", pid, child.returncode)
                now = time.monotonic()
                self._replaced = [then for then in self._replaced if now - then < 60] + [now]
                if len(self._replaced) > REPLACED_PER_MINUTE_MAX or not self._is_ready(self._start()):
                    if self._stopping:
                        break
                    logs.SERVER.error("workers do not stay up; giving up")
                    return 1
        return 0

    def _forget_metrics(self, pid: int) -> None:
        mark_process_dead(pid, path=self._directory)

    def _end(self) -> None:
        """Ask every worker to stop, and end those that do not within their time."""
        for child in self._children.values():
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + self._settings.shutdown_seconds + _MARGIN_SECONDS
        for child in self._children.values():
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                logs.SERVER.error("worker %d did not stop in time and was killed", child.pid)
                child.kill()
                child.wait()
        os.close(self._alive_writer)
        os.close(self._alive_reader)
        self._listener.close()
        shutil.rmtree(self._directory, ignore_errors=True)


def settings_bytes(settings: Settings) -> bytes:
    """The settings as a worker reads them, secrets included: through a pipe, not through an argument list."""
    values = settings.model_dump(mode="json")
    if settings.metrics_token is not None:
        values["metrics_token"] = settings.metrics_token.get_secret_value()
    return orjson.dumps(values)
