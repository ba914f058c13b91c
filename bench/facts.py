"""What the machine is: the facts without which a ratio cannot be judged.

Invariant: every fact is read or measured when the bench runs, in the directory where its databases are.
"""

import importlib.metadata
import os
import platform
import sqlite3
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

from bench.postgres_server import wheel_bin_dir

PACKAGES = ("fastapi", "uvicorn", "uvloop", "httptools", "pydantic", "sqlalchemy", "psycopg", "orjson")
SYNCED_BLOCK_BYTES = 4096
SLOW_SYNC_MICROSECONDS = 500.0
"""Above this, a durable commit says more about the disk than about the program."""


def fdatasync_microseconds(directory: Path, *, times: int = 200) -> float:
    """The median time to append one block to a file in the directory and have it on the disk."""
    block = os.urandom(SYNCED_BLOCK_BYTES)
    durations = []
    with tempfile.NamedTemporaryFile(dir=directory) as file:
        for _ in range(times):
            started = time.perf_counter()
            os.write(file.fileno(), block)
            os.fdatasync(file.fileno())
            durations.append(time.perf_counter() - started)
    return statistics.median(durations) * 1e6


def file_system(directory: Path) -> str:
    """The type of the file system that holds the directory, e.g. `ext4`."""
    best = ("", "unknown")
    for partition in psutil.disk_partitions(all=True):
        mount = partition.mountpoint
        if directory.resolve().is_relative_to(mount) and len(mount) >= len(best[0]):
            best = (mount, partition.fstype)
    return best[1]


def processor_model() -> str:
    """The processor's name as the kernel tells it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def machine_facts(directory: Path, *, server_core: int, load_core: int) -> dict[str, str]:
    """Facts to print above the table, by name."""
    postgres = subprocess.run(
        [str(wheel_bin_dir() / "postgres"), "--version"], capture_output=True, text=True, check=True
    )
    sync_microseconds = fdatasync_microseconds(directory)
    slow = "; slow: durable rates say more about this disk" if sync_microseconds > SLOW_SYNC_MICROSECONDS else ""
    return {
        "processor": f"{processor_model()}, {len(os.sched_getaffinity(0))} cores for this process",
        "placement": f"servers on core {server_core}, load on core {load_core}, PostgreSQL on any core",
        "fdatasync": f"{sync_microseconds:.0f} µs median of one {SYNCED_BLOCK_BYTES}-byte append{slow}",
        "file system": file_system(directory),
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "PostgreSQL": postgres.stdout.strip(),
        "packages": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES),
    }
