"""The writer on PostgreSQL: psycopg in pipeline mode, binary arrays, ``unnest``; two round trips per batch.

Invariants: one round trip begins the transaction, locks the head in a statement of its own, then reads the clock and
the facts (at READ COMMITTED each later statement sees what was committed while the lock was waited for); one round
trip writes and commits. Within a pipeline nothing can be looked at before the COMMIT behind it, so each statement that
must change an exact number of rows fails by itself when it does not (it divides by zero), which skips the COMMIT.
Look-ups go by index however little the database knows about its tables: sessions have the other plans switched off.
"""

from functools import cache
from typing import Any, Final, cast

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.types.numeric import Int8
from sqlalchemy import URL

from ledger.core import changeset as tables
from ledger.core.book import Book, Head
from ledger.core.changeset import Changeset, TableSpec
from ledger.core.needs import Needs
from ledger.storage import postgresql_arrays
from ledger.storage.engine import APPLICATION_NAME, connection_info, raise_translated, storage_error
from ledger.storage.errors import CommitUnknown, Conflict, NoRoom, Unavailable
from ledger.storage.facts import IDEMPOTENCY, IDEMPOTENCY_COLUMNS, LOOKUPS, Facts, Lookup, Opening, digests_of
from ledger.storage.postgresql_arrays import ArrayType, encode
from ledger.storage.tables import metadata

CONNECTION_OPTIONS: Final = {
    "application_name": APPLICATION_NAME,
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
"""A server that vanished without a word is noticed within seconds."""
_SESSION: Final = (
    "SET synchronous_commit = on; SET default_transaction_isolation = 'read committed';"
    # Every statement here looks up by key. A plan made while a table was small, or before it was ever analyzed,
    # would read it whole later on; prepared once, plans are not made again for each batch either.
    " SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off;"
    " SET plan_cache_mode = force_generic_plan;"
)
_STATEMENTS_PREPARED: Final = 200
_BEGIN: Final = b"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
_CLOCK: Final = b"SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"


def _types_of(spec: TableSpec) -> dict[str, ArrayType]:
    return {column.name: postgresql_arrays.type_of(column) for column in metadata.tables[spec.name].columns}


def _unnest(spec: TableSpec, columns: tuple[str, ...]) -> str:
    types = _types_of(spec)
    return f"unnest({', '.join(f'%b::{types[column].name}[]' for column in columns)})"


def _insert_statement(spec: TableSpec) -> bytes:
    """Parameters: the book, then an array for each further column."""
    rows = _unnest(spec, spec.columns[1:])
    return f"INSERT INTO {spec.name} ({', '.join(spec.columns)}) SELECT %b::bigint, v.* FROM {rows} v".encode()


def _update_statement(spec: TableSpec) -> bytes:
    """Parameters: an array for each mutable and key column, the number of rows.

    The book comes with each row. Said once, as a value of the table's first key column, it makes the database read all
    rows of the book that it knows nothing about, and compare each with each wanted one.
    """
    columns = (*spec.mutable, *spec.key)
    changes = ", ".join(f"{column} = v.{column}" for column in spec.mutable)
    keys = " AND ".join(f"t.{column} = v.{column}" for column in spec.key)
    return (
        f"WITH changed AS (UPDATE {spec.name} t SET {changes} FROM {_unnest(spec, columns)} v({', '.join(columns)})"
        f" WHERE {keys} RETURNING 1)"
        " SELECT 1 / (count(*) = %b::bigint)::integer FROM changed"
    ).encode()


def _delete_statement(spec: TableSpec) -> bytes:
    """Parameters: an array for each key column but the book, then the book."""
    key = spec.key[1:]
    match = " AND ".join(f"t.{column} = v.{column}" for column in key)
    return (
        f"DELETE FROM {spec.name} t USING {_unnest(spec, key)} v({', '.join(key)})"
        f" WHERE t.book_id = %b::bigint AND {match}"
    ).encode()


def _lookup_statement(lookup: Lookup) -> bytes:
    """Parameters, per alternative: an array for each key column, then the book."""
    columns = ", ".join(f"t.{column}" for column in lookup.table.columns)
    selects = []
    for key in lookup.keys:
        wanted = ", ".join(f"column{at}" for at in range(len(key)))
        match = " AND ".join(f"t.{column} = w.column{at}" for at, column in enumerate(key))
        one = "" if lookup.many else " LIMIT 1"
        if lookup.where:
            match += f" AND {lookup.where}"
        selects.append(
            f"SELECT r.* FROM {_unnest(lookup.table, key)} w({wanted}) CROSS JOIN LATERAL (SELECT {columns}"
            f" FROM {lookup.table.name} t WHERE t.book_id = %b::bigint AND {match}{one}) r"
        )
    return " UNION ALL ".join(selects).encode()


_INSERTS: Final = tuple(
    (spec.name, _insert_statement(spec), tuple(_types_of(spec).values())[1:])
    for spec in tables.TABLES
    if len(spec.key) > 1
)
_UPDATES: Final = tuple(
    (spec.name, _update_statement(spec), tuple(_types_of(spec)[name] for name in (*spec.mutable, *spec.key)))
    for spec in tables.TABLES
    if spec.mutable and len(spec.key) > 1
)
_DELETES: Final = tuple(
    (spec.name, _delete_statement(spec), tuple(_types_of(spec)[name] for name in spec.key[1:]))
    for spec in tables.DELETABLE
)
_LOOKUPS: Final = tuple(
    (lookup, _lookup_statement(lookup), tuple(_types_of(lookup.table)[name] for name in lookup.keys[0]))
    for lookup in LOOKUPS
)
_LOOK_UP_IDEMPOTENCY: Final = (
    f"SELECT {', '.join(IDEMPOTENCY_COLUMNS)} FROM unnest(%b::bytea[]) w(digest)"
    " CROSS JOIN LATERAL (SELECT * FROM idempotency_keys t"
    " WHERE t.book_id = %b::bigint AND t.digest = w.digest LIMIT 1) i"
    " LEFT JOIN LATERAL (SELECT r.body, r.leaf_hash FROM log_records r"
    " WHERE r.book_id = i.book_id AND r.log_index = i.log_index LIMIT 1) l ON true"
).encode()

_LOCK_HEAD: Final = (
    f"SELECT {', '.join(tables.HEADS.columns)} FROM book_heads WHERE book_id = %b::bigint FOR UPDATE"
).encode()
_MOVE_HEAD: Final = (
    b"WITH moved AS (UPDATE book_heads SET size = %b::bigint, root = %b, frontier = %b, recorded_at = %b::bigint,"
    b" account_count = %b::bigint, frozen = %b::boolean"
    b" WHERE book_id = %b::bigint AND size = %b::bigint AND root = %b RETURNING 1)"
    b" SELECT 1 / count(*) FROM moved"
)
_INSERT_HEAD: Final = (
    b"WITH made AS (INSERT INTO book_heads (book_id, size, root, frontier, recorded_at, account_count, frozen)"
    b" VALUES (%b::bigint, %b::bigint, %b, %b, %b::bigint, %b::bigint, %b::boolean) ON CONFLICT DO NOTHING RETURNING 1)"
    b" SELECT 1 / count(*) FROM made"
)
_INSERT_BOOK: Final = (
    f"INSERT INTO books ({', '.join(tables.BOOKS.columns)})"
    " VALUES (%b::bigint, %b::text, %b::text, %b::text, %b::boolean, %b::bigint)"
).encode()
_INSERT_SECRET: Final = b"INSERT INTO book_secrets (book_id, text_secret) VALUES (%b::bigint, %b)"
_READ_BOOK: Final = (
    f"SELECT {', '.join(f'b.{column}' for column in tables.BOOKS.columns)}, s.text_secret"
    " FROM books b JOIN book_secrets s ON s.book_id = b.book_id WHERE b.book_id = %b::bigint"
).encode()
_READ_DUE: Final = (
    b"SELECT id, due_at FROM authorizations WHERE book_id = %b::bigint AND due_at IS NOT NULL"
    b" ORDER BY due_at, id LIMIT %b::bigint"
)
_READ_RENEWALS: Final = (
    b"SELECT budget, next_at FROM renewals WHERE book_id = %b::bigint AND next_at IS NOT NULL"
    b" ORDER BY next_at, budget LIMIT %b::bigint"
)
_ADD_PARTITIONS: Final = b"SELECT bursar_add_partitions(%b::bigint)"
_Cursor = psycopg.Cursor[tuple[Any, ...]]


@cache
def _connection_info(url: URL) -> str:
    return psycopg.conninfo.make_conninfo(connection_info(url), **CONNECTION_OPTIONS)


class PostgresqlWriter:
    """``BookWriter`` on PostgreSQL."""

    def __init__(self, url: URL, *, lock_timeout_seconds: float) -> None:
        """Connect and set up the session. Raises Unavailable."""
        self._book_id = Int8(0)
        try:
            self._connection = psycopg.connect(_connection_info(url), autocommit=True)
            postgresql_arrays.register(self._connection)
            self._connection.prepared_max = _STATEMENTS_PREPARED
            lock_timeout = f" SET lock_timeout = {max(1, round(lock_timeout_seconds * 1_000))};"
            self._connection.execute((_SESSION + lock_timeout).encode())
            row = self._connection.execute("SHOW synchronous_commit").fetchone()
        except psycopg.Error as error:
            raise_translated(error)
        if row is None or row[0] != "on":
            self._connection.close()
            raise Unavailable("PostgreSQL does not let the session set synchronous_commit = on")

    @property
    def connection(self) -> psycopg.Connection[tuple[Any, ...]]:
        """The driver's connection, for tracing."""
        return self._connection

    def _send(self, statement: bytes, parameters: tuple[Any, ...] = ()) -> _Cursor:
        cursor = self._connection.cursor(binary=True)
        cursor.execute(statement, parameters, prepare=True, binary=True)
        return cursor

    def begin(self, book_id: int, needs: Needs) -> Opening:
        """See ``BookWriter``."""
        self._book_id = Int8(book_id)
        facts = Facts(needs)
        try:
            with self._connection.pipeline():
                self._send(_BEGIN)
                head = self._send(_LOCK_HEAD, (self._book_id,))
                clock = self._send(_CLOCK)
                asked = self._ask(facts)
            row = head.fetchone()
            now = cast(tuple[int], clock.fetchone())[0]
            self._take(facts, asked)
        except psycopg.Error as error:
            raise_translated(error)
        return Opening(Head(*row) if row else None, now, facts)

    def read(self, needs: Needs) -> Facts:
        """See ``BookWriter``."""
        facts = Facts(needs)
        try:
            with self._connection.pipeline():
                asked = self._ask(facts)
            self._take(facts, asked)
        except psycopg.Error as error:
            raise_translated(error)
        return facts

    def _ask(self, facts: Facts) -> dict[str, _Cursor]:
        asked: dict[str, _Cursor] = {}
        for lookup, statement, types in _LOOKUPS:
            wanted = getattr(facts.needs, lookup.need)
            if not wanted:
                continue
            columns = [tuple(wanted)] if len(types) == 1 else list(zip(*wanted, strict=True))
            arrays = [encode(kind, column) for kind, column in zip(types, columns, strict=True)]
            asked[lookup.need] = self._send(statement, (*arrays, self._book_id) * len(lookup.keys))
        if facts.needs.idempotency:
            facts.digests = digests_of(facts.needs.idempotency)
            digests = encode(postgresql_arrays.BYTEA, list(facts.digests))
            asked[IDEMPOTENCY] = self._send(_LOOK_UP_IDEMPOTENCY, (digests, self._book_id))
        return asked

    def _take(self, facts: Facts, asked: dict[str, _Cursor]) -> None:
        for need, cursor in asked.items():
            facts.rows[need] = cursor.fetchall()

    def read_book(self) -> tuple[Book, bytes] | None:
        """See ``BookWriter``."""
        try:
            row = self._send(_READ_BOOK, (self._book_id,)).fetchone()
        except psycopg.Error as error:
            raise_translated(error)
        return None if row is None else (Book(*row[:-1]), row[-1])

    def read_due(self, limit: int) -> list[tuple[str, int]]:
        """See ``BookWriter``."""
        try:
            return cast(list[tuple[str, int]], self._send(_READ_DUE, (self._book_id, Int8(limit))).fetchall())
        except psycopg.Error as error:
            raise_translated(error)

    def read_renewals(self, limit: int) -> list[tuple[str, int]]:
        """See ``BookWriter``."""
        try:
            return cast(list[tuple[str, int]], self._send(_READ_RENEWALS, (self._book_id, Int8(limit))).fetchall())
        except psycopg.Error as error:
            raise_translated(error)

    def write(self, changeset: Changeset, *, text_secret: bytes | None = None) -> None:
        """See ``BookWriter``."""
        try:
            with self._connection.pipeline():
                self._send_changes(changeset, text_secret)
        except psycopg.Error as error:
            self._make_room(error, changeset)
            raise_translated(error)

    def commit(self) -> None:
        """See ``BookWriter``."""
        try:
            self._send(b"COMMIT")
        except psycopg.Error as error:
            self._raise_after_commit(error)

    def write_and_commit(self, changeset: Changeset, *, text_secret: bytes | None = None) -> None:
        """See ``BookWriter``."""
        try:
            with self._connection.pipeline():
                self._send_changes(changeset, text_secret)
                self._send(b"COMMIT")
        except psycopg.Error as error:
            self._make_room(error, changeset)
            self._raise_after_commit(error)

    def _make_room(self, error: psycopg.Error, changeset: Changeset) -> None:
        """Where no partition takes a row, make one and raise Conflict, so that the batch is decided again; or NoRoom.

        Partitions are made ahead of time elsewhere. This is for when that has not run.
        """
        # A row that a CHECK refuses has the same code, and the constraint's name beside it.
        if error.sqlstate != "23514" or error.diag.constraint_name is not None:
            return
        self.rollback()
        try:
            self._connection.execute(_ADD_PARTITIONS, (Int8(changeset.head.size),))
        except psycopg.Error as refused:
            why = refused.diag.message_primary or str(refused)
            raise NoRoom(
                f"no partition takes the next records, and this role could make none ({why}): "
                "run 'bursar partitions create' as the owner of the tables"
            ) from refused
        raise Conflict("a partition was missing and has been made") from error

    def _raise_after_commit(self, error: psycopg.Error) -> None:
        if self._connection.closed or isinstance(storage_error(error), Unavailable):
            raise CommitUnknown(str(error)) from error
        raise_translated(error)

    def _send_changes(self, changeset: Changeset, text_secret: bytes | None) -> None:
        book_id = Int8(changeset.book_id)
        head = changeset.head
        state = (
            Int8(head.size), head.root, head.frontier, Int8(head.recorded_at), Int8(head.account_count),
            bool(head.frozen),
        )  # fmt: skip
        if text_secret is None:
            self._send(_MOVE_HEAD, (*state, book_id, Int8(changeset.previous_size), changeset.previous_root))
        else:
            self._send(_INSERT_HEAD, (book_id, *state))
            self._send(_INSERT_SECRET, (book_id, text_secret))
        for row in changeset.inserts.get(tables.BOOKS.name, ()):
            self._send(_INSERT_BOOK, (book_id, *row[1:-1], Int8(row[-1])))
        inserts = changeset.inserts
        for name, statement, types in _INSERTS:
            rows = inserts.get(name)
            if rows:
                columns = list(zip(*rows, strict=True))[1:]
                self._send(statement, (book_id, *map(encode, types, columns)))
        updates = changeset.updates
        for name, statement, types in _UPDATES:
            rows = updates.get(name)
            if rows:
                columns = list(zip(*rows, strict=True))
                self._send(statement, (*map(encode, types, columns), Int8(len(rows))))
        for name, statement, types in _DELETES:
            keys = changeset.deletes.get(name)
            if keys:
                columns = list(zip(*keys, strict=True))[1:]
                self._send(statement, (*map(encode, types, columns), book_id))

    def rollback(self) -> None:
        """See ``BookWriter``."""
        try:
            if self._connection.info.transaction_status not in (TransactionStatus.IDLE, TransactionStatus.UNKNOWN):
                self._connection.execute(b"ROLLBACK")
        except psycopg.Error:
            # A lost connection rolls back by itself on the server.
            self.close()

    def close(self) -> None:
        """See ``BookWriter``."""
        self._connection.close()
