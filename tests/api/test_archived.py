"""What has been archived is answered 410 with the archive's name, and not with less than there was."""

from __future__ import annotations

import sqlalchemy
from sqlalchemy import text

from tests.support.running_app import RunningApp, authorization, usd

ARCHIVE = "log-000000000000000-000000000000256"


def test_archived_records_are_gone_and_say_where(app_on: RunningApp) -> None:
    """A record, a list from its beginning, a past balance, the authorization; lists of what stands go on."""
    crawler = app_on.make_agent("crawler", budget="research")
    asked = authorization("1.00")
    old = app_on.post("/v1/authorizations", asked, key=crawler, idempotency_key="bound").json
    assert app_on.post(f"/v1/authorizations/{old['id']}/settle", {"amount": usd("0.50")}, key=crawler).status == 200
    size = app_on.log_size()
    archive(app_on.database_url, size)
    app_on.make("/v1/authorizations", authorization("1.00"), key=crawler)
    for path in (
        "/v1/log/0",
        "/v1/log",
        f"/v1/authorizations/{old['id']}",
        "/v1/accounts/budgets:research:spent/balance?as_of=2020-01-01T00:00:00Z",
        "/v1/authorizations?from=2020-01-01T00:00:00Z",
    ):
        gone = app_on.get(path)
        assert (gone.status, gone.code) == (410, "record_archived"), path
        assert ARCHIVE in gone.json["detail"]
    assert app_on.get(f"/v1/log/{size}").status == 200
    assert app_on.get("/v1/log?order=newest").status == 200
    assert [row["index"] for row in app_on.get(f"/v1/log?start={size}").json["items"]] == [size]
    listed = app_on.get("/v1/authorizations").json["items"]
    assert [row["id"] for row in listed][-1] == old["id"]
    assert app_on.get("/v1/accounts/budgets:research:spent/balance").json["balance"]["amount"] == "0.50"
    again = app_on.post("/v1/authorizations", asked, key=crawler, idempotency_key="bound")
    assert (again.status, again.code) == (410, "record_archived")
    assert app_on.log_size() == size + 1


def archive(database_url: str, size: int) -> None:
    """Take the first records away as a detachment does, and note it."""
    engine = sqlalchemy.create_engine(database_url)
    with engine.begin() as connection:
        book, last = connection.execute(text("SELECT book_id, recorded_at FROM book_heads")).one()
        for table in ("log_records", "transfers"):
            if engine.dialect.name == "sqlite":
                connection.execute(text(f"DROP TRIGGER {table}_no_delete"))
            else:
                connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
            connection.execute(text(f"DELETE FROM {table}"))
        values = {"book": book, "size": size, "name": ARCHIVE, "digest": bytes(32), "last": last}
        connection.execute(text("INSERT INTO log_archives VALUES (:book, 0, :size, :name, :digest, :last, 0)"), values)
    engine.dispose()
