"""The page `docs/restore.md` does what it says: its commands are run, in its order, on copies of a real database."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.core.notes import parse_checkpoint, parse_note
from ledger.services.verify_against import BAD_SIGNATURE, EXTENDS, FORKED, OLDER, UNKNOWN_KEY, UNPROVED
from ledger.services.witness_state import WitnessState, write_state
from ledger.storage import checkpoint_rows
from ledger.storage.engine import create_engine
from tests.services.signed_book import SignedBook
from tests.support.databases import sqlite_url

PAGE = Path(__file__).resolve().parents[2] / "docs" / "restore.md"
BLOCKS = [
    re.sub(r"^ {0,3}", "", block, flags=re.MULTILINE)
    for block in re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
]
AGAINST, GO_ON, EVIDENCE, WHOLE, SINCE = range(5)


def copy_of(source: Path, target: Path) -> None:
    """A backup."""
    with contextlib.closing(sqlite3.connect(source)) as one, contextlib.closing(sqlite3.connect(target)) as other:
        one.backup(other)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the page takes for given: a database, an older copy, one with another history, and a witness's file."""
    made = tmp_path_factory.mktemp("restore")
    book = SignedBook(sqlite_url(made))
    book.spend(2)
    seen = [book.sign()]
    copy_of(made / "bursar.db", made / "restored.db")
    book.spend(2)
    seen.append(book.sign())
    with book.rewritten(book.size() - 2, note="x"):
        copy_of(made / "bursar.db", made / "other.db")
    engine = create_engine(book.url, pool_size=1)
    with engine.connect() as connection:
        state = WitnessState(keys=[key.verifier() for key in checkpoint_rows.keys(connection, book.world.book_id)])
    engine.dispose()
    for note in seen:
        state.saw(note, parse_checkpoint(parse_note(note).text))
    write_state(made / "acme.witness", state)
    yield made
    book.close()


def run(folder: Path, number: int) -> subprocess.CompletedProcess[str]:
    """Run one block of the page, as an operator would type it."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("BURSAR_")}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", BLOCKS[number]],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment | {"PATH": path},
    )


def test_the_commands_of_the_page(folder: Path) -> None:
    """An older copy is told, gone on from and signed; a rewritten one leaves evidence; a nightly run reads on."""
    older = run(folder, AGAINST)
    assert older.returncode == 1, older.stderr
    assert "acme: acme.witness: OLDER: the log has" in older.stdout
    assert "all that is here is the beginning of the signed log" in older.stdout
    went_on = run(folder, GO_ON)
    assert went_on.returncode == 0, went_on.stderr
    assert "signs from record" in went_on.stdout
    assert parse_checkpoint(parse_note((folder / "restored.txt").read_text(encoding="utf-8")).text).size
    assert run(folder, EVIDENCE).returncode == 0
    evidence = json.loads((folder / "evidence.json").read_text(encoding="utf-8"))
    (told,) = evidence["books"][0]["checkpoints"]
    assert (evidence["agrees"], told["verdict"]) == (False, FORKED)
    assert told["between"][0] < told["between"][1]
    whole = run(folder, WHOLE)
    assert whole.returncode == 0, whole.stderr
    nightly = run(folder, SINCE)
    assert nightly.returncode == 0, nightly.stderr
    assert "were verified by an earlier run and are trusted" in nightly.stdout
    assert "acme: signed.txt: EXTENDS: " in nightly.stdout
    # What was gone on from has a record of its own now, of which the witness's file knows nothing.
    gone_on = run(folder, AGAINST)
    assert gone_on.returncode == 1
    assert "and whether the 1 after them belong to it cannot be known from this" in gone_on.stdout


def test_every_block_is_run() -> None:
    """A block that is added gets a test."""
    assert len(BLOCKS) == 5


def test_every_verdict_is_in_the_table() -> None:
    """With what it means."""
    text = PAGE.read_text(encoding="utf-8")
    for verdict in (EXTENDS, OLDER, FORKED, BAD_SIGNATURE, UNKNOWN_KEY, UNPROVED):
        assert f"| `{verdict.upper().replace('_', ' ')}` |" in text
