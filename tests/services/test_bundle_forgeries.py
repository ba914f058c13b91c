"""Bundles that somebody made to deceive: the digests of their members fit, and what they claim is not so."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.core.bundle import CHUNK_BYTES_MAX, SUMS, BundleInvalid, gone_line, header_of, padding, sum_line
from ledger.core.canonical import canonical_bytes
from ledger.core.command_redactions import Redact
from ledger.core.notes import Signature
from ledger.services.bundle_archive import Compressed
from ledger.services.bundle_import import Imported, NotProved, import_bundles
from ledger.services.bundle_verify import BundleReport, verify_bundles
from ledger.services.tiling import LogDamaged
from ledger.storage.migrate import upgrade
from tests.services.live_world import LiveWorld
from tests.support.bundles import archive_of, exported, members, write
from tests.support.databases import sqlite_url

MANIFEST, POLICIES = "manifest.json", "policies.ndjson"


@pytest.fixture
def world(database_url: str) -> Iterator[LiveWorld]:
    """A book whose agent says what it does, on either database."""
    upgrade(database_url)
    made = LiveWorld(database_url, "acme")
    yield made
    made.close()


def say(world: LiveWorld, intent: str) -> int:
    """Ask with an intent; the record that has it."""
    (outcome,) = world.decide(world.ask("1", intent=intent))
    return outcome.log_index


def redact(world: LiveWorld, index: int) -> None:
    """Remove an intent, on record."""
    world.do(Redact, world.admin, texts=((index, "intent"),), record=index, reason="asked for")


def bundle(world: LiveWorld, **options: object) -> dict[str, bytes]:
    """The members of a bundle."""
    return members(exported(world.url, sources=world.sources, **options)[0])


def forged(folder: Path, contents: dict[str, bytes], name: str = "forged.tar") -> Path:
    """A file with these members, whose digests were made again."""
    kept = {one: content for one, content in contents.items() if one != SUMS}
    lines = [sum_line(hashlib.sha256(content).hexdigest(), one) for one, content in kept.items()]
    return write(folder, name, archive_of(kept | {SUMS: b"".join(lines)}))


def named(contents: dict[str, bytes], **book: object) -> dict[str, bytes]:
    """The same bundle under another name."""
    said = json.loads(contents[MANIFEST])
    return contents | {MANIFEST: canonical_bytes(said | {"book": said["book"] | book}) + b"\n"}


def wrong(report: BundleReport) -> list[str]:
    """What was found, in words."""
    return [difference.sentence() for difference in report.report.differences]


def test_a_span_alone_under_another_name(world: LiveWorld, tmp_path: Path) -> None:
    """Its records have the book's name, and its checkpoint the book's code; what neither has is said to be unproved."""
    size = world.size()
    say(world, "about Ada")
    span = bundle(world, first=size)
    good = verify_bundles([forged(tmp_path, span)])
    assert wrong(good) == []
    assert any("currency, time zone and other settings in manifest.json, are what" in note for note in good.notes)
    keys = good.signings[0].signers
    other = verify_bundles([forged(tmp_path, named(span, name="acne"))], keys)
    assert {"the body is that of another book" in one for one in wrong(other)} == {True}
    stranger = verify_bundles([forged(tmp_path, named(span, book_id=world.book_id + 1))], keys)
    assert ["the book that manifest.json names has the code" in one for one in wrong(stranger)] == [True]


def test_texts_taken_out_of_a_span_alone(world: LiveWorld, tmp_path: Path) -> None:
    """They are missed, unless a record of the span redacts them, or one behind it as the bundle says."""
    old, size = say(world, "about Eve"), world.size()
    first, second = say(world, "about Ada"), say(world, "about Bob")
    redact(world, first)
    redact(world, old)
    middle = world.size()
    redact(world, second)
    for last in (None, middle):
        report = verify_bundles([forged(tmp_path, bundle(world, first=size, size=last))])
        assert wrong(report) == []
        assert (report.report.texts_redacted, report.report.texts_missing) == ((3, 0) if last is None else (2, 1))
    less = bundle(world, first=size, size=middle)
    (name,) = [one for one in less if one.startswith("texts/")]
    less[name] = b"".join(line for line in less[name].splitlines(keepends=True) if b"redacted" not in line)
    report = verify_bundles([forged(tmp_path, less)])
    assert [(one.table, one.log_index) for one in report.report.differences] == [("texts", second)]
    del less[name]
    report = verify_bundles([forged(tmp_path, less)])
    assert {one.table for one in report.report.differences} == {"texts"}
    assert second in {one.log_index for one in report.report.differences}
    assert first not in {one.log_index for one in report.report.differences}


def test_a_small_file_that_unpacks_to_much(world: LiveWorld, tmp_path: Path) -> None:
    """A thousand long lines are refused by the length that their member says, before any of them is held."""
    said = json.loads(bundle(world)[MANIFEST])
    manifest = canonical_bytes(said | {"size": 1_000}) + b"\n"
    file = tmp_path / "bomb.tar.gz"
    line = b"x" * 999_999 + b"\n"
    with file.open("wb") as target:
        packed = Compressed(target)
        packed.write(header_of(MANIFEST, len(manifest)) + manifest + bytes(padding(len(manifest))))
        packed.write(header_of("records/000000000000.ndjson", 1_000 * len(line)))
        for _ in range(20):
            packed.write(line)
        packed.finish()
    with pytest.raises(
        BundleInvalid, match=f"has 1000000000 bytes, and no bundle has one of more than {CHUNK_BYTES_MAX}"
    ):
        verify_bundles([file])


def test_what_no_reader_would_take_is_not_written(world: LiveWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too long a record, or too much in one member: said when the backup is made, and not when it is needed."""
    longest = max(len(line) for line in bundle(world)["records/000000000000.ndjson"].splitlines(keepends=True))
    monkeypatch.setattr("ledger.services.bundle_export.LINE_BYTES_MAX", longest)
    assert bundle(world)
    monkeypatch.setattr("ledger.services.bundle_export.LINE_BYTES_MAX", longest - 1)
    with pytest.raises(LogDamaged, match=f"{longest} of them in one"):
        bundle(world)
    monkeypatch.setattr("ledger.services.bundle_export.LINE_BYTES_MAX", longest)
    monkeypatch.setattr("ledger.services.bundle_export.CHUNK_BYTES_MAX", longest)
    with pytest.raises(LogDamaged, match="for a thousand"):
        bundle(world)


def test_a_signature_that_is_not_of_the_log(world: LiveWorld, tmp_path: Path) -> None:
    """A line of a key that nobody knows, or one twice: no database with it would verify, so none is made of it."""
    contents = bundle(world)
    keys = verify_bundles([forged(tmp_path, contents)]).signings[0].signers
    line = contents["checkpoint.txt"].rsplit(b"\n\n", 1)[1]
    stranger = Signature("evil.example/w", bytes(4), bytes(64)).line()
    for more in (stranger.encode(), line):
        file = forged(tmp_path, contents | {"checkpoint.txt": contents["checkpoint.txt"] + more})
        for trusted in ((), keys):
            found = wrong(verify_bundles([file], trusted))
            assert len(found) == 1, found
            assert re.search("none of the log's keys|more signatures than the log makes", found[0])
        (tmp_path / "target").mkdir(exist_ok=True)
        target = sqlite_url(tmp_path / "target")
        upgrade(target)
        assert isinstance(import_bundles([file], target), NotProved)


def test_a_reason_for_a_missing_text_is_held_against_its_record(world: LiveWorld, tmp_path: Path) -> None:
    """It is only believed while that record is not here, and then it is counted as not proved."""
    first, second = say(world, "about Ada"), say(world, "about Bob")
    size = world.size()
    redact(world, first)
    redact(world, second)
    early, late = bundle(world, size=size), forged(tmp_path, bundle(world, first=size), "late.tar")
    honest = forged(tmp_path, early, "early.tar")
    alone, both = verify_bundles([honest]), verify_bundles([honest, late])
    assert (wrong(alone), alone.report.texts_missing, alone.report.texts_unproved) == ([], 2, 2)
    assert (wrong(both), both.report.texts_missing, both.report.texts_unproved) == ([], 0, 0)
    name = "texts/000000000000.ndjson"
    swapped = early[name].replace(b'"redacted":%d' % size, b'"redacted":%d' % (size + 1), 1)
    report = verify_bundles([forged(tmp_path, early | {name: swapped}), late])
    assert [one.log_index for one in report.report.differences] == [first]
    assert f"gone with record {size + 1}, and record {size} redacts it" in wrong(report)[0]


def test_a_reason_that_no_record_bears_out(world: LiveWorld, tmp_path: Path) -> None:
    """A text that somebody took out, with a later record for a reason, which does something else."""
    index, size = say(world, "about Ada"), world.size()
    say(world, "about Bob")
    name = "texts/000000000000.ndjson"
    early, late = bundle(world, size=size), forged(tmp_path, bundle(world, first=size), "late.tar")
    taken = forged(tmp_path, early | {name: gone_line(index, "intent", size)})
    alone = verify_bundles([taken])
    assert (wrong(alone), alone.report.texts_missing, alone.report.texts_unproved) == ([], 1, 1)
    report = verify_bundles([taken, late])
    assert [(one.table, one.log_index) for one in report.report.differences] == [("texts", index)]
    assert f"gone with record {size}, which does not redact it" in wrong(report)[0]
    (tmp_path / "target").mkdir()
    target = sqlite_url(tmp_path / "target")
    done = import_bundles([taken], target, prepare=lambda: upgrade(target))
    assert isinstance(done, Imported)
    assert any("the proof that 1 of these were redacted" in lack for lack in done.lacks)
