"""What an agent may still spend, in the answer of ``GET /v1/me``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from api.schemas.answers import MoneyAnswer


class ScopeView(BaseModel):
    """Whom a policy applies to."""

    kind: Literal["book", "team", "agent", "budget"]
    name: str | None = None


class UseView(BaseModel):
    """What was used and what is left, in money, in counts, or in both."""

    used: MoneyAnswer | None = None
    remaining: MoneyAnswer | None = None
    used_count: int | None = None
    remaining_count: int | None = None


class KeyUseView(UseView):
    """What was used under one key of a limit that counts each apart."""

    key: list[str] = Field(description="The values of by.")


class LimitLeftView(UseView):
    """A limit. One that counts each run, payee or the like apart lists the ``keys`` that have used anything, at most 20
    (``more_keys``: there are others); a key that is not listed has all of the limit left."""

    id: str
    window: str
    on: str | None = Field(default=None, description="runs: it limits the opening of runs.")
    limit: MoneyAnswer | None = None
    limit_count: int | None = None
    resets_at: str | None = None
    match: dict[str, Any] | None = Field(default=None, description="Which requests it is about; left out: all.")
    by: list[str] | None = None
    keys: list[KeyUseView] | None = None
    more_keys: bool | None = None


class ThresholdLeftView(UseView):
    """An approval threshold: persons are asked where the request, or what was used with it, is above it."""

    id: str
    window: str
    above: MoneyAnswer
    approvers: list[str]
    quorum: int
    expires_after: int = Field(description="Seconds that persons have to decide.")
    match: dict[str, Any] | None = None
    by: list[str] | None = None
    keys: list[KeyUseView] | None = None
    more_keys: bool | None = None


class HoursView(BaseModel):
    """When the policy allows spending."""

    model_config = {"populate_by_name": True}

    days: list[str]
    from_: str = Field(alias="from")
    to: str
    timezone: str
    open: bool = Field(description="Whether it does now.")
    opens_at: str | None = None


class PolicyLeftView(BaseModel):
    """A policy that judges what the agent asks for. Of several, each must be kept."""

    name: str
    version: int
    digest: str
    scope: ScopeView
    shadow: bool = Field(description="True: it refuses nothing yet.")
    budgets: list[str] | None = Field(default=None, description="The budgets it judges; left out: all.")
    limits: list[LimitLeftView]
    approval: list[ThresholdLeftView]
    hours: HoursView | None = None
    error: str | None = Field(default=None, description="Why it cannot be evaluated, and so denies everything.")
