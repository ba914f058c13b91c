"""Reading a Chat Completions request (OpenAI API reference, "Create chat completion", and what compatible providers
add).

Invariant: a content part whose kind is not known counts as a file, whose tokens its bytes do not bound.
"""

from typing import Any

from gateway.estimate.fields import Fields, model_in
from gateway.estimate.models import family_of
from gateway.estimate.openai import (
    read_cache_writes,
    read_extras,
    read_output_limit,
    read_tier,
    read_tools,
    refuse_twins,
)
from gateway.estimate.reading import FILE_INPUT, ITEM_REFERENCE, Reading
from gateway.estimate.request import Request, RequestInvalid
from gateway.wires import Wire

OUTPUT_FIELDS = ("max_completion_tokens", "max_tokens")
# Read below, or without effect on what is billed (metadata, sampling, storage, routing of caches).
_PLAIN = frozenset(
    """
    model messages stream stream_options max_tokens max_completion_tokens n best_of service_tier tools functions
    prediction modalities prompt_cache_retention prompt_cache_options audio frequency_penalty logit_bias logprobs
    metadata moderation parallel_tool_calls presence_penalty prompt_cache_key reasoning_effort safety_identifier seed
    stop store temperature top_logprobs top_p user verbosity min_p top_k repetition_penalty
    """.split()
)
_MESSAGE = frozenset({"role", "content", "tool_calls", "function_call", "audio", "name", "refusal"})
# How OpenRouter, DeepSeek and Qwen are asked to think.
_THINKING = ("reasoning", "thinking", "enable_thinking")


def read_chat(document: dict[str, Any], body: bytes) -> Request:
    """The request in this document. Raises RequestInvalid where a field that is read here has a wrong type."""
    fields = Fields(document)
    model = model_in(fields)
    reading = Reading(family_of(model))
    _read_messages(fields, reading)
    read_extras(document, reading, plain=_PLAIN)
    read_tools(fields, "tools", reading)
    read_tools(fields, "functions", reading)
    predicted = _read_prediction(fields, reading)
    speaks = "audio" in (fields.optional("modalities", list) or ())
    output_fields, output_limit = read_output_limit(fields, OUTPUT_FIELDS)
    family = reading.family
    return Request(
        wire=Wire.CHAT,
        model=model,
        encoding=family.encoding,
        stream=fields.optional("stream", bool) or False,
        usage_asked=_usage_asked(fields),
        choices=max(fields.count("n", least=1) or 1, fields.count("best_of", least=1) or 1),
        output_fields=output_fields,
        output_limit=output_limit,
        # OpenAI's reasoning models refuse max_tokens; other providers know nothing else.
        new_output_field="max_completion_tokens" if family.known else "max_tokens",
        tier=read_tier(fields, reading),
        cache_writes=read_cache_writes(document, fields, body=body),
        hidden_output=predicted or speaks or _reasons_unseen(fields, reading),
        audio_output=speaks,
        texts=tuple(reading.texts),
        prediction=tuple(reading.prediction),
        fixed_tokens=reading.fixed_tokens,
        image_tokens=reading.image_tokens,
        audio_tokens=reading.audio_tokens,
        unbounded=reading.unbounded.names,
    )


def _reasons_unseen(fields: Fields, reading: Reading) -> bool:
    """Whether the model may think where a stream does not show it: of itself, or because the client asks for it."""
    effort = fields.optional("reasoning_effort", str)
    if effort not in (None, "none") or any(fields.values.get(name) for name in _THINKING):
        return True
    return reading.family.reasons_unseen and not (reading.family.knows_effort_none and effort == "none")


def _usage_asked(fields: Fields) -> bool:
    """Without a stream the usage comes anyway."""
    options = fields.optional("stream_options", dict)
    if not fields.optional("stream", bool):
        return True
    return bool(Fields(options, path="stream_options").optional("include_usage", bool)) if options else False


def _read_messages(fields: Fields, reading: Reading) -> None:
    """Every message: its content, its name, its calls."""
    messages = fields.required("messages", list)
    texts = reading.texts
    reading.fixed_tokens += reading.family.message_tokens * len(messages)
    for index, message in enumerate(messages):
        if type(message) is not dict:
            raise Fields({f"messages[{index}]": message}).wrong_type(f"messages[{index}]", dict)
        content = message.get("content")
        if type(content) is str:
            texts.append(content)
        elif content is not None:
            _read_parts(content, f"messages[{index}].content", reading)
        if type(message.get("role", "")) is not str:
            raise Fields(message, path=f"messages[{index}]").wrong_type("role", str)
        if len(message) != ("role" in message) + ("content" in message):
            _read_around(message, reading)


def _read_around(message: dict[str, Any], reading: Reading) -> None:
    """What a message holds besides its role and content."""
    refuse_twins(message, _MESSAGE)
    for name, value in message.items():
        if name in ("role", "content") or value is None:
            continue
        if name == "tool_calls" and type(value) is list:
            for call in value:
                reading.definition(call)
        elif name == "function_call":
            reading.definition(value)
        elif name == "audio":
            # Speech of an earlier answer, by its id: the provider knows how long it is.
            reading.unbounded.add(ITEM_REFERENCE)
        elif type(value) is str:
            reading.piece(value)
        else:
            reading.anything(value)


def _read_parts(content: object, param: str, reading: Reading) -> None:
    """The parts of one message."""
    if type(content) is not list:
        raise RequestInvalid(
            f"Invalid type for '{param}': expected a string or an array of content parts.", param=param
        )
    for part in content:
        if type(part) is str:
            reading.piece(part)
        elif type(part) is dict:
            read_part(part, reading)
        else:
            raise RequestInvalid(f"Invalid type for '{param}': expected an array of objects.", param=param)


def read_part(part: dict[str, Any], reading: Reading) -> None:
    """One content part of a chat message."""
    kind = part.get("type")
    text = part.get("text" if kind == "text" else "refusal")
    if kind in ("text", "refusal") and type(text) is str:
        reading.piece(text)
        if len(part) > 2:
            reading.anything({name: value for name, value in part.items() if name not in ("type", "text", "refusal")})
    elif kind == "image_url":
        image = part.get("image_url")
        reading.image_at(image.get("url") if type(image) is dict else image)
    elif kind == "input_audio":
        audio = part.get("input_audio")
        audio = audio if type(audio) is dict else {}
        reading.audio(audio.get("data"), encoding=audio.get("format"))
    elif kind in ("video_url", "audio_url", "document_url", "file_url"):
        place = part.get(str(kind))
        reading.remote(place.get("url") if type(place) is dict else place)
    elif kind in ("thinking", "reasoning"):
        reading.anything(part)
    else:
        reading.unbounded.add(FILE_INPUT)
        reading.anything(part)


def _read_prediction(fields: Fields, reading: Reading) -> bool:
    """Predicted output: what of it is rejected is billed as output (OpenAI, "Predicted Outputs"), so all of it may
    be."""
    prediction = fields.optional("prediction", dict)
    if not prediction:
        return False
    content = prediction.get("content")
    for part in content if type(content) is list else [content]:
        text = part.get("text") if type(part) is dict else part
        if type(text) is not str:
            raise Fields({"content": text}, path="prediction").wrong_type("content", str)
        reading.prediction.append(text)
        reading.piece(text)
    return True
