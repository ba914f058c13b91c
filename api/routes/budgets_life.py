"""Routes of a budget's life and of stopping: renewal, closing, freezing a budget or the whole book."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path
from fastapi.responses import Response

from api.routes.answers import PROBLEMS
from api.schemas.budgets_life import (
    BookFrozenView,
    BudgetClosedView,
    BudgetFrozenView,
    BudgetRenewalView,
    CloseRequest,
    RenewalRequest,
    StopRenewalRequest,
    UnfreezeRequest,
)
from api.schemas.setting_up import FreezeRequest
from api.writing import Writing, body_of, writing
from ledger.core.command_budgets import CloseBudget, FreezeBook, FreezeBudget, SetRenewal, StopRenewal
from ledger.core.outcome import Status

router = APIRouter(prefix="/v1", responses=PROBLEMS)
Write = Annotated[Writing, Depends(writing)]
Reference = Annotated[str, Path(max_length=64, description="Name or id.")]
_NO_BUDGET: Final = {Status.UNKNOWN_BUDGET: (Status.NOT_FOUND, "")}
"""A budget that the path names and that is not there is a path that leads nowhere."""


@router.post("/budgets/{budget}/renewal", response_model=BudgetRenewalView, tags=["budgets"])
async def set_renewal(
    budget: Reference, write: Write, asked: Annotated[RenewalRequest, body_of(RenewalRequest)]
) -> Response:
    """Renew a budget from the next midnight of the book on that begins a period; replaces the setting there was."""
    command = SetRenewal(
        **write.who,
        budget=budget,
        every=asked.every,
        amount=asked.amount.amount,
        currency=asked.amount.currency,
        carry_over=asked.carry_over.amount if asked.carry_over is not None else "0",
        reason=asked.reason,
    )
    return await write.decide(command, instead=_NO_BUDGET)


@router.post("/budgets/{budget}/renewal/stop", response_model=BudgetRenewalView, tags=["budgets"])
async def stop_renewal(
    budget: Reference, write: Write, asked: Annotated[StopRenewalRequest, body_of(StopRenewalRequest)]
) -> Response:
    """Renew a budget no more. What it has stays."""
    return await write.decide(StopRenewal(**write.who, budget=budget, reason=asked.reason), instead=_NO_BUDGET)


@router.post("/budgets/{budget}/close", response_model=BudgetClosedView, tags=["budgets"])
async def close_budget(
    budget: Reference, write: Write, asked: Annotated[CloseRequest, body_of(CloseRequest)]
) -> Response:
    """Close a budget for good, once nothing is held in it and no budget below it is open. What is available goes back
    to the parent, or to the book's authority."""
    return await write.decide(CloseBudget(**write.who, budget=budget, reason=asked.reason), instead=_NO_BUDGET)


@router.post("/budgets/{budget}/freeze", response_model=BudgetFrozenView, tags=["budgets"])
async def freeze_budget(
    budget: Reference, write: Write, asked: Annotated[FreezeRequest, body_of(FreezeRequest)]
) -> Response:
    """Freeze a budget with all below it: nothing new is approved, what is held can still be settled."""
    command = FreezeBudget(**write.who, budget=budget, frozen=True, reason=asked.reason)
    return await write.decide(command, instead=_NO_BUDGET)


@router.post("/budgets/{budget}/unfreeze", response_model=BudgetFrozenView, tags=["budgets"])
async def unfreeze_budget(
    budget: Reference, write: Write, asked: Annotated[UnfreezeRequest, body_of(UnfreezeRequest)]
) -> Response:
    """Undo the freeze of a budget, with a reason."""
    command = FreezeBudget(**write.who, budget=budget, frozen=False, reason=asked.reason)
    return await write.decide(command, instead=_NO_BUDGET)


@router.post("/book/freeze", response_model=BookFrozenView, tags=["book"])
async def freeze_book(write: Write, asked: Annotated[FreezeRequest, body_of(FreezeRequest)]) -> Response:
    """Freeze the whole book: nothing new is approved in any process, what is held can still be settled."""
    return await write.decide(FreezeBook(**write.who, frozen=True, reason=asked.reason))


@router.post("/book/unfreeze", response_model=BookFrozenView, tags=["book"])
async def unfreeze_book(write: Write, asked: Annotated[UnfreezeRequest, body_of(UnfreezeRequest)]) -> Response:
    """Undo the freeze of the book, with a reason."""
    return await write.decide(FreezeBook(**write.who, frozen=False, reason=asked.reason))
