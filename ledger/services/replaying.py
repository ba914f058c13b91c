"""`replay`: decides again from recorded facts and policy versions, and shows what comes out otherwise.

Owns the pass over a log that watches its decisions. Invariants: nothing is taken from a record but what was asked, who
asked and when; a difference names the record, the rule and both values; a decision in which a rule counted by a
fingerprint whose words are gone is reported as redacted, and decided again all the same; memory is bounded as that of
``verify`` is, and so many differences are kept as were asked for, while all are counted.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Engine

from ledger.core.canonical import canonical_bytes, parse
from ledger.core.comparing_decisions import DECISION, MONEY, Value, differences
from ledger.core.comparing_decisions import Difference as ValueDifference
from ledger.core.fingerprint import fingerprint_of
from ledger.core.invariants import Difference
from ledger.core.money import currency_digits, format_atoms
from ledger.core.projecting_record import Progress, Record
from ledger.services.verify import BookProgress, NoSuchBook
from ledger.services.verify_findings import EnoughFound, Findings
from ledger.services.verify_log import UNFOLLOWED, LogPass, LogSource
from ledger.storage import queries_log
from ledger.storage.proof_reader import LogPage, ProofReader, names_of_books, open_database
from ledger.storage.scratch import Scratch

DIFFERENCES_DEFAULT: Final = 20
LOG_DIFFERENCES_MAX: Final = 10
INDEXES_SHOWN: Final = 20
FINGERPRINT: Final = "fingerprint"
LOOKS_AHEAD: Final = 3
"""How often a book in use is followed further, for redactions that came while it was read."""


@dataclass(frozen=True, slots=True)
class Row:
    """One value that differs, as text for people: whose rule, which value, what is recorded, what was decided again."""

    policy: str
    version: int | None
    rule: str
    value: str
    recorded: str | None
    again: str | None


@dataclass(frozen=True, slots=True)
class Replayed:
    """A record whose decision is not what the rules give: its place, kind, subject and time, who asked, and the values
    that differ."""

    index: int
    kind: str
    subject: str
    time: str
    agent: str
    rows: tuple[Row, ...]


@dataclass(slots=True)
class ReplayReport:
    """What replay says about one book. ``start`` and ``stop`` bound the records whose decisions were made again; of
    ``decisions``, ``equal`` came out as recorded and ``different`` did not. ``redacted`` are those in which a rule
    counted by a fingerprint whose words were redacted, ``unmade`` those whose words or whose secret are not there
    otherwise; both are counted among the equal or different too. ``redacted_indexes`` are the first of them.
    ``log_differences`` are what is wrong with the log itself; ``complete`` is False where it could not be followed."""

    name: str
    start: int
    stop: int
    decisions: int = 0
    equal: int = 0
    different: int = 0
    redacted: int = 0
    unmade: int = 0
    complete: bool = False
    seconds: float = 0.0
    differences: list[Replayed] = field(default_factory=list)
    log_differences: list[Difference] = field(default_factory=list)
    redacted_indexes: list[int] = field(default_factory=list)

    @property
    def replayed(self) -> bool:
        """Whether everything came out as it is recorded."""
        return self.complete and not self.different and not self.log_differences


@dataclass(frozen=True, slots=True)
class Bound:
    """One end of a range: a record's index, or a moment in microseconds; neither: as far as there is anything."""

    index: int | None = None
    moment: int | None = None


UNBOUND: Final = Bound()


class _Tap:
    """A source that remembers the free texts of the page at hand."""

    def __init__(self, source: LogSource) -> None:
        self._source = source
        self.texts: dict[tuple[int, str], str] = {}

    def log_page(self, start: int, stop: int) -> LogPage:
        """See ``LogSource``."""
        page = self._source.log_page(start, stop)
        self.texts = {(index, name): content for index, name, _, content in page.texts}
        return page

    def next_index(self, start: int) -> int | None:
        """See ``LogSource``."""
        return self._source.next_index(start)


class _Watcher:
    """Compares each decision with the one that is recorded."""

    def __init__(
        self, report: ReplayReport, tap: _Tap, scratch: Scratch, *, text_secret: bytes | None, limit: int
    ) -> None:
        self._report = report
        self._tap = tap
        self._scratch = scratch
        self._secret = text_secret
        self._proved = False
        self._limit = limit

    def __call__(self, record: Record, found: dict[str, Any]) -> None:
        """One decision, made again."""
        report = self._report
        report.decisions += 1
        said = record.body.get("decision", {})
        rows: list[Row] = []
        packed = canonical_bytes(found)
        if packed != canonical_bytes(said):
            rows = [_shown(record, one) for one in _compared(said, parse(packed))]
        rows += self._fingerprint(record, said)
        if not rows:
            report.equal += 1
            return
        report.different += 1
        if len(report.differences) < self._limit:
            body, columns = record.body, record.columns
            agent = str(body.get("agent", ""))
            report.differences.append(
                Replayed(record.index, columns.kind, columns.subject, str(body["time"]), agent, tuple(rows))
            )

    def _fingerprint(self, record: Record, said: dict[str, Any]) -> list[Row]:
        """Whether the fingerprint that rules count by is that of what was asked, where that can still be told."""
        body = record.body
        recorded = body.get(FINGERPRINT)
        if recorded is None:
            return []
        request = body["request"]
        intent = self._tap.texts.get((record.index, "intent"))
        gone = intent is None and "intent" in request
        if self._secret is None or gone:
            self._unmade(record, said, gone=gone)
            return []
        again = fingerprint_of(
            self._secret,
            payee=request["payee"],
            resource=request.get("resource"),
            amount=format_atoms(int(request["amount"]), _digits(record.fold, request["currency"])),
            currency=request["currency"],
            intent=intent,
        )
        if again == recorded:
            self._proved = True
        elif not self._proved:
            # A book that came from a bundle has another secret than the one that its first records were made with.
            self._unmade(record, said, gone=False)
        else:
            return [Row("", None, DECISION, FINGERPRINT, str(recorded), again)]
        return []

    def _unmade(self, record: Record, said: dict[str, Any], *, gone: bool) -> None:
        """A fingerprint that cannot be made again: it counts where a rule looked at it."""
        if any(limit[2] == "attempts" for limit in said.get("limits", ())):
            self._scratch.texts.unmade(record.index, gone=gone)


def _compared(said: dict[str, Any], found: dict[str, Any]) -> list[ValueDifference]:
    try:
        return differences(said, found)
    except (*UNFOLLOWED, IndexError):
        shown = Value(canonical_bytes(found).decode()[:500])
        return [ValueDifference("", None, DECISION, "form", Value("(not the form of a decision)"), shown)]


def _digits(fold: Progress, currency: str) -> int:
    digits = currency_digits(currency)
    if digits is None:
        unit = fold.store.units.get(currency)
        digits = unit.digits if unit is not None else 0
    return digits


def _shown(record: Record, one: ValueDifference) -> Row:
    """A value that differs, with amounts as people write them."""
    currency = str(record.body.get("currency", "")) or str(record.body.get("request", {}).get("currency", ""))
    compiled = record.fold.compiled.get((one.policy, one.version or 0))
    if compiled is not None:
        rule = one.rule.partition(" ")[0]
        meters = {meter.id: meter for meter in compiled.meters}
        if rule in meters and meters[rule].currency is not None:
            currency = str(meters[rule].currency)

    def text(value: Value | None) -> str | None:
        if value is None or value.unit != MONEY or not value.text.lstrip("-").isdigit() or not currency:
            return None if value is None else value.text
        return f"{format_atoms(int(value.text), _digits(record.fold, currency))} {currency}"

    return Row(one.policy, one.version, one.rule, one.value, text(one.recorded), text(one.again))


def replay_source(
    source: LogSource,
    *,
    book_id: int,
    name: str,
    size: int,
    start: int,
    stop: int,
    text_secret: bytes | None,
    limit: int = DIFFERENCES_DEFAULT,
    progress: BookProgress | None = None,
    head: Callable[[], int] | None = None,
) -> ReplayReport:
    """Replay the decisions of records ``start`` to before ``stop`` of a log of ``size`` records; all before are only
    followed, and those behind only for redactions. ``head`` tells the size of a log that grows, as it is by then.

    Raises StorageError, or what the source raises."""
    began = time.monotonic()
    report = ReplayReport(name, start, min(stop, size))
    scratch, tap = Scratch(), _Tap(source)
    findings = Findings(LOG_DIFFERENCES_MAX)

    def tell(done: int, _total: int) -> None:
        if progress is not None:
            progress(name, done, report.stop)

    log = LogPass(tap, scratch, book_id, findings, progress=tell)
    try:
        log.fold.decides = False
        log.advance(report.start)
        log.fold.decides = True
        log.fold.watcher = _Watcher(report, tap, scratch, text_secret=text_secret, limit=limit)
        log.advance(report.stop)
        log.fold.decides = False
        scratch.write()
        if scratch.texts.any_unexplained():
            log.advance(size)
            scratch.write()
        for _ in range(LOOKS_AHEAD if head is not None else 0):
            if head is None or not scratch.texts.any_unexplained():
                break
            log.advance(head())
            scratch.write()
        report.complete = log.followed
        report.redacted, report.unmade = scratch.texts.count_unmade()
        report.redacted_indexes = scratch.texts.redacted_indexes(INDEXES_SHOWN)
    except EnoughFound:
        pass
    except ValueError as error:
        findings.differences.append(Difference("log_records", str(error)))
    finally:
        scratch.close()
    report.log_differences = findings.differences
    report.seconds = time.monotonic() - began
    return report


def replay_books(
    database_url: str,
    *,
    book: str | None = None,
    start: Bound = UNBOUND,
    stop: Bound = UNBOUND,
    limit: int = DIFFERENCES_DEFAULT,
    progress: BookProgress | None = None,
) -> Iterator[ReplayReport]:
    """Replay every book of a migrated database, or the one named ``book``, from ``start`` (included) to ``stop`` (not
    included; neither index nor moment: all there is). Raises NoSuchBook, StorageError."""
    engine = open_database(database_url)
    try:
        names = names_of_books(engine.connect)
        chosen = {book_id: name for book_id, name in names.items() if book is None or name == book}
        if book is not None and not chosen:
            raise NoSuchBook(f'there is no book "{book}" in this database')
        for book_id, name in sorted(chosen.items(), key=lambda item: (item[1], item[0])):
            reader = ProofReader(engine.connect, book_id)
            size = reader.size()
            with engine.connect() as connection:
                secret = queries_log.text_secret(connection, book_id)
            yield replay_source(
                reader,
                book_id=book_id,
                name=name,
                size=size,
                start=min(_index(engine, book_id, start, 0), size),
                stop=_index(engine, book_id, stop, size),
                text_secret=bytes(secret) if secret is not None else None,
                limit=limit,
                progress=progress,
                head=reader.size,
            )
    finally:
        engine.dispose()


def _index(engine: Engine, book_id: int, bound: Bound, otherwise: int) -> int:
    """The index of the first record at or behind a bound."""
    if bound.index is not None:
        return bound.index
    if bound.moment is None:
        return otherwise
    with engine.connect() as connection:
        return queries_log.size_at(connection, book_id, bound.moment - 1)


def timezone_of(database_url: str, book: str | None) -> str:
    """The time zone in which a range of the chosen book is meant: the book's, where there is one book or one is named;
    UTC for several. Raises StorageError."""
    engine = open_database(database_url)
    try:
        with engine.connect() as connection:
            zones = {
                found.timezone for found in queries_log.list_books(connection) if book is None or found.name == book
            }
    finally:
        engine.dispose()
    return zones.pop() if len(zones) == 1 else "UTC"
