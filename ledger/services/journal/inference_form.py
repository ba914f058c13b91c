"""Inference calls with the names that OpenTelemetry has for what they used, as CSV and as a JSON object a line.

Owns the columns (``docs/exports.md``); the gateway's spans bear the same names for the same things. Invariants: a line
is here once, and its cost is the ledger's; counts are numbers and costs are text; totals include their parts, as the
conventions want it.

Source: OpenTelemetry semantic conventions, "Generative AI" (attributes of client spans).
"""

from collections.abc import Iterator
from itertools import chain, islice
from typing import Final

import orjson

from ledger.core.moment import moment_text
from ledger.core.money import format_atoms
from ledger.core.spend_line import SPEND_KINDS, SpendLine
from ledger.services.journal.making import Journal
from ledger.services.journal.pieces import AT_ONCE, csv_pieces
from ledger.services.journal.reading import CostLine
from ledger.services.statements.csv_form import neutral

INFERENCE: Final = "inference"
"""The category of calls through the gateway."""
COUNTS: Final = {
    "gen_ai.usage.input_tokens": "input_tokens",
    "gen_ai.usage.output_tokens": "output_tokens",
    "gen_ai.usage.cache_read.input_tokens": "cache_read_tokens",
    "gen_ai.usage.cache_creation.input_tokens": "cache_write_tokens",
    "gen_ai.usage.reasoning.output_tokens": "output_reasoning_tokens",
}
"""Columns of counts to the names under which settlements record them."""
COST: Final = "bursar.cost"
COLUMNS: Final = (
    "timestamp", "gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.response.model",
    "gen_ai.response.id", *COUNTS, "gen_ai.agent.name", COST, "bursar.currency", "bursar.kind",
    "bursar.authorization.id", "bursar.run", "bursar.budget", "bursar.category", "bursar.payee", "bursar.tier",
    "bursar.price.source", "bursar.labels", "bursar.flags", "bursar.recorded_at", "bursar.log.index",
    "bursar.log.corrects",
)  # fmt: skip
Value = str | int


def is_cost(line: SpendLine) -> bool:
    """Whether a line says what something cost, were it nothing: of a record with several, only the first may say so
    without an amount."""
    return bool(line.amount) or (line.kind in SPEND_KINDS and line.position == 0)


def is_inference(told: CostLine) -> bool:
    """Whether a line is of an inference call: it says what it was metered from, or its category does."""
    line = told.line
    return line.kind in SPEND_KINDS and is_cost(line) and (bool(told.metering) or line.category == INFERENCE)


def write_otel_csv(journal: Journal) -> Iterator[bytes]:
    """The pieces of the table. Raises JournalBroken."""
    rows = ([_cell(name, row.get(name, "")) for name in COLUMNS] for row in _rows(journal))
    return csv_pieces(chain([COLUMNS], rows) if journal.header else rows)


def write_otel_lines(journal: Journal) -> Iterator[bytes]:
    """The pieces of the file, an object a line; what is not known is left out. Raises JournalBroken."""
    rest = _rows(journal)
    while some := list(islice(rest, AT_ONCE)):
        yield b"".join(orjson.dumps(row) + b"\n" for row in some)


def _cell(name: str, value: Value) -> str:
    # A number below zero is a number and no formula.
    return str(value) if isinstance(value, int) or name == COST else neutral(value)


def _rows(journal: Journal) -> Iterator[dict[str, Value]]:
    for told in journal.costs():
        if is_inference(told):
            yield _row(told, format_atoms(told.line.amount, journal.digits[told.line.currency]))


def _row(told: CostLine, cost: str) -> dict[str, Value]:
    line, metering = told.line, told.metering
    model = metering.get("model", "") or line.resource or ""
    row: dict[str, Value] = {
        "timestamp": moment_text(line.effective_at),
        "gen_ai.operation.name": _operation(metering, model),
        "gen_ai.provider.name": metering.get("provider", "") or line.payee or "",
        "gen_ai.request.model": told.asked or line.resource or "",
        "gen_ai.response.model": model,
        "gen_ai.response.id": metering.get("response_id", ""),
        "gen_ai.agent.name": line.agent or "",
        "bursar.kind": line.kind,
        "bursar.authorization.id": line.authorization_id or "",
        "bursar.run": line.run or "",
        "bursar.budget": line.budget or "",
        "bursar.category": line.category or "",
        "bursar.payee": line.payee or "",
        "bursar.tier": metering.get("tier", ""),
        "bursar.price.source": metering.get("price.source", ""),
        "bursar.labels": " ".join(f"{name}={value}" for name, value in told.labels),
        "bursar.flags": " ".join(told.flags),
        "bursar.recorded_at": moment_text(line.recorded_at),
        "bursar.log.index": line.log_index,
    }
    row |= {column: int(metering[name]) for column, name in COUNTS.items() if is_count(metering.get(name, ""))}
    if line.corrects is not None:
        row["bursar.log.corrects"] = line.corrects
    row = {name: value for name, value in row.items() if value != ""}
    return row | {COST: cost, "bursar.currency": line.currency}


def is_count(text: str) -> bool:
    """Whether what was metered is a count."""
    return text.isascii() and text.isdigit() and len(text) <= 18


def _operation(metering: dict[str, str], model: str) -> str:
    """``embeddings`` where nothing was written and the model says so; what was not metered says nothing."""
    if not metering:
        return ""
    return "embeddings" if metering.get("output_tokens", "0") == "0" and "embed" in model.lower() else "chat"
