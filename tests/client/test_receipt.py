"""The receipt: its sums, its words, and what it says where the server says nothing."""

from __future__ import annotations

import pytest

from bursar.run import receipt
from bursar.run.receipt_text import lines_of, money_text
from tests.client.scripted_server import row, usd

RUN = {
    "name": "r-1",
    "agent": "crawler",
    "totals": [
        {"currency": "USD", "approved_count": 4, "denied_count": 3, "held": usd("0.75"), "spent": usd("0.300000001")}
    ],
    "cap": usd("1.00"),
    "remaining": usd("0.699999999"),
}


def metered(model: str, tokens_in: int, tokens_out: int) -> dict[str, str]:
    return {"model": model, "input_tokens": str(tokens_in), "output_tokens": str(tokens_out), "price.source": "book"}


ROWS = [
    row(7, "denied", reason="run_cap_exceeded"),
    row(6, "denied", reason="limit_exceeded", resource="gpt-5"),
    row(5, "denied", reason="run_cap_exceeded"),
    row(4, "held", held=usd("0.25"), flags=["unknown"], expires_at=None),
    row(3, "held", expires_at="2026-11-01T00:00:00Z"),
    row(2, "settled", settled=usd("0.100000001"), metering=metered("gpt-5-mini", 100, 20)),
    row(1, "settled", settled=usd("0.30"), refunded=usd("0.10"), metering=metered("gpt-5", 1000, 2)),
]


def test_a_worked_receipt() -> None:
    """Every number of it."""
    made = receipt.receipt_of(RUN, ROWS)
    assert made["calls"] == {"settled": 2, "without_cost": 0, "open": 1, "unknown": 1, "refused": 3}
    assert made["tokens"] == {"input_tokens": 1100, "output_tokens": 22, "calls_not_told": 0}
    assert made["models"] == [
        {"model": "gpt-5", "calls": 1, "input_tokens": 1000, "output_tokens": 2, "cost": usd("0.20")},
        {"model": "gpt-5-mini", "calls": 1, "input_tokens": 100, "output_tokens": 20, "cost": usd("0.100000001")},
    ]
    assert [(item["reason"], item["model"], item["count"], item["example"]) for item in made["refused"]] == [
        ("run_cap_exceeded", "gpt-5-mini", 2, "auth_7"),
        ("limit_exceeded", "gpt-5", 1, "auth_6"),
    ]
    assert [(item["state"], item["authorization"], item["held"]) for item in made["open"]] == [
        ("unknown", "auth_4", usd("0.25")),
        ("held", "auth_3", usd("0.50")),
    ]
    assert (made["spent"], made["held"]) == ([usd("0.300000001")], [usd("0.75")])
    made["refused"][0] |= {"rule": "run_cap", "detail": "0.90 of 1.00 USD are used"}
    assert list(lines_of(made, status=3)) == [
        "bursar run r-1 (agent crawler), ended with status 3",
        "  calls    2 settled, 1 still open, 1 of unknown outcome, 3 refused",
        "  tokens   1,100 in, 22 out",
        "  spent    0.300000001 USD",
        "           gpt-5: 1 call, 0.20 USD",
        "           gpt-5-mini: 1 call, 0.100000001 USD",
        "  cap      1.00 USD, 0.699999999 USD left",
        "  held     0.25 USD for gpt-5-mini, unknown: auth_4",
        "  held     0.50 USD for gpt-5-mini, held until 2026-11-01T00:00:00Z: auth_3",
        "  refused  2 x gpt-5-mini, run_cap_exceeded by run_cap: 0.90 of 1.00 USD are used",
        "  refused  1 x gpt-5, limit_exceeded",
    ]


def test_a_server_without_metering_and_caps_is_tolerated_and_nothing_is_taken_for_zero() -> None:
    """Models go by what was asked for, tokens are said to be unknown, and no cap is shown."""
    made = receipt.receipt_of({"name": "r-1", "agent": "crawler"}, [row(1, "settled", settled=usd("0.10"))])
    assert made["tokens"] == {"input_tokens": 0, "output_tokens": 0, "calls_not_told": 1}
    assert list(lines_of(made, status=0)) == [
        "bursar run r-1 (agent crawler), ended with status 0",
        "  calls    1 settled",
        "           gpt-5-mini: 1 call, 0.10 USD",
    ]


def test_some_calls_that_do_not_tell_their_tokens_are_counted() -> None:
    """A sum that leaves calls out says so."""
    rows = [row(1, "settled", settled=usd("0.10"), metering=metered("m", 5, 6)), row(2, "settled")]
    assert "  tokens   5 in, 6 out (without 1 call whose tokens are not known)" in lines_of(
        receipt.receipt_of(RUN, rows), status=0
    )


def test_sums_are_exact_and_currencies_are_not_mixed() -> None:
    """More digits than a Decimal keeps by default, and two currencies of one model."""
    big = row(1, "settled", settled=usd("12345678901234567890123456789.000000001"))
    more = [
        big,
        row(2, "settled", settled=usd("0.000000001")),
        row(3, "settled", settled={"amount": "7", "currency": "EUR"}),
    ]
    costs = [item["cost"] for item in receipt.receipt_of(RUN, more)["models"]]
    assert costs == [{"amount": "7.00", "currency": "EUR"}, usd("12345678901234567890123456789.000000002")]


def test_a_reprice_counts() -> None:
    """What a call cost in the end is what it settled at, as repriced."""
    rows = [row(1, "settled", settled=usd("0.10"), repriced=usd("-0.04"))]
    assert receipt.receipt_of(RUN, rows)["models"][0]["cost"] == usd("0.06")


def test_a_run_with_more_calls_than_are_read_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """And only such a run."""
    monkeypatch.setattr(receipt, "ROWS_MAX", 5)
    assert receipt.receipt_of(RUN, ROWS[:5])["rows_read"] == 5
    assert "newest 5 requests" in list(lines_of(receipt.receipt_of(RUN, ROWS[:5]), status=0))[-1]
    assert "rows_read" not in receipt.receipt_of(RUN, ROWS[:4])


@pytest.mark.parametrize(
    ("amount", "text"),
    [("5", "5.00 USD"), ("5.000000000", "5.00 USD"), ("0.050", "0.05 USD"), ("0.012500000", "0.0125 USD")],
)
def test_amounts_are_written_for_people(amount: str, text: str) -> None:
    """Two digits behind the point at least, and no digit lost."""
    assert money_text(usd(amount)) == text
