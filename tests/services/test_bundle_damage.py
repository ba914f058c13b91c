"""A bundle that was damaged, cut off, joined to another, or made to do harm: refused, or the place is named."""

from __future__ import annotations

import gzip
import io
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.core.bundle import END, BundleInvalid, header_of, padding
from ledger.services.bundle_archive import ArchiveReader, ArchiveWriter, Compressed
from ledger.services.bundle_reading import open_bundle
from ledger.services.bundle_verify import BundleReport, verify_bundles
from ledger.storage.migrate import upgrade
from tests.services.live_world import LiveWorld
from tests.support.bundles import archive_of, exported, members, write
from tests.support.databases import sqlite_url


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small bundle, not compressed, with everything that a bundle can have."""
    url = sqlite_url(tmp_path_factory.mktemp("damage"))
    upgrade(url)
    world = LiveWorld(url, "acme")
    for _ in range(3):
        world.settle(world.crawler, world.hold(world.crawler, "2", intent="summarize"), "1")
    world.close()
    return exported(url)[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where damaged files are put."""
    return tmp_path_factory.mktemp("damaged")


def packed(archive: bytes) -> bytes:
    """As `bursar export` compresses it."""
    target = io.BytesIO()
    compressed = Compressed(target)
    for start in range(0, len(archive), 1_000):
        compressed.write(archive[start : start + 1_000])
    compressed.finish()
    return target.getvalue()


def verified(folder: Path, content: bytes) -> BundleReport | None:
    """The report, or None where it could not be read at all."""
    file = write(folder, "bundle", content)
    try:
        return verify_bundles([file])
    except BundleInvalid:
        return None


def test_it_is_right_compressed_or_not(archive: bytes, folder: Path) -> None:
    """Also by another program, and in several members as parallel compressors write."""
    half = len(archive) // 2
    several = gzip.compress(archive[:half]) + gzip.compress(archive[half:])
    for content in (archive, packed(archive), gzip.compress(archive, 1), several):
        report = verified(folder, content)
        assert report is not None
        assert report.verified, [difference.sentence() for difference in report.report.differences]
    assert gzip.decompress(packed(archive)) == archive
    assert packed(archive) == packed(archive)
    assert packed(archive)[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_is_found(archive: bytes, folder: Path, data: st.DataObject) -> None:
    """Of the archive, wherever it stands: it is refused, or something is named."""
    at = data.draw(st.integers(0, len(archive) - 1))
    damaged = bytearray(archive)
    damaged[at] ^= data.draw(st.integers(1, 255))
    report = verified(folder, bytes(damaged))
    assert report is None or report.report.differences


def test_a_changed_byte_of_what_is_compressed_is_found(archive: bytes, folder: Path) -> None:
    """Or changes nothing that is in the bundle, as in the time that gzip writes down."""
    whole = packed(archive)
    for at in random.Random(5).sample(range(len(whole)), 150):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        report = verified(folder, bytes(damaged))
        if report is not None and report.verified:
            assert gzip.decompress(bytes(damaged)) == archive


def test_a_changed_record_is_named(archive: bytes, folder: Path) -> None:
    """With the index, as verify names it in a database."""
    at = archive.index(b'"kind":"settlement"')
    report = verified(folder, archive[:at] + archive[at:].replace(b'"settlement"', b'"sittlement"', 1))
    assert report is not None
    (settled,) = [one for one in report.report.differences if one.table == "log_records"]
    lines = members(archive)["records/000000000000.ndjson"].splitlines()
    assert b'"kind":"settlement"' in lines[settled.log_index or 0]


def test_it_is_cut_off_anywhere(archive: bytes, folder: Path) -> None:
    """Compressed or not, at its members' ends too."""
    ends = [at for at in range(0, len(archive), 512) if at % 2_048 == 0]
    for at in [0, 1, 5, 511, *ends, len(archive) - 1_024, len(archive) - 1]:
        assert verified(folder, archive[:at]) is None, at
    whole = packed(archive)
    for at in (3, 12, len(whole) // 2, len(whole) - 9, len(whole) - 1):
        assert verified(folder, whole[:at]) is None, at


def test_nothing_stands_behind_it(archive: bytes, folder: Path) -> None:
    """Neither another bundle nor a byte."""
    for behind in (archive, b"x", bytes(512), END):
        assert verified(folder, archive + behind) is None
        assert verified(folder, packed(archive + behind)) is None
    assert verified(folder, packed(archive) + packed(archive)) is None
    assert verified(folder, packed(archive) + b"x") is None


Change = Callable[[dict[str, bytes]], dict[str, bytes]]


def _without(name: str) -> Change:
    return lambda contents: {one: content for one, content in contents.items() if one != name}


def _with(name: str, old: bytes, new: bytes) -> Change:
    return lambda contents: contents | {name: contents[name].replace(old, new, 1)}


RECORDS, TEXTS = "records/000000000000.ndjson", "texts/000000000000.ndjson"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_without("manifest.json"), "manifest.json is missing"),
        (_without(RECORDS), f"{RECORDS} is missing"),
        (_without("policies.ndjson"), "policies.ndjson is missing"),
        (_without("SHA256SUMS"), "SHA256SUMS is missing; the end stands in its place"),
        (lambda contents: dict(reversed(contents.items())), "manifest.json is missing; SHA256SUMS stands"),
        (lambda contents: contents | {"more": b""}, "something stands behind its end"),
        (lambda contents: contents | {RECORDS: contents[RECORDS] + b"{}\n"}, "has more records than those from 0"),
        (lambda contents: contents | {RECORDS: contents[RECORDS].split(b"\n", 1)[1]}, "records, and should have those"),
        (lambda contents: contents | {RECORDS: contents[RECORDS][:-1]}, "ends in the middle of a line"),
        (lambda contents: contents | {TEXTS: contents[TEXTS] + contents[TEXTS]}, "is out of its place"),
        (_with(TEXTS, b'"field":"intent"', b'"field":"advice"'), "is out of its place"),
        (_with(TEXTS, b'"content"', b'"contents"'), "is no text"),
        (_with("manifest.json", b'"texts":true', b'"texts":false'), "the manifest says that there are none"),
        (_with("manifest.json", b'"size":', b'"size":99'), "records, and should have those from 0 to 99"),
        (lambda contents: contents | {"manifest.json": b" " * 70_000}, "no bundle has one of more than"),
        (lambda contents: contents | {"policies.ndjson": b"5\n"}, "is no policy"),
        (lambda contents: contents | {"checkpoint.txt": b"\xff\n"}, "checkpoint.txt is no text"),
    ],
)
def test_what_is_not_as_a_bundle_is(archive: bytes, folder: Path, change: Change, said: str) -> None:
    """One sentence, which names the file and the member."""
    file = write(folder, "odd.tar", archive_of(change(members(archive))))
    with pytest.raises(BundleInvalid) as refused:
        verify_bundles([file])
    assert said in str(refused.value)
    assert str(file) in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"hello", bytes(10_000), os.urandom(10_000), b"PK\x03\x04" + bytes(600)])
def test_what_is_no_bundle_at_all(content: bytes, folder: Path) -> None:
    """Nothing, text, noise, another archive; and what is compressed like it."""
    for packing in (bytes, gzip.compress):
        with pytest.raises(BundleInvalid):
            verify_bundles([write(folder, "no.tar", packing(content))])


def test_files_that_cannot_be_read(folder: Path) -> None:
    """Not there, or a directory."""
    for path in (folder / "nowhere.tar", folder):
        with pytest.raises(BundleInvalid, match="cannot be read"):
            verify_bundles([path])


class Endless(io.RawIOBase):
    """A file that goes on for ever, and knows how much of it was read."""

    def __init__(self, start: bytes, unit: bytes) -> None:
        self._start = start
        self._unit = unit
        self.read_bytes = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        made = self._start[:size]
        self._start = self._start[len(made) :]
        if not made:
            made = (self._unit * (size // len(self._unit) + 1))[:size]
        self.read_bytes += len(made)
        return made


def test_a_line_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more of it is read than a line may have, whatever the header promises."""
    monkeypatch.setattr("ledger.services.bundle_archive.LINE_BYTES_MAX", 100_000)
    start = header_of("a", 8**11 - 1)
    endless = Endless(start, b"x")
    with pytest.raises(BundleInvalid, match="has more than 100000 bytes"):
        list(ArchiveReader(endless).lines("a"))  # type: ignore[arg-type]
    assert endless.read_bytes < 400_000


def test_what_grows_when_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousandfold, and still no more is held than a line may have."""
    monkeypatch.setattr("ledger.services.bundle_archive.LINE_BYTES_MAX", 100_000)
    bomb = gzip.compress(header_of("a", 200_000_000) + bytes(100_000_000), 9)
    assert len(bomb) < 200_000
    with pytest.raises(BundleInvalid, match="has more than 100000 bytes"):
        list(ArchiveReader(io.BytesIO(bomb)).lines("a"))


def test_members_are_what_the_writer_wrote() -> None:
    """In memory or waiting on disk."""
    target = io.BytesIO()
    writer = ArchiveWriter(target)
    writer.add("a", b"one\n")
    writer.add_lines("b", (b"%d\n" % number for number in range(1_300_000)))
    writer.add_lines("c", ())
    digest = writer.finish()
    assert list(members(target.getvalue())) == ["a", "b", "c", "SHA256SUMS"]
    target.seek(0)
    reader = ArchiveReader(target)
    assert reader.whole("a", bytes_max=4) == b"one\n"
    assert sum(1 for _ in reader.lines("b")) == 1_300_000
    assert list(reader.lines("c")) == []
    assert reader.finish()
    assert reader.digest.hexdigest() == digest
    assert len(target.getvalue()) % 512 == 0
    assert padding(512) == 0


def test_errors_name_the_file(archive: bytes, folder: Path) -> None:
    """Also of a bundle that was opened well and is read on."""
    file = write(folder, "short.tar", archive[: archive.index(b'{"', 6_000)])
    with pytest.raises(BundleInvalid, match=r"short\.tar is not a whole bundle"), open_bundle(file) as bundle:
        bundle.log_page(0, bundle.manifest.size)
