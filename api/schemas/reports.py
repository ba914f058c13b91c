"""Bodies of reports, as JSON."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from api.schemas.answers import MoneyAnswer

Cell = MoneyAnswer | str | int | None


class ReportLog(BaseModel):
    """The log that a report stands on; ``at_size`` with this size gives the same report for ever."""

    size: int
    root: str = Field(description="64 hexadecimal digits.")
    recorded_at: str


class ReportColumn(BaseModel):
    """A column: ``money`` is an amount with its currency, ``number`` decimal text, ``count`` a whole number, ``day`` a
    day in the book's time zone."""

    name: str
    kind: Literal["text", "day", "count", "money", "number"]


class ReportTable(BaseModel):
    """A table; a row has a member for each column, null where there is nothing to say."""

    name: str
    columns: list[ReportColumn]
    rows: list[dict[str, Cell]]


class ReportView(BaseModel):
    """A report. ``parameters`` are those that it was made with, also where they were not asked for."""

    report: Literal["trial-balance", "income", "payables", "budgets", "chargeback", "outcomes"]
    book: str
    timezone: str
    parameters: dict[str, str]
    log: ReportLog
    notes: list[str]
    tables: list[ReportTable]
