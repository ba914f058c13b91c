"""One call: what was asked, what is going to be generated, and what a part of that amounts to.

Owns the reading of request bodies. Invariants: no choice ever has more tokens than the request's own limit; the parts
of a count (cached, written, reasoning, audio) never exceed it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from bench.fake_provider.directives import Behaviour
from bench.fake_provider.words import argument_pieces, counted_tokens, text_pieces

CHAT, RESPONSES, EMBEDDINGS, MESSAGES = "openai-chat", "openai-responses", "openai-embeddings", "anthropic-messages"
_DEFAULT_TOOL = "lookup"


class BadRequest(Exception):
    """The provider would refuse this body with 400; `param` is the field at fault."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


@dataclass(frozen=True, slots=True)
class Counts:
    """What a call used so far; `input` and `output` include their parts on every wire."""

    input: int
    output: int
    cached: int = 0
    write5m: int = 0
    write1h: int = 0
    reasoning: int = 0
    audio_in: int = 0
    audio_out: int = 0
    searches: int = 0
    compaction_in: int = 0
    compaction_out: int = 0


@dataclass(slots=True)
class Call:
    """A request that was read, with all that its answer depends on.

    `visible` are the pieces of one choice's output, a token each, after `reasoning` of thinking; every choice is the
    same. `tools` are the calls that it makes, each a name and the pieces of its arguments, uncut; `visible` holds them
    one after the other, up to the limit.
    """

    wire: str
    behaviour: Behaviour
    response_id: str
    created: int
    model: str
    stream: bool
    include_usage: bool
    choices: int
    limit: int | None
    tier: str
    input_tokens: int
    reasoning: int
    tools: tuple[tuple[str, tuple[str, ...]], ...]
    visible: tuple[str, ...]
    truncated: bool
    body: dict[str, Any]

    @property
    def output_tokens(self) -> int:
        """Tokens of all choices when nothing breaks off."""
        return self.choices * self.tokens_each

    @property
    def tokens_each(self) -> int:
        """Tokens of one choice when nothing breaks off."""
        return self.reasoning + len(self.visible)

    @property
    def tool_calls(self) -> list[tuple[str, tuple[str, ...]]]:
        """The calls that were begun before the limit, each with the argument pieces that came before it."""
        calls: list[tuple[str, tuple[str, ...]]] = []
        start = 0
        for name, arguments in self.tools:
            if start < len(self.visible) or not calls:
                calls.append((name, self.visible[start : start + len(arguments)]))
            start += len(arguments)
        return calls

    @property
    def thinking(self) -> tuple[str, ...]:
        """The pieces of the reasoning, for a wire that shows it."""
        return text_pieces(self.reasoning)

    def counts(self, generated: int) -> Counts:
        """What the call used when so many tokens (of all choices) were generated."""
        behaviour = self.behaviour
        rest = self.input_tokens
        parts = []
        for wanted in (behaviour.cached, behaviour.write5m, behaviour.write1h, behaviour.audio_in):
            parts.append(min(wanted, rest))
            rest -= parts[-1]
        reasoning = min(self.choices * self.reasoning, generated)
        return Counts(
            input=self.input_tokens,
            output=generated,
            cached=parts[0],
            write5m=parts[1],
            write1h=parts[2],
            reasoning=reasoning,
            audio_in=parts[3],
            audio_out=min(behaviour.audio_out, generated - reasoning),
            searches=behaviour.searches,
            compaction_in=behaviour.compaction_in,
            compaction_out=behaviour.compaction_out,
        )


def read_call(wire: str, content: bytes, behaviour: Behaviour, *, response_id: str, created: int) -> Call:
    """Read a request's body; `created` is in seconds since 1970. Raises BadRequest."""
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise BadRequest("We could not parse the JSON body of your request.") from None
    if not isinstance(body, dict):
        raise BadRequest("The body must be a JSON object.")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequest("you must provide a model parameter", "model")
    limit = _limit(wire, body)
    counted = input_tokens(wire, body)
    choices = body.get("n") or 1 if wire == CHAT else 1
    if not isinstance(choices, int) or not 1 <= choices <= 128:
        raise BadRequest("Invalid value for 'n': expected an integer from 1 to 128.", "n")
    wanted = 0 if wire == EMBEDDINGS else behaviour.out
    tokens = wanted if limit is None else min(wanted, limit)
    reasoning = min(behaviour.reasoning, tokens)
    truncated = tokens < wanted
    tools = _tool_calls(body, behaviour.tools, wanted - min(behaviour.reasoning, wanted))
    written = argument_pieces if _wants_json(wire, body) else text_pieces
    pieces = tuple(piece for _, arguments in tools for piece in arguments) or written(wanted - reasoning)
    options = body.get("stream_options")
    return Call(
        wire=wire,
        behaviour=behaviour,
        response_id=response_id,
        created=created,
        model=behaviour.model or model,
        stream=bool(body.get("stream")) and wire != EMBEDDINGS,
        include_usage=isinstance(options, dict) and bool(options.get("include_usage")),
        choices=choices,
        limit=limit,
        tier=behaviour.tier or _served_tier(wire, body),
        input_tokens=counted if behaviour.in_ is None else behaviour.in_,
        reasoning=reasoning,
        tools=tools,
        visible=pieces[: tokens - reasoning],
        truncated=truncated,
        body=body,
    )


def _limit(wire: str, body: dict[str, Any]) -> int | None:
    """The most output tokens of one choice that the request allows; None: it does not say."""
    names = {
        CHAT: ("max_completion_tokens", "max_tokens"),
        RESPONSES: ("max_output_tokens",),
        MESSAGES: ("max_tokens",),
        EMBEDDINGS: (),
    }[wire]
    given = [name for name in names if body.get(name) is not None]
    if len(given) > 1:
        raise BadRequest(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.", "max_tokens"
        )
    if not given:
        if wire == MESSAGES:
            raise BadRequest("max_tokens: Field required", "max_tokens")
        return None
    limit = body[given[0]]
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise BadRequest(f"Invalid '{given[0]}': integer below minimum value. Expected a value >= 1.", given[0])
    return limit


def _wants_json(wire: str, body: dict[str, Any]) -> bool:
    """Whether the text is to be a JSON object: on any of the wires, by a schema or without one."""
    asked = body.get("response_format")
    if wire != CHAT:
        outer = body.get("text" if wire == RESPONSES else "output_config")
        asked = outer.get("format") if isinstance(outer, dict) else body.get("output_format")
    return isinstance(asked, dict) and asked.get("type") in ("json_object", "json_schema")


def _served_tier(wire: str, body: dict[str, Any]) -> str:
    """The tier that serves a request which names one, or none: as asked, where it is a tier and not a preference."""
    asked = body.get("service_tier")
    if wire == MESSAGES:
        return "standard"
    return asked if asked in ("flex", "priority") else "default"


def _tool_calls(body: dict[str, Any], calls: int, tokens: int) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The names and argument pieces of so many tool calls with so many tokens in all."""
    if calls == 0:
        return ()
    names = [name for name in map(_tool_name, body.get("tools") or ()) if name] or [_DEFAULT_TOOL]
    each, rest = divmod(tokens, calls)
    return tuple(
        (names[number % len(names)], argument_pieces(each + (rest if number == 0 else 0))) for number in range(calls)
    )


def _tool_name(tool: Any) -> str:
    """The name of a tool that the client runs, on any of the wires; "" for one that it does not."""
    if not isinstance(tool, dict):
        return ""
    function = tool.get("function")
    name = function.get("name") if isinstance(function, dict) else tool.get("name")
    return name if isinstance(name, str) else ""


def input_tokens(wire: str, body: dict[str, Any]) -> int:
    """The tokens to bill for what was sent, never more than a real provider would bill."""
    if wire == EMBEDDINGS:
        return _embedded_tokens(body.get("input"))
    messages = body.get("input") if wire == RESPONSES else body.get("messages")
    if isinstance(messages, str):
        messages = [{"content": messages}]
    if not isinstance(messages, list) or not messages:
        raise BadRequest("'messages' must be a list with at least one message.", "messages")
    texts = list(_texts(messages))
    system = body.get("system") if wire == MESSAGES else body.get("instructions")
    if system:
        texts.extend(_texts([{"content": system}]))
    return counted_tokens(texts, messages=len(messages))


def _texts(messages: list[Any]) -> Iterator[str]:
    """Every text of the messages."""
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, str):
            yield content
        elif isinstance(content, list):
            for part in content:
                if isinstance(part, dict) and isinstance(part.get("text"), str):
                    yield part["text"]


def _embedded_tokens(given: Any) -> int:
    """The tokens of an embeddings request: a text, texts, a token list, or token lists."""
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, list) or not given:
        raise BadRequest("'input' must be a text, a list of texts, or of tokens.", "input")
    if all(isinstance(item, str) for item in given):
        return counted_tokens(given, messages=0)
    if all(isinstance(item, int) for item in given):
        return len(given)
    return sum(len(item) for item in given if isinstance(item, list))
