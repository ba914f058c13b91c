"""A provider's bill of real calls, with their real response ids, compared with a ledger that lacks and mistakes some.

The trace has no prices: each call costs what its tokens cost at one price, so every figure follows from it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ledger.core.moment import moment_of
from ledger.core.reconciling import compare
from ledger.core.reconciling_lines import OurLine, day_of, model_name
from ledger.services.provider_reports import read_reports
from ledger.services.provider_reports.mapped_csv import mapping_of
from tests.support.shared_data import needs, shared_data

TRACE = shared_data("openhands_llm_calls.jsonl")
MAPPING = mapping_of(
    {
        "amount": "cost", "day": "at", "id": "generation", "model": "model", "unit": "minor",
        "quantities": {"input_tokens": "in", "output_tokens": "out"},
    },
    "mapping",
)  # fmt: skip
LOST, MISPRICED, MISCOUNTED = 10, 13, 17
"""Every so many calls the ledger lacks one, has another price for one, has other tokens for one."""

pytestmark = needs(TRACE)


def cost(call: dict[str, Any]) -> int:
    """In atoms: 200 for a token read, 600 for one written."""
    return 200 * int(call["prompt_tokens"]) + 600 * int(call["completion_tokens"])


def calls() -> list[dict[str, Any]]:
    """Calls with an id of their own, in order."""
    found: dict[str, dict[str, Any]] = {}
    for line in TRACE.read_text(encoding="utf-8").splitlines():
        call = json.loads(line)
        if call["response_id"]:
            found.setdefault(call["response_id"], call)
    return list(found.values())


def test_real_calls_against_their_bill(tmp_path: Path) -> None:
    """Each lack and each mistake is found by its id and named; all other calls match; nothing is lost."""
    made = calls()
    assert len(made) > 100
    rows = ["at,generation,model,in,out,cost"]
    ours: list[OurLine] = []
    expected: dict[str, str] = {}
    for number, call in enumerate(made, start=1):
        name, amount = call["response_id"], cost(call)
        read, written = int(call["prompt_tokens"]), int(call["completion_tokens"])
        rows.append(f"{call['ts']},{name},{call['model']},{read},{written},{amount // 10**7}.{amount % 10**7:07d}")
        if number % LOST == 0:
            expected[name] = "missing_here"
            continue
        if number % MISPRICED == 0:
            expected[name], amount = "price", amount + 1
        elif number % MISCOUNTED == 0:
            expected[name], amount, read = "quantity", amount - 1, read + 1
        day = day_of(moment_of(f"{call['ts']}Z"))
        ours.append(
            OurLine(
                number, 0, "settlement", day, day, amount, f"auth_{number}", name, model_name(call["model"]),
                quantities={"input_tokens": read, "output_tokens": written},
            )
        )  # fmt: skip
    bill = tmp_path / "bill.csv"
    bill.write_text("\n".join(rows) + "\n", encoding="utf-8")
    report = read_reports([("csv", bill)], currency="USD", digits=9, mapping=MAPPING)
    assert sum(line.amount or 0 for line in report.billed) == sum(map(cost, made))
    days = [line.day for line in report.billed]
    found = compare(report.billed, ours, first_day=min(days), last_day=max(days))
    assert {one.place.id: one.kind for one in found.differences} == expected
    assert set(expected.values()) == {"missing_here", "price", "quantity"}
    assert found.matched == len(made) - len(expected)
    assert sum(one.amount for one in found.differences) == found.their_total - found.our_total
