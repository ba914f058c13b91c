"""A server's role on PostgreSQL: what it is granted is enough for everything, and not enough to change history."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from typing import NamedTuple

import psycopg
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, make_url, text

from bench.postgres_server import PostgresServer
from bursar.command import bursar
from ledger.core.changeset import SIDE, TABLES
from ledger.services.growing import Growing
from ledger.services.verify import verify_books
from ledger.storage import partitioning
from ledger.storage.engine import create_engine, create_migration_engine
from ledger.storage.migrate import upgrade
from ledger.storage.queries_log import list_books
from ledger.storage.rights import RoleUnfit, excess, grant, statements
from ledger.storage.side_writer import SideWriter
from ledger.storage.tables import APPEND_ONLY, metadata
from tests.support.databases import postgresql_database
from tests.support.running_app import RunningApp, authorization, usd

WIDTH = 256
INSUFFICIENT_PRIVILEGE = "42501"


class Roles(NamedTuple):
    """The database as its owner and as the server sees it, and the server's role."""

    owner_url: str
    server_url: str
    role: str


@contextlib.contextmanager
def granted(server: PostgresServer) -> Iterator[Roles]:
    """A new migrated database, and a role that was granted what a server needs."""
    role = f"server-{uuid.uuid4().hex[:8]}"
    with postgresql_database(server) as url:
        upgrade(url, partition_records=WIDTH)
        engine = create_migration_engine(url)
        with engine.begin() as connection:
            connection.exec_driver_sql(f'CREATE ROLE "{role}" LOGIN')
            grant(connection, role)
        yield Roles(url, make_url(url).set(username=role).render_as_string(hide_password=False), role)
        with engine.begin() as connection:
            connection.exec_driver_sql(f'DROP OWNED BY "{role}"')
            connection.exec_driver_sql(f'DROP ROLE "{role}"')
        engine.dispose()


@pytest.fixture(scope="module")
def roles(postgres_server: PostgresServer) -> Iterator[Roles]:
    """What the tests share; each leaves rights and records as they were, and room behind them is of no concern."""
    with granted(postgres_server) as made:
        yield made


@pytest.fixture
def served(postgres_server: PostgresServer) -> Iterator[Roles]:
    """A database for one test alone, whose server makes its partitions."""
    with granted(postgres_server) as made:
        yield made


@pytest.fixture
def as_owner(roles: Roles) -> Iterator[Engine]:
    """A connection as the owner."""
    engine = create_migration_engine(roles.owner_url)
    yield engine
    engine.dispose()


def assert_lines_are_made(app: RunningApp) -> None:
    """What statements are read from is written, taken away and written again."""
    context, statement = app.app.context, "/v1/statements?scope=budget:research&period=2020-01-01..2099-12-31"
    context.lining.look()
    before = app.get(statement)
    assert (before.status, before.json["totals"]["lines"] > 0) == (200, True)
    with context.engine.connect() as connection:
        (book,) = list_books(connection)
    context.statements.liner.rebuild(book.book_id)
    assert context.lining.look() > 0
    assert app.get(statement).body == before.body


def test_a_server_can_do_all_it_does(served: Roles) -> None:
    """Open a book, set up, authorize, settle, deny, sign, tell a webhook, make partitions and lines, and verify."""
    settings = {
        "webhook_poll_seconds": 0,
        "webhook_allow_http": True,
        "webhook_allow_private": True,
        "lines_poll_seconds": 0,
    }
    with RunningApp(served.server_url, **settings) as app:
        crawler = app.make_agent("crawler", budget="research")
        spent = app.make("/v1/authorizations", authorization("1.00") | {"intent": "read a page"}, key=crawler)
        settled = app.post(f"/v1/authorizations/{spent['id']}/settle", {"amount": usd("0.50")}, key=crawler)
        assert settled.status == 200
        assert app.post("/v1/authorizations", authorization("5000.00"), key=crawler).status == 403
        released = app.make("/v1/authorizations", authorization("2.00"), key=crawler)
        assert app.post(f"/v1/authorizations/{released['id']}/release", {}, key=crawler).status == 200
        assert app.post("/v1/agents/crawler/freeze", {"reason": "late"}).status == 200
        assert app.post("/v1/agents/crawler/unfreeze", {"reason": "well"}).status == 200
        assert app.post("/v1/checkpoints").status == 201
        endpoint = app.make("/v1/webhooks", {"url": "http://127.0.0.1:9999/", "events": ["*"]})
        assert app.post(f"/v1/webhooks/{endpoint['id']}/test").status in (200, 201, 202)
        app.app.context.alerting.look()
        while app.log_size() < 2 * WIDTH:
            items = [authorization("0.01") | {"idempotency_key": uuid.uuid4().hex} for _ in range(200)]
            assert app.post("/v1/authorizations/batch", {"items": items}, key=crawler).status == 200
        assert app.post("/v1/checkpoints").status == 201
        assert app.app.context.growing.look() > 0
        assert app.get(f"/v1/proofs/inclusion?authorization={spent['id']}").status == 200
        assert_lines_are_made(app)
    (report,) = verify_books(served.server_url)
    assert report.verified, report.differences


def test_a_writer_makes_partitions_with_the_servers_role(roles: Roles) -> None:
    """Through the owner's function: the role itself makes no table."""
    reading, side = create_engine(roles.server_url), SideWriter(roles.server_url)
    with reading.connect() as connection:
        before = len(partitioning.partitions(connection))
    with side.transaction() as connection:
        assert partitioning.add_partitions(connection, (before + 2) * WIDTH) == 2
    assert Growing(reading, side, interval_seconds=1).look() == 0
    with reading.connect() as connection:
        assert len(partitioning.partitions(connection)) == before + 2
        assert excess(connection) == []
    reading.dispose()
    side.close()


def refused(url: str, statement: str) -> str | None:
    """The SQLSTATE with which a statement is refused."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain) as connection:
        try:
            connection.execute(statement.encode())
        except psycopg.Error as error:
            return error.sqlstate
        finally:
            connection.rollback()
    return None


def test_history_is_out_of_its_reach(roles: Roles, as_owner: Engine) -> None:
    """Both tables and each of their partitions, every verb, by grant; and what would take the protection away."""
    with as_owner.connect() as connection:
        parts = partitioning.partitions(connection)
    for parent in APPEND_ONLY:
        for table in (parent, *(getattr(part, parent) for part in parts)):
            for statement in (
                f"UPDATE {table} SET recorded_at = 1",
                f"DELETE FROM {table}",
                f"TRUNCATE {table}",
                f"ALTER TABLE {table} DISABLE TRIGGER ALL",
                f"DROP TABLE {table}",
                f"CREATE INDEX own ON {table} (book_id)",
                f"CREATE TRIGGER own BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION bursar_refuse_change()",
            ):
                assert refused(roles.server_url, statement) == INSUFFICIENT_PRIVILEGE, statement
        for part in parts:
            assert refused(roles.server_url, f"INSERT INTO {getattr(part, parent)} DEFAULT VALUES") == "42501"
            assert (
                refused(roles.server_url, f"ALTER TABLE {parent} DETACH PARTITION {getattr(part, parent)}") == "42501"
            )


OTHER_WAYS = (
    "CREATE TABLE own (x integer)",
    "CREATE FUNCTION own() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "SELECT bursar_make_partition(0, 5)",
    "SET session_replication_role = replica",
    "UPDATE alembic_version SET version_num = '1'",
    "UPDATE idempotency_keys SET log_index = 1",
    "DELETE FROM accounts",
    "UPDATE accounts SET name = 'mine'",
    "UPDATE authorizations SET amount = 1",
    "DELETE FROM authorizations",
    "UPDATE checkpoints SET note = ''",
    "DELETE FROM checkpoints",
    "INSERT INTO log_archives VALUES (1, 0, 1, 'x', '\\x00', 0, 0)",
)


@pytest.mark.parametrize("statement", OTHER_WAYS)
def test_nor_is_anything_that_it_does_not_need(roles: Roles, statement: str) -> None:
    """A server that was taken over cannot rename an account, forget a key's use or unsign a checkpoint."""
    assert refused(roles.server_url, statement) == INSUFFICIENT_PRIVILEGE


def test_every_table_has_its_rights(roles: Roles) -> None:
    """A table that comes later has those of its sort; a projection that decisions write is never deleted from, and only
    what changes is updated."""
    run = statements("someone")
    mutable = {spec.name: spec.mutable for spec in TABLES}
    for name, table in metadata.tables.items():
        given = [one for one in run if one.endswith(f" ON {name} TO someone") and one.startswith("GRANT")]
        assert given, name
        if table.info["sort"] != SIDE and name in mutable:
            assert "DELETE" not in " ".join(given)
            assert f"UPDATE ({', '.join(mutable[name])})" in " ".join(given) or not mutable[name]
        assert "TRUNCATE" not in " ".join(given)


def test_what_a_role_had_before_is_taken(roles: Roles, as_owner: Engine) -> None:
    """Granting again leaves it with what it needs."""
    with as_owner.begin() as connection:
        connection.exec_driver_sql(f'GRANT ALL ON log_records, log_records_p0, accounts TO "{roles.role}"')
    engine = create_engine(roles.server_url)
    with engine.connect() as connection:
        told = excess(connection)
    assert len(told) == 2
    assert told[0] == f'the database role "{roles.role}" has the right to UPDATE, DELETE, TRUNCATE on log_records'
    with as_owner.begin() as connection:
        grant(connection, roles.role)
    with engine.connect() as connection:
        assert excess(connection) == []
    engine.dispose()
    assert refused(roles.server_url, "DELETE FROM accounts") == INSUFFICIENT_PRIVILEGE


@contextlib.contextmanager
def member_of_another(roles: Roles, as_owner: Engine, attributes: str) -> Iterator[str]:
    """A role that the server's role is a member of, but has to become by SET ROLE."""
    other = f"other-{uuid.uuid4().hex[:8]}"
    with as_owner.begin() as connection:
        connection.exec_driver_sql(f'CREATE ROLE "{other}" NOLOGIN {attributes}')
        connection.exec_driver_sql(f'ALTER ROLE "{roles.role}" NOINHERIT')
        connection.exec_driver_sql(f'GRANT "{other}" TO "{roles.role}"')
    try:
        yield other
    finally:
        with as_owner.begin() as connection:
            connection.exec_driver_sql(f'ALTER ROLE "{roles.role}" INHERIT')
            connection.exec_driver_sql(f'REASSIGN OWNED BY "{other}" TO CURRENT_USER')
            connection.exec_driver_sql(f'DROP OWNED BY "{other}"')
            connection.exec_driver_sql(f'DROP ROLE "{other}"')


def granting(roles: Roles) -> Result:
    """``bursar migrate --grant-to``, as the owner would type it."""
    return CliRunner().invoke(bursar, ["migrate", "--database-url", roles.owner_url, "--grant-to", roles.role])


def told(roles: Roles) -> list[str]:
    """What a server that connects as the role is warned of."""
    engine = create_engine(roles.server_url)
    try:
        with engine.connect() as connection:
            return excess(connection)
    finally:
        engine.dispose()


def test_a_role_that_can_become_the_owner_is_told(roles: Roles, as_owner: Engine) -> None:
    """By SET ROLE, although it inherits nothing: to the server at its start, and to whoever grants."""
    with member_of_another(roles, as_owner, "") as other:
        assert told(roles) == []
        with as_owner.begin() as connection:
            connection.exec_driver_sql(f'ALTER TABLE transfers OWNER TO "{other}"')
        sentence = (
            f'the database role "{roles.role}" can become "{other}", which owns transfers, '
            "and can drop what protects it"
        )
        assert told(roles) == [sentence]
        result = granting(roles)
        assert result.exit_code == 1
        assert sentence in result.stderr
        assert "change none of it" not in result.output
    assert told(roles) == []


def test_a_role_that_can_become_a_superuser_or_delete_as_another_is_told(roles: Roles, as_owner: Engine) -> None:
    """What another role may do, this one may."""
    with member_of_another(roles, as_owner, "SUPERUSER") as other:
        (sentence,) = told(roles)
        assert f'can become the superuser "{other}"' in sentence
    with member_of_another(roles, as_owner, "") as other:
        with as_owner.begin() as connection:
            connection.exec_driver_sql(f'GRANT DELETE ON log_records TO "{other}"')
        assert told(roles) == [f'the database role "{roles.role}" has the right to DELETE on log_records']


def test_what_everybody_may_is_told_to_whoever_grants(roles: Roles, as_owner: Engine) -> None:
    """A grant to PUBLIC is not taken by revoking from the role, so the command does not say that all is well."""
    assert granting(roles).exit_code == 0
    with as_owner.begin() as connection:
        connection.exec_driver_sql("GRANT UPDATE, DELETE ON log_records TO PUBLIC")
    try:
        result = granting(roles)
        assert result.exit_code == 1
        assert "has the right to UPDATE, DELETE on log_records" in result.stderr
        assert "change none of it" not in result.output
    finally:
        with as_owner.begin() as connection:
            connection.exec_driver_sql("REVOKE UPDATE, DELETE ON log_records FROM PUBLIC")
    result = granting(roles)
    assert (result.exit_code, "change none of it" in result.output) == (0, True)


def test_roles_that_no_grant_binds_are_refused_and_told(roles: Roles, as_owner: Engine) -> None:
    """The owner and superusers, with what to do instead."""
    with as_owner.connect() as connection:
        (told,) = excess(connection)
        assert "is a superuser" in told
        with pytest.raises(RoleUnfit, match="CREATE ROLE"):
            grant(connection, "nobody_has_this")
        with pytest.raises(RoleUnfit, match="superuser"):
            grant(connection, "postgres")
        connection.execute(text(f'ALTER TABLE log_records OWNER TO "{roles.role}"'))
        connection.execute(text(f'SET ROLE "{roles.role}"'))
        told = excess(connection)
        assert told == [f'the database role "{roles.role}" owns log_records, and can drop what protects it']


def test_sqlite_has_no_roles(tmp_path) -> None:
    """And says what protects there."""
    url = f"sqlite:///{tmp_path}/b.db"
    upgrade(url)
    engine = create_migration_engine(url)
    with engine.connect() as connection:
        assert excess(connection) == []
        with pytest.raises(RoleUnfit, match=r"docs/security\.md"):
            grant(connection, "bursar")
