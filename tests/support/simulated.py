"""Simulations over the log of a ledger in memory, fed in small pages so that what has ended is looked up again."""

from __future__ import annotations

from typing import Any

from ledger.core.canonical import canonical_bytes, parse
from ledger.core.command_policies import ApplyPolicy
from ledger.core.compiling import bases_of, compile_policy, currencies_of
from ledger.core.filling import Filled, Trees, earliest_moment
from ledger.core.money import currency_digits
from ledger.core.outcome import Outcome
from ledger.core.policy import LOOPS
from ledger.core.simulated import CATEGORIES, Findings
from ledger.core.simulating import KINDS, Simulation, elder_of
from tests.support.ledger import Ledger
from tests.support.worlds import World

USD = 10**9
"""Atoms of a dollar."""


def limit(name: str = "day", per: str = "day", maximum: str | None = None, **fields: Any) -> dict[str, Any]:
    """A limit of a document; ``maximum`` is decimal text."""
    made = {"id": name, "per": per} | ({"max": maximum} if maximum is not None else {})
    return made | fields


def status(outcome: Outcome) -> str:
    """The code of what became of a command."""
    return outcome.status.value


class Past(World):
    """A world whose past is simulated, in time zone ``Europe/Paris`` as every ledger in memory."""

    def policy(self, document: dict[str, Any]) -> None:
        """Make a document the next version of its policy, filled from the first record on."""
        bases = bases_of(document, timezone=self.book.timezone)
        filled = Filled(0, {(kind, rule): basis for kind, rule, basis in bases if kind != LOOPS}, {})
        text = canonical_bytes(document).decode()
        made = self.do(ApplyPolicy, self.admin, id=self.new_id("pol"), document=text, filled=filled)
        assert status(made) == "done", made


def candidate(document: dict[str, Any], timezone: str = "Europe/Paris") -> Any:
    """A document compiled with meters of its own numbers."""
    bases = bases_of(document, timezone=timezone)
    return compile_policy(
        document,
        digits={currency: currency_digits(currency) or 0 for currency in currencies_of(document)},
        meters={(kind, rule): place for place, (kind, rule, _) in enumerate(bases, start=1)},
        version=0,
        digest="",
        timezone=timezone,
    )


def simulated(
    ledger: Ledger, document: dict[str, Any], *, since: int = 0, page: int = 3, all_read: bool = False, **fields: Any
) -> Findings:
    """What a candidate finds in all of a ledger's log from ``since`` on."""
    compiled = candidate(document)
    log = ledger.rows("log_records")
    trees = Trees(
        {row.name: row.path for row in ledger.rows("agents")}, {row.name: row.path for row in ledger.rows("budgets")}
    )
    simulation = Simulation(compiled, trees, since=since, log_size=len(log), **fields)
    meters = (*compiled.meters, *compiled.run_limits)
    earliest = 0 if all_read else earliest_moment(meters, since)
    read = [one for one in log if one.recorded_at >= earliest and one.kind in KINDS]
    rows = {row.id: row for row in ledger.rows("authorizations")}
    runs = {row.name: row.created_index for row in ledger.rows("runs")}
    for start in range(0, len(read), page):
        some = simulation.page(
            [(one.log_index, one.kind, one.recorded_at, one.body) for one in read[start : start + page]]
        )
        elders = {name: elder_of(rows[name], log[previous].body) for name, previous in some.elders.items()}
        simulation.take(some, elders, {name: runs.get(name) for name in some.runs})
    still = sum(row.held > 0 for row in rows.values())
    assert simulation.open_count <= still + sum(
        parse(one.body).get("decision", {}).get("outcome") == "denied" for one in read
    ), "what has ended is kept"
    return simulation.findings


def counts(findings: Findings) -> dict[str, int]:
    """How many requests of each category, without those that have none."""
    return {category: findings.tallies[category].count for category in CATEGORIES if findings.tallies[category].count}
