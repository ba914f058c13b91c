"""Sending rows to a server and counting what became of them.

Invariants: rows go in batches and each is answered on its own; a batch that the server refuses as a whole is taken
apart, so that one bad row costs none of its neighbours; what was sent before is answered as before and counts as there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from typing import Any, Final

from bursar import Refused, Remote
from ledger.cli.take_over.rows import Nothing, Outcome, Refusal, Row

BATCH_ITEMS: Final = 200
REFUSALS_KEPT: Final = 10_000


@dataclass(slots=True)
class Report:
    """What became of the rows of a file. ``totals`` are the sums of what was taken, or was there, by currency."""

    taken: int = 0
    there: int = 0
    waiting: int = 0
    nothing: int = 0
    refused: int = 0
    rounded_rows: int = 0
    rounded: Decimal = Decimal(0)
    totals: dict[str, Decimal] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)

    def refuse(self, refusal: Refusal) -> None:
        """One more row that was not taken over."""
        self.refused += 1
        if len(self.refusals) < REFUSALS_KEPT:
            self.refusals.append(refusal)

    def take(self, row: Row, *, replayed: bool = False, waits: bool = False) -> None:
        """One more row that was taken over, or had been."""
        self.taken += not replayed and not waits
        self.there += replayed
        self.waiting += waits
        if row.rounded:
            self.rounded_rows += 1
            self.rounded += row.rounded
        amounts = [row.body["amount"]] if "amount" in row.body else [one["amount"] for one in row.body["transfers"]]
        for amount in amounts:
            currency = amount["currency"]
            self.totals[currency] = self.totals.get(currency, Decimal(0)) + Decimal(amount["amount"])


def sorted_out(outcomes: Iterable[Outcome], report: Report) -> Iterator[Row]:
    """The rows that can be sent; the others are counted."""
    for outcome in outcomes:
        if isinstance(outcome, Refusal):
            report.refuse(outcome)
        elif isinstance(outcome, Nothing):
            report.nothing += 1
        else:
            yield outcome


def send_history(server: Remote, outcomes: Iterable[Outcome], report: Report) -> None:
    """Take over history, in batches. Raises CannotAsk; Refused where the server refuses whoever asks."""
    rows = sorted_out(outcomes, report)
    while batch := list(islice(rows, BATCH_ITEMS)):
        _send_batch(server, batch, report)


def _send_batch(server: Remote, batch: list[Row], report: Report) -> None:
    try:
        answer = server.post("/v1/history", {"items": [row.body | {"idempotency_key": row.key} for row in batch]})
    except Refused as error:
        if error.code not in _OF_ITEMS:
            raise
        if len(batch) == 1:
            report.refuse(Refusal(batch[0].line, error.message))
            return
        middle = len(batch) // 2
        _send_batch(server, batch[:middle], report)
        _send_batch(server, batch[middle:], report)
        return
    for row, item in zip(batch, answer["items"], strict=True):
        if item["status"] < 400:
            report.take(row, replayed=item["replayed"])
        elif item["status"] >= 500 or item["problem"]["code"] in _OF_WHO_ASKS:
            raise Refused(item["problem"])
        else:
            report.refuse(Refusal(row.line, _said(item["problem"])))


_OF_WHO_ASKS: Final = frozenset(("role_not_allowed", "unauthenticated", "key_unknown", "key_revoked", "key_expired"))
"""Codes that would be the same for every row."""
_OF_ITEMS: Final = frozenset(
    (
        "validation_failed", "unknown_field", "missing_field", "body_too_large", "control_characters",
        "name_like_an_id", "amount_not_text", "malformed_json", "duplicate_field", "too_long",
    )
)  # fmt: skip
"""Codes for which a batch is refused as a whole because of what one of its rows says, or of how many there are."""


def _said(problem: dict[str, Any]) -> str:
    return f"{problem.get('detail') or problem.get('title', 'refused')} ({problem.get('code', '')})"


def send_openings(server: Remote, outcomes: Iterable[Outcome], report: Report) -> None:
    """Record opening balances, each as an adjustment of its own. Raises CannotAsk; Refused for whoever asks."""
    before = server.get("/v1/book")["log_size"]
    for row in sorted_out(outcomes, report):
        try:
            answer = server.post("/v1/adjustments", row.body, idempotency_key=row.key)
        except Refused as error:
            if error.code in _OF_WHO_ASKS:
                raise
            report.refuse(Refusal(row.line, error.message))
            continue
        report.take(row, replayed=answer["log"]["index"] < before, waits="transfers" not in answer)
