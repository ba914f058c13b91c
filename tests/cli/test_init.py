"""`bursar init`, `migrate` and `keys`: what they make, what they print, and what they say when something is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bursar.command import bursar
from ledger.cli.database import books_in
from ledger.services.sources import parse_key
from ledger.storage.engine import create_engine
from ledger.storage.queries_log import records
from tests.support.databases import sqlite_url


def run(*arguments: str, url: str) -> Result:
    """The command with that database, as a user would type it."""
    return CliRunner().invoke(bursar, arguments, env={"BURSAR_DATABASE_URL": url})


def init(url: str, *more: str, book: str = "acme", currency: str = "USD") -> Result:
    """`bursar init` with what it needs."""
    return run("init", "--book", book, "--currency", currency, *more, url=url)


def kinds_in_log(url: str, book_id: int) -> list[str]:
    """The kinds of a book's records, in order."""
    engine = create_engine(url, pool_size=1)
    try:
        with engine.connect() as connection:
            return [record.kind for record in records(connection, book_id, start=0, stop=100)]
    finally:
        engine.dispose()


def test_init_opens_a_book_and_prints_its_admin_key(database_url: str) -> None:
    """An empty database gets its tables, a book, and two records: the book and the key. The JSON is exactly that."""
    result = init(database_url, "--timezone", "Europe/Paris", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    printed = json.loads(result.stdout)
    assert list(printed) == ["book", "admin_key"]
    assert printed["book"] == "acme"
    (book,) = books_in(database_url)
    key = parse_key(printed["admin_key"])
    assert key is not None
    assert (key.book_id, key.role) == (book.book_id, "admin")
    assert kinds_in_log(database_url, book.book_id) == ["book", "key"]


def test_one_database_has_several_books_but_no_name_twice(database_url: str) -> None:
    """A second book is opened beside the first; a third of the same name is refused, and the advice names the way."""
    assert init(database_url).exit_code == 0
    assert init(database_url, book="globex", currency="EUR").exit_code == 0
    again = init(database_url)
    assert again.exit_code == 1
    assert 'a book "acme" exists' in again.stderr
    assert "bursar keys recover --book acme" in again.stderr
    assert [(book.name, book.currency) for book in books_in(database_url)] == [("acme", "USD"), ("globex", "EUR")]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--book", "Acme"), '"Acme" is not a name'),
        (("--book", ""), '"" is not a name'),
        (("--book", "a" * 65), "at most 64 characters"),
        (("--currency", "usd"), '"usd" is not an ISO 4217 currency such as USD'),
        (("--currency", "XXX"), '"XXX" is not an ISO 4217 currency'),
        (("--timezone", "Mars/Olympus"), '"Mars/Olympus" is not a time zone such as Europe/Paris'),
        (("--timezone", "../../etc/passwd"), "is not a time zone"),
        (("--timezone", ""), "is not a time zone"),
        (("--database-url", "mysql://host/books"), "mysql is not supported"),
        (("--database-url", "bursar.db"), "the database URL cannot be read; write sqlite:///FILE"),
        (("--database-url", "sqlite://"), "Bursar keeps SQLite books in a file"),
        (("--database-url", "sqlite:////no/such/directory/bursar.db"), "there is no directory /no/such/directory"),
    ],
)
def test_a_wrong_setting_is_one_sentence_and_touches_nothing(
    tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    """Status 2, one line on standard error that says what to change, and no file left behind."""
    settings = {"--book": "acme", "--currency": "USD", "--timezone": "UTC"} | dict([arguments])
    result = run("init", *(word for pair in settings.items() for word in pair), url=sqlite_url(tmp_path))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert sentence in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    """Not a traceback of the driver."""
    (tmp_path / "bursar.db").write_text("minutes of the meeting\n" * 1000)
    result = init(sqlite_url(tmp_path))
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "file is not a database" in result.stderr


def test_a_server_that_is_away_is_one_sentence() -> None:
    """PostgreSQL that cannot be reached: status 1, and the driver's words on one line."""
    result = init("postgresql://nobody@127.0.0.1:1/books")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "the database cannot be used" in result.stderr


def test_migrate_says_what_is_missing_and_makes_it(database_url: str) -> None:
    """Status 1 while an upgrade is needed, then 0; a second upgrade does nothing."""
    if database_url.startswith("sqlite"):
        assert run("migrate", "--status", url=database_url).exit_code == 1
        Path(database_url.removeprefix("sqlite:///")).touch()
    before = run("migrate", "--status", url=database_url)
    assert (before.exit_code, "no tables yet" in before.stdout) == (1, True)
    upgraded = run("migrate", url=database_url)
    assert (upgraded.exit_code, "Migrated from no tables yet" in upgraded.stdout) == (0, True)
    for arguments in (("migrate",), ("migrate", "--status")):
        after = run(*arguments, url=database_url)
        assert (after.exit_code, "which is current" in after.stdout) == (0, True)


def test_migrate_status_makes_no_file(tmp_path: Path) -> None:
    """Asking about a file with a typing error in its name must not make that file."""
    result = run("migrate", "--status", url=sqlite_url(tmp_path))
    assert (result.exit_code, "there is no database file" in result.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_keys_recover_makes_an_admin_key_on_record(database_url: str) -> None:
    """The key is another than the first, belongs to the owner, and its record says who made it."""
    first = json.loads(init(database_url, "--json").stdout)["admin_key"]
    result = run("keys", "recover", "--book", "acme", "--json", url=database_url)
    printed = json.loads(result.stdout)
    assert (result.exit_code, list(printed), printed["book"]) == (0, ["book", "admin_key"], "acme")
    assert printed["admin_key"] != first
    (book,) = books_in(database_url)
    assert kinds_in_log(database_url, book.book_id) == ["book", "key", "key"]
    listed = [json.loads(line) for line in run("keys", "list", "--json", url=database_url).stdout.splitlines()]
    assert [(key["role"], key["principal"], key["made_by"], key["state"]) for key in listed] == [
        ("admin", "person:owner", "system:database-owner", "valid")
    ] * 2
    text = run("keys", "list", url=database_url).stdout
    assert [line.split()[0] for line in text.splitlines()] == [key["id"] for key in listed]
    assert printed["admin_key"] not in text


def test_keys_ask_which_book_where_there_are_several(tmp_path: Path) -> None:
    """Without --book the only book is meant; with several, or a wrong name, the answer lists them."""
    url = sqlite_url(tmp_path)
    init(url)
    assert run("keys", "recover", url=url).exit_code == 0
    init(url, book="globex")
    for arguments in (("keys", "recover"), ("keys", "list"), ("keys", "recover", "--book", "acne")):
        result = run(*arguments, url=url)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert "acme, globex" in result.stderr


@pytest.mark.parametrize("verb", [("keys", "recover"), ("keys", "list")])
def test_keys_without_a_database_say_so(tmp_path: Path, verb: tuple[str, str]) -> None:
    """No file is made by asking."""
    result = run(*verb, url=sqlite_url(tmp_path))
    assert (result.exit_code, "there is no database file" in result.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_keys_of_a_database_without_tables_or_books_say_what_to_run(tmp_path: Path) -> None:
    """First 'bursar migrate', then 'bursar init'."""
    url = sqlite_url(tmp_path)
    (tmp_path / "bursar.db").touch()
    assert "run 'bursar migrate'" in run("keys", "list", url=url).stderr
    run("migrate", url=url)
    assert "run 'bursar init' first" in run("keys", "list", url=url).stderr


@pytest.mark.parametrize("verb", [("init",), ("migrate",), ("keys", "recover"), ("keys", "list"), ("demo",)])
def test_the_help_of_each_verb_teaches_with_an_example(verb: tuple[str, ...]) -> None:
    """Its example is a command line that starts with the verb itself."""
    result = CliRunner().invoke(bursar, [*verb, "--help"])
    assert result.exit_code == 0
    assert f"\n    bursar {' '.join(verb)}" in result.stdout.replace("\n  bursar", "\n    bursar")
