"""How what a batch still lacks is found: one thing leads to the next.

Owns ``Seeker``. Invariant: what hangs on a fact is sought once that fact is known, so that a few rounds of reading find
everything.
"""

from collections.abc import Iterable
from typing import Any

from ledger.core import account, command
from ledger.core.authorization import PENDING, Authorization
from ledger.core.book import CATEGORY, PAYEE
from ledger.core.budget import Budget
from ledger.core.canonical import parse
from ledger.core.closing import MONTH
from ledger.core.correction import OPERATIONS
from ledger.core.exchange import EXCHANGE_NAME, asked_side
from ledger.core.filling import TAIL_MAX, changed_since
from ledger.core.fingerprint import fingerprints_of
from ledger.core.ids import is_id_of
from ledger.core.invoice import prepaid_name
from ledger.core.money import currency_digits
from ledger.core.needs import Needs
from ledger.core.planning import CounterKey, Plan, make_plan, scopes_of, subject_of
from ledger.core.policy import Meter, Subject
from ledger.core.policy_row import SCOPE_AGENT, SCOPE_BUDGET
from ledger.core.principal import Agent, lineage
from ledger.core.seats import person_name
from ledger.core.snapshot import Known, PriorAnswer, Snapshot


class Seeker:
    """Walks one batch over a snapshot and notes what is absent. Facts that hang on an absent fact are found missing
    in the next round, once it has been read. What an earlier command of the batch may change is noted, so that a later
    one finds its facts either way: ``turning`` are payees whose terms are set, ``rates_given`` says that rates are."""

    __slots__ = ("needs", "placed", "rates_given", "snapshot", "turning")

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.placed: tuple[Plan, str | None, str] | None = None
        self.needs = Needs()
        self.turning: set[str] = set()
        self.rates_given = False

    def periods(self) -> None:
        """Seek the months on record: for whatever counts for another moment than the one it is recorded at."""
        snapshot = self.snapshot
        if MONTH not in snapshot.periods_of or any(
            name not in snapshot.periods for name in snapshot.periods_of[MONTH] or ()
        ):
            self.needs.periods_of.add(MONTH)

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
        """A repeated authorization is answered by the state its hold is in now, and so is a repeated correction that a
        second person was asked for."""
        if isinstance(asked, command.Authorize) and prior.body:
            subject = parse(prior.body).get("authorization")
            if subject is not None:
                self.authorization(subject)
        elif asked.operation in OPERATIONS and prior.body:
            body = parse(prior.body)
            if body["kind"] == "correction_requested" and body["correction"] not in self.snapshot.corrections:
                self.needs.corrections.add(body["correction"])

    def alone(self, asked: command.Command, currency: str) -> None:
        """How much whoever asks may correct alone in a currency, and has today."""
        person = self.person(asked)
        if currency not in self.snapshot.correction_rules:
            self.needs.correction_rules.add(currency)
        if person is not None and (person, currency) not in self.snapshot.correction_sums:
            self.needs.correction_sums.add((person, currency))

    def body(self, index: int) -> dict[str, Any] | None:
        """The body of an earlier record, once it is known and is there."""
        if not 0 <= index < self.snapshot.head.size:
            return None
        if index not in self.snapshot.bodies:
            self.needs.bodies.add(index)
            return None
        packed = self.snapshot.bodies[index]
        return None if packed is None else parse(packed)

    def key_run(self, asked: command.Command) -> str | None:
        """The only run that the key of a command is for, once the key is known."""
        digest = asked.caller.key_digest
        key = self.snapshot.keys[digest] if digest is not None and digest in self.snapshot.keys else None
        return key.run if key is not None else None

    def person(self, asked: command.Command) -> str | None:
        """The person behind a command, once its key is known."""
        digest = asked.caller.key_digest
        key = self.snapshot.keys[digest] if digest is not None and digest in self.snapshot.keys else None
        return person_name(key.principal) if key is not None else None

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
            self.binding(SCOPE_AGENT, holder)
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
            self.binding(SCOPE_BUDGET, found.name)
            for ancestor in lineage(found.path):
                self.binding(SCOPE_BUDGET, ancestor)
                if ancestor not in self.snapshot.budgets:
                    self.needs.budget_refs.add(ancestor)
        return found

    def binding(self, kind: str, name: str) -> None:
        """The policies that are bound to a scope."""
        if (kind, name) not in self.snapshot.bindings:
            self.needs.bindings.add((kind, name))

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
            if payee not in self.snapshot.payee_terms:
                self.needs.payee_terms.add(payee)
            elif payee in self.turning or self.snapshot.payee_terms[payee] is not None:
                self.account(prepaid_name(payee), currency)

    def spending_of(self, found: Authorization, category: str | None, payee: str | None) -> None:
        """The names and real accounts that spend of an authorization posts to, also where it is converted."""
        self.spending(category, payee, found.currency)
        if found.exchange is not None:
            currency = asked_side(found).currency
            self.spending(None, payee, currency)
            self.exchange(found.currency, currency)

    def exchange(self, *currencies: str) -> None:
        """The account of exchange in each of several currencies."""
        for currency in currencies:
            self.account(EXCHANGE_NAME, currency)

    def only_budget(self, agent: Agent | None) -> Budget | None:
        """The budget of an agent that has, itself or through those above it, just one."""
        if agent is None:
            return None
        usable: set[str] = set()
        for holder in (agent.name, *lineage(agent.path)):
            if holder not in self.snapshot.agent_budgets:
                return None
            usable.update(self.snapshot.agent_budgets[holder] or ())
        if len(usable) > 1:
            # One that is closed is no choice beside others; whether it is is known once it has been read.
            known = self.snapshot.budgets
            usable -= {one for one in usable if one in known and (row := known[one]) and row.closed_at is not None}
        return self.budget(usable.pop()) if len(usable) == 1 else None

    def run(self, reference: str | None, currency: str | None) -> str | None:
        """A run by name or id, with its total in ``currency``; returns its name, or what stands for one."""
        if reference is None:
            return None
        name = self._resolve("runs", reference, self.needs.run_refs)
        if name is None or self.snapshot.runs[name] is None:
            return reference
        self.agent(self.snapshot.runs[name].agent)  # type: ignore[union-attr]
        if currency is not None and (name, currency) not in self.snapshot.run_totals:
            self.needs.run_totals.add((name, currency))
        return name

    def plan(self, agent: Agent | None, budget: Budget | None) -> Plan | None:
        """The policies on the path of an agent and a budget that are known, once all that are bound there are."""
        snapshot = self.snapshot
        sort = (agent.name if agent is not None else None, budget.name if budget is not None else None)
        found: Plan | None = snapshot.plans.get(sort)
        if found is not None:
            return found
        scopes = scopes_of(
            [*lineage(agent.path), agent.name] if agent is not None else [],
            [*lineage(budget.path), budget.name] if budget is not None else [],
        )
        if not all(scope in snapshot.bindings for scope in scopes):
            return None
        found = snapshot.plans[sort] = make_plan(
            sort[0], scopes, snapshot.bindings.__getitem__, snapshot.compiled, timezone=snapshot.book.timezone
        )
        return found

    def policy(self, name: str) -> None:
        """A policy with what is bound beside it."""
        if name not in self.snapshot.policies:
            self.needs.policies.add(name)
            return
        found = self.snapshot.policies[name]
        if found is not None:
            self.binding(found.scope_kind, found.scope)

    def tail(self, size: int) -> None:
        """The records behind ``size``, few as they must be, with what they changed as it stood before them."""
        behind = range(size, self.snapshot.head.size)
        if len(behind) > TAIL_MAX:
            return
        absent = [index for index in behind if index not in self.snapshot.bodies]
        if absent:
            self.needs.bodies.update(absent)
            return
        previous, _ = changed_since(body for body in map(self.snapshot.bodies.__getitem__, behind) if body is not None)
        for reference, before in previous.items():
            self.authorization(reference)
            if before is not None and before not in self.snapshot.bodies:
                self.needs.bodies.add(before)

    def counters(self, counted: Iterable[tuple[Meter, CounterKey]]) -> None:
        """The counters of meters."""
        known = self.snapshot.counters
        for _, key in counted:
            if key not in known:
                self.needs.counters.add(key)

    def spend(
        self, plan: Plan, asked: command.Authorize, run: str | None, budget: str, currency: str | None = None
    ) -> None:
        """The counters that a request to spend is judged by and counts in, in the ``currency`` that it is converted
        to."""
        if not plan.policies:
            return
        subject = Subject(
            plan.agent,
            budget,
            run,
            asked.category,
            asked.payee,
            asked.resource,
            currency or asked.currency,
            asked.labels,
        )
        applied = plan.applied(subject)
        known = self.snapshot.counters
        for key in applied.keys:
            if key not in known:
                self.needs.counters.add(key)
        if plan.loops:
            for _, _, _, key in plan.loop_keys(fingerprints_of(self.snapshot.text_secret, asked)):
                if key not in self.snapshot.counters:
                    self.needs.counters.add(key)

    def authorization(self, reference: str) -> Authorization | None:
        """An authorization or charge with everything that ending it touches."""
        if reference not in self.snapshot.authorizations:
            self.needs.authorizations.add(reference)
            return None
        found = self.snapshot.authorizations[reference]
        if found is not None:
            agent = self.agent(found.agent)
            budget = self.budget(found.budget)
            self.run(found.run, found.currency)
            if budget is not None and (agent is not None or found.agent is None):
                plan = self.plan(agent, budget)
                if plan is not None and plan.policies:
                    # What an extension is judged by is more than what it counts in: a limit in another currency.
                    for key in plan.applied(subject_of(found)).keys:
                        if key not in self.snapshot.counters:
                            self.needs.counters.add(key)
            if found.agent is not None and found.agent not in self.snapshot.agent_counts:
                self.needs.agent_counts.add(found.agent)
            if found.state == PENDING:
                self.approvals_of(found.id)
            self.spending_of(found, found.settled_category or found.category, found.settled_payee or found.payee)
            if found.splits is not None:
                for split in parse(found.splits.encode()):
                    self.spending_of(found, split[0], split[1])
        return found

    def approvals_of(self, reference: str) -> None:
        """The approvals of an authorization."""
        if reference not in self.snapshot.approvals_of:
            self.needs.approvals_of.add(reference)
            return
        for approval in self.snapshot.approvals_of[reference] or ():
            if approval not in self.snapshot.approvals:
                self.needs.approvals.add(approval)

    def approval(self, reference: str) -> None:
        """An approval with its votes, its authorization, and the other approvals of that."""
        if reference not in self.snapshot.approvals:
            self.needs.approvals.add(reference)
            return
        found = self.snapshot.approvals[reference]
        if found is not None:
            if reference not in self.snapshot.votes:
                self.needs.votes.add(reference)
            self.authorization(found.authorization_id)
            self.approvals_of(found.authorization_id)

    def delegations_to(self, person: str) -> None:
        """The delegations to a person."""
        if person not in self.snapshot.delegations_to:
            self.needs.delegations_to.add(person)
            return
        for delegation in self.snapshot.delegations_to[person] or ():
            if delegation not in self.snapshot.delegations:
                self.needs.delegations.add(delegation)
