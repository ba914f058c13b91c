"""docs/gateway-errors.md: every code that a client of the gateway can be told stands there, with its status."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import api.gateway_mount as mount
from gateway.refusals import ending_events, refusal_of
from gateway.wires import Wire
from ledger.core.outcome import DENIALS, Outcome, Status

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "gateway-errors.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([a-z_]+)` \| (\d{3}) \| ([^|]+\.) \|$", re.MULTILINE)
DOCUMENTED = {code: int(status) for code, status, _ in ROW.findall(PAGE)}
WHO = (Status.KEY_UNKNOWN, Status.KEY_REVOKED, Status.KEY_EXPIRED)
NO_DECISION = (
    Status.ROLE_NOT_ALLOWED, Status.UNKNOWN_BUDGET, Status.NO_BUDGET, Status.BUDGET_AMBIGUOUS, Status.UNKNOWN_RUN,
    Status.UNKNOWN_CATEGORY, Status.UNKNOWN_PAYEE, Status.CURRENCY_MISMATCH, Status.TTL_TOO_LONG, Status.KEY_RUN_ONLY,
)  # fmt: skip
"""What the ledger answers to an authorization that it does not decide, because it names what is not there."""


def constants(node: ast.expr) -> list[object]:
    """The values that an argument can have, where the code writes them down."""
    if isinstance(node, ast.Constant):
        return [node.value]
    if isinstance(node, ast.IfExp):
        return [*constants(node.body), *constants(node.orelse)]
    return []


def written() -> Iterator[tuple[str, int, str]]:
    """(file and line, status, code) of each refusal that is written out in the gateway's own code."""
    for path in sorted((ROOT / "gateway").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Refusal":
                statuses, codes = constants(node.args[0]), constants(node.args[1])
                for status, code in zip(statuses, codes, strict=False):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", int(str(status)), str(code)


def test_refusals_were_found() -> None:
    """The test below would pass on nothing."""
    assert len({code for _, _, code in written()}) >= 15


@pytest.mark.parametrize(("place", "status", "code"), sorted(written()), ids=str)
def test_each_refusal_that_is_written_out_is_on_the_page(place: str, status: int, code: str) -> None:
    assert DOCUMENTED.get(code) == status, place


@pytest.mark.parametrize("status", [*sorted(DENIALS, key=lambda one: one.value), *WHO, *NO_DECISION], ids=str)
def test_each_refusal_of_the_ledger_is_on_the_page(status: Status) -> None:
    refusal = refusal_of(Outcome(status, {"decision": {"reasons": []}}), "USD")
    assert DOCUMENTED.get(refusal.code) == refusal.status


def test_what_the_server_refuses_before_the_gateway_is_on_the_page() -> None:
    assert {code: DOCUMENTED.get(code) for code in mount._STATUSES} == mount._STATUSES


def test_the_reason_of_a_cut_is_on_the_page() -> None:
    for wire in (Wire.CHAT, Wire.RESPONSES, Wire.MESSAGES):
        assert any(b'"code":"cut_at_cap"' in data for _, data in ending_events(wire, "no room", {}))
    assert "cut_at_cap" in DOCUMENTED


def test_the_page_names_no_code_that_there_is_not() -> None:
    known = {code for _, _, code in written()} | {status.value for status in (*DENIALS, *WHO, *NO_DECISION)}
    assert set(DOCUMENTED) - known - set(mount._STATUSES) == {"cut_at_cap"}
    assert len(ROW.findall(PAGE)) == len(DOCUMENTED), "a code stands there twice"
