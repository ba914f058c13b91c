"""Chat Completions and Embeddings on the wire, as OpenAI and those compatible with it send them.

https://platform.openai.com/docs/api-reference/chat and /embeddings. Invariant: a chunk carries usage exactly where the
request asked for it, or where the behaviour says that this provider sends it unasked.
"""

from collections.abc import Iterator
from typing import Any

import orjson

from bench.fake_provider.calls import Call, Counts
from bench.fake_provider.errors import error_event
from bench.fake_provider.usages import usage_of

_DIMENSIONS = 8
DONE = b"data: [DONE]\n\n"


class ChatFormat:
    """The answer to one Chat Completions call, whole or as events."""

    def __init__(self, call: Call, request_id: str) -> None:
        self._call = call
        self._request_id = request_id
        self._generated = 0
        if call.stream:
            head = {
                "id": call.response_id,
                "object": "chat.completion.chunk",
                "created": call.created,
                "model": call.model,
            }
            if call.tier != "none":
                head["service_tier"] = call.tier
            self._head = orjson.dumps(head | {"system_fingerprint": "fp_fake"})[:-1] + b',"choices":'
            self._tail = b',"usage":null}\n\n' if call.include_usage else b"}\n\n"

    def whole(self, counts: Counts) -> bytes:
        """The body of an answer that is not streamed."""
        call = self._call
        document: dict[str, Any] = {
            "id": call.response_id,
            "object": "chat.completion",
            "created": call.created,
            "model": call.model,
            "choices": [
                {"index": index, "message": self._message(index), "logprobs": None, "finish_reason": self._finish()}
                for index in range(call.choices)
            ],
        }
        if call.behaviour.usage != "none":
            document["usage"] = usage_of(call, counts)
        if call.tier != "none":
            document["service_tier"] = call.tier
        document["system_fingerprint"] = "fp_fake"
        return orjson.dumps(document)

    def opening(self) -> bytes:
        """The chunks before the first token: the role, once for each choice."""
        call = self._call
        content = None if call.tools or call.behaviour.refusal else ""
        delta = orjson.dumps({"role": "assistant", "content": content, "refusal": None})
        return b"".join(self._chunk(index, delta) for index in range(call.choices))

    def tokens(self) -> Iterator[bytes]:
        """The chunks of each generated token, choices in turn; none for a hidden one."""
        call = self._call
        for _ in range(call.reasoning * call.choices):
            self._generated += 1
            yield b""
        if call.choices == 1 and not call.tools and call.behaviour.usage != "every":
            yield from self._plain_tokens()
            return
        deltas = self._tool_deltas if call.tools else self._text_deltas
        for several in zip(*(deltas(index) for index in range(call.choices)), strict=True):
            for index, pieces in enumerate(several):
                self._generated += 1
                yield b"".join(self._chunk(index, piece) for piece in pieces)

    def closing(self, counts: Counts) -> bytes:
        """The reasons to finish, the usage if it was asked for, and the end."""
        call = self._call
        finish = orjson.dumps(self._finish())
        chunks = [self._chunk(index, b"{}", finish) for index in range(call.choices)]
        usage = orjson.dumps(usage_of(call, counts))
        if call.behaviour.usage == "groq":
            last = chunks.pop()[: -len(self._tail)]
            chunks.append(last + b',"x_groq":{"id":"req_fake","usage":%s}' % usage + self._tail)
        if call.include_usage and call.behaviour.usage != "none":
            chunks.append(b'data: %s[],"usage":%s}\n\n' % (self._head, usage))
        chunks.append(DONE)
        return b"".join(chunks)

    def failed(self, counts: Counts) -> bytes:
        """The event of an error after the answer had begun."""
        return error_event(self._call.wire, sequence=0, request_id=self._request_id)

    def _chunk(self, index: int, delta: bytes, finish: bytes = b"null") -> bytes:
        tail = self._tail
        if self._call.behaviour.usage == "every":
            tail = b',"usage":%s}\n\n' % orjson.dumps(usage_of(self._call, self._call.counts(self._generated)))
        return b'data: %s[{"index":%d,"delta":%s,"logprobs":null,"finish_reason":%s}]%s' % (
            self._head,
            index,
            delta,
            finish,
            tail,
        )

    def _plain_tokens(self) -> Iterator[bytes]:
        """The chunks of one choice that is text: what most streams are, and so written with the least work."""
        name = b"refusal" if self._call.behaviour.refusal else b"content"
        before, _, after = self._chunk(0, b'{"%s":\x00}' % name).partition(b"\x00")
        for piece in self._call.visible:
            yield b"%s%s%s" % (before, orjson.dumps(piece), after)

    def _text_deltas(self, index: int) -> Iterator[list[bytes]]:
        name = b"refusal" if self._call.behaviour.refusal else b"content"
        for piece in self._call.visible:
            yield [b'{"%s":%s}' % (name, orjson.dumps(piece))]

    def _tool_deltas(self, index: int) -> Iterator[list[bytes]]:
        for number, (name, pieces) in enumerate(self._call.tool_calls):
            opening = {
                "index": number,
                "id": self._tool_id(index, number),
                "type": "function",
                "function": {"name": name, "arguments": ""},
            }
            before = [orjson.dumps({"tool_calls": [opening]})]
            for piece in pieces:
                delta = {"index": number, "function": {"arguments": piece}}
                yield [*before, orjson.dumps({"tool_calls": [delta]})]
                before = []

    def _message(self, index: int) -> dict[str, Any]:
        call = self._call
        message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
        if call.tools:
            message["tool_calls"] = [
                {
                    "id": self._tool_id(index, number),
                    "type": "function",
                    "function": {"name": name, "arguments": "".join(pieces)},
                }
                for number, (name, pieces) in enumerate(call.tool_calls)
            ]
        else:
            message["refusal" if call.behaviour.refusal else "content"] = "".join(call.visible)
        return message

    def _tool_id(self, index: int, number: int) -> str:
        return f"call_{self._call.response_id[-12:]}{index}x{number}"

    def _finish(self) -> str:
        call = self._call
        if call.behaviour.finish:
            return call.behaviour.finish
        if call.truncated:
            return "length"
        return "tool_calls" if call.tools else "stop"


class EmbeddingsFormat:
    """The answer to one Embeddings call; it is never streamed."""

    def __init__(self, call: Call, request_id: str) -> None:
        self._call = call

    def whole(self, counts: Counts) -> bytes:
        """The body: one vector for each input, of floats or in base64 as asked for."""
        call = self._call
        given = call.body["input"]
        several = isinstance(given, list) and not all(isinstance(item, int) for item in given)
        # The four zero bytes of each float32 make "A" in base64, as the client asks for by default.
        vector: Any = [0.0] * _DIMENSIONS
        if call.body.get("encoding_format") == "base64":
            vector = "A" * (_DIMENSIONS * 4 * 8 // 6) + "A="
        document: dict[str, Any] = {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": vector}
                for index in range(len(given) if several else 1)
            ],
            "model": call.model,
        }
        if call.behaviour.usage != "none":
            document["usage"] = usage_of(call, counts)
        return orjson.dumps(document)

    def opening(self) -> bytes:
        """Nothing: there is no stream."""
        return b""

    def tokens(self) -> Iterator[bytes]:
        """Nothing is generated."""
        return iter(())

    def closing(self, counts: Counts) -> bytes:
        """Nothing: there is no stream."""
        return b""

    def failed(self, counts: Counts) -> bytes:
        """Nothing: there is no stream."""
        return b""
