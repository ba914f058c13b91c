"""A stream on its way from the provider to the client: passed on event by event, metered, and cut when its money ends.

Owns what a client sees of a stream. Invariants: only whole events are passed on, byte for byte, but for the usage that
the gateway asked for and the client did not; a client that has left, or that does not read, neither stops the reading
nor the metering; where a stream started on less than it can cost, more is asked for as soon as more was seen, before
anything is passed on, and the reading waits for no client.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson

from gateway.listening import BufferedListener, Listener
from gateway.metering import DONE, StreamMeter
from gateway.refusals import Refusal, ending_events, failing_event
from gateway.splice import strip_null_usage
from gateway.sse import Event, EventSplitter, EventTooLong, event_bytes
from gateway.upstream import Answer, Broken
from gateway.wires import Wire

_DONE: Final = b"[DONE]"
ENDED_EARLY: Final = "the provider's stream ended before it was complete"
Message = Mapping[str, Any]


class Purse(Protocol):
    """What a stream that started small asks for more."""

    async def covers(self, meter: StreamMeter) -> bool:
        """Whether what was seen, and what may come before it can be stopped, is held; False: cut the stream."""


@dataclass(slots=True)
class StreamEnd:
    """How a stream ended: ``whole`` (the provider ended it well), ``failed`` (it said so, or broke off) or ``cut``."""

    how: str
    reason: str = ""
    timed_out: bool = False


class Relay:
    """One stream. ``run`` is called once, after the response has started."""

    def __init__(
        self,
        wire: Wire,
        send: Callable[[dict[str, Any]], Awaitable[None]],
        *,
        strip_usage: bool,
        send_seconds: float,
        purse: Purse | None,
        choices: int = 1,
    ) -> None:
        self._wire = wire
        self._strip_usage = strip_usage
        self._purse = purse
        self._client = (Listener if purse is None else BufferedListener)(send, send_seconds)
        self.meter = StreamMeter(wire, choices=choices)
        self.first_event_at = 0.0
        self._seen: dict[str, Any] = {"open": set(), "block": -1, "sequence": 0}
        self._passed_end = False

    async def run(self, answer: Answer) -> StreamEnd:
        """Pass the stream on until it ends. The last bytes are sent by ``finish``."""
        splitter = EventSplitter()
        try:
            async for chunk in answer.chunks():
                passed = [self._pass(event) for event in splitter.feed(chunk)]
                if passed and not self.first_event_at:
                    self.first_event_at = time.monotonic()
                is_cut = self._purse is not None and not self.meter.ended and not await self._purse.covers(self.meter)
                if is_cut:
                    await self._meter_arrived(answer, splitter)
                    answer.cut()
                # What was seen is paid for, so it is passed on even where nothing may follow.
                await self._client.write(b"".join(passed))
                if is_cut:
                    return StreamEnd("cut", "the budget has no room for more of this answer")
        except Broken as error:
            return StreamEnd("failed", str(error), error.timed_out)
        except EventTooLong as error:
            answer.cut()
            return StreamEnd("failed", str(error))
        rest = splitter.rest()
        if rest.strip():
            # Some providers leave out the blank line after the last event.
            ended = rest.rstrip(b"\r\n") + b"\n\n"
            last = b"".join(self._pass(event) for event in EventSplitter().feed(ended))
            await self._client.write(rest if last == ended else last)
        if self.meter.failed:
            return StreamEnd("failed", self.meter.failed)
        if self.meter.ended or self.meter.usage_is_final:
            return StreamEnd("whole")
        return StreamEnd("failed", ENDED_EARLY)

    async def _meter_arrived(self, answer: Answer, splitter: EventSplitter) -> None:
        """Meter what the provider has sent already, its usage perhaps: it bills that, whoever cuts the stream now."""
        try:
            async for chunk in answer.arrived():
                for event in splitter.feed(chunk):
                    meter_event(self.meter, event)
        except (Broken, EventTooLong):
            # The stream is at its end either way.
            return

    def _pass(self, event: Event) -> bytes:
        """Meter an event; the bytes of it that the client gets."""
        content = meter_event(self.meter, event)
        data = event.data
        if data == _DONE:
            self._passed_end = True
        if content is None or data is None:
            return event.raw
        if self._purse is not None:
            self._note(event.name, content)
        if not self._strip_usage or b'"usage"' not in data:
            return event.raw
        if content.get("choices") == [] and isinstance(content.get("usage"), dict):
            # The chunk that the gateway asked for.
            return b""
        stripped = strip_null_usage(data)
        return event.raw if stripped is data else event.raw.replace(data, stripped, 1)

    def _note(self, name: str, content: dict[str, Any]) -> None:
        """Remember what a well-formed end of this stream would have to say."""
        seen = self._seen
        if self._wire is Wire.CHAT:
            seen.update({key: content[key] for key in ("id", "model", "created") if key in content})
            choices = content.get("choices")
            for choice in choices if isinstance(choices, list) else ():
                index = choice.get("index", 0) if isinstance(choice, dict) else None
                if not isinstance(index, int):
                    continue
                if choice.get("finish_reason"):
                    seen["open"].discard(index)
                else:
                    seen["open"].add(index)
        elif self._wire is Wire.MESSAGES:
            if name == "content_block_start":
                index = content.get("index", 0)
                seen["block"] = index if isinstance(index, int) else 0
            elif name == "content_block_stop":
                seen["block"] = -1
        elif self._wire is Wire.RESPONSES:
            sequence = content.get("sequence_number")
            if isinstance(sequence, int):
                seen["sequence"] = sequence
            if isinstance(content.get("response"), dict):
                seen["response"] = content["response"]

    async def finish(self, end: StreamEnd, output_tokens: int, *, seconds: float | None = None) -> None:
        """End what the client sees: as the provider did, or with a reason in its own form. ``seconds`` bounds the time
        for the client to take it, where that is less than usual."""
        last = b""
        if end.how == "cut":
            self._seen["output_tokens"] = output_tokens
            events = ending_events(self._wire, end.reason, self._seen)
            last = b"".join(event_bytes(data, name) for name, data in events)
        elif end.how == "failed" and not self.meter.failed and not self._passed_end:
            refusal = Refusal(502, "upstream_broken", f"Bursar: {end.reason}")
            name, data = failing_event(self._wire, refusal, self._seen["sequence"])
            last = event_bytes(data, name)
        await self._client.finish(last, seconds)

    def close(self) -> None:
        """Let go of the client, however the stream ended."""
        self._client.close()


def meter_event(meter: StreamMeter, event: Event) -> dict[str, Any] | None:
    """Feed an event to a meter; its content, where that is a JSON object."""
    data = event.data
    if data is None:
        return None
    if data == _DONE:
        meter.feed(DONE, {})
        return None
    try:
        content = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(content, dict):
        return None
    meter.feed(event.name, content)
    return content


def meter_events(wire: Wire, raw: bytes, choices: int) -> StreamMeter:
    """What a whole body says that may be a stream of events, whatever it is called."""
    meter = StreamMeter(wire, choices=choices)
    splitter = EventSplitter()
    with contextlib.suppress(EventTooLong):
        for event in splitter.feed(raw + b"\n\n"):
            meter_event(meter, event)
    return meter
