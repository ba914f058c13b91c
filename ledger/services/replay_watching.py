"""A decision that was made again, beside the one that is recorded: what differs, and which fingerprint cannot be told.

Owns ``DecisionWatcher``, which the fold tells of each decision, and the report that it fills. Invariants: a difference
names the record, the rule and both values; so many differences are kept as were asked for, while all are counted.
"""

from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from ledger.core.canonical import canonical_bytes, parse
from ledger.core.comparing_decisions import DECISION, MONEY, Value, differences
from ledger.core.comparing_decisions import Difference as ValueDifference
from ledger.core.fingerprint import fingerprint_of
from ledger.core.invariants import Difference
from ledger.core.money import currency_digits, format_atoms
from ledger.core.projecting_record import Progress, Record
from ledger.services.verify_log import UNFOLLOWED
from ledger.storage.scratch import Scratch

FINGERPRINT: Final = "fingerprint"


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


class Texts(Protocol):
    """What knows the free texts beside the records at hand."""

    texts: dict[tuple[int, str], str]
    """By (log index, field)."""


class DecisionWatcher:
    """Compares each decision with the one that is recorded, and counts it in a report; at most ``limit`` are kept."""

    def __init__(
        self, report: ReplayReport, tap: Texts, scratch: Scratch, *, text_secret: bytes | None, limit: int
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
