"""Keys that sign checkpoints, as the log has them: public halves, in the order in which they signed.

Invariants: a row is never changed, because the key that signs at any size of the log is the last one recorded before
that size; every key of a book bears the same name, which is the origin of the book's checkpoints; no private half is
here or in the log.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ledger.core.notes import ED25519, VerifierKey

ALGORITHM_ED25519: Final = "ed25519"
ALGORITHMS: Final = (ALGORITHM_ED25519,)
"""What checkpoints are signed with. A second one gets a name here, a type byte in ``core.notes``, and a line of its own
in each note."""
ORIGIN_DEFAULT: Final = "bursar"
ORIGIN_PREFIX_MAX: Final = 128
"""Characters with which an origin may begin, so that with the longest name of a book it still names a key."""


@dataclass(slots=True)
class SigningKey:
    """One row of ``signing_keys``: ``id`` is the 4 bytes of signed-note in hex, ``name`` the origin, ``public_key`` 32
    bytes, ``created_at`` in microseconds; it signs from the record after ``created_index`` on."""

    book_id: int
    id: str
    name: str
    algorithm: str
    public_key: bytes
    made_by: str
    created_at: int
    created_index: int

    def verifier(self) -> VerifierKey:
        """The key as whoever verifies keeps it."""
        return VerifierKey(self.name, ED25519, self.public_key)


def current_key(keys: Iterable[SigningKey], size: int | None = None) -> SigningKey | None:
    """The key that signs a log of ``size`` records (None: now): the last one recorded in it, or None."""
    known = [key for key in keys if size is None or key.created_index < size]
    return max(known, key=lambda key: key.created_index, default=None)


def origin_of(prefix: str, book_name: str, book_code: str) -> str:
    """The origin that a book gets with its first key: the prefix of whoever runs it, the book's name, and its code,
    which no other book has."""
    return f"{prefix or ORIGIN_DEFAULT}/{book_name}-{book_code}"
