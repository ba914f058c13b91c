"""Proof files: what a file says it is about is what its signed records say, and nothing in it is shown unchecked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bursar.command import bursar
from ledger.core.canonical import canonical_bytes
from ledger.core.merkle import Frontier, leaf_hash, node_hash
from ledger.core.notes import Checkpoint, Note
from ledger.core.proofs import inclusion_spans, make_proof
from ledger.services.ed25519 import SigningPair
from ledger.services.proof_files import FILE_BYTES_MAX, About, FileInvalid, check_file, proof_content

PAIR = SigningPair.from_seed(bytes(32))
ORIGIN = "bursar/acme-0123abcd"
KEY = PAIR.verifier(ORIGIN)
TRANSFER = ["budgets:research:held", "budgets:research:available", "1", "USD"]


def record(index: int, previous: int | None = None, **more: Any) -> dict[str, Any]:
    """A record of ``auth_1``."""
    body = {"authorization": "auth_1", "index": index, "kind": "settlement", "time": "2026-01-01", **more}
    return body if previous is None else {**body, "previous": previous}


STORY = [record(0, transfers=[TRANSFER, TRANSFER]), record(1, 0), record(2, 1), record(3, 2)]


def made(bodies: list[Any], which: list[int], about: Any) -> dict[str, Any]:
    """A file with some records of a signed log."""
    packed = [canonical_bytes(body) for body in bodies]
    leaves, frontier = [leaf_hash(one) for one in packed], Frontier()
    for leaf in leaves:
        frontier.append(leaf)

    def hash_of(node: tuple[int, int]) -> bytes:
        level, position = node
        hashes = leaves[position << level : (position + 1) << level]
        while len(hashes) > 1:
            hashes = [node_hash(hashes[at], hashes[at + 1]) for at in range(0, len(hashes), 2)]
        return hashes[0]

    text = Checkpoint(ORIGIN, len(bodies), frontier.root()).text()
    return proof_content(
        checkpoint=Note(text, (PAIR.sign(ORIGIN, text),)).write(),
        records=[(at, packed[at], make_proof(inclusion_spans(at, len(bodies)), hash_of)) for at in which],
        about=about,
    )


def check(content: dict[str, Any]) -> About:
    """What the file is about."""
    return check_file(json.dumps(content).encode(), [KEY]).about


def typed(content: dict[str, Any], *more: str) -> Result:
    """The command on a file."""
    return CliRunner().invoke(
        bursar, ["verify-proof", "-", "--key", KEY.text(), *more], input=json.dumps(content), color=True
    )


def test_what_is_true_is_taken() -> None:
    """A story, its beginning, one with a gap that is told, a record, a transfer."""
    whole = {"authorization": "auth_1"}
    assert check(made(STORY, [0, 1, 2, 3], whole)) == About("auth_1")
    assert check(made(STORY, [0, 1], whole)) == About("auth_1")
    gap = whole | {"left_out": {"after": 0, "before": 3}}
    assert check(made(STORY, [0, 3], gap)) == About("auth_1", (0, 3))
    assert check(made(STORY, [2], {"index": 2})) == About()
    line = {"index": 0, "position": 1, "transfer": TRANSFER}
    assert check(made(STORY, [0], line)) == About(position=1, transfer=tuple(TRANSFER))


OTHERS = [record(0), record(1, 0, authorization="auth_2"), record(2, 0)]


@pytest.mark.parametrize(
    ("bodies", "which", "about", "words"),
    [
        (STORY, [0, 2, 3], {"authorization": "auth_1"}, "between 0 and 2 is not in the file"),
        (STORY, [0, 3], {"authorization": "auth_1", "left_out": {"after": 0, "before": 2}}, "does not say so"),
        (STORY, [0, 2, 3], {"authorization": "auth_1", "left_out": "records between 0 and 2"}, "does not say so"),
        (STORY, [0, 1, 2], {"authorization": "auth_1", "left_out": {"after": 0, "before": 1}}, "none was"),
        (STORY, [1, 2, 3], {"authorization": "auth_1"}, "does not begin with the first"),
        (STORY, [0, 1, 1, 2], {"authorization": "auth_1"}, "each once and in the order"),
        (STORY, [0, 2, 1], {"authorization": "auth_1"}, "between 0 and 2"),
        (STORY, [0, 1, 0], {"authorization": "auth_1"}, "each once and in the order"),
        (OTHERS, [0, 1, 2], {"authorization": "auth_1"}, "record 1 is not of 'auth_1'"),
        (OTHERS, [0], {"authorization": ["auth_1"]}, "is not of"),
        (STORY, [0], {"index": 1}, "it is about record 1"),
        (STORY, [0], {"index": False}, "it is about record False"),
        (STORY, [0, 1], {"index": 0}, "it has 0, 1"),
        (STORY, [0], {"index": 1, "position": 0, "transfer": TRANSFER}, "it is about record 1"),
        (STORY, [0], {"index": 0, "position": 2, "transfer": TRANSFER}, "no transfer at position 2"),
        (STORY, [0], {"index": 0, "position": "0", "transfer": TRANSFER}, "no transfer at position '0'"),
        (STORY, [0], {"index": 0, "position": 0, "transfer": [*TRANSFER[:2], "2", "USD"]}, "is another"),
        (STORY, [0], {"index": 0, "position": 0}, "does not say what it is about"),
        (STORY, [0], {"index": 0, "amount": "5"}, "does not say what it is about"),
        (STORY, [0], {}, "does not say what it is about"),
        (STORY, [0], "nothing", "does not say what it is about"),
    ],
)
def test_what_is_false_is_refused(bodies: list[Any], which: list[int], about: Any, words: str) -> None:
    """Records that are in the log prove nothing else than they say."""
    content = made(bodies, which, about)
    with pytest.raises(FileInvalid, match=words):
        check(content)
    result = typed(content)
    assert (result.exit_code, result.stdout) == (1, "")


@pytest.mark.parametrize(
    "body",
    [
        {"index": 0},
        record(0, time=[1]),
        record(0, kind=None),
        record(0, transfers=5),
        record(0, transfers=[5]),
        record(0, transfers=[["a", "b", 1, "USD"]]),
    ],
    ids=repr,
)
def test_what_was_signed_and_is_no_record(body: Any) -> None:
    """An operator can sign anything; it is refused before a word of it is printed."""
    result = typed(made([body], [0], {"index": 0}))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "does not say what a record says" in result.stderr


def test_what_was_left_out_is_shown() -> None:
    """In text and in JSON; and that later records could be missing."""
    content = made(STORY, [0, 3], {"authorization": "auth_1", "left_out": {"after": 0, "before": 3}})
    lines = typed(content).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["Proved:", "record", "LEFT", "record", "What"]
    assert "of auth_1 after record 3" in lines[-1]
    assert json.loads(typed(content, "--json").stdout)["left_out"] == {"after": 0, "before": 3}
    line = typed(made(STORY, [0], {"index": 0, "position": 1, "transfer": TRANSFER}))
    assert "transfer 1: 1 atoms of USD, debit budgets:research:held" in line.stdout


def test_nothing_in_a_file_controls_the_terminal() -> None:
    """Not in what is refused, and not in a record that was signed."""
    escape = "\x1b[2J\x1b[HProved: all good\x1b[8m"
    signed = record(0, kind=escape, time=escape, amount=escape, currency=escape, transfers=[[escape] * 4])
    about = {"index": 0, "position": 0, "transfer": [escape] * 4}
    for content in (
        made([signed], [0], about),
        made(STORY, [0], {"authorization": escape}),
        made(STORY, [0], {"index": 0, "position": escape, "transfer": []}),
    ):
        result = typed(content)
        assert "\x1b" not in result.stdout + result.stderr
        assert "Traceback" not in result.output


def test_a_file_that_never_ends_is_not_read_whole() -> None:
    """One byte more than a proof can have is enough to know."""
    with pytest.raises(FileInvalid, match="longer than"):
        check_file(b" " * (FILE_BYTES_MAX + 1), [KEY])


def test_a_key_that_was_replaced_proves_up_to_its_last_size() -> None:
    """With ``KEY@SIZE``."""
    content = json.dumps(made(STORY, [0], {"index": 0}))
    for size, status in ((4, 0), (3, 1)):
        result = CliRunner().invoke(bursar, ["verify-proof", "-", "--key", f"{KEY.text()}@{size}"], input=content)
        assert result.exit_code == status, result.output
    both = ("--key", KEY.text(), "--key", f"{KEY.text()}@3")
    assert CliRunner().invoke(bursar, ["verify-proof", "-", *both], input=content).exit_code == 1
