"""One transaction per hold, measured by pgbench on the PostgreSQL server that Bursar is measured on.

Invariant: the script does less than an authorization (no request, no policy, no log, no hash), so that a
ratio above one is earned by committing together and not by doing less.
"""

import re
import subprocess
from pathlib import Path

import psycopg

from bench.load import LoadResult
from bench.postgres_server import PostgresServer
from bench.rounds import InvalidRun

SCRIPT = Path(__file__).with_name("pgbench_hold.sql")
SCHEMA = Path(__file__).with_name("pgbench_schema.sql")
DATABASE = "pgbench"
CLIENTS = 16
_RATE = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)
_COUNT = re.compile(r"number of transactions actually processed: (\d+)")
_FAILED = re.compile(r"number of failed transactions: (\d+)")
_LATENCY = re.compile(r"latency average = ([0-9.]+) ms")


def prepare(server: PostgresServer, *, budgets: int) -> None:
    """Make the database and its budgets."""
    server.create_database(DATABASE)
    with psycopg.connect(server.url(DATABASE, driver="postgresql"), autocommit=True) as connection:
        connection.execute(SCHEMA.read_text())
        connection.execute(
            "INSERT INTO bench_budgets SELECT n, 1000000000000000, 0 FROM generate_series(1, %s) AS n",
            [budgets],
        )
        connection.execute("ANALYZE")


def measure(server: PostgresServer, *, budgets: int, seconds: float) -> LoadResult:
    """Run the script with prepared statements and 16 clients; units are holds. Raises InvalidRun."""
    command = [str(server.bin_dir / "pgbench"), "--no-vacuum", "--protocol=prepared", f"--client={CLIENTS}"]
    command += [f"--time={max(1, round(seconds))}", f"--file={SCRIPT}", f"--define=budgets={budgets}"]
    command.append(server.url(DATABASE, driver="postgresql"))
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
    if done.returncode != 0:
        raise InvalidRun(f"pgbench ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return read_output(done.stdout)


def read_output(text: str) -> LoadResult:
    """What pgbench printed, as a result (its mean latency for both percentiles); failures make it invalid."""
    rate, count = _RATE.search(text), _COUNT.search(text)
    latency, failed = _LATENCY.search(text), _FAILED.search(text)
    if rate is None or count is None or latency is None:
        raise InvalidRun(f"pgbench's output was not understood:\n{text}")
    failures = int(failed.group(1)) if failed else 0
    return LoadResult(
        units=int(count.group(1)),
        units_per_second=float(rate.group(1)),
        requests=int(count.group(1)),
        p50_ms=float(latency.group(1)),
        p99_ms=float(latency.group(1)),
        statuses={"committed": int(count.group(1))},
        generator_busy=0.0,
        problem=f"{failures} transactions failed" if failures else "",
    )
