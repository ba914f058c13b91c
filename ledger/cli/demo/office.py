"""What people do in the demo, over HTTP like everybody else: an admin sets the book up, finance corrects it.

Invariant: every key is made by the API and shown by it once; what finance changes is carried over into the purses, so
that the end of the day can be compared to the atom.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import NamedTuple

from ledger.cli.demo.agent_day import Finished
from ledger.cli.demo.calls import Calls, money
from ledger.cli.demo.plan import CURRENCY, ORGANIZATION, TEAMS, Plan
from ledger.cli.demo.purse import Purse

CHARGE = Decimal("0.42")
SMALLEST_REFUND = Decimal("0.000000001")


class KeyRing(NamedTuple):
    """The texts of the keys that the demo works with."""

    agents: dict[str, str]
    finance: str
    auditor: str


class Move(NamedTuple):
    """An allocation as the server answered it: from the parent budget (None: from authority) to the budget."""

    parent: str | None
    budget: str
    amount: Decimal


def set_up(admin: Calls, plan: Plan) -> tuple[KeyRing, list[Move]]:
    """Make teams, agents, the tree of budgets, allocations and keys."""
    for team in TEAMS:
        admin.post("/v1/teams", {"name": team}, key=f"team-{team}", status=201)
    for agent in plan.agents:
        body = {"name": agent.name, "parent": agent.team}
        admin.post("/v1/agents", body, key=f"agent-{agent.name}", status=201)
    moves = [_budget(admin, ORGANIZATION, None, plan.organization_allocation, agents=[])]
    for team, amount in plan.team_allocations.items():
        moves.append(_budget(admin, team, ORGANIZATION, amount, agents=[]))
    for agent in plan.agents:
        moves.append(_budget(admin, agent.name, agent.team, agent.allocated, agents=[agent.name]))
    keys = {agent.name: _key(admin, {"role": "agent", "agent": agent.name}) for agent in plan.agents}
    finance = _key(admin, {"role": "finance", "person": "nadia"})
    auditor = _key(admin, {"role": "auditor", "person": "olu"})
    return KeyRing(keys, finance, auditor), moves


def _budget(admin: Calls, name: str, parent: str | None, amount: Decimal, *, agents: list[str]) -> Move:
    body: dict[str, object] = {"name": name, "currency": CURRENCY, "agents": agents}
    if parent is not None:
        body["parent"] = parent
    admin.post("/v1/budgets", body, key=f"budget-{name}", status=201)
    path = f"/v1/budgets/{name}/allocations"
    answer = admin.post(path, {"amount": money(amount)}, key=f"allocation-{name}", status=201)
    return Move(parent, name, Decimal(answer["amount"]["amount"]))


def _key(admin: Calls, body: dict[str, str]) -> str:
    owner = body.get("agent") or body.get("person")
    return str(admin.post("/v1/keys", body, key=f"key-{owner}", status=201)["key"])


def correct(finance: Calls, auditor: Calls, days: list[Finished]) -> Counter[str]:
    """Refund some of what was settled, and book a charge that nobody authorized; two requests must be refused."""
    done: Counter[str] = Counter()
    for day in days:
        for number, (reference, settled) in enumerate(day.refundable):
            amount = (settled / 2).quantize(Decimal("0.000001"))
            body = {"authorization": reference, "amount": money(amount), "reason": "the provider credited an outage"}
            answer = finance.post("/v1/refunds", body, key=f"refund-{day.agent}-{number}", status=201)
            day.purse.spent -= amount
            day.purse.available += amount
            day.purse.compare(answer["budget"])
            done["refunded"] += 1
    reference, settled = days[0].refundable[0]
    body = {"authorization": reference, "amount": money(settled + SMALLEST_REFUND), "reason": "typed one digit wrong"}
    finance.post("/v1/refunds", body, key="refund-wrong", status=409, code="refund_too_large")
    _charge(finance, days[1].purse)
    done["charged unauthorized"] += 1
    auditor.post(
        f"/v1/budgets/{ORGANIZATION}/allocations",
        {"amount": money(Decimal(1000))},
        key="allocation-by-auditor",
        status=403,
        code="role_not_allowed",
    )
    return done


def _charge(finance: Calls, purse: Purse) -> None:
    body = {
        "budget": purse.budget,
        "agent": purse.budget,
        "amount": money(CHARGE),
        "category": "hosting",
        "payee": "cloud",
        "reason": "found on the invoice",
    }
    answer = finance.post("/v1/charges", body, key="charge-1", status=201)
    purse.available -= CHARGE
    purse.spent += CHARGE
    purse.compare(answer["budget"])
