"""Lists of invoices walk an index, whichever of them are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event

from ledger.storage import queries_payables
from ledger.storage.engine import create_engine
from ledger.storage.migrate import upgrade
from tests.support.databases import sqlite_url


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Connection]:
    """A connection to a database with tables and nothing in them."""
    url = sqlite_url(tmp_path)
    upgrade(url)
    engine = create_engine(url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        ({}, "invoices_listed"),
        ({"payee": "openai"}, "invoices_payee"),
        ({"state": "void"}, "invoices_state"),
        ({"state": "open", "after": 7}, "invoices_state"),
    ],
)
def test_invoices_are_listed_along_an_index(reader: Connection, asked: dict[str, Any], index: str) -> None:
    """In its order, so that a page is read and no more."""
    said: list[tuple[str, Any]] = []
    event.listen(reader, "before_cursor_execute", lambda _c, _cursor, text, values, *_rest: said.append((text, values)))
    queries_payables.list_invoices(reader, 1, **asked)
    text, values = next(one for one in said if one[0].startswith("SELECT"))
    plan = "\n".join(str(row[3]) for row in reader.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values))
    assert index in plan
    assert "TEMP B-TREE" not in plan
