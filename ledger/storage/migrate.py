"""Bringing a database to the tables of this version, and telling whether it has them.

Invariant: an upgrade happens whole or not at all, on both databases (what ``partitioning.prepare`` does before is no
part of it: a check that all rows keep, and that nothing else looks at), and never starts from a working directory or an
ini file: the revisions are those installed beside this code.
"""

from functools import cache
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

import migrations
from ledger.storage.engine import create_migration_engine
from ledger.storage.partitioning import WIDTH_DEFAULT, prepare

_REVISIONS: Final = Path(migrations.__file__).parent


def configuration() -> Config:
    """Alembic's configuration, made of nothing but the place of the revisions."""
    config = Config()
    # Alembic interpolates percent signs, which a path may hold.
    config.set_main_option("script_location", str(_REVISIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def upgrade(database_url: str, *, partition_records: int = WIDTH_DEFAULT) -> None:
    """Make or change the tables until they are this version's. Raises StorageError.

    ``partition_records`` is how many log indexes a partition has on PostgreSQL; it counts where the tables become
    partitions, and never again.
    """
    engine = create_migration_engine(database_url)
    try:
        prepare(engine, partition_records)
        with engine.begin() as connection:
            config = configuration()
            config.attributes["connection"] = connection
            config.attributes["partition_records"] = partition_records
            command.upgrade(config, "head")
    finally:
        engine.dispose()


@cache
def head_revision() -> str:
    """The revision that this version needs. Read from the revisions once, because readiness is asked often."""
    head = ScriptDirectory.from_config(configuration()).get_current_head()
    if head is None:
        raise LookupError(f"no revisions in {_REVISIONS}")
    return head


def current_and_head(database_url: str) -> tuple[str | None, str]:
    """The revision of the database (None: no tables yet) and the one this version needs. Raises StorageError."""
    engine = create_migration_engine(database_url)
    try:
        with engine.connect() as connection:
            return _current(connection), head_revision()
    finally:
        engine.dispose()


def is_current(engine: Engine) -> bool:
    """Whether the database has the tables of this version. Raises StorageError."""
    with engine.connect() as connection:
        return _current(connection) == head_revision()


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
