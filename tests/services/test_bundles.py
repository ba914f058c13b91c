"""A book goes from one database to another through a bundle and is the same book: every kind of record, both ways."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import text

from ledger.core.command import Authorize
from ledger.core.invariants import Difference
from ledger.core.notes import parse_note
from ledger.core.outcome import Status
from ledger.services.authorizer import Authorizer, AuthorizerSettings
from ledger.services.bundle_import import Imported, ImportRefused, NotProved, import_bundles
from ledger.services.bundle_reading import Bundle
from ledger.services.bundle_verify import BundleReport, verify_bundles
from ledger.services.checkpoints import CheckpointSettings, SigningRefused
from ledger.services.owner_checkpoints import owner_desk
from ledger.services.secrets_file import SecretsInvalid, packed_secrets, read_secrets
from ledger.services.sources import Sources
from ledger.services.verify import verify_books
from ledger.services.verify_projections import COMPARED
from ledger.services.watching import Watcher
from ledger.storage import checkpoint_rows
from ledger.storage.engine import create_engine
from ledger.storage.migrate import upgrade
from ledger.storage.queries_log import book_by_id
from ledger.storage.side_writer import SideWriter
from ledger.storage.tables import metadata
from tests.services.live_world import LiveWorld
from tests.support.bundles import archive_of, exported, members, only_book, prove, write
from tests.support.databases import DATABASE_KINDS, postgresql_database, sqlite_url
from tests.support.every_kind import LiveLedger, play
from tests.support.spend import write_lines

CARRIED = ("books", "log_records", "transfers", "texts", "book_heads", *(spec.name for spec in COMPARED))


def new_database(request: pytest.FixtureRequest, kind: str, folder: Path, stack: ExitStack) -> str:
    """An empty database of a kind."""
    folder.mkdir()
    if kind == "sqlite":
        return sqlite_url(folder)
    return stack.enter_context(postgresql_database(request.getfixturevalue("postgres_server")))


@pytest.fixture(scope="module", params=DATABASE_KINDS)
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A book with every kind of record, signed, on either database."""
    with ExitStack() as stack:
        url = new_database(request, request.param, tmp_path_factory.mktemp("bundles") / "source", stack)
        upgrade(url)
        ledger = LiveLedger(url)
        play(ledger)
        ledger.close()
        with owner_desk(url, CheckpointSettings()) as desk:
            # The key that the story leaves has no private half.
            desk.checkpointer.rotate(ledger.book.book_id)
        yield url


@pytest.fixture(params=DATABASE_KINDS)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of either kind, with its tables."""
    with ExitStack() as stack:
        url = new_database(request, request.param, tmp_path / "target", stack)
        upgrade(url)
        yield url


def rows(database_url: str, table: str) -> list[tuple[object, ...]]:
    """Every row of a table, in the order of its key."""
    engine = create_engine(database_url, pool_size=1)
    keys = ", ".join(column.name for column in metadata.tables[table].primary_key.columns)
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(text(f"SELECT * FROM {table} ORDER BY {keys}"))]
    engine.dispose()
    return [tuple(bytes(value) if isinstance(value, memoryview) else value for value in row) for row in found]


def right(report: BundleReport) -> BundleReport:
    """The report, of what must be right."""
    assert report.verified, [difference.sentence() for difference in report.report.differences]
    return report


@pytest.mark.parametrize("texts", [True, False], ids=["texts", "no texts"])
def test_out_and_in_and_out_again(source: str, target: str, texts: bool, tmp_path: Path) -> None:
    """The same rows in every table that counts, a book that verifies, and the same bytes when it is exported again."""
    archive, plan = exported(source, texts=texts)
    assert plan.signed_size == plan.manifest.size
    file = write(tmp_path, "a.tar", archive)
    report = right(verify_bundles([file]))
    stored = prove(source)
    assert (report.report.records, report.report.root) == (stored.records, stored.root)
    assert (report.report.texts, report.report.texts_missing) == ((stored.texts, 0) if texts else (0, stored.texts))
    assert isinstance(import_bundles([file], target), Imported)
    for table in CARRIED:
        expected = rows(source, table) if texts or table != "texts" else []
        assert rows(target, table) == expected, table
    assert prove(target, without_texts=not texts).root == stored.root
    assert exported(target, texts=texts)[0] == archive


def test_the_same_bytes_beside_traffic_and_at_another_time(source: str, target: str, tmp_path: Path) -> None:
    """A book that has gone on still gives the bundle of an earlier size; spans of it are the same everywhere."""
    import_bundles([write(tmp_path, "a.tar", exported(source)[0])], target)
    size = exported(source)[1].manifest.size
    with owner_desk(target, CheckpointSettings()) as desk:
        desk.checkpointer.rotate(only_book(target))
    for first, last in ((0, size), (7, size), (5, 20)):
        before, plan = exported(source, first=first, size=last)
        after, later = exported(target, first=first, size=last)
        kept = {name: content for name, content in members(before).items() if name.startswith(("records/", "texts/"))}
        assert kept.items() <= members(after).items()
        assert plan.manifest.root == later.manifest.root
        assert members(before)["policies.ndjson"] == members(after)["policies.ndjson"]
        right(verify_bundles([write(tmp_path, "later.tar", after)]))


def test_policies_as_they_were_at_each_size(source: str, tmp_path: Path) -> None:
    """Which versions there were and which of them decided is what the records up to there give, at every size at which
    a policy changed; verify compares."""
    changed = [row[1] for row in rows(source, "log_records") if row[2] in ("policy", "policy_retirement")]
    assert len(changed) > 5
    seen = set()
    for index in changed:
        for size in (index, index + 1):
            archive, _ = exported(source, size=size)
            report = right(verify_bundles([write(tmp_path, "at.tar", archive)]))
            assert report.report.records == size
            seen.add(members(archive)["policies.ndjson"])
    assert len(seen) > len(changed)


def test_spans_behind_one_another(source: str, target: str, tmp_path: Path) -> None:
    """A full bundle and what came later prove the whole book, and make the same one."""
    size = exported(source)[1].manifest.size
    cuts = [0, 1, 64, size - 3, size]
    files = [
        write(tmp_path, f"{first}.tar", exported(source, first=first, size=last)[0])
        for first, last in itertools.pairwise(cuts)
    ]
    report = right(verify_bundles(files))
    assert (report.first, report.report.records, report.report.root) == (0, size, prove(source).root)
    assert isinstance(import_bundles(files, target), Imported)
    assert prove(target).root == report.report.root
    for table in CARRIED:
        assert rows(target, table) == rows(source, table), table


def test_a_span_alone_says_what_it_cannot_show(source: str, tmp_path: Path) -> None:
    """Its hashes lead to the signed root; a changed record does not; that decisions follow is not claimed."""
    archive, plan = exported(source, first=50)
    report = right(verify_bundles([write(tmp_path, "span.tar", archive)]))
    assert (report.first, report.report.records) == (50, plan.manifest.size - 50)
    assert "were given without those before them" in report.notes[0]
    assert report.signings[0].size == plan.manifest.size
    contents = members(archive)
    (name,) = [name for name in contents if name.startswith("records/")]
    contents[name] = contents[name].replace(b'"amount":"5', b'"amount":"6', 1)
    changed = verify_bundles([write(tmp_path, "changed.tar", archive_of(contents))])
    assert {difference.table for difference in changed.report.differences} >= {"checkpoint.txt", "manifest.json"}


def test_spans_that_do_not_follow(source: str, target: str, tmp_path: Path) -> None:
    """A gap, an overlap, another order and another history are refused, and a span alone is no book."""
    one = write(tmp_path, "one.tar", exported(source, size=40)[0])
    gap = write(tmp_path, "gap.tar", exported(source, first=41)[0])
    overlap = write(tmp_path, "overlap.tar", exported(source, first=39)[0])
    contents = members(exported(source, first=40)[0])
    contents["manifest.json"] = contents["manifest.json"].replace(b'"frontier":["', b'"frontier":["00')
    contents["manifest.json"] = contents["manifest.json"].replace(b'"frontier":["00', b'"frontier":["', 1)
    for paths in ([one, gap], [one, overlap], [gap, one], [one, one]):
        with pytest.raises(ValueError, match=r"give bundles in order|is not a whole bundle"):
            verify_bundles(paths)
    with pytest.raises(ImportRefused, match="from its first record on"):
        import_bundles([gap], target)
    assert rows(target, "book_heads") == []


def test_a_book_that_is_there_is_not_written_over(source: str, target: str, tmp_path: Path) -> None:
    """Neither the same one nor another of its name; what is there stays as it was."""
    file = write(tmp_path, "a.tar", exported(source)[0])
    LiveLedger(target, "other").close()
    import_bundles([file], target)
    before = [rows(target, table) for table in CARRIED]
    with pytest.raises(ImportRefused, match="this book is in the database already"):
        import_bundles([file], target)
    with pytest.raises(ImportRefused, match="this book is in the database already"):
        import_bundles([file], source)
    assert [rows(target, table) for table in CARRIED] == before
    assert [report.verified for report in verify_books(target)] == [True, True]


def test_a_name_that_is_taken(source: str, target: str, tmp_path: Path) -> None:
    """Books are told apart by name."""
    LiveLedger(target, "acme").close()
    with pytest.raises(ImportRefused, match="another book of the name acme is in the database already"):
        import_bundles([write(tmp_path, "a.tar", exported(source)[0])], target)
    assert len(rows(target, "books")) == 1


def test_what_is_not_right_is_not_imported(source: str, target: str, tmp_path: Path) -> None:
    """A record changed by hand, with every digest made anew, is named; nothing is written."""
    contents = members(exported(source)[0])
    lines = contents["records/000000000000.ndjson"].split(b"\n")
    at = next(index for index, line in enumerate(lines) if b'"kind":"settlement"' in line)
    lines[at] = re.sub(rb'"amount":"[0-9]', b'"amount":"9', lines[at], count=1)
    contents["records/000000000000.ndjson"] = b"\n".join(lines)
    done = import_bundles([write(tmp_path, "bad.tar", archive_of(contents))], target)
    assert isinstance(done, NotProved)
    assert done.report.report.differences[0].log_index == at
    assert [rows(target, table) for table in CARRIED] == [[] for _ in CARRIED]


def found(contents: dict[str, bytes], folder: Path) -> list[Difference]:
    """What is wrong with a bundle that has these members."""
    return verify_bundles([write(folder, "changed.tar", archive_of(contents))]).report.differences


def test_what_stands_beside_the_records_is_compared_with_them(source: str, tmp_path: Path) -> None:
    """Manifest, checkpoint, policies, texts and digests: whatever does not fit the log is named."""
    contents = members(exported(source)[0])

    def changed(name: str, old: bytes, new: bytes) -> dict[str, bytes]:
        assert old in contents[name], (name, old)
        return contents | {name: contents[name].replace(old, new, 1)}

    for name, old, new in (
        ("manifest.json", b'"name":"acme"', b'"name":"acne"'),
        ("manifest.json", b'"strict_names":false', b'"strict_names":true'),
        ("manifest.json", b'"root":"', b'"root":"%02x' % 255),
        ("manifest.json", b'"key":"bursar', b'"key":"bursbr'),
        ("policies.ndjson", b'"in_force":true', b'"in_force":false'),
        ("policies.ndjson", b'"document":{', b'"document":{"a":"b",'),
        ("texts/000000000000.ndjson", b"summarize", b"summarise"),
        ("checkpoint.txt", "\n\n\u2014 ".encode(), "\nmore\n\n\u2014 ".encode()),
    ):
        spoiled = changed(name, old, new)
        if b'"root":"ff' in spoiled["manifest.json"]:
            root = contents["manifest.json"].split(b'"root":"')[1][:64]
            spoiled = changed(name, root, root[::-1])
        tables = {difference.table for difference in found(spoiled, tmp_path)}
        assert tables >= {"texts" if name.startswith("texts") else name, "SHA256SUMS"}, (name, old, tables)
    without = {name: content for name, content in contents.items() if name != "checkpoint.txt"}
    assert {difference.table for difference in found(without, tmp_path)} == {"SHA256SUMS"}
    lines = contents["policies.ndjson"].splitlines(keepends=True)
    hidden = b'{"digest":"of something else",' + lines[0][1:]
    for changed_lines, said in (
        (lines[:-1], "has not every version of a policy: version "),
        (lines[1:], "line 1 is not what the log gives for version 1 of "),
        ([*lines[:-1], lines[0]], f"line {len(lines)} is not what the log gives"),
        ([*lines, lines[0]], f"line {len(lines) + 1} is of no version that the log has"),
        ([lines[1], lines[0], *lines[2:]], "line 1 is not what the log gives"),
        ([hidden, *lines[1:]], "line 1 is not what the log gives"),
        ([lines[0].replace(b":", b": ", 1), *lines[1:]], "line 1 is not what the log gives"),
    ):
        assert said in found(contents | {"policies.ndjson": b"".join(changed_lines)}, tmp_path)[0].what


def test_the_signature_and_whose_it_is(source: str, tmp_path: Path) -> None:
    """The log's key, unless one is given; a key that did not sign is told, and so is that nobody did."""
    archive, plan = exported(source)
    file = write(tmp_path, "a.tar", archive)
    report = right(verify_bundles([file]))
    (signing,) = report.signings
    assert (signing.trusted, signing.size) == ("log", plan.manifest.size)
    assert "taken from the log itself" in report.notes[0]
    given = right(verify_bundles([file], signing.signers))
    assert (given.signings[0].trusted, given.notes) == ("given", ())
    other = signing.signers[0]._replace(public_key=bytes(32))
    refused = verify_bundles([file], [other])
    assert ["none of the keys you trust" in one.what for one in refused.report.differences] == [True]
    unsigned, plan = exported(source, size=10)
    assert plan.note is not None  # A later checkpoint covers it.
    contents = members(unsigned)
    del contents["checkpoint.txt"]
    contents["manifest.json"] = contents["manifest.json"].replace(b'"consistency":', b'"consisted":', 1)
    with pytest.raises(ValueError, match="does not say what a manifest says"):
        verify_bundles([write(tmp_path, "odd.tar", archive_of(contents))])


def test_without_a_key_nothing_is_signed(database_url: str, tmp_path: Path) -> None:
    """A log whose key is elsewhere is exported all the same: unsigned, or signed as far as it was."""
    upgrade(database_url)
    world = LiveWorld(database_url, "acme")
    with owner_desk(database_url, CheckpointSettings()) as desk:
        made = desk.checkpointer.make(world.book_id)
        world.hold(world.crawler, "5", intent="more")
        with desk.checkpointer._side.transaction() as connection:
            connection.execute(text("DELETE FROM signing_secrets"))
        with pytest.raises(SigningRefused):
            desk.checkpointer.make(world.book_id)
    world.close()
    archive, plan = exported(database_url)
    assert (plan.signed_size, plan.manifest.size) == (made.size, made.size + 1)
    assert "is not in this database" in plan.unsigned
    report = right(verify_bundles([write(tmp_path, "a.tar", archive)]))
    assert f"records from {made.size} on were recorded after the checkpoint" in report.notes[0]
    with desk.engine.connect() as connection:
        assert checkpoint_rows.last_below(connection, world.book_id, made.size) is None
    first, plan = exported(database_url, size=made.size + 1, first=made.size)
    assert (plan.note, plan.signed_size) == (None, 0)
    assert "no checkpoint" in plan.unsigned
    report = right(verify_bundles([write(tmp_path, "b.tar", first)]))
    assert any("nobody has signed it" in note for note in report.notes)


def test_the_imported_book_goes_on(database_url: str, tmp_path: Path) -> None:
    """Repeats get the recorded answer, new requests are decided on the balances that came along, and checkpoints say
    what to do about the key that did not."""
    upgrade(database_url)
    world = LiveWorld(database_url, "acme")
    plain, worded = world.ask("60"), world.ask("1", intent="with words")
    first, _ = world.decide(plain, worded)
    archive, _ = exported(database_url, sources=world.sources)
    world.close()
    folder = tmp_path / "other"
    folder.mkdir()
    url = sqlite_url(folder)
    upgrade(url)
    done = import_bundles([write(tmp_path, "a.tar", archive)], url)
    assert isinstance(done, Imported)
    assert [what in " ".join(done.lacks) for what in ("salts free texts", "signing key", "webhook")] == [
        True,
        True,
        False,
    ]
    authorizer = Authorizer(url, sources=world.sources, settings=AuthorizerSettings(clock_jump_seconds=10.0**9))
    authorizer.start()
    again = authorizer.decide_now(world.book_id, plain)
    assert (again.replayed, again.leaf_hash, again.log_index) == (True, first.leaf_hash, first.log_index)
    assert authorizer.decide_now(world.book_id, worded).status is Status.IDEMPOTENCY_MISMATCH
    denied = authorizer.decide_now(world.book_id, world.command(Authorize, world.crawler, **asked("40")))
    held = authorizer.decide_now(world.book_id, world.command(Authorize, world.crawler, **asked("39")))
    authorizer.stop(deadline_seconds=10)
    assert (denied.status, held.status) == (Status.BUDGET_HELD, Status.APPROVED)
    with owner_desk(url, CheckpointSettings()) as desk:
        with pytest.raises(SigningRefused, match="start the server with its file, or rotate"):
            desk.checkpointer.make(world.book_id)
        desk.checkpointer.rotate(world.book_id)
        desk.checkpointer.make(world.book_id)
    prove(url)


def test_with_its_secrets_nothing_is_missed(source: str, target: str, tmp_path: Path) -> None:
    """A request with a text is told again as the recorded one, the same key signs, endpoints keep their secrets."""
    engine = create_engine(source, pool_size=1)
    with engine.connect() as connection:
        book = book_by_id(connection, only_book(source))
    assert book is not None
    packed = packed_secrets(engine, book)
    engine.dispose()
    book_id, secrets = read_secrets(packed)
    assert book_id == book.book_id
    done = import_bundles([write(tmp_path, "a.tar", exported(source)[0])], target, secrets=(book_id, secrets))
    assert isinstance(done, Imported)
    for table in ("book_secrets", "signing_secrets", "webhook_secrets"):
        assert rows(target, table) == rows(source, table)
    assert not any("signing key" in lack or "salts" in lack for lack in done.lacks)
    with owner_desk(target, CheckpointSettings()) as desk:
        desk.checkpointer.rotate(book_id)
        note = desk.checkpointer.make(book_id).note
    assert len(parse_note(note).signatures) == 2
    prove(target)
    with pytest.raises(ImportRefused, match="secrets are of another book"):
        import_bundles([tmp_path / "a.tar"], source, secrets=(7, secrets))


def test_what_happened_before_is_not_told_again(source: str, target: str, tmp_path: Path) -> None:
    """Endpoints come along, and events of the records that came with them do not."""
    import_bundles([write(tmp_path, "a.tar", exported(source)[0])], target)
    size = prove(target).records
    engine, side, own = create_engine(target, pool_size=1), SideWriter(target), Sources()
    watcher = Watcher(engine, side, own)
    assert watcher.run_once() == 0
    with owner_desk(target, CheckpointSettings()) as desk:
        desk.checkpointer.rotate(only_book(target))
    assert watcher.run_once() == prove(target).records - size > 0
    side.close()
    engine.dispose()
    assert rows(target, "webhook_events") == []


def test_a_clock_that_is_behind_dates_no_checkpoint_before_its_records(source: str, tmp_path: Path) -> None:
    """A bundle does not say when a checkpoint was made, and verification asks that it was after what it covers."""

    class Behind(Sources):
        def now_us(self) -> int:
            return 1

    url = sqlite_url(tmp_path)
    upgrade(url)
    import_bundles([write(tmp_path, "a.tar", exported(source)[0])], url, sources=Behind())
    assert rows(url, "checkpoints")
    prove(url)


def test_lines_of_statements_are_made_again(source: str, target: str, tmp_path: Path) -> None:
    """They are in no bundle, so an imported book begins without, and verifies before and after they are written."""
    tables = ("spend_lines", "spend_days", "spend_holds", "spend_cursor")
    import_bundles([write(tmp_path, "a.tar", exported(source)[0])], target)
    assert [rows(target, table) for table in tables] == [[]] * len(tables)
    prove(target)
    for url in (source, target):
        write_lines(url)
    assert all(rows(target, table) for table in tables)
    assert [rows(target, table) for table in tables] == [rows(source, table) for table in tables]
    prove(target)


def test_texts_are_salted_as_before(database_url: str, tmp_path: Path) -> None:
    """With the secrets, a repeated request with a text gets its recorded answer."""
    upgrade(database_url)
    world = LiveWorld(database_url, "acme")
    worded = world.ask("1", intent="with words")
    (first,) = world.decide(worded)
    archive, _ = exported(database_url, sources=world.sources)
    engine = create_engine(database_url, pool_size=1)
    secrets = read_secrets(packed_secrets(engine, world.book))
    engine.dispose()
    world.close()
    (tmp_path / "other").mkdir()
    url = sqlite_url(tmp_path / "other")
    upgrade(url)
    import_bundles([write(tmp_path, "a.tar", archive)], url, secrets=secrets)
    authorizer = Authorizer(url, sources=world.sources, settings=AuthorizerSettings(clock_jump_seconds=10.0**9))
    authorizer.start()
    again = authorizer.decide_now(world.book_id, worded)
    authorizer.stop(deadline_seconds=10)
    assert (again.replayed, again.leaf_hash) == (True, first.leaf_hash)


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said | {"format": "bursar-secrets/2"}, lambda said: said | {"text_secret": "zz"},
        lambda said: said | {"text_secret": ""}, lambda said: said | {"book_id": "5"}, lambda said: [said],
        lambda said: said | {"signing_secrets": [{"id": "00", "secret": "00", "created_at": 5}]},
        lambda said: said | {"webhook_secrets": [{"id": 5, "secret": "00", "created_at": 5}]},
        lambda said: {key: value for key, value in said.items() if key != "signing_secrets"},
    ],
)  # fmt: skip
def test_secrets_that_are_none(change: Callable[[dict[str, object]], object]) -> None:
    """Refused, without a word of what is in it."""
    said: dict[str, object] = {
        "format": "bursar-secrets/1", "book": "acme", "book_id": 5, "text_secret": "abcdef", "signing_secrets": [],
        "webhook_secrets": [],
    }  # fmt: skip
    assert read_secrets(json.dumps(said).encode())[0] == 5
    with pytest.raises(SecretsInvalid) as refused:
        read_secrets(json.dumps(change(said)).encode())
    assert "abcdef" not in str(refused.value)
    assert refused.value.__cause__ is None


def asked(amount: str) -> dict[str, str]:
    """A request of the crawler."""
    return {"amount": amount, "currency": "USD", "category": "inference", "payee": "openai"}


def test_a_page_at_a_time(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more records are held than two pages have, whatever the length."""
    monkeypatch.setattr("ledger.core.bundle.CHUNK_RECORDS", 8)
    file = write(tmp_path, "a.tar", exported(source)[0])
    held: list[int] = []
    page = Bundle.log_page

    def counted(bundle: Bundle, start: int, stop: int) -> object:
        made = page(bundle, start, min(stop, start + 8))
        held.append(len(made.records) + len(bundle._waiting))
        return made

    monkeypatch.setattr("ledger.services.verify_log.PAGE_RECORDS", 8)
    monkeypatch.setattr(Bundle, "log_page", counted)
    right(verify_bundles([file]))
    assert len(held) > 10
    assert max(held) <= 16
