"""A ledger in memory: the core with dicts where the database would be, so that tests of the core need none.

Owns the rows of one book, filled only from changesets, and a clock that the test moves. Invariants: every batch is
decided twice, once on facts read anew and once on the snapshot that earlier batches left behind, and both must say the
same bytes; deciding must leave the facts as they were; every body must be canonical.
"""

from __future__ import annotations

import copy
from typing import Any

from ledger.core import changeset as tables
from ledger.core.authorization import Authorization
from ledger.core.book import Book, Head
from ledger.core.canonical import idempotency_digest, is_canonical, parse
from ledger.core.changeset import Changeset, row_of
from ledger.core.command import (
    Allocate,
    Authorize,
    Caller,
    Command,
    CreateAgent,
    CreateBudget,
    CreateKey,
    Settle,
)
from ledger.core.decide import accept, decide
from ledger.core.deciding_setup import open_book
from ledger.core.ids import ALPHABET, is_id_of
from ledger.core.merkle import Frontier
from ledger.core.missing import ROUNDS_MAX, missing
from ledger.core.moment import moment_of
from ledger.core.money import currency_digits, format_atoms
from ledger.core.needs import Needs
from ledger.core.outcome import Outcome
from ledger.core.renewing import RENEWALS_MAX
from ledger.core.snapshot import NEVER, PriorAnswer, Snapshot
from ledger.storage.facts import LOOKUPS, Facts

OPENED_AT = moment_of("2026-11-02T09:00:00Z")
SECOND = 1_000_000
TEXT_SECRET = b"the text secret of a test's book"

Rows = dict[tuple[Any, ...], Any]


class Ledger:
    """One book in memory. ``now`` is the clock in microseconds; ``due_max`` bounds expiries per batch."""

    def __init__(self, *, strict_names: bool = False, due_max: int = 500) -> None:
        self.now = OPENED_AT
        self.due_max = due_max
        self.renewals_max = RENEWALS_MAX
        self.tables: dict[str, Rows] = {spec.name: {} for spec in tables.TABLES}
        self._made = 0
        self.admin = Caller(self._digest())
        self.book = Book(1, "acme", "USD", "Europe/Paris", strict_names, OPENED_AT)
        self._apply(
            open_book(
                book=self.book,
                text_secret=TEXT_SECRET,
                key_id=self.new_id("key"),
                key_digest=self.admin.key_digest or b"",
            )
        )
        self._warm: Snapshot | None = None

    # Names for what a test makes.

    def _digest(self) -> bytes:
        self._made += 1
        return self._made.to_bytes(32, "big")

    def new_id(self, prefix: str) -> str:
        """A well-formed id, the next of a count."""
        self._made += 1
        value, text = self._made, ""
        for _ in range(26):
            text = ALPHABET[value & 31] + text
            value >>= 5
        return f"{prefix}_{text}"

    def new_key(self) -> str:
        """An idempotency key that was not used before."""
        self._made += 1
        return f"k{self._made}"

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += round(seconds * SECOND)

    # Deciding.

    def do(self, kind: type[Command], caller: Caller, /, **fields: Any) -> Outcome:
        """Decide one command; an idempotency key and, where the command has one, an id are made unless given."""
        return self.decide(self.command(kind, caller, **fields))[0]

    def command(self, kind: type[Command], caller: Caller, /, **fields: Any) -> Any:
        """A command with a fresh idempotency key and id, unless given."""
        fields.setdefault("idempotency_key", self.new_key())
        if "id" in kind.__dataclass_fields__ and "id" not in fields:
            fields["id"] = self.new_id(ID_PREFIXES.get(kind.operation, "auth"))
        return kind(caller=caller, **fields)

    def decide(self, *commands: Command) -> list[Outcome]:
        """Decide a batch at ``now``, twice, and write what it says."""
        cold = self.snapshot()
        outcomes, changeset = self.decide_on(cold, commands)
        if self._warm is None:
            self._warm = self.snapshot()
        again, same = self.decide_on(self._warm, commands)
        said, said_again = [_plain(one) for one in outcomes], [_plain(one) for one in again]
        assert said == said_again, "a warm snapshot answers something else than a cold one"
        assert (changeset.inserts, changeset.updates) == (same.inserts, same.updates)
        assert changeset.head == same.head
        if changeset.is_empty:
            self._warm.idempotency.clear()
            self._warm.open_children.clear()
            self._warm.due, self._warm.due_complete = [], False
            self._warm.due_renewals, self._warm.renewals_complete = [], False
        else:
            self._apply(changeset)
            accept(self._warm, same)
        return outcomes

    def decide_on(self, snapshot: Snapshot, commands: tuple[Command, ...]) -> tuple[list[Outcome], Changeset]:
        """Read what a snapshot lacks and decide on it, writing nothing."""
        due = sorted(
            (row.due_at, row.id)
            for row in self.rows("authorizations")
            if row.due_at is not None and row.due_at <= max(self.now, snapshot.head.recorded_at)
        )
        snapshot.due = [reference for _, reference in due[: self.due_max]]
        snapshot.due_complete = len(due) <= self.due_max
        snapshot.next_due_at = NEVER
        renewing = sorted(
            (row.next_at, row.budget)
            for row in self.rows("renewals")
            if row.next_at is not None and row.next_at <= max(self.now, snapshot.head.recorded_at)
        )
        bound = self.renewals_max if snapshot.due_complete else 0
        snapshot.due_renewals = [budget for _, budget in renewing[:bound]]
        snapshot.renewals_complete = len(renewing) <= bound
        snapshot.next_renewal_at = NEVER
        snapshot.moment = max(self.now, snapshot.head.recorded_at)
        for _ in range(ROUNDS_MAX):
            needs = missing(snapshot, commands)
            if not needs:
                break
            self.read(needs, snapshot)
        assert not missing(snapshot, commands), "the facts need more rounds than are allowed"
        before = facts_of(snapshot)
        decided = decide(snapshot, commands, self.now)
        assert facts_of(snapshot) == before, "deciding changed the snapshot"
        return decided

    # Reading.

    def rows(self, table: str) -> list[Any]:
        """The rows of a table, as entities, in key order."""
        return [row for _, row in sorted(self.tables[table].items())]

    @property
    def head(self) -> Head:
        """The book's head."""
        return self.tables["book_heads"][(1,)]

    def snapshot(self) -> Snapshot:
        """A snapshot at the head that knows nothing yet."""
        head = copy.copy(self.head)
        return Snapshot(self.book, head, Frontier.from_bytes(head.size, head.frontier), TEXT_SECRET)

    def read(self, needs: Needs, snapshot: Snapshot) -> None:
        """Answer needs out of the tables; what is not there becomes None."""
        self._read_plain(needs, snapshot)
        self._read_looked_up(needs, snapshot)
        for kind, table, wanted in (
            ("agents", "agents", needs.agent_refs),
            ("budgets", "budgets", needs.budget_refs),
            ("runs", "runs", needs.run_refs),
        ):
            known = getattr(snapshot, kind)
            for reference in wanted:
                found = next((row for row in self.rows(table) if reference in (row.name, row.id)), None)
                if found is not None:
                    known.put(found.name, copy.copy(found))
                    snapshot.aliases.put(found.id, found.name)
                elif is_id_of(kind, reference):
                    snapshot.aliases.put(reference, None)
                else:
                    known.put(reference, None)
        for agent in needs.agent_budgets:
            names = (row.budget for row in self.rows("budget_agents") if row.agent == agent)
            snapshot.agent_budgets.put(agent, tuple(sorted(names)))
        for pair in needs.idempotency:
            bound = self.tables["idempotency_keys"].get((1, idempotency_digest(*pair)))
            answer = None
            if bound is not None:
                record = self.tables["log_records"].get((1, bound.log_index))
                said = (record.body, record.leaf_hash) if record is not None else (b"", b"")
                answer = PriorAnswer(bound.request_digest, bound.log_index, *said)
            snapshot.idempotency.put(pair, answer)

    def _read_plain(self, needs: Needs, snapshot: Snapshot) -> None:
        by_name = {(row.name, row.currency): row for row in self.rows("accounts")}
        by_id = {row.id: row for row in self.rows("api_keys")}
        for known, wanted, find in (
            (snapshot.keys, needs.keys, lambda key: self.tables["api_keys"].get((1, key))),
            (snapshot.keys_by_id, needs.key_ids, by_id.get),
            (snapshot.persons, needs.persons, lambda key: self.tables["persons"].get((1, key))),
            (snapshot.accounts, needs.accounts, by_name.get),
            (snapshot.authorizations, needs.authorizations, lambda key: self.tables["authorizations"].get((1, key))),
            (snapshot.run_totals, needs.run_totals, lambda key: self.tables["run_totals"].get((1, *key))),
            (snapshot.units, needs.units, lambda key: self.tables["units"].get((1, key))),
            (snapshot.names, needs.names, lambda key: self.tables["names"].get((1, *key))),
            (snapshot.webhooks, needs.webhooks, lambda key: self.tables["webhook_endpoints"].get((1, key))),
        ):
            for key in wanted:
                known.put(key, copy.copy(find(key)))  # type: ignore[attr-defined]

    def _read_looked_up(self, needs: Needs, snapshot: Snapshot) -> None:
        """What policies and approvals look at, by the look-ups that a database is asked with."""
        facts = Facts(needs)
        for lookup in LOOKUPS:
            wanted = getattr(needs, lookup.need)
            if lookup.need not in LOOKED_UP or not wanted:
                continue
            facts.rows[lookup.need] = [
                row_of(row) if not isinstance(row, tuple) else tuple(row)
                for row in self.rows(lookup.table.name)
                if any(
                    (getattr(row, key[0]) if len(key) == 1 else tuple(getattr(row, one) for one in key)) in wanted
                    for key in lookup.keys
                )
            ]
        facts.put_into(snapshot)

    def _apply(self, changeset: Changeset) -> None:
        """Write rows as a database would: insert what is new, change what may change."""
        for spec in tables.TABLES:
            rows = self.tables[spec.name]
            for values in changeset.inserts.get(spec.name, ()):
                entity = spec.row_type(*values)
                key = tuple(getattr(entity, column) for column in spec.key)
                assert key not in rows, f"{spec.name} {key} inserted twice"
                rows[key] = entity
            for values in changeset.updates.get(spec.name, ()):
                entity = rows[tuple(values[len(spec.mutable) :])]
                for column, value in zip(spec.mutable, values, strict=False):
                    setattr(entity, column, value)
        for name, keys in changeset.deletes.items():
            for key in keys:
                del self.tables[name][key]
        for record in changeset.inserts.get("log_records", ()):
            assert is_canonical(record[6]), record[6]
        self.tables["book_heads"][(1,)] = copy.copy(changeset.head)

    # What tests look at.

    def balance(self, account: str, currency: str = "USD") -> int:
        """Debits less credits in atoms; 0 for an account that does not exist."""
        return sum(row.balance for row in self.rows("accounts") if (row.name, row.currency) == (account, currency))

    def shown(self, account: str, currency: str = "USD") -> str:
        """A balance (debits less credits) as decimal text."""
        digits = currency_digits(currency)
        if digits is None:
            digits = self.tables["units"][1, currency].digits
        return format_atoms(self.balance(account, currency), digits)

    def balances(self) -> dict[tuple[str, str], int]:
        """Every balance that is not zero."""
        return {(row.name, row.currency): row.balance for row in self.rows("accounts") if row.balance}

    def authorization(self, reference: str) -> Authorization:
        """An authorization or charge that exists."""
        return self.tables["authorizations"][1, reference]

    def bodies(self) -> list[dict[str, Any]]:
        """Every log body, oldest first."""
        return [parse(record.body) for record in self.rows("log_records")]

    # Setting up.

    def key(self, role: str, name: str, **fields: Any) -> Caller:
        """A new key for an agent (role agent) or a person."""
        digest = self._digest()
        named = {"agent" if role == "agent" else "person": name}
        outcome = self.do(CreateKey, self.admin, digest=digest, role=role, **named, **fields)
        assert outcome.status.value == "done", outcome
        return Caller(digest)

    def agent(self, name: str, parent: str | None = None, kind: str = "agent") -> Caller:
        """A new agent with a key (or a team, whose caller is of no use)."""
        assert self.do(CreateAgent, self.admin, name=name, kind=kind, parent=parent).status.value == "done"
        return self.key("agent", name) if kind == "agent" else Caller(None)

    def budget(
        self, name: str, amount: str | None = None, *agents: str, currency: str = "USD", parent: str | None = None
    ) -> None:
        """A new budget for these agents, with this much allocated."""
        made = self.do(CreateBudget, self.admin, name=name, currency=currency, agents=agents, parent=parent)
        assert made.status.value == "done", made
        if amount is not None:
            given = self.do(Allocate, self.admin, budget=name, amount=amount, currency=currency)
            assert given.status.value == "done", given

    def authorize(self, caller: Caller, amount: str = "5", **fields: Any) -> Outcome:
        """Ask to spend, with everything that is not given filled in."""
        fields = {"currency": "USD", "category": "inference", "payee": "openai"} | fields
        return self.do(Authorize, caller, amount=amount, **fields)

    def hold(self, caller: Caller, amount: str = "5", **fields: Any) -> str:
        """The id of a hold that must be approved."""
        outcome = self.authorize(caller, amount, **fields)
        assert outcome.status.value == "approved", outcome
        return str((outcome.body or {})["authorization"])

    def settle(self, caller: Caller, authorization: str, amount: str, **fields: Any) -> Outcome:
        """Settle, in dollars unless told otherwise."""
        return self.do(Settle, caller, authorization=authorization, amount=amount, **({"currency": "USD"} | fields))


LOOKED_UP = (
    "policies policy_versions bindings counters agent_counts approvals approvals_of votes delegations delegations_to "
    "renewals open_children bodies signing_keys redactions texts corrections correction_rules correction_sums "
    "reversals periods_of explanations invoices invoice_numbers open_invoices payments paid_invoices payee_terms rates"
).split()
ID_PREFIXES = {
    "authorize": "auth",
    "charge": "chg",
    "refund": "ref",
    "adjust": "adj",
    "reprice": "adj",
    "allocate": "alc",
    "deallocate": "alc",
    "create_agent": "agt",
    "create_key": "key",
    "rotate_key": "key",
    "create_budget": "bud",
    "open_run": "run",
    "register_webhook": "whk",
    "redact": "rdc",
    "give_rates": "rte",
    "reverse": "rev",
    "set_correction_rule": "cor",
    "reconcile": "rcn",
    "record_invoice": "inv",
    "record_payment": "pay",
    "take_over": "his",
}


def facts_of(snapshot: Snapshot) -> dict[str, Any]:
    """Everything a snapshot knows, copied, whatever generation it is kept in."""
    facts: dict[str, Any] = {}
    for slot in Snapshot.__slots__:
        value = getattr(snapshot, slot)
        if hasattr(value, "put"):
            merged = {**value._old, **value._young}
            facts[slot] = {key: copy.copy(entity) for key, entity in merged.items()}
        elif isinstance(value, Frontier):
            facts[slot] = (value.size, value.to_bytes())
        else:
            facts[slot] = copy.copy(value)
    return facts


def _plain(outcome: Outcome) -> tuple[Any, ...]:
    return (
        outcome.status,
        outcome.log_index,
        outcome.leaf_hash,
        outcome.replayed,
        outcome.detail,
        outcome.facts,
    )
