"""What is measured: one module a question, each with a function that answers it in lines of the report.

Invariant: every scenario is in `SCENARIOS`, under the name that `--only` takes.
"""

from bench.context import Scenario
from bench.scenarios import (
    authorize,
    batch,
    budgets,
    caps,
    connections,
    finance,
    gateway,
    growth,
    pairs,
    policies,
    simulate,
    verify,
)  # fmt: skip

SCENARIOS: dict[str, Scenario] = {
    "authorize": authorize.run,
    "pairs": pairs.run,
    "batch": batch.run,
    "budgets": budgets.run,
    "connections": connections.run,
    "gateway": gateway.run,
    "growth": growth.run,
    "finance": finance.run,
    "policies": policies.run,
    "verify": verify.run,
    "simulate": simulate.run,
    "caps": caps.run,
}
