"""The journal over HTTP, for other programs: whole, of a period, or since the last time.

Invariants: only roles that read all see it; it is sent as it is read, in constant memory; an answer says in its headers
where the next one carries on; what breaks off ends the connection before its end and never looks whole.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import PlainTextResponse, Response
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from api.edge_state import context_of
from api.files import file_answer
from api.problems import ProblemError
from api.reading import reading
from api.routes.answers import PROBLEMS
from api.routes.statements import UNWRITTEN_MAX, invalid
from ledger.core.period import FORMS
from ledger.services.journal.formats import FORMATS, file_name, make_journal
from ledger.services.journal.making import JournalRefused
from ledger.services.lining import LinesUnavailable
from ledger.services.tiling import ProofUnavailable

router = APIRouter(prefix="/v1", responses=PROBLEMS, tags=["statements"])
NEXT_HEADER: Final = "Bursar-Journal-Next"
_FILES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The file.",
        "content": {form.media_type.split(";")[0]: {"schema": {"type": "string"}} for form in FORMATS.values()},
        "headers": {
            NEXT_HEADER: {
                "description": "The cursor that this export goes to, for since of the next one.",
                "schema": {"type": "string"},
            }
        },
    }
}


def _known_format(name: str) -> str:
    if name not in FORMATS:
        raise PydanticCustomError(
            "format", "There is no such format; use one of {formats}", {"formats": ", ".join(FORMATS)}
        )
    return name


@router.get("/journal", response_class=PlainTextResponse, responses=_FILES)
def get_journal(
    request: Request,
    format: Annotated[
        str,
        AfterValidator(_known_format),
        Query(description="How it is written.", json_schema_extra={"enum": [*FORMATS]}),
    ],
    since: Annotated[
        str | None,
        Query(max_length=128, description=f"Carry on where an export ended: its {NEXT_HEADER}, or beginning."),
    ] = None,
    period: Annotated[
        str | None,
        Query(max_length=64, description=f"Only what counts for these days in the book's time zone: {FORMS}."),
    ] = None,
    at_size: Annotated[
        int | None,
        Query(ge=1, le=2**53, description="Of the first so many records of the log; all of them without it."),
    ] = None,
    balances: Annotated[
        Literal["with", "without", "only"] | None,
        Query(
            description="Whether a journal as text has the balances at month ends by which another program checks it. "
            "Left out: with them, without them where since is given."
        ),
    ] = None,
    header: Annotated[
        bool | None,
        Query(description="Names of the columns. Left out: only where it begins with the first record."),
    ] = None,
) -> Response:
    """The journal for other programs: for beancount and hledger, as CSV with a row for each posting, as FOCUS 1.4 (CSV
    or Parquet), or inference calls with OpenTelemetry's names (CSV or JSON lines). The same ``since``, ``period`` and
    ``at_size`` give the same bytes; pieces that carry on from one another are, put end to end, one export of all."""
    with reading(request, "read_all") as read:
        book_id = read.book_id
    form = FORMATS[format]
    try:
        made = make_journal(
            context_of(request).journals,
            book_id,
            form,
            balances=balances,
            header=header,
            records_max=UNWRITTEN_MAX,
            since=since,
            period=period,
            at_size=at_size,
        )
    except JournalRefused as error:
        raise invalid(error.field, str(error)) from error
    except (LinesUnavailable, ProofUnavailable) as error:
        raise ProblemError("statement_unavailable", str(error)) from error
    headers = {
        "content-disposition": f'attachment; filename="{file_name(made, form)}"',
        NEXT_HEADER: str(made.end),
    }
    return file_answer(form.write(made), media_type=form.media_type, headers=headers)
