"""Pages of every list: items, and the cursor of the next page."""

from __future__ import annotations

from pydantic import BaseModel, Field

from api.schemas.authorizations import AuthorizationView
from api.schemas.budgets_life import RenewedView
from api.schemas.money_moves import AccountView, EntryView, PostingView, RecordView
from api.schemas.setting_up import AgentView, BudgetView, KeyView, NameView, RunView, UnitView


class PageModel(BaseModel):
    """What every page has."""

    next_cursor: str | None = Field(default=None, description="Send it as cursor for the next page; null at the end.")


class AgentList(PageModel):
    """A page of agents or teams."""

    items: list[AgentView]


class KeyList(PageModel):
    """A page of keys."""

    items: list[KeyView]


class BudgetList(PageModel):
    """A page of budgets."""

    items: list[BudgetView]


class RunList(PageModel):
    """A page of runs."""

    items: list[RunView]


class AuthorizationList(PageModel):
    """A page of authorizations and charges."""

    items: list[AuthorizationView]


class AccountList(PageModel):
    """A page of accounts."""

    items: list[AccountView]


class PostingList(PageModel):
    """A page of postings."""

    items: list[PostingView]


class EntryList(PageModel):
    """A page of charges, refunds, adjustments, or a budget's allocations and deallocations."""

    items: list[EntryView]


class RenewalList(PageModel):
    """A page of a budget's renewals."""

    items: list[RenewedView]


class RecordList(PageModel):
    """A page of log records."""

    items: list[RecordView]


class UnitList(PageModel):
    """A page of units."""

    items: list[UnitView]


class NameList(PageModel):
    """A page of categories or payees."""

    items: list[NameView]
