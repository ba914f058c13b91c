"""Server-sent events, cut out of bytes as they arrive (WHATWG HTML, "Server-sent events").

Invariant: the raw bytes of the events, in order, are exactly the bytes that were fed, up to what is still incomplete.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

EVENT_BYTES_MAX: Final = 16_777_216
_END: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r(?!\n)")
_LINE: Final = re.compile(rb"\r\n|\n|\r")


class EventTooLong(ValueError):
    """An event that does not end within ``EVENT_BYTES_MAX`` bytes."""


class Event(NamedTuple):
    """One event: its bytes as they came, the blank line included; its name ("" where it has none) and its data (None
    for what carries none, such as a comment that keeps the connection alive)."""

    raw: bytes
    name: str
    data: bytes | None


class EventSplitter:
    """Feeds on chunks, gives whole events."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that are whole now. Raises EventTooLong."""
        data = self._rest + chunk if self._rest else chunk
        if b"\r" not in data:
            # Nearly all streams: a search for two bytes is much faster than one for a pattern.
            *whole, self._rest = data.split(b"\n\n")
            self._check_rest()
            return [_event(raw + b"\n\n") for raw in whole]
        events = []
        at = 0
        # What was fed before holds no end of an event, but may hold the beginning of one.
        for found in _END.finditer(data, max(len(self._rest) - 3, 0)):
            events.append(_event(data[at : found.end()]))
            at = found.end()
        self._rest = data[at:]
        self._check_rest()
        return events

    def _check_rest(self) -> None:
        if len(self._rest) > EVENT_BYTES_MAX:
            raise EventTooLong(f"an event is longer than {EVENT_BYTES_MAX} bytes")

    def rest(self) -> bytes:
        """What came after the last whole event."""
        return self._rest


def _event(raw: bytes) -> Event:
    if raw.startswith(b"data: ") and raw.find(b"\n") == len(raw) - 2:
        # Nearly all events of OpenAI's wire: one line.
        return Event(raw, "", raw[6:-2])
    name = ""
    lines: list[bytes] = []
    has_data = False
    for line in _LINE.split(raw):
        field, _, value = line.partition(b":")
        if field == b"data":
            lines.append(value.removeprefix(b" "))
            has_data = True
        elif field == b"event":
            name = value.removeprefix(b" ").decode("utf-8", "replace")
    return Event(raw, name, b"\n".join(lines) if has_data else None)


def event_bytes(data: bytes, name: str = "") -> bytes:
    """One event on the wire, of one line of data."""
    head = b"event: %s\n" % name.encode() if name else b""
    return b"%sdata: %s\n\n" % (head, data)
