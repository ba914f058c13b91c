"""`bursar redact`: retention with nothing but the database, and the same over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from bursar import asking
from bursar.command import bursar
from ledger.core.command import Charge
from ledger.services import redacting
from ledger.services.verify import verify_books
from ledger.storage.engine import create_engine, parse_url
from ledger.storage.migrate import upgrade
from ledger.storage.tables import texts
from tests.services.live_world import Desk, LiveWorld
from tests.support.databases import sqlite_url
from tests.support.running_app import RunningApp, usd
from tests.support.transport import AppTransport

DAY = 86_400


@pytest.fixture
def world(database_url: str) -> Iterator[LiveWorld]:
    """A book with texts of two agents and of finance, on either database; it must verify at the end."""
    upgrade(database_url)
    made = LiveWorld(database_url, "acme")
    made.agent("reader")
    yield made
    made.close()
    (report,) = verify_books(database_url, book="acme")
    assert report.verified, [difference.sentence() for difference in report.differences]


def run(world: LiveWorld, *arguments: str) -> Result:
    """The command on the world's database, as an operator would type it."""
    return CliRunner().invoke(bursar, ["redact", *arguments], env={"BURSAR_DATABASE_URL": world.url})


def there(world: LiveWorld) -> set[tuple[int, str]]:
    """The texts that are there."""
    engine = create_engine(world.url, pool_size=1)
    try:
        with engine.connect() as connection:
            found = connection.execute(select(texts.c.log_index, texts.c.field).where(texts.c.book_id == world.book_id))
            return {(row.log_index, row.field) for row in found}
    finally:
        engine.dispose()


def test_an_authorization_is_redacted_by_the_owner(world: LiveWorld) -> None:
    """On record as the owner's; the second time it says by which record."""
    hold = world.hold(world.crawler, "5", intent="mail jane@example.com")
    made = world.size() - 1
    world.settle(world.crawler, hold, "2", evidence='{"to":"jane"}')
    done = run(world, hold, "--ground", "erasure", "--reason", "ticket 4711")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith(
        f"Redacted 2 free texts: intent of record {made}, evidence of record {made + 1}; record {made + 2} of the log "
    )
    record = world.recorded().log[-1]
    assert record.kind == "redaction"
    assert record.body["by"] == {"principal": "system:database-owner"}
    again = run(world, hold, "--reason", "ticket 4711")
    assert (again.exit_code, again.stderr) == (1, f"Error: it was redacted before, by record {made + 2}\n")
    told = CliRunner().invoke(bursar, ["explain", hold], env={"BURSAR_DATABASE_URL": world.url})
    assert f"intent: (redacted by log record {made + 2})" in told.stdout
    assert f"evidence: (redacted by log record {made + 2})" in told.stdout


def test_retention_by_age_page_by_page(world: LiveWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """A try first; then every text from before the day, over several records; the next run finds nothing."""
    monkeypatch.setattr(redacting.find_texts, "__kwdefaults__", {"limit": 3})
    monkeypatch.setattr(redacting.find_left, "__kwdefaults__", {"limit": 3})
    for number in range(7):
        world.hold(world.crawler, "1", intent=f"old {number}")
    world.advance(2 * DAY)
    kept = world.authorize(world.crawler, "1", intent="new").log_index
    tried = run(world, "--before", "2026-11-03", "--dry-run", "--json")
    assert json.loads(tried.stdout) == {"would_redact": 7, "fields": {"intent": 7}}
    assert len(there(world)) == 8
    done = run(world, "--before", "2026-11-03", "--ground", "retention", "--reason", "two days", "--json")
    shown = json.loads(done.stdout)
    assert (shown["redacted"], shown["fields"], len(shown["records"])) == (7, {"intent": 7}, 7)
    assert {text for text in there(world) if text[1] == "intent"} == {(kept, "intent")}
    again = run(world, "--before", "2026-11-03", "--reason", "two days")
    assert (again.exit_code, again.stdout) == (0, "There is nothing to redact.\n")
    assert "nothing to redact" in run(world, "--before", "2026-11-03", "--dry-run").stdout


def test_by_agent_and_field(world: LiveWorld) -> None:
    """What is by or about one agent, and what finance wrote about another stays."""
    world.hold(world.crawler, "1", intent="crawl")
    finance = world.key("finance", "fred")
    spend = {"budget": "research", "amount": "1", "currency": "USD", "category": "inference", "payee": "openai"}
    world.do(Charge, finance, agent="crawler", reason="of the crawler", evidence="{}", **spend)
    world.do(Charge, finance, reason="of nobody", **spend)
    tried = run(world, "--older-than", "0", "--agent", "crawler", "--field", "reason", "--field", "intent", "--dry-run")
    assert tried.stdout.startswith("Would redact 2 free texts (1 intent, 1 reason); nothing was changed. The first:\n")
    done = run(world, "--before", "2100-01-01", "--agent", "crawler", "--field", "reason", "--reason", "x", "--json")
    assert json.loads(done.stdout)["fields"] == {"reason": 1}
    unknown = run(world, "--before", "2100-01-01", "--agent", "nobody", "--reason", "x")
    assert (unknown.exit_code, unknown.stderr) == (1, "Error: there is no agent nobody\n")


def test_under_a_running_server(world: LiveWorld) -> None:
    """Whose next decision knows it: a second redaction there is told by which record."""
    with Desk(world) as desk:
        (asked,) = desk.decide(world.ask("1", intent="x"))
        done = run(world, str(asked.log_index), "--reason", "x", "--json")
        assert json.loads(done.stdout)["redacted"] == 1
        assert desk.say(world.ask("1", intent="y")) == ["approved"]


def test_nothing_of_it_is_left_in_the_files(world: LiveWorld) -> None:
    """SQLite: neither in the database file nor in its write-ahead log, once nobody else has the file open."""
    url = parse_url(world.url)
    if url.drivername != "sqlite":
        return
    world.hold(world.crawler, "1", intent="mail jane.doe@example.com " * 30)
    world.hold(world.crawler, "1", intent="mail jane.doe@example.com " * 70)
    file = Path(str(url.database))
    everything = b"".join(path.read_bytes() for path in file.parent.glob(file.name + "*"))
    assert b"jane.doe" in everything
    done = run(world, "--before", "2100-01-01", "--reason", "x", "--json")
    assert "note" not in json.loads(done.stdout)
    for path in file.parent.glob(file.name + "*"):
        assert b"jane.doe" not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ((), 2, "name one thing"),
        (("7", "--before", "2026-01-01"), 2, "name one thing"),
        (("7", "--agent", "crawler"), 2, "--agent goes with --before or --older-than"),
        (("seven", "--reason", "x"), 2, "seven is no id of an authorization or charge, and no index of a record"),
        (("7",), 2, "give a --reason of 1 to 2000 characters"),
        (("7", "--reason", " "), 2, "give a --reason of 1 to 2000 characters"),
        (("--before", "soon", "--reason", "x"), 2, "soon is no day or moment for --before: write 2026-11-01"),
        (("--older-than", "-3", "--reason", "x"), 2, "--older-than"),
        (("0", "--reason", "x"), 1, "record 0 has never had any free text"),
        (("999999", "--reason", "x"), 1, "there is no record 999999"),
        (("auth_00000000000000000000000000", "--reason", "x"), 1, "there is no authorization or charge auth_0000"),
        (("7", "--reason", "x", "--url", "http://127.0.0.1:9"), 2, "give the key to ask the server with"),
        (("7", "--reason", "x", "--book", "other"), 2, 'there is no book "other"'),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    world: LiveWorld, arguments: tuple[str, ...], status: int, said: str
) -> None:
    """With what to change, and no record."""
    size = world.size()
    result = run(world, *arguments)
    assert result.exit_code == status, result.output
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert world.size() == size


def test_over_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same verb with an admin's key and a server: single, by age with a try, and nothing left."""
    with RunningApp(sqlite_url(tmp_path)) as app:
        client = httpx.Client
        monkeypatch.setattr(asking.httpx, "Client", lambda **settings: client(**settings, transport=AppTransport(app)))
        environment = {"BURSAR_URL": "http://bursar.test", "BURSAR_API_KEY": app.admin_key}

        def ask(*arguments: str) -> Result:
            return CliRunner().invoke(bursar, ["redact", *arguments], env=environment)

        for name in ("one", "two"):
            app.make("/v1/budgets", {"name": name, "currency": "USD"})
            app.make(f"/v1/budgets/{name}/allocations", {"amount": usd("5.00"), "reason": f"for {name}"})
        tried = ask("--older-than", "0", "--dry-run", "--json")
        assert json.loads(tried.stdout) == {"would_redact": 2, "fields": {"reason": 2}}, tried.output
        index = app.get("/v1/log?kind=allocation").json["items"][0]["index"]
        done = ask(str(index), "--reason", "x")
        assert done.stdout.startswith(f"Redacted 1 free text: reason of record {index}; record "), done.output
        again = ask(str(index), "--reason", "x")
        assert (again.exit_code, "it was redacted before" in again.stderr) == (1, True)
        rest = ask("--before", "2100-01-01", "--field", "reason", "--ground", "retention", "--reason", "x", "--json")
        assert json.loads(rest.stdout)["redacted"] == 1, rest.output
        assert ask("--before", "2100-01-01", "--reason", "x").stdout == "There is nothing to redact.\n"
        (report,) = verify_books(app.database_url)
        assert report.verified
