"""What settled calls should have cost: the survey behind `bursar reprice`.

Invariants: a call is corrected from what its own settlement recorded, never from a guess, and one that cannot be is
told with its reason; the key of a correction depends on the call, the file of prices and what is recorded now, so that
the same correction is never recorded twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from bursar import Remote
from gateway.cli.reconciling import BILL_SOURCE
from ledger.core.money import NANO_DIGITS, format_atoms, parse_atoms

if TYPE_CHECKING:
    from gateway.pricing import Overrides, PriceBook

CURRENCY = "USD"


@dataclass(frozen=True, slots=True)
class Correction:
    """One call whose price was wrong. ``settled`` is what is recorded now, ``amount`` what it should be, in atoms."""

    authorization: str
    model: str
    settled: int
    amount: int
    old_price: Mapping[str, str]
    new_price: Mapping[str, str]

    def body(self, reason: str) -> dict[str, Any]:
        """The request that corrects it."""
        return {
            "authorization": self.authorization,
            "settled": _money(self.settled),
            "amount": _money(self.amount),
            "old_price": dict(self.old_price),
            "new_price": dict(self.new_price),
            "reason": reason,
        }

    def idempotency_key(self, digest: str) -> str:
        """The same for the same call, file of prices and amount recorded before."""
        text = f"{self.authorization} {digest} {self.settled}"
        return f"reprice-{sha256(text.encode()).hexdigest()[:40]}"


@dataclass(slots=True)
class Survey:
    """What was found: calls ``seen``, those that are ``right``, those to correct, and those ``skipped``, by reason."""

    seen: int = 0
    right: int = 0
    unpriced: int = 0
    corrections: list[Correction] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)

    def skip(self, why: str) -> None:
        """Count a call that cannot be corrected."""
        self.skipped[why] = self.skipped.get(why, 0) + 1

    def by_model(self) -> list[tuple[str, int, int, int]]:
        """For each model: its name, calls, atoms recorded and atoms corrected; by name."""
        found: dict[str, tuple[int, int, int]] = {}
        for each in self.corrections:
            calls, settled, amount = found.get(each.model, (0, 0, 0))
            found[each.model] = (calls + 1, settled + each.settled, amount + each.amount)
        return [(model, *found[model]) for model in sorted(found)]

    def total(self) -> tuple[int, int]:
        """Atoms recorded, and atoms corrected."""
        return sum(each.settled for each in self.corrections), sum(each.amount for each in self.corrections)


def survey(server: Remote, overrides: Overrides, *, provider: str, pattern: str, first: date, last: date) -> Survey:
    """Look at every settled call of the period (days in UTC, both included). Changes nothing. Raises CannotAsk and
    Refused."""
    from gateway.pricing import PriceBook

    found, book = Survey(), PriceBook(overrides)
    period = {"from": f"{first}T00:00:00Z", "to": f"{last + timedelta(days=1)}T00:00:00Z"}
    for page in server.pages("/v1/authorizations", state="settled", **period):
        for row in page:
            said = row.get("metering") or {}
            if said.get("provider") == provider and fnmatchcase(said.get("model", ""), pattern):
                found.seen += 1
                _look(found, book, row, said)
    return found


def _look(found: Survey, book: PriceBook, row: Mapping[str, Any], said: Mapping[str, str]) -> None:
    from gateway.pricing.recorded import PRICE, SOURCE, cost_recorded, prices_said, usage_of

    if said.get(SOURCE) == BILL_SOURCE:
        return found.skip("they were settled by the provider's bill")
    usage = usage_of(said)
    if usage is None:
        return found.skip("no usage is recorded with them")
    if row["settled"]["currency"] != CURRENCY:
        return found.skip("they were not settled in USD")
    moment = datetime.fromisoformat(row["created_at"]).astimezone(UTC)
    tariff = book.tariff(said["provider"], said["model"], moment)
    if tariff is None:
        return found.skip("nobody has a price for their model")
    cost = tariff.cost(usage)
    recorded = _atoms(row["settled"]) + _atoms(row.get("repriced"))
    if cost.atoms == recorded:
        found.right += 1
        return None
    # An amount that came another way (several parts, a bill, a person) is not the price's mistake.
    if cost_recorded(said) not in (None, _atoms(row["settled"])):
        return found.skip("what was settled is not what their recorded usage cost at the recorded price")
    found.unpriced += bool(cost.unpriced)
    found.corrections.append(
        Correction(
            authorization=row["id"],
            model=said["model"],
            settled=recorded,
            amount=cost.atoms,
            old_price={key: value for key, value in said.items() if key.startswith(PRICE)},
            new_price=prices_said(tariff, usage.tier) | {SOURCE: tariff.source},
        )
    )
    return None


def _atoms(money: Mapping[str, str] | None) -> int:
    return parse_atoms(money["amount"], NANO_DIGITS) if money else 0


def _money(atoms: int) -> dict[str, str]:
    return {"amount": format_atoms(atoms, NANO_DIGITS), "currency": CURRENCY}
