"""Statements, and the lines that they are read from, of a book whose beginning is archived."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text

from bench.postgres_server import PostgresServer
from ledger.cli.rebuild import command as rebuild_command
from ledger.core.command import Refund
from ledger.core.invariants import Difference
from ledger.core.statement import parse_scope
from ledger.services.archive_files import MANIFEST, Archives
from ledger.services.lining import Liner, LinesUnavailable
from ledger.services.statements.json_form import write_json
from ledger.services.statements.making import Statements
from ledger.services.verify import verify_books
from ledger.storage.errors import RecordArchived
from tests.support.archived_book import WIDTH, LongBook
from tests.support.databases import postgresql_database

ARCHIVE = "log-000000000000000-000000000000256"
ORDER = {
    "spend_lines": "log_index, position",
    "spend_days": "day, agent, budget, category",
    "spend_holds": "ended_index",
}


@pytest.fixture(scope="module")
def whole(postgres_server: PostgresServer) -> Iterator[LongBook]:
    """The book with its whole log, and with its lines."""
    with postgresql_database(postgres_server) as url:
        made = LongBook(url)
        Liner(made.engine, made.side).catch_up(made.book_id, made.size())
        yield made
        made.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the archive is that ``detached`` lacks. Tests leave it as it is."""
    return tmp_path_factory.mktemp("archives")


@pytest.fixture(scope="module")
def detached(whole: LongBook, place: Path, postgres_server: PostgresServer) -> Iterator[LongBook]:
    """The book without the first partition of its log. Tests leave it as it is."""
    with whole.copied(postgres_server) as made:
        made.archive(place)
        yield made


@pytest.fixture
def shorter(detached: LongBook, postgres_server: PostgresServer) -> Iterator[LongBook]:
    """A book whose first partition is archived in ``place``, for this test alone."""
    with detached.copied(postgres_server) as made:
        yield made


def made(book: LongBook, scope: str, period: str, at_size: int | None = None) -> bytes:
    """A statement as JSON."""
    statements = Statements(book.engine, book.side)
    return b"".join(write_json(statements.make(book.book_id, parse_scope(scope), period, at_size=at_size)))


def rows(book: LongBook) -> dict[str, list[Any]]:
    """Everything that the liner writes of the book."""
    with book.engine.connect() as connection:
        return {
            name: connection.execute(
                text(f"SELECT * FROM {name} WHERE book_id = :book ORDER BY {order}"), {"book": book.book_id}
            ).all()
            for name, order in ORDER.items()
        }


def change(book: LongBook, statement: str) -> None:
    """Change rows behind everybody's back."""
    with book.owner.begin() as connection:
        connection.execute(text(statement), {"book": book.book_id})


def found(book: LongBook, place: Path) -> list[Difference]:
    """What verify says of the book, given the archive."""
    (report,) = verify_books(book.url, book="acme", archives=place)
    return report.differences


def rebuild(book: LongBook, *arguments: str) -> Result:
    """The command, as an operator would type it."""
    return CliRunner().invoke(rebuild_command, ["--database-url", book.url, "--book", "acme", *arguments])


@pytest.mark.parametrize("scope", ["book", "agent:crawler", "budget:research", "budget:once", "payee:openai"])
def test_statements_are_the_same_as_before(whole: LongBook, detached: LongBook, scope: str) -> None:
    """Of the day that is all archived, of one that begins in the archive, of what is here and of everything."""
    size = whole.size()
    for period in (
        "2026-11-02",
        "2026-11-03",
        "2026-11-03..2026-11-04",
        "2026-11",
        "2027-02",
        "2026-01-01..2027-12-31",
    ):
        assert made(detached, scope, period, size) == made(whole, scope, period, size), period
    if scope == "budget:research":
        assert b'"opening":[{"amount":"99997.00","currency":"USD"}]' in made(detached, scope, "2026-11-03", size)


def test_what_needs_the_records_names_the_archive(whole: LongBook, detached: LongBook) -> None:
    """An account's postings, a size in the archive, and a hold that was open at a later one and began in it."""
    account = "account:budgets:research:held"
    assert made(detached, account, "2027-02", whole.size()) == made(whole, account, "2027-02", whole.size())
    for scope, period, size in (
        (account, "2026-11-03", whole.size()),
        ("book", "2026-11-02", WIDTH - 1),
        ("book", "2026-11-02", WIDTH + 10),
    ):
        assert made(whole, scope, period, size)
        with pytest.raises(RecordArchived, match=ARCHIVE):
            made(detached, scope, period, size)
    assert made(detached, "book", "2026-11-02", 2 * WIDTH + 2) == made(whole, "book", "2026-11-02", 2 * WIDTH + 2)


def test_a_correction_of_what_is_archived(shorter: LongBook, place: Path) -> None:
    """Its line goes back to the settlement, told by the lines; a second one too, whose way leads over the first."""
    for amount in ("1", "0.5"):
        refunded = shorter.ledger.do(
            Refund, shorter.finance, authorization=shorter.settled, amount=amount, currency="USD", reason="credit note"
        )
        assert refunded.status.value == "done", refunded
    Liner(shorter.engine, shorter.side).catch_up(shorter.book_id, shorter.size())
    lines = rows(shorter)["spend_lines"]
    (settled,) = (line for line in lines if (line.authorization_id, line.kind) == (shorter.settled, "settlement"))
    assert settled.log_index < WIDTH
    assert [line.corrects for line in lines if line.kind == "refund"] == [settled.log_index] * 2
    assert found(shorter, place) == []
    assert rebuild(shorter, "--archive", str(place)).exit_code == 0
    assert rows(shorter)["spend_lines"] == lines


def test_a_line_of_an_archived_record_is_compared_and_made_again(shorter: LongBook, place: Path) -> None:
    """With the archive; without it, or with one that is not whole, nothing is taken away."""
    right = rows(shorter)
    change(shorter, f"UPDATE spend_lines SET amount = amount + 1 WHERE book_id = :book AND log_index < {WIDTH}")
    wrong = rows(shorter)
    (first, *_) = found(shorter, place)
    assert (first.table, first.column) == ("spend_lines", "amount")
    assert first.log_index is None or first.log_index < WIDTH
    refused = rebuild(shorter)
    assert refused.exit_code == 1
    assert refused.output.splitlines()[-1] == (
        "Error: the first 256 records are in archives, without which their lines cannot be made again: run 'bursar"
        " rebuild --archive DIRECTORY'"
    )
    assert rows(shorter) == wrong
    done = rebuild(shorter, "--archive", str(place))
    assert done.exit_code == 0, done.output
    assert done.output == f"The lines of book acme stand for its {shorter.size()} records again.\n"
    assert rows(shorter) == right
    assert found(shorter, place) == []


def test_an_archive_that_is_not_whole_rebuilds_nothing(shorter: LongBook, place: Path, tmp_path: Path) -> None:
    """It is read to its end before the first line goes."""
    right = rows(shorter)
    copy = tmp_path / ARCHIVE
    copy.mkdir()
    for file in (place / ARCHIVE).iterdir():
        content = bytearray(file.read_bytes())
        if file.name != MANIFEST:
            content[len(content) // 2] ^= 1
        (copy / file.name).write_bytes(content)
    refused = rebuild(shorter, "--archive", str(tmp_path))
    assert (refused.exit_code, "is not the file of which the manifest has the SHA-256" in refused.output) == (1, True)
    assert "there is no archive in" in rebuild(shorter, "--archive", str(tmp_path.parent)).output
    assert rows(shorter) == right


def test_a_server_goes_on_behind_a_rebuild_that_was_killed(shorter: LongBook, place: Path) -> None:
    """It takes away what is left, says what lacks, and goes on from where another rebuild leaves the archive."""
    right = rows(shorter)
    server = Liner(shorter.engine, shorter.side)
    owner = Liner(shorter.engine, shorter.side, Archives(place))
    owner.rebuild(shorter.book_id)
    with pytest.raises(LinesUnavailable, match="run 'bursar rebuild --archive DIRECTORY'"):
        server.catch_up(shorter.book_id, shorter.size())
    assert not any(rows(shorter).values())
    owner.catch_up(shorter.book_id, WIDTH)
    server.catch_up(shorter.book_id, shorter.size())
    assert rows(shorter) == right


def test_lines_without_a_cursor_are_not_taken_away(shorter: LongBook, place: Path) -> None:
    """As they would be where they could be made again."""
    right = rows(shorter)
    change(shorter, "DELETE FROM spend_cursor WHERE book_id = :book")
    with pytest.raises(LinesUnavailable, match="are in archives"):
        Liner(shorter.engine, shorter.side).advance(shorter.book_id)
    assert rows(shorter) == right
    assert rebuild(shorter, "--archive", str(place)).exit_code == 0
    assert rows(shorter) == right
