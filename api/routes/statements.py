"""Statements over HTTP: of a scope, for a period, as of a size of the log, in a format.

Invariants: whoever asks sees what their role reads, and an agent its own; a long statement is sent as it is read, in
constant memory; one that does not add up ends the connection before its end and never looks whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from api.edge_state import context_of
from api.files import file_answer
from api.problems import ProblemError
from api.reading import Reading, reading
from api.routes.answers import PROBLEMS
from api.schemas.statements import StatementView
from ledger.core import roles
from ledger.core.outcome import Status
from ledger.core.period import FORMS
from ledger.core.statement import AGENT, Scope, parse_scope
from ledger.services.lining import LinesUnavailable
from ledger.services.pages.paper import A4, PAPERS
from ledger.services.statements.formats import FORMATS, HTML, JSON, Format, accepted, file_name
from ledger.services.statements.making import ScopeNotFound, StatementRefused
from ledger.services.tiling import ProofUnavailable

router = APIRouter(prefix="/v1", responses=PROBLEMS, tags=["statements"])
UNWRITTEN_MAX = 20_000
"""Records whose lines are written for whoever asks; with more, they are asked to come again."""
_OTHER_FORMATS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            form.media_type.split(";")[0]: {
                "schema": {"type": "string", **({"format": "binary"} if form.is_binary else {})}
            }
            for form in FORMATS.values()
            if form is not JSON
        }
    }
}


def _known_format(name: str | None) -> str | None:
    if name is not None and name not in FORMATS:
        raise PydanticCustomError(
            "format", "There is no such format; use one of {formats}", {"formats": ", ".join(FORMATS)}
        )
    return name


FormatName = Annotated[
    str | None,
    AfterValidator(_known_format),
    Query(description="In place of an Accept header.", json_schema_extra={"enum": [*FORMATS, None]}),
]


def _known_paper(name: str) -> str:
    if name not in PAPERS:
        raise PydanticCustomError("paper", "There is no such paper; use one of {papers}", {"papers": ", ".join(PAPERS)})
    return name


PaperName = Annotated[
    str,
    AfterValidator(_known_paper),
    Query(description="What html, pdf and xlsx are laid out for.", json_schema_extra={"enum": [*PAPERS]}),
]


def invalid(field: str, detail: str) -> ProblemError:
    """A query that names no statement, with the field to change."""
    errors = [{"pointer": f"/{field}", "code": "validation_failed", "detail": detail}]
    return ProblemError("validation_failed", f"{field}: {detail}", facts={"errors": errors})


def _scope(text: str) -> Scope:
    try:
        return parse_scope(text)
    except ValueError as error:
        raise invalid("scope", str(error)) from error


def _check_access(read: Reading, scope: Scope) -> None:
    """An agent sees the statement of itself; whoever else asks must be a role that reads all."""
    if read.agent is not None:
        if scope.kind != AGENT or scope.name not in (read.agent.name, read.agent.id):
            raise ProblemError(Status.NOT_FOUND.value, f"there is no {scope} that this key may see; it may see its own")
    elif not roles.allowed("read_all", read.key.role):
        raise ProblemError(Status.ROLE_NOT_ALLOWED.value, f"a key with role {read.key.role} may not read statements")


@router.get("/statements", response_model=StatementView, responses=_OTHER_FORMATS)
def get_statement(
    request: Request,
    scope: Annotated[
        str,
        Query(
            max_length=256,
            description="What it is of: book, or one of budget, agent, team, payee, account and run with a name, such "
            "as budget:research or account:expenses:search.",
        ),
    ],
    period: Annotated[str, Query(max_length=64, description=f"Days in the book's time zone: {FORMS}.")],
    format: FormatName = None,
    paper: PaperName = A4.name,
    at_size: Annotated[
        int | None,
        Query(ge=1, le=2**53, description="As the first so many records of the log say; all of them without it."),
    ] = None,
) -> Response:
    """The statement of a budget, agent, team, payee, account, run or of the whole book: opening balance, lines in
    order, closing balance, subtotals, and what was held. Asked again with the ``log.size`` that it names as
    ``at_size``, it is the same for ever, byte for byte. An agent sees its own."""
    wanted = _scope(scope)
    with reading(request, "read_own") as read:
        _check_access(read, wanted)
        book_id = read.book_id
    form = FORMATS[format] if format is not None else accepted(request.headers.get("accept", ""))
    try:
        statement = context_of(request).statements.make(
            book_id, wanted, period, at_size=at_size, records_max=UNWRITTEN_MAX
        )
    except ScopeNotFound as error:
        raise ProblemError(Status.NOT_FOUND.value, str(error)) from error
    except StatementRefused as error:
        raise invalid(error.field, str(error)) from error
    except (LinesUnavailable, ProofUnavailable) as error:
        raise ProblemError("statement_unavailable", str(error)) from error
    try:
        return _answer(form.pieces(statement, PAPERS[paper]), form, file_name(statement, form))
    except StatementRefused as error:
        raise invalid(error.field, str(error)) from error


def _answer(pieces: Iterator[bytes], form: Format, name: str) -> Response:
    headers = {} if form is JSON else {"content-disposition": f'attachment; filename="{name}"'}
    if form is HTML:
        # Were the page opened from here all the same, nothing in it could run or be fetched.
        headers["content-security-policy"] = "sandbox; default-src 'none'; style-src 'unsafe-inline'"
    return file_answer(pieces, media_type=form.media_type, headers=headers)
