"""Checkpoints of a real book: signed only where it extends, by the key that the log names; and what verify finds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from ledger.core.moment import SECOND
from ledger.core.notes import COSIGNATURE, parse_note
from ledger.services.checkpointing import Checkpointing
from ledger.services.checkpoints import Checkpointer, CheckpointSettings, KeyNotRecorded, SigningRefused
from ledger.services.ed25519 import SigningPair, open_checkpoint
from ledger.services.proving import OutsideLog, Prover
from ledger.services.sources import Sources
from ledger.services.tiling import ProofUnavailable
from ledger.services.verify import verify_books
from ledger.storage import checkpoint_rows, queries_log
from tests.services.proved_world import Proofs, proved_book


class _Clock(Sources):
    """A clock that the test moves."""

    now = 1_900_000_000 * SECOND

    def now_us(self) -> int:
        return self.now


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
    ("checkpoint_cosignatures", "UPDATE checkpoint_cosignatures SET size = size + 1 WHERE book_id = :book"),
    ("checkpoint_cosignatures", "UPDATE checkpoint_cosignatures SET size = size - 1 WHERE book_id = :book"),
    ("checkpoint_cosignatures", "UPDATE checkpoint_cosignatures SET created_at = 5 WHERE book_id = :book"),
    ("checkpoint_cosignatures", f"UPDATE checkpoint_cosignatures SET created_at = {2**62} WHERE book_id = :book"),
    ("checkpoints", "UPDATE checkpoints SET created_at = 5 WHERE book_id = :book"),
    ("checkpoints", f"UPDATE checkpoints SET created_at = {2**62} WHERE book_id = :book"),
    ("checkpoints", "UPDATE checkpoints SET note = note || :junk WHERE book_id = :book"),
    ("checkpoints", "UPDATE checkpoints SET note = note || :again WHERE book_id = :book"),
    ("checkpoints", "UPDATE checkpoints SET note = note || :stranger WHERE book_id = :book"),
    ("checkpoints", "UPDATE checkpoints SET note = replace(note, '=\n\n', '=\nmore\n\n') WHERE book_id = :book"),
]


def test_verify_finds_what_was_changed_beside_the_log(proofs: Proofs) -> None:
    """Every column of tiles, checkpoints and cosignatures; a tile that lacks is no difference."""
    proofs.spend(600)
    proofs.checkpointer.tiler.extend(proofs.book_id)
    made = proofs.checkpointer.make(proofs.book_id)
    line = SigningPair.from_seed(bytes(32)).cosign("w", parse_note(made.note).text, 1)
    key = SigningPair.from_seed(bytes(32)).verifier("w", COSIGNATURE).text()
    given = checkpoint_rows.StoredCosignature(made.size, key, "w", line.signature, proofs.world.sources.now_us())
    with proofs.side.transaction() as connection:
        checkpoint_rows.add_cosignature(connection, proofs.book_id, given)
    proofs.world.prove()
    note = parse_note(made.note)
    values = {
        "tile": bytes(8192), "root": bytes(32), "long": bytes(72), "junk": "\u2014 x AAAAAAAA\n",
        "again": note.signatures[0].line(),
        "stranger": SigningPair.from_seed(bytes(32)).sign(note.signatures[0].name, note.text).line(),
    }  # fmt: skip
    for table, statement in TAMPERED:
        with proofs.engine.connect() as connection:
            kept = connection.execute(text(f"SELECT * FROM {table} WHERE book_id = {proofs.book_id}")).mappings().all()
        proofs.change(statement, **{name: value for name, value in values.items() if f":{name}" in statement})
        (report,) = verify_books(proofs.world.url, book=proofs.world.book.name)
        found = {difference.table for difference in report.differences}
        # What was cosigned is of no checkpoint where that was moved, and from before it where that is of later.
        assert found - ({"checkpoint_cosignatures"} if table == "checkpoints" else set()) <= {table}, statement
        assert table in found, statement
        with proofs.side.transaction() as connection:
            connection.execute(text(f"DELETE FROM {table} WHERE book_id = {proofs.book_id}"))
            names = ", ".join(f":{name}" for name in kept[0])
            connection.execute(text(f"INSERT INTO {table} VALUES ({names})"), [dict(row) for row in kept])
    proofs.change("DELETE FROM merkle_tiles WHERE book_id = :book")
    proofs.world.prove()


def test_what_another_process_signed_is_the_answer(proofs: Proofs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that sign one size have one checkpoint between them, and neither is refused."""
    proofs.checkpointer.make(proofs.book_id)
    proofs.spend()
    first, second = proofs.another(), proofs.another()
    signed: list[Any] = []
    sign = second._sign

    def late(*arguments: Any) -> Any:
        signed.append(first.make(proofs.book_id))
        return sign(*arguments)

    monkeypatch.setattr(second, "_sign", late)
    assert [second.make(proofs.book_id)] == signed
    proofs.spend()
    monkeypatch.setattr(first, "_sign", lambda *given: sign(*given)._replace(root=bytes(32)))
    with pytest.raises(SigningRefused, match="is of another log"):
        second.make(proofs.book_id)


def test_a_proof_that_is_unavailable_accuses_nobody(proofs: Proofs, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for again; only a log that is shown not to extend its checkpoint is refused."""
    proofs.checkpointer.make(proofs.book_id)
    proofs.spend()

    def unavailable(*arguments: Any) -> Any:
        raise ProofUnavailable("the tree is still being written")

    results: list[str] = []
    checkpointer = proofs.another()
    monkeypatch.setattr(checkpointer.prover, "consistency", unavailable)
    with pytest.raises(ProofUnavailable, match="still being written"):
        checkpointer.make(proofs.book_id)
    background(proofs, checkpointer, results).look()
    assert "refused" not in results
    assert "failed" in results


def background(proofs: Proofs, checkpointer: Checkpointer, results: list[str]) -> Checkpointing:
    """What signs in a server, its results told to ``results``."""
    return Checkpointing(
        proofs.engine, proofs.side, _Clock(), checkpointer, interval_seconds=60, on_result=results.append
    )


def test_one_damaged_book_stops_no_other(
    shared_url: str, proofs: Proofs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A head that says more than the log has, a secret that is none, a fault of ours: the book behind it is signed."""
    active = checkpoint_rows.active_books
    monkeypatch.setattr(
        checkpoint_rows, "active_books", lambda opened: sorted(active(opened), key=lambda it: it[0] != proofs.book_id)
    )
    proofs.checkpointer.make(proofs.book_id)
    proofs.spend()
    with proved_book(shared_url, f"{proofs.world.book.name}-z") as behind:

        def look() -> list[str]:
            behind.spend()
            results: list[str] = []
            background(behind, behind.another(), results).look()
            proofs.change("UPDATE checkpoint_turns SET next_at = 0 WHERE book_id > 0 OR book_id = :book")
            with behind.engine.connect() as connection:
                latest = checkpoint_rows.latest(connection, behind.book_id)
            assert latest is not None
            assert latest.size == behind.world.size()
            return results

        proofs.change("UPDATE book_heads SET size = size + 300 WHERE book_id = :book")
        assert "refused" in look()
        proofs.change("UPDATE book_heads SET size = size - 300 WHERE book_id = :book")
        proofs.change("UPDATE signing_secrets SET secret = :junk WHERE book_id = :book", junk=b"junk")
        assert "refused" in look()
        monkeypatch.setattr(Prover, "consistency", lambda *given: 1 // 0)
        behind.change("DELETE FROM checkpoints WHERE book_id = :book")
        assert "failed" in look()
        assert "ZeroDivisionError" in caplog.text


def test_a_secret_that_is_not_the_keys_signs_nothing(proofs: Proofs) -> None:
    """Another's, or none at all, under the name of the key that signs: refused, and nothing is stored. As the old key's
    half it is passed over."""
    proofs.checkpointer.make(proofs.book_id)
    proofs.spend()
    with proofs.engine.connect() as connection:
        (key,) = checkpoint_rows.keys(connection, proofs.book_id)
        right = checkpoint_rows.secret(connection, proofs.book_id, key.public_key)
    for secret in (SigningPair.from_seed(bytes([5] * 32)).to_der(), b"junk"):
        proofs.change("UPDATE signing_secrets SET secret = :secret WHERE book_id = :book", secret=secret)
        with pytest.raises(SigningRefused, match=f"for key {key.id} is not its private half"):
            proofs.another().make(proofs.book_id)
    proofs.world.prove()
    proofs.checkpointer.rotate(proofs.book_id)
    made = proofs.another().make(proofs.book_id)
    assert len(parse_note(made.note).signatures) == 1
    assert right is not None
    proofs.world.prove()


def test_who_changes_nothing_records_no_key(proofs: Proofs) -> None:
    """Neither a first key nor a successor; once there is one, a checkpoint is had."""
    size = proofs.world.size()
    with pytest.raises(KeyNotRecorded, match="an admin"):
        proofs.checkpointer.make(proofs.book_id, adopts=False)
    assert proofs.world.size() == size
    proofs.checkpointer.make(proofs.book_id)
    proofs.spend()
    assert proofs.checkpointer.make(proofs.book_id, adopts=False).size == size + 2
    proofs.spend()
    with pytest.raises(KeyNotRecorded):
        proofs.another(pair=SigningPair.from_seed(bytes(32))).make(proofs.book_id, adopts=False)


def test_no_private_half_is_left_that_the_log_does_not_name(proofs: Proofs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a process that came second, and of a rotation that was refused."""
    first, second = proofs.another(), proofs.another()
    command = second._command

    def late(*arguments: Any) -> Any:
        first.make(proofs.book_id)
        return command(*arguments)

    monkeypatch.setattr(second, "_command", late)
    second.make(proofs.book_id)
    monkeypatch.setattr(second, "_command", lambda *given: replace(command(*given), replaces="00000000"))
    with pytest.raises(SigningRefused, match="the key that signs now is"):
        second.rotate(proofs.book_id)
    with proofs.engine.connect() as connection:
        (key,) = checkpoint_rows.keys(connection, proofs.book_id)
        kept = text("SELECT id FROM signing_secrets WHERE book_id = :book")
        assert connection.execute(kept, {"book": proofs.book_id}).scalars().all() == [key.public_key.hex()]


def test_an_origin_that_no_verifier_takes_is_never_recorded(proofs: Proofs) -> None:
    """It could not be changed any more."""
    size = proofs.world.size()
    with pytest.raises(SigningRefused, match="begin it with something shorter"):
        proofs.another(origin="p" * 250).make(proofs.book_id)
    assert proofs.world.size() == size


def test_rotating_to_the_key_that_signs(proofs: Proofs) -> None:
    """Says so, and not that the key was replaced."""
    pair = SigningPair.from_seed(bytes(32))
    proofs.another(pair=pair).make(proofs.book_id)
    with pytest.raises(SigningRefused, match="signs already"):
        proofs.another(pair=pair).rotate(proofs.book_id)
