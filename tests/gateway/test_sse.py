"""Server-sent events, cut as they arrive: however the bytes are split, the events are the same and no byte is lost."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sse import EVENT_BYTES_MAX, EventSplitter, EventTooLong, event_bytes

STREAM = (
    b'data: {"a": 1}\n\n'
    b"event: message_start\ndata: {}\n\n"
    b": keep alive\n\n"
    b"data: one\ndata: two\n\n"
    b"event: crlf\r\ndata: windows\r\n\r\n"
    b"id: 7\ndata:no space\n\n"
    b"data: [DONE]\n\n"
)
EVENTS = [
    ("", b'{"a": 1}'),
    ("message_start", b"{}"),
    ("", None),
    ("", b"one\ntwo"),
    ("crlf", b"windows"),
    ("", b"no space"),
    ("", b"[DONE]"),
]


@given(st.lists(st.integers(min_value=0, max_value=len(STREAM)), max_size=40))
def test_the_events_are_the_same_however_the_bytes_are_split(cuts: list[int]) -> None:
    splitter = EventSplitter()
    places = sorted({0, len(STREAM), *cuts})
    events = []
    for begin, end in itertools.pairwise(places):
        events += splitter.feed(STREAM[begin:end])
    assert [(event.name, event.data) for event in events] == EVENTS
    assert b"".join(event.raw for event in events) + splitter.rest() == STREAM


def test_what_is_not_whole_is_kept() -> None:
    splitter = EventSplitter()
    assert splitter.feed(b"data: half") == []
    assert splitter.rest() == b"data: half"


def test_an_event_that_never_ends_is_refused() -> None:
    splitter = EventSplitter()
    with pytest.raises(EventTooLong):
        splitter.feed(b"data: " + b"x" * EVENT_BYTES_MAX)


def test_an_event_that_is_made_is_read_again() -> None:
    (event,) = EventSplitter().feed(event_bytes(b'{"type":"ping"}', "ping"))
    assert (event.name, event.data) == ("ping", b'{"type":"ping"}')
