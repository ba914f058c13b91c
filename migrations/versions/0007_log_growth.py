"""Log growth: partitions by ranges of log indexes on PostgreSQL, what has been archived, and rows that none replaces.

Invariants: no row is copied or changed, the tables that were there become the first partitions; every partition refuses
UPDATE, DELETE and TRUNCATE as its parent does; who had rights on the tables has them on the parents.

The whole table has to be shown to fit the first partition's bound. ``ledger.storage.partitioning.prepare`` shows it
before, in short transactions that stop nobody; without it the scan is made here, under the lock.
"""

from typing import Any

import sqlalchemy as sa
from alembic import context, op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: None = None
depends_on: None = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
WIDTH = 16_777_216
"""Indexes of a partition where the migration is told no other: 256³, so that no tile of the tree spans two."""

INDEXES: dict[str, tuple[tuple[str, tuple[str, ...], str | None], ...]] = {
    "log_records": (
        ("log_records_recorded_at", ("book_id", "recorded_at", "log_index"), None),
        (
            "log_records_finance",
            ("book_id", "kind", "log_index"),
            "kind = 'charge' OR kind = 'refund' OR kind = 'adjustment' OR kind = 'allocation' OR kind = 'deallocation'",
        ),
        ("log_records_renewals", ("book_id", "subject", "log_index"), "kind = 'renewal'"),
    ),
    "transfers": (
        ("transfers_debit", ("book_id", "debit_no", "log_index", "position"), None),
        ("transfers_credit", ("book_id", "credit_no", "log_index", "position"), None),
        ("transfers_debit_backdated", ("book_id", "debit_no", "effective_at"), "effective_at <> recorded_at"),
        ("transfers_credit_backdated", ("book_id", "credit_no", "effective_at"), "effective_at <> recorded_at"),
    ),
}
KEYS = {"log_records": ("book_id", "log_index"), "transfers": ("book_id", "log_index", "position")}

REFUSE = """
CREATE OR REPLACE FUNCTION bursar_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  RAISE EXCEPTION '% is append-only: % is refused', coalesce(TG_ARGV[0], TG_TABLE_NAME), TG_OP
  USING ERRCODE = 'restrict_violation';
END $$
"""
REFUSE_BEFORE = REFUSE.replace("coalesce(TG_ARGV[0], TG_TABLE_NAME)", "TG_TABLE_NAME")

# LIKE and ATTACH instead of PARTITION OF: an attachment lets everybody read and write the parent meanwhile.
MAKE_PARTITION = """
CREATE FUNCTION bursar_make_partition(low bigint, high bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, {schema}, pg_temp AS $$
DECLARE
  parent text;
  part text;
BEGIN
  FOREACH parent IN ARRAY ARRAY['log_records', 'transfers'] LOOP
    part := parent || '_p' || coalesce(low, 0);
    EXECUTE format('CREATE TABLE {schema}.%I (LIKE {schema}.%I INCLUDING ALL)', part, parent);
    EXECUTE format(
      'CREATE TRIGGER %I BEFORE TRUNCATE ON {schema}.%I FOR EACH STATEMENT'
      ' EXECUTE FUNCTION {schema}.bursar_refuse_change(%L)',
      parent || '_no_truncate', part, parent);
    EXECUTE format(
      'ALTER TABLE {schema}.%I ATTACH PARTITION {schema}.%I FOR VALUES FROM (%s) TO (%s)',
      parent, part, coalesce(quote_literal(low), 'MINVALUE'), quote_literal(high));
  END LOOP;
END $$
"""

# Whoever calls it owns nothing. It makes what is needed and little more, however often and with whatever it is called.
ADD_PARTITIONS = """
CREATE FUNCTION bursar_add_partitions(needed bigint) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp AS $$
DECLARE
  ahead constant integer := 2;
  beyond_max constant bigint := 1000000;
  made_max constant integer := 64;
  head bigint;
  low bigint;
  high bigint;
  until bigint;
  made integer := 0;
BEGIN
  -- One at a time: whoever waited here sees what the other made.
  LOCK TABLE {schema}.log_records, {schema}.transfers IN SHARE UPDATE EXCLUSIVE MODE;
  SELECT coalesce(max(size), 0) INTO head FROM {schema}.book_heads;
  LOOP
    SELECT coalesce(substring(b.bound FROM 'FROM \\(''?(\\d+)')::bigint, 0),
           substring(b.bound FROM 'TO \\(''?(\\d+)')::bigint
      INTO low, high
      FROM (SELECT pg_get_expr(c.relpartbound, c.oid) AS bound
              FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
             WHERE i.inhparent = '{schema}.log_records'::regclass) b
     ORDER BY 2 DESC LIMIT 1;
    until := greatest(least(coalesce(needed, 0), head + beyond_max), head + ahead * (high - low));
    EXIT WHEN high >= until OR made >= made_max;
    PERFORM {schema}.bursar_make_partition(high, high + (high - low));
    made := made + 1;
  END LOOP;
  RETURN made;
END $$
"""


def upgrade() -> None:
    """Make what keeps account of archives; then the partitions, or SQLite's triggers."""
    archives()
    bind = op.get_bind()
    if bind.dialect.name == "sqlite":
        for table, key in KEYS.items():
            match = " AND ".join(f"{column} = NEW.{column}" for column in key)
            op.execute(
                f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
                f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {match}) BEGIN "
                f"SELECT RAISE(ABORT, '{table} is append-only: REPLACE is refused'); END"
            )
        return
    width = int(context.config.attributes.get("partition_records") or WIDTH)
    schema = bind.execute(sa.text("SELECT quote_ident(current_schema())")).scalar_one()
    op.execute(REFUSE)
    for function in (MAKE_PARTITION, ADD_PARTITIONS):
        bind.exec_driver_sql(function.format(schema=schema).replace("%", "%%"))
    op.execute("REVOKE ALL ON FUNCTION bursar_make_partition(bigint, bigint) FROM PUBLIC")
    op.execute("REVOKE ALL ON FUNCTION bursar_add_partitions(bigint) FROM PUBLIC")
    bound = first_bound(bind, width)
    for table in KEYS:
        make_first_partition(bind, table, bound)
    for low in (bound, bound + width):
        bind.execute(sa.text("SELECT bursar_make_partition(:low, :high)"), {"low": low, "high": low + width})


def archives() -> None:
    """The table that says which ranges of which books stand in an archive and not here."""
    op.create_table(
        "log_archives",
        sa.Column("book_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("stop", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("last_recorded_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("detached_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.CheckConstraint("start >= 0 AND stop > start", name=op.f("log_archives_range_not_empty")),
        sa.CheckConstraint("length(digest) = 32", name=op.f("log_archives_digest_is_a_hash")),
        sa.PrimaryKeyConstraint("book_id", "start", name=op.f("log_archives_pkey")),
        sqlite_with_rowid=False,
    )


def first_bound(bind: Any, width: int) -> int:
    """Where the first partition ends: where it was shown to before, or behind everything there is."""
    prepared = bind.execute(
        sa.text(
            "SELECT substring(pg_get_constraintdef(oid) FROM '(\\d+)')::bigint FROM pg_constraint"
            " WHERE conrelid = 'log_records'::regclass AND conname = 'log_records_until'"
        )
    ).scalar()
    if prepared is not None:
        return int(prepared)
    last = bind.execute(sa.text("SELECT coalesce(max(size), 0) FROM book_heads")).scalar_one()
    return (int(last) // width + 1) * width


def make_first_partition(bind: Any, table: str, bound: int) -> None:
    """Put a parent above a table that is there, which becomes its first partition."""
    first = f"{table}_p0"
    op.execute(f"DROP TRIGGER {table}_no_change ON {table}")
    op.execute(f"DROP TRIGGER {table}_no_truncate ON {table}")
    op.execute(f"ALTER TABLE {table} RENAME TO {first}")
    op.execute(f"ALTER INDEX {table}_pkey RENAME TO {first}_pkey")
    for name, _, _ in INDEXES[table]:
        op.execute(f"ALTER INDEX {name} RENAME TO {name.replace(table, first)}")
    op.execute(
        f"CREATE TABLE {table} (LIKE {first} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)"
        " PARTITION BY RANGE (log_index)"
    )
    op.execute(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {table}_until")
    op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {table}_pkey PRIMARY KEY ({', '.join(KEYS[table])})")
    for name, columns, where in INDEXES[table]:
        op.execute(
            f"CREATE INDEX {name} ON {table} ({', '.join(columns)})" + ("" if where is None else f" WHERE {where}")
        )
    op.execute(
        f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table}"
        f" FOR EACH ROW EXECUTE FUNCTION bursar_refuse_change('{table}')"
    )
    op.execute(f"ALTER TABLE {table} ATTACH PARTITION {first} FOR VALUES FROM (MINVALUE) TO ({bound})")
    op.execute(f"ALTER TABLE {first} DROP CONSTRAINT IF EXISTS {table}_until")
    for name in (table, first):
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {name}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION bursar_refuse_change('{table}')"
        )
    move_rights(bind, first, table)


def move_rights(bind: Any, given_on: str, to: str) -> None:
    """Grant on one table what others than its owner hold on another, and take it from there."""
    held = bind.execute(
        sa.text(
            "SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,"
            " a.privilege_type FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a"
            " WHERE c.oid = CAST(:name AS regclass) AND a.grantee <> c.relowner"
        ),
        {"name": given_on},
    ).all()
    for grantee, privilege in held:
        op.execute(f"GRANT {privilege} ON {to} TO {grantee}")
        op.execute(f"REVOKE {privilege} ON {given_on} FROM {grantee}")


def downgrade() -> None:
    """One table each again. Raises ValueError once something was archived, which one table cannot say."""
    bind = op.get_bind()
    archived = bind.execute(sa.text("SELECT name FROM log_archives LIMIT 1")).scalar()
    if archived is not None:
        raise ValueError(f"{archived} was archived, and the tables before this revision cannot do without its records")
    if bind.dialect.name == "sqlite":
        for table in KEYS:
            op.execute(f"DROP TRIGGER {table}_no_replace")
    else:
        for table in KEYS:
            make_one_table(bind, table)
        op.execute("DROP FUNCTION bursar_add_partitions(bigint)")
        op.execute("DROP FUNCTION bursar_make_partition(bigint, bigint)")
        op.execute(REFUSE_BEFORE)
    op.drop_table("log_archives")


def make_one_table(bind: Any, table: str) -> None:
    """The first partition with the rows of the others, in place of the parent."""
    first = f"{table}_p0"
    parts = bind.execute(
        sa.text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = CAST(:name AS regclass)"),
        {"name": table},
    ).scalars()
    others = [part for part in parts if part != first]
    op.execute(f"ALTER TABLE {table} DETACH PARTITION {first}")
    for part in others:
        op.execute(f"INSERT INTO {first} SELECT * FROM {part}")
    move_rights(bind, table, first)
    op.execute(f"DROP TABLE {table}")
    op.execute(f"DROP TRIGGER IF EXISTS {table}_no_change ON {first}")
    op.execute(f"DROP TRIGGER {table}_no_truncate ON {first}")
    op.execute(f"ALTER TABLE {first} RENAME TO {table}")
    op.execute(f"ALTER INDEX {first}_pkey RENAME TO {table}_pkey")
    for name, _, _ in INDEXES[table]:
        op.execute(f"ALTER INDEX {name.replace(table, first)} RENAME TO {name}")
    op.execute(
        f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table}"
        " FOR EACH ROW EXECUTE FUNCTION bursar_refuse_change()"
    )
    op.execute(
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}"
        " FOR EACH STATEMENT EXECUTE FUNCTION bursar_refuse_change()"
    )
