"""Simulating a policy: the book's past requests judged again by a candidate, page by page of the log.

Owns the pass over the log and what a person is told about it. Invariants: reads only, a short transaction for each
page, at one size of the log; what is in memory at once is a page, what is open, and the candidate's own counters.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import Engine

from ledger.core.book import Book
from ledger.core.canonical import digest_hex
from ledger.core.compiling import bases_of, compile_policy, currencies_of
from ledger.core.filling import Trees, earliest_moment
from ledger.core.moment import SECOND, moment_of, moment_text
from ledger.core.money import currency_digits
from ledger.core.policy import CompiledPolicy
from ledger.core.policy_row import SCOPE_AGENT, SCOPE_BUDGET
from ledger.core.simulated import CATEGORIES, Findings
from ledger.core.simulating import KINDS, Page, Simulation, elder_of
from ledger.core.simulating_uses import TooManyCounters
from ledger.core.windows import DAY, calendar_bounds
from ledger.storage import queries_filling as queries
from ledger.storage.queries_log import book_by_id
from ledger.storage.queries_simulating import past, runs_opened

PAGE_RECORDS: Final = 2_000
Progress = Callable[[int, int], None]
"""Told how many records are done, of how many."""
_AGO: Final = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class SimulationRefused(Exception):
    """Nothing was simulated; the text says what to change."""


@dataclass(frozen=True, slots=True)
class Simulated:
    """What became of a simulation. ``since`` and ``until`` in microseconds; ``records`` of the log were read, the first
    with index ``first``; ``digits`` are those of each currency found; ``notes`` are what was assumed, a sentence each.
    """

    book: str
    policy: str
    digest: str
    live_version: int | None
    since: int
    until: int
    first: int
    records: int
    seconds: float
    findings: Findings
    digits: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_moment(said: str, *, timezone: str, now: int) -> int:
    """The moment (microseconds) that ``said`` names: RFC 3339 with an offset, a date (its first instant in
    ``timezone``), or a time ago such as "7d". Raises SimulationRefused."""
    ago = _AGO.fullmatch(said)
    if ago is not None:
        return now - int(ago[1]) * _UNITS[ago[2]] * SECOND
    try:
        if _DATE.fullmatch(said) is not None:
            day = date.fromisoformat(said)
            noon = datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo(timezone))
            return calendar_bounds(DAY, timezone=timezone, now=int(noon.timestamp()) * SECOND)[0]
        return moment_of(said)
    except (ValueError, OverflowError) as error:
        raise SimulationRefused(
            f'"{said}" is no time: give a date such as 2026-11-01, a time with an offset such as 2026-11-01T09:00:00Z, '
            "or how long ago, such as 7d or 12h"
        ) from error


def simulate(
    engine: Engine,
    book_id: int,
    document: dict[str, Any],
    *,
    since: int,
    until: int,
    grant: bool = True,
    examples_max: int = 5,
    progress: Progress | None = None,
) -> Simulated:
    """Judge the requests from ``since`` to before ``until`` by a canonical document, in the place of the policy of its
    name. Raises SimulationRefused, StorageError."""
    if since >= until:
        raise SimulationRefused(
            f"the period ends before it begins: since {moment_text(since)}, until {moment_text(until)}"
        )
    return _Pass(engine, book_id, document, since=since, until=until).run(grant, examples_max, progress)


class _Pass:
    """One pass over the log of a book, at the size it had when the pass began."""

    def __init__(self, engine: Engine, book_id: int, document: dict[str, Any], *, since: int, until: int) -> None:
        self._engine = engine
        self._book_id = book_id
        self._document = document
        self._since = since
        self._until = until
        with engine.connect() as connection:
            book = book_by_id(connection, book_id)
            standing = queries.standing(connection, book_id)
            if book is None or standing is None:
                raise SimulationRefused("there is no such book")
            self._book: Book = book
            self._size = standing[0]
            agents, budgets = queries.paths(connection, book_id)
            self._trees = Trees(agents, budgets)
            live = queries.live_policy(connection, book_id, document["policy"])
            self._live = live.version if live is not None and not live.retired else None
        self._candidate = self._compiled()
        self._check_scope()
        self._first, self._stop = self._bounds()

    def _digits(self, currency: str) -> int | None:
        known = currency_digits(currency)
        if known is not None:
            return known
        with self._engine.connect() as connection:
            return queries.unit_digits(connection, self._book_id, currency)

    def _compiled(self) -> CompiledPolicy:
        """The candidate, with meters of its own numbers, and not shadow."""
        document = {name: value for name, value in self._document.items() if name != "shadow"}
        timezone = self._book.timezone
        digits: dict[str, int] = {}
        for currency in currencies_of(document):
            known = self._digits(currency)
            if known is None:
                raise SimulationRefused(
                    f"{document['policy']} counts in {currency}, which is no currency and no unit of the book "
                    f"{self._book.name}: name another one, or define the unit first"
                )
            digits[currency] = known
        numbers = {
            (kind, rule): place for place, (kind, rule, _) in enumerate(bases_of(document, timezone=timezone), start=1)
        }
        try:
            return compile_policy(
                document, digits=digits, meters=numbers, version=0, digest=digest_hex(self._document), timezone=timezone
            )
        except ValueError as error:
            raise SimulationRefused(f"{document['policy']} cannot be used: {error}") from error

    def _check_scope(self) -> None:
        kind, name = self._candidate.scope_kind, self._candidate.scope
        ((said, _),) = self._document["applies_to"].items()
        if (kind == SCOPE_AGENT and name not in self._trees.agents) or (
            kind == SCOPE_BUDGET and name not in self._trees.budgets
        ):
            raise SimulationRefused(
                f"there is no {said} {name} in the book {self._book.name}, so the policy would judge nothing: change "
                "applies_to"
            )

    def _bounds(self) -> tuple[int, int]:
        """The indexes of the first record that counts, and of the first one behind the period."""
        candidate = self._candidate
        meters = {meter.number: meter for meter in (*candidate.meters, *candidate.run_limits)}
        earliest = earliest_moment(meters.values(), self._since)
        with self._engine.connect() as connection:
            first = queries.first_index_at(connection, self._book_id, earliest)
            stop = queries.first_index_at(connection, self._book_id, self._until)
        stop = self._size if stop is None else min(stop, self._size)
        return min(stop if first is None else first, stop), stop

    def run(self, grant: bool, examples_max: int, progress: Progress | None) -> Simulated:
        """Everything from the first record that counts to the end of the period."""
        begun = time.monotonic()
        simulation = Simulation(
            self._candidate, self._trees, since=self._since, log_size=self._size, grant=grant, examples_max=examples_max
        )
        total = self._stop - self._first
        for start in range(self._first, self._stop, PAGE_RECORDS):
            stop = min(start + PAGE_RECORDS, self._stop)
            with self._engine.connect() as connection:
                records = past(connection, self._book_id, start=start, stop=stop, kinds=KINDS)
            page = simulation.page(records)
            elders, runs = self._known(page)
            try:
                simulation.take(page, elders, runs)
            except TooManyCounters as error:
                raise SimulationRefused(str(error)) from error
            if progress is not None:
                progress(stop - self._first, total)
        findings = simulation.findings
        return Simulated(
            self._book.name, self._candidate.name, self._candidate.digest, self._live, self._since, self._until,
            self._first, total, time.monotonic() - begun, findings, self._found_digits(findings),
            tuple(_notes(self._document, findings, grant)),
        )  # fmt: skip

    def _known(self, page: Page) -> tuple[dict[str, Any], dict[str, int | None]]:
        """What the page must know to be taken in."""
        elders: dict[str, Any] = {}
        runs: dict[str, int | None] = dict.fromkeys(page.runs)
        if page.elders or page.runs:
            with self._engine.connect() as connection:
                rows = queries.authorizations_by_id(connection, self._book_id, list(page.elders))
                before = queries.bodies_at(connection, self._book_id, sorted(set(page.elders.values())))
                runs |= runs_opened(connection, self._book_id, sorted(page.runs))
            elders = {name: elder_of(row, before[page.elders[name]]) for name, row in rows.items()}
        return elders, runs

    def _found_digits(self, findings: Findings) -> dict[str, int]:
        named = {currency for tally in (findings.requests, *findings.tallies.values()) for currency in tally.amounts}
        named |= {currency for tally in findings.tallies.values() for currency in tally.spent}
        return {currency: self._digits(currency) or 0 for currency in sorted(named)}


def _notes(document: dict[str, Any], findings: Findings, grant: bool) -> list[str]:
    """What was assumed, as far as it matters to what was found."""
    denied, approved, asking, unasked, less = (findings.tallies[category].count for category in CATEGORIES)
    notes = []
    if document.get("shadow"):
        notes.append("The policy says shadow: true. It was simulated as if it did refuse.")
    if approved:
        notes.append(
            "What is newly approved counts in full until its time to live ends, because nobody knows what it would "
            "have cost; budgets and other policies are not simulated and may have refused some of it."
        )
    if asking:
        said = "granted at once" if grant else "refused"
        notes.append(f"What newly needs approval was taken as {said} (--approvals).")
    if findings.not_offering_to_wait:
        notes.append(
            f"{findings.not_offering_to_wait} of the requests that newly need approval did not say accept_pending: as "
            "they are, they would be refused with approval_required."
        )
    if unasked:
        notes.append("What no longer needs approval, and was refused by persons, counts until its time to live ends.")
    if denied or less:
        notes.append("Nobody knows what agents would have done instead, once refused: each request stands as it came.")
    if findings.freeze_count:
        notes.append("Agents that the policy would have frozen go on asking here, because nobody knows until when.")
    if {"overrun", "mismatch"} & document.keys():
        notes.append("overrun and mismatch judge settlements, not requests: they are not simulated.")
    return notes
