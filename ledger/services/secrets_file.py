"""The secrets of a book as a file beside its bundle: for its owner's backup, and for nobody else.

Owns the format ``bursar-secrets/1``. Invariants: no bundle has a secret, and this file has nothing else; no secret is
in an error.
"""

import json
from typing import Any, Final

from sqlalchemy import Engine

from ledger.core.book import Book
from ledger.services.ed25519 import KeyUnusable, SigningPair
from ledger.storage.secret_rows import StoredSecret, StoredSecrets, secrets_of

FORMAT: Final = "bursar-secrets/1"
FILE_BYTES_MAX: Final = 64 * 1024 * 1024


class SecretsInvalid(ValueError):
    """What is no file of secrets, or one of another book. The message says which, and nothing of what is in it."""


def packed_secrets(engine: Engine, book: Book) -> bytes:
    """The file's content. Raises StorageError."""
    with engine.connect() as connection:
        found = secrets_of(connection, book.book_id)
    said = {
        "format": FORMAT,
        "book": book.name,
        "book_id": book.book_id,
        "text_secret": found.text.hex(),
        "signing_secrets": [_plain(one) for one in found.signing],
        "webhook_secrets": [_plain(one) for one in found.webhooks],
    }
    return json.dumps(said, indent=1).encode() + b"\n"


def _plain(one: StoredSecret) -> dict[str, Any]:
    return {"id": one.id, "secret": one.secret.hex(), "created_at": one.created_at}


def read_secrets(packed: bytes) -> tuple[int, StoredSecrets]:
    """(book id, secrets). Raises SecretsInvalid."""
    if len(packed) > FILE_BYTES_MAX:
        raise SecretsInvalid("it is longer than any file of secrets")
    try:
        said = json.loads(packed)
        if said["format"] != FORMAT:
            raise SecretsInvalid(f'it does not say "format": "{FORMAT}": a newer Bursar may have made it')
        signing, webhooks = (tuple(map(_stored, said[f"{kind}_secrets"])) for kind in ("signing", "webhook"))
        text = bytes.fromhex(said["text_secret"])
        book_id = said["book_id"]
        if not text or type(book_id) is not int:
            raise ValueError
        for one in signing:
            if SigningPair.from_der(one.secret).public_key.hex() != one.id:
                raise ValueError
    except SecretsInvalid:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, KeyUnusable):
        # What was wrong with it may be part of a secret.
        raise SecretsInvalid("it is damaged, or no file of secrets") from None
    return book_id, StoredSecrets(text, signing, webhooks)


def _stored(said: dict[str, Any]) -> StoredSecret:
    identity, created_at = said["id"], said["created_at"]
    if type(identity) is not str or type(created_at) is not int:
        raise ValueError
    return StoredSecret(identity, bytes.fromhex(said["secret"]), created_at)
