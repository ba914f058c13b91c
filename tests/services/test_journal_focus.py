"""FOCUS rows by worked example: which period a charge is billed in and charged for, and what sort of charge it is."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger.core.command import Adjust, AdjustmentTransfer, Charge, Refund
from ledger.core.command_corrections import Reverse
from ledger.core.moment import moment_of
from ledger.services.journal.formats import FORMATS, make_journal
from ledger.services.journal.making import Journals
from ledger.services.statements.making import Statements
from ledger.storage.engine import create_engine
from ledger.storage.migrate import upgrade
from ledger.storage.side_writer import SideWriter
from tests.services.live_world import LiveWorld
from tests.support.closing_months import close
from tests.support.databases import sqlite_url

DAY = 86_400
NOVEMBER, DECEMBER, JANUARY = (f"2026-{last_day}T23:00:00Z" for last_day in ("10-31", "11-30", "12-31"))
"""When these months begin in Paris."""


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, dict[str, str]]]:
    """Log index to row, of a story over three months."""
    directory: Path = tmp_path_factory.mktemp("focus")
    url = sqlite_url(directory)
    upgrade(url)
    world = LiveWorld(url, "acme")
    engine, side = create_engine(url), SideWriter(url)
    try:
        tell(world)
        made = make_journal(Journals(engine, Statements(engine, side)), world.book_id, FORMATS["focus"])
        text = b"".join(FORMATS["focus"].write(made)).decode()
        yield {int(row["x_LogIndex"]): row for row in csv.DictReader(io.StringIO(text, newline=""))}
    finally:
        side.close()
        engine.dispose()
        world.close()


TOLD: dict[str, int] = {}
"""What happened, by name, to the log index of its record."""


def tell(world: LiveWorld) -> None:
    """A call in November, corrected then and in December; a late charge; adjustments and taxes."""
    finance = world.key("finance", "fay")

    def booked(name: str, kind: Any, **fields: Any) -> Any:
        outcome = world.do(kind, finance, **fields)
        assert outcome.status.value == "done", outcome
        TOLD[name] = outcome.log_index
        return outcome

    spent = {"budget": "research", "currency": "USD", "category": "inference", "payee": "openai"}
    held = world.hold(world.crawler, "5", resource="gpt-5-mini")
    metered = (("input_tokens", "900"), ("model", "gpt-5-mini-1"), ("output_tokens", "100"), ("response_id", "r-1"))
    TOLD["call"] = world.settle(world.crawler, held, "3", metering=metered).log_index
    booked("refund at once", Refund, authorization=held, amount="1", currency="USD")
    booked("tax", Charge, **spent | {"category": "tax-eu", "amount": "0.50"})
    moved = (AdjustmentTransfer("expenses:hosting", "expenses:inference", "2", "USD"),)
    booked("adjustment", Adjust, transfers=moved, reason="booked on the wrong category")
    world.advance(30 * DAY)
    booked("refund later", Refund, authorization=held, amount="0.25", currency="USD")
    booked("reversal", Reverse, record=TOLD["adjustment"], reason="it was right")
    booked("backdated", Charge, **spent, amount="4", effective_at=moment_of("2026-11-20T12:00:00.25Z"))
    assert close(world, finance, "2026-11").status.value == "done"
    booked("too late", Charge, **spent, amount="6", effective_at=moment_of("2026-11-21T12:00:00Z"))


@pytest.mark.parametrize(
    ("name", "category", "correction", "billed", "charged"),
    [
        ("call", "Usage", "", NOVEMBER, "2026-11-02T09:00:00Z"),
        ("refund at once", "Usage", "", NOVEMBER, "2026-11-02T09:00:00Z"),
        ("tax", "Tax", "", NOVEMBER, "2026-11-02T09:00:00Z"),
        ("refund later", "Usage", "Correction", DECEMBER, "2026-11-02T09:00:00Z"),
        ("reversal", "Adjustment", "Correction", DECEMBER, "2026-11-02T09:00:00Z"),
        ("backdated", "Usage", "", NOVEMBER, "2026-11-20T12:00:00Z"),
        ("too late", "Usage", "Correction", DECEMBER, "2026-11-21T12:00:00Z"),
    ],
)
def test_periods_and_sorts(
    rows: dict[int, dict[str, str]], name: str, category: str, correction: str, billed: str, charged: str
) -> None:
    row = rows[TOLD[name]]
    assert (row["ChargeCategory"], row["ChargeClass"]) == (category, correction)
    assert (row["BillingPeriodStart"], row["ChargePeriodStart"]) == (billed, charged)
    assert row["BillingPeriodEnd"] == {NOVEMBER: DECEMBER, DECEMBER: JANUARY}[billed]
    assert row["ChargePeriodEnd"][:-3] == charged[:-3]


def test_quantities_and_names(rows: dict[int, dict[str, str]]) -> None:
    """Tokens where they were metered; a correction uses nothing anew."""
    call = rows[TOLD["call"]]
    assert (call["ConsumedQuantity"], call["ConsumedUnit"], call["x_OutputTokens"]) == ("1000", "Tokens", "100")
    assert (call["SkuId"], call["ResourceName"], call["x_ResponseId"]) == ("openai/gpt-5-mini", "gpt-5-mini", "r-1")
    assert (call["ServiceName"], call["ServiceCategory"]) == ("openai inference", "AI and Machine Learning")
    assert rows[TOLD["refund later"]]["ConsumedQuantity"] == ""
    assert rows[TOLD["backdated"]]["ConsumedUnit"] == "Purchases"
    adjusted = rows[TOLD["adjustment"]]
    assert (adjusted["InvoiceIssuerName"], adjusted["SubAccountId"]) == ("acme", "")
