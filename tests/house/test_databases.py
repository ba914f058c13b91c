"""The databases that tests are given: empty, of their own, durable, and able to crash and come back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest
import sqlalchemy

from bench.postgres_server import PostgresServer, PostgresServerError, wheel_bin_dir

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_has_an_empty_database(database_url: str, turn: int) -> None:
    """The second turn would find the first one's table if they shared a database."""
    engine = sqlalchemy.create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE seen (turn integer)"))
        connection.execute(sqlalchemy.text("INSERT INTO seen VALUES (:turn)"), {"turn": turn})
        assert connection.execute(sqlalchemy.text("SELECT turn FROM seen")).all() == [(turn,)]
    engine.dispose()


def test_the_server_is_durable(postgres_server: PostgresServer) -> None:
    """A crash test on a server without fsync would prove nothing."""
    with psycopg.connect(postgres_server.url("postgres", driver="postgresql")) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert connection.execute(f"SHOW {setting}").fetchone() == ("on",)


def test_pgbench_is_beside_the_server(postgres_server: PostgresServer) -> None:
    """The benchmark compares with it."""
    done = subprocess.run([postgres_server.bin_dir / "pgbench", "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("pgbench (PostgreSQL)")


def test_a_killed_server_comes_back_with_what_was_committed() -> None:
    """SIGKILL leaves no process behind, and start() recovers; so does a restart."""
    with PostgresServer() as server:
        url = server.create_database("books").replace("+psycopg", "")
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept (n integer)")
            connection.execute("INSERT INTO kept VALUES (1)")
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        assert len(family) > 3
        server.kill()
        assert not server.running
        assert [process for process in family if process.is_running()] == []
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url)
        server.start()
        server.restart()
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT n FROM kept").fetchall() == [(1,)]
        with pytest.raises(PostgresServerError, match="already running"):
            server.start()
    assert not server.home.exists()


def test_no_server_outlives_the_process_that_started_it() -> None:
    """A test process killed by its time limit runs no clean-up of its own."""
    program = (
        "import os, sys, time; from bench.postgres_server import PostgresServer\n"
        "server = PostgresServer(); server.start()\n"
        "print(server.pid, server.home, flush=True); time.sleep(60)"
    )
    starter = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if starter.stdout is None:
        pytest.fail("the starter has no output to read")
    pid, home = starter.stdout.readline().split()
    starter.kill()
    starter.wait()
    starter.stdout.close()
    deadline = time.monotonic() + 30
    while (psutil.pid_exists(int(pid)) or Path(home).exists()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(int(pid))
    assert not Path(home).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server under another account")
def test_binaries_that_only_root_can_reach_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project cloned into root's home has its virtual environment where no other account can read."""
    bin_dir = wheel_bin_dir()
    hidden = tmp_path / "site-packages"
    hidden.symlink_to(bin_dir.parents[2])
    tmp_path.chmod(0o700)
    bin_dir_hidden = hidden / bin_dir.relative_to(bin_dir.parents[2])
    monkeypatch.setattr("bench.postgres_server.wheel_bin_dir", lambda: bin_dir_hidden)
    with PostgresServer() as server:
        assert server.bin_dir.is_relative_to(server.home)
        assert psutil.Process(server.pid).username() == "nobody"
        assert server.url("books") == server.create_database("books")
