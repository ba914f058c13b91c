"""Rows for tests of storage: a small book, and batches of holds on it, made without the core's rules."""

from __future__ import annotations

import hashlib

from ledger.core import changeset
from ledger.core.account import Account
from ledger.core.approval import Approval, Delegation, Vote
from ledger.core.authorization import Authorization
from ledger.core.book import Book, Head, Name, Unit
from ledger.core.budget import Budget, BudgetAgent, Renewal
from ledger.core.canonical import idempotency_digest
from ledger.core.changeset import Changeset, row_of, update_of
from ledger.core.closing import Explanation, Month
from ledger.core.correction import Correction, CorrectionRule, CorrectionSum, Reversal
from ledger.core.counter import Counter
from ledger.core.invoice import Invoice, InvoicePayment, PayeeTerms, Payment
from ledger.core.journal import IdempotencyKey, LogRecord, Text, Transfer
from ledger.core.merkle import EMPTY_ROOT, Frontier
from ledger.core.needs import Needs
from ledger.core.policy_row import Policy, PolicyVersion
from ledger.core.principal import Agent, AgentCount, Key, Person
from ledger.core.rate import Rate
from ledger.core.reconciliation import Reconciliation
from ledger.core.redaction import Redaction
from ledger.core.run import Run, RunOutcome, RunTotal
from ledger.core.signing_key import SigningKey
from ledger.core.snapshot import Snapshot
from ledger.core.webhook import Webhook

BOOK_ID = 0x123456789A
SECRET = b"s" * 32
ROOM = 10**12
SETUP_SIZE = 1


def numbered_id(prefix: str, number: int) -> str:
    """A well-formed id that sorts by its number."""
    return f"{prefix}_{number:026d}"


def digest(text: str) -> bytes:
    """32 bytes that stand for a text."""
    return hashlib.sha256(text.encode()).digest()


def book(book_id: int = BOOK_ID) -> Book:
    """The row of the book."""
    return Book(book_id, "acme", "USD", "Europe/Paris", True, 1_000)


def head(size: int, book_id: int = BOOK_ID) -> Head:
    """A head at a size, with a root of its own."""
    return Head(book_id, size, root(size), b"f" * 32 * size.bit_count(), 1_000 + size, 5, False)


def root(size: int) -> bytes:
    """What stands for the root at a size."""
    return EMPTY_ROOT if size == 0 else digest(f"root {size}")


def record(index: int, kind: str = "hold", subject: str = "", book_id: int = BOOK_ID) -> LogRecord:
    """One log record of a hundred bytes."""
    body = f'{{"index":{index},"padding":"{"x" * 80}"}}'.encode()
    return LogRecord(book_id, index, kind, subject, 1_000 + index, 1_000 + index, body, digest(f"leaf {index}"))


def account(
    number: int, name: str, role: str, balance: int, book_id: int = BOOK_ID, kind: str = "budgetary"
) -> Account:
    """One account in USD."""
    return Account(book_id, number, name, "USD", kind, role, balance, None, 0, 0)


def setup(book_id: int = BOOK_ID) -> Changeset:
    """A new book with one of everything: agent crawler under team research, budget research, a run, keys, names."""
    made = Changeset(book_id, 0, EMPTY_ROOT, head(SETUP_SIZE, book_id))
    entities: dict[str, list[object]] = {
        "books": [book(book_id)],
        "accounts": [
            account(0, "authority", "authority", -ROOM, book_id),
            account(1, "budgets:research:available", "available", ROOM, book_id),
            account(2, "budgets:research:held", "held", 0, book_id),
            account(3, "budgets:research:spent", "spent", 0, book_id),
        ],
        "agents": [
            Agent(book_id, "research", numbered_id("team", 1), "team", None, "", False, 0, 0),
            Agent(book_id, "crawler", numbered_id("agt", 2), "agent", "research", "research", True, 0, 0),
        ],
        "persons": [Person(book_id, "ada", 0)],
        "api_keys": [
            Key(
                book_id,
                digest("key"),
                numbered_id("key", 1),
                "agent",
                "agent:crawler",
                "agent:crawler",
                1,
                None,
                9,
                0,
                0,
                "run-42",
                "person:ada",
            )
        ],
        "budgets": [
            Budget(book_id, "research", numbered_id("bud", 1), None, "", "USD", False, None, 0, 0),
            Budget(book_id, "papers", numbered_id("bud", 2), "research", "research", "USD", True, None, 0, 0),
            Budget(book_id, "shut", numbered_id("bud", 3), "research", "research", "USD", False, 9, 0, 0),
        ],
        "budget_agents": [
            BudgetAgent(book_id, "research", "research", 0),
            BudgetAgent(book_id, "research", "extra", 0),
        ],
        "runs": [Run(book_id, "run-42", numbered_id("run", 1), "crawler", 7, 0, 20, "USD")],
        "run_totals": [RunTotal(book_id, "run-42", "USD", 3, 1, 5, 7, 0)],
        "units": [Unit(book_id, "tokens", 0, 0)],
        "names": [Name(book_id, "category", "inference", 0), Name(book_id, "payee", "openai", 0)],
        "run_outcomes": [RunOutcome(book_id, "run-42", 0, "crawler", True, 800_000, "agent:crawler", 1_000)],
        "redactions": [Redaction(book_id, 0, "intent", 1)],
        "rates": [Rate(book_id, "EUR/USD", 20_000, "1.0842", "ecb", 7, 0, 0)],
        "correction_rules": [
            CorrectionRule(book_id, "USD", 100, 0, 0),
            CorrectionRule(book_id, "tokens", None, 0, 0),
        ],
        "correction_sums": [CorrectionSum(book_id, "ada", "USD", 739_000, 7, 0)],
        "corrections": [
            Correction(
                book_id,
                numbered_id("cor", at),
                "refund",
                state,
                "{}",
                '[["USD","5"]]',
                "person:ada",
                numbered_id("key", 1),
                "person:owner",
                1,
                9,
                decided,
                decided and "person:bob",
                at,
                at,
            )
            for at, (state, decided) in enumerate((("pending", None), ("approved", 5)))
        ],
        "reversals": [Reversal(book_id, 0, 1)],
        "periods": months(book_id),
        "explanations": [Explanation(book_id, numbered_id("auth", 1), 3, "person:ada", 0, 0)],
        "reconciliations": [
            Reconciliation(
                book_id, numbered_id("rcn", 1), "openai", "USD", "csv", 1, 9, 0, 7, 5, 1, 2, False, "person:ada", 9, 0
            ),
        ],
        "invoices": [
            Invoice(
                book_id,
                numbered_id("inv", at),
                "openai",
                number,
                "USD",
                20_000,
                20_030 - at,
                19_990,
                19_999,
                50,
                60,
                paid,
                state,
                "[]",
                at - 1,
                0,
            )
            for at, number, paid, state in (
                (1, "A", 0, "void"),
                (2, "A", 20, "partly_paid"),
                (3, "B", 60, "paid"),
                (4, "C", 0, "open"),
            )
        ],
        "payments": [
            Payment(book_id, numbered_id("pay", 1), "openai", "assets:bank", "USD", 90, 4, 6, "made", 9, 0, 0),
        ],
        "invoice_payments": [
            InvoicePayment(book_id, numbered_id("pay", 1), numbered_id("inv", at), amount, 0)
            for at, amount in ((3, 60), (2, 20))
        ],
        "payee_terms": [PayeeTerms(book_id, "openai", "0", 0, 0)],
        "signing_keys": [
            SigningKey(book_id, "0a0b0c0d", "bursar/acme", "ed25519", bytes(32), "person:ada", 1, 0),
        ],
        "webhook_endpoints": [
            Webhook(
                book_id, numbered_id("whk", 1), "https://a.example/", "*", "s", None, None, "person:ada", 1, None, 0, 0
            )
        ],
    }
    made.inserts = {name: [row_of(entity) for entity in rows] for name, rows in (entities | control(book_id)).items()}
    made.inserts["log_records"] = [tuple(record(0, "book", "acme", book_id))]
    made.inserts["texts"] = [tuple(Text(book_id, 0, "reason", b"salt", "because"))]
    return made


def months(book_id: int = BOOK_ID) -> list[object]:
    """A month that is closed, and one that something was backdated into."""
    closed, asked = ("person:ada", 3, 2), ("person:ada", "person:bob", 4)
    return [
        Month(
            book_id, "2026-10", "month", "closed", 1, 2, None, 1, digest("root"), digest("statements"), *closed,
            *asked, None, 0, 2,
        ),
        Month(book_id, "2026-11", "month", "open", 2, 3, 1, *(None,) * 10, 1, 1),
    ]  # fmt: skip


def control(book_id: int = BOOK_ID) -> dict[str, list[object]]:
    """What policies, approvals and renewals leave: a live and a retired policy bound to the book, one to a budget, a
    calendar and a rolling counter, two approvals of the same authorization, delegations and renewals."""
    scopes = (("limits", "book", "", False), ("old", "book", "", True), ("papers", "budget", "papers", False))
    return {
        "agent_counts": [AgentCount(book_id, "crawler", 2, 0)],
        "renewals": [
            Renewal(book_id, "research", "USD", "month", 5, 3, 8_000, 0, 0),
            Renewal(book_id, "papers", "USD", "day", 5, 0, 7_000, 0, 0),
            Renewal(book_id, "shut", "USD", "week", 5, 0, None, 0, 0),
        ],
        "policies": [
            Policy(book_id, name, numbered_id("pol", at), 2, kind, scope, "d" * 64, "{}", retired, 0, 0)
            for at, (name, kind, scope, retired) in enumerate(scopes)
        ],
        "policy_versions": [PolicyVersion(book_id, "limits", 2, "d" * 64, "{}", "person:ada", 1_000, 0)],
        "approval_votes": [
            Vote(book_id, numbered_id("apr", 1), seat, person, "grant", 1_000, at)
            for at, (seat, person) in enumerate((("ada", "ada"), ("bob", "eve")))
        ],
        "counters": [
            Counter(book_id, 7, "[]", 500, 10, 5, 2, None, 0),
            Counter(book_id, 8, '["crawler"]', 0, 0, 5, 1, "[[17,0,5,1]]", 0),
        ],
        "approvals": [
            Approval(
                book_id, numbered_id("apr", at), numbered_id("auth", 1), 2 - at, "limits", 2, f"approval-{at}", "open",
                '["approver"]', 1, 60, digest("request"), "agent:crawler", "person:ada", 60, 1, None, None, 0, 0,
            )
            for at in (1, 2)
        ],
        "delegations": [
            Delegation(book_id, numbered_id("del", at), "ada", "bob", "approver", "person:ada", at, 99, None, 3 - at, 0)
            for at in (1, 2)
        ],
    }  # fmt: skip


def authorization(number: int, index: int, book_id: int = BOOK_ID) -> Authorization:
    """A hold of 5 atoms, made at a log index."""
    return Authorization(
        book_id, numbered_id("auth", number), "crawler", "research", "run-42" if number % 2 else None, "inference",
        "openai", None, "USD", 5, 5, 5, 0, 0, "held", 32 if number % 3 == 0 else 0, None, "release", 1_000 + index,
        9_000, 9_000 + number, None, None, None, '[["prompt","v7"]]' if number % 2 else None, None, index, index,
    )  # fmt: skip


def holds(size: int, count: int, book_id: int = BOOK_ID) -> Changeset:
    """``count`` holds of 5 atoms each, on a log of ``size`` records; the hold at index i has number i."""
    made = Changeset(book_id, size, root(size), head(size + count, book_id))
    logs, transfers, rows, keys = [], [], [], []
    held = 5 * (size - SETUP_SIZE)
    for index in range(size, size + count):
        held += 5
        hold = authorization(index, index, book_id)
        logs.append(tuple(record(index, "hold", hold.id, book_id)))
        transfers.append(
            tuple(Transfer(book_id, index, 0, 2, 1, "USD", 5, held, ROOM - held, 1_000 + index, 1_000 + index))
        )
        rows.append(row_of(hold))
        key = idempotency_digest("agent:crawler", f"key-{index}")
        keys.append(tuple(IdempotencyKey(book_id, key, digest(f"request {index}"), index, 1_000 + index)))
    made.inserts = {"log_records": logs, "transfers": transfers, "authorizations": rows, "idempotency_keys": keys}
    available = account(1, "budgets:research:available", "available", ROOM - held, book_id)
    reserved = account(2, "budgets:research:held", "held", held, book_id)
    made.updates = {"accounts": [update_of(changeset.ACCOUNTS, changed) for changed in (available, reserved)]}
    return made


def snapshot(book_id: int = BOOK_ID) -> Snapshot:
    """A snapshot that knows nothing yet."""
    return Snapshot(book=book(book_id), head=head(0, book_id), frontier=Frontier(), text_secret=SECRET)


def needs(**wanted: set[object]) -> Needs:
    """Needs of the kinds named."""
    made = Needs()
    for kind, keys in wanted.items():
        setattr(made, kind, keys)
    return made
