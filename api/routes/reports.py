"""Reports over HTTP: over the whole book, as of a size of the log, in a format.

Invariants: whoever asks sees what their role reads, and an agent what concerns itself; what a report does not take is
refused and never left out in silence.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from api.edge_state import context_of
from api.problems import ProblemError
from api.reading import Reading, reading
from api.routes.answers import PROBLEMS
from api.routes.statements import UNWRITTEN_MAX, invalid
from api.schemas.reports import ReportView
from ledger.core import roles
from ledger.core.burning import DAYS_DEFAULT, DAYS_MAX
from ledger.core.outcome import Status
from ledger.core.period import FORMS
from ledger.core.report import (
    CHARGEBACK_KEYS,
    OUTCOME_KEYS,
    OWN_REPORTS,
    PER,
    REPORTS,
    WITHOUT_OUTCOME,
    Asked,
    ReportRefused,
)
from ledger.services.lining import LinesUnavailable
from ledger.services.reports.formats import JSON, REPORT_FORMATS, accepted, file_name
from ledger.services.tiling import ProofUnavailable

router = APIRouter(prefix="/v1", responses=PROBLEMS, tags=["reports"])
_OTHER_FORMATS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            form.media_type.split(";")[0]: {"schema": {"type": "string"}}
            for form in REPORT_FORMATS.values()
            if form is not JSON
        }
    }
}
Words = Annotated[str | None, Query(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]


def _known_format(name: str | None) -> str | None:
    if name is not None and name not in REPORT_FORMATS:
        raise PydanticCustomError(
            "format", "There is no such format; use one of {formats}", {"formats": ", ".join(REPORT_FORMATS)}
        )
    return name


FormatName = Annotated[
    str | None,
    AfterValidator(_known_format),
    Query(description="In place of an Accept header.", json_schema_extra={"enum": [*REPORT_FORMATS, None]}),
]


def _agent_seen(read: Reading, report: str, agent: str | None) -> str | None:
    """The agent that the report is narrowed to. An agent sees what concerns itself; whoever else asks must be a role
    that reads all."""
    if read.agent is None:
        if not roles.allowed("read_all", read.key.role):
            raise ProblemError(Status.ROLE_NOT_ALLOWED.value, f"a key with role {read.key.role} may not read reports")
        return agent
    if report not in OWN_REPORTS:
        raise ProblemError(
            Status.ROLE_NOT_ALLOWED.value,
            f"a key with role agent reads {' and '.join(OWN_REPORTS)}, of itself; roles that may read {report}: "
            + ", ".join(sorted(roles.PERMISSIONS["read_all"])),
        )
    if agent not in (None, read.agent.name, read.agent.id):
        raise ProblemError(
            Status.NOT_FOUND.value, f"there is no agent {agent} that this key may see; it may see its own"
        )
    return read.agent.name


@router.get("/reports/{report}", response_model=ReportView, responses=_OTHER_FORMATS)
def get_report(
    request: Request,
    report: Annotated[str, Path(max_length=64, json_schema_extra={"enum": list(REPORTS)})],
    period: Annotated[
        str | None,
        Query(max_length=64, description=f"Days in the book's time zone: {FORMS}. All that there are without it."),
    ] = None,
    as_of: Annotated[
        str | None,
        Query(
            max_length=64, description="The day at whose end balances are taken; that of the last record without it."
        ),
    ] = None,
    by: Annotated[
        str | None,
        Query(
            max_length=128,
            description=f"Of chargeback: {', '.join(CHARGEBACK_KEYS)}; of outcomes: {', '.join(OUTCOME_KEYS)}; or "
            "label.NAME.",
        ),
    ] = None,
    per: Annotated[str | None, Query(max_length=16, description=f"Parts of the period: {', '.join(PER)}.")] = None,
    days: Annotated[
        int | None,
        Query(ge=1, le=DAYS_MAX, description=f"Of budgets: days that the rate is that of; {DAYS_DEFAULT} without it."),
    ] = None,
    baseline: Annotated[Words, Query(description="Of outcomes: the value that all others are compared with.")] = None,
    without_outcome: Annotated[
        str | None,
        Query(
            max_length=16,
            description="Of outcomes: how runs count of which nobody said what became of them: "
            f"{' or '.join(WITHOUT_OUTCOME)}.",
        ),
    ] = None,
    agent: Annotated[Words, Query(description="Of chargeback and outcomes: of one agent only, by name or id.")] = None,
    format: FormatName = None,
    at_size: Annotated[
        int | None,
        Query(ge=1, le=2**53, description="As the first so many records of the log say; all of them without it."),
    ] = None,
) -> Response:
    """A report over the book: trial-balance, income, payables, budgets, chargeback or outcomes. Asked again with the
    ``log.size`` that it names as ``at_size``, it is the same for ever, byte for byte. An agent sees chargeback and
    outcomes, of itself."""
    with reading(request, "read_own") as read:
        book_id, agent = read.book_id, _agent_seen(read, report, agent)
    form = REPORT_FORMATS[format] if format is not None else accepted(request.headers.get("accept", ""))
    asked = Asked(
        name=report, period=period, as_of=as_of, by=by, per=per, days=days, baseline=baseline,
        without_outcome=without_outcome, agent=agent,
    )  # fmt: skip
    try:
        made = context_of(request).reports.make(book_id, asked, at_size=at_size, records_max=UNWRITTEN_MAX)
    except ReportRefused as error:
        if error.field == "report":
            raise ProblemError(Status.NOT_FOUND.value, str(error)) from error
        raise invalid(error.field, str(error)) from error
    except (LinesUnavailable, ProofUnavailable) as error:
        raise ProblemError("statement_unavailable", str(error)) from error
    name = file_name(made, form)
    headers = {} if form is JSON else {"content-disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(form.write(made), media_type=form.media_type, headers=headers)
