"""One record while the fold applies it: accounts, transfers and idempotency keys, and what the body must agree with.

Owns the shape of the rows that the fold makes (``Store``) and its state so far (``Progress``). Invariants: nothing but
bodies goes in; a balance is the sum of what was posted; accounts are numbered in the order in which they are first
named.
"""

from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any, Final, Protocol, TypeVar

from ledger.core.account import ROLE_AVAILABLE, ROLE_REAL, Account, budget_accounts, classify, payable_name
from ledger.core.approval import Approval, Delegation, Vote
from ledger.core.authorization import Authorization
from ledger.core.book import Book, Name, Unit
from ledger.core.budget import Budget, BudgetAgent, Renewal
from ledger.core.canonical import canonical_bytes
from ledger.core.closing import Explanation, Month
from ledger.core.correction import Correction, CorrectionRule, CorrectionSum, Reversal, Reversible
from ledger.core.counter import Counter
from ledger.core.deriving import Columns
from ledger.core.invariants import (
    ENTRIES_FOLLOW_RULES,
    OVERDRAFTS_EXPLAINED,
    Difference,
    explains_overdraft,
    shown,
)
from ledger.core.invoice import Invoice, InvoicePayment, PayeeTerms, Payment
from ledger.core.journal import IdempotencyKey
from ledger.core.money import ATOMS_MAX
from ledger.core.outcome import UNBOUND_DENIALS
from ledger.core.policy import CompiledPolicy
from ledger.core.policy_row import Policy, PolicyVersion
from ledger.core.principal import Agent, AgentCount, Key, Person
from ledger.core.rate import Rate
from ledger.core.reconciliation import Reconciliation
from ledger.core.redaction import Redaction
from ledger.core.run import Run, RunOutcome, RunTotal
from ledger.core.signing_key import SigningKey
from ledger.core.webhook import Webhook

K = TypeVar("K", contravariant=True)
V = TypeVar("V")
TransferRow = tuple[int, int, int, int, str, int, int, int, int, int]
"""A transfer as ``transfers`` stores it, without its book."""

UNBOUND_CODES: Final = frozenset(status.value for status in UNBOUND_DENIALS)


class Rows(Protocol[K, V]):
    """The rows of one table that the fold has made so far, by a key that the fold looks them up with."""

    def get(self, key: K) -> V | None:
        """The row, not to be changed, or None."""

    def change(self, key: K) -> V:
        """The row, to be changed in place. Raises LookupError when there is none."""

    def add(self, key: K, row: V) -> None:
        """A new row. Raises ValueError, now or when rows are next written, when there is one under this key."""


class Store(Protocol):
    """The projections. Accounts are looked up by (name, currency), API keys by id, approvals by (authorization, place
    in its sequence), all others by their primary key."""

    @property
    def accounts(self) -> Rows[tuple[str, str], Account]: ...
    @property
    def authorizations(self) -> Rows[str, Authorization]: ...
    @property
    def idempotency_keys(self) -> Rows[bytes, IdempotencyKey]: ...
    @property
    def runs(self) -> Rows[str, Run]: ...
    @property
    def run_totals(self) -> Rows[tuple[str, str], RunTotal]: ...
    @property
    def agents(self) -> Rows[str, Agent]: ...
    @property
    def persons(self) -> Rows[str, Person]: ...
    @property
    def api_keys(self) -> Rows[str, Key]: ...
    @property
    def budgets(self) -> Rows[str, Budget]: ...
    @property
    def budget_agents(self) -> Rows[tuple[str, str], BudgetAgent]: ...
    @property
    def renewals(self) -> Rows[str, Renewal]: ...
    @property
    def units(self) -> Rows[str, Unit]: ...
    @property
    def names(self) -> Rows[tuple[str, str], Name]: ...
    @property
    def policies(self) -> Rows[str, Policy]: ...
    @property
    def policy_versions(self) -> Rows[tuple[str, int], PolicyVersion]: ...
    @property
    def counters(self) -> Rows[tuple[int, str], Counter]: ...
    @property
    def agent_counts(self) -> Rows[str, AgentCount]: ...

    def all_authorizations(self) -> Iterator[Authorization]:
        """Every row so far, in no order."""

    def all_runs(self) -> Iterator[Run]:
        """Every run so far, in no order."""

    @property
    def approvals(self) -> Rows[tuple[str, int], Approval]: ...
    @property
    def approval_votes(self) -> Rows[tuple[str, str], Vote]: ...
    @property
    def delegations(self) -> Rows[str, Delegation]: ...
    @property
    def webhook_endpoints(self) -> Rows[str, Webhook]: ...
    @property
    def signing_keys(self) -> Rows[str, SigningKey]: ...
    @property
    def invoices(self) -> Rows[str, Invoice]: ...
    @property
    def payments(self) -> Rows[str, Payment]: ...
    @property
    def invoice_payments(self) -> Rows[tuple[str, str], InvoicePayment]: ...
    @property
    def payee_terms(self) -> Rows[str, PayeeTerms]: ...
    @property
    def redactions(self) -> Rows[tuple[int, str], Redaction]: ...
    @property
    def rates(self) -> Rows[tuple[str, int], Rate]: ...
    @property
    def corrections(self) -> Rows[str, Correction]: ...
    @property
    def correction_rules(self) -> Rows[str, CorrectionRule]: ...
    @property
    def correction_sums(self) -> Rows[tuple[str, str], CorrectionSum]: ...
    @property
    def reversals(self) -> Rows[int, Reversal]: ...
    @property
    def reversible(self) -> Rows[int, Reversible]: ...
    @property
    def periods(self) -> Rows[str, Month]: ...
    @property
    def explanations(self) -> Rows[str, Explanation]: ...
    @property
    def reconciliations(self) -> Rows[str, Reconciliation]: ...
    @property
    def run_outcomes(self) -> Rows[tuple[str, int], RunOutcome]: ...


class Progress:
    """What a fold knows beside its rows.

    ``size``, ``recorded_at``, ``account_count`` and ``frozen`` (the whole book is) are what the head must say; its
    hashes are the frontier's. ``bindings`` are the live policies of each scope, ``meters`` those of each policy, and
    ``compiled`` and ``plans`` what was made of them; ``votes`` are those on approvals that are open; ``adjusted`` is
    what adjustments added to (spent, expenses) per currency; ``differences`` collects what bodies say that the rules
    do not give, until somebody takes it away; ``open_children`` counts the open budgets right below each;
    ``signing_key`` is the one that signs checkpoints now; ``months`` names the rows of periods, in order; ``begun`` has
    the first record that was written in each month but the first, and ``month_until`` is when the month of the last
    record is over; ``payable`` are the invoices of "payee currency" that can be paid, by id, with when they are due,
    and ``numbers`` the "payee number" of those that are not void, with their id.

    Decisions are made again unless ``decides`` is False; a ``watcher`` is told of each, and compares it itself.
    """

    def __init__(self, book_id: int, store: Store) -> None:
        self.book_id = book_id
        self.store = store
        self.book: Book | None = None
        self.size = 0
        self.recorded_at = 0
        self.account_count = 0
        self.adjusted: dict[str, tuple[int, int]] = {}
        self.open_children: dict[str, int] = {}
        self.differences: list[Difference] = []
        self.frozen = False
        self.bindings: dict[tuple[str, str], tuple[Policy, ...]] = {}
        self.compiled: dict[tuple[str, int], CompiledPolicy] = {}
        self.plans: dict[tuple[str | None, str | None], Any] = {}
        self.votes: dict[str, list[Vote]] = {}
        self.meters: dict[str, list[list[Any]]] = {}
        self.signing_key: SigningKey | None = None
        self.months: list[str] = []
        self.begun: dict[str, int] = {}
        self.month_until = 0
        self.payable: dict[str, dict[str, list[int]]] = {}
        self.numbers: dict[str, str] = {}
        self.decides = True
        self.watcher: Callable[[Record, dict[str, Any]], None] | None = None


class Record:
    """One record while it is applied."""

    __slots__ = ("body", "columns", "fold", "index", "store", "time", "transfers")

    def __init__(self, fold: Progress, index: int, body: dict[str, Any], columns: Columns) -> None:
        self.fold = fold
        self.store = fold.store
        self.index = index
        self.body = body
        self.columns = columns
        self.time = columns.recorded_at
        self.transfers: list[TransferRow] = []

    def differ(
        self, what: str, expected: Any = "", found: Any = "", *, field: str = "body", check: str = ENTRIES_FOLLOW_RULES
    ) -> None:
        """Note that the body says something else than the rules."""
        self.fold.differences.append(
            Difference("log_records", what, self.index, "", field, shown(expected), shown(found), check)
        )

    def expect(self, field: str, expected: Any) -> None:
        """Note a difference unless the body's ``field`` is ``expected`` (None: absent)."""
        found = self.body.get(field)
        if found != expected:
            self.differ(f"{field} is not what the records before it give", expected, found)

    def atoms(self, field: str) -> int:
        """An amount of the body, in atoms."""
        return atoms_of(self.body[field])

    # Accounts and transfers.

    def account(self, name: str, currency: str) -> Account:
        """An account, to be changed; made, with the next number, when it is named for the first time."""
        key = (name, currency)
        try:
            return self.store.accounts.change(key)
        except LookupError:
            classified = classify(name)
        if classified is None:
            raise ValueError(f"{name} cannot name an account")
        fold = self.fold
        made = Account(
            fold.book_id, fold.account_count, name, currency, *classified, 0, None, self.index, self.index
        )  # fmt: skip
        fold.account_count += 1
        self.store.accounts.add(key, made)
        return made

    def post(self, expected: list[list[str]] | None) -> None:
        """Post the body's transfers; ``expected`` are those that the rules make (None: whichever balance)."""
        transfers = self.body.get("transfers", [])
        if expected is not None and transfers != expected:
            self.differ("the transfers are not those that this kind of record makes", expected, transfers)
        index, now, effective = self.index, self.time, self.columns.effective_at
        before: dict[int, tuple[Account, int]] = {}
        for position, (debit_name, credit_name, text, currency) in enumerate(transfers):
            amount = atoms_of(text)
            if not amount or debit_name == credit_name:
                raise ValueError("a transfer moves a positive amount between two accounts")
            debit = self.account(debit_name, currency)
            credit = self.account(credit_name, currency)
            if (debit.role == ROLE_REAL) != (credit.role == ROLE_REAL):
                self.differ("a transfer joins authority and money", "one sort", f"{debit_name} and {credit_name}")
            if debit.role == ROLE_AVAILABLE:
                before.setdefault(debit.account_no, (debit, debit.balance))
            if credit.role == ROLE_AVAILABLE:
                before.setdefault(credit.account_no, (credit, credit.balance))
            debit.balance += amount
            credit.balance -= amount
            if debit.balance > ATOMS_MAX or credit.balance < -ATOMS_MAX:
                raise ValueError("a balance leaves 64 bits")
            debit.changed_index = credit.changed_index = index
            self.transfers.append(
                (
                    index, position, debit.account_no, credit.account_no, currency, amount, debit.balance,
                    credit.balance, now, effective,
                )
            )  # fmt: skip
        for account, balance in before.values():
            self._explain(account, balance)

    def _explain(self, account: Account, before: int) -> None:
        """Keep, with an available balance below zero, the record that took it there; only real spend may."""
        if account.balance >= 0:
            account.overdrawn_index = None
            return
        if account.overdrawn_index is None:
            account.overdrawn_index = self.index
        if account.balance < before and not explains_overdraft(self.body):
            self.differ(
                f"{account.name} is taken below zero by what is no overrun, late or unauthorized spend",
                "0 or more", account.balance, check=OVERDRAFTS_EXPLAINED,
            )  # fmt: skip

    def expect_budget(self, field: str, name: str, currency: str) -> None:
        """The three balances of a budget after the record, as the body says them."""
        get = self.store.accounts.get
        available_name, held_name, spent_name = budget_accounts(name)
        available, held = get((available_name, currency)), get((held_name, currency))
        spent, budget = get((spent_name, currency)), self.store.budgets.get(name)
        expected = {
            "id": "" if budget is None else budget.id,
            "name": name,
            "available": "0" if available is None else str(available.balance),
            "held": "0" if held is None else str(held.balance),
            "spent": "0" if spent is None else str(spent.balance),
        }
        if self.body.get(field) != expected:
            self.differ(f"{field} is not what the records before it give", expected, self.body.get(field))

    # What any record may bring with it.

    def bind_key(self) -> None:
        """The idempotency key that this record answers, unless its denial may soon be otherwise."""
        body = self.body
        digest, request_digest = body["idempotency"]
        # Where a second person approved it, it answers the request of that person.
        bound = body["approved_by"]["request"] if "approved_by" in body else body["request"]
        if sha256(canonical_bytes(bound)).hexdigest() != request_digest:
            self.differ("the digest bound to the idempotency key is not the request's", "", request_digest)
        if "key" not in body["by"]:
            return
        if self.columns.kind in ("denial", "run_denial"):
            reasons = body["decision"]["reasons"]
            if reasons and reasons[0]["code"] in UNBOUND_CODES:
                return
        key = bytes.fromhex(digest)
        self.store.idempotency_keys.add(
            key, IdempotencyKey(self.fold.book_id, key, bytes.fromhex(request_digest), self.index, self.time)
        )

    def meet_name(self, kind: str, name: str) -> None:
        """A category or a payee is known from the first record that names it."""
        if self.store.names.get((kind, name)) is None:
            self.store.names.add((kind, name), Name(self.fold.book_id, kind, name, self.index))


def credited(record: Record, row: Authorization, payee: str) -> str:
    """The account that what an authorization or charge costs is credited to: what is owed, or credit that was paid for
    before, where the payee was prepaid when the authorization or charge was made."""
    terms = record.store.payee_terms.get(payee)
    prepaid = False
    for turn in () if terms is None else terms.turns.split(" "):
        prepaid ^= int(turn) < row.created_index
    return f"assets:prepaid:{payee}" if prepaid else payable_name(payee)


def run_of_key(record: Record) -> str | None:
    """The only run that the key is for with which the record was asked for; None for any other key, and without one."""
    key = record.body["by"].get("key")
    found = record.store.api_keys.get(key) if key is not None else None
    return None if found is None else found.run


def atoms_of(text: Any) -> int:
    """An amount as a body writes it. Raises ValueError unless it is a whole number of atoms, zero or more."""
    atoms = int(text)
    if atoms < 0 or atoms > ATOMS_MAX or str(atoms) != text:
        raise ValueError(f"{shown(text)} is no amount of atoms")
    return atoms
