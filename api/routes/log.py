"""Routes that read the log, the book itself, and the words it knows: units, categories, payees."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from api.reading import Cursor, Limit, answer, answer_page, cursor_parts, found, reading
from api.routes.answers import PROBLEMS
from api.routes.views import record_view
from api.schemas.lists import NameList, RecordList, UnitList
from api.schemas.money_moves import RecordView
from api.schemas.setting_up import BookView
from ledger.core.book import CATEGORY, PAYEE
from ledger.core.canonical import Fragment
from ledger.core.journal import KINDS
from ledger.core.moment import moment_text
from ledger.storage import queries_log, queries_texts

router = APIRouter(prefix="/v1", responses=PROBLEMS)
INDEX_MAX = 2**53
Index = Annotated[int, Path(ge=0, le=INDEX_MAX)]


def _known_kind(kind: str | None) -> str | None:
    if kind is not None and kind not in KINDS:
        raise PydanticCustomError("kind", "This is no kind of record; use one of {kinds}", {"kinds": ", ".join(KINDS)})
    return kind


Kind = Annotated[
    str | None,
    AfterValidator(_known_kind),
    Query(description="The kind of record.", json_schema_extra={"enum": [*KINDS, None]}),
]


@router.get("/book", response_model=BookView, tags=["book"])
def get_book(request: Request) -> Response:
    """The book of this key: its settings and the head of its log."""
    with reading(request, "read_own") as read:
        book = found(queries_log.book_by_id(read.connection, read.book_id), "book")
        head = found(queries_log.head(read.connection, read.book_id), "book")
    shown: dict[str, Any] = {
        "name": book.name,
        "currency": book.currency,
        "timezone": book.timezone,
        "strict_names": book.strict_names,
        "frozen": bool(head.frozen),
        "opened_at": moment_text(book.opened_at),
        "log_size": head.size,
        "root": head.root.hex(),
        "recorded_at": moment_text(head.recorded_at),
    }
    return answer(shown)


@router.get("/log", response_model=RecordList, tags=["log"])
def list_log(
    request: Request,
    limit: Limit = 50,
    cursor: Cursor = None,
    kind: Kind = None,
    order: Literal["newest", "oldest"] = "oldest",
    start: Annotated[int, Query(ge=0, le=INDEX_MAX, description="The first index.")] = 0,
) -> Response:
    """List log records with their bodies."""
    with reading(request, "read_log") as read:
        page = queries_log.list_records(
            read.connection,
            read.book_id,
            kinds=(kind,) if kind else (),
            start=start,
            after=cursor_parts(cursor, int),
            newest_first=order == "newest",
            limit=limit,
        )
    return answer_page(page, lambda record: record_view(record, Fragment(record.body)))


@router.get("/log/{index}", response_model=RecordView, tags=["log"])
def get_record(request: Request, index: Index) -> Response:
    """One log record. Its ``body`` is written as the very bytes that were hashed; ``texts`` has the free texts beside
    it (intent, reason, evidence), and ``redacted`` the records that removed others, by field."""
    with reading(request, "read_log") as read:
        record = found(queries_log.record(read.connection, read.book_id, index), f"record {index}")
        texts = queries_log.texts_of(read.connection, read.book_id, index)
        redacted = queries_texts.redacted_at(read.connection, read.book_id, [index]).get(index)
    return answer(record_view(record, Fragment(record.body), texts, redacted))


@router.get("/units", response_model=UnitList, tags=["units"])
def list_units(request: Request, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """List the units that the book defines."""
    with reading(request, "read_own") as read:
        page = queries_log.list_units(read.connection, read.book_id, after=cursor_parts(cursor, str), limit=limit)
    return answer_page(
        page, lambda unit: {"name": unit.name, "digits": unit.digits, "log": {"index": unit.created_index}}
    )


def _names(request: Request, kind: str, limit: int, cursor: str | None) -> Response:
    with reading(request, "read_own") as read:
        page = queries_log.list_names(read.connection, read.book_id, kind, after=cursor_parts(cursor, str), limit=limit)
    return answer_page(page, lambda name: {"name": name.name, "log": {"index": name.created_index}})


@router.get("/categories", response_model=NameList, tags=["names"])
def list_categories(request: Request, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """List the categories that the book knows."""
    return _names(request, CATEGORY, limit, cursor)


@router.get("/payees", response_model=NameList, tags=["names"])
def list_payees(request: Request, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """List the payees that the book knows."""
    return _names(request, PAYEE, limit, cursor)
