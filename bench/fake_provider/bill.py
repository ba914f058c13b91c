"""The provider's bill: a line for each call that generated anything, by the key that it came with.

Invariants: a line is in the file before the last byte of its answer is written, so that a bill outlives the process
(not the machine: nothing is synced); the total is the exact sum of the lines that have a cost.
"""

import os
from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson

COMPLETE, CUT, DISCONNECTED = "complete", "cut", "disconnected"


@dataclass(frozen=True, slots=True)
class Line:
    """One billed call. `cost` is in USD, None where nobody knows a price; `time` in seconds since 1970.

    `usage` is what the answer said, or would have said had it come to its end; `client_request_id` the header
    `x-client-request-id` of the request.
    """

    id: str
    key: str
    client_request_id: str
    wire: str
    model: str
    tier: str
    stream: bool
    usage: Any
    input_tokens: int
    output_tokens: int
    cost: Decimal | None
    time: float
    outcome: str

    def document(self) -> dict[str, Any]:
        """The line for JSON, the cost as a decimal string."""
        document = {name: getattr(self, name) for name in self.__slots__}
        document["cost"] = None if self.cost is None else format(self.cost.normalize(), "f")
        return document


@dataclass(slots=True)
class Sum:
    """What a key owes in USD, exactly, and how many of its lines have no cost."""

    total: Decimal = Decimal(0)
    unpriced: int = 0

    def add(self, cost: Decimal | None) -> None:
        """Count one more line."""
        if cost is None:
            self.unpriced += 1
        else:
            self.total += cost


class Bill:
    """All lines since the start or the last reset; `path` also takes each as a line of JSON.

    A line is kept as the JSON that it ends as: a bench bills hundreds of thousands of calls.
    """

    def __init__(self, path: Path | None) -> None:
        self._lines: list[tuple[str, bytes]] = []
        self._sums: defaultdict[str, Sum] = defaultdict(Sum)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = None if path is None else os.open(path, flags, 0o644)

    def add(self, line: Line) -> None:
        """Put a call on the bill, and into the file."""
        content = orjson.dumps(line.document())
        self._lines.append((line.key, content))
        self._sums[line.key].add(line.cost)
        if self._file is not None:
            os.write(self._file, content + b"\n")

    def reset(self) -> None:
        """Forget every line, those in the file too."""
        self._lines.clear()
        self._sums.clear()
        if self._file is not None:
            os.ftruncate(self._file, 0)

    def document(self, key: str | None, *, with_lines: bool = True) -> dict[str, Any]:
        """For JSON: the lines of a key (None: of all), their exact total in USD, and how many have no cost."""
        sums = [each for owner, each in self._sums.items() if key is None or owner == key]
        document: dict[str, Any] = {
            "total": format(sum((each.total for each in sums), Decimal(0)).normalize(), "f"),
            "unpriced": sum(each.unpriced for each in sums),
        }
        if with_lines:
            lines = (content for owner, content in self._lines if key is None or owner == key)
            document["lines"] = [orjson.Fragment(content) for content in lines]
        return document

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
