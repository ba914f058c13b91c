"""prices.yaml: what each field does, which entry counts, and what is refused with its line."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.pricing import PriceBook, Tariff, load_overrides
from gateway.pricing.loading import parse_overrides
from gateway.usage import Usage
from ledger.services.policies.document_errors import PolicyFileError
from ledger.services.policies.document_files import policy_files
from tests.support.documents import ROOT

DAY = date(2026, 11, 20)
SHIPPED = ROOT / "policies" / "prices.yaml"


def priced(text: str, provider: str = "openai", model: str = "gpt-5", day: date = DAY) -> Tariff | None:
    """The tariff that a file makes."""
    return PriceBook(parse_overrides(text.encode(), source="prices.yaml")).tariff(provider, model, day)


def tariff(text: str, provider: str = "openai", model: str = "gpt-5", day: date = DAY) -> Tariff:
    """The tariff that a file makes, where there is one."""
    found = priced(text, provider, model, day)
    assert found is not None
    return found


def prices(text: str, tier: str = "standard", **where: str) -> dict[str, str]:
    """The prices that a file makes of GPT-5's."""
    return {key: format(price, "f") for key, price in tariff(text, **where).prices(tier).items()}


LIST = {"input_mtok": "1.25", "cache_read_mtok": "0.125", "output_mtok": "10", "web_searches_kcount": "10",
        "storage_searches_kcount": "2.5"}  # fmt: skip
ENTRIES = [
    ('- {model: "gpt-5", prices: {input_mtok: "1"}}', LIST | {"input_mtok": "1"}),
    ('- {provider: openai, model: "gpt-*", prices: {output_mtok: "9"}}', LIST | {"output_mtok": "9"}),
    ('- {provider: OpenAI, model: "GPT-5", prices: {output_mtok: "9"}}', LIST | {"output_mtok": "9"}),
    ('- {provider: azure, prices: {output_mtok: "9"}}', LIST),
    ('- {model: "gpt-4*", prices: {output_mtok: "9"}}', LIST),
    ('- {from: 2026-11-21, prices: {output_mtok: "9"}}', LIST),
    ('- {from: 2026-11-20, until: 2026-11-20, prices: {output_mtok: "9"}}', LIST | {"output_mtok": "9"}),
    ('- {until: 2026-11-19, prices: {output_mtok: "9"}}', LIST),
    ('- {tools_per_thousand: {web_searches: "8", code_executions: "3"}}',
     LIST | {"web_searches_kcount": "8", "code_executions_kcount": "3"}),
    ('- {prices: {input_mtok: {base: "1", steps: [{above: 100, price: "2"}]}}}',
     LIST | {"input_mtok": "1", "input_mtok.above_100": "2"}),
    ('- {prices: {output_mtok: "7"}}\n- {prices: {output_mtok: "9", input_mtok: "1"}}',
     LIST | {"output_mtok": "7", "input_mtok": "1"}),
    ('- {discount_percent: "20"}', {"input_mtok": "1.00", "cache_read_mtok": "0.1000", "output_mtok": "8",
                                    "web_searches_kcount": "8", "storage_searches_kcount": "2.00"}),
    ('- {discount_percent: "-10", prices: {output_mtok: "9"}}',
     {"input_mtok": "1.375", "cache_read_mtok": "0.1375", "output_mtok": "9", "web_searches_kcount": "11",
      "storage_searches_kcount": "2.75"}),
]  # fmt: skip


@pytest.mark.parametrize(("entries", "expected"), ENTRIES)
def test_what_an_entry_changes(entries: str, expected: dict[str, str]) -> None:
    """The first entry that covers the model and day and says a thing is taken for it; the rest stays list price."""
    found = prices("prices:\n" + entries)
    assert {key: Decimal(price) for key, price in found.items()} == {key: Decimal(p) for key, p in expected.items()}


def test_tiers_have_prices_of_their_own() -> None:
    """A tier of the file replaces the list's, key by key; a discount covers the list's tiers; new tiers get a price."""
    tiers = 'tiers: {flex: {input_mtok: "0.4"}, scale: {output_mtok: "30"}}'
    text = f'prices: [{{discount_percent: "50", prices: {{input_mtok: "1"}}, {tiers}}}]'
    assert (prices(text, "flex")["input_mtok"], prices(text, "flex")["output_mtok"]) == ("0.4", "2.5")
    assert (prices(text, "priority")["input_mtok"], prices(text, "priority")["output_mtok"]) == ("1.25", "10")
    found = tariff(text)
    assert found.prices("scale")["output_mtok"] == 30
    assert (found.knows_tier("scale"), found.tiers[0]) == (True, "standard")
    assert found.cost(Usage({"input_tokens": 1, "output_tokens": 1}, tier="scale")).atoms == 1_000 + 30_000


def test_limits_may_be_given_alone() -> None:
    """An output limit changes no price, so the source stays the list."""
    found = tariff("prices: [{max_output_tokens: 900, context_window: 1000}]")
    assert (found.max_output_tokens, found.context_window, found.output_limit(input_tokens=0)) == (900, 1_000, 900)
    assert found.source.startswith("genai-prices ")
    window = tariff('prices: [{context_window: 1000, prices: {input_mtok: "1"}}]', "lab", "m")
    assert (window.max_output_tokens, window.output_limit(input_tokens=0)) == (None, 1_000)


def test_a_model_that_no_list_has() -> None:
    """Its price and its source are the file's; without an input price there is none."""
    text = 'prices: [{provider: lab, model: "m*", prices: {input_mtok: "0.05", output_mtok: "0.2"}}]'
    found = tariff(text, "lab", "m1")
    assert (found.provider, found.model, found.is_fallback) == ("lab", "m1", False)
    assert found.source == f"prices.yaml {parse_overrides(text.encode(), source='x').digest[:12]}"
    assert priced('prices: [{provider: lab, prices: {output_mtok: "0.2"}}]', "lab", "m1") is None
    assert priced(text, "lab", "other") is None


def test_the_fallback_is_for_models_without_a_price_only() -> None:
    """It says what it is."""
    text = 'fallback: {prices: {input_mtok: "15", output_mtok: "75"}, max_output_tokens: 4000}'
    found = tariff(text, "lab", "m1")
    assert (found.is_fallback, found.max_output_tokens) == (True, 4_000)
    assert found.source.endswith(" (fallback)")
    assert found.cost(Usage({"input_tokens": 10, "output_tokens": 1, "cache_read_tokens": 4})).atoms == 225_000
    assert not tariff(text).is_fallback


def test_an_alias_and_the_lists_name_are_one_provider() -> None:
    """Records have the list's name; a file may have the one of gateway.yaml."""
    text = 'prices: [{provider: xai, prices: {output_mtok: "9"}}]'
    assert tariff(text, "xai", "grok-4").prices()["output_mtok"] == 9
    assert (
        tariff('prices: [{provider: x-ai, prices: {output_mtok: "9"}}]', "xai", "grok-4").prices()["output_mtok"] == 9
    )


def test_sources_name_the_file_and_the_list() -> None:
    """A discount stands on a list price, so both are named."""
    source = tariff('prices: [{discount_percent: "1"}]').source
    assert source.startswith("prices.yaml ")
    assert " over genai-prices " in source


REFUSED = [
    ("prices:\n  - {modle: x, prices: {input_mtok: '1'}}", "2:6", 'unknown field "modle": did you mean "model"?'),
    ("prices:\n  - model: x\n    prices: {input_mtk: '1'}", "3:14", 'did you mean "input_mtok"?'),
    ("prices:\n  - prices: {web_searches_kcount: '1'}", "2:14", "is no price of tokens"),
    ("prices:\n  - tools_per_thousand: {web_search: '1'}", "2:26", 'did you mean "web_searches"?'),
    ("prices:\n  - prices:\n      input_mtok: 1.5", "3:19", "put it in quotes"),
    ("prices:\n  - prices:\n      input_mtok: 15", "3:7", "without quotes is not text"),
    ("prices:\n  - prices:\n      input_mtok: '-1'", "3:7", "is no price: write USD"),
    ("prices:\n  - prices:\n      input_mtok: '1e3'", "3:7", "is no price: write USD"),
    ("prices:\n  - from: 2026-13-01\n    discount_percent: '1'", "2:5", "is no day"),
    ("prices:\n  - from: 2026-11-02\n    until: 2026-11-01\n    discount_percent: '1'", "2:5", "ends on 2026-11-01"),
    ("prices:\n  - discount_percent: '101'", "2:5", "is no discount"),
    ("prices:\n  - model: x", "2:5", "changes nothing"),
    ("prices:\n  - tiers: {standard: {input_mtok: '1'}}", "2:5", "stand under prices"),
    ("prices:\n  - max_output_tokens: 0", "2:5", "too small"),
    ("fallback:\n  prices: {input_mtok: '1'}", "1:1", "needs input_mtok and output_mtok"),
    ("prices: {}", "1:1", "is not a list"),
    ("prices: [", "1:10", ""),
    ("other: 1", "1:1", 'unknown field "other"'),
    ("prices: []\nprices: []", "2:1", "a second time"),
]


@pytest.mark.parametrize(("text", "place", "message"), REFUSED)
def test_what_is_refused_and_where(text: str, place: str, message: str) -> None:
    """A mistyped price could be mended only by deleting rows elsewhere: here it is not taken at all."""
    with pytest.raises(PolicyFileError) as refused:
        parse_overrides(text.encode(), source="prices.yaml")
    assert str(refused.value).startswith(f"prices.yaml:{place}: "), str(refused.value)
    assert message in str(refused.value)


def test_bytes_that_are_no_text_are_refused() -> None:
    """With the file's name."""
    with pytest.raises(PolicyFileError, match=r"prices\.yaml: this is not UTF-8"):
        parse_overrides(b"\xff", source="prices.yaml")


def test_the_shipped_file_changes_nothing_and_its_examples_are_right(tmp_path: Path) -> None:
    """All of it is commented out; without the comment signs it is a file that can be used."""
    assert load_overrides(SHIPPED).entries == ()
    lines = SHIPPED.read_text(encoding="utf-8").splitlines()
    example = tmp_path / "prices.yaml"
    example.write_text("\n".join(line.removeprefix("# ") for line in lines[4:]), encoding="utf-8")
    found = load_overrides(example)
    assert (len(found.entries), found.fallback is not None) == (3, True)


def test_a_folder_of_policies_may_hold_prices(tmp_path: Path) -> None:
    """`bursar policy check` passes over prices.yaml, which is no policy; a file that is named is taken at its word."""
    for name in ("prices.yaml", "team.yaml"):
        (tmp_path / name).write_text("policy: team", encoding="utf-8")
    assert policy_files([tmp_path]) == [tmp_path / "team.yaml"]
    assert policy_files([tmp_path / "prices.yaml"]) == [tmp_path / "prices.yaml"]
