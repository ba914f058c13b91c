"""Private keys as they are given: Ed25519 in PKCS#8 is taken, whatever else is not, in one sentence without the key."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, x25519

from ledger.services.ed25519 import KeyUnusable, SigningPair, read_pair

SEED = bytes(range(32))
PAIR = SigningPair.from_seed(SEED)
PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
PKCS8 = serialization.PrivateFormat.PKCS8
PLAIN = serialization.NoEncryption()
ENCRYPTED = ed25519.Ed25519PrivateKey.from_private_bytes(SEED).private_bytes(
    PEM, PKCS8, serialization.BestAvailableEncryption(b"secret")
)
OTHERS = {
    "encrypted": ENCRYPTED,
    "P-256": ec.generate_private_key(ec.SECP256R1()).private_bytes(PEM, PKCS8, PLAIN),
    "Ed448": ed448.Ed448PrivateKey.generate().private_bytes(PEM, PKCS8, PLAIN),
    "X25519": x25519.X25519PrivateKey.generate().private_bytes(PEM, PKCS8, PLAIN),
    "empty": b"",
    "cut": PAIR.to_pem()[:60],
    "junk": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    "bytes": bytes(100),
    "DER": PAIR.to_der(),
}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    """From a file, and from the environment with its line ends written out."""
    file = tmp_path / "key.pem"
    file.write_bytes(PAIR.to_pem())
    on_one_line = PAIR.to_pem().decode().replace("\n", "\\n")
    for pair in (
        SigningPair.from_pem(PAIR.to_pem()),
        SigningPair.from_der(PAIR.to_der()),
        read_pair(file=file, text=None),
        read_pair(file=None, text=PAIR.to_pem().decode()),
        read_pair(file=None, text=on_one_line),
    ):
        assert pair is not None
        assert pair.public_key == PAIR.public_key
    assert read_pair(file=None, text=None) is None


@pytest.mark.parametrize("given", OTHERS.values(), ids=list(OTHERS))
def test_another_key_is_refused(given: bytes, tmp_path: Path) -> None:
    """Of another kind, with a password, or none at all."""
    file = tmp_path / "key.pem"
    file.write_bytes(given)
    with pytest.raises(KeyUnusable, match="keys make --out FILE"):
        read_pair(file=file, text=None)
    with pytest.raises(KeyUnusable, match="keys make --out FILE"):
        read_pair(file=None, text=given.decode("latin-1"))
    if given != PAIR.to_der():
        with pytest.raises(KeyUnusable):
            SigningPair.from_der(given)


def test_what_is_no_text_is_refused() -> None:
    """Half a character in the environment, and a file that is not there."""
    with pytest.raises(KeyUnusable, match="keys make --out FILE"):
        read_pair(file=None, text="\ud800")
    with pytest.raises(KeyUnusable, match="cannot be read"):
        read_pair(file=Path("/nonexistent/key.pem"), text=None)
