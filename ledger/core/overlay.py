"""The overlay over a snapshot while a batch is decided: what the batch has made or changed, else what was known.

Owns reading. Invariants: the snapshot is never changed; what is to be changed is copied here first, so that a batch
that is thrown away leaves no trace.
"""

from typing import Any, NamedTuple

from ledger.core import changeset as tables
from ledger.core.account import Account
from ledger.core.authorization import Authorization
from ledger.core.budget import Budget
from ledger.core.changeset import copy_of
from ledger.core.ids import is_id_of
from ledger.core.moment import moment_text
from ledger.core.money import currency_digits, format_atoms
from ledger.core.outcome import Status
from ledger.core.principal import Agent, Key, lineage
from ledger.core.refusal import refuse
from ledger.core.run import RunTotal
from ledger.core.snapshot import Snapshot


class Standing(NamedTuple):
    """Where an agent stands before a budget: what changes only with a setting, and so is found once."""

    budget: Budget
    permitted: bool
    frozen_by: str | None
    available: str
    held: str
    spent: str


class Overlay:
    """What a batch reads and changes. ``now`` is its time in microseconds, never before the book's last record."""

    __slots__ = (
        "account_count",
        "accounts",
        "agents",
        "authorizations",
        "book_id",
        "book_name",
        "frontier",
        "index",
        "inserts",
        "keys",
        "made",
        "now",
        "now_text",
        "run_totals",
        "snapshot",
        "standings",
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
        self.accounts: dict[tuple[str, str], Account] = {}
        self.authorizations: dict[str, Authorization] = {}
        self.run_totals: dict[tuple[str, str], RunTotal] = {}
        self.agents: dict[str, Agent] = {}
        self.keys: dict[bytes, Key] = {}
        self.made: dict[str, dict[Any, Any]] = {}
        self.standings: dict[tuple[str, str | None], Standing] = {}

    def fact(self, kind: str, key: Any) -> Any:
        """What the batch made, else what the snapshot knows, of ``kind`` (a map of ``Snapshot``) under ``key``."""
        made = self.made.get(kind)
        if made is not None and key in made:
            return made[key]
        return getattr(self.snapshot, kind)[key]

    def make(self, kind: str, key: Any, value: Any) -> None:
        """Know a new fact from here on; ``kind`` is a map of ``Snapshot``."""
        self.made.setdefault(kind, {})[key] = value

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

    def standing(self, sort: tuple[str, str | None]) -> Standing | None:
        """Where an agent stands before a budget, as found before; forgotten once this batch changes a setting."""
        if self.made or self.agents:
            return None
        return self.standings.get(sort) or self.snapshot.standings.get(sort)

    def keep_standing(self, sort: tuple[str, str | None], standing: Standing) -> None:
        """Keep what ``standing`` gives back."""
        if not self.made and not self.agents:
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
