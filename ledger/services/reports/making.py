"""Making a report: from what was asked to its tables, as of one size of the log.

Owns ``Reports``. Invariants: what is not asked is filled in from the log up to the size, and never from the clock, so
that the same question has the same answer for ever; nothing is read before the lines of that size are written.
"""

from collections.abc import Callable
from typing import Final

from sqlalchemy import Engine

from ledger.core.buckets import parts_of
from ledger.core.burning import DAYS_DEFAULT
from ledger.core.period import Period, parse_period, period_of
from ledger.core.report import (
    BUDGETS,
    CHARGEBACK,
    CHARGEBACK_KEYS,
    EXCLUDED,
    INCOME,
    OUTCOME_KEYS,
    OUTCOMES,
    PAYABLES,
    PER_ALL,
    TRIAL_BALANCE,
    Asked,
    Report,
    ReportRefused,
    parse_by,
)
from ledger.core.spend_line import date_of
from ledger.core.statement import StatementLog
from ledger.core.windows import date_at
from ledger.services.errors import UnknownBook
from ledger.services.lining import Liner, LinesUnavailable
from ledger.services.proving import Prover
from ledger.services.reports.balances import payables, trial_balance
from ledger.services.reports.budgets import budgets
from ledger.services.reports.chargeback import chargeback
from ledger.services.reports.income import income
from ledger.services.reports.outcomes import outcomes
from ledger.services.reports.reading import Reach
from ledger.services.reports.shaping import Made
from ledger.services.statements.making import Digits
from ledger.services.tiling import Tiler
from ledger.storage import queries_log, queries_principals, queries_reports
from ledger.storage.side_writer import SideWriter

PER_OF_INCOME: Final = "month"
Parameters = dict[str, str]


class Reports:
    """Makes reports of the books of a database. Safe to be used by several threads and processes."""

    def __init__(self, engine: Engine, side: SideWriter, liner: Liner | None = None) -> None:
        self._engine = engine
        self._liner = liner if liner is not None else Liner(engine, side)
        self._prover = Prover(engine, Tiler(engine, side))

    def make(
        self,
        book_id: int,
        asked: Asked,
        *,
        at_size: int | None = None,
        records_max: int | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Report:
        """The report as the first ``at_size`` records say (None: all that there are). Lines that are not written yet
        are, ``records_max`` records at most.

        Raises ReportRefused, ReportBroken; LinesUnavailable, ProofUnavailable and other ServiceError; StorageError.
        """
        asked.check()
        with self._engine.connect() as connection:
            book = queries_log.book_by_id(connection, book_id)
            head = queries_log.head(connection, book_id)
        if book is None or head is None:
            raise UnknownBook
        size = head.size if at_size is None else at_size
        if not 1 <= size <= head.size:
            raise ReportRefused("at_size", f"the log has {head.size} records: at_size is from 1 to {head.size}")
        if asked.name != TRIAL_BALANCE:
            # Which needs none: balances stand with the transfers.
            self._liner.catch_up(book_id, size, records_max=records_max, progress=progress)
        root = head.root if size == head.size else self._prover.consistency(book_id, size).first_root
        with self._engine.connect() as connection:
            last = queries_log.record(connection, book_id, size - 1)
        if last is None:
            raise LinesUnavailable(f"record {size - 1} is missing; run 'bursar verify'")
        digits = Digits(self._engine, book_id)
        reach = Reach(self._engine, book, size, last.recorded_at)
        made, parameters = _MAKERS[asked.name](self, reach, asked)
        return Report(
            asked.name, book.name, book.timezone, parameters, StatementLog(size, root, last.recorded_at), digits,
            made.tables, made.notes,
        )  # fmt: skip

    # One for each report: its tables, and all parameters that it was made with.

    def _trial_balance(self, reach: Reach, asked: Asked) -> tuple[Made, Parameters]:
        if asked.as_of is None:
            return trial_balance(reach, None), {}
        day = _day(reach, asked.as_of)
        return trial_balance(reach, day), {"as_of": day.text}

    def _payables(self, reach: Reach, asked: Asked) -> tuple[Made, Parameters]:
        day = _day(reach, asked.as_of)
        return payables(reach, day), {"as_of": day.text}

    def _budgets(self, reach: Reach, asked: Asked) -> tuple[Made, Parameters]:
        day = _day(reach, asked.as_of)
        days = DAYS_DEFAULT if asked.days is None else asked.days
        return budgets(reach, day, days), {"as_of": day.text, "days": str(days)}

    def _income(self, reach: Reach, asked: Asked) -> tuple[Made, Parameters]:
        period, per = self._period(reach, asked.period), asked.per or PER_OF_INCOME
        made = income(reach, period, parts_of(period, per, reach.timezone))
        return made, {"period": period.text, "per": per}

    def _chargeback(self, reach: Reach, asked: Asked) -> tuple[Made, Parameters]:
        by, per = parse_by(asked.by, CHARGEBACK_KEYS), asked.per or PER_ALL
        period, agent = self._period(reach, asked.period), self._agent(reach, asked.agent)
        made = chargeback(reach, period, parts_of(period, per, reach.timezone), by, per, agent)
        return made, {"period": period.text, "by": by, "per": per, **({"agent": agent} if agent else {})}

    def _outcomes(self, reach: Reach, asked: Asked) -> tuple[Made, Parameters]:
        by, without = parse_by(asked.by, OUTCOME_KEYS), asked.without_outcome or EXCLUDED
        period, agent = self._period(reach, asked.period), self._agent(reach, asked.agent)
        made, baseline = outcomes(reach, period, by, asked.baseline, without, agent)
        said = {"period": period.text, "by": by, "without_outcome": without}
        said |= {"baseline": baseline} if baseline is not None else {}
        return made, {**said, **({"agent": agent} if agent else {})}

    def _agent(self, reach: Reach, reference: str | None) -> str | None:
        if reference is None:
            return None
        with self._engine.connect() as connection:
            found = queries_principals.agent(connection, reach.book_id, reference)
        if found is None or found.created_index >= reach.size:
            raise ReportRefused("agent", f"there is no agent {reference[:80]} in the first {reach.size} records")
        return found.name

    def _period(self, reach: Reach, text: str | None) -> Period:
        """The period asked for; without one, from the first day that anything counts for to that of the last record."""
        if text is not None:
            try:
                return parse_period(text, reach.timezone)
            except ValueError as error:
                raise ReportRefused("period", str(error)) from error
        with self._engine.connect() as connection:
            first = queries_reports.first_moment(connection, reach.book_id, size=reach.size)
        starts_at = min(reach.book.opened_at, reach.newest_at if first is None else first)
        return period_of(date_at(reach.timezone, starts_at), date_of(reach.newest_day), reach.timezone)


_MAKERS: Final[dict[str, Callable[[Reports, Reach, Asked], tuple[Made, Parameters]]]] = {
    TRIAL_BALANCE: Reports._trial_balance,
    INCOME: Reports._income,
    PAYABLES: Reports._payables,
    BUDGETS: Reports._budgets,
    CHARGEBACK: Reports._chargeback,
    OUTCOMES: Reports._outcomes,
}


def _day(reach: Reach, text: str | None) -> Period:
    """The day at whose end balances are taken: the last record's, unless another is asked for."""
    if text is None:
        day = date_of(reach.newest_day)
        return period_of(day, day, reach.timezone)
    try:
        found = parse_period(text, reach.timezone)
    except ValueError as error:
        raise ReportRefused("as_of", str(error)) from error
    if found.first != found.last:
        last = found.last.isoformat()
        raise ReportRefused("as_of", f"balances are taken at the end of one day: write the day, such as {last}")
    return found
