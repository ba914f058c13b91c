"""Reading a provider's bill: formats, columns, exact amounts, and how a bad line is answered."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from bench.fake_provider.bill import Line
from gateway.cli.bill import BillError, BillLine, columns_of, read_bill
from gateway.cli.bill_prices import priced
from gateway.pricing import PriceBook

NOON = 1_793_620_800_000_000


def read(tmp_path: Path, text: str, name: str = "bill.jsonl", **columns: str) -> list[BillLine]:
    """The lines of a bill with this text."""
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return list(read_bill(path, columns_of(columns)))


def test_json_lines(tmp_path: Path) -> None:
    """Numbers stay exact, empty lines are none, what is not known is left alone."""
    lines = read(
        tmp_path,
        '{"client_request_id": "auth_1", "id": "resp_1", "cost": 0.1000000000000000055511151231257827, "x": [1]}\n\n'
        '{"id": "resp_2", "cost": "1e-7", "currency": "EUR", "input_tokens": 5, "output_tokens": "7", "time": 1.5}\n',
    )
    assert lines == [
        BillLine("bill.jsonl", 1, "auth_1", "resp_1", Decimal("0.1000000000000000055511151231257827")),
        BillLine(
            "bill.jsonl", 3, "", "resp_2", Decimal("0.0000001"), "EUR", time="1.5",
            usage={"input_tokens": 5, "output_tokens": 7},
        ),
    ]  # fmt: skip


def test_csv(tmp_path: Path) -> None:
    """With a byte order mark, quotes, and empty cells, which say nothing."""
    text = '\ufeffauthorization,model,cost_usd,cache_read_tokens\nauth_1,"a, b",0.25,3\nauth_2,c,,\n'
    first, second = read(tmp_path, text, "bill.CSV")
    assert first == BillLine(
        "bill.CSV", 2, "auth_1", cost=Decimal("0.25"), model="a, b", usage={"cache_read_tokens": 3}
    )
    assert second == BillLine("bill.CSV", 3, "auth_2", model="c")


def test_other_names_of_columns(tmp_path: Path) -> None:
    """A mapping takes the place of the usual names, and leads into inner objects."""
    text = '{"meta": {"request": "auth_1"}, "usd": 2, "cost": 9, "usage": {"prompt_tokens": 4, "total": 5}}\n'
    (line,) = read(
        tmp_path, text, client_request_id="meta.request", cost="usd", input_tokens="usage.prompt_tokens"
    )  # fmt: skip
    assert (line.client_request_id, line.cost, dict(line.usage)) == ("auth_1", Decimal(2), {"input_tokens": 4})
    with pytest.raises(BillError, match="price is no field of a bill"):
        columns_of({"price": "usd"})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("b.jsonl", '{"id": "a", "cost": "free"}\n', 'b.jsonl:1: "free" is no cost'),
        ("b.jsonl", '{"id": "a", "cost": true}\n', '"True" is no cost'),
        ("b.jsonl", '{"id": "a", "cost": NaN}\n', "is no cost"),
        ("b.jsonl", '{"id": "a", "cost": "1e999999"}\n', "is no cost"),
        ("b.jsonl", '{"id": "a", "cost": {}}\n', "is no cost"),
        ("b.jsonl", '{"id": "a"}\n[1]\n', "b.jsonl:2: a line must be a JSON object"),
        ("b.jsonl", '{"id": "a"}\n{"id"\n', "b.jsonl:2: this is no line of JSON"),
        ("b.jsonl", "[" * 100_000, "b.jsonl:1: this is no line of JSON"),
        ("b.jsonl", '{"id": "a", "input_tokens": 1.5}\n', "is no count of input_tokens"),
        ("b.jsonl", '{"id": "a", "input_tokens": -1}\n', "is no count of input_tokens"),
        ("b.jsonl", '{"id": "a", "input_tokens": "99999999999999999999999"}\n', "is no count of input_tokens"),
        ("b.jsonl", '{"cost": 1}\n', "no line names a call; say which column does"),
        ("b.csv", "id,cost\na,1,2\n", "b.csv:2: the line has not as many columns"),
        ("b.csv", "id,cost\na\n", "b.csv:2: the line has not as many columns"),
        ("b.csv", 'id,cost\n"a" b,1\n', "b.csv: after line 1: "),
    ],
)
def test_a_line_that_cannot_be_read_stops_the_reading(tmp_path: Path, name: str, text: str, message: str) -> None:
    """With its place: nothing is settled from half a bill."""
    with pytest.raises(BillError) as caught:
        read(tmp_path, text, name)
    assert message in str(caught.value)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    """One sentence."""
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BillError, match=r"b\.csv cannot be read"):
        list(read_bill(tmp_path / "b.csv", columns_of({})))


def test_texts_are_bounded_and_printable(tmp_path: Path) -> None:
    """What goes into the ledger's evidence and to the terminal."""
    (line,) = read(tmp_path, '{"id": "a\\u001b[2J\\ud800' + "x" * 500 + '"}\n')
    assert line.response_id.startswith("a·[2J·x")
    assert len(line.response_id) == 128


@pytest.mark.parametrize(
    ("line", "cost"),
    [
        # 100 of 0.25 and 50 of 2.00 dollars a million.
        (BillLine("b", 1, usage={"input_tokens": 100, "output_tokens": 50}), "0.000125"),
        (BillLine("b", 1, cost=Decimal(3), usage={"input_tokens": 100}), "3"),
        (BillLine("b", 1), None),
        (BillLine("b", 1, currency="EUR", usage={"input_tokens": 100}), None),
        (BillLine("b", 1, model="nobody-knows", usage={"input_tokens": 100}), None),
        (BillLine("b", 1, tier="priority", usage={"input_tokens": 100}), "0.000045"),
        (BillLine("b", 1, tier="express", usage={"input_tokens": 100}), None),
        (BillLine("b", 1, usage={"input_tokens": 100, "star_searches": 1}), None),
        (BillLine("b", 1, usage={"input_tokens": 5, "cache_read_tokens": 9}), None),
    ],
)
def test_a_line_is_priced_by_its_usage(line: BillLine, cost: str | None) -> None:
    """Only where all of it has a price; a cost on the bill stays."""
    made = priced(line, PriceBook(), provider="openai", model="gpt-5-mini", at=NOON)
    assert made.cost == (None if cost is None else Decimal(cost))
    assert made.priced_by.startswith("genai-prices ") is (line.cost is None and cost is not None)
    assert bool(made.recorded) is bool(made.priced_by)


def test_the_fake_providers_bill_is_read_as_it_is(tmp_path: Path) -> None:
    """What the tests of crashes reconcile with: no column needs to be named."""
    billed = Line(
        id="resp_1", key="k", client_request_id="auth_1", wire="openai-chat", model="gpt-5-mini", tier="standard",
        stream=True, usage={"prompt_tokens": 9}, input_tokens=9, output_tokens=4, cost=Decimal("0.0125"), time=1.5,
        outcome="cut",
    )  # fmt: skip
    (line,) = read(tmp_path, json.dumps(billed.document()) + "\n")
    assert line == BillLine(
        "bill.jsonl", 1, "auth_1", "resp_1", Decimal("0.0125"), model="gpt-5-mini", tier="standard", time="1.5",
        usage={"input_tokens": 9, "output_tokens": 4},
    )  # fmt: skip
