"""Routes that read the books: accounts, balances, postings, the trial balance."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from api.problems import ProblemError
from api.reading import Cursor, Limit, Reading, answer, answer_page, cursor_parts, found, reading
from api.routes.answers import PROBLEMS
from api.routes.views import account_view, amount, posting_view, trial_balance_view
from api.schemas.fields import Moment, moment_or_none
from api.schemas.lists import AccountList, PostingList
from api.schemas.money_moves import AccountView, BalanceView, TrialBalanceView
from ledger.core.account import Account
from ledger.core.moment import moment_text
from ledger.storage import queries_accounts

router = APIRouter(prefix="/v1", responses=PROBLEMS, tags=["accounts"])
AccountName = Annotated[str, Path(max_length=200, description="Such as budgets:research:spent.")]
Currency = Annotated[
    str | None,
    Query(max_length=64, pattern="^[ -~]*$", description="Needed only where the account has several currencies."),
]
Kind = Literal["asset", "liability", "equity", "income", "expense", "budgetary"]


def _account(read: Reading, name: str, currency: str | None) -> Account:
    """The account of that name. Raises ProblemError when there is none, or one in each of several currencies."""
    named = queries_accounts.accounts_named(read.connection, read.book_id, name)
    if currency is not None:
        named = [account for account in named if account.currency == currency]
    if len(named) > 1:
        currencies = [account.currency for account in named]
        raise ProblemError(
            "validation_failed",
            f"account {name} has several currencies; add currency= with one of {', '.join(currencies[:20])}",
            facts={"currencies": currencies},
        )
    return found(named[0] if named else None, f"account {name}")


@router.get("/accounts", response_model=AccountList)
def list_accounts(request: Request, limit: Limit = 50, cursor: Cursor = None, kind: Kind | None = None) -> Response:
    """List accounts by name, with their balances."""
    with reading(request, "read_all") as read:
        page = queries_accounts.list_accounts(
            read.connection, read.book_id, kind=kind, after=cursor_parts(cursor, str, str), limit=limit
        )
        scale = read.scale(account.currency for account in page.items)
    return answer_page(page, lambda account: account_view(account, scale))


@router.get("/accounts/{account}", response_model=AccountView)
def get_account(request: Request, account: AccountName, currency: Currency = None) -> Response:
    """One account and its balance."""
    with reading(request, "read_all") as read:
        shown = _account(read, account, currency)
        scale = read.scale((shown.currency,))
    return answer(account_view(shown, scale))


@router.get("/accounts/{account}/balance", response_model=BalanceView)
def get_balance(
    request: Request,
    account: AccountName,
    currency: Currency = None,
    as_of: Annotated[Moment | None, Query(description="A past moment, itself included; now without it.")] = None,
    basis: Annotated[
        Literal["recorded", "effective"],
        Query(
            description="Of a past balance: by what counts for that moment, whenever it was recorded (effective), or "
            "by what had been recorded by then (recorded)."
        ),
    ] = "effective",
) -> Response:
    """The balance, debits less credits, now or at a past moment. A past balance goes by the day an entry counts for,
    so one that was backdated later is in it; with ``basis=recorded`` it is what the book said at that moment."""
    with reading(request, "read_all") as read:
        found_account = _account(read, account, currency)
        moment = moment_or_none(as_of)
        atoms = found_account.balance
        if moment is not None:
            atoms = queries_accounts.balance_at(
                read.connection, read.book_id, found_account.account_no, moment, basis=basis
            )
        scale = read.scale((found_account.currency,))
    shown: dict[str, Any] = {
        "account": found_account.name,
        "kind": found_account.kind,
        "currency": found_account.currency,
        "balance": amount(atoms, found_account.currency, scale),
        "as_of": moment_text(moment) if moment is not None else None,
        "basis": basis if moment is not None else None,
    }
    return answer(shown)


@router.get("/accounts/{account}/postings", response_model=PostingList)
def list_postings(
    request: Request,
    account: AccountName,
    limit: Limit = 50,
    cursor: Cursor = None,
    currency: Currency = None,
    order: Literal["newest", "oldest"] = "newest",
    recorded_from: Annotated[Moment | None, Query(alias="from", description="Recorded then or later.")] = None,
    recorded_to: Annotated[Moment | None, Query(alias="to", description="Recorded before then.")] = None,
) -> Response:
    """An account's postings, each with the balance after it."""
    with reading(request, "read_all") as read:
        found_account = _account(read, account, currency)
        page = queries_accounts.list_postings(
            read.connection,
            read.book_id,
            found_account.account_no,
            recorded_from=moment_or_none(recorded_from),
            recorded_to=moment_or_none(recorded_to),
            newest_first=order == "newest",
            after=cursor_parts(cursor, int, int),
            limit=limit,
        )
        scale = read.scale((found_account.currency,))
    return answer_page(page, lambda posting: posting_view(posting, found_account.currency, scale))


@router.get("/trial-balance", response_model=TrialBalanceView)
def trial_balance(request: Request) -> Response:
    """Every account with its balance on the side where it stands. Budgetary and real accounts are summed apart, and
    debits equal credits in each sort and currency."""
    with reading(request, "read_all") as read:
        shown = found(queries_accounts.trial_balance(read.connection, read.book_id), "book")
        scale = read.scale(line.currency for line in shown.lines)
    return answer(trial_balance_view(shown, scale))
