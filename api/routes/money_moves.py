"""Routes of finance: charges, refunds, reprices and adjustments."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from api.routes.answers import PROBLEMS
from api.routes.corrections import WAITS
from api.schemas.fields import moment_or_none
from api.schemas.money_moves import AdjustmentRequest, ChargeRequest, EntryResponse, RefundRequest, RepriceRequest
from api.writing import Writing, body_of, writing
from ledger.core import ids
from ledger.core.command import Adjust, AdjustmentTransfer, Charge, Refund, Reprice
from ledger.core.metering import pairs_of

router = APIRouter(prefix="/v1", responses=PROBLEMS, tags=["finance"])
Write = Annotated[Writing, Depends(writing)]


@router.post("/charges", status_code=201, response_model=EntryResponse, responses=WAITS)
async def charge(write: Write, asked: Annotated[ChargeRequest, body_of(ChargeRequest)]) -> Response:
    """Record spend that nobody authorized. It is never refused for lack of money."""
    return await write.decide(
        Charge(
            **write.who,
            id=write.new_id(ids.CHARGE),
            budget=asked.budget,
            amount=asked.amount.amount,
            currency=asked.amount.currency,
            category=asked.category,
            payee=asked.payee,
            agent=asked.agent,
            run=asked.run,
            resource=asked.resource,
            reason=asked.reason,
            evidence=asked.evidence,
            effective_at=moment_or_none(asked.effective_at),
        )
    )


@router.post("/refunds", status_code=201, response_model=EntryResponse, responses=WAITS)
async def refund(write: Write, asked: Annotated[RefundRequest, body_of(RefundRequest)]) -> Response:
    """Take back part or all of what an authorization or a charge settled."""
    return await write.decide(
        Refund(
            **write.who,
            id=write.new_id(ids.REFUND),
            authorization=asked.authorization,
            amount=asked.amount.amount,
            currency=asked.amount.currency,
            category=asked.category,
            payee=asked.payee,
            reason=asked.reason,
            effective_at=moment_or_none(asked.effective_at),
        )
    )


@router.post("/reprices", status_code=201, response_model=EntryResponse, responses=WAITS)
async def reprice(write: Write, asked: Annotated[RepriceRequest, body_of(RepriceRequest)]) -> Response:
    """Correct what was settled at a wrong price, by an adjustment that names both prices. It changes nothing where
    ``settled`` is not what is recorded."""
    return await write.decide(
        Reprice(
            **write.who,
            id=write.new_id(ids.ADJUSTMENT),
            authorization=asked.authorization,
            settled=asked.settled.amount,
            amount=asked.amount.amount,
            currency=asked.amount.currency,
            old_price=pairs_of(asked.old_price),
            new_price=pairs_of(asked.new_price),
            reason=asked.reason,
            category=asked.category,
            payee=asked.payee,
            effective_at=moment_or_none(asked.effective_at),
        )
    )


@router.post("/adjustments", status_code=201, response_model=EntryResponse, responses=WAITS)
async def adjust(write: Write, asked: Annotated[AdjustmentRequest, body_of(AdjustmentRequest)]) -> Response:
    """Record balanced transfers, with a reason. History itself is never edited."""
    transfers = tuple(
        AdjustmentTransfer(item.debit, item.credit, item.amount.amount, item.amount.currency)
        for item in asked.transfers
    )
    return await write.decide(
        Adjust(
            **write.who,
            id=write.new_id(ids.ADJUSTMENT),
            transfers=transfers,
            reason=asked.reason,
            corrects=asked.corrects,
            effective_at=moment_or_none(asked.effective_at),
        )
    )
