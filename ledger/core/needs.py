"""Which facts a batch still lacks before it can be decided.

Owns ``missing``: it walks the commands over a snapshot and names what must be read. Invariant: a decision on a
snapshot for which nothing is missing never meets a fact that was not looked for.
"""

from collections.abc import Iterable
from typing import Any, Final

from ledger.core import account, command
from ledger.core.authorization import Authorization
from ledger.core.book import CATEGORY, PAYEE
from ledger.core.budget import Budget
from ledger.core.canonical import parse
from ledger.core.ids import is_id_of
from ledger.core.money import currency_digits
from ledger.core.principal import Agent, agent_name, lineage
from ledger.core.snapshot import Known, PriorAnswer, Snapshot


class Needs:
    """Facts to be read: one set per kind, of the keys that ``Snapshot``'s maps use. ``agent_refs``, ``budget_refs``
    and ``run_refs`` are names or ids."""

    __slots__ = (
        "accounts", "agent_budgets", "agent_refs", "authorizations", "budget_refs", "idempotency", "key_ids", "keys",
        "names", "persons", "run_refs", "run_totals", "units",
    )  # fmt: skip

    def __init__(self) -> None:
        self.keys: set[bytes] = set()
        self.key_ids: set[str] = set()
        self.agent_refs: set[str] = set()
        self.persons: set[str] = set()
        self.agent_budgets: set[str] = set()
        self.budget_refs: set[str] = set()
        self.accounts: set[tuple[str, str]] = set()
        self.authorizations: set[str] = set()
        self.run_refs: set[str] = set()
        self.run_totals: set[tuple[str, str]] = set()
        self.units: set[str] = set()
        self.names: set[tuple[str, str]] = set()
        self.idempotency: set[tuple[str, str]] = set()

    def __bool__(self) -> bool:
        return any(getattr(self, kind) for kind in Needs.__slots__)

    def only_idempotency(self) -> bool:
        """Whether nothing but idempotency keys is to be read."""
        return not any(getattr(self, kind) for kind in Needs.__slots__ if kind != "idempotency")

    def count(self) -> int:
        """How many facts are to be read."""
        return sum(len(getattr(self, kind)) for kind in Needs.__slots__)


class _Seeker:
    """Walks one batch over a snapshot and notes what is absent. Facts that hang on an absent fact are found missing
    in the next round, once it has been read."""

    __slots__ = ("needs", "snapshot")

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.needs = Needs()

    def principal(self, asked: command.Command) -> str | None:
        """The principal behind a command, once its key is known; also seeks its idempotency key."""
        digest = asked.caller.key_digest
        snapshot = self.snapshot
        if digest is None:
            return None
        if digest not in snapshot.keys:
            self.needs.keys.add(digest)
            return None
        key = snapshot.keys[digest]
        if key is None:
            return None
        if asked.idempotency_key:
            pair = (key.principal, asked.idempotency_key)
            if pair not in snapshot.idempotency:
                self.needs.idempotency.add(pair)
            else:
                prior = snapshot.idempotency[pair]
                if prior is not None:
                    self._prior_subject(asked, prior)
        return key.principal

    def _prior_subject(self, asked: command.Command, prior: PriorAnswer) -> None:
        """A repeated authorization is answered by the state its hold is in now."""
        if isinstance(asked, command.Authorize):
            subject = parse(prior.body).get("authorization")
            if subject is not None:
                self.authorization(subject)

    def agent(self, reference: str | None) -> Agent | None:
        """An agent or team by name or id, with its ancestors and the budgets of all of them."""
        if reference is None:
            return None
        name = self._resolve("agents", reference, self.needs.agent_refs)
        found = self.snapshot.agents[name] if name is not None else None
        if found is None:
            return None
        for ancestor in lineage(found.path):
            if ancestor not in self.snapshot.agents:
                self.needs.agent_refs.add(ancestor)
        for holder in (found.name, *lineage(found.path)):
            if holder not in self.snapshot.agent_budgets:
                self.needs.agent_budgets.add(holder)
            else:
                for budget in self.snapshot.agent_budgets[holder] or ():
                    self.budget(budget)
        return found

    def _resolve(self, kind: str, reference: str, wanted: set[str]) -> str | None:
        known: Known[str, Any] = getattr(self.snapshot, kind)
        if is_id_of(kind, reference):
            if reference not in self.snapshot.aliases:
                wanted.add(reference)
                return None
            name = self.snapshot.aliases[reference]
            if name is None:
                return None
        else:
            name = reference
        if name not in known:
            wanted.add(name)
            return None
        return name

    def budget(self, reference: str | None) -> Budget | None:
        """A budget by name or id, with its three accounts."""
        if reference is None:
            return None
        name = self._resolve("budgets", reference, self.needs.budget_refs)
        found = self.snapshot.budgets[name] if name is not None else None
        if found is not None:
            for account_name in (
                account.available_name(found.name),
                account.held_name(found.name),
                account.spent_name(found.name),
            ):
                self.account(account_name, found.currency)
        return found

    def account(self, name: str, currency: str) -> None:
        """An account by name and currency."""
        if (name, currency) not in self.snapshot.accounts:
            self.needs.accounts.add((name, currency))

    def money(self, currency: str) -> None:
        """The unit behind a code that is no currency."""
        if currency_digits(currency) is None and currency not in self.snapshot.units:
            self.needs.units.add(currency)

    def spending(self, category: str | None, payee: str | None, currency: str) -> None:
        """The names and real accounts that a settlement posts to."""
        for kind, name in ((CATEGORY, category), (PAYEE, payee)):
            if name is not None and (kind, name) not in self.snapshot.names:
                self.needs.names.add((kind, name))
        if category is not None:
            self.account(account.expense_name(category), currency)
        if payee is not None:
            self.account(account.payable_name(payee), currency)

    def run(self, reference: str | None, currency: str | None) -> None:
        """A run by name or id, with its total in ``currency``."""
        if reference is None:
            return
        name = self._resolve("runs", reference, self.needs.run_refs)
        if name is None or self.snapshot.runs[name] is None:
            return
        self.agent(self.snapshot.runs[name].agent)  # type: ignore[union-attr]
        if currency is not None and (name, currency) not in self.snapshot.run_totals:
            self.needs.run_totals.add((name, currency))

    def authorization(self, reference: str) -> Authorization | None:
        """An authorization or charge with everything that ending it touches."""
        if reference not in self.snapshot.authorizations:
            self.needs.authorizations.add(reference)
            return None
        found = self.snapshot.authorizations[reference]
        if found is not None:
            self.agent(found.agent)
            self.budget(found.budget)
            self.run(found.run, found.currency)
            self.spending(found.settled_category or found.category, found.settled_payee or found.payee, found.currency)
            if found.splits is not None:
                for split in parse(found.splits.encode()):
                    self.spending(split[0], split[1], found.currency)
        return found


def missing(snapshot: Snapshot, commands: Iterable[command.Command]) -> Needs:
    """The facts that must still be read before ``commands`` can be decided. Falsy when there are none.

    Called again after each read, at most ``ROUNDS_MAX`` times: a key leads to an agent, an agent to its ancestors and
    budgets, a budget to its accounts.
    """
    seeker = _Seeker(snapshot)
    ready = snapshot.ready
    for due in snapshot.due:
        seeker.authorization(due)
    for asked in commands:
        sort = _sort_of(asked)
        before = 0
        if sort is not None:
            if sort in ready:
                seeker.principal(asked)
                continue
            before = seeker.needs.count()
        principal = seeker.principal(asked)
        known = principal is not None
        own_agent = seeker.agent(agent_name(principal)) if principal is not None else None
        seek = _SEEK.get(type(asked))
        if seek is not None:
            seek(seeker, asked, own_agent)
        if sort is not None and known and seeker.needs.count() - before <= 1 and seeker.needs.only_idempotency():
            ready.add(sort)
    return seeker.needs


def _sort_of(asked: command.Command) -> tuple[Any, ...] | None:
    """What a request to spend refers to: two of the same sort need the same facts, but for their idempotency keys."""
    if type(asked) is command.Authorize:
        return asked.caller.key_digest, asked.budget, asked.run, asked.currency, asked.category, asked.payee
    return None


ROUNDS_MAX: Final = 8


def _seek_authorize(seeker: _Seeker, asked: command.Authorize, own_agent: Agent | None) -> None:
    seeker.money(asked.currency)
    seeker.budget(asked.budget)
    seeker.run(asked.run, asked.currency)
    for kind, name in ((CATEGORY, asked.category), (PAYEE, asked.payee)):
        if (kind, name) not in seeker.snapshot.names:
            seeker.needs.names.add((kind, name))


def _seek_settle(seeker: _Seeker, asked: command.Settle, own_agent: Agent | None) -> None:
    seeker.money(asked.currency)
    found = seeker.authorization(asked.authorization)
    if found is not None:
        seeker.spending(asked.category or found.category, asked.payee or found.payee, found.currency)


def _seek_extend(seeker: _Seeker, asked: command.Extend, own_agent: Agent | None) -> None:
    if asked.currency is not None:
        seeker.money(asked.currency)
    seeker.authorization(asked.authorization)


def _seek_release(seeker: _Seeker, asked: command.Release, own_agent: Agent | None) -> None:
    seeker.authorization(asked.authorization)


def _seek_charge(seeker: _Seeker, asked: command.Charge, own_agent: Agent | None) -> None:
    seeker.money(asked.currency)
    seeker.budget(asked.budget)
    seeker.agent(asked.agent)
    seeker.run(asked.run, asked.currency)
    seeker.spending(asked.category, asked.payee, asked.currency)


def _seek_refund(seeker: _Seeker, asked: command.Refund, own_agent: Agent | None) -> None:
    seeker.money(asked.currency)
    found = seeker.authorization(asked.authorization)
    if found is not None:
        seeker.spending(asked.category, asked.payee, found.currency)


def _seek_adjust(seeker: _Seeker, asked: command.Adjust, own_agent: Agent | None) -> None:
    for transfer in asked.transfers:
        seeker.money(transfer.currency)
        for name in (transfer.debit, transfer.credit):
            classified = account.classify(name)
            if classified is None:
                continue
            seeker.account(name, transfer.currency)
            if classified[1] in (account.ROLE_AVAILABLE, account.ROLE_HELD, account.ROLE_SPENT):
                seeker.budget(name.split(":")[1])
            for prefix, kind in (("expenses:", CATEGORY), ("payables:", PAYEE)):
                rest = name.removeprefix(prefix)
                if rest != name and (kind, rest) not in seeker.snapshot.names:
                    seeker.needs.names.add((kind, rest))


def _seek_allocate(seeker: _Seeker, asked: command.Allocate | command.Deallocate, own_agent: Agent | None) -> None:
    seeker.money(asked.currency)
    seeker.account(account.AUTHORITY_NAME, asked.currency)
    found = seeker.budget(asked.budget)
    if found is not None:
        seeker.budget(found.parent)


def _seek_create_agent(seeker: _Seeker, asked: command.CreateAgent, own_agent: Agent | None) -> None:
    seeker.agent(asked.name)
    seeker.agent(asked.parent)


def _seek_freeze_agent(seeker: _Seeker, asked: command.FreezeAgent, own_agent: Agent | None) -> None:
    seeker.agent(asked.agent)


def _seek_create_key(seeker: _Seeker, asked: command.CreateKey, own_agent: Agent | None) -> None:
    if asked.digest not in seeker.snapshot.keys:
        seeker.needs.keys.add(asked.digest)
    seeker.agent(asked.agent)
    if asked.person is not None and asked.person not in seeker.snapshot.persons:
        seeker.needs.persons.add(asked.person)


def _seek_key_by_id(seeker: _Seeker, asked: command.RotateKey | command.RevokeKey, own_agent: Agent | None) -> None:
    if asked.key not in seeker.snapshot.keys_by_id:
        seeker.needs.key_ids.add(asked.key)


def _seek_create_budget(seeker: _Seeker, asked: command.CreateBudget, own_agent: Agent | None) -> None:
    seeker.money(asked.currency)
    seeker.budget(asked.name)
    seeker.budget(asked.parent)
    for agent in asked.agents:
        seeker.agent(agent)


def _seek_assign_budget(seeker: _Seeker, asked: command.AssignBudget, own_agent: Agent | None) -> None:
    seeker.budget(asked.budget)
    for agent in asked.agents:
        seeker.agent(agent)


def _seek_open_run(seeker: _Seeker, asked: command.OpenRun, own_agent: Agent | None) -> None:
    seeker.run(asked.name, None)
    seeker.agent(asked.agent)


def _seek_define_unit(seeker: _Seeker, asked: command.DefineUnit, own_agent: Agent | None) -> None:
    if asked.name not in seeker.snapshot.units:
        seeker.needs.units.add(asked.name)


def _seek_add_name(seeker: _Seeker, asked: command.AddName, own_agent: Agent | None) -> None:
    if (asked.kind, asked.name) not in seeker.snapshot.names:
        seeker.needs.names.add((asked.kind, asked.name))


_SEEK: Final[dict[type, Any]] = {
    command.Authorize: _seek_authorize,
    command.Settle: _seek_settle,
    command.Extend: _seek_extend,
    command.Release: _seek_release,
    command.Charge: _seek_charge,
    command.Refund: _seek_refund,
    command.Adjust: _seek_adjust,
    command.Allocate: _seek_allocate,
    command.Deallocate: _seek_allocate,
    command.CreateAgent: _seek_create_agent,
    command.FreezeAgent: _seek_freeze_agent,
    command.CreateKey: _seek_create_key,
    command.RotateKey: _seek_key_by_id,
    command.RevokeKey: _seek_key_by_id,
    command.CreateBudget: _seek_create_budget,
    command.AssignBudget: _seek_assign_budget,
    command.OpenRun: _seek_open_run,
    command.DefineUnit: _seek_define_unit,
    command.AddName: _seek_add_name,
}
"""What each command refers to, beside its caller. ``ExpireDue`` refers to nothing."""
