"""Reading every secret of a book at once, for a backup that its owner keeps apart.

Invariant: what is read here goes into the file that the owner asked for, and into no message.
"""

from typing import NamedTuple

from sqlalchemy import Connection, Table, select

from ledger.storage.queries_log import text_secret
from ledger.storage.tables_proofs import signing_secrets
from ledger.storage.tables_webhooks import webhook_secrets


class StoredSecret(NamedTuple):
    """One row of ``signing_secrets`` or ``webhook_secrets``, without its book; ``created_at`` is in microseconds."""

    id: str
    secret: bytes
    created_at: int


class StoredSecrets(NamedTuple):
    """What salts a book's texts, what signs its checkpoints (PKCS#8 DER), and what signs its alerts."""

    text: bytes
    signing: tuple[StoredSecret, ...]
    webhooks: tuple[StoredSecret, ...]


def secrets_of(connection: Connection, book_id: int) -> StoredSecrets:
    """Every secret of a book that the database has."""
    return StoredSecrets(
        bytes(text_secret(connection, book_id) or b""),
        _rows(connection, signing_secrets, book_id),
        _rows(connection, webhook_secrets, book_id),
    )


def _rows(connection: Connection, table: Table, book_id: int) -> tuple[StoredSecret, ...]:
    columns = table.c
    statement = select(columns.id, columns.secret, columns.created_at).where(columns.book_id == book_id)
    return tuple(
        StoredSecret(row[0], bytes(row[1]), row[2]) for row in connection.execute(statement.order_by(columns.id))
    )
