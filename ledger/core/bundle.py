"""The form of a bundle: a book's log, or a span of it, as one archive that proves itself.

Owns the manifest, the names and the order of members, their lines, and the header that each has in the archive.
Invariants: a bundle is a function of the log, its size and what was asked for, so every machine writes the same bytes;
a record is a line of exactly its canonical bytes; a reader knows each member's name before it comes, so that nothing
else can stand in a bundle (``docs/backup.md`` has the format).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from ledger.core.book import Book
from ledger.core.canonical import canonical_bytes, is_canonical, parse
from ledger.core.merkle import HASH_SIZE, Frontier
from ledger.core.moment import moment_of, moment_text

FORMAT: Final = "bursar-bundle/1"
MANIFEST: Final = "manifest.json"
CHECKPOINT: Final = "checkpoint.txt"
POLICIES: Final = "policies.ndjson"
SUMS: Final = "SHA256SUMS"
CHUNK_RECORDS: Final = 1_000
"""A member has the records of one such stretch of indexes, so the writer holds that many at a time."""
SIZE_MAX: Final = 10**12
"""Records that the names of members have digits for."""
MANIFEST_BYTES_MAX: Final = 65_536
LINE_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of a record, a text or a policy: several times what the largest policy, of 256 KiB, makes a record of."""
CHUNK_BYTES_MAX: Final = 256 * 1024 * 1024
"""Of a member with records or with texts, which is held whole: a quarter of a megabyte a record, where most have one
kilobyte. Without a bound, a small file that unpacks to much would take all memory of whoever reads it."""
BLOCK: Final = 512
"""Bytes that a header has, and that members are padded to (POSIX ustar)."""
END: Final = bytes(2 * BLOCK)
"""What stands behind the last member."""
_MEMBER_BYTES_MAX: Final = 8**11 - 1
# 1980: earlier times are taken for mistakes by programs that unpack archives.
_MODIFIED: Final = 315_532_800
_FIELDS: Final = frozenset(("book", "first", "format", "frontier", "root", "size", "texts"))
_OPTIONAL: Final = frozenset(("consistency", "key"))
_BOOK_FIELDS: Final = frozenset(("book_id", "currency", "name", "opened_at", "strict_names", "timezone"))
_HASH: Final = re.compile(r"[0-9a-f]{64}")


class BundleInvalid(ValueError):
    """What is no bundle, or a damaged one, or one of a newer version. The message is a sentence that says which."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle says it has: the records from ``first`` to before ``size``, behind the ``frontier`` over those
    before ``first``; the ``root`` (32 bytes) over all ``size``; whether free texts are with them; the verifier key that
    the log names for its size; and, where the checkpoint in it is of a longer log, the hashes that lead there.
    """

    book: Book
    first: int
    size: int
    frontier: bytes
    root: bytes
    texts: bool
    key: str | None = None
    consistency: tuple[bytes, ...] = ()

    def packed(self) -> bytes:
        """The member's bytes: canonical JSON and a newline."""
        book = self.book
        said: dict[str, Any] = {
            "format": FORMAT,
            "book": {
                "book_id": book.book_id,
                "name": book.name,
                "currency": book.currency,
                "timezone": book.timezone,
                "strict_names": book.strict_names,
                "opened_at": moment_text(book.opened_at),
            },
            "first": self.first,
            "size": self.size,
            "frontier": [node.hex() for node in split(self.frontier)],
            "root": self.root.hex(),
            "texts": self.texts,
        }
        if self.key is not None:
            said["key"] = self.key
        if self.consistency:
            said["consistency"] = [node.hex() for node in self.consistency]
        return canonical_bytes(said) + b"\n"


def split(packed: bytes) -> list[bytes]:
    """Hashes one by one."""
    return [packed[at : at + HASH_SIZE] for at in range(0, len(packed), HASH_SIZE)]


def read_manifest(packed: bytes) -> Manifest:
    """Read a manifest. Raises BundleInvalid."""
    try:
        said = parse(packed)
        version = said["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise BundleInvalid("its manifest cannot be read: it is damaged, or no bundle") from error
    if version != FORMAT:
        raise BundleInvalid(
            f'its format is "{version}", and this version reads "{FORMAT}": a newer Bursar may have made it'
        )
    try:
        return _manifest(said, packed)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise BundleInvalid(f"its manifest does not say what a manifest says: {error}") from error


def _manifest(said: dict[str, Any], packed: bytes) -> Manifest:
    if not is_canonical(packed.removesuffix(b"\n")) or not packed.endswith(b"\n"):
        raise ValueError("it is not in canonical form")
    if not said.keys() >= _FIELDS or said.keys() - _FIELDS - _OPTIONAL:
        raise ValueError("it has not the members of this format")
    told, first, size = said["book"], said["first"], said["size"]
    if told.keys() != _BOOK_FIELDS:
        raise ValueError("its book has not the members of this format")
    if not _are(int, told["book_id"], first, size) or not _are(bool, told["strict_names"], said["texts"]):
        raise ValueError("a number or a yes or no is something else")
    if not _are(str, told["name"], told["currency"], told["timezone"], said.get("key", "")):
        raise ValueError("a name is no text")
    if not 0 <= first < size <= SIZE_MAX or told["book_id"] <= 0:
        raise ValueError(f"it has records from {first} to before {size}")
    opened_at = moment_of(told["opened_at"])
    book = Book(
        told["book_id"], told["name"], told["currency"], told["timezone"], told["strict_names"], opened_at
    )  # fmt: skip
    frontier, consistency = b"".join(_hashes(said["frontier"])), tuple(_hashes(said.get("consistency", [])))
    Frontier.from_bytes(first, frontier)
    return Manifest(
        book, first, size, frontier, _hashes([said["root"]])[0], said["texts"], said.get("key"), consistency
    )


def _are(kind: type, *values: Any) -> bool:
    return all(type(value) is kind for value in values)


def _hashes(listed: list[str]) -> list[bytes]:
    if any(not isinstance(text, str) or not _HASH.fullmatch(text) for text in listed) or len(listed) > 256:
        raise ValueError("a hash is not 64 digits in hex")
    return [bytes.fromhex(text) for text in listed]


def chunks(first: int, size: int) -> Iterator[tuple[int, int]]:
    """The stretches (start, stop) of indexes that have members of their own, in order."""
    start = first
    while start < size:
        stop = min(start - start % CHUNK_RECORDS + CHUNK_RECORDS, size)
        yield start, stop
        start = stop


def records_name(start: int) -> str:
    """The member that has the records from ``start`` on, a line each."""
    return f"records/{start:012d}.ndjson"


def texts_name(start: int) -> str:
    """The member that has the free texts beside those records; it stands before them, and only if there are any."""
    return f"texts/{start:012d}.ndjson"


def text_line(index: int, field: str, salt: bytes, content: str) -> bytes:
    """A free text with the salt that its digest in the log was made with."""
    return canonical_bytes({"index": index, "field": field, "salt": salt.hex(), "content": content}) + b"\n"


def gone_line(index: int, field: str, redacted: int) -> bytes:
    """In place of a free text that is gone: the record that redacted it, which stands behind the bundle's end."""
    return canonical_bytes({"index": index, "field": field, "redacted": redacted}) + b"\n"


@dataclass(frozen=True, slots=True)
class TextLine:
    """A line of a member of texts: salt and content, or else the record that redacted it."""

    index: int
    field: str
    salt: bytes = b""
    content: str = ""
    redacted: int | None = None


def read_text_line(line: bytes) -> TextLine:
    """Read a text, or what stands in place of one. Raises ValueError, KeyError or TypeError for anything else."""
    said = parse(line)
    index, field = said["index"], said["field"]
    if not _are(int, index) or not _are(str, field):
        raise ValueError("the line is not what a text's line is")
    if "redacted" in said:
        redacted = said["redacted"]
        read, written = TextLine(index, field, redacted=redacted), gone_line(index, field, redacted)
        if not _are(int, redacted):
            raise ValueError("a text is redacted by a record")
    else:
        content, salt = said["content"], bytes.fromhex(said["salt"])
        read, written = TextLine(index, field, salt, content), text_line(index, field, salt, content)
        if not _are(str, content):
            raise ValueError("the content of a text is no text")
    if written != line:
        raise ValueError("the line is not what a text's line is")
    return read


def policy_line(
    *, policy: str, version: int, digest: str, document: Any, recorded_at: int, index: int, in_force: bool
) -> bytes:
    """A version of a policy as people read it; ``in_force`` says whether it decides at the bundle's end."""
    said = {
        "policy": policy,
        "version": version,
        "digest": digest,
        "document": document,
        "recorded_at": moment_text(recorded_at),
        "index": index,
        "in_force": in_force,
    }
    return canonical_bytes(said) + b"\n"


def sum_line(digest: str, name: str) -> bytes:
    """A line of SHA256SUMS, as ``sha256sum --check`` reads it."""
    return f"{digest}  {name}\n".encode()


def header_of(name: str, length: int) -> bytes:
    """The header of a member in the archive: POSIX ustar, with the same owner, mode and time for each.

    Raises ValueError for a member that is too long for its header.
    """
    if not 0 <= length <= _MEMBER_BYTES_MAX:
        raise ValueError(f"{name} has {length} bytes, which is more than a member can have")
    header = bytearray(BLOCK)
    for at, text in (
        (0, name), (100, "0000644"), (108, "0000000"), (116, "0000000"), (124, f"{length:011o}"),
        (136, f"{_MODIFIED:011o}"), (148, " " * 8), (156, "0"), (257, "ustar"), (263, "00"), (329, "0000000"),
        (337, "0000000"),
    ):  # fmt: skip
        header[at : at + len(text)] = text.encode()
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return bytes(header)


def read_header(header: bytes) -> tuple[str, int]:
    """(name, length) of a member. Raises ValueError for a header that is not exactly one of ours."""
    name = header[:100].rstrip(b"\0").decode("ascii")
    length = int(header[124:135], 8)
    if header_of(name, length) != header:
        raise ValueError("the header is not one that a bundle has")
    return name, length


def padding(length: int) -> int:
    """How many zero bytes stand behind a member of ``length`` bytes."""
    return -length % BLOCK
