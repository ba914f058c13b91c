"""Bodies of statements, as JSON."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from api.schemas.answers import MoneyAnswer

_DAY = "A day in the book's time zone, such as 2026-11-05."


class StatementScope(BaseModel):
    """What a statement is of; the whole book has no name."""

    kind: Literal["book", "budget", "agent", "team", "payee", "account", "run"]
    name: str | None


class StatementPeriod(BaseModel):
    """Whole days in the book's time zone: ``last_day`` is in it, ``to`` is not."""

    name: str = Field(examples=["2026-11"])
    first_day: str = Field(description=_DAY)
    last_day: str = Field(description=_DAY)
    timezone: str
    from_: str = Field(alias="from")
    to: str


class StatementLog(BaseModel):
    """The log that a statement stands on; ``at_size`` with this size gives the same statement for ever."""

    size: int
    root: str = Field(description="64 hexadecimal digits.")
    recorded_at: str


class StatementCheckpoint(BaseModel):
    """The last signed checkpoint of fewer records."""

    size: int
    root: str = Field(description="64 hexadecimal digits.")
    signed_at: str
    origin: str = Field(description="The log's name in its checkpoints.", examples=["bursar/acme-0123abcd"])


class LineLink(BaseModel):
    """Another line: the index of its record, the day it counts for, what it was for and what it added to what was
    spent."""

    log_index: int
    day: str = Field(description=_DAY)
    kind: str
    budget: str | None
    category: str | None
    payee: str | None
    cost: MoneyAnswer


class StatementLine(BaseModel):
    """One line. ``amount`` is what it adds to the balance, ``balance`` what that is after it, ``cost`` what it adds to
    what was spent."""

    log_index: int
    position: int
    kind: str
    day: str = Field(description=_DAY)
    effective_at: str
    recorded_at: str
    meant_for: str | None = Field(
        description="The moment that it would count for, if the month of that moment were not closed."
    )
    authorization: str | None
    agent: str | None
    run: str | None
    budget: str | None
    category: str | None
    payee: str | None
    resource: str | None
    labels: dict[str, str]
    approvals: list[str]
    approved_by: list[str]
    flags: list[str]
    corrects: LineLink | None
    corrected_by: list[LineLink]
    other_account: str | None
    cost: MoneyAnswer
    amount: MoneyAnswer
    balance: MoneyAnswer


class StatementHold(BaseModel):
    """A hold that was open: in no balance but those of available and held together."""

    log_index: int
    authorization: str
    state: Literal["held", "pending_approval"]
    agent: str | None
    run: str | None
    budget: str
    category: str
    payee: str
    resource: str | None
    flags: list[str]
    opened_at: str
    expires_at: str | None
    held: MoneyAnswer


class KindSubtotal(BaseModel):
    """What the lines of one kind add to the balance."""

    kind: str
    lines: int
    amount: MoneyAnswer


class PayeeSubtotal(BaseModel):
    """What was spent with one payee; null: with none."""

    payee: str | None
    lines: int
    amount: MoneyAnswer


class CategorySubtotal(BaseModel):
    """What was spent for one category; null: for none."""

    category: str | None
    lines: int
    amount: MoneyAnswer


class AgentSubtotal(BaseModel):
    """What one agent spent; null: what no agent did."""

    agent: str | None
    lines: int
    amount: MoneyAnswer


class StatementTotals(BaseModel):
    """What the lines add up to, and how many of them to look at."""

    lines: int
    movements: list[KindSubtotal]
    by_payee: list[PayeeSubtotal]
    by_category: list[CategorySubtotal]
    by_agent: list[AgentSubtotal]
    flags: dict[str, int]
    backdated: int
    corrections: int
    corrected: int


class StatementView(BaseModel):
    """A statement. ``opening`` and the amounts of ``lines`` add up to ``closing`` in each currency."""

    book: str
    scope: StatementScope
    measure: Literal["unspent", "spent", "owed", "debits_less_credits"]
    period: StatementPeriod
    log: StatementLog
    checkpoint: StatementCheckpoint | None
    opening: list[MoneyAnswer]
    closing: list[MoneyAnswer]
    held: list[MoneyAnswer]
    lines: list[StatementLine]
    holds: list[StatementHold]
    totals: StatementTotals
