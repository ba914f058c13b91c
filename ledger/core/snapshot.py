"""The facts a decision reads.

Owns ``Snapshot``: what is known of one book at one log size (``needs`` says what must still be read). Invariants:
deciding never mutates a snapshot; a fact that was looked for and is not there is ``None``, and a fact that was never
looked for is absent, so that a miss is read and never taken for zero.
"""

from dataclasses import dataclass, field
from typing import Any, Final, Generic, NamedTuple, TypeVar

from ledger.core.account import Account
from ledger.core.approval import Approval, Delegation, Vote
from ledger.core.authorization import Authorization
from ledger.core.book import Book, Head, Name, Unit
from ledger.core.budget import Budget, Renewal
from ledger.core.closing import Explanation, Month
from ledger.core.correction import Correction, CorrectionRule, CorrectionSum, Reversal
from ledger.core.counter import Counter
from ledger.core.invoice import Invoice, InvoicePayment, PayeeTerms, Payment
from ledger.core.merkle import Frontier
from ledger.core.policy_row import Policy, PolicyVersion
from ledger.core.principal import Agent, AgentCount, Key, Person
from ledger.core.rate import Rate
from ledger.core.redaction import Redaction
from ledger.core.run import Run, RunTotal
from ledger.core.signing_key import SigningKey
from ledger.core.webhook import Webhook

CACHE_ENTRIES: Final = 20_000
AUTHORIZATION_ENTRIES: Final = 4_000
COUNTER_ENTRIES: Final = 20_000
BODY_ENTRIES: Final = 2_000
"""Bodies are the largest facts, and few commands look at any."""
NEVER: Final = 2**63 - 1
QUARTER_HOUR: Final = 900 * 1_000_000
K = TypeVar("K")
V = TypeVar("V")


class Known(Generic[K, V]):
    """A bounded map from keys to facts: two generations, of which the older is dropped when the younger is full.

    ``trim`` is the only thing that forgets, and runs between batches; so what a batch has read stays while it is
    decided. Holds at most about twice ``entries`` facts after a trim.
    """

    __slots__ = ("_entries", "_old", "_young")

    def __init__(self, entries: int = CACHE_ENTRIES) -> None:
        self._entries = entries
        self._young: dict[K, V | None] = {}
        self._old: dict[K, V | None] = {}

    def __contains__(self, key: K) -> bool:
        if key in self._young:
            return True
        if key in self._old:
            self._young[key] = self._old.pop(key)
            return True
        return False

    def __getitem__(self, key: K) -> V | None:
        try:
            return self._young[key]
        except KeyError:
            if key in self:
                return self._young[key]
            raise LookupError(f"a fact was decided on before it was read: {key!r}") from None

    def put(self, key: K, value: V | None) -> None:
        """Know ``value`` (None: it is not there) under ``key``."""
        self._old.pop(key, None)
        self._young[key] = value

    def trim(self) -> bool:
        """Forget the older half once the younger half is full; whether that happened."""
        if len(self._young) <= self._entries:
            return False
        self._old, self._young = self._young, {}
        return True

    def clear(self) -> None:
        """Forget everything."""
        self._young, self._old = {}, {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)


class PriorAnswer(NamedTuple):
    """What an idempotency key was answered with: the digest of the request and the record, whose body is empty where it
    has been archived."""

    request_digest: bytes
    log_index: int
    body: bytes
    leaf_hash: bytes


@dataclass(slots=True)
class Snapshot:
    """What is known of one book at ``head.size``.

    ``idempotency`` is keyed by (principal, key) and read anew for each batch. ``aliases`` maps an id to the name of
    the agent, budget or run that bears it. ``due`` are open holds whose time has come, oldest first, as far as they
    were read; ``due_complete`` says that there are no more; ``next_due_at`` is a time before which none is due.
    ``ready`` remembers kinds of requests whose every fact was found known, until a setting changes or facts are
    forgotten: it spares the walk, and nothing is ever decided from it.
    ``standings`` likewise remembers where agents stand before budgets (``working.Standing``), which changes only
    with a setting; ``plans`` the policies on the path of an agent and a budget (``planning.Plan``), ``compiled``
    each version of a policy in the form that decides. ``bindings`` maps (scope kind, name) to the live policies
    bound there; ``signing_keys`` an algorithm to every key of it; ``approvals_of`` an authorization,
    ``delegations_to`` a person, to ids; ``votes`` an approval to its votes; ``due_renewals`` are budgets whose
    renewal has come, read as ``due`` is, once no hold is due; ``open_children`` maps a budget to the open ones
    right below it, read anew for each batch; ``periods_of`` a unit in which
    periods close to those on record. Read anew too are ``invoice_numbers``, (payee, number) to the ids of invoices, and
    ``open_invoices``, (payee, currency) to those that can be paid; ``paid_invoices`` maps a payment to what it paid.
    ``moment`` is when it is decided on, as far as facts hang on the day.
    """

    book: Book
    head: Head
    frontier: Frontier
    text_secret: bytes
    keys: Known[bytes, Key] = field(default_factory=Known)
    keys_by_id: Known[str, Key] = field(default_factory=Known)
    agents: Known[str, Agent] = field(default_factory=Known)
    persons: Known[str, Person] = field(default_factory=Known)
    agent_budgets: Known[str, tuple[str, ...]] = field(default_factory=Known)
    budgets: Known[str, Budget] = field(default_factory=Known)
    aliases: Known[str, str] = field(default_factory=Known)
    accounts: Known[tuple[str, str], Account] = field(default_factory=Known)
    authorizations: Known[str, Authorization] = field(default_factory=lambda: Known(AUTHORIZATION_ENTRIES))
    runs: Known[str, Run] = field(default_factory=Known)
    run_totals: Known[tuple[str, str], RunTotal] = field(default_factory=Known)
    units: Known[str, Unit] = field(default_factory=Known)
    names: Known[tuple[str, str], Name] = field(default_factory=Known)
    webhooks: Known[str, Webhook] = field(default_factory=Known)
    signing_keys: Known[str, tuple[SigningKey, ...]] = field(default_factory=Known)
    policies: Known[str, Policy] = field(default_factory=Known)
    policy_versions: Known[tuple[str, int], PolicyVersion] = field(default_factory=Known)
    bindings: Known[tuple[str, str], tuple[Policy, ...]] = field(default_factory=Known)
    counters: Known[tuple[int, str], Counter] = field(default_factory=lambda: Known(COUNTER_ENTRIES))
    agent_counts: Known[str, AgentCount] = field(default_factory=Known)
    approvals: Known[str, Approval] = field(default_factory=Known)
    approvals_of: Known[str, tuple[str, ...]] = field(default_factory=Known)
    votes: Known[str, tuple[Vote, ...]] = field(default_factory=Known)
    delegations: Known[str, Delegation] = field(default_factory=Known)
    delegations_to: Known[str, tuple[str, ...]] = field(default_factory=Known)
    renewals: Known[str, Renewal] = field(default_factory=Known)
    open_children: Known[str, tuple[str, ...]] = field(default_factory=Known)
    bodies: Known[int, bytes] = field(default_factory=lambda: Known(BODY_ENTRIES))
    redactions: Known[tuple[int, str], Redaction] = field(default_factory=Known)
    rates: Known[tuple[str, int], Rate] = field(default_factory=Known)
    texts: Known[tuple[int, str], bool] = field(default_factory=Known)
    corrections: Known[str, Correction] = field(default_factory=Known)
    correction_rules: Known[str, CorrectionRule] = field(default_factory=Known)
    correction_sums: Known[tuple[str, str], CorrectionSum] = field(default_factory=Known)
    reversals: Known[int, Reversal] = field(default_factory=Known)
    periods: Known[str, Month] = field(default_factory=Known)
    periods_of: Known[str, tuple[str, ...]] = field(default_factory=Known)
    explanations: Known[str, Explanation] = field(default_factory=Known)
    invoices: Known[str, Invoice] = field(default_factory=Known)
    invoice_numbers: Known[tuple[str, str], tuple[str, ...]] = field(default_factory=Known)
    open_invoices: Known[tuple[str, str], tuple[str, ...]] = field(default_factory=Known)
    payments: Known[str, Payment] = field(default_factory=Known)
    paid_invoices: Known[str, tuple[InvoicePayment, ...]] = field(default_factory=Known)
    payee_terms: Known[str, PayeeTerms] = field(default_factory=Known)
    idempotency: Known[tuple[str, str], PriorAnswer] = field(default_factory=Known)
    moment: int = 0
    due_renewals: list[str] = field(default_factory=list)
    renewals_complete: bool = False
    next_renewal_at: int = 0
    due: list[str] = field(default_factory=list)
    due_complete: bool = False
    next_due_at: int = 0
    ready: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    standings: dict[tuple[str, str | None], Any] = field(default_factory=dict)
    plans: dict[tuple[str | None, str | None], Any] = field(default_factory=dict)
    compiled: dict[tuple[str, int], Any] = field(default_factory=dict)

    def is_stale(self, now: int) -> bool:
        """Whether facts that hang on the day, which are rates and nothing else, may be those of another day than that
        of ``now``: days begin at quarters of an hour, in every time zone."""
        return len(self.rates) > 0 and now // QUARTER_HOUR != self.moment // QUARTER_HOUR

    def known(self) -> tuple[Known[Any, Any], ...]:
        """Every map of facts, for trimming and forgetting."""
        return (
            self.keys, self.keys_by_id, self.agents, self.persons, self.agent_budgets, self.budgets, self.aliases,
            self.accounts, self.authorizations, self.runs, self.run_totals, self.units, self.names, self.policies,
            self.policy_versions, self.bindings, self.counters, self.agent_counts, self.approvals, self.approvals_of,
            self.votes, self.delegations, self.delegations_to, self.renewals, self.open_children, self.bodies,
            self.idempotency, self.webhooks, self.signing_keys, self.redactions, self.texts, self.corrections,
            self.correction_rules, self.correction_sums, self.reversals,
            self.periods, self.periods_of, self.explanations, self.invoices, self.invoice_numbers,
            self.open_invoices, self.payments, self.paid_invoices, self.payee_terms, self.rates,
        )  # fmt: skip
