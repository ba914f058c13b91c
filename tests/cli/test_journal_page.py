"""What ``docs/exports.md`` shows is what is written, and it names every format and column that there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from bursar.command import bursar
from ledger.core.command import Refund
from ledger.services.journal import csv_form, focus_rows, inference_form
from ledger.services.journal.formats import FORMATS
from ledger.storage.migrate import upgrade
from tests.services.live_world import LiveWorld
from tests.support import plain_text
from tests.support.databases import sqlite_url

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "exports.md").read_text(encoding="utf-8")
IDS = re.compile(r"\b(alc|auth|chg|ref)_[0-9a-z]{26}")


def story(directory: Path) -> LiveWorld:
    """A budget, a call in November, and a refund in December."""
    url = sqlite_url(directory)
    upgrade(url)
    made = LiveWorld(url, "acme")
    held = made.hold(made.crawler, "5", resource="gpt-5-mini", run="run-42", labels=(("prompt", "v7"),))
    made.settle(made.crawler, held, "3.20")
    made.advance(30 * 86_400)
    made.do(Refund, made.key("finance", "fay"), authorization=held, amount="1.50", currency="USD")
    return made


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LiveWorld]:
    """The page's story."""
    made = story(tmp_path)
    yield made
    made.close()


def written(world: LiveWorld, *arguments: str) -> str:
    """What the command writes; ids, which differ from run to run, cut short."""
    done = CliRunner().invoke(bursar, ["journal", *arguments, "--database-url", world.url])
    assert done.exit_code == 0, done.output
    return IDS.sub(r"\1_…", done.stdout)


@pytest.mark.parametrize("form", ["beancount", "hledger"])
def test_what_is_shown_is_written(world: LiveWorld, form: str) -> None:
    """To the letter, a block for each program."""
    blocks = re.findall(rf"```{form}\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    text = written(world, "--format", form)
    for block in blocks:
        assert block in text


@plain_text.needs_hledger
def test_the_report_that_is_shown_is_hledgers(world: LiveWorld, tmp_path: Path) -> None:
    """Line by line."""
    file = tmp_path / "acme.journal"
    file.write_text(written(world, "--format", "hledger"), encoding="utf-8")
    (block,) = re.findall(r"```\n\$ hledger -f acme.journal ([^\n]*)\n(.*?)```", PAGE, re.DOTALL)
    status, said = plain_text.hledger(file, *block[0].split())
    assert status == 0
    assert [line.split() for line in said.splitlines()] == [line.split() for line in block[1].splitlines()]


def test_formats_and_columns_are_named() -> None:
    """All of them."""
    named = set(re.findall(r"`([A-Za-z_.][A-Za-z0-9_.-]*)`", PAGE))
    wanted = {*FORMATS, *csv_form.COLUMNS, *inference_form.COLUMNS, *focus_rows.COLUMNS}
    assert wanted - named == set()
