"""A stream's usage, end, failure and visible output, event by event, for each wire.

Invariants: ``output_text_bytes`` never shrinks and counts every byte of output that the client can see, so it bounds
the visible tokens from above before any usage arrives; the work per event is linear in the event, and what is kept is
bounded by ``TEXT_CHARACTERS_MAX``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.metering.answers import finish_reasons, is_readable, reported
from gateway.metering.anthropic_usage import anthropic_usage
from gateway.metering.fields import mapping, text
from gateway.metering.openai_usage import openai_usage
from gateway.metering.visible import TEXT_CHARACTERS_MAX, AnthropicOutput, ChatOutput, Output, ResponsesOutput
from gateway.usage import Usage
from gateway.wires import Wire

FAILURE_CHARACTERS_MAX: Final = 500
ITEMS_MAX: Final = 1000
DONE: Final = "done"
"""The name under which the end mark of a chat stream (``data: [DONE]``) is fed."""


class StreamMeter:
    """What one streamed answer has said so far. Feed every event in order; read the properties at any time."""

    def __init__(self, wire: Wire, *, choices: int = 1) -> None:
        """``choices`` is how many answers were asked for (``n``)."""
        self._wire = wire
        self._choices = choices
        self._body: dict[str, Any] = {}
        self._usage: Mapping[str, Any] | None = None
        self._items: list[Mapping[str, Any]] = []
        self._finished: dict[Any, str] = {}
        self._final = False
        self.ended = False
        """The provider said that the answer is whole, or said itself that it cut it (length, incomplete, failed)."""
        self.failed = ""
        """What the provider said of an error after its 200, else "". """
        self.output: Output = _OUTPUTS[wire]()
        self._feed: Callable[[str, Mapping[str, Any]], None] = {
            Wire.RESPONSES: self._feed_responses,
            Wire.MESSAGES: self._feed_messages,
        }.get(wire, self._feed_chat)

    def feed(self, event: str, data: Mapping[str, Any]) -> None:
        """Take one event: ``event`` is its SSE name ("" where it has none, ``done`` for [DONE]), ``data`` its JSON.

        Never raises for what a provider sends.
        """
        if event == DONE:
            self.ended = True
            return
        if event == "error" or data.get("error"):
            self._fail(data.get("error") or data)
        self._feed(event or text(data.get("type")), data)

    @property
    def usage(self) -> Usage | None:
        """The usage reported so far, or None; it may be a stream's beginning only, see ``usage_is_final``."""
        if self._usage is None:
            return None
        if self._wire is Wire.MESSAGES:
            return anthropic_usage(self._body, self._usage)
        return openai_usage(self._wire, self._body, self._usage, items=self._items)

    @property
    def usage_is_final(self) -> bool:
        """Whether the usage covers all output. Anthropic's first event counts the input, and next to no output; some
        chat providers send a running count: of a stream cut in between, the output is what was seen, at least."""
        said = self._usage
        return said is not None and is_readable(self._wire, said) and (self._final or (self.ended and not self.failed))

    @property
    def usage_so_far(self) -> Usage | None:
        """What is known of a stream that did not tell its usage to the end: its input, above all. None: nothing."""
        return self.usage if self._usage is not None and is_readable(self._wire, self._usage) else None

    @property
    def output_text_bytes(self) -> int:
        """Bytes of output seen, in UTF-8: text, refusals, reasoning, names and arguments of tool calls, all choices."""
        return self.output.bytes_seen

    @property
    def output_bytes_dropped(self) -> int:
        """Bytes of the output seen that are not in ``visible_text``: beyond what is kept, or no text."""
        return self.output.bytes_dropped

    @property
    def output_pieces(self) -> int:
        """Pieces of output seen that were not empty; providers send one token or more in each."""
        return self.output.pieces

    @property
    def finish_reasons(self) -> tuple[str, ...]:
        """Why each choice ended, in the provider's words, as far as it said."""
        return finish_reasons(self._wire, self._body, self._finished.values())

    def visible_text(self, limit: int = TEXT_CHARACTERS_MAX) -> str:
        """The first ``limit`` characters of the output seen, the pieces of all choices in the order they came."""
        return self.output.text(limit)

    def _fail(self, error: Any) -> None:
        said = text(error) or text(mapping(error).get("message")) or text(mapping(error).get("code"))
        self.failed = self.failed or (said or "the provider reported an error")[:FAILURE_CHARACTERS_MAX]

    def _remember(self, body: Mapping[str, Any], *names: str) -> None:
        for name in names:
            value = body.get(name)
            if value is not None:
                self._body[name] = value

    def _feed_chat(self, event: str, data: Mapping[str, Any]) -> None:
        self._remember(data, "id", "model", "service_tier")
        if "x_groq" in data:
            error = mapping(data["x_groq"]).get("error")
            if error:
                self._fail(error)
        choices = data.get("choices")
        for choice in map(mapping, choices if isinstance(choices, list) else ()):
            self.output.take(event, choice)
            index = text(choice.get("index")) or repr(choice.get("index", 0))
            self._finished[index] = self._finished.get(index) or str(choice.get("finish_reason") or "")
        # One choice may end before another has begun.
        finished = len(self._finished) >= self._choices and all(self._finished.values())
        self.ended = self.ended or finished
        if data.get("usage") is not None or "x_groq" in data:
            usage = reported(data)
            if usage is not None:
                self._usage, self._final = usage, finished

    def _feed_responses(self, event: str, data: Mapping[str, Any]) -> None:
        self.output.take(event, data)
        if event == "response.output_item.done" and len(self._items) < ITEMS_MAX:
            self._items.append(mapping(data.get("item")))
        response = mapping(data.get("response"))
        self._remember(response, "id", "model", "service_tier")
        usage = reported(response)
        if usage is not None:
            self._usage = usage
        if event in ("response.completed", "response.incomplete", "response.failed"):
            self.ended = True
            self._remember(response, "status", "incomplete_details")
            self._final = self._usage is not None
            items = response.get("output")
            if isinstance(items, list) and items:
                self._items = items
            if event == "response.failed":
                self._fail(response.get("error") or {})

    def _feed_messages(self, event: str, data: Mapping[str, Any]) -> None:
        self.output.take(event, data)
        if event == "message_start":
            message = mapping(data.get("message"))
            self._remember(message, "id", "model", "service_tier")
            self._merge(reported(message))
        elif event == "message_delta":
            usage = reported(data)
            self._merge(usage)
            self._remember(mapping(data.get("delta")), "stop_reason")
            self._final = self._final or (usage is not None and bool(mapping(data.get("delta")).get("stop_reason")))
        elif event == "message_stop":
            self.ended = True

    def _merge(self, usage: Mapping[str, Any] | None) -> None:
        """Later counts replace earlier ones, since they are cumulative; what a later event leaves out stays."""
        if usage is not None:
            self._usage = _merged(self._usage or {}, usage)


def _merged(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(before)
    for name, value in after.items():
        if isinstance(value, Mapping) and isinstance(found.get(name), Mapping):
            # Two levels are all that Anthropic's usage has; what stands deeper is replaced as a whole.
            found[name] = {**found[name], **{key: inner for key, inner in value.items() if inner is not None}}
        elif value is not None:
            found[name] = value
    return found


_OUTPUTS: Final[Mapping[Wire, Callable[[], Output]]] = {
    Wire.CHAT: ChatOutput,
    Wire.EMBEDDINGS: ChatOutput,
    Wire.RESPONSES: ResponsesOutput,
    Wire.MESSAGES: AnthropicOutput,
}
