"""The metadata says what the core's declarations say, and keeps the rules that let books be sharded."""

from __future__ import annotations

import pytest

from ledger.core.changeset import LOG, PROJECTION, SIDE, TABLES, TableSpec
from ledger.storage.tables import APPEND_ONLY, metadata
from ledger.storage.tables_finance import SPECS

ALL = sorted(metadata.tables)


@pytest.mark.parametrize("spec", [*TABLES, *SPECS], ids=lambda spec: spec.name)
def test_a_table_has_the_columns_and_key_of_its_declaration(spec: TableSpec) -> None:
    """Rows travel as tuples, so order counts."""
    table = metadata.tables[spec.name]
    assert tuple(table.columns.keys()) == spec.columns
    assert tuple(column.name for column in table.primary_key.columns) == spec.key
    assert set(spec.mutable) <= set(spec.columns) - set(spec.key)
    assert table.info["sort"] == spec.sort


@pytest.mark.parametrize("name", ALL)
def test_a_table_is_declared_log_projection_or_side(name: str) -> None:
    """What is not declared would be neither rebuilt nor known to be disposable."""
    assert metadata.tables[name].info["sort"] in (LOG, PROJECTION, SIDE)


@pytest.mark.parametrize("name", ALL)
def test_every_key_and_index_is_led_by_the_book(name: str) -> None:
    """So the same schema distributes by book: no constraint and no sequence spans two books."""
    table = metadata.tables[name]
    keys = [table.primary_key.columns.keys(), *(index.columns.keys() for index in table.indexes)]
    assert {key[0] for key in keys} == {"book_id"}
    assert not table.foreign_keys
    assert not any(column.autoincrement is True or column.default for column in table.columns)


def test_only_the_log_is_log() -> None:
    """History lives in one table."""
    assert [name for name in ALL if metadata.tables[name].info["sort"] == LOG] == ["log_records"]
    assert APPEND_ONLY == ("log_records", "transfers")


def test_every_declared_table_is_here() -> None:
    """And those that no decision writes: the secrets, and what alerts leave."""
    proofs = {"merkle_tiles", "checkpoints", "checkpoint_cosignatures", "checkpoint_turns", "signing_secrets"}
    alerts = {"watch_cursors", "watch_states", "webhook_deliveries", "webhook_events", "webhook_health"}
    behind_the_log = {"spend_lines", "spend_days", "spend_holds", "spend_cursor"}
    secrets = {"book_secrets", "webhook_secrets", "log_archives"}
    assert set(ALL) == {spec.name for spec in TABLES} | secrets | alerts | proofs | behind_the_log
