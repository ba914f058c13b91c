"""The overlay over a snapshot while a batch is decided: what the batch has made or changed, else what was known.

Owns reading. Invariants: the snapshot is never changed; what is to be changed is copied here first, so that a batch
that is thrown away leaves no trace.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from ledger.core import changeset as tables
from ledger.core.account import Account
from ledger.core.affording import cap_of
from ledger.core.authorization import Authorization
from ledger.core.budget import Budget
from ledger.core.changeset import copy_of
from ledger.core.counter import Counter, Frame, Sums
from ledger.core.ids import is_id_of
from ledger.core.invoice import cost_account
from ledger.core.line import Waits
from ledger.core.moment import moment_text
from ledger.core.money import currency_digits, format_atoms
from ledger.core.outcome import Status
from ledger.core.planning import CounterKey, Plan, make_plan, scopes_of, subject_of
from ledger.core.policy import Meter
from ledger.core.principal import Agent, Key, lineage
from ledger.core.refusal import refuse
from ledger.core.rules import RunCap
from ledger.core.run import RunTotal
from ledger.core.snapshot import Snapshot
from ledger.core.uses import Uses, change_of, uses_of
from ledger.core.webhook import Webhook

ROW_KINDS: Final = (
    "budgets", "agent_counts", "policies", "counters", "approvals", "delegations", "renewals", "corrections",
    "correction_rules", "correction_sums", "periods", "explanations", "invoices", "payments", "payee_terms",
    "rates",
)  # fmt: skip
"""Maps of ``Snapshot`` whose rows a batch changes or adds through ``change`` and ``add``."""
SETTING_KINDS: Final = frozenset(("budgets", "policies"))
"""Those on which standings and the policies of a path depend."""
_UNSETTING_KINDS: Final = frozenset(
    (
        "names",
        "approvals_of",
        "votes",
        "delegations_to",
        "persons",
        "signing_keys",
        "redactions",
        "reversals",
        "periods_of",
        "paid_invoices",
    )
)


_ONE: Final = (0, 0, 1)


class Standing(NamedTuple):
    """Where an agent stands before a budget: what changes only with a setting, and so is found once."""

    budget: Budget
    permitted: bool
    frozen_by: str | None
    available: str
    held: str
    spent: str
    budget_frozen_by: str | None
    plan: Plan


class Overlay:
    """What a batch reads and changes. ``now`` is its time in microseconds, never before the book's last record."""

    __slots__ = (
        "account_count",
        "accounts",
        "agents",
        "authorizations",
        "book_id",
        "book_name",
        "deletes",
        "frontier",
        "frozen",
        "index",
        "inserts",
        "keys",
        "made",
        "now",
        "now_text",
        "plans",
        "policies_changed",
        "rows",
        "run_totals",
        "settings_changed",
        "snapshot",
        "standings",
        "waits",
        "webhooks",
    )

    def __init__(self, snapshot: Snapshot, now: int) -> None:
        self.snapshot = snapshot
        self.book_id = snapshot.book.book_id
        self.book_name = snapshot.book.name
        self.now = max(now, snapshot.head.recorded_at)
        self.now_text = moment_text(self.now)
        self.index = snapshot.head.size
        self.account_count = snapshot.head.account_count
        self.frontier = snapshot.frontier.copy()
        self.inserts: dict[str, list[tuple[Any, ...]]] = {spec.name: [] for spec in tables.TABLES}
        self.deletes: dict[str, list[tuple[Any, ...]]] = {spec.name: [] for spec in tables.DELETABLE}
        self.accounts: dict[tuple[str, str], Account] = {}
        self.authorizations: dict[str, Authorization] = {}
        self.run_totals: dict[tuple[str, str], RunTotal] = {}
        self.agents: dict[str, Agent] = {}
        self.keys: dict[bytes, Key] = {}
        self.webhooks: dict[str, Webhook] = {}
        self.made: dict[str, dict[Any, Any]] = {}
        self.standings: dict[tuple[str, str | None], Standing] = {}
        self.rows: dict[str, dict[Any, Any]] = {kind: {} for kind in ROW_KINDS}
        self.plans: dict[tuple[str | None, str | None], Any] = {}
        self.waits = Waits()
        self.settings_changed = False
        self.policies_changed = False
        self.frozen = bool(snapshot.head.frozen)

    def fact(self, kind: str, key: Any) -> Any:
        """What the batch made, else what the snapshot knows, of ``kind`` (a map of ``Snapshot``) under ``key``."""
        made = self.made.get(kind)
        if made is not None and key in made:
            return made[key]
        rows = self.rows.get(kind)
        if rows and key in rows:
            return rows[key]
        return getattr(self.snapshot, kind)[key]

    def make(self, kind: str, key: Any, value: Any) -> None:
        """Know a new fact from here on; ``kind`` is a map of ``Snapshot``."""
        self.made.setdefault(kind, {})[key] = value
        if kind not in _UNSETTING_KINDS:
            self.change_settings()
        if kind == "bindings":
            self.policies_changed = True
            self.plans.clear()

    def change(self, kind: str, key: Any) -> Any:
        """The batch's own copy of a row of ``kind`` (one of ``ROW_KINDS``) that exists, to be changed."""
        rows = self.rows[kind]
        found = rows.get(key)
        if found is None:
            known = getattr(self.snapshot, kind)[key]
            if known is None:
                raise LookupError(f"{kind} {key} vanished from the facts")
            found = rows[key] = copy_of(known)
        if kind in SETTING_KINDS:
            self.change_settings()
        return found

    def add(self, kind: str, key: Any, row: Any) -> None:
        """A new row of ``kind`` (one of ``ROW_KINDS``)."""
        self.rows[kind][key] = row
        if kind in SETTING_KINDS:
            self.change_settings()

    def change_settings(self) -> None:
        """Forget what was found out about standings, because it may be otherwise from here on."""
        self.settings_changed = True
        self.standings.clear()

    def name_of(self, kind: str, reference: str) -> str | None:
        """The name behind a name or id of an agent, budget or run, or None when there is no such thing."""
        if is_id_of(kind, reference):
            name = self.fact("aliases", reference)
            if name is None:
                return None
            reference = name
        return reference if self.fact(kind, reference) is not None else None

    def agent(self, name: str) -> Agent:
        """An agent or team that exists."""
        found = self.agents.get(name) or self.fact("agents", name)
        if found is None:
            raise LookupError(f"agent {name} vanished from the facts")
        return found

    def frozen_by(self, name: str) -> str | None:
        """The agent itself, or the nearest one above it, that is frozen."""
        agent = self.agent(name)
        if agent.frozen:
            return name
        for ancestor in reversed(lineage(agent.path)):
            if self.agent(ancestor).frozen:
                return ancestor
        return None

    def budget_frozen_by(self, name: str) -> str | None:
        """The budget itself, or the nearest one above it, that is frozen."""
        budget = self.fact("budgets", name)
        for one in (name, *reversed(lineage(budget.path))):
            if self.fact("budgets", one).frozen:
                return str(one)
        return None

    def plan(self, agent: str | None, budget: str | None) -> Plan:
        """The policies on the path of an agent and a budget, either of which may be absent."""
        sort = (agent, budget)
        found: Plan | None = self.plans.get(sort)
        if found is None and not self.policies_changed:
            found = self.snapshot.plans.get(sort)
        if found is None:
            agents = [*lineage(self.agent(agent).path), agent] if agent is not None else []
            budgets = [*lineage(self.fact("budgets", budget).path), budget] if budget is not None else []
            compiled = {} if self.policies_changed else dict(self.snapshot.compiled)
            found = self.plans[sort] = make_plan(
                agent,
                scopes_of(agents, budgets),
                partial(self.fact, "bindings"),
                compiled,
                timezone=self.snapshot.book.timezone,
            )
        return found

    def counter(self, key: CounterKey) -> Counter | None:
        """A counter as it stands in this batch, or None where nothing was counted; not to be changed."""
        found = self.rows["counters"].get(key)
        if found is None:
            found = self.snapshot.counters[key]
        return found

    def count(self, counted: Sequence[tuple[Meter, CounterKey]], changes: Sequence[tuple[int, Sums]]) -> None:
        """Count changes of use, and of the number of authorizations, in every meter that has them in its window. The
        record that explains them is the one that is written next."""
        now, rows = self.now, self.rows["counters"]
        for meter, key in counted:
            frame = meter.frame(now)
            if meter.currency is None:
                inside = [(at, (0, 0, change[2])) for at, change in changes if change[2] and frame.has(at)]
            else:
                inside = [(at, change) for at, change in changes if frame.has(at)]
            if not inside:
                continue
            counter = rows.get(key)
            if counter is None:
                counter = self._own_counter(key, frame)
            for at, change in inside:
                counter.add(frame, at, change)
            counter.changed_index = self.index

    def count_hold(self, counted: Sequence[tuple[Meter, CounterKey]], atoms: int) -> None:
        """Count a new authorization that holds ``atoms``, at the time of the batch."""
        now, index, rows, change = self.now, self.index, self.rows["counters"], (0, atoms, 1)
        for meter, key in counted:
            counter = rows.get(key)
            frame = meter.frame(now)
            if counter is None:
                counter = self._own_counter(key, frame)
            counter.add_now(frame, now, change if meter.currency is not None else _ONE)
            counter.changed_index = index

    def _own_counter(self, key: CounterKey, frame: Frame) -> Counter:
        """The batch's own copy of a counter, rolled to the batch's time."""
        known = self.snapshot.counters[key]
        if known is None:
            counter = Counter(self.book_id, *key, frame.starts_at, 0, 0, 0, "[]" if frame.width else None, 0)
        else:
            counter = known.copy()
            counter.roll(frame)
        self.rows["counters"][key] = counter
        return counter

    def recount(self, row: Authorization, before: Uses) -> None:
        """Count what changed of an authorization's use; ``before`` is ``uses_of`` the row as it was."""
        after = uses_of(row)
        if before != after:
            plan = self.plan(row.agent, row.budget)
            if plan.policies:
                self.count(plan.applied(subject_of(row)).counted, change_of(before, after))

    def authorization(self, reference: str) -> Authorization | None:
        """An authorization as it stands in this batch; to be changed only through ``change_authorization``."""
        return self.authorizations.get(reference) or self.snapshot.authorizations[reference]

    def change_authorization(self, reference: str) -> Authorization:
        """The batch's own copy of an authorization that exists, to be changed. Its ``changed_index`` stays the index
        of its last record until the next one is written."""
        found = self.authorizations.get(reference)
        if found is None:
            found = copy_of(self.snapshot.authorizations[reference])
            self.authorizations[reference] = found
        return found

    def balance(self, name: str, currency: str) -> int:
        """Debits less credits of an account, 0 where it does not exist yet."""
        found = self.accounts.get((name, currency)) or self.snapshot.accounts[name, currency]
        return 0 if found is None else found.balance

    def cost_account(self, payee: str, since: int) -> str:
        """The account that cost with a payee is credited to, of an authorization or charge of log index ``since``."""
        return cost_account(self.fact("payee_terms", payee), payee, since)

    def run_total(self, run: str | None, currency: str, since: int) -> RunTotal | None:
        """The total that an authorization of log index ``since`` counts towards, as a copy to be changed; None when
        the run was not open then."""
        if run is None:
            return None
        opened = self.fact("runs", run)
        if opened is None or opened.created_index >= since:
            return None
        total = self.run_totals.get((run, currency))
        if total is None:
            known = self.snapshot.run_totals[run, currency] if run not in self.made.get("runs", ()) else None
            total = copy_of(known) if known is not None else RunTotal(self.book_id, run, currency, 0, 0, 0, 0, 0)
            self.run_totals[run, currency] = total
        total.changed_index = self.index
        return total

    def run_cap(self, run: str | None, currency: str, since: int, *, own_hold: int = 0) -> RunCap | None:
        """The cap that an authorization of log index ``since`` counts towards, with what the run holds and has spent;
        None where there is none. ``own_hold`` is what the hold that is extended holds, in atoms."""
        opened = self.fact("runs", run) if run is not None else None
        if opened is None or opened.cap is None:
            return None
        total = self.run_totals.get((opened.name, currency))
        if total is None and opened.name not in self.made.get("runs", ()):
            total = self.snapshot.run_totals[opened.name, currency]
        return cap_of(opened, total, currency=currency, since=since, own_hold=own_hold)

    def standing(self, sort: tuple[str, str | None]) -> Standing | None:
        """Where an agent stands before a budget, as found before; forgotten once this batch changes a setting."""
        found = self.standings.get(sort)
        if found is not None or self.settings_changed:
            return found
        return self.snapshot.standings.get(sort)

    def keep_standing(self, sort: tuple[str, str | None], standing: Standing) -> None:
        """Keep what ``standing`` gives back."""
        self.standings[sort] = standing

    def digits(self, currency: str) -> int:
        """Digits after the point of a currency or unit; refuses an unknown one."""
        digits = currency_digits(currency)
        if digits is None:
            unit = self.fact("units", currency)
            if unit is None:
                refuse(Status.UNKNOWN_CURRENCY, f"{currency} is neither an ISO 4217 currency nor a unit of this book")
            return int(unit.digits)
        return digits

    def amount_text(self, atoms: int, currency: str) -> str:
        """Atoms as a person reads them: ``12.50 USD``."""
        return f"{format_atoms(atoms, self.digits(currency))} {currency}"
