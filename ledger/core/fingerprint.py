"""Fingerprints: what makes two requests to spend the same, so that a loop shows.

Owns the derived fingerprint (payee, resource, amount, currency and intent) beside the one a client may send. Invariant:
keyed with the book's secret, so that nobody without it can confirm a guessed intent against the log.
"""

from hashlib import blake2b
from typing import Final

from ledger.core.canonical import canonical_bytes
from ledger.core.command import Authorize

DERIVED: Final = "derived"
CLIENT: Final = "client"
_SIZE: Final = 12


def fingerprint_of(
    secret: bytes, *, payee: str, resource: str | None, amount: str, currency: str, intent: str | None
) -> str:
    """24 hex digits over what is asked. Amounts written differently ("1" and "1.0") are the same."""
    amount = amount.rstrip("0").rstrip(".") if "." in amount else amount
    said = canonical_bytes([payee, resource or "", amount.lstrip("0"), currency, intent or ""])
    return blake2b(said, digest_size=_SIZE, key=secret).hexdigest()


def derived_fingerprint(secret: bytes, asked: Authorize) -> str:
    """The fingerprint that a request gets."""
    return fingerprint_of(
        secret, payee=asked.payee, resource=asked.resource, amount=asked.amount, currency=asked.currency,
        intent=asked.intent,
    )  # fmt: skip


def fingerprints_of(secret: bytes, asked: Authorize) -> tuple[tuple[str, str], ...]:
    """(sort, fingerprint) of a request: the derived one, and the client's where it sent one."""
    derived = (DERIVED, derived_fingerprint(secret, asked))
    return (derived,) if asked.fingerprint is None else (derived, (CLIENT, asked.fingerprint))
