"""A forger who knows the form of the log: leaves, head, tiles and checkpoints made right again, and rows folded anew.

Owns how far a forgery goes. Invariant: what a forger makes right is right to the byte, so that what is found is found
by what the forgery did not reach.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from ledger.core import changeset
from ledger.core.canonical import canonical_bytes, parse
from ledger.core.deriving import Clock, Columns, columns_of
from ledger.core.merkle import Frontier
from ledger.core.notes import Checkpoint, Note
from ledger.core.projecting import Fold
from ledger.core.signing_key import SigningKey, current_key
from ledger.core.tiles import TileFold
from ledger.services.ed25519 import SigningPair
from ledger.services.verify_log import UNFOLLOWED
from ledger.services.verify_projections import COMPARED
from ledger.storage.scratch import Scratch
from ledger.storage.tables import metadata
from ledger.storage.tables_finance import SPECS as SPENT
from tests.tamper.attacker import KEYS, Attacker, Row

BODY, LEAF, HEAD, TILES, SIGNED, FOLDED = range(6)
"""How far a forgery goes: the body alone; its leaf hash, and the columns that it gives; the head's root and frontier;
the tiles; the checkpoints, signed anew with the key out of the database, without what witnesses signed, and the roots
that closings of months say; and every projection, folded from the forged log as far as it can be followed."""
REACHES = ("body", "leaf", "head", "tiles", "signed", "folded")


def body_of(row: Row) -> dict[str, Any]:
    """The body of a record, to be changed."""
    found: dict[str, Any] = parse(row["body"])
    return found


def record(row: Row, body: dict[str, Any] | bytes, *, index: int | None = None) -> Row:
    """The record with another body, its leaf and the columns that it gives, if it gives any."""
    packed = body if isinstance(body, bytes) else canonical_bytes(body)
    made = row | {"body": packed, "leaf_hash": sha256(b"\0" + packed).digest()}
    if index is not None:
        made["log_index"] = index
    with contextlib.suppress(*UNFOLLOWED):
        made |= columns_of(parse(packed), Clock())._asdict()
    return made


def write(attacker: Attacker, records: Sequence[Row], reach: int, *, sign: bool = True) -> None:
    """Make these the log, as far as ``reach`` says; ``BODY`` and ``LEAF`` are the caller's. Without ``sign`` the
    checkpoints stay as they were."""
    frontier = Frontier()
    roots: dict[int, bytes] = {}
    written: list[Row] = []
    for row in records:
        if reach >= SIGNED and row["kind"] == "period_close":
            row = _closing_anew(row, roots)
        written.append(row)
        frontier.append(row["leaf_hash"])
        roots[frontier.size] = frontier.root()
    records = written
    put(attacker, "log_records", records)
    if reach >= HEAD:
        head = attacker.rows["book_heads"][0]
        said = {"size": len(records), "recorded_at": records[-1]["recorded_at"]}
        attacker.change("book_heads", head, root=frontier.root(), frontier=frontier.to_bytes(), **said)
    if reach >= TILES:
        made = TileFold().extend([row["leaf_hash"] for row in records])
        put(attacker, "merkle_tiles", [{"book_id": attacker.book_id, **tile._asdict()} for tile in made])
    if reach >= SIGNED and sign:
        _sign(attacker, roots)
    if reach >= FOLDED:
        _fold(attacker, records)


def _closing_anew(row: Row, roots: dict[int, bytes]) -> Row:
    """The closing of a month with the root that the log before it has now."""
    with contextlib.suppress(*UNFOLLOWED):
        body = body_of(row)
        root = roots[body["size"]].hex()
        if body["root"] != root:
            return record(row, body | {"root": root})
    return row


def put(attacker: Attacker, table: str, rows: Sequence[Row]) -> None:
    """Make these all the rows of the book in a table, touching only what differs from how it was before the attack."""
    before = {tuple(row[name] for name in KEYS[table]): row for row in attacker.rows[table]}
    after = {tuple(row[name] for name in KEYS[table]): row for row in rows}
    for key, row in before.items():
        if key not in after:
            attacker.delete(table, row)
        elif after[key] != row:
            attacker.change(table, row, **{name: value for name, value in after[key].items() if value != row[name]})
    for key, row in after.items():
        if key not in before:
            attacker.insert(table, row)


def _sign(attacker: Attacker, roots: dict[int, bytes]) -> None:
    """Sign every checkpoint anew whose root is another now, and drop its cosignatures; drop those behind the end."""
    keys = [SigningKey(**row) for row in attacker.rows["signing_keys"]]
    secrets = {row["id"]: row["secret"] for row in attacker.rows["signing_secrets"]}
    signed: list[Row] = []
    for row in attacker.rows["checkpoints"]:
        key = current_key(keys, row["size"])
        if row["size"] not in roots or key is None:
            continue
        if roots[row["size"]] == row["root"]:
            signed.append(row)
            continue
        pair = SigningPair.from_der(secrets[key.public_key.hex()])
        text = Checkpoint(key.name, row["size"], roots[row["size"]]).text()
        note = Note(text, (pair.sign(key.name, text),)).write()
        signed.append(row | {"root": roots[row["size"]], "note": note})
    put(attacker, "checkpoints", signed)
    good = {row["size"] for row in signed if row in attacker.rows["checkpoints"]}
    put(attacker, "checkpoint_cosignatures",
        [row for row in attacker.rows["checkpoint_cosignatures"] if row["size"] in good])  # fmt: skip


def _fold(attacker: Attacker, records: Sequence[Row]) -> None:
    """Every projection as the forged log gives it; left as it is where the log cannot be followed."""
    scratch = Scratch()
    try:
        fold = Fold(attacker.book_id, scratch)
        transfers: list[tuple[Any, ...]] = []
        for row in records:
            body = body_of(row)
            columns = Columns(row["kind"], row["subject"], row["recorded_at"], row["effective_at"])
            transfers += fold.apply(body, columns)
        scratch.write()
        for spec in COMPARED:
            put(attacker, spec.name, _rows(attacker, spec, [row for page in scratch.pages(spec) for row in page]))
        put(attacker, "transfers", _rows(attacker, changeset.TRANSFERS, transfers))
        for spec in SPENT:
            # A server makes these again from the forged log.
            attacker.empty(spec.name)
        indexes = {row["log_index"] for row in records}
        put(attacker, "texts", [row for row in attacker.rows["texts"] if row["log_index"] in indexes])
        head = attacker.rows["book_heads"][0]
        attacker.change("book_heads", head, account_count=fold.account_count, frozen=bool(fold.frozen))
    except UNFOLLOWED:
        return
    finally:
        scratch.close()


def _rows(attacker: Attacker, spec: changeset.TableSpec, rows: Sequence[tuple[Any, ...]]) -> list[Row]:
    kinds = [str(column.type) == "BOOLEAN" for column in metadata.tables[spec.name].columns][1:]
    return [
        {"book_id": attacker.book_id}
        | {
            name: bool(value) if is_flag and not attacker.sqlite else value
            for name, value, is_flag in zip(spec.columns[1:], row, kinds, strict=True)
        }
        for row in rows
    ]
