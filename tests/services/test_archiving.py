"""Old records leave the database: into an archive that is proved first, and everything goes on without them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from sqlalchemy import text

from bench.postgres_server import PostgresServer
from ledger.cli.export import command as export_command
from ledger.cli.partitions import command as partitions_command
from ledger.cli.verify import command as verify_command
from ledger.core.command import Allocate, Authorize, CreateBudget, Release
from ledger.core.outcome import Status
from ledger.core.statement import Scope
from ledger.services.archive_files import MANIFEST, Archive, ArchiveUnfit
from ledger.services.archived_reader import ArchiveNeeded
from ledger.services.archiving import Archiver, DetachRefused
from ledger.services.bundle_import import Imported, import_bundles
from ledger.services.checkpoints import CheckpointSettings
from ledger.services.explaining import explain
from ledger.services.lining import LinesUnavailable
from ledger.services.owner_checkpoints import owner_desk
from ledger.services.proving import Prover
from ledger.services.statements.making import Statements
from ledger.services.tiling import Tiler
from ledger.services.verify import verify_books
from ledger.storage import archive_rows, partitioning, queries_accounts, queries_filling, queries_log
from ledger.storage.engine import connection_info, create_engine, create_migration_engine, parse_url
from ledger.storage.errors import RecordArchived
from ledger.storage.migrate import upgrade
from ledger.storage.side_writer import SideWriter
from tests.support.databases import postgresql_database
from tests.support.every_kind import LiveLedger

WIDTH = 256
DAY = 86_400


class World:
    """A book whose log is in its fourth partition, the last of it a hundred days younger, and a small one beside."""

    def __init__(self, url: str) -> None:
        self.url = url
        upgrade(url, partition_records=WIDTH)
        self.ledger = LiveLedger(url)
        self.crawler = self.ledger.agent("crawler")
        self.ledger.budget("research", "100000", "crawler")
        self.once = self.ledger.do(CreateBudget, self.ledger.admin, name="once", currency="USD", agents=())
        self.ledger.do(Allocate, self.ledger.admin, budget="once", amount="7", currency="USD")
        self.replayed = self.ledger.command(Authorize, self.crawler, **self.asked(), idempotency_key="long ago")
        self.first = str((self.ledger.decide(self.replayed)[0].body or {})["authorization"])
        self.ledger.do(Release, self.crawler, authorization=self.first)
        self.spend(2 * WIDTH)
        self.before = self.ledger.sources.now
        self.ledger.advance(100 * DAY)
        self.spend(3 * WIDTH + 40)
        self.tiny = LiveLedger(url, "tiny")
        self.tiny.sources.now = self.ledger.sources.now
        self.tiny.agent("reader")
        self.engine = create_engine(url)
        self.owner = create_migration_engine(url)
        self.side = SideWriter(url)

    @staticmethod
    def asked() -> dict[str, str]:
        return {"amount": "1", "currency": "USD", "category": "inference", "payee": "openai"}

    @property
    def book_id(self) -> int:
        return self.ledger.book.book_id

    def size(self) -> int:
        with create_engine(self.url).connect() as connection:
            head = queries_log.head(connection, self.book_id)
        assert head is not None
        return head.size

    def spend(self, until: int) -> None:
        """Hold and release until the log has so many records."""
        while (left := until - self.size()) > 0:
            asked = [
                self.ledger.command(Authorize, self.crawler, **self.asked()) for _ in range(min(50, -(-left // 2)))
            ]
            made = [str((one.body or {})["authorization"]) for one in self.ledger.decide(*asked)]
            self.ledger.decide(*(self.ledger.command(Release, self.crawler, authorization=one) for one in made))

    def sign(self, ledger: LiveLedger | None = None) -> Any:
        book = (ledger or self.ledger).book.book_id
        with owner_desk(self.url, CheckpointSettings(), sources=self.ledger.sources) as desk:
            return desk.checkpointer.make(book)

    def archiver(self, **options: Any) -> Archiver:
        return Archiver(self.engine, self.owner, self.side, now=self.ledger.sources.now, **options)

    def tables(self) -> set[str]:
        with self.owner.connect() as connection:
            return set(connection.execute(text("SELECT relname FROM pg_class WHERE relkind = 'r'")).scalars())

    def close(self) -> None:
        self.tiny.close()
        self.ledger.close()
        self.side.close()
        self.engine.dispose()
        self.owner.dispose()


@pytest.fixture(scope="module")
def world(postgres_server: PostgresServer) -> Iterator[World]:
    """Shared by the tests below, which run in their order: from a whole log to one whose beginning is archived."""
    with postgresql_database(postgres_server) as url:
        made = World(url)
        yield made
        made.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where archives are kept."""
    return tmp_path_factory.mktemp("archives")


def test_the_lowest_full_partition_is_written_and_the_same_again(world: World, place: Path, tmp_path: Path) -> None:
    """Only books that have filled it; twice the same bytes; nothing is written over."""
    archiver = world.archiver()
    part = archiver.next_range()
    assert (part.low, part.high) == (0, WIDTH)
    written, (span,) = archiver.export(part, place)
    assert (span.name, span.start, span.stop) == ("acme", 0, WIDTH)
    again, _ = archiver.export(part, tmp_path)
    for file in (MANIFEST, "log_records.parquet", "transfers.parquet"):
        assert (written / file).read_bytes() == (again / file).read_bytes()
    with pytest.raises(ArchiveUnfit, match="not written over"):
        archiver.export(part, place)
    assert [one.name for one in place.iterdir()] == ["log-000000000000000-000000000000256"]


@pytest.mark.parametrize("file", [MANIFEST, "log_records.parquet", "transfers.parquet"])
def test_a_changed_archive_is_found(world: World, place: Path, tmp_path: Path, file: str) -> None:
    """A byte of any file; nothing is detached with it."""
    world.archiver().export(world.archiver().next_range(), tmp_path)
    (written,) = tmp_path.iterdir()
    content = bytearray((written / file).read_bytes())
    content[len(content) // 2] ^= 1
    (written / file).write_bytes(content)
    with pytest.raises((ArchiveUnfit, DetachRefused)):
        world.archiver().detach(world.archiver().next_range(), tmp_path, drop=True)
    assert "log_records_p0" in world.tables()


def test_an_archive_of_other_records_is_found(world: World, tmp_path: Path) -> None:
    """Whole in itself, and not what stands in the database."""
    world.archiver().export(world.archiver().next_range(), tmp_path)
    with psycopg.connect(connection_info(parse_url(world.url)), autocommit=True) as connection:
        connection.execute("ALTER TABLE transfers DISABLE TRIGGER USER")
        changed = "UPDATE transfers SET effective_at = effective_at + %s WHERE log_index = 5"
        connection.execute(changed, (1,))
        try:
            with pytest.raises(DetachRefused, match="are not those of the database"):
                world.archiver().detach(world.archiver().next_range(), tmp_path, drop=True)
        finally:
            connection.execute(changed, (-1,))
            connection.execute("ALTER TABLE transfers ENABLE TRIGGER USER")


def test_what_stands_in_the_way_is_told(world: World, place: Path) -> None:
    """One reason after another, and nothing is changed by any."""
    archiver = world.archiver()
    part = archiver.next_range()

    def refused(archiver: Archiver) -> str:
        with pytest.raises(DetachRefused) as told:
            archiver.detach(part, place, drop=False)
        return str(told.value)

    assert "records of the last 101 days" in refused(world.archiver(kept_days=101))
    assert "no checkpoint covers it" in refused(archiver)
    world.sign()
    with world.owner.begin() as connection:
        row = {"book": world.book_id, "id": world.first}
        reopened = "UPDATE authorizations SET state = :state WHERE book_id = :book AND id = :id"
        connection.execute(text(reopened), row | {"state": "held"})
    assert f"{world.first} is still open" in refused(archiver)
    with world.owner.begin() as connection:
        connection.execute(text(reopened), row | {"state": "released"})
        connection.execute(text("INSERT INTO watch_cursors VALUES (:book, 200, '', 0, 0)"), row)
    assert "alerts have not been looked for" in refused(archiver)
    with world.owner.begin() as connection:
        connection.execute(text("DELETE FROM watch_cursors"))
    assert {"log_records_p0", "transfers_p0"} <= world.tables()
    with world.engine.connect() as connection:
        assert archive_rows.ranges(connection, world.book_id) == []


def test_the_beginning_is_detached(world: World, place: Path) -> None:
    """The big book's records go; the small one keeps its own, which were in the same partition."""
    with world.engine.connect() as connection:
        world.size_before = queries_log.head(connection, world.book_id)
    done = world.archiver().detach(world.archiver().next_range(), place, drop=False)
    assert done.books == ["acme"]
    assert done.kept == {"tiny": "its log has not filled this partition"}
    assert set(done.tables) <= world.tables()
    with world.engine.connect() as connection:
        counted = text("SELECT count(*) FROM log_records WHERE book_id = :book AND log_index < 256")
        assert connection.execute(counted, {"book": world.book_id}).scalar_one() == 0
        assert connection.execute(counted, {"book": world.tiny.book.book_id}).scalar_one() > 0
        (part,) = archive_rows.ranges(connection, world.book_id)
        assert (part.start, part.stop, part.name) == (0, WIDTH, done.archive)
        assert archive_rows.ranges(connection, world.tiny.book.book_id) == []
        lows = [one.low for one in partitioning.partitions(connection)]
    assert lows[:3] == [0, WIDTH, 2 * WIDTH]
    for table in (*done.tables, "log_records_p0"):
        for verb in (f"DELETE FROM {table}", f"TRUNCATE {table}"):
            with world.owner.connect() as connection, pytest.raises(Exception, match="append-only"):
                connection.execute(text(verb))


def test_deciding_goes_on(world: World) -> None:
    """In the big book, in the small one whose records moved, and in one that is opened only now."""
    size = world.size()
    world.spend(size + 6)
    assert world.size() >= size + 6
    world.tiny.agent("writer")
    later = LiveLedger(world.url, "later")
    later.agent("reader")
    later.close()
    assert [report.name for report in verify_books(world.url, book="later")] == ["later"]


def test_a_request_from_before_is_neither_repeated_nor_decided_anew(world: World) -> None:
    """Its key is still bound: another request under it is told so, and the same is told that the answer is archived."""
    size = world.size()
    (again,) = world.ledger.decide(world.replayed)
    assert again.status is Status.RECORD_ARCHIVED
    assert "which answered this, has been archived" in again.detail
    other = world.ledger.command(
        Authorize, world.crawler, **(world.asked() | {"amount": "2"}), idempotency_key="long ago"
    )
    assert world.ledger.decide(other)[0].status is Status.IDEMPOTENCY_MISMATCH
    assert world.size() == size


def test_proofs_go_on(world: World) -> None:
    """Inclusion of an archived record from its tile, and consistency from a size within the archive."""
    prover = Prover(world.engine, Tiler(world.engine, world.side))
    for index in (0, 100, WIDTH - 1, WIDTH, 3 * WIDTH + 1):
        assert prover.inclusion(world.book_id, index).index == index
    assert prover.inclusion(world.book_id, 17, 200).size == 200
    for first in (1, 100, WIDTH, WIDTH + 1, 2 * WIDTH):
        assert prover.consistency(world.book_id, first).first == first
    signed = world.sign()
    assert signed.size == world.size()


def test_balances_go_on(world: World) -> None:
    """Now, and at past moments that are not archived, also of an account whose last transfer is."""
    with world.engine.connect() as connection:
        once = queries_accounts.account(connection, world.book_id, "budgets:once:available", "USD")
        research = queries_accounts.account(connection, world.book_id, "budgets:research:held", "USD")
        assert once is not None
        assert research is not None
        assert abs(queries_accounts.balance_at_size(connection, world.book_id, once.account_no, 3 * WIDTH)) == 7 * 10**9
        assert queries_accounts.balance_at_size(connection, world.book_id, once.account_no, WIDTH) == once.balance
        assert queries_accounts.balance_at(connection, world.book_id, once.account_no, world.before) == once.balance
        with pytest.raises(RecordArchived, match="log-000000000000000"):
            queries_accounts.balance_at_size(connection, world.book_id, once.account_no, WIDTH - 1)
        with pytest.raises(RecordArchived):
            queries_accounts.balance_at(connection, world.book_id, once.account_no, world.before - 10**12)
        # The first transfer that is still here tells what stood before it.
        nothing_here = text(
            "SELECT min(log_index) FROM transfers WHERE book_id = :book AND :no IN (debit_no, credit_no)"
        )
        first = connection.execute(nothing_here, {"book": world.book_id, "no": research.account_no}).scalar_one()
        assert first >= WIDTH
        told = queries_accounts.balance_at_size(connection, world.book_id, research.account_no, first)
        before = text(
            "SELECT CASE WHEN debit_no = :no THEN debit_balance - amount ELSE credit_balance + amount END"
            " FROM transfers WHERE book_id = :book AND log_index = :first AND :no IN (debit_no, credit_no)"
            " ORDER BY position LIMIT 1"
        )
        values = {"book": world.book_id, "no": research.account_no, "first": first}
        assert told == connection.execute(before, values).scalar_one()


def test_statements_go_on(world: World) -> None:
    """Their lines were written before the records went, and are not taken away, because they could not be made again;
    what needs the records themselves names the archive."""
    statements = Statements(world.engine, world.side)
    made = statements.make(world.book_id, Scope("agent", "crawler"), "2026")
    assert made.totals().closing == {"USD": 0}
    assert list(made.holds()) == []
    with pytest.raises(LinesUnavailable, match="are in archives"):
        statements.liner.rebuild(world.book_id)
    with pytest.raises(RecordArchived, match="archive"):
        statements.make(world.book_id, Scope("agent", "crawler"), "2026", at_size=100)


def test_reads_that_need_the_archive_name_it(world: World) -> None:
    """None answers with less than there was."""
    with world.engine.connect() as connection:
        calls = (
            lambda: queries_log.record(connection, world.book_id, 5),
            lambda: queries_log.list_records(connection, world.book_id),
            lambda: queries_log.size_at(connection, world.book_id, world.before - 10**12),
            lambda: queries_filling.first_index_at(connection, world.book_id, 0),
            lambda: queries_filling.bodies_at(connection, world.book_id, [3]),
            lambda: explain(connection, world.book_id, world.first),
            lambda: queries_accounts.list_postings(connection, world.book_id, 1, newest_first=False),
        )
        for call in calls:
            with pytest.raises(RecordArchived, match="log-000000000000000-000000000000256"):
                call()
        assert queries_log.record(connection, world.book_id, WIDTH) is not None
        assert queries_log.list_records(connection, world.book_id, start=WIDTH, limit=3).items[0].log_index == WIDTH
        newest = queries_log.list_records(connection, world.book_id, newest_first=True, after=WIDTH + 2, limit=50)
        assert [record.log_index for record in newest.items] == [WIDTH + 1, WIDTH]


def test_verify_reads_the_archive(world: World, place: Path) -> None:
    """With it everything is proved; without it, or with another, it says which one is needed."""
    with pytest.raises(ArchiveNeeded, match="log-000000000000000-000000000000256"):
        list(verify_books(world.url, book="acme"))
    for leaves_only in (True, False):
        (report,) = verify_books(world.url, book="acme", archives=place, leaves_only=leaves_only)
        assert report.verified, report.differences
        assert report.records == world.size()
    (tiny,) = verify_books(world.url, book="tiny")
    assert tiny.verified
    said = CliRunner().invoke(verify_command, ["--database-url", world.url, "--book", "acme"])
    assert (said.exit_code, "--archive DIRECTORY" in said.output) == (2, True)
    said = CliRunner().invoke(verify_command, ["--database-url", world.url, "--archive", str(place)])
    assert said.exit_code == 0, said.output


def test_a_bundle_takes_records_from_the_archive(
    world: World, place: Path, tmp_path: Path, postgres_server: PostgresServer
) -> None:
    """A whole book again, which is imported into a database whose partitions are made for it; a span behind the archive
    needs none."""
    world.sign()
    base = ["--database-url", world.url, "--book", "acme"]
    refused = CliRunner().invoke(export_command, [str(tmp_path / "a.tar.gz"), *base])
    assert (refused.exit_code, "give --archive DIRECTORY" in refused.output) == (2, True)
    assert list(tmp_path.iterdir()) == []
    whole, span = tmp_path / "a.tar.gz", tmp_path / "b.tar.gz"
    done = CliRunner().invoke(export_command, [str(whole), *base, "--archive", str(place)])
    assert done.exit_code == 0, done.output
    behind = CliRunner().invoke(export_command, [str(span), *base, "--from", str(WIDTH)])
    assert behind.exit_code == 0, behind.output
    with postgresql_database(postgres_server) as url:
        upgrade(url, partition_records=256)
        imported = import_bundles([whole], url)
        assert isinstance(imported, Imported)
        (report,) = verify_books(url)
        assert report.verified, report.differences
        assert report.records == world.size()
        owner = create_migration_engine(url)
        with owner.connect() as connection:
            assert partitioning.partitions(connection)[-1].high >= world.size()
        owner.dispose()


def test_records_that_come_back_are_found(world: World, place: Path) -> None:
    """A record in the archive's range that nobody put back is nobody's."""
    with psycopg.connect(connection_info(parse_url(world.url)), autocommit=True) as connection:
        made = "INSERT INTO log_records SELECT book_id, 9, kind, subject, recorded_at, effective_at, body, leaf_hash"
        connection.execute(f"{made} FROM log_records WHERE book_id = %s AND log_index = 300", (world.book_id,))
        (report,) = verify_books(world.url, book="acme", archives=place)
        connection.execute("ALTER TABLE log_records DISABLE TRIGGER USER")
        connection.execute("DELETE FROM log_records WHERE book_id = %s AND log_index = 9", (world.book_id,))
        connection.execute("ALTER TABLE log_records ENABLE TRIGGER USER")
    assert not report.verified
    assert "record 9 stands in the database and in the archive" in report.differences[0].sentence()


def test_an_archive_that_is_changed_later_is_found(world: World, place: Path, tmp_path: Path) -> None:
    """By its files, and by verify, whose root it no longer leads to."""
    pages = Archive(next(place.iterdir()))
    assert pages.books[world.book_id].name == "acme"
    copy = tmp_path / pages.name
    copy.mkdir()
    for file in pages.directory.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["books"][0]["name"] = "other"
    (copy / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ArchiveUnfit, match="none of the archives given"):
        list(verify_books(world.url, book="acme", archives=tmp_path))


def test_the_next_one_goes_too_and_its_tables_at_once(world: World, place: Path) -> None:
    """In order, as a beginning without a gap; the command says what it did."""
    archiver = world.archiver()
    part = archiver.next_range()
    assert (part.low, part.high) == (WIDTH, 2 * WIDTH)
    archiver.export(part, place)
    done = archiver.detach(part, place, drop=True)
    assert (done.dropped, done.books) == (True, ["acme"])
    assert not set(done.tables) & world.tables()
    (report,) = verify_books(world.url, book="acme", archives=place)
    assert report.verified, report.differences
    assert Prover(world.engine, Tiler(world.engine, world.side)).consistency(world.book_id, 300).first == 300
    archiver.export(archiver.next_range(), place)
    with pytest.raises(DetachRefused, match="last 90 days"):
        archiver.detach(archiver.next_range(), place, drop=True)
    said = CliRunner().invoke(partitions_command, ["check", str(place)])
    assert (said.exit_code, said.output.count("whole")) == (0, 3)
    said = CliRunner().invoke(partitions_command, ["list", "--database-url", world.url])
    assert "in use" in said.output
    said = CliRunner().invoke(partitions_command, ["detach", "--database-url", world.url, "--from", str(place)])
    assert (said.exit_code, "nothing can be detached" in said.output) == (1, True), said.output


def test_a_migration_back_is_refused(world: World) -> None:
    """The tables before cannot do without the records."""
    from tests.storage.test_partitions import move

    with pytest.raises(ValueError, match="was archived"):
        move(world.owner, "0006")


def test_sqlite_has_no_partitions(tmp_path: Path) -> None:
    """And says so, with status 2."""
    url = f"sqlite:///{tmp_path}/b.db"
    upgrade(url)
    said = CliRunner().invoke(partitions_command, ["list", "--database-url", url])
    assert (said.exit_code, "one table" in said.output) == (2, True)
