"""The fold over redactions, written from the rules and not from the code that decided.

Whether a record ever had the text that a redaction names takes that record's body: it is looked at where texts are
compared (``services.verify_texts``).
"""

from typing import Any, Final

from ledger.core.deriving import TEXT_FIELDS
from ledger.core.projecting_record import Record
from ledger.core.redaction import GROUNDS, REDACTION_TEXTS_MAX, Redaction


def _redaction(record: Record) -> None:
    body = record.body
    request, texts = body["request"], body["texts"]
    record.expect("ground", request["ground"])
    if body["ground"] not in GROUNDS:
        record.differ("the ground is none of those there are", ", ".join(GROUNDS), body["ground"])
    if not 0 < len(texts) <= REDACTION_TEXTS_MAX:
        record.differ("a redaction names no text, or too many", f"1 to {REDACTION_TEXTS_MAX}", len(texts))
    if texts != sorted(texts):
        record.differ("the texts are not in order", sorted(texts), texts)
    fields = request.get("fields", TEXT_FIELDS)
    first = _first_index(record, request)
    last = request.get("record", record.index - 1)
    for index, field in texts:
        if type(index) is not int or field not in TEXT_FIELDS or not 0 <= index < record.index:
            raise ValueError("a redaction names fields of records before it")
        if field not in fields or not first <= index <= last:
            record.differ("a text is redacted that the request does not mean", request, [index, field])
        row = Redaction(record.fold.book_id, index, field, record.index)
        record.store.redactions.add((index, field), row)


def _first_index(record: Record, request: dict[str, Any]) -> int:
    """The first record that the request can mean."""
    if "authorization" in request:
        row = record.store.authorizations.get(request["authorization"])
        if row is None:
            raise LookupError(f"there is no authorization {request['authorization']}")
        return row.created_index
    return int(request.get("record", request.get("start", 0)))


HANDLERS: Final = {"redaction": _redaction}
"""What the record of a redaction does."""
