"""Long histories, made before a measurement: a book that already has many transfers.

Invariant: the history is made by Bursar's own core and writer, in large batches, so that its log, projections and
balances are those of a book that grew that long by use: every authorization is settled below its hold.
"""

import logging
import time
from itertools import count, islice
from typing import Any

from bench.sample import CATEGORY, PAYEE
from bench.servers import initialize_book
from ledger.core import ids
from ledger.core.command import (
    Allocate,
    Authorize,
    Caller,
    Command,
    CreateAgent,
    CreateBudget,
    CreateKey,
    Settle,
)
from ledger.core.outcome import Outcome, Status
from ledger.services.batch_writer import BatchWriter
from ledger.services.sources import Sources, parse_key

APPROVED_MARKER = '"status":201'
AGENTS = 50
COMMANDS_PER_BATCH = 1_000
TRANSFERS_PER_PAIR = 4
"""An authorization posts one transfer; a settlement below its hold posts three: spent, released, expense."""
CLOCK_JUMP_SECONDS = 86_400.0
LOCK_SECONDS = 30.0
SAID_EVERY_SECONDS = 15.0
_logger = logging.getLogger(__name__)


class HistoryFailed(Exception):
    """A command of the history was not decided as it must be."""


class _Loader:
    """Decides commands on a database without a server in between."""

    def __init__(self, database_url: str, admin_key: str) -> None:
        parsed = parse_key(admin_key)
        if parsed is None:
            raise HistoryFailed("bursar init printed a key that is none")
        self._sources = Sources()
        self._book_id = parsed.book_id
        self._admin = Caller(parsed.digest)
        self._keys = count(1)
        self.writer = BatchWriter(
            database_url,
            sources=self._sources,
            clock_jump_seconds=CLOCK_JUMP_SECONDS,
            lock_timeout_seconds=LOCK_SECONDS,
        )

    def key(self) -> str:
        """An idempotency key that was not used before."""
        return f"history-{next(self._keys):012d}"

    def decide(self, commands: list[Command]) -> list[Outcome]:
        """Decide a batch. Raises HistoryFailed when one of its commands is not done."""
        results, _ = self.writer.process(self._book_id, commands, dry=False)
        outcomes = []
        for result in results:
            if not isinstance(result, Outcome) or result.status not in (Status.APPROVED, Status.DONE):
                raise HistoryFailed(f"while loading history: {result}")
            outcomes.append(result)
        return outcomes

    def set_up(self) -> list[tuple[Caller, str]]:
        """Agents with a key and a budget each: (caller, budget)."""
        spenders = []
        for number in range(AGENTS):
            name = f"history-{number:04d}"
            _, digest = self._sources.new_key(self._book_id, "agent")
            admin: Any = {"caller": self._admin}
            new_id = self._sources.new_id
            self.decide(
                [CreateAgent(**admin, idempotency_key=self.key(), id=new_id(ids.AGENT), name=name, kind="agent")]
            )
            self.decide(
                [
                    CreateKey(
                        **admin, idempotency_key=self.key(), id=new_id(ids.KEY), digest=digest, role="agent", agent=name
                    ),
                    CreateBudget(
                        **admin, idempotency_key=self.key(), id=new_id(ids.BUDGET), name=name, currency="USD",
                        agents=(name,),
                    ),
                ]
            )  # fmt: skip
            self.decide(
                [
                    Allocate(
                        **admin, idempotency_key=self.key(), id=new_id(ids.ALLOCATION), budget=name,
                        amount="1000000", currency="USD",
                    )
                ]
            )  # fmt: skip
            spenders.append((Caller(digest), name))
        return spenders

    def spend(self, spenders: list[tuple[Caller, str]], pairs: int) -> None:
        """Authorize and settle ``pairs`` times, the agents in turn."""
        turns = (spenders[number % len(spenders)] for number in range(pairs))
        said = time.monotonic()
        done = 0
        while some := list(islice(turns, COMMANDS_PER_BATCH)):
            asked: list[Command] = [
                Authorize(
                    caller=caller, idempotency_key=self.key(), id=self._sources.new_id(ids.AUTHORIZATION),
                    amount="0.00005", currency="USD", category=CATEGORY, payee=PAYEE, resource="gpt-5-mini",
                    budget=budget, ttl_seconds=86_400,
                )
                for caller, budget in some
            ]  # fmt: skip
            held = self.decide(asked)
            self.decide(
                [
                    Settle(
                        caller=command.caller, idempotency_key=self.key(),
                        authorization=(outcome.body or {})["authorization"], amount="0.00002", currency="USD",
                    )
                    for command, outcome in zip(asked, held, strict=True)
                ]
            )  # fmt: skip
            done += len(some)
            if time.monotonic() - said > SAID_EVERY_SECONDS:
                said = time.monotonic()
                _logger.info("history: %s of %s transfers", f"{done * TRANSFERS_PER_PAIR:,}", f"{pairs * 4:,}")


def load_history(database_url: str, transfers: int) -> str:
    """Initialize the database and fill its book with at least `transfers` transfers; return the admin key.

    Raises ServerFailed or HistoryFailed.
    """
    admin_key = initialize_book(database_url)
    loader = _Loader(database_url, admin_key)
    try:
        loader.spend(loader.set_up(), -(-transfers // TRANSFERS_PER_PAIR))
    finally:
        loader.writer.close()
    return admin_key
