"""`bursar statement` and `bursar rebuild`: from a database and from a server, on the terminal and in a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from bursar.command import bursar
from ledger.cli import statement
from ledger.core.statement import Statement, StatementBroken
from ledger.services.statements import formats, pdf_form
from ledger.services.statements.formats import Format
from ledger.services.verify import verify_books
from ledger.storage.engine import create_engine
from ledger.storage.migrate import upgrade
from ledger.storage.queries_log import size_at
from tests.services.live_world import LiveWorld
from tests.support.server import ServerProcess

YEARS = "2020-01-01..2090-12-31"


@pytest.fixture
def world(database_url: str) -> Iterator[LiveWorld]:
    """A book with some spending; at the end it must verify."""
    upgrade(database_url)
    made = LiveWorld(database_url, "acme")
    held = made.hold(made.crawler, "5")
    made.settle(made.crawler, held, "2")
    made.hold(made.crawler, "7")
    yield made
    made.close()
    (report,) = verify_books(database_url, book="acme")
    assert report.verified, [difference.sentence() for difference in report.differences]


def run(world: LiveWorld, *arguments: str, **environment: str) -> Result:
    """The command on the world's database."""
    given = {"BURSAR_DATABASE_URL": world.url, **environment}
    return CliRunner().invoke(bursar, arguments, env=given)


def test_the_terminal_shows_balances_lines_and_holds(world: LiveWorld) -> None:
    done = run(world, "statement", "--budget", "research", "--period", YEARS)
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["Statement", "of", "budget:research", "in", "book", "acme"] in lines
    assert ["Opening", "balance", "0.00", "USD"] in lines
    assert ["Closing", "balance", "98.00", "USD"] in lines
    (settled,) = [line for line in lines if "settlement" in line and "-2.00" in line and len(line) > 5]
    assert settled[-3:] == ["-2.00", "98.00", "USD"]
    assert lines[-1][-2:] == ["7.00", "USD"]
    assert all(line == line.rstrip() for line in done.stdout.splitlines())


def test_the_name_of_the_file_says_the_format(world: LiveWorld, tmp_path: Path) -> None:
    """CSV, JSON and text; --format goes before."""
    for name, other in (("a.csv", None), ("a.json", None), ("a.txt", None), ("a.dat", "json")):
        arguments = ["statement", "--agent", "crawler", "--period", YEARS, "-o", str(tmp_path / name)]
        done = run(world, *arguments, *(["--format", other] if other else []))
        assert (done.exit_code, done.output) == (0, "")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text(encoding="utf-8"), newline="")))
    assert [row["row"] for row in rows] == ["opening", "line", "closing", "hold"]
    said = orjson.loads((tmp_path / "a.json").read_bytes())
    assert said["closing"] == [{"amount": "2.00", "currency": "USD"}]
    assert (tmp_path / "a.dat").read_bytes() == (tmp_path / "a.json").read_bytes()
    assert (tmp_path / "a.txt").read_text(encoding="utf-8").startswith("Statement of agent:crawler")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(("a.", "."))) == [
        "a.csv", "a.dat", "a.json", "a.txt"
    ]  # fmt: skip


def test_documents_for_people(world: LiveWorld, tmp_path: Path) -> None:
    """By the name of the file, for the paper that is asked for."""
    for name, begins in (("a.html", b"<!DOCTYPE html>"), ("a.pdf", b"%PDF-"), ("a.xlsx", b"PK")):
        kept = []
        for paper in ((), ("--paper", "a4"), ("--paper", "letter")):
            done = run(world, "statement", "--period", YEARS, "-o", str(tmp_path / name), *paper)
            assert (done.exit_code, done.output) == (0, "")
            kept.append((tmp_path / name).read_bytes())
        assert kept[0].startswith(begins)
        assert kept[0] == kept[1] != kept[2]
    assert b"size: letter;" in (tmp_path / "a.html").read_bytes()


def test_no_terminal_is_filled_with_what_it_cannot_show(world: LiveWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe takes it."""
    piped = run(world, "statement", "--period", YEARS, "--format", "xlsx")
    assert piped.stdout_bytes.startswith(b"PK")
    monkeypatch.setattr(statement, "_is_terminal", lambda: True)
    refused = run(world, "statement", "--period", YEARS, "--format", "pdf")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "-o statement.pdf" in refused.stderr
    assert run(world, "statement", "--period", YEARS, "--format", "html").exit_code == 0


def test_a_format_that_cannot_take_it_leaves_no_file(
    world: LiveWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pdf_form, "LINES_MAX", 1)
    done = run(world, "statement", "--period", YEARS, "-o", str(tmp_path / "a.pdf"))
    assert done.exit_code == 2
    assert "ask for csv or xlsx" in done.stderr
    assert not list(tmp_path.glob("*a.pdf*"))


def test_a_statement_that_breaks_off_leaves_no_file(
    world: LiveWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the file that was there before stays as it was."""

    def broken(statement: Statement) -> Iterator[bytes]:
        yield b"half of it"
        raise StatementBroken("the lines lead elsewhere")

    monkeypatch.setitem(formats.FORMATS, "csv", Format("csv", "text/csv", "csv", broken))
    file = tmp_path / "a.csv"
    file.write_text("as it was", encoding="utf-8")
    done = run(world, "statement", "--period", YEARS, "-o", str(file))
    assert done.exit_code == 1
    assert "the lines lead elsewhere" in done.stderr
    assert "bursar verify" in done.stderr
    assert file.read_text(encoding="utf-8") == "as it was"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".a.csv")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--period", "november"), "is no period"),
        (("--period", "2026-11", "--budget", "nothing"), "there is no budget nothing"),
        (("--period", "2026-11", "--account", "cash"), "cannot be the name of an account"),
        (("--period", "2026-11", "--budget", "research", "--agent", "crawler"), "a statement is of one thing"),
        (("--period", "2026-11", "--at-size", "1000000"), "the log has"),
        (("--period", "2026-11", "--url", "http://127.0.0.1:1"), "give the key"),
        (("--period", "2026-11", "-o", "/nowhere/at/all/a.csv"), "cannot be written"),
    ],
)
def test_what_was_typed_wrong_is_said(world: LiveWorld, arguments: tuple[str, ...], said: str) -> None:
    done = run(world, "statement", *arguments)
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_names_from_the_environment_narrow_nothing(world: LiveWorld) -> None:
    """An agent's own environment names its run and budget; a statement is of what is typed."""
    done = run(world, "statement", "--period", YEARS, BURSAR_RUN="run-1", BURSAR_BUDGET="research")
    assert done.stdout.startswith("Statement of book in book acme")


def test_a_server_gives_the_same_file(world: LiveWorld, tmp_path: Path) -> None:
    """Through HTTP and from the database, as of the same size."""
    engine = create_engine(world.url)
    with engine.connect() as connection:
        size = str(size_at(connection, world.book_id, 2**60))
    engine.dispose()
    arguments = ["statement", "--budget", "research", "--period", YEARS, "--at-size", size]
    here = run(world, *arguments, "--format", "csv")
    with ServerProcess(world.url, directory=tmp_path) as server:
        key = run(world, "keys", "recover", "--book", "acme").stdout.split()[-1]
        asked = {"BURSAR_URL": server.url, "BURSAR_API_KEY": key}
        there = run(world, *arguments, "--format", "csv", **asked)
        assert there.exit_code == 0, there.output
        assert there.stdout_bytes == here.stdout_bytes
        refused = run(world, "statement", "--budget", "nothing", "--period", YEARS, **asked)
    assert refused.exit_code == 1
    assert "there is no budget nothing" in refused.stderr


def test_rebuild_makes_the_same_lines_again(world: LiveWorld) -> None:
    """What verify finds wrong is right again, and statements say what they said."""
    before = run(world, "statement", "--period", YEARS)
    done = run(world, "rebuild")
    assert done.exit_code == 0, done.output
    assert "stand for its" in done.stdout
    assert run(world, "statement", "--period", YEARS).stdout == before.stdout
