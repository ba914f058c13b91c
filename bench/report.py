"""The report: a table for people and a JSON file for machines, from the same lines.

Invariant: what the table calls met is what the JSON calls met; a line without a target is neither.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.context import Line


def ceiling_ratio(lines: Sequence[Line], ceiling: float) -> float | None:
    """The generator's own ceiling ÷ the fastest HTTP rate measured; None when nothing was measured over HTTP.

    Rates inside batches and of pgbench are not requests per second and do not count; a pair is two requests.
    """
    fastest = max(
        (
            rate
            for line in lines
            if line.scenario not in ("batch", "pairs")
            for each in line.rates.values()
            for rate in each
        ),
        default=0.0,
    )
    return ceiling / fastest if fastest else None


def verdict(line: Line) -> str:
    """`met`, `missed`, or a dash where there is no target."""
    return {True: "met", False: "missed", None: "–"}[line.met]


def as_document(
    lines: Sequence[Line], *, facts: dict[str, str], ceiling: float, failures: dict[str, str]
) -> dict[str, Any]:
    """The report as JSON has it. Rates are per second, one a round, in the order measured."""
    return {
        "facts": facts,
        "generator": {
            "ceiling_per_second": ceiling,
            "ceiling_by_fastest_rate": ceiling_ratio(lines, ceiling),
        },
        "lines": [
            {
                "scenario": line.scenario,
                "what": line.what,
                "ratio": round(line.ratio, 4),
                "target": line.target,
                "at_most": line.at_most,
                "met": line.met,
                "detail": line.detail,
                "rates": {name: [round(rate, 1) for rate in rates] for name, rates in line.rates.items()},
                "generator_busy": round(line.generator_busy, 3),
            }
            for line in lines
        ],
        "failures": failures,
    }


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write the report to a file, making its directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def print_facts(console: Console, facts: dict[str, str]) -> None:
    """The machine, one fact a line."""
    for name, value in facts.items():
        console.print(f"[bold]{name}[/bold]: {value}", highlight=False)


def print_table(console: Console, lines: Sequence[Line]) -> None:
    """The lines as a table."""
    table = Table(title="Ratios, each the median over interleaved rounds")
    table.add_column("what", overflow="fold", ratio=4)
    table.add_column("measured", justify="right", no_wrap=True)
    table.add_column("target", justify="right", no_wrap=True)
    table.add_column("met", no_wrap=True)
    table.add_column("from", overflow="fold", ratio=4)
    for line in lines:
        target = "–" if line.target is None else f"{'≤' if line.at_most else '≥'} {line.target:g}"
        style = {True: "green", False: "red", None: None}[line.met]
        table.add_row(line.what, f"{line.ratio:.2f}", target, verdict(line), line.detail, style=style)
    console.print(table)
