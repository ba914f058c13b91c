"""Costs, ceilings and what an amount affords: worked rows, then properties against genai-prices as the oracle."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from timeit import repeat
from typing import Any

import pytest
from genai_prices import Usage as OracleUsage
from genai_prices import calc_price
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.pricing import OUTPUT_UNBOUNDED, PriceBook, Tariff
from gateway.pricing.cost import atoms_of
from gateway.pricing.loading import parse_overrides
from gateway.pricing.outputs import largest_output
from gateway.usage import Usage
from ledger.core.money import ATOMS_MAX

DAY = date(2026, 11, 20)
BOOK = PriceBook()
MODELS = (
    ("openai", "gpt-5"),
    ("openai", "gpt-5.4"),
    ("openai", "gpt-5.6-sol"),
    ("openai", "gpt-4o-mini"),
    ("openai", "gpt-audio"),
    ("openai", "text-embedding-3-small"),
    ("azure", "gpt-5"),
    ("anthropic", "claude-sonnet-4-5-20250929"),
    ("anthropic", "claude-opus-4-6"),
    ("anthropic", "claude-opus-5-5"),
    ("aws", "global.anthropic.claude-sonnet-4-5-20250929-v1:0"),
    ("google", "gemini-2.5-pro"),
    ("groq", "llama-3.3-70b-versatile"),
    ("mistral", "mistral-medium-latest"),
    ("deepseek", "deepseek-v4-pro"),
    ("x-ai", "grok-4"),
    ("openrouter", "anthropic/claude-sonnet-4.5"),
    ("perplexity", "sonar"),
    ("perplexity", "sonar-deep-research"),
)


def tariff(provider: str, model: str, day: date = DAY, book: PriceBook = BOOK) -> Tariff:
    """A tariff that there is."""
    found = book.tariff(provider, model, day)
    assert found is not None, (provider, model)
    return found


SONNET = ("anthropic", "claude-sonnet-4-5-20250929")
# USD per million for Sonnet 4.5: input 3, output 15, read 0.30, written 3.75 (5 minutes) and 6 (an hour); twice that,
# and 22.50 for output, once more than 200,000 tokens are read. GPT-5: 1.25, 10, read 0.125.
COSTS: list[tuple[str, tuple[str, str], dict[str, int], str]] = [
    ("plain", SONNET, {"input_tokens": 1_000, "output_tokens": 100}, "0.0045"),
    (
        "a cache read is not paid twice, nor at the full price",
        SONNET,
        {"input_tokens": 1_000, "output_tokens": 0, "cache_read_tokens": 900},
        "0.00057",
    ),
    (
        "a write is paid once, at its own price",
        SONNET,
        {"input_tokens": 1_000, "output_tokens": 0, "cache_write_tokens": 1_000},
        "0.00375",
    ),
    (
        "an hour's write at an hour's price",
        SONNET,
        {"input_tokens": 1_000, "output_tokens": 0, "cache_write_tokens": 1_000, "cache_write_1h_tokens": 1_000},
        "0.006",
    ),
    (
        "both lifetimes",
        SONNET,
        {
            "input_tokens": 1_000,
            "output_tokens": 0,
            "cache_write_tokens": 1_000,
            "cache_write_1h_tokens": 400,
            "cache_write_5m_tokens": 600,
        },
        "0.00465",
    ),
    ("at the step the price is the lower one", SONNET, {"input_tokens": 200_000, "output_tokens": 10}, "0.60015"),
    ("above it the whole call is dearer", SONNET, {"input_tokens": 200_001, "output_tokens": 10}, "1.200231"),
    (
        "searches have a fee of their own",
        SONNET,
        {"input_tokens": 1_000, "output_tokens": 0, "web_searches": 2},
        "0.023",
    ),
    (
        "reasoning is output",
        ("openai", "gpt-5"),
        {"input_tokens": 0, "output_tokens": 100, "output_reasoning_tokens": 90},
        "0.001",
    ),
    ("a cached token", ("openai", "gpt-5"), {"input_tokens": 1, "output_tokens": 0, "cache_read_tokens": 1}, "1.25e-7"),
    ("nothing", ("openai", "gpt-5"), {"input_tokens": 0, "output_tokens": 0}, "0"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "counts", "usd"), [row[1:] for row in COSTS], ids=[row[0] for row in COSTS])
def test_costs(model: tuple[str, str], counts: dict[str, int], usd: str) -> None:
    """Dollars that a person can check with the price page in hand."""
    cost = tariff(*model).cost(Usage(counts))
    assert (Decimal(cost.atoms) / 10**9, cost.unpriced) == (Decimal(usd), ())


@pytest.mark.parametrize(
    ("numerator", "denominator", "atoms"),
    [(1, 2, 0), (3, 2, 2), (5, 2, 2), (501, 1000, 1), (7, 7, 1), (0, 5, 0), (10**40, 1, ATOMS_MAX)],
)
def test_rounding_is_half_even_once_and_fits_the_ledger(numerator: int, denominator: int, atoms: int) -> None:
    """One rounding, of the exact sum."""
    assert atoms_of(numerator, denominator) == atoms


def test_half_atoms_are_added_before_they_are_rounded() -> None:
    """A token for half an atom: two are one atom, not twice a half that was rounded; three, at 1.5, are two."""
    book = PriceBook(
        parse_overrides(b'prices: [{model: "m", prices: {input_mtok: "0.0005", output_mtok: "1"}}]', source="p")
    )
    found = tariff("lab", "m", book=book)
    assert [found.cost(Usage({"input_tokens": count, "output_tokens": 0})).atoms for count in (1, 2, 3, 5)] == [
        0,
        1,
        2,
        2,
    ]


TIERS = [
    ("openai", "gpt-5", "standard", 1_250, ()),
    ("openai", "gpt-5", "flex", 625, ()),
    ("openai", "gpt-5", "batch", 625, ()),
    ("openai", "gpt-5", "priority", 2_500, ()),
    ("openai", "gpt-5", "scale", 1_250, ("service_tier=scale",)),
    ("openai", "gpt-4.1-nano", "flex", 100, ()),
    ("azure", "gpt-5", "priority", 1_250, ("service_tier=priority",)),
    ("anthropic", "claude-sonnet-4-5", "priority", 3_000, ("service_tier=priority",)),
    ("anthropic", "claude-opus-5-5", "fast", 8_000, ()),
    ("anthropic", "claude-opus-5-5", "standard", 4_000, ()),
    ("anthropic", "claude-opus-5-5", "standard+us", 4_400, ()),
    ("anthropic", "claude-opus-5-5", "batch+us", 2_200, ()),
    ("anthropic", "claude-opus-5-5", "priority+us", 4_400, ("service_tier=priority",)),
]


@pytest.mark.parametrize(("provider", "model", "tier", "atoms", "flags"), TIERS)
def test_the_served_tier_decides(provider: str, model: str, tier: str, atoms: int, flags: tuple[str, ...]) -> None:
    """A cheaper tier without a price costs the standard price; a dearer one, or an unknown one, is flagged."""
    found = tariff(provider, model)
    cost = found.cost(Usage({"input_tokens": 1, "output_tokens": 0}, tier=tier))
    assert (cost.atoms, cost.unpriced, found.knows_tier(tier)) == (atoms, flags, not flags)


def test_tiers_before_the_list_has_them() -> None:
    """Tier prices are dated: earlier days cost the standard price, and a dearer tier is flagged."""
    early = tariff("openai", "gpt-5", date(2026, 1, 1))
    usage = {"input_tokens": 1, "output_tokens": 0}
    assert early.cost(Usage(usage, tier="flex")).atoms == 1_250
    assert early.cost(Usage(usage, tier="priority")).unpriced == ("service_tier=priority",)


@pytest.mark.parametrize(
    ("model", "counts", "unknown", "unpriced"),
    [
        (("openai", "gpt-5"), {"code_executions": 2}, (), ("code_executions",)),
        (("openai", "gpt-5"), {"moon_tokens": 2}, (), ("moon_tokens",)),
        (("openai", "gpt-5"), {"moon_tokens": 0}, (), ()),
        (("openai", "gpt-5"), {}, ("usage.moon",), ("usage.moon",)),
        (("openai", "text-embedding-3-small"), {"output_tokens": 4}, (), ("output_tokens",)),
        (("openai", "gpt-5"), {"cache_read_tokens": 9}, (), ("inconsistent:input_tokens",)),
        (("openai", "gpt-5.6-sol"), {"cache_write_tokens": 1, "cache_write_1h_tokens": 1}, (),
         ("cache_write_1h_tokens",)),
    ],
)  # fmt: skip
def test_what_has_no_price_is_named(model: Any, counts: dict[str, int], unknown: Any, unpriced: Any) -> None:
    """Never silently zero."""
    usage = Usage({"input_tokens": 5, "output_tokens": 0} | counts, unknown=unknown)
    assert tariff(*model).cost(usage).unpriced == unpriced


def test_an_hours_write_without_a_price_costs_twice_the_input_at_least() -> None:
    """Never five minutes' price for an hour, and flagged."""
    found = tariff("openai", "gpt-5.6-sol")
    read = found.prices()["input_mtok"]
    usage = Usage(
        {"input_tokens": 1_000, "output_tokens": 0, "cache_write_tokens": 1_000, "cache_write_1h_tokens": 1_000}
    )
    assert found.cost(usage).atoms == int(read * 2 * 10**6)


def test_parts_larger_than_their_total_are_paid_as_reported() -> None:
    """A provider's numbers that contradict each other: nothing is subtracted into the negative."""
    cost = tariff("openai", "gpt-5").cost(Usage({"input_tokens": 10, "output_tokens": 1, "cache_read_tokens": 100}))
    assert cost.atoms == 100 * 125 + 10_000


def test_other_models_in_a_call_are_paid_at_their_own_prices() -> None:
    """Anthropic's advisor; one that nobody has a price for is flagged by its name."""
    advisor = Usage({"input_tokens": 1_000, "output_tokens": 10}, model="claude-opus-5-5")
    usage = Usage({"input_tokens": 1_000, "output_tokens": 0}, others=(advisor,))
    found = tariff("anthropic", "claude-sonnet-4-5")
    assert found.cost(usage).atoms == 3_000_000 + 4_000_000 + 200_000
    strange = Usage({"input_tokens": 1_000, "output_tokens": 0}, others=(Usage({"input_tokens": 1}, model="unheard"),))
    assert found.cost(strange).unpriced == ("model=unheard",)


def test_an_amount_beyond_the_ledger_is_flagged() -> None:
    """A provider may report any number."""
    cost = tariff("openai", "gpt-5").cost(Usage({"input_tokens": 10**30, "output_tokens": 0}))
    assert (cost.atoms, cost.unpriced) == (ATOMS_MAX, ("amount_out_of_range",))


def test_the_hour_decides_where_it_does() -> None:
    """DeepSeek has dear hours: the hour's price where it is known, else the dearest, and a ceiling for any hour."""
    usage = Usage({"input_tokens": 1_000_000, "output_tokens": 0})
    prices = {
        hour: tariff("deepseek", "deepseek-v4-pro", datetime(2026, 11, 20, hour, 30, tzinfo=UTC))
        for hour in (0, 2, 5, 7)
    }
    assert [found.cost(usage).atoms // 10**7 for found in prices.values()] == [66, 132, 66, 132]
    whole_day = tariff("deepseek", "deepseek-v4-pro")
    assert whole_day.cost(usage).atoms // 10**7 == 132
    for found in (*prices.values(), whole_day):
        assert found.ceiling(input_tokens=1_000_000, output_tokens=0) // 10**7 == 132
    assert prices[5].affordable_output(1_319_999_999, input_tokens=1_000_000) == -1


@pytest.mark.parametrize(
    ("model", "question", "usd"),
    [
        (SONNET, {"input_tokens": 1_000, "output_tokens": 100}, "0.0045"),
        (SONNET, {"input_tokens": 1_000, "output_tokens": 0, "cache_write": "5m"}, "0.00375"),
        (SONNET, {"input_tokens": 1_000, "output_tokens": 0, "cache_write": "1h"}, "0.006"),
        (SONNET, {"input_tokens": 200_001, "output_tokens": 0}, "1.200006"),
        (SONNET, {"input_tokens": 1_000, "output_tokens": 0, "requests": {"web_searches": 3}}, "0.033"),
        (("openai", "gpt-5"), {"input_tokens": 1_000, "output_tokens": 0, "tier": "priority"}, "0.0025"),
        (("openai", "gpt-5"), {"input_tokens": 1_000, "output_tokens": 0, "tier": "flex"}, "0.00125"),
        (("openai", "gpt-audio"), {"input_tokens": 1_000, "output_tokens": 0}, "0.0025"),
        (("openai", "gpt-audio"), {"input_tokens": 1_000, "output_tokens": 0, "audio": True}, "0.032"),
        (("anthropic", "claude-opus-5-5"), {"input_tokens": 10, "output_tokens": 0, "tier": "standard+us"}, "0.000044"),
    ],
)  # fmt: skip
def test_ceilings(model: tuple[str, str], question: dict[str, Any], usd: str) -> None:
    """The dearest way in which each token can be billed, given what was asked."""
    assert Decimal(tariff(*model).ceiling(**question)) / 10**9 == Decimal(usd)


def test_caches_written_unasked_are_in_the_ceiling() -> None:
    """GPT-5.6 writes its cache on its own, at a price."""
    found = tariff("openai", "gpt-5.6-sol")
    assert found.prices()["cache_write_mtok"] == Decimal(5)
    assert found.ceiling(input_tokens=1_000, output_tokens=0) == 5_000_000


def test_a_tool_without_a_price_has_no_ceiling() -> None:
    """The caller denies what cannot be bounded."""
    found = tariff("openai", "gpt-5")
    assert (found.knows_fee("web_searches"), found.knows_fee("code_executions")) == (True, False)
    with pytest.raises(LookupError, match="code_executions"):
        found.ceiling(input_tokens=1, output_tokens=1, requests={"code_executions": 1})
    assert found.ceiling(input_tokens=0, output_tokens=0, requests={"code_executions": 0}) == 0


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "no-such-model"),
        ("openai", ""),
        ("openai", "g" * 300),
        ("nobody", "gpt-5"),
        ("openai-at-home", "gpt-5"),
        ("openai", "whisper-1"),
        ("openai", "moderation"),
    ],
)
def test_no_price_is_no_tariff(provider: str, model: str) -> None:
    """Not zero: the call is denied unless a fallback names a price. A private server is not OpenAI for its name."""
    assert BOOK.tariff(provider, model, DAY) is None


def test_models_that_are_free_cost_nothing() -> None:
    """OpenRouter's :free variants are listed without any price, and output for nothing is not bounded by money."""
    found = tariff("openrouter", "mistralai/mistral-7b-instruct:free")
    assert found.cost(Usage({"input_tokens": 9, "output_tokens": 9})).atoms == 0
    assert found.affordable_output(0, input_tokens=10**6) == OUTPUT_UNBOUNDED


def test_a_tariff_says_what_it_is() -> None:
    """For records: provider, model, source, prices with their steps; limits for the estimate."""
    found = tariff("xai", "grok-4")
    assert (found.provider, found.currency) == ("x-ai", "USD")
    assert found.source.startswith("genai-prices ")
    sonnet = tariff(*SONNET)
    assert (sonnet.model, sonnet.context_window, sonnet.max_output_tokens) == ("claude-sonnet-4-5", 200_000, 64_000)
    assert sonnet.prices()["input_mtok.above_200000"] == 6
    assert tariff("openai", "gpt-5").prices("flex")["output_mtok"] == 5
    assert tariff("aws", "global.anthropic.claude-sonnet-4-5-20250929-v1:0").max_output_tokens == 64_000
    assert tariff("openrouter", "openai/gpt-5-mini").max_output_tokens == 128_000
    llama = tariff("groq", "llama-3.3-70b-versatile")
    assert (llama.max_output_tokens, llama.output_limit(input_tokens=10)) == (None, 32_768)
    assert llama.output_limit(input_tokens=10, unknown=8_000) == 8_000


def test_a_default_limit_fits_into_the_context_window() -> None:
    """Providers refuse a limit that does not, and nobody asked for it."""
    gpt4 = tariff("openai", "gpt-4")
    assert (gpt4.context_window, gpt4.max_output_tokens) == (8_192, 8_192)
    limits = {tokens: gpt4.output_limit(input_tokens=tokens) for tokens in (0, 1_000, 8_191, 8_192, 9_000)}
    assert limits == {0: 8_192, 1_000: 7_192, 8_191: 1, 8_192: 8_192, 9_000: 8_192}
    assert gpt4.output_limit(input_tokens=1_000, default=500) == 500
    assert gpt4.output_limit(input_tokens=1_000, default=50_000) == 7_192


@pytest.mark.parametrize("model", ["gpt-4o-2024-08-06", "ft:gpt-4o-2024-08-06:org::id", "openai/ft:gpt-4o:org::id"])
def test_a_tuned_model_writes_as_much_as_the_one_it_was_made_from(model: str) -> None:
    assert largest_output(model) == 16_384


def test_the_answering_model_is_priced_and_the_one_asked_for_where_it_is_unknown() -> None:
    """Routers answer with another model than was asked."""
    answered = BOOK.served("openai", "gpt-5", Usage({}, model="gpt-4o-mini-2024-07-18"), DAY)
    unheard = BOOK.served("openai", "gpt-5", Usage({}, model="unheard"), DAY)
    assert (answered and answered.model, unheard and unheard.model) == ("gpt-4o-mini", "gpt-5")
    assert BOOK.served("openai", "x", Usage({}, model="y"), DAY) is None


def test_a_policy_may_name_a_fallback() -> None:
    """Input and output at its prices; whatever has no price of its own is inside them, tools excepted."""
    prices = {"input_mtok": Decimal("5.00"), "output_mtok": Decimal("25.00")}
    found = BOOK.fallback("lab", "m1", prices, source="policy research 3")
    assert (found.source, found.is_fallback, found.model) == ("policy research 3", True, "m1")
    usage = Usage({"input_tokens": 100, "output_tokens": 10, "cache_read_tokens": 90, "web_searches": 1})
    cost = found.cost(usage)
    assert (cost.atoms, cost.unpriced) == (750_000, ("web_searches",))
    assert found.ceiling(input_tokens=100, output_tokens=10, cache_write="1h") == 750_000
    assert BOOK.fallback("lab", "m1", prices, source="policy research 3") is found


def test_made_up_names_do_not_fill_the_memory() -> None:
    """What is kept is bounded, for models, tiers and misses alike."""
    from gateway.pricing import book as module

    book = PriceBook()
    for number in range(module.TARIFFS_KEPT_MAX + 50):
        book.tariff("nobody", f"m{number}", DAY)
    assert len(book._kept) == module.TARIFFS_KEPT_MAX
    found = tariff("openai", "gpt-5", book=book)
    for number in range(500):
        found.cost(Usage({"input_tokens": 1, "output_tokens": 1}, tier=f"t{number}"))
        found.ceiling(input_tokens=1, output_tokens=1, tier=f"t{number}")
    assert len(found._plans) <= 64 >= len(found._bounds)


CONTEXTS: dict[str, dict[str, str]] = {
    "standard": {},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "fast": {"service_tier": "fast", "speed": "fast"},
    "batch": {"processing": "batch"},
}
tokens = st.one_of(st.integers(0, 2_000), st.integers(190_000, 300_000), st.integers(0, 2_000_000))


@st.composite
def usages(draw: st.DrawFn, *, audio: bool = True, hour: bool = True) -> dict[str, int]:
    """Consistent counts: parts never add up to more than their total."""
    total, output = draw(tokens), draw(tokens)
    read = draw(st.integers(0, total))
    written = draw(st.integers(0, total - read))
    counts = {
        "input_tokens": total,
        "output_tokens": output,
        "cache_read_tokens": read,
        "cache_write_tokens": written,
        "output_reasoning_tokens": draw(st.integers(0, output)),
    }
    if hour:
        counts["cache_write_1h_tokens"] = draw(st.integers(0, written))
        counts["cache_write_5m_tokens"] = written - counts["cache_write_1h_tokens"]
    if audio:
        counts["input_audio_tokens"] = draw(st.integers(0, total - read - written))
        counts["output_audio_tokens"] = draw(st.integers(0, output - counts["output_reasoning_tokens"]))
    return {key: count for key, count in counts.items() if count or key in ("input_tokens", "output_tokens")}


@pytest.mark.parametrize(("provider", "model"), MODELS)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_cost_is_what_genai_prices_computes(provider: str, model: str, data: st.DataObject) -> None:
    """To the last digit, for every tier; where ours is flagged for an hour's write, it is the larger one."""
    tier = data.draw(st.sampled_from(sorted(CONTEXTS)))
    counts = data.draw(usages())
    moment = datetime(2026, 11, 20, data.draw(st.integers(0, 23)), 30, tzinfo=UTC)
    counts |= {"web_searches": data.draw(st.integers(0, 5))}
    found = tariff(provider, model, moment)
    oracle = calc_price(
        OracleUsage(**counts), model, provider_id=provider, genai_request_timestamp=moment, price_context=CONTEXTS[tier]
    )
    numerator, denominator, unpriced = found.exact(Usage(counts, tier=tier))
    ours, theirs = Fraction(numerator, denominator) / 10**9, Fraction(oracle.total_price)
    if "cache_write_1h_tokens" in unpriced:
        assert ours >= theirs
    else:
        assert ours == theirs


@pytest.mark.parametrize(("provider", "model"), MODELS)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_no_cost_is_above_its_ceiling(provider: str, model: str, data: st.DataObject) -> None:
    """For any usage with at most these tokens, billed in any way that the question allows."""
    audio, write = data.draw(st.booleans()), data.draw(st.sampled_from([None, "5m", "1h"]))
    tier = data.draw(st.sampled_from([*CONTEXTS, "standard+us"]))
    counts = data.draw(usages(audio=audio, hour=write == "1h"))
    found = tariff(provider, model)
    if write is None and "claude" in model:
        counts.pop("cache_write_tokens", None)
    served = data.draw(st.sampled_from([tier, "standard"]))
    searches = data.draw(st.integers(0, 5)) if found.knows_fee("web_searches") else 0
    ceiling = found.ceiling(
        input_tokens=counts["input_tokens"] + data.draw(st.integers(0, 100_000)),
        output_tokens=counts["output_tokens"] + data.draw(st.integers(0, 1_000)),
        tier=tier,
        requests={"web_searches": searches},
        cache_write=write,
        audio=audio,
    )
    assert found.cost(Usage(counts | {"web_searches": searches}, tier=served)).atoms <= ceiling


@pytest.mark.parametrize(("provider", "model"), MODELS)
@given(atoms=st.one_of(st.integers(0, 10**7), st.integers(0, 10**11)), read=tokens, data=st.data())
@settings(max_examples=20, deadline=None)
def test_what_an_amount_affords_is_the_largest_that_fits(
    provider: str, model: str, atoms: int, read: int, data: st.DataObject
) -> None:
    """One token more would be above the amount."""
    found = tariff(provider, model)
    searches = data.draw(st.integers(0, 3)) if found.knows_fee("web_searches") else 0
    question: dict[str, Any] = {
        "input_tokens": read,
        "tier": data.draw(st.sampled_from(sorted(CONTEXTS))),
        "cache_write": data.draw(st.sampled_from([None, "5m", "1h"])),
        "audio": data.draw(st.booleans()),
        "requests": {"web_searches": searches},
    }
    most = found.affordable_output(atoms, **question)
    if most == -1:
        assert found.ceiling(output_tokens=0, **question) > atoms
    else:
        assert found.ceiling(output_tokens=most, **question) <= atoms
        if most != OUTPUT_UNBOUNDED:
            assert found.ceiling(output_tokens=most + 1, **question) > atoms


def test_prices_are_compiled() -> None:
    """They are asked for on every call: a cost, a ceiling and an inverse are each many times as fast as the oracle."""
    found = tariff(*SONNET)
    usage = Usage({"input_tokens": 9_000, "output_tokens": 500, "cache_read_tokens": 4_000, "cache_write_tokens": 100})
    oracle = OracleUsage(**usage.counts)
    slow = min(repeat(lambda: calc_price(oracle, SONNET[1], provider_id=SONNET[0]), number=200, repeat=5))
    for asked in (
        lambda: found.cost(usage),
        lambda: found.ceiling(input_tokens=9_000, output_tokens=500, cache_write="5m"),
        lambda: found.affordable_output(10**8, input_tokens=9_000),
        lambda: BOOK.tariff(*SONNET, DAY),
    ):
        assert min(repeat(asked, number=200, repeat=5)) * 6 < slow


def test_a_books_prices_follow_a_model_through_its_names() -> None:
    """Asked by one name, answered by another: the hold and the settlement are at the same negotiated price."""
    named = PriceBook(parse_overrides(b'prices: [{model: gpt-4o-mini, prices: {input_mtok: "0.01"}}]', source="p"))
    dated = "gpt-4o-mini-2024-07-18"

    def base(found: Tariff | None) -> Decimal:
        assert found is not None
        return found.prices()["input_mtok"]

    assert base(named.tariff("openai", "gpt-4o-mini", DAY)) == Decimal("0.01")
    assert base(named.tariff("openai", dated, DAY)) == Decimal("0.01")
    assert base(named.served("openai", "gpt-4o-mini", Usage({}, model=dated), DAY)) == Decimal("0.01")
    assert base(named.served("openai", "gpt-4o-mini", Usage({}, model="gpt-5"), DAY)) != Decimal("0.01")

    both = PriceBook(
        parse_overrides(
            b'prices: [{model: gpt-4o-mini, prices: {input_mtok: "0.01"}},'
            b' {model: gpt-4o-mini-2024-07-18, prices: {input_mtok: "0.02"}}]',
            source="p",
        )
    )
    assert base(both.tariff("openai", "gpt-4o-mini", DAY)) == Decimal("0.01")
    assert base(both.served("openai", "gpt-4o-mini", Usage({}, model=dated), DAY)) == Decimal("0.02")
