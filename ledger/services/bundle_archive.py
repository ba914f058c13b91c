"""The archive that a bundle is: a tar whose every byte is given by what is in it, compressed with gzip or not at all.

Owns ``ArchiveWriter`` and ``ArchiveReader``. Invariants: nothing is read into memory but a line at a time, and no line
beyond a bound, whatever the file says about itself; a byte of the archive that is not the one that the writer would
have written is refused. What gzip does around it carries nothing: other compressions of the same archive are as good.
"""

import gzip
import hashlib
import io
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final, Protocol

from ledger.core.bundle import (
    BLOCK,
    END,
    LINE_BYTES_MAX,
    SUMS,
    BundleInvalid,
    header_of,
    padding,
    read_header,
    sum_line,
)

GZIP_LEVEL: Final = 6
_GZIP_START: Final = b"\x1f\x8b"
# No name and no time, and the system called unknown, so that only the content shows.
_GZIP_HEADER: Final = _GZIP_START + b"\x08\x00" + bytes(4) + b"\x00\xff"
_READ_BYTES: Final = 65_536
_SPOOLED_BYTES: Final = 8 * 1024 * 1024
"""Of a member whose length is not known before; a longer one waits on disk."""


class Writable(Protocol):
    """Where bytes go, in order."""

    def write(self, data: bytes, /) -> object:
        """Take them all."""


class Compressed:
    """Gzip with a header that is always the same. ``finish`` writes the end, and does not close the target."""

    def __init__(self, target: Writable) -> None:
        self._target = target
        self._deflate = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._crc = 0
        self._length = 0
        target.write(_GZIP_HEADER)

    def write(self, data: bytes, /) -> None:
        """Compress."""
        self._crc = zlib.crc32(data, self._crc)
        self._length += len(data)
        self._target.write(self._deflate.compress(data))

    def finish(self) -> None:
        """Write what is left, and the check sum."""
        self._target.write(self._deflate.flush())
        self._target.write(self._crc.to_bytes(4, "little") + (self._length & 0xFFFFFFFF).to_bytes(4, "little"))


class ArchiveWriter:
    """Writes members one after the other, and at the end their digests."""

    def __init__(self, target: Writable) -> None:
        self._target = target
        self._sums: list[bytes] = []
        self.digest = hashlib.sha256()
        """Over the archive, uncompressed."""

    def add(self, name: str, content: bytes) -> None:
        """One member."""
        self._sums.append(sum_line(hashlib.sha256(content).hexdigest(), name))
        self._put(name, content)

    def add_lines(self, name: str, lines: Iterable[bytes]) -> None:
        """One member of any length, whose lines are not held in memory."""
        digest = hashlib.sha256()
        with tempfile.SpooledTemporaryFile(_SPOOLED_BYTES) as kept:
            for line in lines:
                digest.update(line)
                kept.write(line)
            length = kept.tell()
            kept.seek(0)
            self._sums.append(sum_line(digest.hexdigest(), name))
            self._write(header_of(name, length))
            while part := kept.read(_READ_BYTES):
                self._write(part)
        self._write(bytes(padding(length)))

    def finish(self) -> str:
        """Write the digests and the end; the SHA-256 of the archive, in hex."""
        self._put(SUMS, b"".join(self._sums))
        self._write(END)
        return self.digest.hexdigest()

    def _put(self, name: str, content: bytes) -> None:
        self._write(header_of(name, len(content)))
        self._write(content)
        self._write(bytes(padding(len(content))))

    def _write(self, data: bytes) -> None:
        self.digest.update(data)
        self._target.write(data)


class ArchiveReader:
    """Reads members in order; whoever calls knows which come. Every method raises BundleInvalid."""

    def __init__(self, file: BinaryIO) -> None:
        """``file`` is read from where it stands, and left open."""
        self._file = _unpacked(file)
        self._sums = hashlib.sha256()
        self._sums_length = 0
        self._digest = hashlib.sha256()
        self._name, self._length, self._left = "", 0, 0
        self.digest = hashlib.sha256()
        """Over the archive so far, uncompressed."""
        self.upcoming = self._next()
        """The name of the member that comes next, None behind the last."""

    def lines(self, name: str, *, bytes_max: int | None = None) -> Iterator[bytes]:
        """The lines of the member ``name``, which must come next, each with its newline; to be read to the end."""
        self._open(name, bytes_max)
        while self._left:
            yield self._line()
        self._close()

    def whole(self, name: str, *, bytes_max: int) -> bytes:
        """All of the member ``name``, which must come next."""
        self._open(name, bytes_max)
        content = self._read(self._length)
        self._digest.update(content)
        self._left = 0
        self._close()
        return content

    def finish(self) -> bool:
        """Read the digests and the end, behind which nothing may stand; whether the members are those that were
        written."""
        expected, length = self._sums.digest(), self._sums_length
        self._open(SUMS)
        found = hashlib.sha256()
        good = self._left == length
        while self._left:
            part = self._read(min(self._left, _READ_BYTES))
            found.update(part)
            self._left -= len(part)
        self._skip_padding()
        if self._read(len(END)) != END or self._some():
            raise BundleInvalid("something stands behind its end: it was added to, or two files were joined")
        return good and found.digest() == expected

    def _open(self, name: str, bytes_max: int | None = None) -> None:
        if self.upcoming != name:
            raise BundleInvalid(f"{name} is missing; {self.upcoming or 'the end'} stands in its place")
        if bytes_max is not None and self._length > bytes_max:
            raise BundleInvalid(f"{name} has {self._length} bytes, and no bundle has one of more than {bytes_max}")
        self._name, self._left = name, self._length
        self._digest = hashlib.sha256()

    def _line(self) -> bytes:
        line = self._take(self._file.readline, min(self._left, LINE_BYTES_MAX + 1))
        if not line:
            raise BundleInvalid(f"it was cut off in {self._name}")
        if not line.endswith(b"\n"):
            if len(line) > LINE_BYTES_MAX:
                raise BundleInvalid(f"a line of {self._name} has more than {LINE_BYTES_MAX} bytes")
            raise BundleInvalid(f"{self._name} ends in the middle of a line")
        self._digest.update(line)
        self._left -= len(line)
        return line

    def _close(self) -> None:
        """The member was read whole: what is behind it, and what comes next."""
        line = sum_line(self._digest.hexdigest(), self._name)
        self._sums.update(line)
        self._sums_length += len(line)
        self._skip_padding()
        self.upcoming = self._next()

    def _skip_padding(self) -> None:
        if self._read(padding(self._length)).strip(b"\0"):
            raise BundleInvalid(f"something stands behind {self._name} that is not of it")

    def _next(self) -> str | None:
        header = self._read(BLOCK)
        if not header.strip(b"\0"):
            return None
        try:
            name, self._length = read_header(header)
        except ValueError as error:
            place = f"behind {self._name}" if self._name else "at its beginning"
            raise BundleInvalid(f"what stands {place} is no part of a bundle: it is damaged, or no bundle") from error
        return name

    def _read(self, length: int) -> bytes:
        data = self._take(self._file.read, length)
        if len(data) != length:
            raise BundleInvalid(self._cut_off())
        return data

    def _cut_off(self) -> str:
        return f"it was cut off {f'in or behind {self._name}' if self._name else 'at its beginning'}"

    def _some(self) -> bool:
        return bool(self._take(self._file.read, 1))

    def _take(self, read: "_Read", length: int) -> bytes:
        try:
            data = read(length)
        except EOFError as error:
            raise BundleInvalid(self._cut_off()) from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise BundleInvalid(f"its compression is damaged: {error}") from error
        self.digest.update(data)
        return data


class _Read(Protocol):
    def __call__(self, length: int, /) -> bytes: ...


def _unpacked(file: BinaryIO) -> BinaryIO:
    """What is in ``file``, whether it is compressed or not."""
    buffered = io.BufferedReader(_Raw(file), _READ_BYTES)
    if buffered.peek(2)[:2] != _GZIP_START:
        return buffered
    return io.BufferedReader(gzip.GzipFile(fileobj=buffered, mode="rb"), _READ_BYTES)


class _Raw(io.RawIOBase):
    """A file of any kind, a pipe too, as one that is only read forward."""

    def __init__(self, file: BinaryIO) -> None:
        self._source = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview", /) -> int:  # type: ignore[override]
        data = self._source.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
