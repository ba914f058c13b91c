"""The ledger and a naive model of it agree over tens of thousands of random commands, on both databases.

Compared for every command: its status, the accounts it touched with what it added to each, and its budget's balances
afterwards. Compared every hundred commands: all accounts, all authorizations, all run totals, and every invariant of
the books. Time is swept across expiries, runs backwards now and then, and two authorizers take turns, so that each
finds its snapshot stale. ``BURSAR_LONG=1`` makes it ten times longer; a failure says the seed and the last commands.
"""

from __future__ import annotations

import os

import pytest

from ledger.services import batch_writer
from ledger.services.authorizer import Authorizer
from ledger.storage import migrate
from ledger.storage.engine import create_engine
from tests.model.comparing import ControlledSources, Run

LONGER = 10 if os.environ.get("BURSAR_LONG") == "1" else 1
COMMANDS = {"sqlite": 1_500, "postgresql": 1_200}
BOOKS = {"sqlite": 10 * LONGER, "postgresql": 3 * LONGER}
FIRST_SEED = int(os.environ.get("BURSAR_SEED", "1"))


def run_books(url: str, books: range, *, commands: int, largest_batch: int, backlog: bool = False) -> dict[str, int]:
    """Drive books of these seeds; returns how often each status was answered."""
    migrate.upgrade(url)
    sources = ControlledSources()
    authorizers = [Authorizer(url, sources=sources), Authorizer(url, sources=sources)]
    for one in authorizers:
        one.start()
    engine = create_engine(url)
    seen: dict[str, int] = {}
    try:
        for seed in books:
            run = Run(url, engine, authorizers, sources, seed, backlog=backlog)
            try:
                run.go(commands, largest_batch)
            except AssertionError as error:
                told = "\n".join(
                    f"{asked}\n  model: {answer}\n  ledger: {ours}"[:900] for asked, answer, ours in run.last
                )
                raise AssertionError(f"{error}\nBURSAR_SEED={seed}; the last commands:\n{told}") from error
            for status, times in run.statuses.items():
                seen[status] = seen.get(status, 0) + times
    finally:
        for one in authorizers:
            one.stop(deadline_seconds=10)
        engine.dispose()
    return seen


@pytest.mark.timeout(1200)
def test_the_ledger_agrees_with_a_naive_model(database_url: str) -> None:
    """Random batches of one to nine commands; and the commands were varied enough to say something."""
    kind = "sqlite" if database_url.startswith("sqlite") else "postgresql"
    books = range(FIRST_SEED, FIRST_SEED + BOOKS[kind])
    seen = run_books(database_url, books, commands=COMMANDS[kind], largest_batch=9)
    expected = {
        "approved", "done", "replayed", "replay_closed", "idempotency_mismatch", "insufficient_budget", "budget_held",
        "agent_frozen", "run_not_permitted", "budget_not_permitted", "wrong_state", "not_found", "not_yours",
        "currency_mismatch", "refund_too_large", "refund_ambiguous", "insufficient_available", "sorts_mixed",
        "reprice_ambiguous", "reprice_stale", "reprice_unchanged", "reprice_too_small",
        "held_untouchable", "account_invalid", "effective_at_invalid", "ttl_too_long", "name_taken", "key_revoked",
        "key_expired", "role_not_allowed", "unknown_budget", "unknown_run", "amount_malformed", "amount_too_precise",
        "amount_too_large", "amount_not_positive", "unknown_currency", "budget_ambiguous", "run_cap_exceeded",
        "run_held", "key_run_only",
    }  # fmt: skip
    assert expected <= set(seen), expected - set(seen)
    assert seen["approved"] > sum(seen.values()) // 20


def test_the_model_agrees_while_many_holds_are_due(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most two holds end per batch, so that most decisions on money wait for a backlog."""
    monkeypatch.setattr(batch_writer, "DUE_MAX", 2)
    books = range(FIRST_SEED + 5_000, FIRST_SEED + 5_001)
    seen = run_books(database_url, books, commands=300 * LONGER, largest_batch=1, backlog=True)
    assert seen["approved"] > 20
