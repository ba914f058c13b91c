"""Anthropic's Messages on the wire.

https://docs.anthropic.com/en/docs/build-with-claude/streaming. Invariant: usage in events is cumulative, and what
`message_delta` says last is what is billed.
"""

from collections.abc import Iterator
from typing import Any

import orjson

from bench.fake_provider.calls import Call, Counts
from bench.fake_provider.errors import error_event
from bench.fake_provider.usages import usage_of

_SIGNATURE = "ZmFrZQ=="
_IN_DELTA = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
    "output_tokens_details",
    "server_tool_use",
    "cache_creation",
    "iterations",
    "quantum_tokens",
)
_DELTA_FIELDS = {"thinking_delta": b"thinking", "input_json_delta": b"partial_json", "text_delta": b"text"}
# The real one has generated a token or a few when it sends the message's start.
_OUTPUT_AT_START = 1


def event(kind: str, fields: dict[str, Any]) -> bytes:
    """One event with its name and its data, which says the name again."""
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), orjson.dumps({"type": kind} | fields))


class MessagesFormat:
    """The answer to one Messages call, whole or as events."""

    def __init__(self, call: Call, request_id: str) -> None:
        self._call = call
        self._request_id = request_id
        self._open_block: tuple[int, str] | None = None

    def whole(self, counts: Counts) -> bytes:
        """The body of an answer that is not streamed."""
        document = self._envelope() | {"content": self._content(), "stop_reason": self._stop_reason()}
        if self._call.behaviour.usage != "none":
            document["usage"] = usage_of(self._call, counts)
        return orjson.dumps(document)

    def opening(self) -> bytes:
        """The message without content, whose usage has the input, and a ping."""
        call = self._call
        message = self._envelope()
        usage = usage_of(call, call.counts(0))
        if isinstance(usage, dict):
            message["usage"] = usage | {"output_tokens": _OUTPUT_AT_START}
        elif call.behaviour.usage == "null":
            message["usage"] = None
        return event("message_start", {"message": message}) + event("ping", {})

    def tokens(self) -> Iterator[bytes]:
        """The events of each generated token, with those that end the block before it and begin its own."""
        for index, (block, delta, pieces) in enumerate(self._blocks()):
            before = self._end_of_block() + event("content_block_start", {"index": index, "content_block": block})
            self._open_block = (index, block["type"])
            shape = b'"delta":{"type":"%s","%s":' % (delta.encode(), _DELTA_FIELDS[delta])
            for piece in pieces:
                yield before + (
                    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,%s%s}}\n\n'
                    % (index, shape, orjson.dumps(piece))
                )
                before = b""

    def closing(self, counts: Counts) -> bytes:
        """The end of the last block, the reason to stop with the usage, and the end."""
        call = self._call
        parts = [self._end_of_block()]
        times = max(call.behaviour.deltas, 1)
        for time in range(1, times + 1):
            last = time == times
            usage = usage_of(call, counts if last else call.counts(counts.output * time // times))
            delta = {"stop_reason": self._stop_reason() if last else None, "stop_sequence": None}
            fields: dict[str, Any] = {"delta": delta}
            if isinstance(usage, dict):
                names = _IN_DELTA if call.behaviour.deltas else ("output_tokens",)
                fields["usage"] = {name: usage[name] for name in names if name in usage}
            elif call.behaviour.usage == "null":
                fields["usage"] = None
            parts.append(event("message_delta", fields))
        parts.append(event("message_stop", {}))
        return b"".join(parts)

    def failed(self, counts: Counts) -> bytes:
        """The event of an error after the answer had begun."""
        return error_event(self._call.wire, sequence=0, request_id=self._request_id)

    def _end_of_block(self) -> bytes:
        if self._open_block is None:
            return b""
        index, kind = self._open_block
        signed = {"type": "signature_delta", "signature": _SIGNATURE}
        signature = event("content_block_delta", {"index": index, "delta": signed}) if kind == "thinking" else b""
        return signature + event("content_block_stop", {"index": index})

    def _envelope(self) -> dict[str, Any]:
        return {
            "id": self._call.response_id,
            "type": "message",
            "role": "assistant",
            "model": self._call.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
        }

    def _blocks(self) -> Iterator[tuple[dict[str, Any], str, tuple[str, ...]]]:
        """Each block as it starts, the type of its deltas, and their pieces; blocks without a token are left out."""
        call = self._call
        if call.thinking:
            yield {"type": "thinking", "thinking": "", "signature": ""}, "thinking_delta", call.thinking
        if call.tools:
            for number, (name, pieces) in enumerate(call.tool_calls):
                if pieces:
                    block = {"type": "tool_use", "id": self._tool_id(number), "name": name, "input": {}}
                    yield block, "input_json_delta", pieces
        elif call.visible:
            yield {"type": "text", "text": ""}, "text_delta", call.visible

    def _content(self) -> list[dict[str, Any]]:
        content = []
        for block, delta, pieces in self._blocks():
            text = "".join(pieces)
            if delta == "thinking_delta":
                content.append(block | {"thinking": text, "signature": _SIGNATURE})
            elif delta == "text_delta":
                content.append(block | {"text": text})
            else:
                content.append(block | {"input": _object_or_nothing(text)})
        return content

    def _tool_id(self, number: int) -> str:
        return f"toolu_{self._call.response_id[-12:]}x{number}"

    def _stop_reason(self) -> str:
        call = self._call
        if call.behaviour.finish:
            return call.behaviour.finish
        if call.truncated:
            return "max_tokens"
        if call.behaviour.refusal:
            return "refusal"
        return "tool_use" if call.tools else "end_turn"


def _object_or_nothing(text: str) -> Any:
    """The arguments as an object; an empty one where the limit cut them short."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
