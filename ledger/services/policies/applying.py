"""Applying a policy: new limits are filled from history outside the lock, then take effect with one record.

Owns the pass over history (``HistoryFill``) and the tries to apply. Invariants: nothing here holds the book's lock or
keeps a transaction open for longer than a page takes; what is filled is as of one size of the log, and the decision
catches up with what came after, under the lock.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Engine

from ledger.core.authorization import Authorization
from ledger.core.canonical import canonical_bytes, digest_hex, parse
from ledger.core.command import Caller
from ledger.core.command_policies import ApplyPolicy
from ledger.core.compiling import bases_of, compile_policy, currencies_of
from ledger.core.filling import TAIL_MAX, Filled, Filling, Trees, changes_use, earliest_moment, state_before
from ledger.core.ids import POLICY
from ledger.core.moment import moment_of
from ledger.core.money import currency_digits
from ledger.core.outcome import Outcome, Status
from ledger.core.policy import LOOPS, Meter
from ledger.services.authorizer import Authorizer
from ledger.storage import queries_filling as queries
from ledger.storage.queries_log import book_by_id

TRIES_MAX: Final = 6
PAGE_RECORDS: Final = 2_000
TAIL_ENOUGH: Final = TAIL_MAX // 4
ROUNDS_MAX: Final = 1_000
TIMEOUT_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class Fresh:
    """What of a document must be filled: the compiled meters, under numbers of their own, and their bases."""

    scope: tuple[str, str]
    meters: tuple[Meter, ...]
    bases: dict[tuple[str, str], str]


def apply_policy(
    authorizer: Authorizer,
    engine: Engine,
    book_id: int,
    *,
    caller: Caller,
    document: dict[str, Any],
    after_version: int | None = None,
    reason: str | None = None,
    idempotency_key: str = "",
) -> Outcome:
    """Make ``document`` (canonical) the next version of its policy, its new limits filled from history. Blocks; may
    take as long as reading the history that they look at. Raises ServiceError, StorageError."""
    identity = authorizer.sources.new_id(POLICY)
    text = canonical_bytes(document).decode()
    outcome = Outcome(Status.FILL_NEEDED)
    for _ in range(TRIES_MAX):
        filled = _filled(engine, book_id, document)
        command = ApplyPolicy(
            caller=caller,
            idempotency_key=idempotency_key,
            id=identity,
            document=text,
            after_version=after_version,
            filled=filled,
            reason=reason,
        )
        outcome = authorizer.decide_now(book_id, command, timeout_seconds=TIMEOUT_SECONDS)
        if outcome.status is not Status.FILL_NEEDED:
            break
    return outcome


def new_limits(engine: Engine, book_id: int, document: dict[str, Any]) -> list[tuple[str, str]]:
    """(kind, rule id) of what would have to be filled from history before ``document`` could take effect."""
    fresh = _fresh(engine, book_id, document)
    return [] if fresh is None else sorted(fresh.bases)


def _filled(engine: Engine, book_id: int, document: dict[str, Any]) -> Filled | None:
    fresh = _fresh(engine, book_id, document)
    if fresh is None or not fresh.bases:
        return None
    return HistoryFill(engine, book_id, fresh).run()


def _fresh(engine: Engine, book_id: int, document: dict[str, Any]) -> Fresh | None:
    """The meters of a document that are new; None where it cannot be compiled, which the decision will say."""
    with engine.connect() as connection:
        book = book_by_id(connection, book_id)
        live = queries.live_policy(connection, book_id, document["policy"])
        digits: dict[str, int] = {}
        for currency in currencies_of(document):
            known = currency_digits(currency)
            known = queries.unit_digits(connection, book_id, currency) if known is None else known
            if known is None:
                return None
            digits[currency] = known
    if book is None:
        return None
    kept: set[tuple[str, str, str]] = set()
    if live is not None and not live.retired:
        kept = {(item[0], item[1], item[2]) for item in parse(live.packed.encode())["meters"]}
    bases = bases_of(document, timezone=book.timezone)
    numbers = {(kind, rule): place for place, (kind, rule, _) in enumerate(bases, start=1)}
    try:
        compiled = compile_policy(
            document, digits=digits, meters=numbers, version=0, digest=digest_hex(document), timezone=book.timezone
        )
    except Exception:
        return None
    new = {(kind, rule): basis for kind, rule, basis in bases if kind != LOOPS and (kind, rule, basis) not in kept}
    meters = {meter.number: meter for meter in (*compiled.meters, *compiled.run_limits)}
    wanted = tuple(meter for meter in meters.values() if (meter.kind, meter.id) in new)
    return Fresh((compiled.scope_kind, compiled.scope), wanted, new)


class HistoryFill:
    """One pass over a book's history.

    Pages are read at different sizes of the log; ``_pages`` remembers each page's, so that the records behind it are
    caught up with from there.
    """

    def __init__(self, engine: Engine, book_id: int, fresh: Fresh) -> None:
        self._engine = engine
        self._book_id = book_id
        self._fresh = fresh
        self._stops: list[int] = []
        self._sizes: list[int] = []
        self._elders: dict[str, int] = {}
        self._first = 0
        self._begun_at = 0
        self._agents: dict[str, str] = {}
        self._budgets: dict[str, str] = {}
        self._filling = Filling(book_id, fresh.scope, fresh.meters, Trees(self._agents, self._budgets))

    def run(self) -> Filled:
        """Everything up to a size of the log that is close to its end. Raises StorageError."""
        with self._engine.connect() as connection:
            standing = queries.standing(connection, self._book_id)
            self._begun_at, now = standing if standing is not None else (0, 0)
            self._read_paths(*queries.paths(connection, self._book_id))
            found = queries.first_index_at(connection, self._book_id, earliest_moment(self._fresh.meters, now))
        self._first = self._begun_at if found is None else found
        for start in range(self._first, self._begun_at, PAGE_RECORDS):
            self._take_page(start, min(start + PAGE_RECORDS, self._begun_at))
        size = self._begun_at
        for _ in range(ROUNDS_MAX):
            with self._engine.connect() as connection:
                head = queries.size_of(connection, self._book_id)
            if head - size <= TAIL_ENOUGH and size >= max(self._sizes, default=0):
                break
            stop = min(size + PAGE_RECORDS, head)
            self._catch_up(size, stop)
            size = stop
        return self._filling.filled(size, self._fresh.bases)

    def _read_paths(self, agents: dict[str, str], budgets: dict[str, str]) -> None:
        self._agents.update(agents)
        self._budgets.update(budgets)

    def _know(self, rows: Iterable[Authorization]) -> None:
        """Read the trees again where an agent or budget has been made since."""
        if all((row.agent is None or row.agent in self._agents) and row.budget in self._budgets for row in rows):
            return
        with self._engine.connect() as connection:
            self._read_paths(*queries.paths(connection, self._book_id))

    def _take_page(self, start: int, stop: int) -> None:
        with self._engine.connect() as connection:
            size = queries.size_of(connection, self._book_id)
            happened = queries.happened(connection, self._book_id, start=start, stop=stop)
            rows = queries.authorizations_by_id(
                connection, self._book_id, list({one.subject for one in happened if one.kind != "run"})
            )
            runs = queries.runs_by_name(
                connection, self._book_id, [one.subject for one in happened if one.kind == "run"]
            )  # fmt: skip
        self._stops.append(stop)
        self._sizes.append(size)
        self._know(rows.values())
        for one in happened:
            row = rows.get(one.subject)
            if row is None:
                continue
            if row.created_index == one.log_index:
                self._filling.add(row)
            elif row.created_index < self._first and row.id not in self._elders:
                # Made before anything counts, and extended since.
                self._elders[row.id] = size
                self._filling.add(row)
        for run in runs:
            self._filling.add_run(run.agent, run.opened_at)

    def _counted_at(self, row: Authorization) -> int | None:
        """The size of the log at which a row was counted, or None where it was not."""
        if row.created_index >= self._begun_at:
            return None
        if row.created_index < self._first:
            return self._elders.get(row.id)
        return self._sizes[bisect_right(self._stops, row.created_index)]

    def _catch_up(self, start: int, stop: int) -> None:
        """Take in what the records from ``start`` to before ``stop`` changed."""
        with self._engine.connect() as connection:
            bodies = [parse(body) for body in queries.bodies_of(connection, self._book_id, start=start, stop=stop)]
            touched: dict[str, list[dict[str, Any]]] = {}
            for body in bodies:
                if changes_use(body):
                    touched.setdefault(body["authorization"], []).append(body)
            rows = queries.authorizations_by_id(connection, self._book_id, list(touched))
            wanted = {records[0]["previous"] for records in touched.values() if records[0].get("previous") is not None}
            before = queries.bodies_at(connection, self._book_id, sorted(wanted))
        self._know(rows.values())
        for reference, records in touched.items():
            self._replace(rows[reference], records, before)
        for body in bodies:
            if body["kind"] == "run":
                self._filling.add_run(body["agent"], moment_of(body["time"]))

    def _replace(self, row: Authorization, records: Sequence[dict[str, Any]], before: dict[int, bytes]) -> None:
        """Count an authorization as it stands after ``records`` instead of as it was counted."""
        counted_at = self._counted_at(row)
        newer = [body for body in records if counted_at is None or body["index"] >= counted_at]
        if not newer:
            return
        older = [body for body in records if counted_at is not None and body["index"] < counted_at]
        previous = newer[0].get("previous")
        known = older[-1] if older else (parse(before[previous]) if previous is not None else None)
        stood = state_before(row, known)
        if stood is not None:
            self._filling.add(stood, sign=-1)
        after = state_before(row, newer[-1])
        if after is not None:
            self._filling.add(after)
