"""Ratios: interleaved, medians of neighbours, and never from an invalid run."""

from dataclasses import replace

import pytest

from bench.books import deal
from bench.context import Line
from bench.load import LoadResult
from bench.pgbench import read_output
from bench.report import as_document, ceiling_ratio, verdict
from bench.rounds import Contender, InvalidRun, interleave, median_ratio

RESULT = LoadResult(
    units=100,
    units_per_second=100.0,
    requests=100,
    p50_ms=1.0,
    p99_ms=2.0,
    statuses={"201": 100},
    generator_busy=0.25,
    problem="",
)
LINE = Line(scenario="authorize", what="a ÷ b", ratio=1.5, target=1.5, detail="", rates={"a": [150.0], "b": [100.0]})


@pytest.mark.parametrize(
    ("numerators", "denominators", "expected"),
    [
        ([10.0], [5.0], 2.0),
        # The machine was half as fast in the second round: the ratios are the same in both.
        ([20.0, 10.0, 20.0], [10.0, 5.0, 10.0], 2.0),
        # One disturbed round moves the mean, not the median.
        ([20.0, 1.0, 20.0], [10.0, 10.0, 10.0], 2.0),
    ],
)
def test_median_ratio(numerators: list[float], denominators: list[float], expected: float) -> None:
    assert median_ratio(numerators, denominators) == expected


def test_ratios_need_neighbours() -> None:
    with pytest.raises(ValueError, match="zip"):
        median_ratio([1.0, 2.0], [1.0])


def test_rounds_are_interleaved() -> None:
    order: list[str] = []

    def contender(name: str, rate: float) -> Contender:
        def measure() -> LoadResult:
            order.append(name)
            return replace(RESULT, units_per_second=rate * len(order))

        return Contender(name, measure)

    series = interleave([contender("a", 30.0), contender("b", 10.0)], rounds=3)
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert series.rates("a") == [30.0, 90.0, 150.0]
    assert series.ratio("a", "b") == pytest.approx(90 / 40)
    assert series.median_latencies_ms("b") == (1.0, 2.0)
    assert series.busiest_generator() == 0.25


def test_an_invalid_run_gives_no_ratio() -> None:
    broken = Contender("a", lambda: replace(RESULT, problem="status 503", statuses={"503": 1}))
    with pytest.raises(InvalidRun, match=r"a: status 503 \(statuses \{'503': 1\}\)"):
        interleave([broken], rounds=1)


@pytest.mark.parametrize(("ratio", "target", "expected"), [(1.5, 1.5, "met"), (1.49, 1.5, "missed"), (0.1, None, "–")])
def test_verdict(ratio: float, target: float | None, expected: str) -> None:
    assert verdict(replace(LINE, ratio=ratio, target=target)) == expected


def test_the_ceiling_is_compared_with_requests_only() -> None:
    batches = replace(LINE, scenario="batch", rates={"batch": [90_000.0]})
    assert ceiling_ratio([LINE, batches], 1500.0) == 10.0
    assert ceiling_ratio([batches], 1500.0) is None


def test_the_document_says_what_the_table_says() -> None:
    document = as_document([LINE], facts={"Python": "3"}, ceiling=1500.0, failures={"pairs": "broke"})
    assert document["lines"][0]["met"] is True
    assert document["lines"][0]["rates"] == {"a": [150.0], "b": [100.0]}
    assert document["generator"] == {"ceiling_per_second": 1500.0, "ceiling_by_fastest_rate": 10.0}
    assert document["failures"] == {"pairs": "broke"}


PGBENCH = """transaction type: hold.sql
number of transactions actually processed: 12535
number of failed transactions: {failed} (0.000%)
latency average = 2.522 ms
tps = 6345.013862 (without initial connection time)
"""


def test_pgbench_output() -> None:
    result = read_output(PGBENCH.format(failed=0))
    assert (result.units, result.units_per_second, result.p50_ms) == (12535, 6345.013862, 2.522)
    assert result.valid
    assert read_output(PGBENCH.format(failed=3)).problem == "3 transactions failed"
    with pytest.raises(InvalidRun):
        read_output("pgbench: error")


@pytest.mark.parametrize(
    ("agents", "budgets", "expected"),
    [
        (["a", "b"], ["x", "y"], {"x": ["a"], "y": ["b"]}),
        (["a", "b"], ["x", "y", "z"], {"x": ["a"], "y": ["b"], "z": ["a"]}),
        (["a", "b", "c"], ["x"], {"x": ["a", "b", "c"]}),
    ],
)
def test_everyone_has_a_budget_and_every_budget_someone(
    agents: list[str], budgets: list[str], expected: dict[str, list[str]]
) -> None:
    assert deal(agents, budgets) == expected


@pytest.mark.parametrize(("ratio", "said"), [(1.9, "met"), (2.0, "met"), (2.1, "missed")])
def test_a_target_may_be_the_most_that_is_wanted(ratio: float, said: str) -> None:
    line = replace(LINE, ratio=ratio, target=2.0, at_most=True)
    assert verdict(line) == said
    document = as_document([line], facts={}, ceiling=1000.0, failures={})
    assert (document["lines"][0]["at_most"], document["lines"][0]["met"]) == (True, said == "met")
