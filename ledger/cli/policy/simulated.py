"""What a simulation found, as tables for people and as one object for programs.

Invariant: both say the same numbers; amounts are exact decimal text.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ledger.core.moment import moment_text
from ledger.core.money import format_atoms
from ledger.core.simulated import CATEGORIES, NEWLY_ASKING, NEWLY_DENIED, Example, Tally

if TYPE_CHECKING:
    from rich.console import Console

    from ledger.services.policies.simulating import Simulated

WIDTH = 160
"""How wide tables are where no terminal says it."""
_SHORT = {
    "newly_denied": "denied",
    "newly_approved": "approved",
    "newly_needing_approval": "asking",
    "no_longer_needing_approval": "not asking",
    "approved_for_less": "for less",
}


def plain(found: Simulated, *, agents: int) -> dict[str, Any]:
    """One object. Amounts are lists of {"amount", "currency"}; a value of a rule that counts requests has the unit
    "count"; the agent "" is all that are not listed."""
    findings = found.findings
    return {
        "book": found.book,
        "policy": found.policy,
        "digest": found.digest,
        "live_version": found.live_version,
        "since": moment_text(found.since),
        "until": moment_text(found.until),
        "records": found.records,
        "seconds": round(found.seconds, 3),
        "requests": _tally(found, findings.requests),
        "outside_scope": findings.outside,
        "unchanged": findings.unchanged,
        "denied_by_others": findings.denied_by_others,
        "categories": {
            category: _tally(found, findings.tallies[category])
            | {
                "rules": {rule: _tally(found, tally) for rule, tally in sorted(findings.rules[category].items())},
                "examples": [_example(found, example) for example in findings.examples[category]],
            }
            for category in CATEGORIES
        },
        "agents": [
            {"agent": one.agent, "requests": one.requests}
            | {category: _tally(found, one.tallies[category]) for category in CATEGORIES if category in one.tallies}
            for one in findings.agents(agents)
        ],
        "freezes": {
            "count": findings.freeze_count,
            "examples": [{"time": moment_text(moment), "agent": agent} for moment, agent in findings.freezes],
        },
        "notes": list(found.notes),
    }


def _money(found: Simulated, amounts: Mapping[str, int]) -> list[dict[str, str]]:
    return [
        {"amount": format_atoms(atoms, found.digits[currency]), "currency": currency}
        for currency, atoms in sorted(amounts.items())
    ]


def _tally(found: Simulated, tally: Tally) -> dict[str, Any]:
    said: dict[str, Any] = {"count": tally.count, "sorts": dict(sorted(tally.counts.items()))}
    said["amounts"] = _money(found, tally.amounts)
    if tally.spent:
        said["spent"] = _money(found, tally.spent)
    return said


def _value(found: Simulated, example: Example, value: int | None) -> str | None:
    if value is None:
        return None
    return str(value) if example.counted else format_atoms(value, found.digits.get(example.currency, 0))


def _example(found: Simulated, example: Example) -> dict[str, Any]:
    said: dict[str, Any] = {
        "time": moment_text(example.moment),
        "log_index": example.log_index,
        example.sort if example.sort == "run" else "authorization": example.reference,
        "sort": example.sort,
        "agent": example.agent,
        "code": example.code,
        "rule": example.rule,
        "detail": example.detail,
    }
    if example.currency:
        digits = found.digits.get(example.currency, 0)
        said["amount"] = {"amount": format_atoms(example.amount, digits), "currency": example.currency}
    for name in ("observed", "limit", "remaining"):
        value = _value(found, example, getattr(example, name))
        if value is not None:
            said[name] = value
    if example.counted:
        said["unit"] = "count"
    return {name: value for name, value in said.items() if value != ""}


def show(found: Simulated, *, agents: int) -> None:
    """Print tables on standard output."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False, markup=False)
    findings = found.findings
    place = f"version {found.live_version}" if found.live_version is not None else "no live version"
    console.print(f"{found.policy} in the place of {place}, in the book {found.book}")
    console.print(f"from {moment_text(found.since)} to before {moment_text(found.until)}")
    console.print(
        f"{findings.requests.count:,} requests judged, {findings.outside:,} outside of its scope; "
        f"{found.records:,} records read in {found.seconds:.1f} s"
    )
    if not findings.requests.count:
        console.print("There was no request in this period that the policy would have judged.")
        return
    _show_categories(console, found)
    _show_agents(console, found, agents)
    for category in CATEGORIES:
        if findings.examples[category]:
            _show_examples(console, found, category)
    if findings.freeze_count:
        console.print()
        times = "once" if findings.freeze_count == 1 else f"{findings.freeze_count:,} times"
        console.print(f"It would have frozen an agent {times}:")
        for moment, agent in findings.freezes:
            console.print(f"  {moment_text(moment)}  {agent}")
    if found.notes:
        console.print()
    for note in found.notes:
        console.print(f"Note: {note}", soft_wrap=True)


def _table(*columns: tuple[str, bool]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name, number in columns:
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    return table


def _said(found: Simulated, amounts: Mapping[str, int]) -> str:
    return ", ".join(f"{one['amount']} {one['currency']}" for one in _money(found, amounts))


def _show_categories(console: Console, found: Simulated) -> None:
    findings = found.findings
    table = _table(("what would have changed", False), ("requests", True), ("amount", True), ("really spent", True))
    table.add_row("unchanged", f"{findings.unchanged:,}", "", "")
    for category in CATEGORIES:
        tally = findings.tallies[category]
        spent = _said(found, tally.spent) if category in (NEWLY_DENIED, NEWLY_ASKING) else ""
        table.add_row(category.replace("_", " "), f"{tally.count:,}", _said(found, tally.amounts), spent)
        rules = findings.rules[category]
        for rule in sorted(rules, key=lambda name: (-rules[name].count, name)):
            table.add_row(f"  {rule}", f"{rules[rule].count:,}", _said(found, rules[rule].amounts), "")
    console.print()
    console.print(table)


def _show_agents(console: Console, found: Simulated, most: int) -> None:
    table = _table(
        ("agent", False), ("requests", True), *((_SHORT[category], True) for category in CATEGORIES),
        ("newly denied", True), ("newly approved", True),
    )  # fmt: skip
    for one in found.findings.agents(most):
        tallies = [one.tallies.get(category, Tally()) for category in CATEGORIES]
        counted = [f"{tally.count:,}" for tally in tallies]
        amounts = [_said(found, tally.amounts) for tally in tallies[:2]]
        table.add_row(one.agent or "all others", f"{one.requests:,}", *counted, *amounts)
    console.print()
    console.print(table)


def _show_examples(console: Console, found: Simulated, category: str) -> None:
    names = ("time", "request", "agent", "amount", "rule", "observed", "limit", "remaining")
    table = _table(*((name, name in ("amount", "observed", "limit", "remaining")) for name in names))
    for example in found.findings.examples[category]:
        said = _example(found, example)
        amount = said.get("amount", {"amount": "", "currency": ""})
        values = [said.get(name, "") for name in ("observed", "limit", "remaining")]
        table.add_row(
            said["time"].replace(".000000Z", "Z"), example.reference, example.agent,
            f"{amount['amount']} {amount['currency']}", example.rule, *values,
        )  # fmt: skip
    console.print()
    console.print(f"The first that are {category.replace('_', ' ')}:")
    console.print(table)
