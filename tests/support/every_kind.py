"""A story that makes a record of every kind there is, with the odd cases of each, on any ledger that tests can drive.

Owns ``LiveLedger``, which drives the real authorizer on a database as ``Ledger`` drives the core in memory.
"""

from __future__ import annotations

import copy
import threading
from typing import Any

from ledger.core.authorization import ON_EXPIRY_UNKNOWN
from ledger.core.book import Head, book_code
from ledger.core.canonical import canonical_bytes
from ledger.core.command import (
    AddName,
    Adjust,
    AdjustmentTransfer,
    Allocate,
    AssignBudget,
    Caller,
    Charge,
    Command,
    CreateKey,
    Deallocate,
    DefineUnit,
    ExpireDue,
    Extend,
    FreezeAgent,
    MarkUnknown,
    OpenRun,
    Refund,
    Release,
    Reprice,
    RevokeKey,
    RotateKey,
)
from ledger.core.command_approvals import Delegate, ForceApproval, GrantApproval, RefuseApproval, RevokeDelegation
from ledger.core.command_outcomes import ReportOutcome
from ledger.core.command_policies import ApplyPolicy
from ledger.core.command_reconciliations import Reconcile
from ledger.core.command_redactions import Redact
from ledger.core.command_signing import AdoptSigningKey
from ledger.core.command_webhooks import RegisterWebhook, RemoveWebhook, RotateWebhook
from ledger.core.outcome import Outcome
from ledger.core.signing_key import origin_of
from ledger.services.authorizer import Authorizer, AuthorizerSettings
from ledger.services.books import open_new_book
from ledger.services.sources import Sources, parse_key
from ledger.storage import queries_log
from ledger.storage.engine import create_engine
from tests.support import closing_months, every_budget, every_correction, every_payable, every_policy, every_rate
from tests.support.ledger import OPENED_AT, SECOND, Ledger


class Clock(Sources):
    """A clock that the test moves."""

    def __init__(self) -> None:
        super().__init__()
        self.now = OPENED_AT

    def decision_time(self, clock_us: int) -> int:
        return self.now


class LiveLedger(Ledger):
    """A book in a migrated database, driven through the authorizer."""

    def __init__(self, database_url: str, name: str = "acme", *, sources: Clock | None = None) -> None:
        self.sources = sources or Clock()
        self._made = 0
        opened = open_new_book(database_url, name=name, currency="USD", timezone="Europe/Paris", sources=self.sources)
        self.book = opened.book
        parsed = parse_key(opened.admin_key)
        assert parsed is not None
        self.admin = Caller(parsed.digest)
        self._start(database_url)

    def _start(self, database_url: str) -> None:
        self._database_url = database_url
        self.authorizer = Authorizer(
            database_url, sources=self.sources, settings=AuthorizerSettings(clock_jump_seconds=10.0**9)
        )
        self.authorizer.start()

    @property
    def head(self) -> Head:
        """The book's head."""
        engine = create_engine(self._database_url, pool_size=1)
        try:
            with engine.connect() as connection:
                found = queries_log.head(connection, self.book.book_id)
        finally:
            engine.dispose()
        assert found is not None
        return found

    def copied(self, database_url: str) -> LiveLedger:
        """The same book at the same moment in another database, which is a copy of this one's."""
        made = copy.copy(self)
        made.sources = Clock()
        made.sources.now = self.sources.now
        made._start(database_url)
        return made

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.sources.now += round(seconds * SECOND)

    def decide(self, *commands: Command) -> list[Outcome]:
        """Decide a batch durably."""
        done = threading.Event()
        kept: list[Any] = []

        def deliver(results: list[Any]) -> None:
            kept.extend(results)
            done.set()

        self.authorizer.submit(self.book.book_id, commands, deliver)
        assert done.wait(60)
        for result in kept:
            if isinstance(result, Exception):
                raise result
        return kept

    def close(self) -> None:
        """Stop the authorizer."""
        self.authorizer.stop(deadline_seconds=10)


def play(ledger: Ledger) -> None:
    """Leave at least one record of every kind, rows in every table, and values in every column that may be empty."""
    admin = ledger.admin
    ledger.agent("research", kind="team")
    crawler = ledger.agent("crawler", "research")
    reader = ledger.agent("reader", "crawler")
    finance = ledger.key("finance", "alice")
    ledger.key("auditor", "alice", ttl_seconds=3600)
    ledger.budget("company", "1000")
    ledger.budget("research", "100", "research", parent="company")
    ledger.budget("spare", None, "crawler")
    ledger.do(AssignBudget, admin, budget="spare", agents=("reader", "crawler"))
    ledger.do(DefineUnit, admin, name="tokens", digits=0)
    ledger.budget("tokens", "5000", "reader", currency="tokens")
    ledger.do(AddName, admin, kind="payee", name="anthropic")
    ledger.do(OpenRun, crawler, name="run-1")
    _cap(ledger, crawler)
    _judge(ledger, crawler, finance)
    every_budget.live(ledger, crawler)
    every_policy.govern(ledger)
    every_rate.convert(ledger, finance)
    metered = _spend(ledger, crawler, reader)
    every_policy.amend(ledger)
    _correct(ledger, finance, metered)
    every_payable.live(ledger, crawler)
    _approve(ledger, crawler)
    every_correction.correct(ledger)
    _tell(ledger)
    _sign(ledger)
    _redact(ledger, crawler)
    _reconcile(ledger, finance)
    closing_months.live(ledger, metered)
    _administer(ledger, crawler)


def _spend(ledger: Ledger, crawler: Caller, reader: Caller) -> str:
    """Holds and what becomes of them; returns one that says what it was metered from."""
    on = {"budget": "research", "run": "run-1", "resource": "gpt-5-mini", "intent": "summarize ticket 4711"}
    first = ledger.hold(crawler, "5", **on, labels=(("prompt", "v7"),))
    ledger.settle(crawler, first, "2", final=False)
    ledger.settle(crawler, first, "1", final=False, category="search", payee="brave")
    ledger.settle(crawler, first, "1.5", evidence='{"tokens":12}', resource="gpt-5")
    ledger.do(
        Refund, ledger.key("finance", "bob"), authorization=first, amount="0.5", currency="USD", category="search"
    )
    ledger.authorize(crawler, "1000", **on)
    ledger.authorize(crawler, "3", budget="company")
    extended = ledger.hold(crawler, "10", **on)
    ledger.authorize(crawler, "90", **on)
    ledger.do(Extend, crawler, authorization=extended, amount="1", currency="USD")
    ledger.do(Extend, crawler, authorization=extended, ttl_seconds=30)
    ledger.do(Extend, crawler, authorization=extended, amount="500", currency="USD")
    ledger.do(Release, crawler, authorization=extended, reason="not needed")
    ledger.settle(crawler, extended, "0.25")
    partial = ledger.authorize(crawler, "900", budget="research", partial_ok=True, ttl_seconds=60)
    expiring = str((partial.body or {})["authorization"])
    ledger.hold(reader, "700", budget="tokens", currency="tokens", on_expiry=ON_EXPIRY_UNKNOWN, ttl_seconds=60)
    counted = ledger.hold(reader, "100", budget="tokens", currency="tokens")
    ledger.settle(reader, counted, "150", currency="tokens", final=False)
    ledger.settle(reader, counted, "0", currency="tokens")
    ledger.advance(120)
    ledger.do(ExpireDue, Caller(None), idempotency_key="")
    ledger.settle(crawler, expiring, "4")
    open_hold = ledger.hold(crawler, "1", budget="research", run="never-opened")
    metered = (("input_tokens", "100"), ("model", "gpt-5-mini"))
    ledger.settle(crawler, open_hold, "0.5", final=False, metering=metered, flags=("estimated", "unpriced"))
    kept = ledger.hold(crawler, "0.75", budget="research", on_expiry=ON_EXPIRY_UNKNOWN)
    ledger.do(MarkUnknown, crawler, authorization=kept, reason="the provider timed out")
    ledger.hold(crawler, "2", **on)
    return open_hold


def _correct(ledger: Ledger, finance: Caller, metered: str) -> None:
    """What finance does, ending with a budget that stands below zero."""
    charged = ledger.do(
        Charge, finance, budget="research", amount="7", currency="USD", category="inference", payee="openai",
        agent="crawler", run="run-1", reason="found on the invoice", effective_at=OPENED_AT + SECOND,
    )  # fmt: skip
    reference = str((charged.body or {})["authorization"])
    ledger.do(Refund, finance, authorization=reference, amount="3", currency="USD", reason="credit note")
    ledger.do(
        Adjust,
        finance,
        transfers=(
            AdjustmentTransfer("payables:openai", "assets:bank", "3", "USD"),
            AdjustmentTransfer("expenses:hosting", "expenses:inference", "1", "USD"),
            AdjustmentTransfer("budgets:spare:spent", "budgets:research:spent", "0.5", "USD"),
        ),
        reason="paid",
    )
    ledger.do(Deallocate, ledger.admin, budget="research", amount="1", currency="USD", reason="too much")
    ledger.do(Charge, finance, budget="spare", amount="2", currency="USD", category="inference", payee="openai")
    prices = {"currency": "USD", "old_price": (("output", "2"),), "new_price": (("output", "3"),), "reason": "mistyped"}
    for recorded, right in (("7", "9"), ("9", "6")):
        ledger.do(
            Reprice, finance, authorization=reference, settled=recorded, amount=right, effective_at=OPENED_AT + SECOND,
            **prices,
        )  # fmt: skip
    ledger.do(Reprice, finance, authorization=metered, settled="0.5", amount="0.8", **prices)
    ledger.do(Allocate, ledger.admin, budget="company", amount="1", currency="USD")


def _approve(ledger: Ledger, crawler: Caller) -> None:
    """Requests that persons decide: granted by a quorum in two tiers, refused, withdrawn, expired, forced, waiting; and
    delegations, one used and one revoked."""
    admin, pat, quinn = ledger.admin, ledger.key("approver", "pat"), ledger.key("approver", "quinn")
    boss = ledger.key("finance", "boss")
    rules = [
        {"id": "two", "above": "2.00", "per": "authorization", "approvers": ["approver"], "quorum": 2,
         "expires_after": 60},
        {"id": "boss", "above": "4.00", "per": "authorization", "approvers": ["person:boss"], "quorum": 1,
         "expires_after": 90},
    ]  # fmt: skip
    document = {"policy": "asks", "applies_to": {"agent": "crawler"}, "currency": "USD", "approval": rules}
    packed = canonical_bytes(document).decode()
    applied = ledger.do(ApplyPolicy, admin, id="pol_00000000000000000000000009", document=packed)
    assert applied.status.value == "done", applied

    def ask(amount: str) -> tuple[str, list[str]]:
        asked = ledger.authorize(
            crawler, amount, budget="company", accept_pending=True, run="run-1", intent="a ticket", partial_ok=True
        )
        body = asked.body or {}
        assert asked.status.value == "pending_approval", asked
        return str(body["authorization"]), [tier["id"] for tier in body["approvals"]]

    given = [
        ledger.do(
            Delegate, giver, id=f"dlg_0000000000000000000000000{place}", receiver="quinn", ttl_seconds=3600, **more
        )
        for place, giver, more in ((1, boss, {}), (2, admin, {"giver": "pat", "role": "approver"}))
    ]
    ledger.do(RevokeDelegation, quinn, delegation=str((given[1].body or {})["delegation"]), reason="back")
    ledger.do(AssignBudget, admin, budget="company", agents=("crawler",))
    granted, tiers = ask("5")
    for caller, approval in ((pat, tiers[0]), (quinn, tiers[0]), (quinn, tiers[1])):
        voted = ledger.do(GrantApproval, caller, approval=approval, reason="fine")
        assert voted.status.value == "done", voted
    ledger.settle(crawler, granted, "4.5", final=False)
    _, tiers = ask("6")
    ledger.do(GrantApproval, pat, approval=tiers[0])
    ledger.do(RefuseApproval, quinn, approval=tiers[0], reason="not now")
    withdrawn, _ = ask("7")
    ledger.do(Release, crawler, authorization=withdrawn)
    forced, _ = ask("8")
    ledger.do(ForceApproval, admin, approval=forced, reason="an emergency")
    ledger.settle(crawler, forced, "8")
    ask("9")
    ledger.advance(61)
    ledger.do(ExpireDue, Caller(None), idempotency_key="")
    _, tiers = ask("10")
    ledger.do(GrantApproval, pat, approval=tiers[0])


def _cap(ledger: Ledger, crawler: Caller) -> None:
    """A run with a cap, with a key for it alone that spends all of it."""
    ledger.do(OpenRun, crawler, name="run-capped", cap_amount="0.5", cap_currency="USD")
    digest = ledger._digest()
    ledger.do(CreateKey, crawler, digest=digest, role="agent", run="run-capped", ttl_seconds=600)
    key, on = Caller(digest), {"budget": "capped", "resource": "gpt-5-mini"}
    ledger.budget("capped", "3", "crawler")
    held = ledger.hold(key, "0.4", **on)
    for afford in (False, True):
        ledger.authorize(key, "0.3", **on, afford=afford)
    ledger.do(Extend, key, authorization=held, amount="0.2", currency="USD")
    ledger.settle(key, held, "0.35")
    rest = ledger.authorize(key, "0.3", **on, afford=True)
    ledger.settle(key, str((rest.body or {})["authorization"]), "0.15")
    ledger.authorize(key, "0.3", **on, afford=True)


def _tell(ledger: Ledger) -> None:
    """Endpoints for alerts: one removed, one whose secret is being replaced."""
    admin = ledger.admin
    first, second = "whs_00000000000000000000000001", "whs_00000000000000000000000002"
    for url in ("https://alerts.example.com/bursar", "https://ops.example.com/"):
        made = ledger.do(RegisterWebhook, admin, url=url, events=("agent.frozen", "*"), secret=first)
    removed = str((made.body or {})["webhook"])
    ledger.do(RotateWebhook, admin, webhook=removed, secret=second)
    ledger.do(RemoveWebhook, admin, webhook=removed, idempotency_key="")
    types = ("budget.threshold", "authorization.overrun")
    kept = ledger.do(RegisterWebhook, admin, url="https://ops.example.com/", events=types, secret=first)
    ledger.do(RotateWebhook, admin, webhook=str((kept.body or {})["webhook"]), secret=second, overlap_seconds=60)


def _sign(ledger: Ledger) -> None:
    """A key that signs checkpoints, and the one that replaces it."""
    origin = origin_of("", ledger.book.name, book_code(ledger.book.book_id))
    made = ledger.do(AdoptSigningKey, ledger.admin, public_key=bytes(range(32)), name=origin)
    first = str((made.body or {})["signing_key"])
    ledger.do(AdoptSigningKey, ledger.admin, public_key=bytes(32), name="other", replaces=first)


def _administer(ledger: Ledger, crawler: Caller) -> None:
    """Freezes and keys."""
    admin = ledger.admin
    ledger.do(FreezeAgent, admin, agent="research", frozen=True, reason="looping")
    ledger.authorize(crawler, "1", budget="research")
    ledger.do(FreezeAgent, admin, agent="research", frozen=False)
    ledger.do(FreezeAgent, admin, agent="reader", frozen=True)
    made = ledger.do(CreateKey, admin, digest=ledger._digest(), role="agent", agent="crawler")
    key = str((made.body or {})["key"])
    ledger.do(RotateKey, admin, key=key, digest=ledger._digest(), overlap_seconds=60)
    ledger.do(RevokeKey, admin, key=key, reason="leaked")


def _judge(ledger: Ledger, crawler: Caller, finance: Caller) -> None:
    """Outcomes of runs: with a score and without, one that finance corrects, by an agent above and with a run's key."""
    ledger.do(OpenRun, ledger.admin, name="run-below", agent="reader")
    digest = ledger._digest()
    ledger.do(CreateKey, crawler, digest=digest, role="agent", run="run-below", ttl_seconds=600)
    below = str((ledger.do(OpenRun, crawler, name="run-named").body or {})["id"])
    said = [
        ledger.do(ReportOutcome, crawler, run="run-1", success=True, score=800_000),
        ledger.do(ReportOutcome, finance, run="run-1", success=False),
        ledger.do(ReportOutcome, crawler, run="run-below", success=True, score=1_000_000),
        ledger.do(ReportOutcome, Caller(digest), run="run-below", success=False, score=0),
        ledger.do(ReportOutcome, ledger.admin, run=below, success=True),
    ]
    assert [one.status.value for one in said] == ["done"] * 5, said


def _redact(ledger: Ledger, crawler: Caller) -> None:
    """Free texts that were removed: one by its record, two at once of a charge, and by age the reason of the first."""
    admin, finance = ledger.admin, ledger.key("finance", "fay")
    asked = ledger.authorize(crawler, "0.01", budget="research", intent="mail jane@example.com")
    charged = ledger.do(
        Charge, finance, budget="research", amount="0.01", currency="USD", category="inference", payee="openai",
        reason="found on the invoice of Jane", evidence='{"invoice":"4711"}',
    )  # fmt: skip
    about = str((charged.body or {})["authorization"])
    by_record = ledger.do(Redact, admin, texts=((asked.log_index, "intent"),), record=asked.log_index, reason="a name")
    both = ((charged.log_index, "evidence"), (charged.log_index, "reason"))
    by_charge = ledger.do(Redact, admin, texts=both, authorization=about, reason="she asked", ground="erasure")
    old = ((by_record.log_index, "reason"),)
    by_age = ledger.do(Redact, admin, texts=old, before=OPENED_AT * 2, fields=("reason",), reason="long ago")
    assert [one.status.value for one in (by_record, by_charge, by_age)] == ["done"] * 3


def _reconcile(ledger: Ledger, finance: Caller) -> None:
    """A comparison with what a provider says that leaves nothing open, and one that is accepted as it is, of the same
    period, which names what was booked for it."""
    period = {"starts_at": OPENED_AT - 86_400 * SECOND, "ends_at": OPENED_AT}
    charged = ledger.do(
        Charge, finance, budget="research", amount="0.25", currency="USD", category="inference", payee="openai",
        effective_at=OPENED_AT - 3_600 * SECOND,
    )  # fmt: skip
    figures: dict[str, Any] = {"payee": "openai", "currency": "USD", "source": "openai-costs", **period}
    size = charged.log_index + 1
    equal = ledger.do(
        Reconcile, finance, **figures, provider_total="0.25", ledger_total=250_000_000, at_size=size, lines=1,
        matched=1, files=("0" * 64,),
    )  # fmt: skip
    accepted = ledger.do(
        Reconcile, finance, **figures, provider_total="0.2", ledger_total=250_000_000, at_size=size, pinned=True,
        lines=3, matched=1, booked=(charged.log_index,), accept=True, reason="a credit of theirs",
        differences=(("missing_here", 1, "0.01"), ("price", 2, "-0.05"), ("tolerated", 1, "-0.01")),
    )  # fmt: skip
    assert [one.status.value for one in (equal, accepted)] == ["done"] * 2
