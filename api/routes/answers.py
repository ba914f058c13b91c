"""What every route may answer beside its success, for the OpenAPI document.

Invariant: the statuses here are those of the problem table.
"""

from __future__ import annotations

from typing import Any, Final

from api.problems import ROWS

PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {
        "description": "; ".join(sorted({row.title for row in ROWS.values() if row.http == status})[:6]),
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status in sorted({row.http for row in ROWS.values() if row.http >= 400})
}
"""Status to its description."""
