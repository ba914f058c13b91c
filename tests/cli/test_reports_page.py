"""The examples of ``docs/reports.md`` are what `bursar report` prints for the story that the page tells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from bursar.command import bursar
from ledger.core.command import Charge, OpenRun, Refund
from ledger.core.command_outcomes import ReportOutcome
from ledger.core.moment import moment_of
from ledger.core.report import PARAMETERS, REPORTS
from ledger.services.reports.formats import REPORT_FORMATS
from ledger.storage.migrate import upgrade
from tests.services.live_world import LiveWorld
from tests.support.databases import sqlite_url

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reports.md").read_text(encoding="utf-8")
DAY = 86_400
PROMPTS = (("v7", 80, 13), ("v8", 50, 16))
"""Label, what a run costs at least, in cents, and how many of twenty succeed."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveWorld]:
    """The page's story: in twenty days of November the writer runs two prompts 40 times each, and six times a third;
    finance finds a charge of September, and has a call of November refunded in December."""
    url = sqlite_url(tmp_path_factory.mktemp("reports_page"))
    upgrade(url)
    made = LiveWorld(url, "acme")
    finance = made.key("finance", "fay")
    made.agent("editing", kind="team")
    writer = made.agent("writer", "editing")
    made.budget("editing", "90", "writer")
    settled = ""
    for day in range(20):
        for prompt, cents, successes in PROMPTS:
            for at in range(2):
                place = 2 * day + at
                cost = cents + place * 7 % 23 + (15 if day % 7 in (4, 5) else 0)
                settled = _run(made, writer, f"{prompt}-{place}", prompt, cost, place * 9 % 20 < successes)
        if day >= 17:
            for at in range(2):
                _run(made, writer, f"v9-{day}-{at}", "v9", 30, True)
        made.advance(DAY)
    made.do(
        Charge, finance, budget="editing", amount="4", currency="USD", category="search", payee="serp",
        effective_at=moment_of("2026-09-20T12:00:00Z"),
    )  # fmt: skip
    made.hold(writer, "3", budget="editing")
    made.advance(12 * DAY)
    made.do(Refund, finance, authorization=settled, amount="0.25", currency="USD")
    yield made
    made.close()


def _run(world: LiveWorld, writer: object, run: str, prompt: str, cents: int, success: bool) -> str:
    """A run of one call, and what became of it; the call."""
    world.do(OpenRun, writer, name=run)  # type: ignore[arg-type]
    held = world.hold(writer, "2", budget="editing", run=run, labels=(("prompt", prompt),))  # type: ignore[arg-type]
    world.settle(writer, held, f"{cents // 100}.{cents % 100:02d}")  # type: ignore[arg-type]
    world.do(ReportOutcome, writer, run=run, success=success)  # type: ignore[arg-type]
    return held


def printed(world: LiveWorld, *arguments: str) -> str:
    """What the command prints; roots, which differ from book to book, left out."""
    done = CliRunner().invoke(bursar, ["report", *arguments, "--database-url", world.url])
    assert done.exit_code == 0, done.output
    return re.sub(r"root [0-9a-f]{64}", "root …", done.stdout)


def test_the_examples_are_what_is_printed(world: LiveWorld) -> None:
    """To the letter, and one of each report."""
    blocks = re.findall(r"```\n\$ bursar report ([^\n]*)\n(.*?)```", PAGE, re.DOTALL)
    assert {asked.split()[0] for asked, _ in blocks} == set(REPORTS)
    for asked, block in blocks:
        assert printed(world, *asked.split()) == block, asked


def test_the_page_names_every_report_parameter_and_format() -> None:
    """Each as it is asked for."""
    assert [name for name in REPORTS if f"`{name}`" not in PAGE] == []
    assert [name for names in PARAMETERS.values() for name in names if f"`{name}`" not in PAGE] == []
    assert [name for name in REPORT_FORMATS if f"`{name}`" not in PAGE] == []
