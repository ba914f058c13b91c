"""Proofs: the keys that sign checkpoints, tiles of the Merkle tree, checkpoints and who cosigned them.

Invariant: nothing that the ledger stands on is changed; the way back drops these tables and no other.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: None = None
depends_on: None = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TILE_BYTES = 8192
TABLES = (
    "signing_keys", "merkle_tiles", "checkpoints", "checkpoint_cosignatures", "checkpoint_turns", "signing_secrets",
)  # fmt: skip


def big(name: str) -> sa.Column[Any]:
    """A 64-bit column."""
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=False)


def ascii_text(name: str) -> sa.Column[Any]:
    """A column of text that sorts by its bytes on both databases."""
    return sa.Column(name, TEXT, nullable=False)


def raw(name: str) -> sa.Column[Any]:
    """A column of bytes."""
    return sa.Column(name, sa.LargeBinary(), nullable=False)


def check(table_name: str, name: str, rule: str) -> sa.CheckConstraint:
    """A rule that rows keep."""
    return sa.CheckConstraint(rule, name=op.f(f"{table_name}_{name}"))


def table(name: str, *items: Any, key: tuple[str, ...] = (), **options: Any) -> None:
    """A table whose key is led by the book."""
    primary = sa.PrimaryKeyConstraint("book_id", *key, name=op.f(f"{name}_pkey"))
    op.create_table(name, big("book_id"), *items, primary, **options)


def upgrade() -> None:
    """Make the tables."""
    table(
        "signing_keys", ascii_text("id"), ascii_text("name"), ascii_text("algorithm"), raw("public_key"),
        ascii_text("made_by"), big("created_at"), big("created_index"),
        check("signing_keys", "algorithm_listed", "algorithm = 'ed25519'"),
        check("signing_keys", "public_key_is_32_bytes", "length(public_key) = 32"),
        key=("id",), sqlite_with_rowid=False,
    )  # fmt: skip
    op.create_index("signing_keys_algorithm", "signing_keys", ["book_id", "algorithm", "created_index"], unique=False)
    table(
        "merkle_tiles", sa.Column("level", sa.Integer(), autoincrement=False, nullable=False), big("position"),
        raw("root"), raw("hashes"),
        check("merkle_tiles", "root_is_a_hash", "length(root) = 32"),
        check("merkle_tiles", "hashes_are_256", f"length(hashes) = {TILE_BYTES}"),
        key=("level", "position"),
    )  # fmt: skip
    table(
        "checkpoints", big("size"), raw("root"), ascii_text("note"), big("created_at"),
        check("checkpoints", "size_positive", "size > 0"),
        check("checkpoints", "root_is_a_hash", "length(root) = 32"),
        key=("size",),
    )  # fmt: skip
    table(
        "checkpoint_cosignatures", big("size"), ascii_text("key"), ascii_text("name"), raw("signature"),
        big("created_at"), key=("size", "key"), sqlite_with_rowid=False,
    )  # fmt: skip
    table(
        "checkpoint_turns", big("next_at"), check("checkpoint_turns", "next_at_not_negative", "next_at >= 0"),
        sqlite_with_rowid=False,
    )  # fmt: skip
    table(
        "signing_secrets", ascii_text("id"), raw("secret"), big("created_at"), key=("id",), sqlite_with_rowid=False
    )  # fmt: skip
    if op.get_context().dialect.name == "postgresql":
        # Hashes do not compress: trying to would cost time for each tile and gain nothing.
        op.execute("ALTER TABLE merkle_tiles ALTER COLUMN hashes SET STORAGE EXTERNAL")


def downgrade() -> None:
    """Drop the tables, with every checkpoint and the keys that the server made."""
    for name in reversed(TABLES):
        op.drop_table(name)
