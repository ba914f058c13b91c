"""`bursar prices`: what a model costs today or on a date, and where the price comes from. Asks nobody, needs no server.

Invariant: it shows what the gateway would charge: the same price book, the same file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.prices_file import DEFAULT_FILE, overrides_in

if TYPE_CHECKING:
    from gateway.pricing import Overrides, PriceBook, Tariff


class NoPrice(click.ClickException):
    """Nobody has a price for what was asked."""

    exit_code = 1


@click.command(name="prices")
@click.argument("names", nargs=-1, metavar="[PROVIDER] MODEL")
@click.option(
    "--date", "day", type=click.DateTime(["%Y-%m-%d"]), default=None, help="The day, in UTC; today if left out."
)
@click.option(
    "--prices",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    metavar="FILE",
    help=f"Your own prices; {DEFAULT_FILE} where it exists.",
)
@click.option("--tier", default="standard", show_default=True, metavar="TIER", help="flex, priority, fast or batch.")
@click.option("--check", is_flag=True, help="Only check the file of your own prices.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array and nothing else.")
def command(
    names: tuple[str, ...], day: datetime | None, prices: Path | None, tier: str, check: bool, as_json: bool
) -> None:  # fmt: skip
    """Show the price of a model, today or on a date, with its source.

    PROVIDER is a name such as openai, anthropic or groq, or one of your gateway.yaml; without it every provider that
    has the model is shown. MODEL is a name as you would send it, or as a provider answers it. Prices are USD.

    The status is 0 when there is a price, 1 when there is none, 2 when the file of your own prices is wrong.

    \b
    For example:
      bursar prices gpt-5
      bursar prices anthropic claude-sonnet-4-5-20250929 --date 2026-03-01
      bursar prices openai gpt-5 --tier priority --prices policies/prices.yaml
      bursar prices --check --prices policies/prices.yaml
    """
    from gateway.pricing import PriceBook

    overrides = overrides_in(prices)
    if check:
        count = len(overrides.entries)
        entries = f"{count} {'entry' if count == 1 else 'entries'}"
        fallback = "a fallback" if overrides.fallback else "no fallback"
        click.echo(
            f"{prices or DEFAULT_FILE} is right: {entries}, {fallback}, digest {overrides.digest[:12] or 'none'}"
        )
        return
    if not 1 <= len(names) <= 2:
        raise click.UsageError("Name a model, or a provider and a model: bursar prices openai gpt-5")
    asked = day.date() if day else datetime.now(UTC).date()
    found = _tariffs(PriceBook(overrides), overrides, names, asked)
    if not found:
        raise NoPrice(_nothing(names, asked))
    if as_json:
        click.echo(json.dumps([_plain(tariff, tier, asked) for tariff in found], indent=2))
        return
    for number, tariff in enumerate(found):
        if number:
            click.echo("")
        _print(tariff, tier, asked)
    if not all(tariff.knows_tier(tier) for tariff in found):
        sys.exit(1)


def _tariffs(book: PriceBook, overrides: Overrides, names: tuple[str, ...], day: date) -> list[Tariff]:
    from gateway.pricing.listed import providers_of

    model = names[-1]
    if len(names) == 2:
        providers: Iterable[str] = [names[0]]
    else:
        named = [entry.provider for entry in overrides.entries if not set(entry.provider) & set("*?[")]
        providers = dict.fromkeys([provider.id for provider, _ in providers_of(model)] + named)
    found = [book.tariff(provider, model, day) for provider in providers]
    # Without a provider a fallback would be shown once for each, though it says nothing about any of them.
    kept = [tariff for tariff in found if tariff is not None and (len(names) == 2 or not tariff.is_fallback)]
    if not kept and len(names) == 1:
        fallback = book.tariff("any provider", model, day)
        return [fallback] if fallback else []
    return kept


def _nothing(names: tuple[str, ...], day: date) -> str:
    from gateway.pricing.listed import find_provider, list_source

    what = f"{names[-1]} of {names[0]}" if len(names) == 2 else names[-1]
    hint = "give it one in prices.yaml; without a price its calls are denied"
    if len(names) == 2 and find_provider(names[0]) is None:
        hint = f"{list_source()} has no provider {names[0]}; {hint}"
    return f"nobody has a price for {what} on {day}: {hint}"


def _plain(tariff: Tariff, tier: str, day: date) -> dict[str, Any]:
    return {
        "provider": tariff.provider,
        "model": tariff.model,
        "date": day.isoformat(),
        "tier": tier,
        "tier_has_a_price": tariff.knows_tier(tier),
        "source": tariff.source,
        "currency": tariff.currency,
        "prices": {key: format(price, "f") for key, price in tariff.prices(tier).items()},
        "tiers": list(tariff.tiers),
        "context_window": tariff.context_window,
        "max_output_tokens": tariff.max_output_tokens,
        "is_fallback": tariff.is_fallback,
    }


def _print(tariff: Tariff, tier: str, day: date) -> None:
    click.echo(f"{tariff.provider} {tariff.model} on {day}, {tier}")
    click.echo(f"  from {tariff.source}")
    prices = tariff.prices(tier)
    wide = max(len(key) for key in prices)
    for key, price in prices.items():
        click.echo(f"  {key:{wide}}  {price:>10f} USD for {_measure(key)}")
    if not tariff.knows_tier(tier):
        click.echo(f"  {tier} has no price of its own here: calls at this tier are flagged unpriced")
    others = [name for name in tariff.tiers if name not in ("standard", tier)]
    if others:
        click.echo(f"  prices of their own: {', '.join(others)}")
    window = f"{tariff.context_window:,} tokens" if tariff.context_window else "not known"
    output = f"{tariff.max_output_tokens:,} tokens" if tariff.max_output_tokens else "not known"
    click.echo(f"  context window {window}; largest output {output}")


def _measure(key: str) -> str:
    """What the price is for: ``a million input tokens``, ``a thousand web searches``."""
    from gateway.pricing.units import BY_PRICE_KEY

    plain, _, above = key.partition(".above_")
    unit = BY_PRICE_KEY[plain]
    amount = {10**6: "a million", 10**3: "a thousand", 10**9: "a billion"}.get(unit.per, f"{unit.per:,}")
    what = unit.usage_key.replace("_", " ")
    return f"{amount} {what}" + (f", calls that read more than {int(above):,} tokens" if above else "")
