"""`replay` of bundles says of decisions what it says of the database that they were written from."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger.core.bundle import BundleInvalid
from ledger.core.canonical import canonical_bytes, parse
from ledger.services.replay_watching import ReplayReport
from ledger.services.replaying import Bound, replay_books
from ledger.services.replaying_bundles import BundleReplay, replay_bundles
from tests.services.stored_book import StoredBook
from tests.services.test_verify import rehashed
from tests.support.bundles import archive_of, exported, members, write
from tests.support.databases import DATABASE_KINDS, postgresql_database, sqlite_url


@pytest.fixture(scope="module", params=DATABASE_KINDS)
def book(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoredBook]:
    """A book with every kind of record, made once for each database."""
    if request.param == "sqlite":
        stored = StoredBook(sqlite_url(tmp_path_factory.mktemp("replay")))
        yield stored
        stored.close()
        return
    with postgresql_database(request.getfixturevalue("postgres_server")) as url:
        stored = StoredBook(url)
        yield stored
        stored.close()


@pytest.fixture(scope="module")
def file(book: StoredBook, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole book as a bundle."""
    return write(tmp_path_factory.mktemp("bundle"), "a.tar", exported(book.url)[0])


def ranged(*files: Path, start: Bound = Bound(), stop: Bound = Bound()) -> BundleReplay:  # noqa: B008
    """The report on bundles."""
    return replay_bundles(files, bounds=lambda timezone: (start, stop))


def said(report: ReplayReport) -> dict[str, Any]:
    """All of a report but how long it took, and what depends on the book's secret."""
    return {name: getattr(report, name) for name in ReplayReport.__slots__ if name not in ("seconds", "unmade")}


def test_the_same_is_said_as_of_the_database(book: StoredBook, file: Path) -> None:
    """Every decision, and the same one is redacted; without the secret fingerprints are not made again."""
    (stored,) = replay_books(book.url)
    found = replay_bundles([file])
    assert said(found.replay) == said(stored)
    assert (found.replay.replayed, found.bundles.verified) == (True, True)
    assert found.replay.decisions == found.replay.equal > 20
    assert (stored.redacted, stored.unmade) == (1, 0)
    assert found.replay.unmade > 0


def test_a_bundle_without_texts(book: StoredBook, file: Path, tmp_path: Path) -> None:
    """Decisions are the same; of a fingerprint whose words were left out it is not said that they were redacted."""
    found = replay_bundles([write(tmp_path, "a.tar", exported(book.url, texts=False)[0])])
    assert said(found.replay) == said(replay_bundles([file]).replay)


def test_spans_behind_one_another(book: StoredBook, file: Path, tmp_path: Path) -> None:
    """As the whole; a span alone has not what its decisions follow from."""
    size = len(book.rows("log_records"))
    cuts = (0, 70, 71, size)
    files = [
        write(tmp_path, f"{first}.tar", exported(book.url, first=first, size=last)[0])
        for first, last in itertools.pairwise(cuts)
    ]
    assert said(replay_bundles(files).replay) == said(replay_bundles([file]).replay)
    inside = ranged(*files, start=Bound(index=69), stop=Bound(index=72)).replay
    assert (inside.start, inside.stop, inside.replayed) == (69, 72, True)
    with pytest.raises(BundleInvalid, match=r"begins with record 70, and decisions follow .* give the bundles"):
        replay_bundles(files[1:])


@pytest.mark.parametrize("page", [3, 1000])
def test_ranges(book: StoredBook, file: Path, page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By index and by moment, wherever pages begin."""
    monkeypatch.setattr("ledger.services.verify_log.PAGE_RECORDS", page)
    times = [row["recorded_at"] for row in book.rows("log_records")]
    middle = times[len(times) // 2]
    ranges = [
        (Bound(index=40), Bound(index=90)),
        (Bound(index=90), Bound(index=40)),
        (Bound(moment=middle), Bound()),
        (Bound(), Bound(moment=middle)),
        (Bound(moment=middle + 1), Bound(moment=times[-1])),
        (Bound(index=40), Bound(moment=times[0])),
        (Bound(moment=times[-1] + 1), Bound(moment=times[-1] + 2)),
        (Bound(index=10**6), Bound(index=10**7)),
    ]
    for start, stop in ranges:
        (stored,) = replay_books(book.url, start=start, stop=stop)
        found = ranged(file, start=start, stop=stop).replay
        assert said(found) == said(stored)
        assert found.replayed


def test_a_forged_limit_is_named(book: StoredBook, tmp_path: Path) -> None:
    """With every hash right: as in the database, and not when it is outside of the range."""
    rows = book.rows("log_records")
    at, place = max(
        (body["index"], place)
        for body in (parse(row["body"]) for row in rows)
        if body["kind"] == "hold"
        for place, limit in enumerate(body["decision"]["limits"])
        if limit[2] == "money"
    )
    body = parse(rows[at]["body"])
    body["decision"]["limits"][place][4] = "123000000000"
    rows[at] = rows[at] | {"body": canonical_bytes(body)}
    made, head = rehashed(rows)
    with book.with_rows("log_records", made), book.with_row("book_heads", 0, **head):
        forged = write(tmp_path, "a.tar", exported(book.url)[0])
        (stored,) = replay_books(book.url)
    found = replay_bundles([forged])
    assert said(found.replay) == said(stored)
    (one,) = found.replay.differences
    assert (one.index, one.rows[0].recorded) == (at, "123.00 USD")
    assert (found.replay.replayed, found.bundles.verified) == (False, True)
    assert ranged(forged, stop=Bound(index=at)).replay.replayed
    assert ranged(forged, start=Bound(index=at + 1)).replay.replayed


def test_what_verification_finds_is_said_too(file: Path, tmp_path: Path) -> None:
    """A bundle that is not what was written is not replayed, whatever its decisions are."""
    contents = members(file.read_bytes())
    name = next(name for name in contents if name.startswith("texts"))
    contents[name] = contents[name].replace(b"4711", b"4712")
    found = replay_bundles([write(tmp_path, "a.tar", archive_of(contents))])
    assert not found.replay.replayed
    assert found.replay.log_differences
    assert found.replay.different == 0
