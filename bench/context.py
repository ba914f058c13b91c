"""What every scenario is given: how long to measure, where, and servers to measure.

Invariant: a server or database that a scenario opens lives until the scenario ends, and no longer; the
PostgreSQL server is shared by all scenarios, each with databases of its own.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Literal

from bench import sample
from bench.books import set_up_book
from bench.history import APPROVED_MARKER
from bench.load import Plan
from bench.postgres_server import PostgresServer
from bench.rounds import Contender, run_load
from bench.servers import Cores, Server, bursar_server, initialize_book, module_server
from bench.wire import Principal

Database = Literal["SQLite", "PostgreSQL"]
DATABASES: tuple[Database, ...] = ("SQLite", "PostgreSQL")
CONNECTIONS = 64
BATCH_ITEMS = 200
BATCH_CONNECTIONS = 8
_numbers = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another gateway that takes the gateway's load: its base URL (what `/chat/completions` follows), key and model."""

    name: str
    url: str
    key: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How much to measure. `growth` is the number of transfers of the long history; `upstream_port` is where the fake
    provider listens (0: any)."""

    seconds: float = 3.0
    warmup_seconds: float = 1.0
    rounds: int = 5
    growth: int = 1_000_000
    short_history: int = 10_000
    many_budgets: int = 1_000
    verified_history: int = 60_000
    connection_counts: tuple[int, ...] = (1, 8, 64, 256)
    upstream_port: int = 0
    peers: tuple[Peer, ...] = ()

    @classmethod
    def smoke(cls) -> "Settings":
        """Everything tiny: shows that the harness runs, measures nothing."""
        return cls(
            seconds=0.3,
            warmup_seconds=0.1,
            rounds=1,
            growth=3_000,
            short_history=1_000,
            many_budgets=60,
            verified_history=1_000,
            connection_counts=(1, 8),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One row of the report. `target` is the least ratio wanted (the most, with `at_most`), or None for none."""

    scenario: str
    what: str
    ratio: float
    target: float | None
    detail: str
    rates: dict[str, list[float]] = field(default_factory=dict)
    generator_busy: float = 0.0
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without a target."""
        if self.target is None:
            return None
        return self.ratio <= self.target if self.at_most else self.ratio >= self.target


@dataclass(slots=True)
class Context:
    """The surroundings of one scenario; `resources` is closed when it ends, `lasting` when the bench ends."""

    settings: Settings
    cores: Cores
    directory: Path
    resources: ExitStack
    lasting: "Lasting"

    def empty_endpoint(self) -> Server:
        """The yardstick, running."""
        return self.resources.enter_context(
            module_server("bench.empty_endpoint", core=self.cores.server, directory=self.directory)
        )

    def new_database(self, database: Database) -> str:
        """The URL of a database with nothing in it."""
        name = f"bench{next(_numbers)}"
        if database == "SQLite":
            return f"sqlite:///{self.directory / name}.db"
        return self.lasting.postgres.create_database(name)

    def bursar(self, database: Database) -> tuple[Server, str]:
        """A Bursar with an empty book on a new database, running; and its admin key."""
        url = self.new_database(database)
        admin_key = initialize_book(url)
        return self.serve(database, url), admin_key

    def serve(self, database: Database, database_url: str) -> Server:
        """A Bursar on an initialized database, running."""
        return self.resources.enter_context(
            bursar_server(database, database_url, core=self.cores.server, directory=self.directory)
        )

    def principals(
        self, server: Server, admin_key: str, *, agents: int = 50, budgets: int = 50
    ) -> tuple[Principal, ...]:
        """Agents and budgets in the server's book."""
        return set_up_book(server.url, admin_key, agents=agents, budgets=budgets)

    def contender(
        self,
        name: str,
        server: Server,
        principals: tuple[Principal, ...],
        *,
        kind: str = "single",
        connections: int = CONNECTIONS,
    ) -> Contender:
        """How to measure the server once under the load named by `kind`."""
        plan = Plan(
            host="127.0.0.1",
            port=server.port,
            principals=principals,
            body=sample.authorization_request(),
            settle_body=sample.settle_request(),
            kind=kind,
            path="/v1/authorizations/batch" if kind == "batch" else "/v1/authorizations",
            items=BATCH_ITEMS,
            expected_marker=APPROVED_MARKER,
            connections=connections,
            warmup_seconds=self.settings.warmup_seconds,
            seconds=self.settings.seconds,
            core=self.cores.load,
        )
        return Contender(name, lambda: run_load(plan))


class Lasting:
    """What outlives a scenario: the PostgreSQL server, started in the directory when first asked for."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._stack = ExitStack()

    def __enter__(self) -> "Lasting":
        return self

    def __exit__(self, *details: object) -> None:
        self._stack.close()

    @cached_property
    def postgres(self) -> PostgresServer:
        """The server from the wheel, durable as an operator would run it, on any core."""
        return self._stack.enter_context(
            PostgresServer(settings={"shared_buffers": "512MB"}, directory=self._directory)
        )


Scenario = Callable[[Context], list[Line]]
