"""Tiles and proofs over a real book: few rows read, by key; made when they lack, healed when they were changed."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, event

from ledger.core.merkle import Frontier
from ledger.core.proofs import check_consistency, check_inclusion
from ledger.core.tiles import full_tiles
from ledger.services import tiling
from ledger.services.proving import OutsideLog
from ledger.services.tiling import LogDamaged, ProofUnavailable, TilesDamaged
from ledger.storage import tile_rows
from tests.services.proved_world import Proofs, grow, root_of

LONG = 70_000
"""Records of a log with a tile on the second level."""
STATEMENTS = 7
"""The transaction, the head, tiles, the end of each of three levels, and the leaf that is proved."""


class Reads:
    """Counts statements and rows of an engine."""

    def __init__(self, engine: Engine) -> None:
        self.statements = 0
        event.listen(engine, "before_cursor_execute", self._count)

    def _count(self, *call: Any) -> None:
        self.statements += 1


def test_any_proof_reads_few_rows(proofs: Proofs, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 70,000 records: a handful of statements, and no more rows than a tile's worth a level beside the tiles."""
    leaves = grow(proofs, LONG)
    checkpointer = proofs.checkpointer
    while checkpointer.tiler.extend(proofs.book_id, tiles_max=64):
        pass
    with proofs.engine.connect() as connection:
        assert tile_rows.next_position(connection, proofs.book_id, 0) == full_tiles(0, LONG) == 273
        assert tile_rows.next_position(connection, proofs.book_id, 1) == 1
    rows = {"leaves": 0, "roots": 0, "tiles": 0}
    for name in rows:
        asked = getattr(tile_rows, name)

        def counted(*arguments: Any, asked: Any = asked, name: str = name) -> Any:
            found = asked(*arguments)
            rows[name] += len(found)
            return found

        monkeypatch.setattr(tile_rows, name, counted)
    reads = Reads(proofs.engine)
    for index, size in ((0, LONG), (LONG - 1, LONG), (65_535, 65_536), (300, 69_999), (5, 6), (40_000, 65_537)):
        rows.update(leaves=0, roots=0, tiles=0)
        reads.statements = 0
        made = checkpointer.prover.inclusion(proofs.book_id, index, size)
        check_inclusion(leaf=leaves[index], index=index, size=size, proof=made.proof, root=root_of(leaves[:size]))
        assert rows["tiles"] <= 5
        assert rows["leaves"] <= 256
        assert rows["roots"] <= 256
        assert reads.statements <= STATEMENTS
    for first, second in ((1, LONG), (65_536, LONG), (999, 69_999), (LONG, LONG)):
        reads.statements = 0
        given = checkpointer.prover.consistency(proofs.book_id, first, second)
        roots = {"first_root": root_of(leaves[:first]), "second_root": root_of(leaves[:second])}
        check_consistency(first=first, second=second, proof=given.proof, **roots)
        assert reads.statements <= STATEMENTS


def test_tiles_are_made_on_demand_and_healed(proofs: Proofs) -> None:
    """Without a tile, or with one that was changed, the same proof comes; the tile is put right."""
    leaves = grow(proofs, 1_000)
    prover = proofs.checkpointer.prover
    right = prover.inclusion(proofs.book_id, 17)
    assert right.root == root_of(leaves)
    with proofs.engine.connect() as connection:
        before = tile_rows.tile_page(connection, proofs.book_id, 0, 0, 9)
    for statement in (
        "UPDATE merkle_tiles SET hashes = :other, root = :root WHERE book_id = :book AND position = 0",
        "UPDATE merkle_tiles SET root = :root WHERE book_id = :book AND position = 1",
        "DELETE FROM merkle_tiles WHERE book_id = :book",
    ):
        values = {"other": bytes(8192), "root": bytes(32)}
        proofs.change(statement, **{name: value for name, value in values.items() if f":{name}" in statement})
        assert prover.inclusion(proofs.book_id, 17) == right
        assert prover.consistency(proofs.book_id, 257).second_root == right.root
    with proofs.engine.connect() as connection:
        healed = tile_rows.tile_page(connection, proofs.book_id, 0, 0, 9)
    assert {tile.position for tile in healed} <= {tile.position for tile in before}
    assert all(tile in before for tile in healed)


def test_the_frontier_of_any_size(proofs: Proofs) -> None:
    """As appending gives it, with tiles and without; nothing that does not lead to the head."""
    leaves = grow(proofs, 700)
    prover, frontier = proofs.checkpointer.prover, Frontier()
    assert prover.frontier(proofs.book_id, 0).to_bytes() == b""
    wanted = {1, 5, 255, 256, 257, 511, 512, 600, 700}
    for leaf in leaves:
        frontier.append(leaf)
        if frontier.size in wanted:
            found = prover.frontier(proofs.book_id, frontier.size)
            assert (found.size, found.to_bytes()) == (frontier.size, frontier.to_bytes())
    with pytest.raises(OutsideLog):
        prover.frontier(proofs.book_id, 701)
    proofs.change("UPDATE book_heads SET root = :root WHERE book_id = :book", root=bytes(32))
    with pytest.raises(LogDamaged, match="bursar verify"):
        prover.frontier(proofs.book_id, 600)


def test_a_changed_leaf_is_never_proved(proofs: Proofs) -> None:
    """What does not lead to the head's root is refused, whatever the tiles say."""
    grow(proofs, 600)
    prover = proofs.checkpointer.prover
    prover.inclusion(proofs.book_id, 599)
    proofs.change("UPDATE book_heads SET root = :root WHERE book_id = :book", root=bytes(32))
    with pytest.raises(LogDamaged, match="bursar verify"):
        prover.inclusion(proofs.book_id, 599)


def test_a_proof_reads_tiles_by_their_keys(proofs: Proofs) -> None:
    """However many tiles a book has: the planner looks each of them up by its whole key, in one statement."""
    grow(proofs, LONG)
    proofs.checkpointer.tiler.extend_to_end(proofs.book_id)
    asked: list[tuple[str, Any]] = []
    event.listen(proofs.engine, "before_cursor_execute", lambda *call: asked.append((call[2], call[3])))
    proofs.checkpointer.prover.consistency(proofs.book_id, 65_000, LONG - 1)
    (statement,) = [call for call in asked if "merkle_tiles.hashes" in call[0]]
    looks = statement[0].count("merkle_tiles.position =")
    assert looks >= 2
    with proofs.engine.connect() as connection:
        if proofs.engine.dialect.name == "sqlite":
            plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement[0]}", statement[1])]
            by_key = [step for step in plan if "(book_id=? AND level=? AND position=?)" in step]
            assert not any(step.startswith("SCAN merkle") for step in plan), plan
        else:
            connection.exec_driver_sql("ANALYZE merkle_tiles")
            rows = connection.exec_driver_sql(f"EXPLAIN {statement[0]}", statement[1])
            plan = [row[0] for row in rows]
            by_key = [step for step in plan if "Index Cond" in step and step.count(" = ") == 3]
        assert len(by_key) == looks, plan


def tiles_of(proofs: Proofs) -> list[Any]:
    """Every tile, by its place."""
    with proofs.engine.connect() as connection:
        return [
            tile
            for level in tile_rows.levels(connection, proofs.book_id)
            for start in range(0, full_tiles(level, LONG), tile_rows.PAGE_TILES)
            for tile in tile_rows.tile_page(connection, proofs.book_id, level, start, start + tile_rows.PAGE_TILES)
        ]


BENEATH = "UPDATE merkle_tiles SET root = :root WHERE book_id = :book AND level = 0 AND position = 5"
BENEATH_WHOLE = (
    "UPDATE merkle_tiles SET root = :root, hashes = :tile WHERE book_id = :book AND level = 0 AND position = 5"
)
ABOVE = "UPDATE merkle_tiles SET root = :root, hashes = :tile WHERE book_id = :book AND level = 1"
ABOVE_GONE = "DELETE FROM merkle_tiles WHERE book_id = :book AND level = 1"


def test_tiles_heal_at_every_level(proofs: Proofs) -> None:
    """Also where what was changed stands below what is wrong: the proof comes, and its tiles are right."""
    leaves = grow(proofs, LONG)
    tiler, prover = proofs.checkpointer.tiler, proofs.checkpointer.prover
    tiler.extend_to_end(proofs.book_id)
    right, before = prover.inclusion(proofs.book_id, 17), tiles_of(proofs)
    assert right.root == root_of(leaves)
    values = {"root": bytes(32), "tile": bytes(8192)}
    for statements in (
        (BENEATH,),
        (BENEATH, ABOVE_GONE),
        (BENEATH, ABOVE),
        (BENEATH_WHOLE, ABOVE_GONE),
        (BENEATH_WHOLE, ABOVE),
    ):
        for statement in statements:
            proofs.change(statement, **{name: value for name, value in values.items() if f":{name}" in statement})
        assert prover.inclusion(proofs.book_id, 17) == right, statements
        # Whatever is still wrong is what no proof has needed since.
        assert prover.inclusion(proofs.book_id, 5 * 256).root == right.root
        healed = {(tile.level, tile.position): tile for tile in tiles_of(proofs)}
        assert [healed[tile.level, tile.position].hashes for tile in before] == [tile.hashes for tile in before]
        proofs.change("UPDATE merkle_tiles SET root = :root WHERE book_id = :book AND level = 0 AND position = 5",
                      root=before[5].root)  # fmt: skip


def test_a_root_that_was_changed_goes_no_further_up(proofs: Proofs) -> None:
    """The tile above is made of what the tiles below hold, so it is right from the beginning."""
    grow(proofs, 65_000)
    tiler = proofs.checkpointer.tiler
    tiler.extend_to_end(proofs.book_id)
    proofs.change(BENEATH, root=bytes(32))
    leaves = grow(proofs, 66_000)
    tiler.extend_to_end(proofs.book_id)
    with proofs.engine.connect() as connection:
        (upper,) = tile_rows.tile_page(connection, proofs.book_id, 1, 0, 1)
    assert upper.root == root_of(leaves[:65_536])
    assert proofs.checkpointer.prover.inclusion(proofs.book_id, 17).root == root_of(leaves)


def test_more_tiles_than_one_request_makes(proofs: Proofs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each try keeps what it made, so one of them gets to the end; whoever owns the database makes them all."""
    proofs.spend()
    proofs.checkpointer.make(proofs.book_id)
    leaves = grow(proofs, 256 * 30 + 7)
    monkeypatch.setattr(tiling, "MADE_MAX", 10)
    for tries in (1, 2):
        with pytest.raises(ProofUnavailable, match="ask again"):
            proofs.checkpointer.prover.inclusion(proofs.book_id, 17)
        # One more for the record's own tile, which was asked for first.
        assert len(tiles_of(proofs)) == 10 * tries + 1
    assert proofs.checkpointer.prover.inclusion(proofs.book_id, 17).root == root_of(leaves)
    proofs.change("DELETE FROM merkle_tiles WHERE book_id = :book")
    with pytest.raises(ProofUnavailable, match="ask again"):
        proofs.checkpointer.make(proofs.book_id)
    proofs.checkpointer.tiler.extend_to_end(proofs.book_id)
    assert len(tiles_of(proofs)) == 30
    assert proofs.checkpointer.make(proofs.book_id).size == 256 * 30 + 7


def test_more_wrong_tiles_than_one_request_makes(proofs: Proofs, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not the log that is damaged, and the sentence says what to delete."""
    grow(proofs, LONG)
    proofs.checkpointer.tiler.extend_to_end(proofs.book_id)
    for statement in (BENEATH_WHOLE, ABOVE):
        proofs.change(statement, root=bytes(32), tile=bytes(8192))
    monkeypatch.setattr(tiling, "MADE_MAX", 200)
    with pytest.raises(TilesDamaged, match="delete the rows of merkle_tiles"):
        proofs.checkpointer.prover.inclusion(proofs.book_id, 17)
    proofs.change("DELETE FROM merkle_tiles WHERE book_id = :book AND (level = 1 OR position = 5)")
    proofs.checkpointer.prover.inclusion(proofs.book_id, 17)
