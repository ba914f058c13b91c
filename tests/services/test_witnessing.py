"""Witnesses: what extends is taken; forks, rollbacks and false keys are told apart, and proved where they can be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from ledger.core.merkle import Frontier, leaf_hash, node_hash
from ledger.core.notes import Checkpoint, Note, parse_verifier_key
from ledger.core.proofs import check_consistency, consistency_spans, make_proof
from ledger.services.ed25519 import SigningPair, open_checkpoint
from ledger.services.witness_state import (
    ALARMS_MAX,
    StateBusy,
    StateUnusable,
    WitnessState,
    locked,
    read_state,
    write_state,
)
from ledger.services.witnessing import Alarm, Witness, compare
from ledger.storage import checkpoint_rows
from ledger.storage.engine import create_engine
from tests.support.forked import Forked, watching
from tests.support.transport import AppServer


@pytest.fixture
def forked(tmp_path: Path) -> Iterator[Forked]:
    """Two servers that tell two stories."""
    made = Forked(tmp_path)
    yield made
    made.close()


def test_a_log_that_grows_is_taken(forked: Forked) -> None:
    """Step by step, and when nothing happened."""
    witness = watching(forked.true)
    sizes = []
    for times in (0, 1, 5):
        forked.spend(forked.true, times=times)
        forked.checkpoint(forked.true)
        sizes.append(witness.look()[0].size)
    assert sizes == [sizes[0], sizes[0] + 1, sizes[0] + 6]
    assert [size for size, _ in witness.state.seen] == sizes
    assert witness.state.alarms == []


def test_a_fork_shown_to_one_witness(forked: Forked) -> None:
    """Having seen one branch, it does not take the other: longer, of the same size, or shorter."""
    forked.spend(forked.true, times=3)
    forked.checkpoint(forked.true)
    for times, kind in ((1, "rollback"), (2, "fork"), (2, "fork")):
        witness = watching(forked.true)
        forked.spend(forked.false, "0.50", times=times)
        forked.checkpoint(forked.false)
        seen = witness.state.note
        witness._server = AppServer(forked.false)
        with pytest.raises(Alarm) as raised:
            witness.look()
        assert raised.value.kind == kind
        assert raised.value.evidence["seen"] == seen == witness.state.note
        assert raised.value.evidence["now"] != seen
        assert witness.state.alarms == [raised.value.content()]


def test_a_fork_shown_to_two_witnesses(forked: Forked) -> None:
    """Each is shown a log that grows; together they know that there are two."""
    one, other = watching(forked.true), watching(forked.false)
    assert compare(one.state, other.state) is None
    forked.spend(forked.true, times=2)
    forked.spend(forked.false, "0.50", times=2)
    forked.checkpoint(forked.true)
    forked.checkpoint(forked.false)
    one.look()
    other.look()
    assert "FORK" in str(compare(one.state, other.state))
    forked.spend(forked.false, "0.50", times=3)
    forked.checkpoint(forked.false)
    late = watching(forked.false)
    with pytest.raises(LookupError, match="--url"):
        compare(one.state, late.state)
    assert "FORK" in str(compare(one.state, late.state, AppServer(forked.false)))
    with pytest.raises(LookupError, match="does not prove"):
        compare(one.state, late.state, AppServer(forked.true))
    assert compare(other.state, late.state, AppServer(forked.false)) is None


def test_a_rotation_is_followed_through_the_log(forked: Forked) -> None:
    """Even when the checkpoint that both keys signed is no longer the newest; another key is not."""
    witness = watching(forked.true)
    for _ in range(2):
        assert forked.true.post("/v1/checkpoints/keys").status == 201
        forked.checkpoint(forked.true)
        forked.spend(forked.true)
        forked.checkpoint(forked.true)
    checkpoint, learned = witness.look()
    assert len(learned) == 2
    assert len(witness.state.keys) == 3
    assert checkpoint.size == forked.true.log_size()
    stranger = Witness(AppServer(forked.true), WitnessState([SigningPair.from_seed(bytes(32)).verifier("a/b")]))
    with pytest.raises(Alarm) as raised:
        stranger.look()
    assert raised.value.kind == "unknown_key"


def test_the_state_is_whole_or_refused(tmp_path: Path) -> None:
    """No file is no state; another file is none; a failed write leaves the old one."""
    path = tmp_path / "state"
    assert read_state(path) is None
    write_state(path, WitnessState())
    before = path.read_text(encoding="utf-8")
    broken = WitnessState(seen=[(1, object())])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        write_state(path, broken)
    assert path.read_text(encoding="utf-8") == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]
    false = '{"format": "bursar-witness/1", "keys": [], "note": "x", "seen": [], "alarms": [], "ended": {}}'
    for content in ("{", "{}", "[" * 100_000, false, false.replace('"x"', '""').replace("[]", "5", 1)):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(StateUnusable):
            read_state(path)


def test_a_fork_is_said_to_be_one_only_with_proof(forked: Forked) -> None:
    """At different sizes the proof that a server makes for its own log fixes what the log began with; a proof that
    leads nowhere shows nothing."""
    forked.spend(forked.true, times=3)
    forked.checkpoint(forked.true)
    forked.spend(forked.false, "0.50", times=7)
    forked.checkpoint(forked.false)
    witness = watching(forked.true)
    witness._server = AppServer(forked.false)
    with pytest.raises(Alarm) as raised:
        witness.look()
    evidence = raised.value.evidence
    assert raised.value.kind == "fork"
    seen, now = (open_checkpoint(evidence[name], witness.state.keys).checkpoint for name in ("seen", "now"))
    proof = [bytes.fromhex(text) for text in evidence["proof"]]
    roots = {"first_root": bytes.fromhex(evidence["first_root"]), "second_root": now.root}
    check_consistency(first=seen.size, second=now.size, proof=proof, **roots)
    assert roots["first_root"] != seen.root

    class Junk(AppServer):
        def get(self, path: str, **query: str | int | bool) -> Any:
            answer = super().get(path, **query)
            return answer | {"proof": answer["proof"][::-1]} if path.endswith("consistency") else answer

    witness._server = Junk(forked.false)
    with pytest.raises(Alarm) as raised:
        witness.look()
    assert raised.value.kind == "unproved"
    one, late = watching(forked.true), watching(forked.false)
    with pytest.raises(LookupError, match="does not prove"):
        compare(one.state, late.state, Junk(forked.false))


class Thief(AppServer):
    """Answers with a longer log, signed with a key that was replaced and got lost since."""

    def __init__(self, forked: Forked) -> None:
        super().__init__(forked.true)
        engine = create_engine(forked.true.database_url)
        with engine.connect() as connection:
            rows = connection.execute(text("SELECT leaf_hash FROM log_records ORDER BY log_index"))
            self.leaves = [bytes(row[0]) for row in rows] + [leaf_hash(b"made up")]
            (book_id,) = connection.execute(text("SELECT book_id FROM books")).one()
            key = checkpoint_rows.keys(connection, book_id)[0]
            secret = checkpoint_rows.secret(connection, book_id, key.public_key)
        engine.dispose()
        assert secret is not None
        frontier = Frontier()
        for leaf in self.leaves:
            frontier.append(leaf)
        forged = Checkpoint(key.name, len(self.leaves), frontier.root()).text()
        self.note = Note(forged, (SigningPair.from_der(secret).sign(key.name, forged),)).write()

    def get(self, path: str, **query: str | int | bool) -> Any:
        """The forged note, and the proof that it extends what was seen."""
        if path.endswith("latest"):
            return {"note": self.note}
        if path.endswith("consistency"):
            spans = consistency_spans(int(query["first"]), int(query["second"]))
            return {"proof": [found.hex() for found in make_proof(spans, self._hash_of)]}
        return super().get(path, **query)

    def _hash_of(self, node: tuple[int, int]) -> bytes:
        level, position = node
        hashes = self.leaves[position << level : (position + 1) << level]
        while len(hashes) > 1:
            hashes = [node_hash(hashes[at], hashes[at + 1]) for at in range(0, len(hashes), 2)]
        return hashes[0]


@pytest.mark.parametrize("known_before", [False, True])
def test_a_key_that_was_replaced_ends_with_its_successor(forked: Forked, known_before: bool) -> None:
    """Whether the rotation was followed or the new key was trusted all along, the old key signs no longer log; the
    true log goes on being taken."""
    witness = watching(forked.true)
    assert forked.true.post("/v1/checkpoints/keys").status == 201
    if known_before:
        witness.state.keys.append(parse_verifier_key(forked.true.get("/v1/checkpoints/key").json["verifier_key"]))
    for _ in range(2):
        forked.spend(forked.true)
        forked.checkpoint(forked.true)
        witness.look()
    old, _ = witness.state.keys
    assert list(witness.state.ended) == [old]
    assert witness.state.ended[old] < witness.state.seen[0][0] + 2
    path = forked.directory / "state"
    write_state(path, witness.state)
    assert read_state(path) == witness.state
    witness._server = Thief(forked)
    with pytest.raises(Alarm, match="was replaced and signs no log of more than") as raised:
        witness.look()
    assert raised.value.kind == "unknown_key"
    witness._server = AppServer(forked.true)
    forked.spend(forked.true, times=3)
    forked.checkpoint(forked.true)
    assert witness.look()[0].size == forked.true.log_size()


def test_a_key_to_come_is_not_ended(forked: Forked) -> None:
    """It is trusted beside the one that signs now, and the log does not name it yet."""
    witness = watching(forked.true)
    witness.state.keys.append(SigningPair.from_seed(bytes(32)).verifier(witness.state.keys[0].name))
    forked.spend(forked.true)
    forked.checkpoint(forked.true)
    witness.look()
    assert witness.state.ended == {}


def test_a_rotation_costs_one_question_a_page(forked: Forked) -> None:
    """However many checkpoints there were since, the keys are asked for once."""
    asked: list[str] = []

    class Counted(AppServer):
        def get(self, path: str, **query: str | int | bool) -> Any:
            asked.append(path)
            answer = super().get(path, **query)
            if path == "/v1/checkpoints":
                answer["items"] = [item for item in answer["items"] if len(item["keys"]) == 1]
            return answer

    witness = watching(forked.true)
    for _ in range(20):
        forked.spend(forked.true)
        forked.checkpoint(forked.true)
    assert forked.true.post("/v1/checkpoints/keys").status == 201
    for _ in range(2):
        forked.spend(forked.true)
        forked.checkpoint(forked.true)
    witness._server = Counted(forked.true)
    with pytest.raises(Alarm):
        witness.look()
    assert asked.count("/v1/checkpoints/key") == 1
    assert len(asked) == 3


def test_half_a_character_is_a_bad_signature(forked: Forked) -> None:
    """And not an answer that nothing can be learned from."""
    witness = watching(forked.true)
    note = witness.state.note

    class Odd(AppServer):
        def get(self, path: str, **query: str | int | bool) -> Any:
            return {"note": note.replace("\n\n", "\n\ud800\n\n")} if "latest" in path else super().get(path, **query)

    witness._server = Odd(forked.true)
    with pytest.raises(Alarm) as raised:
        witness.look()
    assert raised.value.kind == "bad_signature"


def test_alarms_are_bounded_kind_by_kind() -> None:
    """Whoever makes many of one kind drives out none of another; the first ones stay."""
    state = WitnessState()
    for number in range(ALARMS_MAX + 5):
        state.told({"kind": "bad_signature", "sentence": str(number)})
        state.told({"kind": "fork", "sentence": "one"})
    assert [alarm["sentence"] for alarm in state.alarms if alarm["kind"] == "fork"] == ["one"]
    kept = [alarm["sentence"] for alarm in state.alarms if alarm["kind"] == "bad_signature"]
    assert kept == [str(number) for number in range(ALARMS_MAX)]


def test_a_state_file_is_locked_by_one(tmp_path: Path) -> None:
    """Until the end of the block; where no lock can be made, the look goes on."""
    path = tmp_path / "state"
    with locked(path), pytest.raises(StateBusy), locked(path):
        pass
    with locked(path):
        pass
    with locked(tmp_path / "nowhere" / "state"):
        pass
