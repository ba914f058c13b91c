"""`make bench`: how fast Bursar is, as ratios measured in one run on this machine.

    python -m bench                        everything, about ten minutes
    python -m bench --smoke                everything tiny, under a minute: does the harness run?
    python -m bench --only authorize       one scenario (may be repeated)
    python -m bench --seconds 10           longer runs; five interleaved rounds each
    python -m bench --growth 10000000      the long history of growth and finance, in transfers
    python -m bench --only gateway --peer NAME=URL [--peer-key NAME=KEY] [--peer-model NAME=MODEL] [--upstream-port P]
    python -m bench --calibrate            only the load generator's own ceiling
    python -m bench --json PATH            where the report goes as JSON (default bench/results/latest.json)
    python -m bench --directory PATH       where the databases are; its disk is the one that is timed

Servers run with one worker on one core; the load generator has another core to itself; PostgreSQL's own
processes may run on any core. Compared servers are measured in turns, and the medians of the ratios inside
each round are reported. The generator's ceiling is measured against a server that answers with prepared
bytes. Invariant: the exit code is 0 when everything could be measured, targets met or not, and 1 when
something broke.
"""

import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console

from bench import sample
from bench.caps import CapBroken
from bench.context import CONNECTIONS, Context, Lasting, Line, Settings
from bench.decision_cost import NotComparable
from bench.facts import machine_facts
from bench.history import HistoryFailed
from bench.http_client import RequestFailed, UnexpectedStatus
from bench.load import Plan
from bench.peers import read_peer
from bench.postgres_server import PostgresServerError
from bench.report import as_document, ceiling_ratio, print_facts, print_table, write_json
from bench.rounds import Contender, InvalidRun, interleave, run_load
from bench.scenarios import SCENARIOS
from bench.scenarios.verify import NotVerified
from bench.servers import Cores, ServerFailed, module_server
from bench.wire import Principal

DEFAULT_JSON = Path(__file__).with_name("results") / "latest.json"
BREAKAGES = (
    CapBroken, HistoryFailed, InvalidRun, NotComparable, NotVerified, OSError, PostgresServerError, RequestFailed,
    ServerFailed, UnexpectedStatus,
)  # fmt: skip


def calibrate(settings: Settings, cores: Cores, directory: Path) -> float:
    """The generator's own ceiling, in requests per second, against prepared bytes. Raises InvalidRun.

    The best of the rounds, because whatever disturbs a round can only lower it.
    """
    with module_server("bench.canned_server", core=cores.server, directory=directory) as server:
        plan = Plan(
            host="127.0.0.1",
            port=server.port,
            principals=tuple(
                Principal(f"bk_agent_{'x' * 43}_{number:06d}", (f"budget-{number:04d}",)) for number in range(50)
            ),
            body=sample.authorization_request(),
            connections=CONNECTIONS,
            warmup_seconds=settings.warmup_seconds,
            seconds=settings.seconds,
            core=cores.load,
        )
        series = interleave([Contender("prepared bytes", lambda: run_load(plan))], rounds=settings.rounds)
    return max(series.rates("prepared bytes"))


def measure(
    names: list[str], *, settings: Settings, cores: Cores, directory: Path, lasting: Lasting, console: Console
) -> tuple[list[Line], dict[str, str]]:
    """Run the scenarios; return their lines, and for each that broke the reason."""
    lines: list[Line] = []
    failures: dict[str, str] = {}
    for name in names:
        started = time.monotonic()
        console.print(f"measuring {name} …", highlight=False)
        try:
            with ExitStack() as resources:
                context = Context(
                    settings=settings,
                    cores=cores,
                    directory=directory,
                    resources=resources,
                    lasting=lasting,
                )
                lines += SCENARIOS[name](context)
        except BREAKAGES as error:
            failures[name] = f"{type(error).__name__}: {error}"
            console.print(f"{name} broke: {failures[name]}", style="red", highlight=False, markup=False)
        console.print(f"  {name} took {time.monotonic() - started:.0f} s", highlight=False)
    return lines, failures


@click.command(help=(__doc__ or "").split("\n\n")[0])
@click.option("--smoke", is_flag=True, help="Everything tiny: checks that the harness runs.")
@click.option("--only", multiple=True, type=click.Choice(sorted(SCENARIOS)), help="Only this scenario; repeatable.")
@click.option("--seconds", type=click.FloatRange(min=0.1), help="Length of each measured run.")
@click.option("--growth", type=click.IntRange(min=1_000), help="Transfers in the long history.")
@click.option("--peer", "peers", multiple=True, metavar="NAME=URL", help="Another gateway's base URL; repeatable.")
@click.option("--peer-key", "peer_keys", multiple=True, metavar="[NAME=]KEY", help="The key for a peer, or for all.")
@click.option("--peer-model", "peer_models", multiple=True, metavar="[NAME=]MODEL", help="Its name for the model.")
@click.option("--upstream-port", type=click.IntRange(0, 65535), help="Where the fake provider listens for peers.")
@click.option("--calibrate", "only_calibrate", is_flag=True, help="Only the load generator's own ceiling.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), default=DEFAULT_JSON, show_default=False)
@click.option("--directory", type=click.Path(path_type=Path, exists=True, file_okay=False), help="For the databases.")
def main(
    *,
    smoke: bool,
    only: tuple[str, ...],
    seconds: float | None,
    growth: int | None,
    peers: tuple[str, ...],
    peer_keys: tuple[str, ...],
    peer_models: tuple[str, ...],
    upstream_port: int | None,
    only_calibrate: bool,
    json_path: Path,
    directory: Path | None,
) -> None:
    """Measure and report."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    settings = Settings.smoke() if smoke else Settings()
    settings = replace(settings, seconds=seconds or settings.seconds, growth=growth or settings.growth)
    settings = replace(
        settings,
        peers=tuple(read_peer(each, keys=peer_keys, models=peer_models) for each in peers),
        upstream_port=upstream_port or settings.upstream_port,
    )
    cores = Cores.of_this_machine()
    with tempfile.TemporaryDirectory(prefix="bursar-bench-", dir=directory) as name:
        facts = machine_facts(Path(name), server_core=cores.server, load_core=cores.load)
        print_facts(console, facts)
        ceiling = calibrate(settings, cores, Path(name))
        console.print(f"load generator's own ceiling: {ceiling:,.0f} requests a second", highlight=False)
        if only_calibrate:
            return
        with Lasting(directory) as lasting:
            lines, failures = measure(
                [each for each in SCENARIOS if not only or each in only],
                settings=settings,
                cores=cores,
                directory=Path(name),
                lasting=lasting,
                console=console,
            )
    print_table(console, lines)
    if (headroom := ceiling_ratio(lines, ceiling)) is not None:
        console.print(f"generator's own ceiling ÷ fastest measured rate: {headroom:.1f}", highlight=False)
    write_json(json_path, as_document(lines, facts=facts, ceiling=ceiling, failures=failures))
    console.print(f"written to {json_path}", highlight=False)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
