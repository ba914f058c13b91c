"""The output of a stream that its client can see: how many bytes, how many pieces, and its beginning as text.

Invariant: every token that a provider sends as text is counted here at least with its bytes; no tokenizer in use makes
more tokens of a text than it has bytes of UTF-8, so the bytes bound the tokens of the text. Not seen here are hidden
reasoning and the few tokens that mark the end of a turn or of a tool call; the usage counts them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final

TEXT_CHARACTERS_MAX: Final = 1_000_000
"""What is kept of an output, and may be counted. No more, because a longer text is not counted but bounded by bytes."""


class Output(ABC):
    """What was seen so far."""

    def __init__(self) -> None:
        self.bytes_seen = 0
        self.bytes_dropped = 0
        """Bytes seen that ``text`` does not have."""
        self.pieces = 0
        self._kept: list[str] = []
        self._room = TEXT_CHARACTERS_MAX

    @abstractmethod
    def take(self, event: str, data: Mapping[str, Any]) -> None:
        """Count the output in one event (or, on the chat wire, in one choice of it)."""

    def text(self, limit: int) -> str:
        """The first ``limit`` characters, at most TEXT_CHARACTERS_MAX."""
        return "".join(self._kept)[: max(limit, 0)]

    def _piece(self, value: Any, *, shown: bool = True) -> None:
        """Count a piece; ``shown`` is false for what is no text (audio in base64), which is counted and not kept."""
        if not isinstance(value, str) or not value:
            return
        self.pieces += 1
        size = _bytes_of(value)
        self.bytes_seen += size
        if not shown or self._room <= 0:
            self.bytes_dropped += size
            return
        if len(value) > self._room:
            value = value[: self._room]
            self.bytes_dropped += size - _bytes_of(value)
        self._kept.append(value)
        self._room -= len(value)


class ChatOutput(Output):
    """Choices of chat chunks. Reasoning is ``reasoning_content`` at DeepSeek and others, else ``reasoning``."""

    def take(self, event: str, data: Mapping[str, Any]) -> None:
        """Count one choice of a chunk."""
        delta = data.get("delta")
        if type(delta) is dict and len(delta) == 1 and type(content := delta.get("content")) is str:
            # Nearly all events of nearly all streams.
            self._piece(content)
            return
        if not isinstance(delta, Mapping):
            self._piece(data.get("text"))
            return
        self._content(delta.get("content"))
        self._piece(delta.get("refusal"))
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        self._content(reasoning)
        if not reasoning:
            self._content(delta.get("reasoning_details"))
        for call in _listed(delta.get("tool_calls")):
            for kind in ("function", "custom"):
                self._call(call.get(kind))
        self._call(delta.get("function_call"))
        audio = delta.get("audio")
        if isinstance(audio, Mapping):
            self._piece(audio.get("transcript"))
            self._piece(audio.get("data"), shown=False)

    def _content(self, content: Any) -> None:
        """Text, or a list of parts whose text stands under one of several names (Mistral nests thinking once)."""
        self._piece(content)
        for part in _listed(content):
            for name in ("text", "refusal", "summary"):
                self._piece(part.get(name))
            for inner in _listed(part.get("thinking")):
                self._piece(inner.get("text"))

    def _call(self, call: Any) -> None:
        if isinstance(call, Mapping):
            for name in ("name", "arguments", "input"):
                self._piece(call.get(name))


class ResponsesOutput(Output):
    """Events of the Responses API: every ``….delta`` carries output, and a new item may name the tool it calls."""

    def take(self, event: str, data: Mapping[str, Any]) -> None:
        """Count one event."""
        if event.endswith(".delta"):
            self._piece(data.get("delta"), shown=event != "response.audio.delta")
        elif event == "response.output_item.added":
            item = data.get("item")
            if isinstance(item, Mapping):
                self._piece(item.get("name"))


class AnthropicOutput(Output):
    """Content blocks of Anthropic's Messages: text, thinking, input of tools and compaction summaries."""

    def take(self, event: str, data: Mapping[str, Any]) -> None:
        """Count one event."""
        if event == "content_block_start":
            block = data.get("content_block")
            if isinstance(block, Mapping):
                for name in ("text", "thinking", "name"):
                    self._piece(block.get(name))
        elif event == "content_block_delta":
            delta = data.get("delta")
            if isinstance(delta, Mapping):
                for name in ("text", "thinking", "partial_json", "content"):
                    self._piece(delta.get(name))


def _bytes_of(value: str) -> int:
    return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))


def _listed(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
