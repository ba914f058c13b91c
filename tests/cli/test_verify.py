"""`bursar verify` as a command: what it prints, and the status that scripts go by."""

from __future__ import annotations

import json
import re
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import SimpleQueue
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from ledger.cli.verify import command
from ledger.services.books import open_new_book
from ledger.services.verify_findings import BookReport
from ledger.services.verify_parallel import ProcessDied, _result
from ledger.storage.engine import create_migration_engine
from ledger.storage.migrate import upgrade


@pytest.fixture
def books_url(database_url: str) -> str:
    """A database with two new books."""
    upgrade(database_url)
    for name in ("acme", "zenith"):
        open_new_book(database_url, name=name, currency="USD", timezone="UTC")
    return database_url


def change(database_url: str, statement: str) -> None:
    """Change the database behind Bursar's back."""
    engine = create_migration_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_right_books_end_with_status_0(books_url: str) -> None:
    """One line for each, with its size and root."""
    result = CliRunner().invoke(command, ["--database-url", books_url])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert len(lines) == 2
    for name, line in zip(("acme", "zenith"), lines, strict=True):
        assert re.fullmatch(rf"{name}: books verified: 2 records, root [0-9a-f]{{64}}", line)


def test_leaves_alone_are_not_said_to_be_the_books(books_url: str) -> None:
    """Whoever looks for the phrase of the whole proof does not find it."""
    result = CliRunner().invoke(command, ["--database-url", books_url, "--leaves-only"])
    assert result.exit_code == 0
    assert result.output.count(": leaves verified: 2 records, root ") == 2
    assert "books verified" not in result.output


def test_a_wrong_book_ends_with_status_1_and_says_where(books_url: str) -> None:
    """The other book is said to be right; alone, it is right."""
    change(books_url, "UPDATE persons SET created_index = 0 WHERE book_id = (SELECT min(book_id) FROM books)")
    result = CliRunner().invoke(command, ["--database-url", books_url])
    assert result.exit_code == 1
    assert (
        "  persons (name=owner) column created_index: is not what the log gives; expected 1, found 0" in result.output
    )
    assert result.output.count("NOT verified: 1 difference in 2 records") == 1
    assert result.output.count("books verified") == 1
    statuses = {
        CliRunner().invoke(command, ["--database-url", books_url, "--book", name]).exit_code
        for name in ("acme", "zenith")
    }
    assert statuses == {0, 1}


def test_json_says_the_same(books_url: str) -> None:
    """One object and nothing else."""
    change(books_url, "DELETE FROM api_keys")
    result = CliRunner().invoke(command, ["--database-url", books_url, "--json", "--limit-differences", "1"])
    assert result.exit_code == 1
    said = json.loads(result.output)
    assert said["verified"] is False
    assert [book["book"] for book in said["books"]] == ["acme", "zenith"]
    for book in said["books"]:
        assert (book["records"], book["complete"]) == (2, False)
        (difference,) = book["differences"]
        assert (difference["table"], difference["what"]) == ("api_keys", "the row is missing")


def test_what_could_not_run_ends_with_status_2(books_url: str, tmp_path: Path) -> None:
    """So that nobody takes it for a wrong book, or for a right one."""
    empty = f"sqlite:///{tmp_path / 'empty.db'}"
    upgrade(empty)
    bare = f"sqlite:///{tmp_path / 'bare.db'}"
    (tmp_path / "bare.db").touch()
    for arguments, said in (
        (["--database-url", books_url, "--book", "nowhere"], 'there is no book "nowhere"'),
        (["--database-url", f"sqlite:///{tmp_path / 'missing.db'}"], "there is no database file"),
        (["--database-url", empty], "this database has no book"),
        (["--database-url", bare], "run 'bursar migrate'"),
        (["--database-url", "mysql://here/there"], "is not supported"),
        (["--database-url", books_url, "--limit-differences", "0"], "limit-differences"),
    ):
        result = CliRunner().invoke(command, arguments)
        assert result.exit_code == 2, arguments
        assert said in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--since", "kept.txt"], "name the directory that it kept with --state, or add --leaves-only"),
        (["--state", "kept", "--leaves-only"], "--leaves-only keeps nothing: leave out --state"),
        (["--against", "not-there.txt"], "not-there.txt cannot be read: No such file"),
        (["--against", "-"], "- cannot be read as a checkpoint"),
        (["--key", "no key"], "--key: a verifier key is written name+id+key"),
    ],
)
def test_what_cannot_be_used_ends_with_status_2(books_url: str, arguments: list[str], words: str) -> None:
    """And says what to change; nothing was verified."""
    result = CliRunner().invoke(command, ["--database-url", books_url, *arguments])
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


def test_several_processes_say_the_same_in_the_same_order(books_url: str) -> None:
    """As one does, but for the time it took; also what is wrong with one book, and what belongs to none."""
    change(books_url, "UPDATE persons SET created_index = 0 WHERE book_id = (SELECT min(book_id) FROM books)")
    change(books_url, "INSERT INTO units SELECT 5, 'stray', 2, 0")

    def said(*arguments: str) -> tuple[int, list[dict[str, object]]]:
        result = CliRunner().invoke(command, ["--database-url", books_url, "--json", *arguments])
        books = json.loads(result.stdout)["books"]
        return result.exit_code, [book | {"seconds": 0} for book in books]

    assert said("--jobs", "1") == said("--jobs", "3")
    assert [book["book"] for book in said("--jobs", "2")[1]] == ["acme", "zenith", ""]


def test_a_process_that_is_ended_is_a_sentence() -> None:
    """As when memory runs out: how to go on with less."""
    future: Future[BookReport] = Future()
    future.set_exception(BrokenProcessPool("a process was terminated"))
    with pytest.raises(ProcessDied, match="verify with --jobs 1"):
        _result(future, SimpleQueue(), None)


@pytest.mark.parametrize("error", [ProcessDied("it was ended"), RuntimeError("oh"), MemoryError(), RecursionError()])
@pytest.mark.parametrize("asked", ["books", "bundle"])
def test_an_error_that_nobody_thought_of_ends_with_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, error: Exception
) -> None:
    """It is named, and never taken for a book that differs, as status 1 would be."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("ledger.services.verify.verify_books", fail)
    monkeypatch.setattr("ledger.services.bundle_verify.verify_bundles", fail)
    file = tmp_path / "books.db"
    file.touch()
    arguments = ["--database-url", f"sqlite:///{file}"] if asked == "books" else ["--bundle", str(file)]
    result = CliRunner().invoke(command, arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert str(error) in result.stderr
    if not isinstance(error, ProcessDied):
        assert f"an error that should not be, {type(error).__name__}" in result.stderr
