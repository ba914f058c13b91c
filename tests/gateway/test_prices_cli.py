"""`bursar prices`: what is shown, with which status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli.prices import command
from gateway.pricing import PriceBook
from gateway.pricing.recorded import PAIRS_MAX, cost_recorded, recorded, usage_of
from gateway.usage import Usage
from tests.gateway.test_tariff import DAY, SONNET, tariff

ON = ("--date", "2026-11-20")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run the verb in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(command, list(arguments))


def test_a_price_with_its_source(run) -> None:
    """What a person looks up."""
    done: Result = run("openai", "gpt-5-2025-08-07", *ON)
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert lines[0] == "openai gpt-5 on 2026-11-20, standard"
    assert lines[1].startswith("  from genai-prices ")
    assert lines[2].split() == "input_mtok 1.25 USD for a million input tokens".split()
    assert lines[-2] == "  prices of their own: batch, fast, flex, priority"
    assert lines[-1] == "  context window 400,000 tokens; largest output 128,000 tokens"


def test_steps_are_told_in_words(run) -> None:
    """A long call costs more."""
    done = run("anthropic", SONNET[1], *ON)
    assert "6.000000 USD" not in done.output
    assert "6 USD for a million input tokens, calls that read more than 200,000 tokens" in done.output


def test_several_providers_are_listed(run) -> None:
    """Without a provider, everybody who has the model."""
    found = json.loads(run("gpt-oss-120b", *ON, "--json").output)
    assert {"openai", "ovhcloud", "cerebras"} <= {tariff["provider"] for tariff in found}
    assert len(found) == len({tariff["provider"] for tariff in found})


def test_the_date_decides(run) -> None:
    """Claude Opus 4.6 had a long-context price until 2026-03-12."""
    before, after = (run("anthropic", "claude-opus-4-6", "--date", day).output for day in ("2026-03-12", "2026-03-13"))
    assert ("more than 200,000" in before, "more than 200,000" in after) == (True, False)


def test_a_tier(run) -> None:
    """Its own price; a tier without one says so and has status 1."""
    assert (
        json.loads(run("openai", "gpt-5", *ON, "--tier", "priority", "--json").output)[0]["prices"]["output_mtok"]
        == "20"
    )
    done = run("azure", "gpt-5", *ON, "--tier", "priority")
    assert (done.exit_code, "calls at this tier are flagged unpriced" in done.output) == (1, True)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("nope-1",), "nobody has a price for nope-1 on 2026-11-20"),
        (("openai", "nope-1"), "nobody has a price for nope-1 of openai"),
        (("lab", "nope-1"), "has no provider lab"),
    ],
)
def test_no_price_is_status_1(run, names: tuple[str, ...], said: str) -> None:
    """A script can tell."""
    done = run(*names, *ON)
    assert (done.exit_code, said in done.output) == (1, True)


def test_the_file_beside_the_policies_is_used(run, tmp_path: Path) -> None:
    """policies/prices.yaml where it exists; a model of the file alone is found without its provider too."""
    (tmp_path / "policies").mkdir()
    text = 'prices: [{provider: lab, model: m, prices: {input_mtok: "0.05", output_mtok: "0.2"}}]'
    (tmp_path / "policies" / "prices.yaml").write_text(text, encoding="utf-8")
    found = json.loads(run("m", *ON, "--json").output)
    assert [(one["provider"], one["prices"]["input_mtok"]) for one in found] == [("lab", "0.05")]
    assert found[0]["source"].startswith("prices.yaml ")
    assert "is right: 1 entry, no fallback, digest" in run("--check").output


def test_a_fallback_is_shown_once(run, tmp_path: Path) -> None:
    """For a model that nobody knows."""
    path = tmp_path / "p.yaml"
    path.write_text('fallback: {prices: {input_mtok: "15", output_mtok: "75"}}', encoding="utf-8")
    found = json.loads(run("nope-1", *ON, "--json", "--prices", str(path)).output)
    assert [(one["provider"], one["is_fallback"]) for one in found] == [("any provider", True)]


def test_a_wrong_file_is_status_2(run, tmp_path: Path) -> None:
    """Every problem with its line; also for a file that is not there."""
    path = tmp_path / "p.yaml"
    path.write_text("prices:\n  - modle: x\n", encoding="utf-8")
    done = run("gpt-5", "--prices", str(path))
    assert (done.exit_code, f"{path}:2:5: " in done.output) == (2, True)
    assert run("--check", "--prices", str(tmp_path / "none.yaml")).exit_code == 2
    assert run().exit_code == 2


USAGES = [
    Usage({"input_tokens": 5, "output_tokens": 1, "cache_read_tokens": 2}, model="m-1", response_id="r", tier="flex"),
    Usage({"input_tokens": 0, "output_tokens": 0}, model="m-1", unknown=("usage.a", "usage.b.c")),
    Usage(
        {"input_tokens": 5, "output_tokens": 1, "web_searches": 3},
        model="m-1",
        tier="standard+us",
        others=(Usage({"input_tokens": 9, "output_tokens": 2}, model="big", tier="priority"),),
    ),
]


@pytest.mark.parametrize("usage", USAGES)
def test_what_is_recorded_is_read_back(usage: Usage) -> None:
    """So that a call can be priced again from its record alone."""
    pairs = recorded(usage, tariff(*SONNET))
    assert usage_of(pairs) == usage
    assert (pairs["provider"], pairs["model"]) == ("anthropic", "m-1")
    assert pairs["price.input_mtok"] == ("3.3" if usage.tier.endswith("+us") else "3")
    assert pairs["price.source"].startswith("genai-prices ")
    assert cost_recorded(pairs) == (None if usage.others else tariff(*SONNET).cost(usage).atoms)


def test_a_record_is_bounded_and_says_when_it_is_not_whole() -> None:
    """The ledger takes at most 40 pairs; a usage that did not fit is not read back as less than it was."""
    parts = tuple(Usage({"input_tokens": 1, "output_tokens": 1}, model=f"big{number}") for number in range(20))
    pairs = recorded(Usage({"input_tokens": 1, "output_tokens": 1}, others=parts), tariff(*SONNET))
    assert len(pairs) == PAIRS_MAX
    assert usage_of(pairs) is None
    many = Usage({"input_tokens": 1, "output_tokens": 1} | {f"k{number}": 1 for number in range(30)})
    pairs = recorded(many, tariff(*SONNET))
    assert (len(pairs), usage_of(pairs)) == (PAIRS_MAX, Usage(many.counts, model="claude-sonnet-4-5"))


@pytest.mark.parametrize("pairs", [{}, {"provider": "openai"}, {"input_tokens": "-1"}, {"input_tokens": "x"}])
def test_a_record_without_counts_is_no_usage(pairs: dict[str, str]) -> None:
    """An estimate, or a settlement by hand."""
    assert usage_of(pairs) is None


def test_the_book_is_the_one_that_the_gateway_uses() -> None:
    """The verb has no prices of its own."""
    found = PriceBook().tariff("openai", "gpt-5", DAY)
    assert found is not None
    assert (
        json.loads(CliRunner().invoke(command, ["openai", "gpt-5", *ON, "--json"]).output)[0]["source"] == found.source
    )
