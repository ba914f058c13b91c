"""What reconciliations say of the ledger is recomputed: a server that lies about it is found, on either database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ledger.core.command import Allocate, Charge
from ledger.core.command_reconciliations import Reconcile
from ledger.services.verify import verify_books
from ledger.storage.migrate import upgrade
from tests.support.every_kind import LiveLedger
from tests.support.ledger import OPENED_AT, SECOND
from tests.support.spend import write_lines

ATOMS = 1_000_000_000
DAY = 86_400 * SECOND


class Lying:
    """A book in which a dollar was spent with openai and two with serp, and whoever records a comparison of the first
    says of the ledger what it likes."""

    def __init__(self, database_url: str) -> None:
        self.url = database_url
        upgrade(database_url)
        self.ledger = LiveLedger(database_url)
        self.finance = self.ledger.key("finance", "fay")
        self.ledger.budget("research", "100")
        self.own, self.strange = self.charge("openai", "1"), self.charge("serp", "2")
        self.given = self.ledger.do(Allocate, self.ledger.admin, budget="research", amount="1", currency="USD")

    def charge(self, payee: str, amount: str) -> int:
        """Spend on the day before; the log index."""
        done = self.ledger.do(
            Charge, self.finance, budget="research", amount=amount, currency="USD", category="c", payee=payee,
            effective_at=OPENED_AT - DAY // 2,
        )  # fmt: skip
        return done.log_index

    def reconcile(self, total: int, **fields: Any) -> None:
        """Record that both sides say ``total``."""
        figures: dict[str, Any] = {
            "payee": "openai", "currency": "USD", "source": "csv", "starts_at": OPENED_AT - DAY, "ends_at": OPENED_AT,
            "at_size": self.given.log_index + 1, "lines": 0, "matched": 0, "provider_total": str(total),
            "ledger_total": total * ATOMS,
        }  # fmt: skip
        assert self.ledger.do(Reconcile, self.finance, **figures | fields).status.value == "done"

    def found(self) -> list[str]:
        """What verify says, with the lines written."""
        write_lines(self.url)
        (report,) = verify_books(self.url)
        return [difference.what for difference in report.differences]


@pytest.fixture
def lying(database_url: str) -> Iterator[Lying]:
    """On either database."""
    made = Lying(database_url)
    yield made
    made.ledger.close()


def test_an_honest_total_is_right(lying: Lying) -> None:
    """Of the payee and the period, at the size that it names, with what was booked for it."""
    lying.reconcile(1, booked=(lying.own,))
    lying.reconcile(0, at_size=lying.own)
    lying.reconcile(0, starts_at=OPENED_AT - 2 * DAY, ends_at=OPENED_AT - DAY)
    lying.charge("openai", "7")
    assert lying.found() == []


def test_another_total_is_found(lying: Lying) -> None:
    """Though every hash, row and sum is right."""
    lying.reconcile(3)
    assert lying.found() == ["the ledger's total is not what the records before it give"]


def test_what_was_not_booked_for_it_is_found(lying: Lying) -> None:
    """A charge of somebody else's, and a record that is no spend."""
    lying.reconcile(1, booked=(lying.strange, lying.given.log_index))
    what = "it says to have led to what is no charge or correction of its payee"
    assert lying.found() == [what, what]
