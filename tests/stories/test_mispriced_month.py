"""A story: a mistyped price is found after some calls, and mended without editing what was recorded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from bursar import asking
from gateway.cli.reprice import command
from gateway.pricing import PriceBook
from gateway.pricing.loading import parse_overrides
from gateway.pricing.recorded import recorded
from gateway.usage import Usage
from ledger.core.money import format_atoms
from tests.cli.test_approvals_cli import Bridge
from tests.support.running_app import RunningApp, authorization, usd
from tests.support.server import verified

WRONG = b'prices: [{provider: openai, model: "gpt-5*", prices: {input_mtok: "12.50"}}]'
RIGHT = WRONG.replace(b"12.50", b"1.25")
USAGE = Usage({"input_tokens": 100_000, "output_tokens": 2_000, "cache_read_tokens": 60_000}, model="gpt-5-2025-08-07")


def test_a_mistyped_price_is_mended(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three calls at 0.5275 instead of 0.0775 USD: 1.35 comes back to the budget, by adjustments that name both prices;
    a second run and a second look at the books find nothing to do and nothing wrong."""
    path = tmp_path / "prices.yaml"
    path.write_bytes(RIGHT)
    today = datetime.now(UTC)
    wrong = PriceBook(parse_overrides(WRONG, source="prices.yaml")).tariff("openai", "gpt-5", today)
    assert wrong is not None
    cost = {"amount": format_atoms(wrong.cost(USAGE).atoms, 9), "currency": "USD"}
    assert cost == usd("0.5275")
    with RunningApp(database_url) as app:
        key = app.make_agent("crawler", budget="research")
        for _ in range(3):
            held = app.make("/v1/authorizations", authorization("1.00", resource="gpt-5"), key=key)["id"]
            body = {"amount": cost, "metering": recorded(USAGE, wrong)}
            app.make(f"/v1/authorizations/{held}/settle", body, key=key)
        bridge, client = Bridge(app), httpx.Client
        monkeypatch.setattr(asking.httpx, "Client", lambda **settings: client(**settings, transport=bridge))
        # Tomorrow is in the period, so that midnight may pass in between.
        first, last = (moment.date().isoformat() for moment in (today, today + timedelta(days=1)))
        arguments = ["--url", "http://bursar.test", "--key", app.admin_key, "--provider", "openai", "--model", "gpt-5*"]
        arguments += ["--from", first, "--to", last, "--prices", str(path), "--reason", "a point too far", "--yes"]
        bridge.lost = 1
        done = CliRunner().invoke(command, arguments)
        assert done.exit_code == 0, done.output
        assert ["gpt-5-2025-08-07", "3", "1.5825", "0.2325", "-1.35"] in [
            line.split() for line in done.output.splitlines()
        ]
        assert app.get("/v1/budgets/research").json["spent"] == usd("0.2325")
        said = app.get("/v1/adjustments").json["items"]
        assert len(said) == 3
        assert said[0]["reprice"]["old_price"]["price.input_mtok"] == "12.50"
        assert said[0]["reprice"]["new_price"]["price.input_mtok"] == "1.25"
        assert said[0]["reprice"]["settled"] == cost
        again = CliRunner().invoke(command, arguments)
        assert "3 right as they are, 0 to correct" in again.output
        assert len(app.get("/v1/adjustments").json["items"]) == 3
    verified(database_url)
