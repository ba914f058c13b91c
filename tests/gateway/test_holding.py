"""What a call holds, without a server: ceilings by item, and limits that fit the model."""

from __future__ import annotations

from datetime import date

import pytest

from gateway.config import OPENAI
from gateway.estimate import Counts
from gateway.holding import plan
from gateway.pricing import PriceBook, Tariff
from gateway.refusals import Refusal
from ledger.core.inference import NO_RULES, InferenceRules
from tests.gateway.estimate.bodies import said

BOOK = PriceBook()
URL = {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}


def tariff(model: str, provider: str = "openai") -> Tariff:
    """The prices of a model that has some."""
    found = BOOK.tariff(provider, model, date(2026, 11, 20))
    assert found is not None
    return found


def test_a_ceiling_counts_for_each_input_that_stands_elsewhere() -> None:
    rules = InferenceRules(ceilings=(("any", 5), ("url_input", 1_000)))
    held = [plan(said(*[URL] * n), Counts(5), tariff("gpt-4o"), OPENAI, rules).ceilings for n in (0, 1, 2, 7)]
    assert held == [0, 1_000, 2_000, 7_000]


def test_what_has_no_ceiling_is_named_once() -> None:
    with pytest.raises(Refusal, match=r"cannot be bounded \(url_input\)"):
        plan(said(URL, URL), Counts(5), tariff("gpt-4o"), OPENAI, NO_RULES)
