"""`bursar journal`: from a database and from a server, whole and since the last time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bursar.command import bursar
from ledger.services.journal.formats import FORMATS
from ledger.storage.migrate import upgrade
from tests.services.live_world import LiveWorld
from tests.support import plain_text
from tests.support.databases import sqlite_url
from tests.support.server import ServerProcess


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LiveWorld]:
    """A book with some spending."""
    url = sqlite_url(tmp_path)
    upgrade(url)
    made = LiveWorld(url, "acme")
    spend(made)
    yield made
    made.close()


def spend(world: LiveWorld) -> None:
    """One more call."""
    world.settle(world.crawler, world.hold(world.crawler, "5"), "2")


def run(world: LiveWorld, *arguments: str, **environment: str) -> Result:
    """The command on the world's database."""
    given = {"BURSAR_DATABASE_URL": world.url, **environment}
    return CliRunner().invoke(bursar, ["journal", *arguments], env=given)


def test_the_name_of_the_file_says_the_format(world: LiveWorld, tmp_path: Path) -> None:
    for form in ("beancount", "hledger", "csv", "focus-parquet", "otel-ndjson"):
        by_name, by_option = tmp_path / f"a.{FORMATS[form].suffix}", tmp_path / "b"
        for out, more in ((by_name, []), (by_option, ["--format", form])):
            done = run(world, "-o", str(out), *more)
            assert (done.exit_code, done.stdout) == (0, "")
            assert "carries on with --since " in done.stderr
        assert by_name.read_bytes() == by_option.read_bytes()
    assert plain_text.bean_check(tmp_path / "a.beancount") == (0, "")
    done = run(world)
    assert (done.exit_code, "--format" in done.stderr) == (2, True)


def test_pieces_with_a_cursor_file(world: LiveWorld, tmp_path: Path) -> None:
    """Each run writes what came since and moves the cursor; with nothing new it ends with 3 and writes nothing."""
    kept, pieces = tmp_path / "journal.cursor", b""
    for number in range(3):
        out = tmp_path / f"{number}.beancount"
        done = run(world, "--cursor-file", str(kept), "-o", str(out))
        assert done.exit_code == 0, done.output
        assert kept.read_text(encoding="utf-8").strip() in done.stderr
        pieces += out.read_bytes()
        spend(world)
    size = kept.read_text(encoding="utf-8").partition(":")[0]
    whole = run(world, "--format", "beancount", "--balances", "without", "--at-size", size)
    assert whole.stdout_bytes == pieces
    run(world, "--cursor-file", str(kept), "-o", str(tmp_path / "3.beancount"))
    before = kept.read_bytes()
    done = run(world, "--cursor-file", str(kept), "-o", str(tmp_path / "4.beancount"))
    assert (done.exit_code, "nothing was recorded" in done.stderr) == (3, True)
    assert not (tmp_path / "4.beancount").exists()
    assert kept.read_bytes() == before


def test_a_cursor_moves_only_once_all_is_written(
    world: LiveWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that breaks off leaves neither a file nor a cursor."""

    def broken(journal: object) -> Iterator[bytes]:
        yield b"begun"
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(FORMATS, "csv", FORMATS["csv"]._replace(write=broken))
    out, kept = tmp_path / "a.csv", tmp_path / "a.cursor"
    done = run(world, "--cursor-file", str(kept), "-o", str(out))
    assert (done.exit_code, "No space left" in done.stderr) == (1, True)
    assert [path.name for path in tmp_path.iterdir() if "csv" in path.name or "cursor" in path.name] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "csv", "--since", "4"], "is no cursor"),
        (["--format", "csv", "--since", "1:" + "0" * 64], "does not begin with"),
        (["--format", "csv", "--since", "beginning", "--cursor-file", "x"], "both say where"),
        (["--format", "csv", "--period", "2026-00"], "is no period"),
        (["--format", "csv", "--balances", "only"], "only beancount, hledger have balances"),
        (["--format", "beancount", "--balances", "with", "--since", "beginning"], "a piece has none"),
        (["--format", "csv", "--at-size", "999"], "at_size is from 1 to"),
        (["--format", "csv", "--url", "http://127.0.0.1:9"], "give the key"),
    ],
)
def test_what_cannot_be_asked_says_what_to_change(world: LiveWorld, arguments: list[str], said: str) -> None:
    done = run(world, *arguments)
    assert done.exit_code == 2, done.output
    assert said in done.stderr


def test_a_cursor_file_with_something_else_in_it(world: LiveWorld, tmp_path: Path) -> None:
    """It is named, and left as it is."""
    kept = tmp_path / "kept"
    kept.write_text("hello\n", encoding="utf-8")
    done = run(world, "--format", "csv", "--cursor-file", str(kept))
    assert (done.exit_code, str(kept) in done.stderr) == (2, True)
    assert kept.read_text(encoding="utf-8") == "hello\n"


def test_tables_that_were_changed_give_an_error(world: LiveWorld, tmp_path: Path) -> None:
    file = sqlite3.connect(tmp_path / "bursar.db", isolation_level=None)
    file.execute("DROP TRIGGER transfers_no_update")
    file.execute("UPDATE transfers SET amount = amount + 1 WHERE position = 0")
    file.close()
    done = run(world, "--format", "csv", "-o", str(tmp_path / "a.csv"))
    assert (done.exit_code, "run 'bursar verify'" in done.stderr) == (1, True)
    assert not (tmp_path / "a.csv").exists()


def test_a_server_says_the_same(world: LiveWorld, tmp_path: Path) -> None:
    """With a key that reads all; and the cursor of one carries on with the other."""
    with ServerProcess(world.url, directory=tmp_path) as server:
        recovered = CliRunner().invoke(bursar, ["keys", "recover", "--database-url", world.url, "--book", "acme"])
        key = recovered.stdout.split()[-1]
        on = {"BURSAR_URL": server.url, "BURSAR_API_KEY": key}
        for form in FORMATS:
            assert run(world, "--format", form, **on).stdout_bytes == run(world, "--format", form).stdout_bytes
        kept = tmp_path / "kept"
        done = run(world, "--format", "hledger", "--no-header", **on)
        assert (done.exit_code, "header" in done.stderr) == (1, True)
        done = run(world, "--format", "csv", "--header", "--cursor-file", str(kept), **on)
        assert done.exit_code == 0, done.output
        assert run(world, "--format", "csv", "--cursor-file", str(kept)).exit_code == 3
        assert run(world, "--format", "csv", "--cursor-file", str(kept), **on).exit_code == 3
