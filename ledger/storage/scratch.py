"""A scratch database on disk for the rows that verify makes anew: projections of any length in bounded memory.

Owns a SQLite file whose tables are the core's projections by name and column: in a directory of its own, gone when
closed, or a file that is kept and gone on from. Invariants: at most about twice ``entries`` rows of a table are in
memory after a ``trim``; rows come back as they were given, without any conversion; a kept file has what the last
``keep`` wrote and nothing later, wherever the process was killed.
"""

import hashlib
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from ledger.core import changeset
from ledger.core.account import Account
from ledger.core.approval import Approval, Delegation, Vote
from ledger.core.authorization import Authorization
from ledger.core.book import Name, Unit
from ledger.core.budget import Budget, BudgetAgent, Renewal
from ledger.core.changeset import TableSpec, row_of
from ledger.core.closing import Explanation, Month
from ledger.core.correction import Correction, CorrectionRule, CorrectionSum, Reversal, Reversible
from ledger.core.counter import Counter
from ledger.core.invoice import Invoice, InvoicePayment, PayeeTerms, Payment
from ledger.core.journal import IdempotencyKey
from ledger.core.policy_row import Policy, PolicyVersion
from ledger.core.principal import Agent, AgentCount, Key, Person
from ledger.core.rate import Rate
from ledger.core.reconciliation import Reconciliation
from ledger.core.redaction import Redaction
from ledger.core.run import Run, RunOutcome, RunTotal
from ledger.core.signing_key import SigningKey
from ledger.core.webhook import Webhook
from ledger.storage.scratch_texts import TABLES as TEXT_TABLES
from ledger.storage.scratch_texts import ScratchTexts

ENTRIES: Final = 10_000
PAGE_ROWS: Final = 2_000
K = TypeVar("K")
V = TypeVar("V")
Row = tuple[Any, ...]


class ScratchUnusable(ValueError):
    """A kept file that cannot be gone on from. The message is a sentence."""


class ScratchRows(Generic[K, V]):
    """The rows of one table under the key that the fold looks them up with: ``core.projecting_record.Rows``.

    Two generations stay in memory, of which the older is dropped when the younger is full.
    """

    def __init__(self, connection: sqlite3.Connection, spec: TableSpec, key: tuple[str, ...], entries: int) -> None:
        self.spec = spec
        self._connection = connection
        self._entries = entries
        self._young: dict[K, V | None] = {}
        self._old: dict[K, V | None] = {}
        self._new: dict[K, V] = {}
        self._changed: dict[K, V] = {}
        self._several = len(key) > 1
        columns = ", ".join(spec.columns)
        keyed = f"{columns}, PRIMARY KEY ({', '.join(key)})"
        connection.execute(f"CREATE TABLE IF NOT EXISTS {spec.name} ({keyed}) WITHOUT ROWID")
        places = ", ".join("?" * len(spec.columns))
        self._insert = f"INSERT INTO {spec.name} VALUES ({places})"
        self._replace = f"INSERT OR REPLACE INTO {spec.name} VALUES ({places})"
        self._select = f"SELECT {columns} FROM {spec.name} WHERE {' AND '.join(f'{column} = ?' for column in key)}"

    def get(self, key: K) -> V | None:
        """The row, not to be changed, or None."""
        found = self._young.get(key)
        if found is not None or key in self._young:
            return found
        if key in self._old:
            found = self._old[key]
        else:
            row = self._connection.execute(self._select, key if self._several else (key,)).fetchone()  # type: ignore[arg-type]
            found = None if row is None else self.spec.row_type(*row)
        self._young[key] = found
        return found

    def change(self, key: K) -> V:
        """The row, to be changed in place. Raises LookupError when there is none."""
        found = self._young.get(key) or self.get(key)
        if found is None:
            raise LookupError(f"there is no {key} in {self.spec.name}")
        if key not in self._new:
            self._changed[key] = found
        return found

    def add(self, key: K, row: V) -> None:
        """A new row. Raises ValueError when there is one in memory; one on disk shows when rows are written."""
        if self._young.get(key) is not None or self._old.get(key) is not None:
            raise ValueError(f"{key} is made twice in {self.spec.name}")
        self._young[key] = self._new[key] = row

    def trim(self) -> None:
        """Write what is not written and drop the older generation, once the younger is full. Raises as ``write``."""
        if len(self._young) > self._entries:
            self.write()
            self._old, self._young = self._young, {}

    def write(self) -> None:
        """Write what is not written. Raises ValueError for a row made twice."""
        try:
            self._connection.executemany(self._insert, map(row_of, self._new.values()))
        except sqlite3.IntegrityError as error:
            raise ValueError(f"a row is made twice in {self.spec.name}") from error
        self._connection.executemany(self._replace, map(row_of, self._changed.values()))
        self._new, self._changed = {}, {}


class ScratchLines(Generic[K, V]):
    """The rows of an append-only table that the fold never reads back. Rows made twice show when compared."""

    def __init__(self, connection: sqlite3.Connection, spec: TableSpec) -> None:
        self.spec = spec
        self._connection = connection
        self._lines: list[V] = []
        connection.execute(f"CREATE TABLE IF NOT EXISTS {spec.name} ({', '.join(spec.columns)})")
        self._insert = f"INSERT INTO {spec.name} VALUES ({', '.join('?' * len(spec.columns))})"

    def get(self, key: K) -> V | None:
        """Not to be asked."""
        raise LookupError(f"{self.spec.name} is not read back")

    def change(self, key: K) -> V:
        """Not to be asked."""
        raise LookupError(f"{self.spec.name} is never changed")

    def add(self, key: K, row: V) -> None:
        """One more row."""
        self._lines.append(row)

    def trim(self) -> None:
        """Write what is not written."""
        self.write()

    def write(self) -> None:
        """Write what is not written."""
        self._connection.executemany(self._insert, self._lines)  # type: ignore[arg-type]
        self._lines.clear()


class Scratch:
    """The projections of one book as they should be: ``core.projecting_record.Store``, and its rows in order."""

    def __init__(self, *, entries: int = ENTRIES, directory: str | None = None, file: Path | None = None) -> None:
        """In a temporary directory (below ``directory``), or in ``file``, which stays when closed. Raises
        ScratchUnusable where the file is damaged, in use, or has tables of another version."""
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        if file is None:
            self._folder = tempfile.TemporaryDirectory(
                prefix="bursar-verify-", dir=directory, ignore_cleanup_errors=True
            )
            connection = sqlite3.connect(Path(self._folder.name) / "scratch.db", isolation_level=None)
            # Nothing here outlives the process, so nothing needs to survive a crash.
            for pragma in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", "cache_size=-16384"):
                connection.execute(f"PRAGMA {pragma}")
        else:
            connection = _open_kept(file)
        self._connection = connection
        self._is_kept = file is not None

        def rows(spec: TableSpec, *key: str) -> ScratchRows[Any, Any]:
            return ScratchRows(connection, spec, key or spec.key[1:], entries)

        self.accounts: ScratchRows[tuple[str, str], Account] = rows(changeset.ACCOUNTS, "name", "currency")
        self.authorizations: ScratchRows[str, Authorization] = rows(changeset.AUTHORIZATIONS)
        self.idempotency_keys: ScratchLines[bytes, IdempotencyKey] = ScratchLines(
            connection, changeset.IDEMPOTENCY_KEYS
        )
        self.runs: ScratchRows[str, Run] = rows(changeset.RUNS)
        self.run_totals: ScratchRows[tuple[str, str], RunTotal] = rows(changeset.RUN_TOTALS)
        self.agents: ScratchRows[str, Agent] = rows(changeset.AGENTS)
        self.persons: ScratchRows[str, Person] = rows(changeset.PERSONS)
        self.api_keys: ScratchRows[str, Key] = rows(changeset.KEYS, "id")
        self.budgets: ScratchRows[str, Budget] = rows(changeset.BUDGETS)
        self.budget_agents: ScratchRows[tuple[str, str], BudgetAgent] = rows(changeset.BUDGET_AGENTS)
        self.renewals: ScratchRows[str, Renewal] = rows(changeset.RENEWALS)
        self.units: ScratchRows[str, Unit] = rows(changeset.UNITS)
        self.names: ScratchRows[tuple[str, str], Name] = rows(changeset.NAMES)
        self.policies: ScratchRows[str, Policy] = rows(changeset.POLICIES)
        self.policy_versions: ScratchRows[tuple[str, int], PolicyVersion] = rows(changeset.POLICY_VERSIONS)
        self.counters: ScratchRows[tuple[int, str], Counter] = rows(changeset.COUNTERS)
        self.agent_counts: ScratchRows[str, AgentCount] = rows(changeset.AGENT_COUNTS)
        self.approvals: ScratchRows[tuple[str, int], Approval] = rows(
            changeset.APPROVALS, "authorization_id", "position"
        )
        self.approval_votes: ScratchRows[tuple[str, str], Vote] = rows(changeset.VOTES)
        self.delegations: ScratchRows[str, Delegation] = rows(changeset.DELEGATIONS)
        self.webhook_endpoints: ScratchRows[str, Webhook] = rows(changeset.WEBHOOKS)
        self.signing_keys: ScratchRows[str, SigningKey] = rows(changeset.SIGNING_KEYS)
        self.invoices: ScratchRows[str, Invoice] = rows(changeset.INVOICES)
        self.payments: ScratchRows[str, Payment] = rows(changeset.PAYMENTS)
        self.invoice_payments: ScratchRows[tuple[str, str], InvoicePayment] = rows(changeset.INVOICE_PAYMENTS)
        self.payee_terms: ScratchRows[str, PayeeTerms] = rows(changeset.PAYEE_TERMS)
        self.redactions: ScratchRows[tuple[int, str], Redaction] = rows(changeset.REDACTIONS)
        self.rates: ScratchRows[tuple[str, int], Rate] = rows(changeset.RATES)
        self.corrections: ScratchRows[str, Correction] = rows(changeset.CORRECTIONS)
        self.correction_rules: ScratchRows[str, CorrectionRule] = rows(changeset.CORRECTION_RULES)
        self.correction_sums: ScratchRows[tuple[str, str], CorrectionSum] = rows(changeset.CORRECTION_SUMS)
        self.reversals: ScratchRows[int, Reversal] = rows(changeset.REVERSALS)
        self.reversible: ScratchRows[int, Reversible] = rows(changeset.REVERSIBLE)
        self.periods: ScratchRows[str, Month] = rows(changeset.PERIODS)
        self.explanations: ScratchRows[str, Explanation] = rows(changeset.EXPLANATIONS)
        self.reconciliations: ScratchRows[str, Reconciliation] = rows(changeset.RECONCILIATIONS)
        self.run_outcomes: ScratchRows[tuple[str, int], RunOutcome] = rows(changeset.RUN_OUTCOMES)
        connection.execute("CREATE TABLE IF NOT EXISTS suspects (name, key1, key2)")
        self.texts = ScratchTexts(connection)
        connection.execute("DELETE FROM suspects")
        found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'idempotency_keys_digest'").fetchone()
        self._indexed = found is not None
        if self._is_kept:
            connection.execute("COMMIT")
            connection.execute("BEGIN")

    @property
    def tables(self) -> tuple[ScratchRows[Any, Any] | ScratchLines[Any, Any], ...]:
        """Every table."""
        return (
            self.accounts, self.authorizations, self.idempotency_keys, self.runs, self.run_totals, self.agents,
            self.persons, self.api_keys, self.budgets, self.budget_agents, self.renewals, self.units, self.names,
            self.approvals, self.approval_votes, self.delegations,
            self.webhook_endpoints, self.signing_keys, self.policies, self.policy_versions, self.counters,
            self.agent_counts, self.redactions, self.reconciliations, self.run_outcomes, self.corrections,
            self.correction_rules, self.correction_sums, self.reversals, self.reversible, self.periods,
            self.explanations, self.invoices, self.payments, self.invoice_payments, self.payee_terms,
            self.rates,
        )  # fmt: skip

    def all_authorizations(self) -> Iterator[Authorization]:
        """Every row so far, in no order. Raises ValueError for a row made twice."""
        self.write()
        for row in self._connection.execute(
            f"SELECT {', '.join(changeset.AUTHORIZATIONS.columns)} FROM authorizations"
        ):
            yield Authorization(*row)

    def all_runs(self) -> Iterator[Run]:
        """Every run so far, in no order. Raises ValueError for a row made twice."""
        self.write()
        for row in self._connection.execute(f"SELECT {', '.join(changeset.RUNS.columns)} FROM runs"):
            yield Run(*row)

    def all_signing_keys(self) -> Iterator[SigningKey]:
        """Every key that signs or did so far, in no order. Raises ValueError for a row made twice."""
        self.write()
        for row in self._connection.execute(f"SELECT {', '.join(changeset.SIGNING_KEYS.columns)} FROM signing_keys"):
            yield SigningKey(*row)

    def all_reconciliations(self) -> Iterator[Reconciliation]:
        """Every reconciliation so far, in no order. Raises ValueError for a row made twice."""
        self.write()
        columns = ", ".join(changeset.RECONCILIATIONS.columns)
        for row in self._connection.execute(f"SELECT {columns} FROM reconciliations"):
            yield Reconciliation(*row)

    def trim(self) -> None:
        """Bound the memory; to be called between records. Raises ValueError for a row made twice."""
        self._begin()
        for table in self.tables:
            table.trim()
        self._commit()

    def _begin(self) -> None:
        if not self._is_kept:
            self._connection.execute("BEGIN")

    def _commit(self) -> None:
        # A kept file has one long transaction, from each ``keep`` to the next.
        if not self._is_kept:
            self._connection.execute("COMMIT")

    def kept(self) -> str | None:
        """The note of the last ``keep``, None before the first."""
        found = self._connection.execute("SELECT note FROM kept").fetchone()
        return None if found is None else str(found[0])

    def keep(self, note: str) -> None:
        """Write every row, and ``note`` with them, so that a kept file goes on from here. Raises ValueError for a row
        made twice."""
        for table in self.tables:
            table.write()
        self._connection.execute("INSERT OR REPLACE INTO kept VALUES (1, ?, ?)", (layout(), note))
        self._connection.execute("COMMIT")
        self._connection.execute("BEGIN")

    def seal(self) -> None:
        """Close a kept file such that it is one file, on disk, with what the last ``keep`` wrote."""
        self._connection.execute("ROLLBACK")
        self._connection.execute("PRAGMA journal_mode=DELETE")
        self._connection.close()

    def write(self) -> None:
        """Write every row, so that ``pages`` and ``row`` see it. Raises ValueError for a row made twice."""
        self._begin()
        for table in self.tables:
            table.write()
        self._commit()

    def _index(self) -> None:
        if not self._indexed:
            # Made once the rows are there: sorting them is cheaper than placing each.
            columns = ", ".join(changeset.IDEMPOTENCY_KEYS.columns[1:])
            self._connection.execute(f"CREATE INDEX idempotency_keys_digest ON idempotency_keys ({columns})")
            self._connection.execute("CREATE INDEX accounts_number ON accounts (account_no)")
            self._connection.execute("CREATE INDEX api_keys_digest ON api_keys (digest)")
            self._connection.execute("CREATE INDEX approvals_id ON approvals (id)")
            self._indexed = True

    def pages(self, spec: TableSpec) -> Iterator[list[Row]]:
        """The written rows of a table without their book, in the order of its primary key, a page at a time."""
        self._index()
        key = ", ".join(spec.key[1:])
        cursor = self._connection.execute(f"SELECT {', '.join(spec.columns[1:])} FROM {spec.name} ORDER BY {key}")
        while page := cursor.fetchmany(PAGE_ROWS):
            yield page

    def row(self, spec: TableSpec, key: Row) -> Row | None:
        """A written row without its book, by primary key."""
        self._index()
        match = " AND ".join(f"{column} = ?" for column in spec.key[1:])
        found: Row | None = self._connection.execute(
            f"SELECT {', '.join(spec.columns[1:])} FROM {spec.name} WHERE {match}", key
        ).fetchone()
        return found

    def all_accounts(self) -> Iterator[Account]:
        """The written accounts, in no order."""
        for row in self._connection.execute(f"SELECT {', '.join(changeset.ACCOUNTS.columns)} FROM accounts"):
            yield Account(*row)

    def open_holds(self) -> Iterator[tuple[str, str, int]]:
        """(budget, currency, atoms held) of written authorizations that hold something."""
        yield from self._connection.execute("SELECT budget, currency, held FROM authorizations WHERE held <> 0")

    def suspect(self, spec: TableSpec, keys: Iterable[Row]) -> None:
        """Keep primary keys of rows that have to be looked at again."""
        rows = [(spec.name, key[0], key[1] if len(key) > 1 else None) for key in keys]
        self._connection.executemany("INSERT INTO suspects VALUES (?, ?, ?)", rows)

    def suspects(self, count: int) -> list[tuple[str, Row]]:
        """Take at most ``count`` of the kept (table, primary key), in no order."""
        rows = self._connection.execute("SELECT rowid, name, key1, key2 FROM suspects LIMIT ?", (count,)).fetchall()
        self._connection.executemany("DELETE FROM suspects WHERE rowid = ?", [(row[0],) for row in rows])
        widths = {table.spec.name: len(table.spec.key) - 1 for table in self.tables}
        return [(name, (key1, key2)[: widths[name]]) for _, name, key1, key2 in rows]

    def close(self) -> None:
        """Drop everything, or leave a kept file as the last ``keep`` wrote it."""
        self._connection.close()
        if self._folder is not None:
            self._folder.cleanup()


def layout() -> str:
    """A digest of the tables and columns that this version makes: another one's file is not gone on from."""
    specs = (*changeset.TABLES, changeset.REVERSIBLE)
    tables = ";".join([f"{spec.name}({','.join(spec.columns)})" for spec in specs] + [*TEXT_TABLES])
    return hashlib.sha256(tables.encode()).hexdigest()[:16]


def _open_kept(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, isolation_level=None, timeout=0)
    try:
        for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=NORMAL", "cache_size=-16384"):
            connection.execute(f"PRAGMA {pragma}")
        if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("it is damaged")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE IF NOT EXISTS kept (one INTEGER PRIMARY KEY, layout, note)")
        found = connection.execute("SELECT layout FROM kept").fetchone()
    except sqlite3.DatabaseError as error:
        connection.close()
        if "locked" in str(error):
            raise ScratchUnusable(f"{file} is in use by another verification") from error
        raise ScratchUnusable(f"{file} is damaged or no state of a verification ({error}): delete it") from error
    if found is not None and found[0] != layout():
        connection.close()
        raise ScratchUnusable(f"{file} was made by another version of Bursar, whose tables are others: delete it")
    return connection
