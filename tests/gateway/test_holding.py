"""What a call holds, without a server: ceilings by item, and limits that fit the model."""

from __future__ import annotations

from datetime import date

import pytest

from gateway.config import OPENAI, Provider
from gateway.estimate import Counts
from gateway.holding import plan
from gateway.pricing import PriceBook, Tariff
from gateway.refusals import Refusal
from ledger.core.inference import NO_RULES, InferenceRules
from tests.gateway.estimate.bodies import chat, said

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


def test_a_default_limit_leaves_room_for_the_input() -> None:
    """As much as was counted; a third of the bytes where text is bounded by them; what a client names is its own."""
    fixed = chat().fixed_tokens
    assert plan(chat(), Counts(7_000), tariff("gpt-4"), OPENAI, NO_RULES).bound.output_limit == 8_192 - 7_000 - fixed
    assert plan(chat(max_tokens=5_000), Counts(7_000), tariff("gpt-4"), OPENAI, NO_RULES).bound.output_limit == 5_000
    grok = tariff("grok-4", "xai")
    assert grok.context_window == 256_000
    request = chat(model="grok-4")
    held = plan(request, Counts(720_000 - request.fixed_tokens), grok, OPENAI, NO_RULES)
    assert held.bound.output_limit == 16_000


def test_a_provider_says_how_much_its_unknown_models_write() -> None:
    provider = Provider(base_url="http://127.0.0.1:1/v1", max_output_tokens=2_000)
    llama = tariff("llama-3.3-70b-versatile", "groq")
    assert plan(chat(model="llama-3.3-70b-versatile"), Counts(9), llama, provider, NO_RULES).bound.output_limit == 2_000
    assert plan(chat(), Counts(9), tariff("gpt-4o"), provider, NO_RULES).bound.output_limit == 16_384
