"""Tiles, proofs and checkpoints over a real book: few rows read, healed when changed, signed only where it extends."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from ledger.core.merkle import Frontier
from ledger.core.moment import SECOND
from ledger.core.notes import COSIGNATURE, parse_note
from ledger.core.proofs import check_consistency, check_inclusion
from ledger.core.tiles import full_tiles
from ledger.services.checkpointing import Checkpointing
from ledger.services.checkpoints import Checkpointer, CheckpointSettings, SigningRefused
from ledger.services.ed25519 import SigningPair, open_checkpoint
from ledger.services.proving import OutsideLog
from ledger.services.sources import Sources
from ledger.services.tiling import LogDamaged
from ledger.services.verify import verify_books
from ledger.storage import checkpoint_rows, queries_log, tile_rows
from ledger.storage.engine import create_engine
from ledger.storage.migrate import upgrade
from ledger.storage.side_writer import SideWriter
from tests.services.live_world import LiveWorld
from tests.support.databases import DATABASE_KINDS, postgresql_database, sqlite_url

NUMBERS = itertools.count()
LONG = 70_000
"""Records of a log with a tile on the second level."""
STATEMENTS = 7
"""The transaction, the head, tiles, the end of each of three levels, and the leaf that is proved."""


class _Clock(Sources):
    """A clock that the test moves."""

    now = 1_900_000_000 * SECOND

    def now_us(self) -> int:
        return self.now


@dataclass
class Proofs:
    """A book, and what signs it."""

    world: LiveWorld
    engine: Engine
    side: SideWriter
    checkpointer: Checkpointer

    @property
    def book_id(self) -> int:
        """The book's id."""
        return self.world.book_id

    def another(self, **settings: Any) -> Checkpointer:
        """As another process, or one with other settings, has it."""
        return Checkpointer(
            self.engine, self.side, self.world.authorizer.decide_now, self.world.sources, CheckpointSettings(**settings)
        )

    def change(self, statement: str, **values: Any) -> None:
        """Change the database, as its owner can."""
        with self.side.transaction() as connection:
            connection.execute(text(statement), {"book": self.book_id, **values})

    def spend(self, count: int = 1) -> None:
        """More records."""
        self.world.decide(*(self.world.ask("0.01") for _ in range(count)))


@pytest.fixture(scope="module", params=DATABASE_KINDS, ids=DATABASE_KINDS)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A migrated database."""
    if request.param == "sqlite":
        made = sqlite_url(tmp_path_factory.mktemp("proofs"))
        upgrade(made)
        yield made
        return
    with postgresql_database(request.getfixturevalue("postgres_server")) as made:
        upgrade(made)
        yield made


@pytest.fixture
def proofs(url: str) -> Iterator[Proofs]:
    """A book of its own in it."""
    world = LiveWorld(url, f"proved-{next(NUMBERS)}")
    engine, side = create_engine(url, pool_size=2), SideWriter(url)
    made = Proofs(
        world,
        engine,
        side,
        Checkpointer(engine, side, world.authorizer.decide_now, world.sources, CheckpointSettings()),
    )
    yield made
    world.close()
    side.close()
    engine.dispose()


def grow(proofs: Proofs, size: int) -> list[bytes]:
    """Make the log ``size`` records long with rows that only the tree looks at; the leaf of each."""
    with proofs.engine.connect() as connection:
        found = [leaf for _, leaf in tile_rows.leaves(connection, proofs.book_id, 0, size)]
    more = [sha256(b"%d" % index).digest() for index in range(len(found), size)]
    rows = [{"book": proofs.book_id, "index": index, "leaf": leaf} for index, leaf in enumerate(more, start=len(found))]
    frontier = Frontier()
    for leaf in found + more:
        frontier.append(leaf)
    insert = (
        "INSERT INTO log_records (book_id, log_index, kind, subject, recorded_at, effective_at, body, leaf_hash)"
        " VALUES (:book, :index, 'test', 'test', 0, 0, :leaf, :leaf)"
    )
    with proofs.side.transaction() as connection:
        connection.execute(text(insert), rows)
    proofs.change(
        "UPDATE book_heads SET size = :size, root = :root, frontier = :frontier WHERE book_id = :book",
        size=size,
        root=frontier.root(),
        frontier=frontier.to_bytes(),
    )
    return found + more


def root_of(leaves: list[bytes]) -> bytes:
    """The root by the frontier, which knows nothing of tiles."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()


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


def test_what_lies_outside_the_log(proofs: Proofs) -> None:
    """An index or a size that is not there is told as such."""
    prover = proofs.checkpointer.prover
    size = proofs.world.size()
    for call in (
        lambda: prover.inclusion(proofs.book_id, size),
        lambda: prover.inclusion(proofs.book_id, 0, size + 1),
        lambda: prover.consistency(proofs.book_id, size + 1),
        lambda: prover.consistency(proofs.book_id, 3, 2),
    ):
        with pytest.raises(OutsideLog):
            call()
    assert prover.consistency(proofs.book_id, 0).proof == ()


def test_a_checkpoint_is_of_the_committed_head(proofs: Proofs) -> None:
    """The first one adopts a key on record; a second one without activity is the same; the book verifies."""
    made = proofs.checkpointer.make(proofs.book_id)
    with proofs.engine.connect() as connection:
        head = queries_log.head(connection, proofs.book_id)
        (key,) = checkpoint_rows.keys(connection, proofs.book_id)
    assert head is not None
    assert (made.size, made.root) == (head.size, head.root)
    assert key.name.startswith(f"bursar/{proofs.world.book.name}-")
    opened = open_checkpoint(made.note, [key.verifier()])
    assert (opened.checkpoint.size, opened.checkpoint.root) == (made.size, made.root)
    assert made.size == key.created_index + 1
    assert proofs.checkpointer.make(proofs.book_id) == made
    assert proofs.another().make(proofs.book_id) == made
    proofs.spend()
    assert proofs.checkpointer.make(proofs.book_id).size == made.size + 1
    proofs.world.prove()


def test_old_signatures_verify_after_a_rotation(proofs: Proofs) -> None:
    """The log names both keys; the first checkpoint after it is signed by both, later ones by the new one."""
    old = proofs.checkpointer.make(proofs.book_id)
    proofs.checkpointer.rotate(proofs.book_id)
    both = proofs.another().make(proofs.book_id)
    proofs.spend()
    new = proofs.checkpointer.make(proofs.book_id)
    with proofs.engine.connect() as connection:
        first, second = checkpoint_rows.keys(connection, proofs.book_id)
    assert first.name == second.name
    assert second.created_index == old.size
    assert open_checkpoint(old.note, [first.verifier()]).signers == (first.verifier(),)
    assert [line.id.hex() for line in parse_note(both.note).signatures] == [second.id, first.id]
    assert len(open_checkpoint(both.note, [first.verifier(), second.verifier()]).signers) == 2
    assert [line.id.hex() for line in parse_note(new.note).signatures] == [second.id]
    proofs.world.prove()


def test_a_key_from_a_file_and_its_successor(proofs: Proofs) -> None:
    """The server's own key is recorded when it first signs; one that was replaced signs nothing more."""
    one, two = SigningPair.from_seed(bytes(32)), SigningPair.from_seed(bytes([1] * 32))
    first = proofs.another(pair=one, origin="ledger.example.com/books")
    made = first.make(proofs.book_id)
    assert made.note.startswith(f"ledger.example.com/books/{proofs.world.book.name}-")
    proofs.spend()
    second = proofs.another(pair=two, origin="another.example.com").make(proofs.book_id)
    assert second.note.split("\n")[0] == made.note.split("\n")[0]
    proofs.spend()
    with pytest.raises(SigningRefused, match="was replaced"):
        first.make(proofs.book_id)
    with pytest.raises(SigningRefused, match="not in this database"):
        proofs.checkpointer.make(proofs.book_id)
    with proofs.engine.connect() as connection:
        kept = text("SELECT count(*) FROM signing_secrets WHERE book_id = :book")
        assert connection.execute(kept, {"book": proofs.book_id}).scalar_one() == 0


def test_what_does_not_extend_is_not_signed(proofs: Proofs) -> None:
    """A log that was set back, or whose checkpointed beginning was changed, gets no signature."""
    proofs.spend(3)
    made = proofs.checkpointer.make(proofs.book_id)
    proofs.change("UPDATE book_heads SET size = size - 1 WHERE book_id = :book")
    with pytest.raises(SigningRefused, match="set back"):
        proofs.another().make(proofs.book_id)
    proofs.change("UPDATE book_heads SET size = size + 1 WHERE book_id = :book")
    proofs.spend()
    proofs.change("UPDATE checkpoints SET root = :root WHERE book_id = :book", root=bytes(32))
    with pytest.raises(SigningRefused, match="does not extend"):
        proofs.another().make(proofs.book_id)
    proofs.change("UPDATE checkpoints SET root = :root WHERE book_id = :book", root=made.root)
    assert proofs.checkpointer.make(proofs.book_id).size == made.size + 1


def test_one_process_writes_the_checkpoint_of_an_interval(proofs: Proofs) -> None:
    """With activity, once an interval, whichever process comes first; without, none."""
    results: list[str] = []
    clock = _Clock()

    def process() -> Checkpointing:
        return Checkpointing(
            proofs.engine,
            proofs.side,
            clock,
            proofs.another(),
            interval_seconds=60,
            on_result=results.append,
        )

    def count() -> int:
        with proofs.engine.connect() as connection:
            return len(checkpoint_rows.page(connection, proofs.book_id, after=None, limit=50).items)

    first, second = process(), process()
    first.look()
    second.look()
    assert count() == 1
    proofs.spend()
    second.look()
    assert count() == 1
    clock.now += 61 * SECOND
    second.look()
    first.look()
    assert count() == 2
    clock.now += 61 * SECOND
    first.look()
    assert count() == 2
    assert "signed" in results


def test_the_thread_signs_and_stops(proofs: Proofs) -> None:
    """Started, it signs by itself; stopped, it is gone."""
    signed: list[str] = []
    one = Checkpointing(
        proofs.engine, proofs.side, proofs.world.sources, proofs.another(), interval_seconds=1, on_result=signed.append
    )
    one.start()
    for _ in range(100):
        if "signed" in signed:
            break
        one._stopping.wait(0.1)
    one.stop(deadline_seconds=5)
    assert "signed" in signed
    never = Checkpointing(proofs.engine, proofs.side, proofs.world.sources, proofs.another(), interval_seconds=0)
    never.start()
    assert never._thread is None


def test_no_private_half_is_in_the_log(proofs: Proofs, caplog: pytest.LogCaptureFixture) -> None:
    """Nor in what is logged, nor in how settings are shown."""
    proofs.checkpointer.make(proofs.book_id)
    with proofs.engine.connect() as connection:
        (secret,) = connection.execute(
            text("SELECT secret FROM signing_secrets WHERE book_id = :book"), {"book": proofs.book_id}
        ).one()
        bodies = [row[0] for row in connection.execute(text("SELECT body FROM log_records"))]
    seed = bytes(secret)[-32:]
    for body in bodies:
        assert seed not in bytes(body)
        assert seed.hex().encode() not in bytes(body)
    assert seed.hex() not in caplog.text
    settings = CheckpointSettings(pair=SigningPair.from_seed(seed))
    assert seed.hex() not in repr(settings)
    assert repr(settings) == "CheckpointSettings(origin='')"


def test_verify_refolds_the_keys(proofs: Proofs) -> None:
    """A public half that was changed in its table is found."""
    proofs.checkpointer.make(proofs.book_id)
    proofs.change("UPDATE signing_keys SET public_key = :other WHERE book_id = :book", other=bytes(32))
    (report,) = verify_books(proofs.world.url, book=proofs.world.book.name)
    assert [difference.table for difference in report.differences] == ["signing_keys"]


TAMPERED = [
    ("merkle_tiles", "UPDATE merkle_tiles SET hashes = :tile WHERE book_id = :book AND position = 1"),
    ("merkle_tiles", "UPDATE merkle_tiles SET root = :root WHERE book_id = :book AND position = 0"),
    ("merkle_tiles", "UPDATE merkle_tiles SET position = 7 WHERE book_id = :book AND position = 1"),
    ("merkle_tiles", "UPDATE merkle_tiles SET level = 3 WHERE book_id = :book AND position = 1"),
    ("checkpoints", "UPDATE checkpoints SET root = :root WHERE book_id = :book"),
    ("checkpoints", "UPDATE checkpoints SET size = size + 100000 WHERE book_id = :book"),
    ("checkpoints", "UPDATE checkpoints SET size = size - 1 WHERE book_id = :book"),
    ("checkpoints", "UPDATE checkpoints SET note = 'nothing' WHERE book_id = :book"),
    ("checkpoints", "UPDATE checkpoints SET note = replace(note, 'bursar', 'dursar') WHERE book_id = :book"),
    ("checkpoint_cosignatures", "UPDATE checkpoint_cosignatures SET signature = :long WHERE book_id = :book"),
    ("checkpoint_cosignatures", "UPDATE checkpoint_cosignatures SET name = 'else' WHERE book_id = :book"),
    ("checkpoint_cosignatures", "UPDATE checkpoint_cosignatures SET key = 'else' WHERE book_id = :book"),
]


def test_verify_finds_what_was_changed_beside_the_log(proofs: Proofs) -> None:
    """Every column of tiles, checkpoints and cosignatures; a tile that lacks is no difference."""
    proofs.spend(600)
    proofs.checkpointer.tiler.extend(proofs.book_id)
    made = proofs.checkpointer.make(proofs.book_id)
    line = SigningPair.from_seed(bytes(32)).cosign("w", parse_note(made.note).text, 1)
    key = SigningPair.from_seed(bytes(32)).verifier("w", COSIGNATURE).text()
    given = checkpoint_rows.StoredCosignature(made.size, key, "w", line.signature)
    with proofs.side.transaction() as connection:
        checkpoint_rows.add_cosignature(connection, proofs.book_id, given, now=1)
    proofs.world.prove()
    values = {"tile": bytes(8192), "root": bytes(32), "long": bytes(72)}
    for table, statement in TAMPERED:
        with proofs.engine.connect() as connection:
            kept = connection.execute(text(f"SELECT * FROM {table} WHERE book_id = {proofs.book_id}")).mappings().all()
        proofs.change(statement, **{name: value for name, value in values.items() if f":{name}" in statement})
        (report,) = verify_books(proofs.world.url, book=proofs.world.book.name)
        assert {difference.table for difference in report.differences} == {table}, statement
        with proofs.side.transaction() as connection:
            connection.execute(text(f"DELETE FROM {table} WHERE book_id = {proofs.book_id}"))
            names = ", ".join(f":{name}" for name in kept[0])
            connection.execute(text(f"INSERT INTO {table} VALUES ({names})"), [dict(row) for row in kept])
    proofs.change("DELETE FROM merkle_tiles WHERE book_id = :book")
    proofs.world.prove()
