"""Chat Completions: what is read from real bodies, and what cannot be bounded."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from pydantic import BaseModel

from gateway.estimate import Counts, Request, RequestInvalid, bound, read_request
from gateway.estimate.models import OTHER_IMAGE_TOKENS
from gateway.wires import Wire
from tests.gateway.estimate.bodies import PNG, chat, said
from tests.support.sent_bodies import sent_by_openai

USER: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather at a place",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string", "description": "A town"}, "unit": {"enum": ["C", "F"]}},
            "required": ["place"],
        },
    },
}


class Forecast(BaseModel):
    """A structured answer."""

    place: str
    degrees: int


def sent(call: Any) -> Request:
    """What is read from the body that the openai package sends."""
    return read_request(Wire.CHAT, sent_by_openai(call))


def test_a_plain_call() -> None:
    """Everything at its default."""
    request = sent(lambda client: client.chat.completions.create(model="gpt-4o-mini", messages=USER))
    assert request.texts == ("What is the weather in Paris?",)
    assert (request.model, request.encoding, request.wire) == ("gpt-4o-mini", "o200k_base", Wire.CHAT)
    assert (request.stream, request.usage_asked, request.choices, request.tier) == (False, True, 1, "standard")
    assert (request.output_fields, request.output_limit) == ((), None)
    assert request.new_output_field == "max_completion_tokens"
    assert (request.hidden_output, request.unbounded, request.cache_writes) == (False, (), ())


def test_a_stream_with_tools_choices_and_a_limit() -> None:
    """The package's own body for most parameters there are."""
    request = sent(
        lambda client: client.chat.completions.create(
            model="gpt-5-mini",
            messages=[
                {"role": "system", "content": "Be brief."},
                *USER,
                {
                    "role": "assistant",
                    "tool_calls": [
                        {
                            "id": "call_1",
                            "type": "function",
                            "function": {"name": "get_weather", "arguments": '{"place": "Paris"}'},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "call_1", "content": "17 degrees"},
            ],
            tools=[WEATHER],
            tool_choice="auto",
            n=3,
            max_completion_tokens=200,
            stream=True,
            stream_options={"include_usage": True},
            service_tier="flex",
            prompt_cache_retention="24h",
            reasoning_effort="low",
            metadata={"ticket": "4711"},
            user="someone",
        )
    )
    assert (request.stream, request.usage_asked, request.choices, request.tier) == (True, True, 3, "flex")
    assert (request.output_fields, request.output_limit) == (("max_completion_tokens",), 200)
    assert (request.hidden_output, request.cache_writes, request.unbounded) == (True, ("24h",), ())
    everything = "\n".join(request.texts)
    for text in ("Be brief.", "Paris?", "17 degrees", "get_weather", "The weather at a place", "arguments"):
        assert text in everything
    assert "4711" not in everything
    assert "someone" not in everything


def test_structured_output_counts_its_schema() -> None:
    """`parse` sends the schema of the answer, which the model reads."""
    request = sent(
        lambda client: client.chat.completions.parse(model="gpt-4o", messages=USER, response_format=Forecast)
    )
    assert any('"degrees"' in text for text in request.texts)
    assert request.unbounded == ()


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("gpt-4o", 1_445),
        ("gpt-4o-mini", 48_169),
        ("gpt-4.1-mini", 2_489),
        ("gpt-4.1-nano", 3_779),
        ("o3", 1_275),
        ("o4-mini-2025-04-16", 2_642),
        ("gpt-5-mini", 3_779),
        ("gpt-5.4", 24_600),
        ("gpt-6-astra", 24_600),
        ("qwen2.5-vl-72b", OTHER_IMAGE_TOKENS),
    ],
)
def test_images_by_data_url(model: str, tokens: int) -> None:
    """The largest documented cost for each family: 85 + 8 * 170, 2833 + 8 * 5667, 1536 * 1.62, ..."""
    request = sent(
        lambda client: client.chat.completions.create(
            model=model,
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is this?"},
                        {"type": "image_url", "image_url": {"url": PNG, "detail": "high"}},
                        {"type": "image_url", "image_url": {"url": PNG}},
                    ],
                }
            ],
        )
    )
    assert request.image_tokens == 2 * tokens
    assert request.unbounded == ()
    assert PNG not in request.texts


def wav(seconds: int, rate: int) -> str:
    """A WAV of one channel and 16 bits, in base64."""
    data = b"\0\0" * rate * seconds
    numbers = [(16, 4), (1, 2), (1, 2), (rate, 4), (rate * 2, 4), (2, 2), (16, 2)]
    form = b"".join(number.to_bytes(size, "little") for number, size in numbers)
    header = b"RIFF" + (36 + len(data)).to_bytes(4, "little") + b"WAVEfmt " + form + b"data"
    return base64.b64encode(header + len(data).to_bytes(4, "little") + data).decode()


@pytest.mark.parametrize(
    ("data", "form", "least", "unbounded"),
    [
        (wav(60, 8_000), "wav", 600, ()),
        (base64.b64encode(b"\xff\xfb" + b"x" * 60_000).decode(), "mp3", 600, ()),
        (wav(60, 100), "wav", 0, ("file_input",)),
        ("AAAA", "wav", 0, ("file_input",)),
        ("not base64!" * 9, "wav", 0, ("file_input",)),
        (wav(1, 8_000), "flac", 0, ("file_input",)),
        (None, "mp3", 0, ("file_input",)),
    ],
)
def test_audio(data: object, form: str, least: int, unbounded: tuple[str, ...]) -> None:
    """A minute costs 600 tokens (10 a second); only formats that cannot hide silence in few bytes are bounded."""
    request = said({"type": "input_audio", "input_audio": {"data": data, "format": form}}, model="gpt-4o-audio-preview")
    assert request.audio_tokens >= least
    assert bool(request.audio_tokens) == bool(least)
    assert request.unbounded == unbounded


def test_spoken_answers_and_predictions_hide_output() -> None:
    """Audio tokens cannot be counted in a stream, and rejected predictions are not in it."""
    assert chat(modalities=["text", "audio"], audio={"voice": "alloy", "format": "wav"}).audio_output
    predicted = chat(prediction={"type": "content", "content": [{"type": "text", "text": "class User:"}]})
    assert predicted.prediction == ("class User:",)
    assert predicted.hidden_output
    assert not chat(modalities=["text"]).hidden_output
    limit = bound(chat(n=2, max_tokens=10), Counts(texts=0, prediction=3), default_output_tokens=99)
    assert limit.output_tokens == 2 * (10 + 3)
    assert [limit.limit_within(tokens) for tokens in (26, 27, 28, 6, 5, 0)] == [10, 10, 11, 0, -1, -3]


@pytest.mark.parametrize(
    ("model", "effort", "hidden"),
    [
        ("gpt-4o", None, False),
        ("gpt-4.1-2025-04-14", None, False),
        ("chatgpt-4o-latest", None, False),
        ("gpt-3.5-turbo", None, False),
        ("o3", None, True),
        ("gpt-5", "minimal", True),
        ("gpt-5", "none", True),
        ("gpt-5.1", "none", False),
        ("gpt-5.1", "low", True),
        ("gpt-5.1", None, True),
        ("deepseek-reasoner", None, True),
        ("llama-3.3-70b", "none", True),
        ("anthropic/claude-sonnet-4.5", None, False),
        ("anthropic/claude-sonnet-4.5", "high", True),
    ],
)
def test_hidden_reasoning(model: str, effort: str | None, hidden: bool) -> None:
    """Only models known to show all they write do not hide."""
    assert chat(model=model, reasoning_effort=effort).hidden_output is hidden
    assert chat(model=model, reasoning={"max_tokens": 9}).hidden_output


@pytest.mark.parametrize(
    ("members", "fields", "limit"),
    [
        ({}, (), None),
        ({"max_tokens": None}, (), None),
        ({"max_tokens": 7}, ("max_tokens",), 7),
        ({"max_completion_tokens": 9}, ("max_completion_tokens",), 9),
        ({"max_tokens": 7, "max_completion_tokens": 9}, ("max_completion_tokens", "max_tokens"), 9),
    ],
)
def test_output_limits(members: dict[str, Any], fields: tuple[str, ...], limit: int | None) -> None:
    """Where two are named the larger counts, because a provider may follow either."""
    request = chat(**members)
    assert (request.output_fields, request.output_limit) == (fields, limit)
    assert bound(request, Counts(5), default_output_tokens=50).output_tokens == (50 if limit is None else limit)


def test_where_a_limit_goes_if_none_is_named() -> None:
    """OpenAI's reasoning models refuse max_tokens; other providers know nothing else."""
    assert chat(model="o3").new_output_field == "max_completion_tokens"
    assert chat(model="llama-3.3-70b").new_output_field == "max_tokens"
    assert chat(model="o3").limit_fields == ("max_completion_tokens",)
    assert chat(model="o3", max_tokens=5).limit_fields == ("max_tokens",)


@pytest.mark.parametrize(
    ("tier", "read_as", "unbounded"),
    [
        (None, "standard", ()),
        ("auto", "standard", ()),
        ("default", "standard", ()),
        ("flex", "flex", ()),
        ("priority", "priority", ()),
        ("fast", "priority", ()),
        ("ultrafast", "ultrafast", ("fast_mode",)),
        ("turbo", "turbo", ("service_tier",)),
    ],
)
def test_tiers(tier: str | None, read_as: str, unbounded: tuple[str, ...]) -> None:
    """As asked for; what nobody knows cannot be bounded."""
    request = chat(service_tier=tier)
    assert (request.tier, request.unbounded) == (read_as, unbounded)


def test_what_stands_elsewhere_counts_each_time() -> None:
    """Two files may cost twice what one costs; a tool that is offered twice is no more than offered."""
    url = {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}
    file = {"type": "file", "file": {"file_id": "file-1"}}
    assert said(url, file, url, url).unbounded == ("file_input", "url_input", "url_input", "url_input")
    assert chat(tools=[{"type": "web_search"}] * 2).unbounded == ("server_tools",)


@pytest.mark.parametrize("name", ["Max_Tokens", "N", "Tools", "MAX_COMPLETION_TOKENS", "Models", "tool\u017f"])
def test_names_in_another_case_are_refused(name: str) -> None:
    """Some servers take them for the names that they resemble, Unicode's other s and k included."""
    with pytest.raises(RequestInvalid, match="Unknown parameter") as refused:
        chat(**{name: 100})
    assert refused.value.param == name
    with pytest.raises(RequestInvalid, match="Unknown parameter"):
        chat(messages=[{"role": "user", "Content": "Hi"}])


@pytest.mark.parametrize(
    ("request_", "unbounded"),
    [
        (said({"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}), ("url_input",)),
        (said({"type": "image_url", "image_url": "http://example.com/x.png"}), ("url_input",)),
        (said({"type": "image_url", "image_url": {"url": "DATA:IMAGE/png;base64,AAAA"}}), ()),
        (said({"type": "image_url", "image_url": {"url": "data:application/pdf;base64,AAAA"}}), ("file_input",)),
        (said({"type": "image_url", "image_url": {}}), ("file_input",)),
        (said({"type": "file", "file": {"file_id": "file-1"}}), ("file_input",)),
        (said({"type": "file", "file": {"file_data": "data:application/pdf;base64,AA"}}), ("file_input",)),
        (said({"type": "video_url", "video_url": {"url": "https://example.com/x.mp4"}}), ("url_input",)),
        (said({"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AA"}}), ("file_input",)),
        (said({"type": "hologram", "data": "AA"}), ("file_input",)),
        (said({"image": "AAAA"}), ("file_input",)),
        (said("a bare text"), ()),
        (said({"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}), ()),
        (chat(messages=[{"role": "assistant", "audio": {"id": "audio_1"}}]), ("item_reference",)),
        (chat(web_search_options={}), ("web_search_options",)),
        (chat(search_parameters={"mode": "auto"}), ("web_search_options",)),
        (chat(enable_search=False), ()),
        (chat(plugins=[{"id": "web"}]), ("server_tools",)),
        (chat(models=["a/b", "c/d"]), ("other_models",)),
        (chat(models=[], plugins=[], transforms=[]), ()),
        (chat(route="fallback"), ("other_models",)),
        (chat(provider={"only": ["dear"]}), ("other_models",)),
        (chat(transforms=["middle-out"]), ("compaction",)),
        (chat(preset="@preset/long"), ("other_models", "stored_prompt")),
        (chat(model="@preset/long"), ("other_models", "stored_prompt")),
        (chat(model="openai/gpt-4o@preset/long"), ("other_models", "stored_prompt")),
        (chat(chat_template="{{ 'x' * 100000 }}"), ("stored_prompt",)),
        (
            chat(extra_body={"google": {"cached_content": "cachedContents/1"}}),
            ("item_reference", "other_models", "server_tools"),
        ),
        (chat(tools=[{"google_search": {}}]), ("server_tools",)),
        (chat(tools=[{"Type": "web_search"}]), ("server_tools",)),
        (chat(tools=[{"function": {"name": "f"}}]), ()),
        (chat(tools=[{"type": "web_search"}]), ("server_tools",)),
        (chat(tools=[{"type": "code_interpreter"}]), ("server_tools",)),
        (chat(tools=[{"type": "custom", "custom": {"name": "shell"}}]), ()),
        (chat(functions=[{"name": "f", "parameters": {}}]), ()),
        (chat(model="gpt-4o-search-preview"), ("server_tools",)),
        (chat(model="sonar-pro"), ("server_tools",)),
        (chat(model="openai/gpt-4o:online"), ("server_tools",)),
    ],
    ids=lambda value: "" if isinstance(value, Request) else "+".join(value) or "bounded",
)
def test_what_cannot_be_bounded(request_: Request, unbounded: tuple[str, ...]) -> None:
    """The slugs that a policy may set a ceiling for."""
    assert request_.unbounded == unbounded


def test_unknown_members_are_counted_as_text() -> None:
    """A provider's own parameter may put text before the model: documents, a chat template's arguments, a name."""
    request = chat(
        documents=[{"title": "Handbook", "text": "Wash your hands"}],
        messages=[{"role": "user", "content": "Hi", "name": "Ada", "reasoning_content": "hm", "extra": {"k": ["v"]}}],
    )
    everything = " ".join(request.texts)
    for text in ("Handbook", "Wash your hands", "Ada", "hm", "k", "v"):
        assert text in everything


@pytest.mark.parametrize(
    ("members", "lifetimes"),
    [
        ({"prompt_cache_options": {"ttl": "12h"}}, ("12h",)),
        ({"prompt_cache_options": {}}, ("30m",)),
        ({"prompt_cache_retention": "in_memory"}, ("in_memory",)),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}}],
                    }
                ]
            },
            ("30m",),
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"ttl": "1h"}}]}
                ]
            },
            ("1h",),
        ),
    ],
)
def test_cache_writes(members: dict[str, Any], lifetimes: tuple[str, ...]) -> None:
    """Retention, options and marks on parts."""
    assert chat(**members).cache_writes == lifetimes


def test_a_stream_whose_usage_nobody_asked_for() -> None:
    """The gateway then asks for it, and strips it from what the client sees."""
    request = sent(lambda client: client.chat.completions.create(model="gpt-4o", messages=USER, stream=True))
    assert (request.stream, request.usage_asked) == (True, False)
