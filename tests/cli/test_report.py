"""`bursar report`: from a database, from a server, into files, and what is typed wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from bursar.command import bursar
from ledger.storage.migrate import upgrade
from tests.services.live_world import LiveWorld
from tests.support.databases import sqlite_url


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveWorld]:
    """A book in which 2.00 were spent."""
    url = sqlite_url(tmp_path_factory.mktemp("report"))
    upgrade(url)
    made = LiveWorld(url, "acme")
    made.settle(made.crawler, made.hold(made.crawler, "3"), "2")
    yield made
    made.close()


def run(*arguments: str) -> tuple[int, str, str]:
    """(status, standard output, standard error)."""
    done = CliRunner().invoke(bursar, ["report", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_a_file_tells_its_format_by_its_name(world: LiveWorld, tmp_path: Path) -> None:
    """And has what the terminal is shown, as of any size."""
    out = tmp_path / "agents.csv"
    asked = ("chargeback", "--by", "agent", "--database-url", world.url)
    assert run(*asked, "-o", str(out)) == (0, "", "")
    assert out.read_bytes().splitlines()[1] == b"spend,crawler,USD,1,2.00,100.00"
    status, shown, _ = run(*asked, "--at-size", "3")
    assert status == 0
    assert re.search(r"Spend:\n\(nothing\)", shown)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("profits",), "'profits' is not one of"),
        (("chargeback",), "--by: say what it is by"),
        (("chargeback", "--by", "person"), "--by: "),
        (("income", "--baseline", "v7"), "--baseline: income takes no baseline"),
        (("income", "--period", "soon"), "--period: "),
        (("payables", "--as-of", "2026"), "--as-of: balances are taken at the end of one day"),
        (("budgets", "--days", "0"), "--days"),
        (("income", "--at-size", "999"), "--at-size: the log has"),
        (("income", "--url", "http://127.0.0.1:9"), "BURSAR_API_KEY"),
    ],
)
def test_what_is_typed_wrong_is_said_in_a_sentence(world: LiveWorld, arguments: tuple[str, ...], said: str) -> None:
    """With status 2, and without a traceback."""
    status, shown, error = run(*arguments, "--database-url", world.url)
    assert (status, shown) == (2, "")
    assert said in error
    assert "Traceback" not in error


def test_a_book_that_is_damaged_gets_no_report(world: LiveWorld, tmp_path: Path) -> None:
    """Rows that no longer add up to what was spent: status 1, a sentence, and no file."""
    import sqlite3

    copy = tmp_path / "copy.db"
    with sqlite3.connect(world.url.removeprefix("sqlite:///")) as source, sqlite3.connect(copy) as target:
        source.backup(target)
        target.execute("UPDATE spend_days SET amount = amount + 1")
    out = tmp_path / "income.csv"
    status, _, error = run("income", "--database-url", f"sqlite:///{copy}", "-o", str(out))
    assert status == 1
    assert "run 'bursar verify'" in error
    assert list(tmp_path.glob("*income*")) == []
