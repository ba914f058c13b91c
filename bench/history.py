"""Long histories, made before a measurement: a book that already has many transfers.

Invariant: the history is made by Bursar itself, so that its log, projections and balances are those of a book
that grew that long by use.
"""

import tempfile
from pathlib import Path

from bench.books import set_up_book
from bench.load import Plan
from bench.rounds import InvalidRun, run_load
from bench.sample import authorization_request
from bench.servers import bursar_server, initialize_book

ITEMS_PER_REQUEST = 1000
LOADING_CONNECTIONS = 4
LONGEST_LOAD_SECONDS = 7200.0
APPROVED_MARKER = '"status":201'


def load_history(database_url: str, transfers: int) -> str:
    """Initialize the database and fill its book with at least `transfers` transfers; return the admin key.

    An approved authorization is one transfer. Raises ServerFailed or InvalidRun.
    """
    admin_key = initialize_book(database_url)
    with (
        tempfile.TemporaryDirectory(prefix="bursar-history-") as directory,
        bursar_server("history", database_url, core=None, directory=Path(directory)) as server,
    ):
        principals = set_up_book(server.url, admin_key)
        result = run_load(
            Plan(
                host="127.0.0.1",
                port=server.port,
                principals=principals,
                body=authorization_request(),
                kind="batch",
                path="/v1/authorizations/batch",
                items=ITEMS_PER_REQUEST,
                expected_marker=APPROVED_MARKER,
                connections=LOADING_CONNECTIONS,
                warmup_seconds=0.0,
                seconds=LONGEST_LOAD_SECONDS,
                maximum_requests=-(-transfers // ITEMS_PER_REQUEST),
            )
        )
        if not result.valid:
            raise InvalidRun(f"while loading history: {result.problem}")
    return admin_key
