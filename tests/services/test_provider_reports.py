"""Reading reports of providers: units, shapes, places of what is wrong, and nothing twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ledger.core.reconciling_lines import day_text
from ledger.services.provider_reports import Report, ReportError, read_reports
from ledger.services.provider_reports.mapped_csv import mapping_of, read_mapping

NOVEMBER_1 = 1_793_491_200
"""2026-11-01T00:00:00Z in seconds."""


def openai_page(*results: dict[str, Any], day: int = 0, **page: Any) -> dict[str, Any]:
    """A page of one bucket, as OpenAI's API returns it."""
    start = NOVEMBER_1 + day * 86_400
    bucket = {"object": "bucket", "start_time": start, "end_time": start + 86_400, "results": list(results)}
    return {"object": "page", "data": [bucket], "has_more": False, "next_page": None} | page


def openai_cost(value: str, **fields: Any) -> dict[str, Any]:
    """A result whose value stands in the JSON as it is written here; see ``dumped``."""
    return {
        "object": "organization.costs.result",
        "amount": {"value": f"NUMBER{value}", "currency": "usd"},
        "line_item": None,
        "project_id": None,
        "organization_id": "org-1",
    } | fields


def anthropic_page(*results: dict[str, Any], **page: Any) -> dict[str, Any]:
    """A page of one bucket, as Anthropic's API returns it."""
    bucket = {"starting_at": "2026-11-01T00:00:00Z", "ending_at": "2026-11-02T00:00:00Z", "results": list(results)}
    return {"data": [bucket], "has_more": False, "next_page": None} | page


def anthropic_cost(amount: Any, **fields: Any) -> dict[str, Any]:
    """A result of the cost report."""
    return {
        "amount": amount,
        "currency": "USD",
        "cost_type": "tokens",
        "description": "Claude Sonnet 4 Usage - Input Tokens",
        "model": "claude-sonnet-4-20250514",
        "token_type": "uncached_input_tokens",
        "service_tier": "standard",
        "context_window": "0-200k",
        "workspace_id": None,
    } | fields


def dumped(*documents: Any) -> str:
    """JSON with numbers written exactly as a test says."""
    text = "\n".join(json.dumps(one, indent=1) for one in documents)
    while '"NUMBER' in text:
        before, _, after = text.partition('"NUMBER')
        number, _, rest = after.partition('"')
        text = before + number + rest
    return text


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """Read texts as files of formats, in order."""

    def go(*named: tuple[str, str], currency: str = "USD", mapping: dict[str, Any] | None = None) -> Report:
        files = []
        for number, (form, text) in enumerate(named):
            path = tmp_path / f"{form}-{number}"
            path.write_text(text, encoding="utf-8", newline="")
            files.append((form, path))
        columns = mapping_of(mapping, "mapping.yaml") if mapping is not None else None
        return read_reports(files, currency=currency, digits=9, mapping=columns)

    return go


def amounts(report: Report) -> list[int | None]:
    """The atoms of each line."""
    return [line.amount for line in report.billed]


def test_dollars_as_numbers_and_cents_as_text_are_the_same_money(read: Any) -> None:
    """1.2345 dollars: a number at OpenAI, "123.45" at Anthropic."""
    dollars = read(("openai-costs", dumped(openai_page(openai_cost("1.2345")))))
    cents = read(("anthropic-costs", dumped(anthropic_page(anthropic_cost("123.45")))))
    assert amounts(dollars) == amounts(cents) == [1_234_500_000]


@pytest.mark.parametrize(
    ("written", "atoms"),
    [
        ("0.1", 100_000_000),
        ("0.1000000000000000055511151231257827", 100_000_000),
        ("6e-05", 60_000),
        ("0.0000000005", 0),
        ("0.0000000015", 2),
        ("-3.5", -3_500_000_000),
        ("0", 0),
        ("123456789.123456789", 123_456_789_123_456_789),
    ],
)
def test_numbers_are_the_decimals_that_are_written(read: Any, written: str, atoms: int) -> None:
    """No binary fraction comes between; what is finer than an atom is rounded half to even."""
    assert amounts(read(("openai-costs", dumped(openai_page(openai_cost(written)))))) == [atoms]


def test_openai_costs_name_models_and_projects(read: Any) -> None:
    """Of a line item the part before the last comma is the model."""
    page = openai_page(
        openai_cost("0.5", line_item="gpt-5-mini-2025-08-07, input", project_id="proj_a"),
        openai_cost("0.25", line_item="gpt-5-mini-2025-08-07, output", project_id="proj_a", api_key_id="key_1"),
        openai_cost("0.01", line_item="Web searches"),
    )
    report = read(("openai-costs", dumped(page)))
    assert [(line.model, line.key) for line in report.billed] == [
        ("gpt-5-mini-2025-08-07", "proj_a"),
        ("gpt-5-mini-2025-08-07", "key_1"),
        ("Web searches", ""),
    ]
    assert {day_text(line.day) for line in report.billed} == {"2026-11-01"}
    assert report.source == "openai-costs"
    assert [len(digest) for digest in report.files] == [64]


def test_usage_says_the_same_quantities_under_the_same_names(read: Any) -> None:
    """OpenAI counts cached tokens inside the input, Anthropic outside; here they are always inside."""
    openai = openai_page(
        {
            "object": "organization.usage.completions.result", "input_tokens": 1000, "output_tokens": 500,
            "input_cached_tokens": 800, "num_model_requests": 5, "project_id": None, "user_id": None,
            "api_key_id": None, "model": "gpt-5", "batch": None, "input_audio_tokens": 0,
        }
    )  # fmt: skip
    anthropic = anthropic_page(
        {
            "uncached_input_tokens": 100, "cache_read_input_tokens": 800, "output_tokens": 500,
            "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40},
            "server_tool_use": {"web_search_requests": 2}, "model": "claude-sonnet-4", "api_key_id": "apikey_1",
            "workspace_id": None, "service_tier": None, "context_window": None,
        }
    )  # fmt: skip
    report = read(("openai-usage", dumped(openai)), ("anthropic-usage", dumped(anthropic)))
    assert report.billed == []
    first, second = report.counted
    assert first.quantities == {"input_tokens": 1000, "output_tokens": 500, "cache_read_tokens": 800, "requests": 5}
    assert second.quantities == {
        "input_tokens": 1000, "output_tokens": 500, "cache_read_tokens": 800, "cache_write_tokens": 100,
        "web_searches": 2,
    }  # fmt: skip
    assert second.key == "apikey_1"


def test_pages_one_after_another_in_one_file_or_several(read: Any) -> None:
    """As an array, as lines, as files; and a page that says there is more must be followed."""
    first, second = (
        openai_page(openai_cost("1"), has_more=True, next_page="p2"),
        openai_page(openai_cost("2"), day=1),
    )
    for files in (
        [dumped([first, second])],
        [dumped(first, second)],
        [dumped(second), dumped(first)],
    ):
        assert sorted(amounts(read(*(("openai-costs", text) for text in files)))) == [10**9, 2 * 10**9]
    with pytest.raises(ReportError, match=r"page 1: it says that there are more pages"):
        read(("openai-costs", dumped(first)))


WRONG = [
    ("openai-costs", "", "the file is empty"),
    ("openai-costs", '{"data":\n [1,\n 2', r"openai-costs-0:3: this is no JSON"),
    ("openai-costs", "[1]", "page 1: this is no JSON object"),
    ("openai-costs", '{"items": []}', r'page 1: it has no list "data"'),
    (
        "openai-costs",
        dumped(openai_page(openai_cost("1") | {"amount": {"value": "much", "currency": "usd"}})),
        "no amount",
    ),
    ("openai-costs", dumped(openai_page(openai_cost("1e400"))), "is no amount"),
    ("openai-costs", dumped(openai_page(openai_cost("true"))), "is no amount"),
    ("openai-costs", dumped(openai_page(openai_cost("99999999999"))), "64-bit"),
    ("openai-costs", dumped(openai_page(openai_cost("1") | {"amount": None})), "result 1: it has no amount"),
    (
        "openai-costs",
        dumped(openai_page(openai_cost("1") | {"amount": {"value": 1, "currency": "eur"}})),
        'the amount is in "eur", and USD is compared',
    ),
    ("openai-costs", dumped(openai_page(openai_cost("1"), openai_cost("2"))), "bucket 1, result 1 again"),
    (
        "openai-costs",
        dumped({"data": [{"start_time": NOVEMBER_1, "end_time": NOVEMBER_1 + 86_401, "results": [openai_cost("1")]}]}),
        "more than one day of UTC",
    ),
    ("openai-costs", dumped({"data": [{"start_time": "x", "end_time": 2, "results": []}]}), "no time in seconds"),
    ("anthropic-costs", dumped(anthropic_page(anthropic_cost(12.5))), "the amount is no text"),
    ("anthropic-costs", dumped(anthropic_page(anthropic_cost("1", currency="EUR"))), "and USD is compared"),
    ("anthropic-costs", dumped(anthropic_page({"model": "x"})), "usage is read as anthropic-usage"),
    (
        "openai-costs",
        dumped(openai_page({"object": "organization.usage.completions.result"})),
        "name it as openai-usage",
    ),
    ("openai-usage", dumped(openai_page({"object": "x"})), "counts neither tokens nor requests"),
    ("openai-usage", dumped(openai_page({"input_tokens": -1})), "no count"),
    ("csv", "day,amount\n2026-11-01\n", r"csv-0:2: the line has not as many columns"),
    ("csv", "date,amount\n", "there is no column day; those are date, amount"),
    ("csv", "day,amount\n2026-11-01,x\n", r'csv-0:2: "x" is no amount'),
    ("csv", "day,amount\n2026-11-01,1\nyesterday,1\n", r"csv-0:3: day is"),
    ("csv", 'day,amount\n"2026-11-01,1\n', "after line"),
]


@pytest.mark.parametrize(("form", "text", "words"), WRONG, ids=range(len(WRONG)))
def test_what_cannot_be_read_is_named_with_its_place(read: Any, form: str, text: str, words: str) -> None:
    """File, page or line, and what is wrong; nothing is compared with half a report."""
    with pytest.raises(ReportError, match=words):
        read((form, text))


def test_a_file_and_a_line_are_named_once(read: Any) -> None:
    """The same file again, and the same line with an id again; without ids two equal lines are two."""
    text = dumped(openai_page(openai_cost("1")))
    with pytest.raises(ReportError, match="again; name each file once"):
        read(("openai-costs", text), ("openai-costs", text))
    with pytest.raises(ReportError, match=r"csv-0:3: this is the line of csv-0:2 again"):
        read(("csv", "day,amount,id\n2026-11-01,1,r1\n2026-11-01,1,r1\n"), mapping={
            "day": "day", "amount": "amount", "id": "id",
        })  # fmt: skip
    assert amounts(read(("csv", "day,amount\n2026-11-01,1\n2026-11-01,1\n"))) == [10**9, 10**9]
    with pytest.raises(ReportError, match="both bill"):
        read(("openai-costs", text), ("csv", "day,amount\n"))


def test_a_csv_by_its_mapping(read: Any) -> None:
    """Columns, cents, semicolons and decimal commas, counts, moments with and without an offset."""
    text = (
        "Datum;Betrag;Modell;Anfrage;Token\n"
        "2026-11-01 23:30:00;1.234,5;gpt-5;r1;12\n"
        "2026-11-01T23:30:00-02:00;-7;gpt-5;r2;\n"
    )
    mapping = {
        "day": "Datum", "amount": "Betrag", "model": "Modell", "id": "Anfrage", "unit": "minor", "delimiter": ";",
        "decimal": ",", "quantities": {"input_tokens": "Token"},
    }  # fmt: skip
    report = read(("csv", text), mapping=mapping)
    assert [(day_text(line.day), line.amount, line.id, line.quantities["input_tokens"]) for line in report.billed] == [
        ("2026-11-01", 12_345_000_000, "r1", 12),
        ("2026-11-02", -70_000_000, "r2", 0),
    ]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"amount": "a"}, "which column is the day"),
        ({"amount": "a", "day": "d", "cost": "c"}, "cost is nothing that a mapping says"),
        ({"amount": "a", "day": "d", "unit": "cents"}, "unit is major"),
        ({"amount": "a", "day": "d", "unit": ["major"]}, "unit is major"),
        ({"amount": "a", "day": 1}, "day must name a column"),
        ({"amount": "a", "day": "d", "quantities": {"tokens": "t"}}, "tokens is no count"),
        ({"amount": "a", "day": "d", "delimiter": ";;"}, "delimiter is one character"),
    ],
)
def test_a_mapping_says_what_is_known(said: dict[str, Any], words: str) -> None:
    """And nothing else."""
    with pytest.raises(ReportError, match=words):
        mapping_of(said, "mapping.yaml")


def test_a_mapping_is_yaml(tmp_path: Path) -> None:
    """A list, or what is no YAML, is none."""
    path = tmp_path / "mapping.yaml"
    path.write_text("amount: cost\nday: date\n", encoding="utf-8")
    assert read_mapping(path).columns == {"amount": "cost", "day": "date"}
    for text in ("- a\n", "a: [\n", "[" * 5000):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ReportError, match=r"mapping\.yaml"):
            read_mapping(path)
