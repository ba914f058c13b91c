"""Ed25519 (RFC 8032): keys as they are kept in files, signing, verifying, and signed notes made and checked with both.

Invariants: a private key leaves here as PKCS#8 only, for the one place that keeps it, and is in no message; a signature
that does not verify is never taken for one by an unknown key.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ledger.core.notes import (
    COSIGNATURE,
    ED25519,
    Checkpoint,
    Note,
    NoteInvalid,
    Signature,
    VerifierKey,
    cosigned_message,
    pack_cosignature,
    parse_checkpoint,
    parse_note,
    unpack_cosignature,
)


class KeyUnusable(ValueError):
    """What was given is no Ed25519 private key. The message says what to give, and nothing of the key."""


class NotSigned(NoteInvalid):
    """A note that no trusted key has signed, and that does not say that one had."""


class SigningPair:
    """A private key and the 32 bytes of its public half."""

    __slots__ = ("_private", "public_key")

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public_key = private.public_key().public_bytes_raw()

    @classmethod
    def from_seed(cls, seed: bytes) -> "SigningPair":
        """The pair of 32 random bytes."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def from_pem(cls, text: bytes) -> "SigningPair":
        """Read PKCS#8 in PEM, without a password. Raises KeyUnusable."""
        try:
            private = serialization.load_pem_private_key(text, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            private = None
        return cls._of(private)

    @classmethod
    def from_der(cls, packed: bytes) -> "SigningPair":
        """Read PKCS#8 in DER, as the side table keeps it. Raises KeyUnusable."""
        try:
            private = serialization.load_der_private_key(packed, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            private = None
        return cls._of(private)

    @classmethod
    def _of(cls, private: object) -> "SigningPair":
        if not isinstance(private, Ed25519PrivateKey):
            raise KeyUnusable(
                "the signing key is not an Ed25519 private key in PKCS#8 PEM without a password; make one with "
                "'bursar checkpoint keys make --out FILE'"
            )
        return cls(private)

    def _written(self, encoding: serialization.Encoding) -> bytes:
        return self._private.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

    def to_der(self) -> bytes:
        """PKCS#8 in DER. Secret."""
        return self._written(serialization.Encoding.DER)

    def to_pem(self) -> bytes:
        """PKCS#8 in PEM. Secret."""
        return self._written(serialization.Encoding.PEM)

    def verifier(self, name: str, algorithm: int = ED25519) -> VerifierKey:
        """The public half under a name."""
        return VerifierKey(name, algorithm, self.public_key)

    def sign(self, name: str, text: str) -> Signature:
        """A note signature over a text (signed-note)."""
        return Signature(name, self.verifier(name).id, self._private.sign(text.encode()))

    def cosign(self, name: str, text: str, timestamp: int) -> Signature:
        """A witness's cosignature over a checkpoint's text, seen at ``timestamp`` seconds since 1970
        (tlog-cosignature v1)."""
        signature = self._private.sign(cosigned_message(text, timestamp))
        identity = self.verifier(name, COSIGNATURE).id
        return Signature(name, identity, pack_cosignature(timestamp, signature))


def read_pair(*, file: Path | None, text: str | None) -> SigningPair | None:
    """The pair in a file or a text in PEM, None where neither is given. Raises KeyUnusable."""
    if text is not None:
        # Whoever keeps it on one line writes the line ends as a backslash and an n.
        return SigningPair.from_pem(text.replace("\\n", "\n").encode(errors="replace"))
    if file is None:
        return None
    try:
        return SigningPair.from_pem(file.read_bytes())
    except OSError as error:
        raise KeyUnusable(f"{file} cannot be read: {error.strerror}") from error


def public_pem(public_key: bytes) -> str:
    """A public key as SubjectPublicKeyInfo in PEM."""
    return (
        Ed25519PublicKey.from_public_bytes(public_key)
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def is_signed_by(key: VerifierKey, text: str, signature: Signature) -> bool:
    """Whether a signature is a valid one of this key, of whichever of the two types the key is, over a note's text."""
    if (signature.name, signature.id) != (key.name, key.id):
        return False
    given = signature.signature
    try:
        message = text.encode()
        if key.algorithm == COSIGNATURE:
            timestamp, given = unpack_cosignature(given)
            message = cosigned_message(text, timestamp)
        Ed25519PublicKey.from_public_bytes(key.public_key).verify(given, message)
    except (InvalidSignature, NoteInvalid, ValueError):
        return False
    return True


class Opened(NamedTuple):
    """A checkpoint whose signature was checked: what it says, its note, and which of the keys had signed."""

    checkpoint: Checkpoint
    note: Note
    signers: tuple[VerifierKey, ...]


def open_checkpoint(
    written: str, trusted: Sequence[VerifierKey], ended: Mapping[VerifierKey, int] | None = None
) -> Opened:
    """Read a checkpoint that the log's own key has signed: one of ``trusted`` that bears the origin as its name, and is
    no witness's. Signatures of other keys are passed over, and one that names a trusted key and is not its own is not
    (signed-note). ``ended`` has the keys that were replaced, with the size of the largest log
    that each signs: what it signs of a longer one is passed over too. Raises NoteInvalid, with a sentence that says
    what is wrong.
    """
    ends = ended or {}
    note = parse_note(written)
    checkpoint = parse_checkpoint(note.text)
    signers: list[VerifierKey] = []
    late: list[VerifierKey] = []
    for key in trusted:
        named = [signature for signature in note.signatures if (signature.name, signature.id) == (key.name, key.id)]
        if any(not is_signed_by(key, note.text, signature) for signature in named):
            raise NoteInvalid(
                f"the signature of {key.name} (key {key.id.hex()}) does not fit: the checkpoint was changed after it "
                "was signed, or never signed by this key"
            )
        if named:
            (late if checkpoint.size > ends.get(key, checkpoint.size) else signers).append(key)
    if late and not any(key.algorithm == ED25519 for key in signers):
        raise NotSigned(
            f"key {late[0].name}+{late[0].id.hex()} was replaced and signs no log of more than {ends[late[0]]} "
            f"records; this checkpoint is of {checkpoint.size}"
        )
    if not signers:
        raise NotSigned(
            f"none of the keys you trust ({_named(trusted)}) has signed this checkpoint; it names "
            f"{_named(note.signatures)}"
        )
    if checkpoint.origin not in {key.name for key in signers if key.algorithm == ED25519}:
        raise NoteInvalid(
            f"the checkpoint is of {checkpoint.origin}, and no key of that log that you trust has signed it: the "
            "signature is of another log's key or of a witness"
        )
    return Opened(checkpoint, note, tuple(signers))


def _named(keys: Iterable[VerifierKey | Signature]) -> str:
    return ", ".join(f"{key.name}+{key.id.hex()}" for key in keys) or "none"
