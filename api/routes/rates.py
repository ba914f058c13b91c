"""Routes of rates of exchange."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from api.reading import Cursor, Limit, answer_page, cursor_parts, reading
from api.rendering_exchange import rate_view
from api.routes.answers import PROBLEMS
from api.schemas.rates import Currency, Day, RateList, RatesRequest, RatesView
from api.writing import Writing, body_of, writing
from ledger.core import ids
from ledger.core.command_rates import GivenRate, GiveRates
from ledger.core.rate import day_number
from ledger.storage import queries_rates

router = APIRouter(prefix="/v1", responses=PROBLEMS, tags=["finance"])
Write = Annotated[Writing, Depends(writing)]


@router.post("/rates", status_code=201, response_model=RatesView)
async def give_rates(write: Write, asked: Annotated[RatesRequest, body_of(RatesRequest)]) -> Response:
    """Give rates of exchange, by which requests in another currency than their budget's are converted from their day
    on."""
    return await write.decide(
        GiveRates(
            **write.who,
            id=write.new_id(ids.RATE),
            rates=tuple(
                GivenRate(base=one.base, quote=one.quote, rate=one.rate, day=day_number(one.valid_from))
                for one in asked.given()
            ),
            source=asked.source,
            max_age_days=asked.max_age_days,
            reason=asked.reason,
        )
    )


@router.get("/rates", response_model=RateList)
def list_rates(
    request: Request,
    limit: Limit = 50,
    cursor: Cursor = None,
    base: Annotated[Currency | None, Query(description="Only rates of this currency.")] = None,
    quote: Annotated[Currency | None, Query(description="Only rates in this currency.")] = None,
    first: Annotated[Day | None, Query(alias="from", description="From this day on.")] = None,
    last: Annotated[Day | None, Query(alias="to", description="Up to this day, included.")] = None,
) -> Response:
    """List the rates that are there, by pair and day: of each pair and day the one that was given last."""
    wanted = queries_rates.RateFilter(
        base, quote, None if first is None else day_number(first), None if last is None else day_number(last)
    )
    with reading(request, "read_all") as read:
        page = queries_rates.list_rates(
            read.connection, read.book_id, wanted, after=cursor_parts(cursor, str, int), limit=limit
        )
    return answer_page(page, rate_view)
