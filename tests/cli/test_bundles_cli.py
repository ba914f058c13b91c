"""`bursar export`, `verify --bundle` and `import`, as an operator and an auditor type them."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command as alembic
from alembic.script import ScriptDirectory
from click.testing import CliRunner, Result
from sqlalchemy import text

from bursar.command import bursar
from ledger.core.bundle import read_manifest
from ledger.services.secrets_file import read_secrets
from ledger.storage.engine import create_engine, create_migration_engine
from ledger.storage.migrate import configuration, current_and_head, upgrade
from ledger.storage.partitioning import WIDTH_DEFAULT
from tests.services.live_world import LiveWorld
from tests.support.bundles import archive_of, members, prove
from tests.support.databases import sqlite_url

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def world(database_url: str) -> Iterator[LiveWorld]:
    """A book with an agent and money, on either database; it must verify at the end."""
    upgrade(database_url)
    made = LiveWorld(database_url, "acme")
    made.settle(made.crawler, made.hold(made.crawler, "5", intent="summarize"), "2")
    yield made
    made.close()
    prove(database_url)


@pytest.fixture
def other(tmp_path: Path) -> str:
    """Where a book is imported to; not there yet."""
    (tmp_path / "other").mkdir()
    return sqlite_url(tmp_path / "other")


def run(*arguments: object, url: str = "sqlite:///nowhere.db", **environment: str) -> Result:
    """The command, as it is typed."""
    given = {"BURSAR_DATABASE_URL": url, **environment}
    return CliRunner().invoke(bursar, [str(one) for one in arguments], env=given)


def test_from_a_database_to_an_auditor_and_into_another_database(world: LiveWorld, other: str, tmp_path: Path) -> None:
    """Export; verify with the key alone; import; verify there; export again: the same file."""
    file = tmp_path / "acme.tar.gz"
    written = run("export", file, url=world.url)
    assert (written.exit_code, written.stderr) == (0, "")
    assert written.stdout.startswith(f"acme: records 0 to {world.size() - 1}, root ")
    key = json.loads(run("checkpoint", "keys", "list", "--json", url=world.url).stdout)["verifier_key"]
    checked = run("verify", "--bundle", file, "--key", key)
    assert checked.exit_code == 0, checked.output
    first, second = checked.stdout.splitlines()
    assert first.startswith(f"acme: books verified: {world.size()} records, root ")
    assert second == f"acme: a log of {world.size()} records is signed by {'+'.join(key.split('+')[:2])}"
    done = run("import", file, "--key", key, url=other)
    assert done.exit_code == 0, done.output
    assert "Not in a bundle, and so not here:\n  - the secret that salts free texts" in done.stdout
    assert run("verify", url=other).stdout.splitlines()[0] == first
    again = tmp_path / "again.tar.gz"
    assert run("export", again, url=other).exit_code == 0
    assert again.read_bytes() == file.read_bytes()
    assert oct(file.stat().st_mode & 0o777) == "0o600"
    assert sorted(path.name for path in tmp_path.glob("*.tar.gz*")) == ["acme.tar.gz", "again.tar.gz"]


def test_json(world: LiveWorld, other: str, tmp_path: Path) -> None:
    """One object each, for scripts."""
    file = tmp_path / "acme.tar.gz"
    written = json.loads(run("export", file, "--no-texts", "--json", url=world.url).stdout)
    assert (written["size"], written["texts"], written["signed_size"]) == (world.size(), False, world.size())
    checked = json.loads(run("verify", "--bundle", file, "--json").stdout)
    assert checked["verified"]
    (book,) = checked["books"]
    assert (book["root"], book["first"], book["texts_missing"]) == (written["root"], 0, 1)
    assert [(one["size"], one["trusted"]) for one in book["signed"]] == [(world.size(), "log")]
    assert len(book["notes"]) == 1
    done = json.loads(run("import", file, "--json", url=other).stdout)
    assert (done["imported"], done["records"], done["root"]) == (True, world.size(), written["root"])
    assert any("1 free texts" in lack for lack in done["lacks"])


def test_pipes(world: LiveWorld, tmp_path: Path) -> None:
    """The bundle alone on standard output, what is said about it beside; verify reads a pipe."""
    printed = run("export", "-", "--plain", url=world.url)
    assert (printed.exit_code, printed.stderr.splitlines()[0][:19]) == (0, "acme: records 0 to ")
    assert read_manifest(members(printed.stdout_bytes)["manifest.json"]).size == world.size()
    compressed = run("export", "-", url=world.url).stdout_bytes
    assert gzip.decompress(compressed) == printed.stdout_bytes
    checked = CliRunner().invoke(bursar, ["verify", "--bundle", "-"], input=compressed)
    assert "books verified" in checked.stdout, checked.output
    assert "give it as a file" in run("import", "-", url=world.url).stderr


def test_spans(world: LiveWorld, other: str, tmp_path: Path) -> None:
    """A full bundle, then what came since, from the index that the first one printed."""
    full, later = tmp_path / "full.tar.gz", tmp_path / "later.tar.gz"
    size = json.loads(run("export", full, "--json", url=world.url).stdout)["size"]
    world.settle(world.crawler, world.hold(world.crawler, "3", intent="more"), "3")
    span = run("export", later, "--from", size, url=world.url)
    assert span.stdout.startswith(f"acme: records {size} to {world.size() - 1}, root ")
    alone = run("verify", "--bundle", later)
    assert alone.exit_code == 0
    assert f"acme: records from {size} on verified: {world.size() - size} records" in alone.stdout
    assert "books verified" not in alone.stdout
    both = run("verify", "--bundle", full, "--bundle", later)
    assert f"acme: books verified: {world.size()} records" in both.stdout
    refused = run("import", later, url=other)
    assert (refused.exit_code, "from its first record on" in refused.stderr) == (1, True)
    assert run("import", full, later, url=other).exit_code == 0
    assert prove(other).root == prove(world.url).root
    wrong = run("verify", "--bundle", later, "--bundle", full)
    assert (wrong.exit_code, "give bundles in order" in wrong.stderr) == (2, True)


def test_what_is_refused(world: LiveWorld, other: str, tmp_path: Path) -> None:
    """One sentence that says what to change, and nothing written."""
    file = tmp_path / "acme.tar.gz"
    file.write_text("mine", encoding="utf-8")
    cases = [
        (run("export", file, url=world.url), 2, "exists already: choose another name, or write over it with --force"),
        (run("export", tmp_path / "no" / "a", url=world.url), 1, "cannot be written: No such file or directory"),
        (run("export", tmp_path / "a", "--from", 900, url=world.url), 2, "there is none from 900 to before"),
        (run("export", tmp_path / "a", "--from", 3, "--to", 3, url=world.url), 2, "there is none from 3 to before 3"),
        (run("export", tmp_path / "a", "--to", 900, url=world.url), 2, "the log has records 0 to"),
        (run("export", tmp_path / "a", "--book", "acne", url=world.url), 2, 'there is no book "acne"'),
        (run("export", tmp_path / "a", url=other), 1, "there is no database file"),
        (run("verify", "--bundle", file), 2, "is not a whole bundle: it was cut off at its beginning"),
        (run("verify", "--bundle", tmp_path / "a"), 2, "cannot be read: No such file or directory"),
        (run("verify", "--bundle", file, "--key", "mine"), 2, "a verifier key is written name+id+key"),
        (run("verify", "--bundle", file, "--leaves-only"), 2, "leave out --leaves-only, --since, --state, --jobs"),
        (run("import", file, url=other), 2, "is not a whole bundle"),
        (run("import", file, url="sqlite:///no/such/bursar.db"), 2, "there is no directory no/such: make it first"),
    ]
    for result, status, said in cases:
        assert (result.exit_code, result.stderr.count("\n")) == (status, 1), result.output
        assert said in result.stderr
    assert file.read_text(encoding="utf-8") == "mine"
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix not in (".db", ".db-wal", ".db-shm")) == [
        "acme.tar.gz",
        "other",
    ]
    assert list((tmp_path / "other").iterdir()) == []
    assert run("export", file, "--force", url=world.url).exit_code == 0
    again = run("import", file, url=world.url)
    assert (again.exit_code, "is in the database already" in again.stderr) == (1, True)


def test_a_backup_with_its_secrets(world: LiveWorld, other: str, tmp_path: Path) -> None:
    """Two files: the bundle, which may be shown, and the secrets, which only their owner reads."""
    file, secrets = tmp_path / "acme.tar.gz", tmp_path / "acme.secrets"
    assert run("export", file, "--secrets", secrets, url=world.url).exit_code == 0
    assert oct(secrets.stat().st_mode & 0o777) == "0o600"
    again = run("export", tmp_path / "b.tar.gz", "--secrets", secrets, url=world.url)
    assert (again.exit_code, "acme.secrets exists already" in again.stderr) == (2, True)
    spoiled = tmp_path / "spoiled.secrets"
    spoiled.write_bytes(secrets.read_bytes()[:-10])
    refused = run("import", file, "--secrets", spoiled, url=other)
    assert (refused.exit_code, "has not the secrets of a book: it is damaged" in refused.stderr) == (2, True)
    done = run("import", file, "--secrets", secrets, url=other)
    assert done.exit_code == 0, done.output
    assert "salts free texts" not in done.stdout
    assert run("checkpoint", url=other).stdout == run("checkpoint", url=world.url).stdout
    assert run("checkpoint", "keys", "rotate", url=other).exit_code == 0


def test_the_key_of_a_server_is_no_verifier_key(world: LiveWorld, tmp_path: Path) -> None:
    """BURSAR_KEY is set where agents work; it says nothing about bundles."""
    file = tmp_path / "acme.tar.gz"
    assert run("export", file, url=world.url, BURSAR_KEY="bk_agent_x").exit_code == 0
    assert run("verify", "--bundle", file, BURSAR_KEY="bk_agent_x").exit_code == 0
    assert run("verify", "--bundle", file, BURSAR_VERIFIER_KEY="no key").exit_code == 2


def test_a_bundle_that_is_not_right(world: LiveWorld, other: str, tmp_path: Path) -> None:
    """Status 1, the record, and nothing in the database."""
    file = tmp_path / "acme.tar"
    run("export", file, "--plain", url=world.url)
    contents = members(file.read_bytes())
    name = "records/000000000000.ndjson"
    at = contents[name].index(b'"kind":"settlement"')
    file.write_bytes(archive_of(contents | {name: contents[name][:at] + contents[name][at:].replace(b"2", b"3", 1)}))
    checked = run("verify", "--bundle", file)
    assert (checked.exit_code, "acme: NOT verified" in checked.stdout) == (1, True)
    assert "log_records record " in checked.stdout
    refused = run("import", file, url=other)
    assert (refused.exit_code, "acme: NOT imported" in refused.stdout) == (1, True)
    shown = json.loads(run("import", file, "--json", url=other).stdout)
    assert (shown["imported"], "log_index" in shown["differences"][0]) == (False, True)
    assert list((tmp_path / "other").iterdir()) == []


KILLED = """
import os, signal, sys
from ledger.storage import book_loader
kind = book_loader._SqliteLoader if sys.argv[2].startswith("sqlite") else book_loader._PostgresqlLoader
def die(*given):
    os.kill(os.getpid(), signal.SIGKILL)
insert = kind.insert
def dying(loader, table, columns, rows):
    insert(loader, table, columns, rows)
    if table == sys.argv[3]:
        die()
kind.insert = dying
if sys.argv[3] == "commit":
    kind.commit = die
from bursar.command import bursar
bursar(["import", sys.argv[1], "--database-url", sys.argv[2]])
"""


@pytest.mark.parametrize("at", ["log_records", "accounts", "commit"])
def test_an_import_that_is_killed_leaves_nothing(database_url: str, at: str, tmp_path: Path) -> None:
    """Where it was in the middle of the log, of the rows, and before the commit; the next one succeeds."""
    (tmp_path / "source").mkdir()
    source = sqlite_url(tmp_path / "source")
    upgrade(source)
    LiveWorld(source, "acme").close()
    file = tmp_path / "acme.tar.gz"
    assert run("export", file, url=source).exit_code == 0
    died = subprocess.run(
        [sys.executable, "-c", KILLED, str(file), database_url, at],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        timeout=120,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    assert "this database has no book" in run("verify", url=database_url).stderr
    engine = create_engine(database_url, pool_size=1)
    with engine.connect() as connection:
        for table in ("book_heads", "books", "log_records", "transfers", "accounts", "book_secrets"):
            assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() == 0
    engine.dispose()
    done = run("import", file, url=database_url)
    assert done.exit_code == 0, done.output
    assert prove(database_url).root == prove(source).root


def test_against_what_a_witness_keeps(world: LiveWorld, tmp_path: Path) -> None:
    """A bundle extends a checkpoint that was kept elsewhere, or is older, or is of another history: offline, too."""
    early, late = tmp_path / "early.txt", tmp_path / "late.txt"
    first, size = tmp_path / "first.tar.gz", world.size()
    assert run("export", first, url=world.url).exit_code == 0
    early.write_bytes(run("checkpoint", url=world.url).stdout_bytes)
    world.settle(world.crawler, world.hold(world.crawler, "3", intent="more"), "3")
    late.write_bytes(run("checkpoint", url=world.url).stdout_bytes)
    second, span = tmp_path / "second.tar.gz", tmp_path / "span.tar.gz"
    assert run("export", second, url=world.url).exit_code == 0
    assert run("export", span, "--from", size + 1, url=world.url).exit_code == 0
    good = run("verify", "--bundle", second, "--against", early, "--against", late)
    assert (good.exit_code, good.stdout.count("EXTENDS")) == (0, 2)
    older = run("verify", "--bundle", first, "--against", late)
    assert (older.exit_code, "OLDER" in older.stdout, "books verified" in older.stdout) == (1, True, True)
    both = json.loads(run("verify", "--bundle", first, "--bundle", span, "--against", late, "--json").stdout)
    assert (both["verified"], both["agrees"]) == (True, True)
    key = json.loads(run("checkpoint", "keys", "list", "--json", url=world.url).stdout)["verifier_key"]
    alone = run("verify", "--bundle", span, "--against", late, "--key", key)
    assert (alone.exit_code, "EXTENDS" in alone.stdout) == (0, True)
    refused = run("verify", "--bundle", first, "--state", tmp_path / "state")
    assert (refused.exit_code, "a bundle is verified whole" in refused.stderr) == (2, True)


def test_against_a_checkpoint_of_another_book(world: LiveWorld, other: str, tmp_path: Path) -> None:
    """Also of a book of the same name: it could say nothing of this bundle, so nothing is found right."""
    file, checkpoint, proof = tmp_path / "acme.tar.gz", tmp_path / "other.txt", tmp_path / "proof.json"
    assert run("export", file, url=world.url).exit_code == 0
    upgrade(other)
    namesake = LiveWorld(other, "acme")
    checkpoint.write_bytes(run("checkpoint", url=other).stdout_bytes)
    namesake.close()
    refused = run("verify", "--bundle", file, "--against", checkpoint)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert f"{checkpoint} is a checkpoint of bursar/acme-" in refused.stderr
    assert "and not of the book in the bundle, acme with the code " in refused.stderr
    proof.write_text("{}", encoding="utf-8")
    lonely = run("verify", "--bundle", file, "--consistency", proof)
    assert (lonely.exit_code, "give that one with --against" in lonely.stderr) == (2, True)


def test_a_checkpoint_that_was_not_compared(world: LiveWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the reason, the status is not that of a bundle that agrees with it."""
    file, checkpoint = tmp_path / "acme.tar.gz", tmp_path / "acme.txt"
    assert run("export", file, url=world.url).exit_code == 0
    checkpoint.write_bytes(run("checkpoint", url=world.url).stdout_bytes)
    assert run("verify", "--bundle", file, "--against", checkpoint).exit_code == 0
    monkeypatch.setattr("ledger.services.bundle_verify.BundlePass.verdicts", lambda made: [])
    assert run("verify", "--bundle", file, "--against", checkpoint).exit_code == 1


def test_secrets_never_go_where_the_bundle_goes(world: LiveWorld, tmp_path: Path) -> None:
    """However the one file is written, also with --force, nor behind the bundle in a pipe."""
    file, link, twin = tmp_path / "acme.tar.gz", tmp_path / "link", tmp_path / "twin"
    for secrets in (file, tmp_path / "." / "x" / ".." / "acme.tar.gz"):
        refused = run("export", file, "--secrets", secrets, url=world.url)
        assert (refused.exit_code, "name another file for --secrets" in refused.stderr) == (2, True)
    assert not file.exists()
    file.write_bytes(b"mine")
    link.symlink_to(file)
    twin.hardlink_to(file)
    for secrets in (file, link, twin):
        refused = run("export", file, "--secrets", secrets, "--force", url=world.url)
        assert (refused.exit_code, "name another file for --secrets" in refused.stderr) == (2, True)
    assert file.read_bytes() == b"mine"
    piped = run("export", "-", "--secrets", "-", url=world.url)
    assert (piped.exit_code, piped.stdout_bytes) == (2, b"")
    assert "name a file of its own for --secrets" in piped.stderr
    apart = run("export", tmp_path / "b.tar.gz", "--plain", "--secrets", "-", url=world.url)
    assert apart.exit_code == 0, apart.output
    assert read_secrets(apart.stdout_bytes)[0] == world.book_id


def test_a_bundle_that_is_not_right_changes_no_table(world: LiveWorld, other: str, tmp_path: Path) -> None:
    """A database of an older version is brought to this one's tables once the bundle is proved, and not before."""
    good, bad = tmp_path / "good.tar", tmp_path / "bad.tar"
    assert run("export", good, "--plain", url=world.url).exit_code == 0
    contents = members(good.read_bytes())
    records = contents["records/000000000000.ndjson"].replace(b'"amount":"5', b'"amount":"6', 1)
    bad.write_bytes(archive_of(contents | {"records/000000000000.ndjson": records}))
    older = list(ScriptDirectory.from_config(configuration()).walk_revisions())[1].revision
    engine = create_migration_engine(other)
    with engine.begin() as connection:
        config = configuration()
        config.attributes |= {"connection": connection, "partition_records": WIDTH_DEFAULT}
        alembic.upgrade(config, older)
    engine.dispose()
    refused = run("import", bad, url=other)
    assert (refused.exit_code, "NOT imported" in refused.output) == (1, True), refused.output
    assert current_and_head(other)[0] == older
    assert run("import", good, url=other).exit_code == 0
    assert current_and_head(other)[0] == current_and_head(other)[1] != older
    prove(other)


def test_a_span_with_nothing_new(world: LiveWorld, tmp_path: Path) -> None:
    """A status of its own, so that a nightly backup goes on after a quiet day; a place behind the end is a mistake."""
    full, span = tmp_path / "full.tar.gz", tmp_path / "span.tar.gz"
    size = json.loads(run("export", full, "--json", url=world.url).stdout)["size"]
    quiet = run("export", span, "--from", size, url=world.url)
    assert (quiet.exit_code, quiet.stdout, span.exists()) == (3, "", False)
    assert f"no record from {size} on: nothing is new" in quiet.stderr
    assert run("export", span, "--from", size + 1, url=world.url).exit_code == 2
    assert run("export", span, "--from", size, "--to", size, url=world.url).exit_code == 2
