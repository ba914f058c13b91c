"""Rows that are asked for by pairs are looked up by their whole key, however many rows a book has beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event

from ledger.storage import queries_policies, tile_rows, watch_rows
from ledger.storage.engine import create_engine
from ledger.storage.migrate import upgrade

BOOK = 1
PAIRS = [(1, "a"), (1, "b"), (2, "a")]


@pytest.mark.parametrize(
    ("table", "key", "looks", "query"),
    [
        ("counters", "(book_id=? AND meter=? AND key=?)", 2,
         lambda opened: queries_policies.counters_at(opened, BOOK, PAIRS)),
        ("merkle_tiles", "(book_id=? AND level=? AND position=?)", 3,
         lambda opened: tile_rows.tiles(opened, BOOK, [(0, 1), (0, 2), (1, 0)])),
        ("watch_states", "(book_id=? AND kind=? AND name=?)", 2,
         lambda opened: watch_rows.values_at(opened, BOOK, [("a", "x"), ("a", "y"), ("b", "x")])),
    ],
)  # fmt: skip
def test_sqlite_looks_pairs_up_by_the_whole_key(
    tmp_path: Path, table: str, key: str, looks: int, query: Callable[[Connection], object]
) -> None:
    """Asked of the planner itself."""
    url = f"sqlite:///{tmp_path}/book.db"
    upgrade(url)
    engine = create_engine(url, pool_size=1)
    asked: list[tuple[str, Any]] = []
    event.listen(engine, "before_cursor_execute", lambda *call: asked.append((call[2], call[3])))
    with engine.connect() as opened:
        query(opened)
        steps = [
            row[3]
            for statement, values in list(asked)
            if statement.startswith("SELECT")
            for row in opened.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        ]
    engine.dispose()
    by_key = [step for step in steps if step.startswith(f"SEARCH {table}") and key in step]
    assert len(by_key) == looks, steps
    assert not any(step.startswith("SCAN ") and table in step for step in steps), steps
