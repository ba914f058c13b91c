"""The fold over webhook endpoints, written from the rules and not from the code that decided."""

from typing import Final

from ledger.core.moment import moment_of
from ledger.core.projecting_record import Record
from ledger.core.webhook import Webhook, events_text


def _webhook(record: Record) -> None:
    body = record.body
    events = events_text(tuple(body["events"]))
    if events.split(" ") != body["events"]:
        record.differ("the types are not each once and in order", events.split(" "), body["events"])
    row = Webhook(
        record.fold.book_id, body["webhook"], body["url"], events, body["secret"], None, None, body["by"]["principal"],
        record.time, None, record.index, record.index,
    )  # fmt: skip
    record.store.webhook_endpoints.add(row.id, row)


def _active(record: Record) -> Webhook:
    row = record.store.webhook_endpoints.change(record.body["webhook"])
    if row.removed_at is not None:
        record.differ("the endpoint was removed before", "none", record.columns.kind)
    row.changed_index = record.index
    return row


def _rotation(record: Record) -> None:
    row = _active(record)
    record.expect("replaces", row.secret)
    row.previous_secret = record.body["replaces"]
    row.previous_until = moment_of(record.body["replaced_expires_at"])
    row.secret = record.body["secret"]


def _removal(record: Record) -> None:
    row = _active(record)
    record.expect("url", row.url)
    row.removed_at = record.time
    row.previous_secret = row.previous_until = None


HANDLERS: Final = {"webhook": _webhook, "webhook_rotation": _rotation, "webhook_removal": _removal}
"""What each kind of record about a webhook does."""
