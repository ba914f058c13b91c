"""`bursar checkpoint`, `prove` and `verify-proof`: from a database to a file that anybody can check."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bursar import CannotAsk
from bursar.command import bursar
from ledger.cli import prove as prove_verb
from ledger.core.canonical import canonical_bytes, parse
from ledger.core.merkle import leaf_hash
from ledger.core.notes import Checkpoint, Note, parse_note, parse_verifier_key
from ledger.core.proofs import inclusion_spans
from ledger.services.ed25519 import SigningPair, open_checkpoint
from ledger.services.proof_files import FileInvalid, check_file, proof_content
from ledger.services.verify import verify_books
from ledger.storage.migrate import upgrade
from tests.services.live_world import LiveWorld

KINDS = ("hold", "settlement")


@pytest.fixture
def world(database_url: str) -> Iterator[LiveWorld]:
    """A book with an agent and money, on either database; it must verify at the end."""
    upgrade(database_url)
    made = LiveWorld(database_url, "acme")
    yield made
    made.close()
    (report,) = verify_books(database_url, book="acme")
    assert report.verified, [difference.sentence() for difference in report.differences]


def run(world: LiveWorld, *arguments: str, **environment: str) -> Result:
    """The command on the world's database, as an operator would type it."""
    given = {"BURSAR_DATABASE_URL": world.url, **environment}
    return CliRunner().invoke(bursar, arguments, env=given)


def verifier_key(world: LiveWorld) -> str:
    """The key that signs now."""
    lines = [json.loads(line) for line in run(world, "checkpoint", "keys", "list", "--json").stdout.splitlines()]
    return next(line["verifier_key"] for line in lines if line["current"])


def test_from_a_spend_to_a_proof(world: LiveWorld, tmp_path: Path) -> None:
    """Spend, prove, and check with nothing but the file and the key; the checkpoint is made where none covers it."""
    held = world.hold(world.crawler, "5")
    world.settle(world.crawler, held, "2")
    printed = run(world, "prove", held)
    assert printed.exit_code == 0, printed.output
    file = tmp_path / "proof.json"
    file.write_text(printed.stdout, encoding="utf-8")
    key = verifier_key(world)
    checked = CliRunner().invoke(bursar, ["verify-proof", str(file), "--key", key])
    assert (checked.exit_code, checked.stderr) == (0, "")
    first, *lines, last = checked.stdout.splitlines()
    assert first.startswith("Proved: in the log of bursar/acme-")
    assert f"of {held} after record" in last
    assert [f"  {kind}  {held}" in line for line, kind in zip(lines, KINDS, strict=True)] == [True, True]
    shown = json.loads(
        CliRunner().invoke(bursar, ["verify-proof", "-", "--key", key, "--json"], input=printed.stdout).stdout
    )
    assert (shown["verified"], [record["kind"] for record in shown["records"]]) == (True, ["hold", "settlement"])
    line = run(world, "prove", f"{shown['records'][1]['index']}:0")
    position = CliRunner().invoke(bursar, ["verify-proof", "-", "--key", key, "--json"], input=line.stdout).stdout
    assert json.loads(position)["position"] == 0
    assert len(printed.stdout) < 10_000


def test_a_checkpoint_is_printed(world: LiveWorld) -> None:
    """The note and nothing else; the same one while nothing happens."""
    first = run(world, "checkpoint")
    key = verifier_key(world)
    opened = open_checkpoint(first.stdout, [parse_verifier_key(key)])
    assert opened.checkpoint.size == world.size()
    assert run(world, "checkpoint").stdout == first.stdout
    shown = json.loads(run(world, "checkpoint", "--json").stdout)
    assert (shown["book"], shown["size"], shown["note"]) == ("acme", world.size(), first.stdout)


def test_keys_are_made_and_rotated(world: LiveWorld, tmp_path: Path) -> None:
    """In the database, then in a file; who has neither the file nor the environment signs nothing more."""
    assert "No key signs yet" in run(world, "checkpoint", "keys", "list").stdout
    run(world, "checkpoint")
    first = verifier_key(world)
    rotated = run(world, "checkpoint", "keys", "rotate")
    assert (rotated.exit_code, "signs from record" in rotated.stdout) == (0, True)
    assert verifier_key(world) != first
    both = run(world, "checkpoint")
    assert (
        len(open_checkpoint(both.stdout, [parse_verifier_key(key) for key in (first, verifier_key(world))]).signers)
        == 2
    )
    file = tmp_path / "signing.pem"
    assert run(world, "checkpoint", "keys", "make", "--out", str(file)).exit_code == 0
    again = run(world, "checkpoint", "keys", "make", "--out", str(file))
    assert (again.exit_code, "exists already" in again.stderr) == (2, True)
    moved = run(world, "checkpoint", "keys", "rotate", "--key-file", str(file), "--json")
    assert json.loads(moved.stdout)["verifier_key"] == verifier_key(world)
    world.hold(world.crawler)
    refused = run(world, "checkpoint")
    assert (refused.exit_code, "private half" in refused.stderr) == (1, True)
    for signed in (
        run(world, "checkpoint", "--key-file", str(file)),
        run(world, "checkpoint", BURSAR_CHECKPOINT_KEY=file.read_text(encoding="utf-8").replace("\n", "\\n")),
    ):
        assert signed.exit_code == 0, signed.output
        assert open_checkpoint(signed.stdout, [parse_verifier_key(verifier_key(world))])
    for line in file.read_text(encoding="utf-8").splitlines()[1:-1]:
        assert line not in refused.output + moved.output


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("prove", "nonsense"), 2, "no id of an authorization"),
        (("prove", "auth_00000000000000000000000000"), 1, "there is no authorization"),
        (("prove", "99999"), 1, "there is no record 99999"),
        (("prove", "0:0"), 1, "no transfer at position 0"),
        (("prove", "0", "--url", "https://ledger.example.com"), 2, "BURSAR_API_KEY"),
        (("checkpoint", "--origin", "with space"), 2, "--origin"),
        (("checkpoint", "--origin", "p" * 129), 2, "at most 128 characters"),
        (("checkpoint", "--key-file", "/nonexistent.pem"), 2, "cannot be read"),
        (("checkpoint", "--book", "globex"), 2, 'there is no book "globex"'),
        (("verify-proof", "/nonexistent.json", "--key", "x"), 2, "copy it whole"),
    ],
)
def test_what_is_typed_wrong(world: LiveWorld, arguments: tuple[str, ...], code: int, words: str) -> None:
    """A status and one sentence."""
    result = run(world, *arguments)
    assert result.exit_code == code, result.output
    assert words in result.stderr
    assert "Traceback" not in result.output


# A proof file with one record of a log of two, and every way to spoil it.

PAIR = SigningPair.from_seed(bytes(32))
ORIGIN = "bursar/acme-0123abcd"
BODY = canonical_bytes(
    {"authorization": "auth_1", "index": 0, "kind": "hold", "time": "2026-01-01", "transfers": [["a", "b", "1", "USD"]]}
)
SIBLING = leaf_hash(b"another")


def _file() -> dict[str, Any]:
    from ledger.core.merkle import node_hash

    assert inclusion_spans(0, 2) == [(1, 2)]
    text = Checkpoint(ORIGIN, 2, node_hash(leaf_hash(BODY), SIBLING)).text()
    note = Note(text, (PAIR.sign(ORIGIN, text),)).write()
    about = {"index": 0, "position": 0, "transfer": ["a", "b", "1", "USD"]}
    return proof_content(checkpoint=note, records=[(0, BODY, [SIBLING])], about=about)


def _record(**changed: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content | {"records": [content["records"][0] | changed]}


def _noted(old: str, new: str) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content | {"checkpoint": content["checkpoint"].replace(old, new)}


def _resigned(content: dict[str, Any]) -> dict[str, Any]:
    text = parse_note(content["checkpoint"]).text
    stranger = SigningPair.from_seed(bytes([1] * 32))
    return content | {"checkpoint": Note(text, (stranger.sign(ORIGIN, text),)).write()}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: [], "no proof"),
        (lambda content: content | {"format": "bursar-proof/2"}, "newer version"),
        (lambda content: content | {"records": []}, "no records"),
        (lambda content: content | {"records": [3]}, "no object"),
        (lambda content: content | {"checkpoint": None}, "no checkpoint"),
        (_record(index="0"), "lacks its index"),
        (_record(index=1), "not in the signed log"),
        (_record(index=2), "not covered"),
        (_record(record=BODY.decode().replace('"1"', '"2"')), "not in the signed log"),
        (_record(record="\ud800"), "hashes in hex"),
        (_record(proof=[]), "fewer hashes"),
        (_record(proof=["zz"]), "hashes in hex"),
        (_record(proof=[SIBLING.hex(), SIBLING.hex()]), "more hashes"),
        (_noted("\n2\n", "\n3\n"), "changed after it was signed"),
        (_noted("\n\n", "\n"), "empty line"),
        (_noted("\n\n", "\n\ud800\n\n"), "half a character"),
        (_noted("\u2014 ", "\u2014 \x1b[2J\x1b[HProved"), "printable name"),
        (_resigned, "none of the keys you trust"),
        (lambda content: content | {"about": {"authorization": "auth_2"}}, "is not of 'auth_2'"),
    ],
)
def test_each_way_a_proof_can_fail(change: Callable[[dict[str, Any]], Any], words: str, tmp_path: Path) -> None:
    """Status 1 and a sentence of its own for each."""
    key = PAIR.verifier(ORIGIN)
    right = _file()
    assert check_file(json.dumps(right).encode(), [key]).records[0].body == parse(BODY)
    spoiled = json.dumps(change(right)).encode()
    with pytest.raises(FileInvalid, match=words):
        check_file(spoiled, [key])
    file = tmp_path / "proof.json"
    file.write_bytes(spoiled)
    result = CliRunner().invoke(bursar, ["verify-proof", str(file), "--key", key.text()])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("NOT proved: ")


def test_what_is_no_file_of_json() -> None:
    """Cut off, or something else altogether."""
    key = PAIR.verifier(ORIGIN)
    whole = json.dumps(_file()).encode()
    for spoiled in (whole[:-1], b"", b"\xff", b"[" * 100_000):
        with pytest.raises(FileInvalid, match=r"no JSON|no proof"):
            check_file(spoiled, [key])


def test_a_database_that_was_typed_is_asked(world: LiveWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever server the environment names; a server that was typed is asked, and both together are a mistake."""
    held = world.hold(world.crawler, "5")
    asked: list[str] = []

    @contextmanager
    def remote(url: str, key: str) -> Iterator[Any]:
        asked.append(url)
        raise CannotAsk("it is not there")
        yield

    monkeypatch.setattr(prove_verb, "remote", remote)
    environment = {"BURSAR_URL": "https://ledger.example.com", "BURSAR_API_KEY": "bk_x"}
    typed = CliRunner().invoke(bursar, ["prove", held, "--database-url", world.url], env=environment)
    assert (typed.exit_code, asked) == (0, []), typed.output
    assert run(world, "prove", held, **environment).exit_code == 2
    assert run(world, "prove", held, "--url", "https://a.example.com", "--api-key", "bk_y").exit_code == 2
    assert asked == ["https://ledger.example.com", "https://a.example.com"]
    both = CliRunner().invoke(bursar, ["prove", held, "--database-url", world.url, "--url", "https://a.example.com"])
    assert (both.exit_code, "exclude each other" in both.stderr) == (2, True)
