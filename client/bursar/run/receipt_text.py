"""The receipt as people read it. Pure. Invariant: no arithmetic on money; every number stands in the receipt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

LISTED_MAX: Final = 10


def money_text(money: Mapping[str, str]) -> str:
    """An amount with its currency, without the zeros that say nothing: at least two digits behind the point."""
    whole, _, rest = money["amount"].partition(".")
    return f"{whole}.{rest.rstrip('0').ljust(2, '0')} {money['currency']}"


def lines_of(receipt: Mapping[str, Any], *, status: int | None) -> Iterator[str]:
    """The lines of a receipt. ``status`` is the command's exit status."""
    yield f"bursar run {receipt['run']} (agent {receipt['agent']})" + (
        "" if status is None else f", ended with status {status}"
    )
    calls = receipt["calls"]
    parts = [f"{calls['settled']} settled"]
    parts += [
        f"{calls[name]} {words}"
        for name, words in (
            ("without_cost", "without cost"), ("open", "still open"), ("unknown", "of unknown outcome"),
            ("refused", "refused"),
        )
        if calls[name]
    ]  # fmt: skip
    yield _line("calls", ", ".join(parts))
    yield from _token_lines(receipt["tokens"], calls["settled"])
    for spent in receipt["spent"] or ():
        yield _line("spent", money_text(spent))
    for model in receipt["models"][:LISTED_MAX]:
        yield _line("", f"{model['model']}: {_calls(model['calls'])}, {money_text(model['cost'])}")
    yield from _more(receipt["models"])
    if receipt["cap"]:
        left = f", {money_text(receipt['remaining'])} left" if receipt.get("remaining") else ""
        yield _line("cap", money_text(receipt["cap"]) + left)
    for hold in receipt["open"][:LISTED_MAX]:
        until = f" until {hold['expires_at']}" if hold["expires_at"] and hold["state"] == "held" else ""
        yield _line("held", f"{money_text(hold['held'])} for {hold['model']}, {hold['state']}{until}: "
                            f"{hold['authorization']}")  # fmt: skip
    yield from _more(receipt["open"])
    for refusal in receipt["refused"][:LISTED_MAX]:
        why = f": {refusal['detail']}" if refusal.get("detail") else ""
        rule = f" by {refusal['rule']}" if refusal.get("rule") and refusal["rule"] != refusal["reason"] else ""
        yield _line("refused", f"{refusal['count']} x {refusal['model']}, {refusal['reason']}{rule}{why}")
    yield from _more(receipt["refused"])
    if "rows_read" in receipt:
        yield _line("note", f"calls, tokens and models are those of the newest {receipt['rows_read']:,} requests")


def _line(name: str, text: str) -> str:
    return f"  {name:<8} {text}"


def _calls(count: int) -> str:
    return f"{count:,} call" + ("" if count == 1 else "s")


def _more(items: list[Any]) -> Iterator[str]:
    if len(items) > LISTED_MAX:
        yield _line("", f"and {len(items) - LISTED_MAX} more")


def _token_lines(tokens: Mapping[str, int], settled: int) -> Iterator[str]:
    if not settled or tokens["calls_not_told"] == settled:
        return
    missing = (
        f" (without {_calls(tokens['calls_not_told'])} whose tokens are not known)" if tokens["calls_not_told"] else ""
    )
    yield _line("tokens", f"{tokens['input_tokens']:,} in, {tokens['output_tokens']:,} out{missing}")
