"""The real server that the demo drives: `bursar serve` as a process of its own.

Invariant: the server's output goes to a file, so that it can outlive the demo; it is stopped by the process that
started it, by its id, and by nobody else.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from ledger.cli.demo.calls import DemoError

HOST = "127.0.0.1"
FIRST_PORT = 8000
READY_SECONDS = 30.0
STOP_SECONDS = 20.0


def bursar_command() -> list[str]:
    """How to run `bursar` as it is installed beside this Python."""
    beside = Path(sys.executable).with_name("bursar")
    found = str(beside) if beside.exists() else shutil.which("bursar")
    return [found] if found else [sys.executable, "-c", "from bursar.command import main; main()"]


def free_port(wanted: int | None) -> int:
    """The wanted port, or the first free one from 8000 on. Raises DemoError."""
    candidates = [wanted] if wanted is not None else [*range(FIRST_PORT, FIRST_PORT + 100), 0]
    for port in candidates:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((HOST, port))
            except OSError:
                continue
            return int(listener.getsockname()[1])
    raise DemoError(f"port {wanted} is taken: choose another --port")


class DemoServer:
    """`bursar serve` on a SQLite file, logging to a file beside it."""

    def __init__(self, *, database_url: str, port: int, log_file: Path) -> None:
        self.base_url = f"http://{HOST}:{port}"
        self.log_file = log_file
        arguments = ["serve", "--database-url", database_url, "--host", HOST, "--port", str(port)]
        with log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*bursar_command(), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A session of its own: Ctrl-C in the terminal of the demo leaves a server that was promised to stay.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The id of the server's process."""
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Return once it answers. Raises DemoError when it does not."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise DemoError("the server did not start")
            try:
                if httpx.get(f"{self.base_url}/readyz", timeout=2.0, trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise DemoError(f"the server was not ready after {READY_SECONDS:.0f} seconds: {self._last_lines()}")

    def ended(self) -> str:
        """What to say about a server that ended by itself; nothing while it runs."""
        status = self._process.poll()
        return "" if status is None else f"; the server ended with status {status}: {self._last_lines()}"

    def stop(self) -> int:
        """Stop it as an operator would, with SIGTERM, and return its exit status."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        return int(self._process.returncode)

    def _last_lines(self) -> str:
        lines = self.log_file.read_text(encoding="utf-8", errors="replace").splitlines()
        return " | ".join(lines[-5:]) or "it logged nothing"
