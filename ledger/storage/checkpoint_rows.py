"""Reading and writing checkpoints, cosignatures, turns, and the keys that sign.

Invariants: a checkpoint is inserted once and never changed; a turn is taken by one process, because taking it moves it;
a private half is read by whoever signs and by nothing else.
"""

from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Select, delete, exists, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from ledger.core.signing_key import SigningKey
from ledger.storage.paging import Page, bounded, page_of
from ledger.storage.tables import book_heads, log_records, signing_keys
from ledger.storage.tables_proofs import checkpoint_cosignatures, checkpoint_turns, checkpoints, signing_secrets

COSIGNATURES_MAX: Final = 32
"""Kept beside one checkpoint."""


class StoredCheckpoint(NamedTuple):
    """One row of ``checkpoints``, without its book; ``root`` has 32 bytes, ``created_at`` is in microseconds."""

    size: int
    root: bytes
    note: str
    created_at: int


class StoredCosignature(NamedTuple):
    """One row of ``checkpoint_cosignatures``, without its book: verifier key, its name, time and signature, and when
    it was kept, in microseconds."""

    size: int
    key: str
    name: str
    signature: bytes
    created_at: int


class Active(NamedTuple):
    """A book whose log has grown since its last checkpoint (``signed_size`` 0: it has none)."""

    book_id: int
    size: int
    signed_size: int


_CHECKPOINT: Final = (checkpoints.c.size, checkpoints.c.root, checkpoints.c.note, checkpoints.c.created_at)


def _insert(connection: Connection, table: Any) -> Any:
    return (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(table)


def _stored(row: Any) -> StoredCheckpoint:
    return StoredCheckpoint(row[0], bytes(row[1]), row[2], row[3])


def _of_book(book_id: int) -> Select[Any]:
    return select(*_CHECKPOINT).where(checkpoints.c.book_id == book_id)


def active_books(connection: Connection) -> list[Active]:
    """Every book whose log is longer than its last checkpoint, or shorter."""
    # A look-up for each book, and not a pass over every checkpoint there ever was.
    last = select(func.max(checkpoints.c.size)).where(checkpoints.c.book_id == book_heads.c.book_id).scalar_subquery()
    statement = select(book_heads.c.book_id, book_heads.c.size, func.coalesce(last, 0))
    return [active for active in map(Active._make, connection.execute(statement)) if active.size != active.signed_size]


def latest(connection: Connection, book_id: int) -> StoredCheckpoint | None:
    """The checkpoint of the largest size, or None."""
    row = connection.execute(_of_book(book_id).order_by(checkpoints.c.size.desc()).limit(1)).one_or_none()
    return None if row is None else _stored(row)


def before(connection: Connection, book_id: int, size: int) -> StoredCheckpoint | None:
    """The checkpoint of the largest size below ``size``, or None."""
    statement = _of_book(book_id).where(checkpoints.c.size < size).order_by(checkpoints.c.size.desc()).limit(1)
    row = connection.execute(statement).one_or_none()
    return None if row is None else _stored(row)


def of_size(connection: Connection, book_id: int, size: int) -> StoredCheckpoint | None:
    """The checkpoint of a size, or None."""
    row = connection.execute(_of_book(book_id).where(checkpoints.c.size == size)).one_or_none()
    return None if row is None else _stored(row)


def last_below(connection: Connection, book_id: int, size: int) -> StoredCheckpoint | None:
    """The checkpoint of the largest size below ``size``, or None."""
    statement = _of_book(book_id).where(checkpoints.c.size < size).order_by(checkpoints.c.size.desc()).limit(1)
    row = connection.execute(statement).one_or_none()
    return None if row is None else _stored(row)


def first_covering(connection: Connection, book_id: int, size: int) -> StoredCheckpoint | None:
    """The checkpoint of the smallest size that is ``size`` or more, or None."""
    statement = _of_book(book_id).where(checkpoints.c.size >= size).order_by(checkpoints.c.size).limit(1)
    row = connection.execute(statement).one_or_none()
    return None if row is None else _stored(row)


def page(connection: Connection, book_id: int, *, after: int | None, limit: int) -> Page[StoredCheckpoint]:
    """Checkpoints, largest size first."""
    statement = _of_book(book_id)
    if after is not None:
        statement = statement.where(checkpoints.c.size < after)
    rows = connection.execute(statement.order_by(checkpoints.c.size.desc()).limit(bounded(limit) + 1)).all()
    return page_of(rows, limit, _stored, lambda item: (item.size,))


def between(connection: Connection, book_id: int, after: int | None, last: int) -> list[StoredCheckpoint]:
    """The checkpoints of sizes behind ``after`` (None: any) up to ``last``, smallest first; the caller bounds the
    range."""
    statement = _of_book(book_id).where(checkpoints.c.size <= last)
    if after is not None:
        statement = statement.where(checkpoints.c.size > after)
    return [_stored(row) for row in connection.execute(statement.order_by(checkpoints.c.size))]


def add(connection: Connection, book_id: int, made: StoredCheckpoint) -> bool:
    """Keep a checkpoint; False where one of its size is there, which stays."""
    statement = _insert(connection, checkpoints).on_conflict_do_nothing()
    return connection.execute(statement, {"book_id": book_id, **made._asdict()}).rowcount == 1


def cosignatures(connection: Connection, book_id: int, sizes: list[int]) -> dict[int, list[StoredCosignature]]:
    """The cosignatures of checkpoints, by size, in the order of their keys."""
    columns = checkpoint_cosignatures.c
    found: dict[int, list[StoredCosignature]] = {}
    statement = (
        select(columns.size, columns.key, columns.name, columns.signature, columns.created_at)
        .where(columns.book_id == book_id, columns.size.in_(sizes))
        .order_by(columns.size, columns.key)
    )
    for row in connection.execute(statement):
        found.setdefault(row[0], []).append(StoredCosignature(row[0], row[1], row[2], bytes(row[3]), row[4]))
    return found


def orphan(connection: Connection, book_id: int) -> StoredCosignature | None:
    """A cosignature of a checkpoint that is not there, or None."""
    columns = checkpoint_cosignatures.c
    signed = exists().where(checkpoints.c.book_id == book_id, checkpoints.c.size == columns.size)
    statement = (
        select(columns.size, columns.key, columns.name, columns.signature, columns.created_at)
        .where(columns.book_id == book_id, ~signed)
        .order_by(columns.size, columns.key)
        .limit(1)
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else StoredCosignature(*row)


def add_cosignature(connection: Connection, book_id: int, given: StoredCosignature) -> bool:
    """Keep a cosignature; one of the same key stays. False where there are too many of others."""
    columns = checkpoint_cosignatures.c
    others = connection.execute(
        select(func.count()).where(columns.book_id == book_id, columns.size == given.size, columns.key != given.key)
    ).scalar_one()
    if others >= COSIGNATURES_MAX:
        return False
    statement = _insert(connection, checkpoint_cosignatures).on_conflict_do_nothing()
    connection.execute(statement, {"book_id": book_id, **given._asdict()})
    return True


def recorded_at(connection: Connection, book_id: int, indexes: list[int]) -> dict[int, int]:
    """When records were recorded, by their indexes, in microseconds; of those that are there."""
    columns = log_records.c
    statement = select(columns.log_index, columns.recorded_at).where(
        columns.book_id == book_id, columns.log_index.in_(indexes)
    )
    return {row[0]: row[1] for row in connection.execute(statement)}


def take_turn(connection: Connection, book_id: int, *, now: int, interval: int) -> bool:
    """Whether this process writes the checkpoint that is due at ``now``; the next one is due ``interval`` later, all in
    microseconds."""
    connection.execute(
        _insert(connection, checkpoint_turns).on_conflict_do_nothing(), {"book_id": book_id, "next_at": 0}
    )
    columns = checkpoint_turns.c
    # A turn that lies further ahead than a turn can was taken by a clock that has been set back since.
    statement = (
        update(checkpoint_turns)
        .where(columns.book_id == book_id, (columns.next_at <= now) | (columns.next_at > now + 2 * interval))
        .values(next_at=now + interval)
    )
    return connection.execute(statement).rowcount == 1


def keys(connection: Connection, book_id: int) -> list[SigningKey]:
    """Every key that ever signed, in the order in which they did."""
    statement = select(signing_keys).where(signing_keys.c.book_id == book_id).order_by(signing_keys.c.created_index)
    return [
        SigningKey(row[0], row[1], row[2], row[3], bytes(row[4]), *row[5:]) for row in connection.execute(statement)
    ]


def add_secret(connection: Connection, book_id: int, public_key: bytes, secret: bytes, *, now: int) -> None:
    """Keep a private half (PKCS#8 DER) under its public half."""
    row = {"book_id": book_id, "id": public_key.hex(), "secret": secret, "created_at": now}
    connection.execute(_insert(connection, signing_secrets).on_conflict_do_nothing(), row)


def drop_secret(connection: Connection, book_id: int, public_key: bytes) -> None:
    """Take a private half away that no key of the log needs."""
    columns = signing_secrets.c
    connection.execute(delete(signing_secrets).where(columns.book_id == book_id, columns.id == public_key.hex()))


def secret(connection: Connection, book_id: int, public_key: bytes) -> bytes | None:
    """The private half of a key that the server made itself, or None."""
    columns = signing_secrets.c
    statement = select(columns.secret).where(columns.book_id == book_id, columns.id == public_key.hex())
    found = connection.execute(statement).scalar_one_or_none()
    return None if found is None else bytes(found)
