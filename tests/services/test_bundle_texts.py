"""Free texts that go: a bundle says which are gone for a reason, and no import brings back what was redacted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from ledger.core.bundle import TextLine, read_text_line
from ledger.core.command_redactions import Redact
from ledger.services.bundle_import import Imported, import_bundles
from ledger.services.bundle_verify import BundleReport, verify_bundles
from ledger.services.verify import verify_books
from ledger.storage.migrate import upgrade
from ledger.storage.side_writer import SideWriter
from tests.services.live_world import LiveWorld
from tests.support.bundles import archive_of, exported, members, prove, write
from tests.support.databases import sqlite_url

TEXTS = "texts/000000000000.ndjson"


@pytest.fixture
def world(database_url: str) -> Iterator[LiveWorld]:
    """A book whose agent says what it does, on either database."""
    upgrade(database_url)
    made = LiveWorld(database_url, "acme")
    yield made
    made.close()


@pytest.fixture
def target(tmp_path: Path) -> str:
    """An empty database."""
    (tmp_path / "target").mkdir()
    url = sqlite_url(tmp_path / "target")
    upgrade(url)
    return url


def say(world: LiveWorld, intent: str) -> int:
    """Ask with an intent; the record that has it."""
    (outcome,) = world.decide(world.ask("1", intent=intent))
    return outcome.log_index


def redact(world: LiveWorld, *indexes: int) -> None:
    """Remove intents, on record."""
    for index in indexes:
        world.do(Redact, world.admin, texts=((index, "intent"),), record=index, reason="asked for")


def bundle(world: LiveWorld, folder: Path, name: str, **options: object) -> Path:
    """A bundle in a file."""
    return write(folder, name, exported(world.url, sources=world.sources, **options)[0])


def lines(file: Path) -> list[TextLine]:
    """The texts in a bundle, and what stands in place of them."""
    packed = members(file.read_bytes()).get(TEXTS, b"")
    return [read_text_line(line) for line in packed.splitlines(keepends=True)]


def counts(report: BundleReport) -> tuple[int, int, int]:
    """Texts that are there, redacted, missing; of what is right."""
    book = report.report
    assert report.verified, [difference.sentence() for difference in book.differences]
    return book.texts, book.texts_redacted, book.texts_missing


def kept(database_url: str) -> list[str]:
    """The intents in a database."""
    side = SideWriter(database_url)
    with side.transaction() as connection:
        found = connection.execute(text("SELECT content FROM texts WHERE field = 'intent' ORDER BY log_index"))
        intents = list(found.scalars())
    side.close()
    return intents


def test_what_was_redacted_is_not_in_a_bundle(world: LiveWorld, target: str, tmp_path: Path) -> None:
    """Its record says why, there and in the database that is made of it."""
    first, _ = say(world, "about Ada"), say(world, "about Bob")
    redact(world, first)
    file = bundle(world, tmp_path, "a.tar")
    assert [line.content for line in lines(file)] == ["about Bob", "asked for"]
    assert counts(verify_bundles([file])) == (2, 1, 0)
    assert isinstance(import_bundles([file], target), Imported)
    assert prove(target).texts_redacted == 1
    assert exported(target)[0] == file.read_bytes()


def test_what_was_redacted_since_is_said_to_be(world: LiveWorld, target: str, tmp_path: Path) -> None:
    """A bundle of an earlier size has not the record that redacts: whoever wrote it says that there is one, which a
    later span then shows."""
    first, second = say(world, "about Ada"), say(world, "about Bob")
    size = world.size()
    redact(world, first)
    early, late = bundle(world, tmp_path, "early.tar", size=size), bundle(world, tmp_path, "late.tar", first=size)
    assert [(line.index, line.content, line.redacted) for line in lines(early)] == [
        (first, "", size), (second, "about Bob", None),
    ]  # fmt: skip
    report = verify_bundles([early])
    assert counts(report) == (1, 0, 1)
    assert any("1 free texts were gone when it was written" in note for note in report.notes)
    both = verify_bundles([early, late])
    assert counts(both) == (2, 1, 0)
    assert not any("were gone" in note or "stand in an older" in note for note in both.notes)
    import_bundles([early, late], target)
    assert kept(target) == ["about Bob"]
    assert prove(target).texts_redacted == 1


def test_an_import_brings_nothing_back(world: LiveWorld, target: str, tmp_path: Path) -> None:
    """A full bundle from before the redaction still has the text; with the span behind it, it is left out."""
    first, _ = say(world, "about Ada"), say(world, "about Bob")
    size = world.size()
    full = bundle(world, tmp_path, "full.tar", size=size)
    redact(world, first)
    span = bundle(world, tmp_path, "span.tar", first=size)
    report = verify_bundles([full, span])
    assert counts(report) == (2, 1, 0)
    assert any("1 free texts stand in an older bundle" in note for note in report.notes)
    assert counts(verify_bundles([full])) == (2, 0, 0)
    import_bundles([full, span], target)
    assert kept(target) == ["about Bob"]
    prove(target)


def test_a_text_that_nobody_redacted_is_missed(world: LiveWorld, tmp_path: Path) -> None:
    """Somebody took it out of the database: its record and field are named, in the bundle as in the database."""
    index = say(world, "about Ada")
    side = SideWriter(world.url)
    with side.transaction() as connection:
        connection.execute(text("DELETE FROM texts WHERE log_index = :index"), {"index": index})
    side.close()
    report = verify_bundles([bundle(world, tmp_path, "a.tar")])
    (difference,) = report.report.differences
    assert (difference.table, difference.log_index, difference.key) == ("texts", index, "field=intent")
    (stored,) = verify_books(world.url)
    assert [one.log_index for one in stored.differences] == [index]


def test_a_text_that_should_be_gone(world: LiveWorld, tmp_path: Path) -> None:
    """Put back into a bundle whose records redact it, it is named; so is a reason that the records contradict."""
    index = say(world, "about Ada")
    before = lines(bundle(world, tmp_path, "before.tar"))
    put_back = members((tmp_path / "before.tar").read_bytes())[TEXTS]
    redact(world, index)
    contents = members(bundle(world, tmp_path, "a.tar").read_bytes())
    back = contents | {TEXTS: put_back + contents[TEXTS]}
    report = verify_bundles([write(tmp_path, "back.tar", archive_of(back))])
    assert [(one.table, one.log_index) for one in report.report.differences][-1] == ("texts", index)
    assert "still there" in report.report.differences[-1].what
    assert [line.content for line in before] == ["about Ada"]
    said = b'{"field":"intent","index":%d,"redacted":3}\n' % index
    with pytest.raises(ValueError, match="names record 3, which is in the bundle"):
        verify_bundles([write(tmp_path, "said.tar", archive_of(contents | {TEXTS: said + contents[TEXTS]}))])


def test_without_texts_in_one_of_two(world: LiveWorld, target: str, tmp_path: Path) -> None:
    """What lacks is allowed to where a bundle was written so, and nowhere else."""
    say(world, "about Ada")
    bare = bundle(world, tmp_path, "bare.tar", texts=False)
    size = world.size()
    say(world, "about Bob")
    span = bundle(world, tmp_path, "span.tar", first=size)
    assert counts(verify_bundles([bare, span])) == (1, 0, 1)
    done = import_bundles([bare, span], target)
    assert isinstance(done, Imported)
    assert any("verify this database with --without-texts" in lack for lack in done.lacks)
    assert [report.verified for report in verify_books(target)] == [False]
    assert [report.verified for report in verify_books(target, without_texts=True)] == [True]
    contents = members(span.read_bytes())
    del contents[TEXTS.replace("000000000000", f"{size:012d}")]
    report = verify_bundles([bare, write(tmp_path, "less.tar", archive_of(contents))])
    assert [one.table for one in report.report.differences] == ["SHA256SUMS", "texts"]
