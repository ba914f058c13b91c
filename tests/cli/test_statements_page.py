"""The example of ``docs/statements.md`` is what `bursar statement` prints for the story that the page tells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from bursar.command import bursar
from ledger.core.command import Charge, Refund
from ledger.core.moment import moment_of
from ledger.services.statements.csv_form import COLUMNS
from ledger.services.statements.formats import FORMATS
from ledger.storage.migrate import upgrade
from tests.services.live_world import LiveWorld
from tests.support.databases import sqlite_url

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "statements.md").read_text(encoding="utf-8")
DAY = 86_400


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LiveWorld]:
    """The page's story: three calls in November, a charge found later, a refund in December."""
    url = sqlite_url(tmp_path)
    upgrade(url)
    made = LiveWorld(url, "acme")
    finance = made.key("finance", "fay")
    first = made.hold(made.crawler, "5", resource="gpt-5-mini")
    made.settle(made.crawler, first, "3.20")
    made.advance(DAY)
    second = made.hold(made.crawler, "8", resource="gpt-5")
    made.settle(made.crawler, second, "11")
    made.advance(3 * DAY)
    made.do(
        Charge, finance, budget="research", amount="2", currency="USD", category="search", payee="serp",
        effective_at=moment_of("2026-11-03T12:00:00Z"),
    )  # fmt: skip
    made.advance(26 * DAY)
    made.do(Refund, finance, authorization=second, amount="1.50", currency="USD")
    made.hold(made.crawler, "7", resource="gpt-5")
    yield made
    made.close()


def printed(world: LiveWorld, *arguments: str) -> str:
    """What the command prints; roots, which differ from book to book, left out."""
    done = CliRunner().invoke(bursar, ["statement", *arguments, "--database-url", world.url])
    assert done.exit_code == 0, done.output
    return re.sub(r"root [0-9a-f]{64}", "root …", done.stdout)


def test_the_example_is_what_is_printed(world: LiveWorld) -> None:
    """To the letter."""
    (block,) = re.findall(r"```\n\$ bursar statement (--budget [^\n]*)\n(.*?)```", PAGE, re.DOTALL)
    assert printed(world, *block[0].split()) == block[1]


def test_the_page_names_every_column_and_format() -> None:
    """The columns in their order."""
    listed = [name for row in re.findall(r"^\| (`[a-z_`, ]+`) \|", PAGE, re.MULTILINE) for name in row.split(", ")]
    assert [name.strip("`") for name in listed if name.strip("`") in COLUMNS] == list(COLUMNS)
    assert all(f"`{name}`" in PAGE for name in FORMATS)
