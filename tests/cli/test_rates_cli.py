"""`bursar rates`: by hand and from files of the European Central Bank, on a database and at a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from bursar import asking
from bursar.command import bursar
from ledger.services.rate_files import RateFileInvalid, read_rates
from ledger.services.verify import verify_books
from ledger.storage.migrate import upgrade
from tests.services.live_world import LiveWorld
from tests.support.databases import sqlite_url
from tests.support.running_app import RunningApp
from tests.support.transport import AppTransport

# Of our own making, in the form of eurofxref-hist.csv: newest first, N/A where there is none, a comma at the end. The
# last column is no currency here.
SAMPLE = """\
Date,USD,JPY,BGN,GBP,HRK,XQZ,
2026-11-27,1.0842,163.57,1.9558,0.83125,N/A,9.99,
2026-11-26,1.0791,162.98,1.9558,0.8305,N/A,9.99,
2026-11-25,1.0803,163.11,1.9558,0.83,N/A,N/A,
2026-06-01,1.0999,170.1,1.9558,0.85,N/A,N/A,
"""


@pytest.fixture
def world(database_url: str) -> Iterator[LiveWorld]:
    """A book on either database; it must verify at the end."""
    upgrade(database_url)
    made = LiveWorld(database_url, "acme")
    yield made
    made.close()
    (report,) = verify_books(database_url, book="acme")
    assert report.verified, [difference.sentence() for difference in report.differences]


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """The sample as a file."""
    path = tmp_path / "eurofxref-hist.csv"
    path.write_text(SAMPLE, encoding="utf-8")
    return path


def run(world: LiveWorld, *arguments: str) -> Result:
    """The command on the world's database, as an operator would type it."""
    return CliRunner().invoke(bursar, ["rates", *arguments], env={"BURSAR_DATABASE_URL": world.url})


def told(result: Result) -> dict[str, object]:
    """What was answered as JSON."""
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout)
    return found


def rows(world: LiveWorld) -> list[str]:
    """What is listed: pair, day and rate."""
    listed = run(world, "list")
    assert listed.exit_code == 0, listed.output
    return [" ".join(line.split()[:3]) for line in listed.stdout.splitlines()]


def test_a_file_is_imported_once(world: LiveWorld, sample: Path) -> None:
    """A record for each day; the next day's file brings the next day, and a changed cell is corrected."""
    first = told(run(world, "import", str(sample), "--json"))
    size = world.size()
    assert first == {
        "rates": 12, "already": 0, "older": 4, "records": [size - 3, size - 2, size - 1], "unknown": ["XQZ"],
    }  # fmt: skip
    assert rows(world)[-3:] == ["EUR/USD 2026-11-25 1.0803", "EUR/USD 2026-11-26 1.0791", "EUR/USD 2026-11-27 1.0842"]
    again = run(world, "import", str(sample))
    assert again.stdout.startswith(
        "Gave 0 of 12 rates from 2026-11-25 to 2026-11-27, by 0 records of the log.\n12 were"
    )
    assert world.size() == size
    changed = SAMPLE.replace("Date", "Date", 1).replace("1.0791", "1.0792")
    sample.write_text(changed.replace("2026-11-27", "2026-11-28,1.09,164,1.9558,0.84,N/A,N/A,\n2026-11-27"), "utf-8")
    more = told(run(world, "import", str(sample), "--json", "--since", "2026-11-26", "--currency", "USD"))
    assert (more["rates"], more["already"]) == (2, 1)
    assert rows(world)[-3:] == ["EUR/USD 2026-11-26 1.0792", "EUR/USD 2026-11-27 1.0842", "EUR/USD 2026-11-28 1.09"]
    record = world.recorded().log[-1]
    assert (record.kind, record.body["by"]) == ("rate", {"principal": "system:database-owner"})
    assert record.body["source"] == "ecb"


def test_older_days_are_taken_when_asked_for(world: LiveWorld, sample: Path) -> None:
    """Otherwise it says how many were left out."""
    left = run(world, "import", str(sample))
    assert "Left out 4 rates of days before 2026-11-25; --since takes them too." in left.stdout
    assert "Left out what is no currency here: XQZ." in left.stderr
    assert told(run(world, "import", str(sample), "--since", "2026-01-01", "--json"))["rates"] == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the first line is not that of a file of the ECB"),
        ("Datum,USD\n", "the first line is not that of a file of the ECB"),
        ("Date,usd,\n", '"usd" in the first line is no code of a currency'),
        ("Date,USD,\n2026-11-27,1.08\n", "line 2 has 2 columns and the first line 3"),
        ("Date,USD,\n27.11.2026,1.08,\n", 'line 2: "27.11.2026" is no day; it is written 2026-11-28'),
        ("Date,USD,\n2026-11-27,1.08,\n2026-11-26,one,\n", 'line 3: "one" is no rate'),
        ("Date,USD,\n2026-11-27,1.08,\n2026-11-27,1.09,\n", "has two rates of EUR/USD for one day"),
    ],
)
def test_a_file_that_cannot_be_read(sample: Path, text: str, said: str) -> None:
    """Its line is named."""
    sample.write_text(text, encoding="utf-8")
    with pytest.raises(RateFileInvalid) as raised:
        read_rates(sample, "ecb")
    assert said in str(raised.value)


def test_nothing_of_a_bad_file_is_recorded(world: LiveWorld, sample: Path) -> None:
    """Not even what stands before the line that is wrong; nor of one without rates."""
    size = world.size()
    for text, said in (
        (SAMPLE.replace("1.0803", "1,0803"), "eurofxref-hist.csv: line 4 has 9 columns and the first line 8"),
        (SAMPLE.replace("1.0803", "none"), 'line 4: "none" is no rate'),
        ("Date,USD,\n2026-11-27,N/A,\n", "has no rates that these options choose"),
    ):
        sample.write_text(text, encoding="utf-8")
        done = run(world, "import", str(sample))
        assert (done.exit_code, said in done.stderr) == (2, True), done.output
    assert world.size() == size


def test_an_archive_is_to_be_unpacked(world: LiveWorld, tmp_path: Path) -> None:
    """The bank offers both."""
    path = tmp_path / "eurofxref-hist.zip"
    path.write_bytes(b"PK\x03\x04\xff\xfe")
    done = run(world, "import", str(path))
    assert (done.exit_code, "unpack it first" in done.stderr) == (2, True), done.output


def test_plain_lines(world: LiveWorld, tmp_path: Path) -> None:
    """Columns in whatever order, and a source of their own."""
    path = tmp_path / "treasury.csv"
    path.write_text("valid_from,base,quote,rate\n2026-11-01,USD,CHF,0.8800\n", encoding="utf-8")
    done = told(run(world, "import", str(path), "--format", "csv", "--source", "treasury", "--max-age-days", "31",
                    "--json"))  # fmt: skip
    assert done["rates"] == 1
    assert run(world, "list").stdout.split()[:8] == [
        "USD/CHF", "2026-11-01", "0.88", "treasury,", "for", "31", "days,", "record"
    ]  # fmt: skip
    path.write_text("base,quote,rate\n", encoding="utf-8")
    assert "the first line names the columns" in run(world, "import", str(path), "--format", "csv").stderr


def test_by_hand(world: LiveWorld) -> None:
    """From today on, unless told otherwise; what is none says why."""
    done = run(world, "add", "EUR", "USD", "1.0842", "--source", "treasury", "--reason", "the bank's slip")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("1 EUR is 1.0842 USD from ")
    assert told(run(world, "add", "EUR", "USD", "1.09", "--from", "2026-11-03", "--json"))["valid_from"] == "2026-11-03"
    for arguments, said in (
        (("EUR", "USD", "0"), "a rate is above zero"),
        (("EUR", "euros", "1"), "euros is no ISO 4217 currency"),
        (("EUR", "USD", "1", "--from", "tomorrow"), "Invalid isoformat"),
        (("EUR", "USD", "1", "--from", "1980-01-01"), "no day for a rate"),
        (("EUR", "USD", "1", "--source", "The Bank"), "cannot name a source"),
    ):
        refused = run(world, "add", *arguments)
        assert (refused.exit_code, said in refused.stderr) == (2, True), refused.output


def test_the_same_at_a_server(tmp_path: Path, sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a key of finance or an admin; once, as on a database."""
    with RunningApp(sqlite_url(tmp_path)) as app:
        client = httpx.Client
        monkeypatch.setattr(asking.httpx, "Client", lambda **settings: client(**settings, transport=AppTransport(app)))
        environment = {"BURSAR_URL": "http://bursar.test", "BURSAR_API_KEY": app.admin_key}

        def ask(*arguments: str) -> Result:
            return CliRunner().invoke(bursar, ["rates", *arguments], env=environment)

        assert told(ask("import", str(sample), "--json"))["rates"] == 12
        assert told(ask("import", str(sample), "--json"))["already"] == 12
        assert ask("add", "USD", "CHF", "0.88").exit_code == 0
        listed = [json.loads(line) for line in ask("list", "--base", "USD", "--json").stdout.splitlines()]
        assert [(one["quote"], one["rate"], one["source"]) for one in listed] == [("CHF", "0.88", "manual")]
        assert ask("add", "USD", "CHF", "0.88", "--from", "1980-01-01").exit_code != 0
