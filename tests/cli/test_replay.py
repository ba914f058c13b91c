"""`bursar replay`: what a person reads, what a program reads, and the statuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bursar.command import bursar
from ledger.core.canonical import canonical_bytes, parse
from ledger.core.moment import moment_of
from ledger.services.ed25519 import SigningPair
from ledger.storage.migrate import upgrade
from tests.services.live_world import LiveWorld
from tests.services.stored_book import StoredBook
from tests.services.test_verify import rehashed
from tests.support.bundles import exported, write
from tests.support.databases import sqlite_url


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoredBook]:
    """A book with every kind of record."""
    stored = StoredBook(sqlite_url(tmp_path_factory.mktemp("replay-cli")))
    yield stored
    stored.close()


def run(book: StoredBook, *arguments: str) -> Result:
    """The command, as an operator would type it."""
    return CliRunner().invoke(bursar, ["replay", *arguments], env={"BURSAR_DATABASE_URL": book.url})


def test_an_honest_book(book: StoredBook) -> None:
    """Status 0, and the decision that counted by an intent which is gone; as JSON the same."""
    result = run(book)
    records = len(book.rows("log_records"))
    assert (result.exit_code, result.stderr) == (0, "")
    line, redacted = result.stdout.splitlines()
    (gone,) = (row["log_index"] for row in book.rows("redactions") if row["field"] == "intent")
    assert redacted == f"acme: 1 redacted: a rule counted by words that are gone, in records {gone}"
    assert line.startswith("acme: replayed ")
    assert line.endswith(f" decisions of records 0 to {records - 1}: {line.split()[2]} came out as recorded")
    shown = json.loads(run(book, "--json").stdout)
    assert shown["replayed"] is True
    (one,) = shown["books"]
    assert (one["book"], one["from"], one["to"], one["differences"]) == ("acme", 0, records, [])
    assert one["decisions"] == one["equal"] == int(line.split()[2])
    assert (one["redacted"], one["redacted_records"], one["fingerprints_unmade"]) == (1, [gone], 0)


def test_a_forged_limit_side_by_side(book: StoredBook) -> None:
    """A table that somebody from finance can read, and status 1."""
    rows = book.rows("log_records")
    at, place, rule, policy = max(
        (body["index"], place, limit[1], body["decision"]["policies"][limit[0]])
        for body in (parse(row["body"]) for row in rows)
        if body["kind"] == "hold"
        for place, limit in enumerate(body["decision"]["limits"])
        if limit[2] == "money"
    )
    body = parse(rows[at]["body"])
    right = body["decision"]["limits"][place][4]
    body["decision"]["limits"][place][4] = "123000000000"
    rows[at] = rows[at] | {"body": canonical_bytes(body)}
    made, head = rehashed(rows)
    with book.with_rows("log_records", made), book.with_row("book_heads", 0, **head):
        result = run(book)
        as_json = run(book, "--from", str(at), "--to", str(at + 1), "--json")
        elsewhere = run(book, "--to", str(at))
    assert (result.exit_code, as_json.exit_code, elsewhere.exit_code) == (1, 1, 0)
    lines = [line for line in result.stdout.splitlines() if " redacted: " not in line]
    assert lines[0].endswith(", 1 came out OTHERWISE")
    assert lines[1] == f"  record {at}: hold {body['authorization']} at {body['time']}, agent {body['agent']}"
    assert lines[2].split("  ")[2].strip() == "policy"
    cells = [cell.strip() for cell in lines[3].split("  ") if cell.strip()]
    assert cells[:4] == [f"{policy[0]} v{policy[1]}", rule, "limit", "123.00 USD"]
    assert cells[4].endswith(" USD")
    (one,) = json.loads(as_json.stdout)["books"][0]["differences"]
    assert (one["index"], one["kind"], one["id"]) == (at, "hold", body["authorization"])
    (value,) = one["values"]
    assert (value["policy"], value["version"], value["rule"]) == (policy[0], policy[1], rule)
    assert (value["recorded"], value["again"]) == ("123.00 USD", cells[4])
    assert right != "123000000000"


def test_a_day_is_one_of_the_book(book: StoredBook) -> None:
    """The book is in Paris, where a day of November begins an hour before that of UTC."""
    times = [row["recorded_at"] for row in book.rows("log_records")]

    def place(moment: str) -> int:
        return sum(time < moment_of(moment) for time in times)

    for start, stop, first, last in (
        ("2026-11-01", "2026-11-02", "2026-10-31T23:00:00Z", "2026-11-01T23:00:00Z"),
        ("2026-11-02", "2026-11-03", "2026-11-01T23:00:00Z", "2026-11-02T23:00:00Z"),
        ("2026-11-02T10:00", "2026-11-02T10:01", "2026-11-02T09:00:00Z", "2026-11-02T09:01:00Z"),
        ("2026-11-02T09:01:00Z", "2026-11-04T10:00:00+01:00", "2026-11-02T09:01:00Z", "2026-11-04T09:00:00Z"),
        ("2026-12-01", "2026-12-02", "2026-12-01T00:00:00Z", "2026-12-02T00:00:00Z"),
    ):
        (one,) = json.loads(run(book, "--from", start, "--to", stop, "--json").stdout)["books"]
        assert (one["from"], one["to"]) == (place(first), place(last)), (start, stop)
    assert 0 < place("2026-11-02T23:00:00Z") < len(times), "the story crosses that midnight"
    assert "there is no record from" in run(book, "--from", "2026-12-01").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from", "soon"), "soon is no day or moment for --from"),
        (("--to", "-1"), "-1 is no day or moment for --to"),
        (("--from", "9" * 20), "--from is the index of a record, which has at most 15 digits"),
        (("--book", "other"), 'there is no book "other" in this database'),
        (("--database-url", "sqlite:////nowhere/at.db"), "there is no database file"),
        (("--database-url", "mysql://x"), "mysql"),
    ],
    ids=str,
)
def test_what_cannot_be_done_ends_with_status_2(book: StoredBook, arguments: tuple[str, ...], said: str) -> None:
    """With a sentence."""
    result = run(book, *arguments)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_an_empty_database(tmp_path: Path) -> None:
    """There is nothing to replay in it, and it says how there would be."""
    url = sqlite_url(tmp_path)
    upgrade(url)
    result = CliRunner().invoke(bursar, ["replay", "--database-url", url])
    assert (result.exit_code, "run 'bursar init' first" in result.stderr) == (2, True)


def test_a_bundle_needs_no_database(tmp_path: Path) -> None:
    """With the key that signed it, from a file or a pipe; another key is status 1, and what cannot be asked is told."""
    url = sqlite_url(tmp_path)
    upgrade(url)
    world = LiveWorld(url, "acme")
    world.settle(world.crawler, world.hold(world.crawler, "5"), "2")
    packed, plan = exported(url)
    world.close()
    file = write(tmp_path, "acme.tar", packed)
    key, other = plan.manifest.key or "", SigningPair.from_seed(bytes(32)).verifier("bursar/other-0123abcd").text()
    size = plan.manifest.size

    def replay(*arguments: object, **more: Any) -> Result:
        return CliRunner().invoke(bursar, ["replay", *map(str, arguments)], env={"BURSAR_DATABASE_URL": None}, **more)

    done = replay("--bundle", file, "--key", key)
    assert (done.exit_code, done.stderr) == (0, "")
    first, signed = done.stdout.splitlines()
    assert first == f"acme: replayed 1 decision of records 0 to {size - 1}: 1 came out as recorded"
    assert signed.startswith(f"acme: a log of {size} records is signed by ")
    assert replay("--bundle", "-", "--key", key, input=packed).stdout == done.stdout
    assert "the key that signed was taken from the log itself" in replay("--bundle", file).stdout
    wrong = replay("--bundle", file, "--key", other)
    assert (wrong.exit_code, "'bursar verify --bundle' tells what is wrong" in wrong.stdout) == (1, True)
    shown = json.loads(replay("--bundle", file, "--key", key, "--from", size - 3, "--json").stdout)
    (one,) = shown["books"]
    assert (shown["replayed"], one["from"], one["to"], one["notes"]) == (True, size - 3, size, [])
    assert one["signed"] == [{"size": size, "keys": [key], "trusted": "given"}]
    for arguments, said in (
        (("--bundle", file, "--book", "acme"), "leave out --book and --archive"),
        (("--bundle", file, "--archive", tmp_path), "leave out --book and --archive"),
        (("--bundle", file, "--from", "soon"), "soon is no day or moment for --from"),
        (("--bundle", tmp_path / "none.tar"), "cannot be read: No such file"),
        (("--bundle", file, "--key", "none"), "key"),
    ):
        refused = replay(*arguments)
        assert (refused.exit_code, said in refused.stderr) == (2, True), refused.output
