"""Interleaved rounds: A B A B …, and the median of the ratios inside each round.

Invariant: a figure leaves here only as a ratio of two rates that were measured seconds apart, because
machines are noisy and a rate alone says more about the hour than about the program. An invalid run ends a
scenario.
"""

import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.load import LoadResult, Plan
from bench.servers import PROJECT_ROOT

START_ALLOWANCE_SECONDS = 90.0


class InvalidRun(Exception):
    """A run saw an answer that it should not have seen; its rate means nothing."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A name and how to measure it once."""

    name: str
    measure: Callable[[], LoadResult]


@dataclass(frozen=True, slots=True)
class Series:
    """What several rounds measured, one result a contender and round."""

    results: dict[str, list[LoadResult]]

    def rates(self, name: str) -> list[float]:
        """Units per second of each round."""
        return [result.units_per_second for result in self.results[name]]

    def ratio(self, numerator: str, denominator: str) -> float:
        """The median over the rounds of one contender's rate by the other's."""
        return median_ratio(self.rates(numerator), self.rates(denominator))

    def median_rate(self, name: str) -> float:
        """The median of the rates, for the record beside a ratio."""
        return statistics.median(self.rates(name))

    def median_latencies_ms(self, name: str) -> tuple[float, float]:
        """The medians over the rounds of p50 and of p99, in milliseconds."""
        return (
            statistics.median(result.p50_ms for result in self.results[name]),
            statistics.median(result.p99_ms for result in self.results[name]),
        )

    def busiest_generator(self) -> float:
        """The largest share of its core that the load generator used in any run."""
        return max(result.generator_busy for results in self.results.values() for result in results)


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """The median of the ratios of neighbours. Raises ValueError unless there are as many of both."""
    return statistics.median(
        numerator / denominator for numerator, denominator in zip(numerators, denominators, strict=True)
    )


def interleave(contenders: Sequence[Contender], *, rounds: int) -> Series:
    """Measure every contender once a round, in the same order. Raises InvalidRun."""
    results: dict[str, list[LoadResult]] = {contender.name: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            result = contender.measure()
            if not result.valid:
                raise InvalidRun(f"{contender.name}: {result.problem} (statuses {result.statuses})")
            results[contender.name].append(result)
    return Series(results)


def run_load(plan: Plan) -> LoadResult:
    """Run the load generator in a process of its own. Raises InvalidRun when it breaks."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        cwd=PROJECT_ROOT,
        input=plan.to_json(),
        capture_output=True,
        text=True,
        timeout=plan.warmup_seconds + plan.seconds + START_ALLOWANCE_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise InvalidRun(f"the load generator ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return LoadResult.from_json(done.stdout)
