"""`bursar serve` as a process: its one line, its refusals, and how it ends."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from ledger.services.books import open_new_book
from ledger.storage import migrate
from tests.support.databases import sqlite_url

BURSAR = str(Path(sys.executable).parent / "bursar")
READY = re.compile(r"^bursar serving on http://127\.0\.0\.1:(\d+) \((sqlite|postgresql), (\d+) workers?\)\n$")


@contextlib.contextmanager
def serving(database_url: str, *flags: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server on a free port; its process and its port."""
    command = [BURSAR, "serve", "--database-url", database_url, "--port", "0", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout is not None else ""
            match = READY.match(line)
            if match is None:
                process.kill()
                raise AssertionError(f"{line!r} {process.communicate()[1]}")
            yield process, int(match.group(1))
        finally:
            if process.poll() is None:
                process.kill()


@pytest.fixture
def book(database_url: str) -> tuple[str, str]:
    """A database with a book, and the book's admin key."""
    return open_in(database_url)


@pytest.fixture
def sqlite_book(tmp_path: Path) -> tuple[str, str]:
    """A SQLite database with a book, and the book's admin key."""
    return open_in(sqlite_url(tmp_path))


def open_in(database_url: str) -> tuple[str, str]:
    """Make the tables and a book."""
    migrate.upgrade(database_url)
    return database_url, open_new_book(database_url, name="acme", currency="USD", timezone="UTC").admin_key


def head_of(key: str, length: int) -> bytes:
    """The head of a request whose body has a length."""
    return (
        f"POST /v1/teams HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {key}\r\nidempotency-key: k\r\n"
        f"content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    ).encode()


def ends_with_zero(process: subprocess.Popen[str], *, seconds: float) -> str:
    """Wait for the process to end with status 0 in time; its log."""
    _, log = process.communicate(timeout=seconds)
    assert process.returncode == 0, log
    return log


def test_one_line_when_ready_and_nothing_else(book: tuple[str, str]) -> None:
    """Requests are answered once the line is there; the end is quiet. That the role of these tests owns PostgreSQL is
    told before."""
    with serving(book[0]) as (process, port):
        answer = httpx.get(f"http://127.0.0.1:{port}/v1/me", headers={"authorization": f"Bearer {book[1]}"})
        assert answer.json()["role"] == "admin"
        process.send_signal(signal.SIGTERM)
        rest, log = process.communicate(timeout=20)
        told = [line for line in log.splitlines() if "give the server a role of its own" not in line]
        assert (process.returncode, rest, told) == (0, "", [])
        assert (len(log.splitlines()) == 1) == book[0].startswith("postgresql")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigterm_waits_for_nobody_who_sends_nothing(sqlite_book: tuple[str, str], workers: str) -> None:
    """An idle connection, half a head, half a body: the process ends with 0, and the half body is answered 503."""
    with serving(sqlite_book[0], "--workers", workers) as (process, port), contextlib.ExitStack() as stack:
        idle, half_head, half_body = (
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20)) for _ in range(3)
        )
        idle.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
        assert b"200 OK" in idle.recv(4096)
        half_head.sendall(b"POST /v1/teams HTTP/1.1\r\nhost:")
        half_body.sendall(head_of(sqlite_book[1], 100) + b'{"name":')
        time.sleep(0.3)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        # Head and body may arrive apart; the connection ends after them.
        answer = b"".join(iter(lambda: half_body.recv(4096), b""))
        assert b"503 Service Unavailable" in answer
        assert b'"code":"stopping"' in answer
        ends_with_zero(process, seconds=20)
        assert time.monotonic() - started < 10


def test_what_was_sent_before_sigterm_is_answered(sqlite_book: tuple[str, str]) -> None:
    """A request that is in the queue when the signal comes is committed and acknowledged."""
    body = b'{"name":"research"}'
    with (
        serving(sqlite_book[0]) as (process, port),
        socket.create_connection(("127.0.0.1", port), timeout=20) as client,
    ):
        client.sendall(head_of(sqlite_book[1], len(body)) + body)
        process.send_signal(signal.SIGTERM)
        answer = client.recv(65536)
        assert b" 201 Created" in answer or b'"code":"stopping"' in answer
        ends_with_zero(process, seconds=20)


def test_slow_and_oversized_heads_are_ended(sqlite_book: tuple[str, str]) -> None:
    """431 for a head that grows on, 408 for a head or a body that does not come, 400 for what is no HTTP."""
    flags = ("--request-timeout-seconds", "1", "--header-bytes-max", "2048")
    with serving(sqlite_book[0], *flags) as (_, port), contextlib.ExitStack() as stack:
        long, slow, body, noise = (
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20)) for _ in range(4)
        )
        long.sendall(b"GET / HTTP/1.1\r\nx: ")
        with contextlib.suppress(OSError):
            for _ in range(10):
                long.sendall(b"a" * 500)
                time.sleep(0.01)
        slow.sendall(b"GET / HTTP/1.1\r\nx")
        body.sendall(head_of(sqlite_book[1], 100) + b"{")
        noise.sendall(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
        assert b" 431 " in long.recv(4096)
        assert b" 408 " in slow.recv(4096)
        assert b'"code":"request_timeout"' in body.recv(4096)
        assert b" 400 " in noise.recv(4096)


def test_workers_share_the_port_and_the_metrics(book: tuple[str, str]) -> None:
    """Four processes, one book: each request is counted once, whichever worker is asked."""
    with serving(book[0], "--workers", "2") as (process, port):
        for number in range(20):
            httpx.post(
                f"http://127.0.0.1:{port}/v1/teams",
                json={"name": f"team-{number}"},
                headers={"authorization": f"Bearer {book[1]}", "idempotency-key": f"k{number}"},
                timeout=20,
            ).raise_for_status()
        time.sleep(1.5)
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        assert 'bursar_decisions_total{operation="create_agent",outcome="done"} 20.0' in text
        assert 'bursar_http_requests_total{route="/v1/teams",status="201"} 20.0' in text
        process.send_signal(signal.SIGTERM)
        ends_with_zero(process, seconds=30)


def test_workers_end_when_their_parent_dies(sqlite_book: tuple[str, str]) -> None:
    """By SIGKILL, which no parent can pass on."""
    with serving(sqlite_book[0], "--workers", "2") as (process, port):
        workers = psutil.Process(process.pid).children(recursive=True)
        assert len(workers) == 2
        process.kill()
        gone, alive = psutil.wait_procs(workers, timeout=15)
        assert (len(gone), alive) == (2, [])
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=1)


def test_a_worker_that_dies_is_replaced(sqlite_book: tuple[str, str]) -> None:
    """The others go on, and soon there are as many as before."""
    with serving(sqlite_book[0], "--workers", "2") as (process, port):
        parent = psutil.Process(process.pid)
        parent.children()[0].kill()
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            time.sleep(0.2)
            alive = [child for child in parent.children() if child.status() != psutil.STATUS_ZOMBIE]
            if len(alive) == 2 and all(child.cpu_times().user > 0.5 for child in alive):
                break
        assert httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=20).status_code == 200
        assert len(alive) == 2
        process.send_signal(signal.SIGTERM)
        ends_with_zero(process, seconds=30)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--database-url", "sqlite:///absent/none.db"), "bursar init"),
        (("--database-url", "mysql://nowhere"), "not supported"),
        (("--port", "70000"), "--port"),
        (("--log-format", "xml"), "json"),
        (("--tls-cert-file", "cert.pem"), "tls_key_file"),
    ],
)
def test_refusals_to_start(flags: tuple[str, ...], said: str) -> None:
    """One sentence on what to change, no traceback, and a status that is not 0."""
    done = subprocess.run([BURSAR, "serve", *flags], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_database_without_a_book_is_refused(database_url: str) -> None:
    """And one without tables, each with the command that helps."""
    command = [BURSAR, "serve", "--database-url", database_url, "--port", "0"]
    if database_url.startswith("postgresql"):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, "bursar migrate" in done.stderr) == (1, True)
    migrate.upgrade(database_url)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "bursar init" in done.stderr) == (1, True)


def test_a_taken_port_is_refused(sqlite_book: tuple[str, str]) -> None:
    """With the port's number."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [BURSAR, "serve", "--database-url", sqlite_book[0], "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"port {port}" in done.stderr


def test_settings_come_from_the_environment_too(sqlite_book: tuple[str, str]) -> None:
    """BURSAR_DATABASE_URL and BURSAR_PORT are enough."""
    environment = {**os.environ, "BURSAR_DATABASE_URL": sqlite_book[0], "BURSAR_PORT": "0"}
    with subprocess.Popen([BURSAR, "serve"], stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            assert READY.match(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
