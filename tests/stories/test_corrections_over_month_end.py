"""November is signed off, and then found wrong in four ways. Two persons put it right in December; every balance is
written by hand, and what November's statement said stays as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger.core.canonical import parse
from ledger.core.command import Adjust, AdjustmentTransfer, Charge, Refund, Reprice
from ledger.core.command_corrections import ApproveCorrection, RefuseCorrection, Reverse, SetCorrectionRule
from ledger.core.outcome import Outcome, Status
from ledger.core.statement import parse_scope
from ledger.services.statements.json_form import write_json
from ledger.services.statements.making import Statements
from ledger.storage.engine import create_engine
from ledger.storage.migrate import upgrade
from ledger.storage.side_writer import SideWriter
from ledger.storage.tables import accounts
from tests.services.live_world import LiveWorld
from tests.support.databases import DATABASE_KINDS, postgresql_database, sqlite_url

DAY = 86_400
ATOMS = 10**9


class Story(LiveWorld):
    """November: two calls of 3.20 and 11.00, a charge of 2.00, and an adjustment of 0.50 between categories."""

    def __init__(self, url: str) -> None:
        super().__init__(url, "acme")
        self.engine, self.side = create_engine(url), SideWriter(url)
        self.statements = Statements(self.engine, self.side)
        self.fay, self.gus = self.key("finance", "fay"), self.key("finance", "gus")
        self.calls = []
        for held, amount in (("5", "3.20"), ("12", "11")):
            self.calls.append(self.hold(self.crawler, held))
            self.settle(self.crawler, self.calls[-1], amount)
            self.advance(DAY)
        self.charged = self.well(Charge, budget="research", amount="2", currency="USD", category="search", payee="serp")
        moved = (AdjustmentTransfer("expenses:hosting", "expenses:inference", "0.50", "USD"),)
        self.adjusted = self.well(Adjust, transfers=moved, reason="a hosted model")

    def well(self, kind: Any, caller: Any = None, **fields: Any) -> Outcome:
        """What must be done, by fay unless told otherwise."""
        outcome = self.do(kind, caller or self.fay, **fields)
        assert outcome.status is Status.DONE, outcome
        return outcome

    def asked(self, kind: Any, **fields: Any) -> str:
        """What must wait for a second person."""
        outcome = self.do(kind, self.fay, **fields)
        assert outcome.status is Status.PENDING_APPROVAL, outcome
        return str((outcome.body or {})["correction"])

    def statement(self, scope: str, period: str, at_size: int | None = None) -> bytes:
        """A statement as JSON."""
        made = self.statements.make(self.book_id, parse_scope(scope), period, at_size=at_size)
        return b"".join(write_json(made))

    def balances_are(self, **expected: str) -> None:
        """Real balances and those of the budget, in dollars; all others are zero or are authority."""
        stored = {
            name.replace("budgets:research:", "").replace(":", "_"): atoms / ATOMS
            for (name, _), atoms in self.all_balances().items()
            if name != "authority" and atoms
        }
        assert stored == {name: float(amount) for name, amount in expected.items()}

    def all_balances(self) -> dict[tuple[str, str], int]:
        """Every balance."""
        with self.engine.connect() as connection:
            rows = connection.execute(accounts.select().where(accounts.c.book_id == self.book_id)).all()
        return {(row.name, row.currency): row.balance for row in rows}

    def end(self) -> None:
        """Stop, and prove the books."""
        self.side.close()
        self.engine.dispose()
        self.close()
        self.prove()


@pytest.fixture(params=DATABASE_KINDS, ids=DATABASE_KINDS)
def story(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Story]:
    """On either database; at the end it must verify."""
    if request.param == "sqlite":
        url = sqlite_url(tmp_path)
        upgrade(url)
        made = Story(url)
        yield made
        made.end()
        return
    with postgresql_database(request.getfixturevalue("postgres_server")) as url:
        upgrade(url)
        made = Story(url)
        yield made
        made.end()


def test_a_month_that_was_signed_off_is_put_right(story: Story) -> None:
    """Refund, price, reversal of the charge and of the adjustment: 16.20 were spent, and 8.00 should have been."""
    november = {
        "available": "83.80", "spent": "16.20", "expenses_inference": "13.70", "expenses_hosting": "0.50",
        "expenses_search": "2.00", "payables_openai": "-14.20", "payables_serp": "-2.00",
    }  # fmt: skip
    story.balances_are(**november)
    signed_at = story.size()
    signed = {scope: story.statement(scope, "2026-11") for scope in ("book", "budget:research", "payee:openai")}
    story.well(SetCorrectionRule, story.admin, currency="USD", above="1.00")
    story.advance(28 * DAY)

    # 0.80 of the first call come back, which fay may do alone; the rest needs gus.
    story.well(Refund, authorization=story.calls[0], amount="0.80", currency="USD", reason="a credit note")
    prices = {"old_price": (("output", "11"),), "new_price": (("output", "6.10"),), "reason": "a mistyped price"}
    priced = story.asked(
        Reprice, authorization=story.calls[1], settled="11", amount="6.10", currency="USD", **prices
    )  # fmt: skip
    charged = story.asked(Reverse, record=story.charged.log_index, reason="serp took the invoice back")
    moved = story.asked(Reverse, record=story.adjusted.log_index, reason="it was inference")
    wrong = story.asked(Refund, authorization=story.calls[0], amount="0.50", currency="USD")
    story.balances_are(
        available="84.60", spent="15.40", expenses_inference="12.90", expenses_hosting="0.50", expenses_search="2.00",
        payables_openai="-13.40", payables_serp="-2.00",
    )  # fmt: skip
    for reference in (priced, charged):
        assert story.do(ApproveCorrection, story.fay, correction=reference).status is Status.NOT_AN_APPROVER
        story.well(ApproveCorrection, story.gus, correction=reference)
    story.well(RefuseCorrection, story.gus, correction=wrong, reason="there is no such credit note")
    story.balances_are(
        available="91.50", spent="8.50", expenses_inference="8.00", expenses_hosting="0.50", payables_openai="-8.50"
    )
    story.well(ApproveCorrection, story.gus, correction=moved)
    story.balances_are(available="91.50", spent="8.50", expenses_inference="8.50", payables_openai="-8.50")

    # November as it was signed off, to the byte, and as it is told now: the same lines, with what became of them.
    for scope, said in signed.items():
        assert story.statement(scope, "2026-11", at_size=signed_at) == said
    before, now = parse(signed["book"]), parse(story.statement("book", "2026-11"))
    assert (before["closing"], now["closing"]) == ([{"amount": "16.20", "currency": "USD"}],) * 2
    plain = [{name: value for name, value in line.items() if name != "corrected_by"} for line in now["lines"]]
    assert plain == [
        {name: value for name, value in line.items() if name != "corrected_by"} for line in before["lines"]
    ]
    assert [
        [(link["kind"], link["day"][:7], link["cost"]["amount"]) for link in line["corrected_by"]]
        for line in now["lines"]
    ] == [
        [("refund", "2026-12", "-0.80")],
        [("reprice", "2026-12", "-4.90")],
        [("reversal", "2026-12", "-2.00")],
        [("reversal", "2026-12", "-0.50")],
        [("reversal", "2026-12", "0.50")],
    ]
    december = parse(story.statement("book", "2026-12"))
    assert (december["opening"], december["closing"]) == (now["closing"], [{"amount": "8.50", "currency": "USD"}])
    assert [
        (line["kind"], line["cost"]["amount"], line["corrects"]["category"], line["corrects"]["cost"]["amount"])
        for line in december["lines"]
    ] == [
        ("refund", "-0.80", "inference", "3.20"),
        ("reprice", "-4.90", "inference", "11.00"),
        ("reversal", "-2.00", "search", "2.00"),
        ("reversal", "0.50", "inference", "-0.50"),
        ("reversal", "-0.50", "hosting", "0.50"),
    ]
    assert all(line["corrects"]["day"].startswith("2026-11") for line in december["lines"])
