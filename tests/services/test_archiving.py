"""Old records leave the database: into an archive that is proved first, and everything goes on without them.

Of statements that is told in ``test_archived_statements``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text

from bench.postgres_server import PostgresServer
from ledger.cli.export import command as export_command
from ledger.cli.partitions import command as partitions_command
from ledger.cli.redact import command as redact_command
from ledger.cli.replay import command as replay_command
from ledger.cli.verify import command as verify_command
from ledger.core.command import Authorize
from ledger.core.outcome import Status
from ledger.services.archive_files import MANIFEST, Archive, ArchiveUnfit
from ledger.services.archived_reader import ArchiveNeeded
from ledger.services.archiving import Archiver, DetachRefused
from ledger.services.bundle_import import Imported, import_bundles
from ledger.services.explaining import explain
from ledger.services.proving import Prover
from ledger.services.replaying import Bound, replay_books
from ledger.services.tiling import Tiler
from ledger.services.verify import verify_books
from ledger.storage import archive_rows, partitioning, queries_accounts, queries_filling, queries_log
from ledger.storage.engine import connection_info, create_migration_engine, parse_url
from ledger.storage.errors import RecordArchived
from ledger.storage.migrate import upgrade
from tests.support.archived_book import ASKED, WIDTH, LongBook
from tests.support.databases import postgresql_database
from tests.support.every_kind import LiveLedger

ARCHIVE = "log-000000000000000-000000000000256"


@pytest.fixture(scope="module")
def whole(postgres_server: PostgresServer) -> Iterator[LongBook]:
    """The book with its whole log. Tests leave it as it is; one that changes it asks for ``world``."""
    with postgresql_database(postgres_server) as url:
        made = LongBook(url)
        yield made
        made.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the archive is that ``detached`` lacks. Tests leave it as it is."""
    return tmp_path_factory.mktemp("archives")


@pytest.fixture(scope="module")
def detached(whole: LongBook, place: Path, postgres_server: PostgresServer) -> Iterator[LongBook]:
    """The book without the first partition of its log. Tests leave it as it is; one that changes it asks for
    ``shorter``."""
    with whole.copied(postgres_server) as made:
        made.archive(place)
        yield made


@pytest.fixture
def world(whole: LongBook, postgres_server: PostgresServer) -> Iterator[LongBook]:
    """A book with its whole log, for this test alone."""
    with whole.copied(postgres_server) as made:
        yield made


@pytest.fixture
def shorter(detached: LongBook, postgres_server: PostgresServer) -> Iterator[LongBook]:
    """A book whose first partition is archived in ``place``, for this test alone."""
    with detached.copied(postgres_server) as made:
        yield made


def test_the_lowest_full_partition_is_written_and_the_same_again(whole: LongBook, tmp_path: Path) -> None:
    """Only books that have filled it; twice the same bytes; nothing is written over."""
    archiver = whole.archiver()
    part = archiver.next_range()
    assert (part.low, part.high) == (0, WIDTH)
    first, second = tmp_path / "first", tmp_path / "second"
    written, (span,) = archiver.export(part, first)
    assert (span.name, span.start, span.stop) == ("acme", 0, WIDTH)
    again, _ = archiver.export(part, second)
    for file in (MANIFEST, "log_records.parquet", "transfers.parquet"):
        assert (written / file).read_bytes() == (again / file).read_bytes()
    with pytest.raises(ArchiveUnfit, match="not written over"):
        archiver.export(part, first)
    assert [one.name for one in first.iterdir()] == [ARCHIVE]


@pytest.mark.parametrize("file", [MANIFEST, "log_records.parquet", "transfers.parquet"])
def test_a_changed_archive_is_found(whole: LongBook, tmp_path: Path, file: str) -> None:
    """A byte of any file; nothing is detached with it."""
    whole.archiver().export(whole.archiver().next_range(), tmp_path)
    (written,) = tmp_path.iterdir()
    content = bytearray((written / file).read_bytes())
    content[len(content) // 2] ^= 1
    (written / file).write_bytes(content)
    with pytest.raises((ArchiveUnfit, DetachRefused)):
        whole.archiver().detach(whole.archiver().next_range(), tmp_path, drop=True)
    assert "log_records_p0" in whole.tables()


def test_an_archive_of_other_records_is_found(whole: LongBook, tmp_path: Path) -> None:
    """Whole in itself, and not what stands in the database."""
    whole.archiver().export(whole.archiver().next_range(), tmp_path)
    with psycopg.connect(connection_info(parse_url(whole.url)), autocommit=True) as connection:
        connection.execute("ALTER TABLE transfers DISABLE TRIGGER USER")
        changed = "UPDATE transfers SET effective_at = effective_at + %s WHERE log_index = 5"
        connection.execute(changed, (1,))
        try:
            with pytest.raises(DetachRefused, match="are not those of the database"):
                whole.archiver().detach(whole.archiver().next_range(), tmp_path, drop=True)
        finally:
            connection.execute(changed, (-1,))
            connection.execute("ALTER TABLE transfers ENABLE TRIGGER USER")


def test_what_stands_in_the_way_is_told(world: LongBook, tmp_path: Path) -> None:
    """One reason after another, and nothing is changed by any."""
    archiver = world.archiver()
    part = archiver.next_range()
    archiver.export(part, tmp_path)

    def refused(archiver: Archiver) -> str:
        with pytest.raises(DetachRefused) as told:
            archiver.detach(part, tmp_path, drop=False)
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


def test_the_beginning_is_detached(world: LongBook, tmp_path: Path) -> None:
    """The big book's records go; the small one keeps its own, which were in the same partition."""
    done = world.archive(tmp_path)
    assert done.archive == ARCHIVE
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


def test_deciding_goes_on(shorter: LongBook) -> None:
    """In the big book, in the small one whose records moved, and in one that is opened only now."""
    size = shorter.size()
    shorter.spend(size + 6)
    assert shorter.size() >= size + 6
    shorter.tiny.agent("writer")
    later = LiveLedger(shorter.url, "later")
    later.agent("reader")
    later.close()
    assert [report.name for report in verify_books(shorter.url, book="later")] == ["later"]


def test_a_request_from_before_is_neither_repeated_nor_decided_anew(shorter: LongBook) -> None:
    """Its key is still bound: another request under it is told so, and the same is told that the answer is archived."""
    size = shorter.size()
    (again,) = shorter.ledger.decide(shorter.replayed)
    assert again.status is Status.RECORD_ARCHIVED
    assert "which answered this, has been archived" in again.detail
    other = shorter.ledger.command(Authorize, shorter.crawler, **(ASKED | {"amount": "2"}), idempotency_key="long ago")
    assert shorter.ledger.decide(other)[0].status is Status.IDEMPOTENCY_MISMATCH
    assert shorter.size() == size


def test_proofs_go_on(shorter: LongBook) -> None:
    """Inclusion of an archived record from its tile, and consistency from a size within the archive."""
    prover = Prover(shorter.engine, Tiler(shorter.engine, shorter.side))
    for index in (0, 100, WIDTH - 1, WIDTH, 3 * WIDTH + 1):
        assert prover.inclusion(shorter.book_id, index).index == index
    assert prover.inclusion(shorter.book_id, 17, 200).size == 200
    for first in (1, 100, WIDTH, WIDTH + 1, 2 * WIDTH):
        assert prover.consistency(shorter.book_id, first).first == first
    signed = shorter.sign()
    assert signed.size == shorter.size()


def test_balances_go_on(detached: LongBook) -> None:
    """Now, and at past moments that are not archived, also of an account whose last transfer is."""
    with detached.engine.connect() as connection:
        once = queries_accounts.account(connection, detached.book_id, "budgets:once:available", "USD")
        research = queries_accounts.account(connection, detached.book_id, "budgets:research:held", "USD")
        assert once is not None
        assert research is not None
        assert (
            abs(queries_accounts.balance_at_size(connection, detached.book_id, once.account_no, 3 * WIDTH)) == 7 * 10**9
        )
        assert queries_accounts.balance_at_size(connection, detached.book_id, once.account_no, WIDTH) == once.balance
        assert (
            queries_accounts.balance_at(connection, detached.book_id, once.account_no, detached.before) == once.balance
        )
        with pytest.raises(RecordArchived, match="log-000000000000000"):
            queries_accounts.balance_at_size(connection, detached.book_id, once.account_no, WIDTH - 1)
        with pytest.raises(RecordArchived):
            queries_accounts.balance_at(connection, detached.book_id, once.account_no, detached.before - 10**12)
        # The first transfer that is still here tells what stood before it.
        nothing_here = text(
            "SELECT min(log_index) FROM transfers WHERE book_id = :book AND :no IN (debit_no, credit_no)"
        )
        first = connection.execute(nothing_here, {"book": detached.book_id, "no": research.account_no}).scalar_one()
        assert first >= WIDTH
        told = queries_accounts.balance_at_size(connection, detached.book_id, research.account_no, first)
        before = text(
            "SELECT CASE WHEN debit_no = :no THEN debit_balance - amount ELSE credit_balance + amount END"
            " FROM transfers WHERE book_id = :book AND log_index = :first AND :no IN (debit_no, credit_no)"
            " ORDER BY position LIMIT 1"
        )
        values = {"book": detached.book_id, "no": research.account_no, "first": first}
        assert told == connection.execute(before, values).scalar_one()


def test_reads_that_need_the_archive_name_it(detached: LongBook) -> None:
    """None answers with less than there was."""
    with detached.engine.connect() as connection:
        calls = (
            lambda: queries_log.record(connection, detached.book_id, 5),
            lambda: queries_log.list_records(connection, detached.book_id),
            lambda: queries_log.size_at(connection, detached.book_id, detached.before - 10**12),
            lambda: queries_filling.first_index_at(connection, detached.book_id, 0),
            lambda: queries_filling.bodies_at(connection, detached.book_id, [3]),
            lambda: explain(connection, detached.book_id, detached.first),
            lambda: queries_accounts.list_postings(connection, detached.book_id, 1, newest_first=False),
        )
        for call in calls:
            with pytest.raises(RecordArchived, match=ARCHIVE):
                call()
        assert queries_log.record(connection, detached.book_id, WIDTH) is not None
        assert queries_log.list_records(connection, detached.book_id, start=WIDTH, limit=3).items[0].log_index == WIDTH
        newest = queries_log.list_records(connection, detached.book_id, newest_first=True, after=WIDTH + 2, limit=50)
        assert [record.log_index for record in newest.items] == [WIDTH + 1, WIDTH]


def test_verify_reads_the_archive(detached: LongBook, place: Path) -> None:
    """With it everything is proved; without it, or with another, it says which one is needed."""
    with pytest.raises(ArchiveNeeded, match=ARCHIVE):
        list(verify_books(detached.url, book="acme"))
    for leaves_only in (True, False):
        (report,) = verify_books(detached.url, book="acme", archives=place, leaves_only=leaves_only)
        assert report.verified, report.differences
        assert report.records == detached.size()
    (tiny,) = verify_books(detached.url, book="tiny")
    assert tiny.verified
    said = CliRunner().invoke(verify_command, ["--database-url", detached.url, "--book", "acme"])
    assert (said.exit_code, "--archive DIRECTORY" in said.output) == (2, True)
    said = CliRunner().invoke(verify_command, ["--database-url", detached.url, "--archive", str(place)])
    assert said.exit_code == 0, said.output


def test_replay_reads_the_archive(whole: LongBook, detached: LongBook, place: Path) -> None:
    """Every decision as before the records went, also of ranges by moments that begin or end in the archive."""
    with pytest.raises(ArchiveNeeded, match=ARCHIVE):
        list(replay_books(detached.url, book="acme"))
    with whole.engine.connect() as connection:
        statement = text("SELECT recorded_at FROM log_records WHERE book_id = :book ORDER BY log_index")
        times = connection.execute(statement, {"book": whole.book_id}).scalars().all()
    ranges = [
        (Bound(), Bound()),
        (Bound(moment=times[100]), Bound(moment=times[200])),
        (Bound(moment=times[WIDTH - 120]), Bound(moment=times[WIDTH - 1] + 1)),
        (Bound(moment=times[WIDTH - 1] + 1), Bound(moment=times[2 * WIDTH - 10])),
        (Bound(moment=0), Bound(moment=times[-1] + 1)),
    ]
    for start, stop in ranges:
        (before,) = replay_books(whole.url, book="acme", start=start, stop=stop)
        (after,) = replay_books(detached.url, book="acme", start=start, stop=stop, archives=place)
        assert after.replayed, after.log_differences
        assert (after.start, after.decisions, after.equal) == (before.start, before.decisions, before.equal)
        assert after.decisions > 0
    said = CliRunner().invoke(replay_command, ["--database-url", detached.url, "--book", "acme"])
    assert (said.exit_code, "give --archive DIRECTORY" in said.output) == (2, True)
    said = CliRunner().invoke(replay_command, ["--database-url", detached.url, "--archive", str(place)])
    assert said.exit_code == 0, said.output


def test_a_bundle_takes_records_from_the_archive(
    detached: LongBook, place: Path, tmp_path: Path, postgres_server: PostgresServer
) -> None:
    """A whole book again, which is imported into a database whose partitions are made for it; a span behind the archive
    needs none."""
    base = ["--database-url", detached.url, "--book", "acme"]
    refused = CliRunner().invoke(export_command, [str(tmp_path / "a.tar.gz"), *base])
    assert (refused.exit_code, "give --archive DIRECTORY" in refused.output) == (2, True)
    assert list(tmp_path.iterdir()) == []
    everything, span = tmp_path / "a.tar.gz", tmp_path / "b.tar.gz"
    done = CliRunner().invoke(export_command, [str(everything), *base, "--archive", str(place)])
    assert done.exit_code == 0, done.output
    behind = CliRunner().invoke(export_command, [str(span), *base, "--from", str(WIDTH)])
    assert behind.exit_code == 0, behind.output
    with postgresql_database(postgres_server) as url:
        upgrade(url, partition_records=256)
        imported = import_bundles([everything], url)
        assert isinstance(imported, Imported)
        (report,) = verify_books(url)
        assert report.verified, report.differences
        assert report.records == detached.size()
        owner = create_migration_engine(url)
        with owner.connect() as connection:
            assert partitioning.partitions(connection)[-1].high >= detached.size()
        owner.dispose()


def test_records_that_come_back_are_found(shorter: LongBook, place: Path) -> None:
    """A record in the archive's range that nobody put back is nobody's."""
    with psycopg.connect(connection_info(parse_url(shorter.url)), autocommit=True) as connection:
        made = "INSERT INTO log_records SELECT book_id, 9, kind, subject, recorded_at, effective_at, body, leaf_hash"
        connection.execute(f"{made} FROM log_records WHERE book_id = %s AND log_index = 300", (shorter.book_id,))
        (report,) = verify_books(shorter.url, book="acme", archives=place)
        connection.execute("ALTER TABLE log_records DISABLE TRIGGER USER")
        connection.execute("DELETE FROM log_records WHERE book_id = %s AND log_index = 9", (shorter.book_id,))
        connection.execute("ALTER TABLE log_records ENABLE TRIGGER USER")
    assert not report.verified
    assert "record 9 stands in the database and in the archive" in report.differences[0].sentence()


def test_an_archive_that_is_changed_later_is_found(detached: LongBook, place: Path, tmp_path: Path) -> None:
    """By its files, and by verify, whose root it no longer leads to."""
    pages = Archive(next(place.iterdir()))
    assert pages.books[detached.book_id].name == "acme"
    copy = tmp_path / pages.name
    copy.mkdir()
    for file in pages.directory.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["books"][0]["name"] = "other"
    (copy / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ArchiveUnfit, match="none of the archives given"):
        list(verify_books(detached.url, book="acme", archives=tmp_path))


def test_the_next_one_goes_too_and_its_tables_at_once(shorter: LongBook, place: Path, tmp_path: Path) -> None:
    """In order, as a beginning without a gap; the command says what it did."""
    place = shutil.copytree(place, tmp_path / "archives")
    archiver = shorter.archiver()
    part = archiver.next_range()
    assert (part.low, part.high) == (WIDTH, 2 * WIDTH)
    archiver.export(part, place)
    done = archiver.detach(part, place, drop=True)
    assert (done.dropped, done.books) == (True, ["acme"])
    assert not set(done.tables) & shorter.tables()
    (report,) = verify_books(shorter.url, book="acme", archives=place)
    assert report.verified, report.differences
    assert Prover(shorter.engine, Tiler(shorter.engine, shorter.side)).consistency(shorter.book_id, 300).first == 300
    archiver.export(archiver.next_range(), place)
    with pytest.raises(DetachRefused, match="last 90 days"):
        archiver.detach(archiver.next_range(), place, drop=True)
    said = CliRunner().invoke(partitions_command, ["check", str(place)])
    assert (said.exit_code, said.output.count("whole")) == (0, 3)
    said = CliRunner().invoke(partitions_command, ["list", "--database-url", shorter.url])
    assert "in use" in said.output
    said = CliRunner().invoke(partitions_command, ["detach", "--database-url", shorter.url, "--from", str(place)])
    assert (said.exit_code, "nothing can be detached" in said.output) == (1, True), said.output


def test_a_migration_back_is_refused(detached: LongBook) -> None:
    """The tables before cannot do without the records."""
    from tests.storage.test_partitions import move

    with pytest.raises(ValueError, match="was archived"):
        move(detached.owner, "0006")


def test_sqlite_has_no_partitions(tmp_path: Path) -> None:
    """And says so, with status 2."""
    url = f"sqlite:///{tmp_path}/b.db"
    upgrade(url)
    said = CliRunner().invoke(partitions_command, ["list", "--database-url", url])
    assert (said.exit_code, "one table" in said.output) == (2, True)


def redact(world: LongBook, *arguments: str) -> Result:
    """``bursar redact`` on the world's database, as an operator would type it."""
    typed = ["--database-url", world.url, "--book", "acme", *arguments]
    return CliRunner().invoke(redact_command, [*typed, "--reason", "asked for"])


def texts_of_archived(world: LongBook) -> set[tuple[int, str]]:
    """The free texts that stand beside archived records."""
    statement = "SELECT log_index, field FROM texts WHERE book_id = :book AND log_index < :width"
    with world.owner.connect() as connection:
        found = connection.execute(text(statement), {"book": world.book_id, "width": WIDTH}).all()
    return {(row[0], row[1]) for row in found}


def verified_with(world: LongBook, place: Path) -> bool:
    """Whether the whole of the book verifies, archived records and all."""
    reports = verify_books(world.url, archives=place)
    assert all(report.verified for report in reports), [report.differences for report in reports]
    return True


def test_texts_of_archived_records_go_by_age(shorter: LongBook, place: Path) -> None:
    """A dry run counts them, the run removes them, and the reason of a redaction is kept as it is elsewhere."""
    allocated, released = (shorter.allocated, "reason"), (shorter.released, "reason")
    before = texts_of_archived(shorter)
    assert {allocated, released, (shorter.redacted, "reason")} <= before
    tried = redact(shorter, "--older-than", "0", "--dry-run", "--json")
    assert json.loads(tried.output)["fields"]["reason"] >= 2, tried.output
    done = redact(shorter, "--older-than", "0", "--ground", "retention", "--json")
    assert done.exit_code == 0, done.output
    assert texts_of_archived(shorter) == {(shorter.redacted, "reason")}
    assert redact(shorter, "--older-than", "0").output == "There is nothing to redact.\n"
    assert verified_with(shorter, place)


def test_texts_of_an_archived_record_go_by_its_index(shorter: LongBook, place: Path) -> None:
    """Once; then the answer is by which record. Where only the archive knows whether there were any, it says so."""
    done = redact(shorter, str(shorter.allocated), "--json")
    assert (done.exit_code, json.loads(done.output)["redacted"]) == (0, 1), done.output
    assert (shorter.allocated, "reason") not in texts_of_archived(shorter)
    again = redact(shorter, str(shorter.allocated))
    assert (again.exit_code, f"by record {shorter.size() - 1}" in again.output) == (1, True)
    never = redact(shorter, "0")
    assert (never.exit_code, f"record 0 has been detached into the archive {ARCHIVE}" in never.output) == (1, True)
    assert f"there is no record {WIDTH * 9}" in redact(shorter, str(WIDTH * 9)).output
    assert verified_with(shorter, place)


@pytest.mark.parametrize("dry_run", [True, False])
def test_what_only_the_archive_could_select_is_refused(detached: LongBook, dry_run: bool) -> None:
    """By agent, or by an authorization that lies in the archive: nothing is left out silently."""
    more = ["--dry-run"] if dry_run else []
    before = texts_of_archived(detached)
    for asked, said in (
        (("--older-than", "0", "--agent", "crawler"), "whether its texts are of crawler stands in the archive"),
        ((detached.first,), f"detached into the archive {ARCHIVE}"),
    ):
        result = redact(detached, *asked, *more)
        assert (result.exit_code, said in result.output) == (1, True), result.output
    assert texts_of_archived(detached) == before
