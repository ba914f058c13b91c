"""The sweep: one command that fails stops none of the others, and few of them are in memory at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from api import app
from ledger.services.errors import ServiceError


def test_one_settlement_that_fails_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    decided: list[int] = []
    read_ahead: list[int] = []
    made = 0

    def settlements(*given: Any, **named: Any) -> Iterator[tuple[int, int]]:
        nonlocal made
        for number in range(1000):
            made += 1
            yield number, number

    async def decide(book_id: int, command: Any) -> None:
        read_ahead.append(made - book_id)
        if book_id % 3 == 0:
            raise ServiceError("the books do not take it")
        decided.append(book_id)

    context: Any = SimpleNamespace(
        engine=None, sources=SimpleNamespace(now_us=lambda: 0), handover=SimpleNamespace(decide=decide)
    )
    monkeypatch.setattr(app, "settlements_by_policy", settlements)
    asyncio.run(app._settle_by_policy(context, "inference"))
    assert decided == [number for number in range(1000) if number % 3]
    assert max(read_ahead) <= app.SETTLEMENTS_AT_ONCE
