"""Reading a Responses request (OpenAI API reference, "Create a model response").

Invariant: what the provider looks up by an id (earlier responses, conversations, stored prompts, reasoning that it
kept) is named as unbounded, because its size stands nowhere in the request.
"""

from typing import Any

from gateway.estimate.fields import Fields, model_in, objects_in
from gateway.estimate.models import family_of
from gateway.estimate.openai import read_cache_writes, read_extras, read_output_limit, read_tier, read_tool, read_tools
from gateway.estimate.reading import (
    BACKGROUND,
    COMPACTION,
    CONVERSATION,
    FILE_INPUT,
    ITEM_REFERENCE,
    PREVIOUS_RESPONSE,
    STORED_PROMPT,
    Reading,
)
from gateway.estimate.request import Request
from gateway.wires import Wire

OUTPUT_FIELDS = ("max_output_tokens",)
_PLAIN = frozenset(
    """
    model input instructions stream max_output_tokens service_tier tools previous_response_id conversation background
    prompt context_management reasoning prompt_cache_retention prompt_cache_options n access_programs background_options
    image include max_tool_calls metadata moderation parallel_tool_calls prompt_cache_key safety_identifier store
    stream_options temperature top_logprobs top_p truncation user
    """.split()
)
_BY_ID = {
    "previous_response_id": PREVIOUS_RESPONSE,
    "conversation": CONVERSATION,
    "background": BACKGROUND,
    "prompt": STORED_PROMPT,
    "context_management": COMPACTION,
}
# Results that hosted tools left with the provider: the item names them, the content is not in it.
_LEFT_WITH_PROVIDER = ("web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call")


def read_responses(document: dict[str, Any], body: bytes) -> Request:
    """The request in this document. Raises RequestInvalid where a field that is read here has a wrong type."""
    fields = Fields(document)
    model = model_in(fields)
    reading = Reading(family_of(model))
    for name, slug in _BY_ID.items():
        if document.get(name):
            reading.unbounded.add(slug)
    instructions = fields.optional("instructions", str)
    if instructions is not None:
        reading.piece(instructions)
        reading.fixed_tokens += reading.family.message_tokens
    _read_input(fields, reading)
    read_extras(document, reading, plain=_PLAIN)
    read_tools(fields, "tools", reading)
    reasoning = Fields(fields.optional("reasoning", dict) or {}, path="reasoning")
    effort = reasoning.optional("effort", str)
    output_fields, output_limit = read_output_limit(fields, OUTPUT_FIELDS)
    family = reading.family
    return Request(
        wire=Wire.RESPONSES,
        model=model,
        encoding=family.encoding,
        stream=fields.optional("stream", bool) or False,
        usage_asked=True,
        choices=fields.count("n", least=1) or 1,
        output_fields=output_fields,
        output_limit=output_limit,
        new_output_field="max_output_tokens",
        tier=read_tier(fields, reading),
        cache_writes=read_cache_writes(document, fields, body=body),
        hidden_output=family.reasons_unseen and not (family.knows_effort_none and effort == "none"),
        audio_output=False,
        texts=tuple(reading.texts),
        prediction=(),
        fixed_tokens=reading.fixed_tokens,
        image_tokens=reading.image_tokens,
        audio_tokens=reading.audio_tokens,
        unbounded=reading.unbounded.names,
    )


def _read_input(fields: Fields, reading: Reading) -> None:
    """The input: one text, or items. A stored prompt or an earlier response may stand in its place."""
    given = fields.values.get("input")
    if given is None:
        return
    if type(given) is str:
        reading.piece(given)
        reading.fixed_tokens += reading.family.message_tokens
        return
    if type(given) is not list:
        raise fields.wrong_type("input", str)
    reading.fixed_tokens += reading.family.message_tokens * len(given)
    for item in objects_in(fields, "input"):
        _read_item(item, reading)


def _read_item(item: dict[str, Any], reading: Reading) -> None:
    """One item of the input."""
    kind = item.get("type") or ("message" if "role" in item else "item_reference")
    if kind == "message":
        _read_content(item.get("content"), reading)
    elif kind in ("function_call", "custom_tool_call"):
        reading.definition(item)
    elif kind in ("function_call_output", "custom_tool_call_output"):
        _read_content(item.get("output"), reading)
        reading.fixed_tokens += reading.family.message_tokens
    elif kind == "item_reference":
        reading.unbounded.add(ITEM_REFERENCE)
    elif kind == "reasoning":
        _read_reasoning(item, reading)
    elif kind == "compaction":
        _read_encrypted(item, reading)
    elif kind == "computer_call_output":
        output = item.get("output")
        _read_part(output if type(output) is dict else {}, reading)
    elif kind == "additional_tools":
        tools = item.get("tools")
        for tool in tools if type(tools) is list else []:
            read_tool(tool if type(tool) is dict else {}, reading)
    elif kind == "compaction_trigger":
        reading.unbounded.add(COMPACTION)
    else:
        if kind in _LEFT_WITH_PROVIDER:
            reading.unbounded.add(ITEM_REFERENCE)
        reading.anything(item)


def _read_reasoning(item: dict[str, Any], reading: Reading) -> None:
    """Reasoning of an earlier answer: encrypted in the request, or kept by the provider under its id."""
    if type(item.get("encrypted_content")) is str:
        _read_encrypted(item, reading)
        return
    if type(item.get("id")) is str:
        reading.unbounded.add(ITEM_REFERENCE)
    reading.anything(item)


def _read_encrypted(item: dict[str, Any], reading: Reading) -> None:
    """What is encrypted by its length, everything else as text."""
    sealed = item.get("encrypted_content")
    if type(sealed) is str:
        reading.opaque(sealed)
    else:
        reading.unbounded.add(ITEM_REFERENCE)
    reading.anything({name: value for name, value in item.items() if name != "encrypted_content"})


def _read_content(content: object, reading: Reading) -> None:
    """The content of a message or of a tool's output: a text, or parts."""
    if type(content) is str:
        reading.piece(content)
    elif type(content) is list:
        for part in content:
            if type(part) is dict:
                _read_part(part, reading)
            else:
                reading.anything(part)
    elif content is not None:
        reading.anything(content)


def _read_part(part: dict[str, Any], reading: Reading) -> None:
    """One content part of an item."""
    kind = part.get("type")
    if kind in ("input_image", "computer_screenshot", "image_url"):
        _read_image(part, reading)
    elif kind == "input_file":
        if type(part.get("file_url")) is str:
            reading.remote(part["file_url"])
        else:
            reading.unbounded.add(FILE_INPUT)
    elif kind == "input_audio":
        audio = part.get("input_audio")
        audio = audio if type(audio) is dict else part
        reading.audio(audio.get("data"), encoding=audio.get("format"))
    elif kind in ("input_text", "output_text", "text", "refusal", "summary_text", "reasoning_text"):
        reading.anything({name: value for name, value in part.items() if name != "logprobs"})
    else:
        reading.unbounded.add(FILE_INPUT)
        reading.anything(part)


def _read_image(part: dict[str, Any], reading: Reading) -> None:
    """An image by data or address; one by a file's id is still an image, and costs no more than any image."""
    address = part.get("image_url")
    address = address.get("url") if type(address) is dict else address
    if type(address) is str:
        reading.image_at(address)
    else:
        reading.unbounded.add(FILE_INPUT)
