"""Signed notes and checkpoints as text: what is signed, by whom, and how it is written down.

Owns the forms of C2SP signed-note (text, signature lines, key ids, verifier keys), tlog-checkpoint (origin, size, root)
and tlog-cosignature v1 (what a witness signs). Invariants: what is parsed and written again has the same bytes; names
of keys and logs that were parsed are printable, so that they can be shown; nothing here signs or verifies, so a second
algorithm is another type byte and one more signature line, and no other change.
"""

import base64
import binascii
import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Final, NamedTuple

from ledger.core.merkle import HASH_SIZE

ED25519: Final = 0x01
"""Type of an Ed25519 signature over a note's text (signed-note)."""
COSIGNATURE: Final = 0x04
"""Type of a timestamped Ed25519 cosignature of a witness (tlog-cosignature v1)."""
ALGORITHMS: Final = {ED25519: "ed25519", COSIGNATURE: "cosignature/v1"}
KEY_ID_BYTES: Final = 4
PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
NAME_LENGTH_MAX: Final = 255
NOTE_BYTES_MAX: Final = 65_536
SIGNATURES_MAX: Final = 64
SIZE_MAX: Final = 2**53
"""Records that a checkpoint can be of: what a JSON number carries, and no log comes near."""
COSIGNED_AHEAD_SECONDS_MAX: Final = 3_600
"""How far a witness's clock may be ahead of that of whoever keeps its cosignature."""
_NAME: Final = re.compile(r"[!-*,-~]+")
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_SIGNATURE_START: Final = "\u2014 "


class NoteInvalid(ValueError):
    """Text that is no signed note, no checkpoint or no key. The message is a sentence that says why."""


def is_key_name(name: str) -> bool:
    """Whether a key, and so a log's origin, can be named so: printable ASCII without space and plus, at most 255
    characters (signed-note forbids the two in any script)."""
    return len(name) <= NAME_LENGTH_MAX and _NAME.fullmatch(name) is not None


def key_id(name: str, algorithm: int, public_key: bytes) -> bytes:
    """The 4 bytes that name a key: the first of SHA-256 over name, newline, type byte and public key (signed-note)."""
    return sha256(name.encode() + b"\n" + bytes([algorithm]) + public_key).digest()[:KEY_ID_BYTES]


class VerifierKey(NamedTuple):
    """A public key with its name, as whoever verifies keeps it; ``public_key`` has 32 bytes."""

    name: str
    algorithm: int
    public_key: bytes

    @property
    def id(self) -> bytes:
        """The 4 bytes that signatures name it by."""
        return key_id(self.name, self.algorithm, self.public_key)

    def text(self) -> str:
        """``name+hex id+base64(type byte and public key)``, as signed-note writes verifier keys."""
        packed = base64.b64encode(bytes([self.algorithm]) + self.public_key).decode()
        return f"{self.name}+{self.id.hex()}+{packed}"


def parse_verifier_key(text: str) -> VerifierKey:
    """Read a verifier key. Raises NoteInvalid."""
    name, _, rest = text.strip().partition("+")
    given_id, _, packed = rest.partition("+")
    raw = _decoded(packed, "a verifier key")
    if not is_key_name(name) or len(raw) != 1 + PUBLIC_KEY_BYTES:
        raise NoteInvalid("a verifier key is written name+id+key; copy it whole, from GET /v1/checkpoints/key")
    if raw[0] not in ALGORITHMS:
        raise NoteInvalid(f"the verifier key is of type {raw[0]}, which this version does not know")
    key = VerifierKey(name, raw[0], raw[1:])
    if key.id.hex() != given_id.lower():
        raise NoteInvalid("the id in the verifier key is not that of its name and key: a character was mistyped")
    return key


def parse_trusted_key(text: str) -> tuple[VerifierKey, int | None]:
    """Read a verifier key with the largest log that it signs: ``name+id+key@SIZE``, or without ``@SIZE`` for a key that
    was not replaced. Raises NoteInvalid."""
    # Base64 has no @, and a size has no +, so an @ in the key's name is never taken for this one.
    written, mark, size = text.strip().rpartition("@")
    if not mark or "+" in size:
        return parse_verifier_key(text), None
    if not _DECIMAL.fullmatch(size) or int(size) > SIZE_MAX:
        raise NoteInvalid("what stands behind the @ of a key is how many records the largest log has that it signs")
    return parse_verifier_key(written), int(size)


def parse_trusted_keys(texts: Iterable[str]) -> tuple[list[VerifierKey], dict[VerifierKey, int]]:
    """(keys, the largest log of those that were replaced) of what is trusted, as ``parse_trusted_key`` reads each; of a
    key that is named twice, the smallest size counts. Raises NoteInvalid."""
    keys: list[VerifierKey] = []
    ended: dict[VerifierKey, int] = {}
    for key, size in map(parse_trusted_key, texts):
        if key not in keys:
            keys.append(key)
        if size is not None:
            ended[key] = min(size, ended.get(key, size))
    return keys, ended


class Signature(NamedTuple):
    """One signature line: the key's name, its id (4 bytes), and what follows the id."""

    name: str
    id: bytes
    signature: bytes

    def line(self) -> str:
        """The line, with its newline."""
        return f"{_SIGNATURE_START}{self.name} {base64.b64encode(self.id + self.signature).decode()}\n"


class Note(NamedTuple):
    """A signed note: text that ends with a newline, and signatures over it."""

    text: str
    signatures: tuple[Signature, ...]

    def write(self) -> str:
        """The note: text, empty line, signature lines."""
        return self.text + "\n" + "".join(signature.line() for signature in self.signatures)

    def with_signatures(self, more: Iterable[Signature]) -> "Note":
        """The note with further signatures behind those it has."""
        return Note(self.text, (*self.signatures, *more))


def parse_note(written: str) -> Note:
    """Read a signed note. Raises NoteInvalid."""
    if len(written) > NOTE_BYTES_MAX:
        raise NoteInvalid(f"a note has at most {NOTE_BYTES_MAX} characters")
    at = written.rfind("\n\n")
    if at < 0:
        raise NoteInvalid("a signed note has an empty line between its text and its signatures")
    text, lines = written[: at + 1], written[at + 2 :]
    if not lines.endswith("\n"):
        raise NoteInvalid("the last line of a signed note ends with a newline")
    if any(character < " " and character != "\n" for character in text):
        raise NoteInvalid("the text of a note has no control characters")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise NoteInvalid("the text of a note is Unicode, and this one holds half a character") from error
    signatures = [_parse_signature(line) for line in lines[:-1].split("\n")]
    if len(signatures) > SIGNATURES_MAX:
        raise NoteInvalid(f"a note has at most {SIGNATURES_MAX} signatures")
    return Note(text, tuple(signatures))


def _parse_signature(line: str) -> Signature:
    name, _, packed = line.removeprefix(_SIGNATURE_START).partition(" ")
    if not line.startswith(_SIGNATURE_START) or not is_key_name(name):
        raise NoteInvalid("a signature line is written: em dash, space, printable name of the key, space, base64")
    raw = _decoded(packed, "a signature line")
    if len(raw) <= KEY_ID_BYTES:
        raise NoteInvalid("a signature line has a key id of 4 bytes and a signature behind it")
    return Signature(name, raw[:KEY_ID_BYTES], raw[KEY_ID_BYTES:])


def _decoded(packed: str, what: str) -> bytes:
    try:
        raw = base64.b64decode(packed.encode(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoteInvalid(f"{what} holds something that is not base64") from error
    if base64.b64encode(raw).decode() != packed:
        # Bits that count for nothing could be set in many ways, and two notes that say the same would differ.
        raise NoteInvalid(f"{what} holds base64 that is not written as its bytes are")
    return raw


class Checkpoint(NamedTuple):
    """What a checkpoint says: whose log (``origin``), how many records, and the Merkle root over them (32 bytes)."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The note's text (tlog-checkpoint): origin, decimal size, base64 root, a line each; no extension lines."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """Read the text of a checkpoint; extension lines are passed over, as tlog-checkpoint says. Raises NoteInvalid."""
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1]:
        raise NoteInvalid("a checkpoint has three lines: origin, size, root")
    origin, size, packed = lines[:3]
    if not is_key_name(origin):
        raise NoteInvalid("the origin of a checkpoint is printable ASCII without space and plus")
    if not _DECIMAL.fullmatch(size) or int(size) > SIZE_MAX:
        raise NoteInvalid(f"the size in a checkpoint is no decimal number of at most {SIZE_MAX}")
    root = _decoded(packed, "the root of a checkpoint")
    if len(root) != HASH_SIZE:
        raise NoteInvalid(f"the root in a checkpoint has {len(root)} bytes, not {HASH_SIZE}")
    if any(not line for line in lines[3:-1]):
        raise NoteInvalid("an extension line of a checkpoint is empty")
    return Checkpoint(origin, int(size), root)


def cosigned_message(text: str, timestamp: int) -> bytes:
    """What a witness signs: a header, when it saw the checkpoint (seconds since 1970), and the checkpoint's text
    (tlog-cosignature v1)."""
    return f"cosignature/v1\ntime {timestamp}\n{text}".encode()


def pack_cosignature(timestamp: int, signature: bytes) -> bytes:
    """What follows the key id in a cosignature's line: 8 bytes of time, big-endian, and the signature."""
    return timestamp.to_bytes(8, "big") + signature


def unpack_cosignature(packed: bytes) -> tuple[int, bytes]:
    """(timestamp, signature) of a cosignature. Raises NoteInvalid."""
    if len(packed) != 8 + SIGNATURE_BYTES:
        raise NoteInvalid("a cosignature has 8 bytes of time and 64 of signature")
    return int.from_bytes(packed[:8], "big"), packed[8:]
