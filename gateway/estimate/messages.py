"""Reading a Messages request (Anthropic API reference, "Create a Message", betas included).

Invariant: a tool is bounded only if the client runs it and Anthropic documents what its definition costs; every other
typed tool is taken to run at the provider.
"""

import re
from typing import Any

from gateway.estimate.blocks import read_blocks
from gateway.estimate.cache_marks import lifetimes_in
from gateway.estimate.fields import Fields, model_in, objects_in
from gateway.estimate.models import claude_of
from gateway.estimate.openai import COSTLY, read_costly, refuse_twins
from gateway.estimate.reading import (
    COMPACTION,
    CONVERSATION,
    DATA_RESIDENCY,
    FAST_MODE,
    OTHER_MODELS,
    SERVER_TOOLS,
    SERVICE_TIER,
    Reading,
)
from gateway.estimate.request import Request, RequestInvalid
from gateway.wires import Wire

OUTPUT_FIELDS = ("max_tokens",)
_PLAIN = frozenset(
    """
    model messages max_tokens stream system tools thinking service_tier cache_control container mcp_servers speed
    inference_geo context_management compaction thread fallbacks output_config
    betas billing_policy diagnostics fallback_credit_token metadata stop_sequences temperature tool_choice top_k top_p
    user_profile_id workspace_id
    """.split()
)
# Anthropic, "Tool use with Claude", "Pricing": the prompt that enables tools has 264 to 530 tokens by model and choice.
_TOOLS_TOKENS = 1_024
# Each twice what Anthropic documents or more: bash 245, text editor 700, computer use 735 and a prompt of 466 to 499.
# The memory tool and its prompt have no documented size: it gets more than five times the text editor's.
_CLIENT_TOOLS: tuple[tuple[re.Pattern[str], int], ...] = (
    (re.compile(r"bash_\d{8}"), 512),
    (re.compile(r"text_editor_\d{8}"), 1_536),
    (re.compile(r"computer_\d{8}"), 2_560),
    (re.compile(r"memory_\d{8}"), 4_096),
)
# Structured output adds a prompt that explains the format (Anthropic, "Structured outputs"), without a documented size.
_FORMAT_TOKENS = 1_024
_TIERS = frozenset({"auto", "standard_only"})


def read_messages(document: dict[str, Any], body: bytes) -> Request:
    """The request in this document. Raises RequestInvalid where a field that is read here has a wrong type."""
    fields = Fields(document, claude=True)
    model = model_in(fields)
    reading = Reading(claude_of(model))
    limit = fields.count("max_tokens", least=0)
    if limit is None:
        raise fields.missing("max_tokens")
    _read_system(fields, reading)
    _read_turns(fields, reading)
    _read_tools(fields, reading)
    _read_options(fields, reading)
    refuse_twins(document, _PLAIN)
    for name in document.keys() - _PLAIN:
        if name in COSTLY and document[name]:
            read_costly(name, reading)
        reading.anything(document[name])
    tier = fields.optional("service_tier", str) or "auto"
    if tier not in _TIERS:
        reading.unbounded.add(SERVICE_TIER)
    return Request(
        wire=Wire.MESSAGES,
        model=model,
        encoding=None,
        stream=fields.optional("stream", bool) or False,
        usage_asked=True,
        choices=1,
        output_fields=OUTPUT_FIELDS,
        output_limit=limit,
        new_output_field="max_tokens",
        # Priority is capacity that was paid for in advance, at no more than the standard price for a token.
        tier="standard" if tier in _TIERS else tier,
        cache_writes=tuple(sorted(lifetimes_in(document, body=body, marks={"cache_control": "5m"}))),
        hidden_output=_thinks_unseen(fields, reading),
        audio_output=False,
        texts=tuple(reading.texts),
        prediction=(),
        fixed_tokens=reading.fixed_tokens,
        image_tokens=reading.image_tokens,
        audio_tokens=reading.audio_tokens,
        unbounded=reading.unbounded.names,
        least_output=_least_output(fields),
    )


def _least_output(fields: Fields) -> int:
    """A limit must be above the share of it that thinking was given (Anthropic, "Extended thinking")."""
    thinking = fields.optional("thinking", dict)
    if thinking is None:
        return 0
    share = Fields(thinking, path="thinking", claude=True).count("budget_tokens", least=0)
    return share + 1 if share else 0


def _thinks_unseen(fields: Fields, reading: Reading) -> bool:
    """Thinking is billed in full and shown in summary (Anthropic, "Extended thinking"), unless it is off."""
    thinking = fields.optional("thinking", dict)
    if thinking is None:
        return reading.family.reasons_unseen
    return Fields(thinking, path="thinking", claude=True).required("type", str) != "disabled"


def _read_system(fields: Fields, reading: Reading) -> None:
    """The system prompt: a text, or text blocks."""
    system = fields.values.get("system")
    if type(system) is str:
        reading.piece(system)
    elif type(system) is list:
        read_blocks(system, "system", reading)
    elif system is not None:
        raise fields.wrong_type("system", str)


def _read_turns(fields: Fields, reading: Reading) -> None:
    """Every message of the conversation."""
    messages = fields.required("messages", list)
    reading.fixed_tokens += reading.family.message_tokens * len(messages)
    for index, message in enumerate(messages):
        place = f"messages.{index}"
        if type(message) is not dict:
            raise Fields({place: message}, claude=True).wrong_type(place, dict)
        content = message.get("content")
        if type(content) is str:
            reading.texts.append(content)
        elif type(content) is list:
            read_blocks(content, f"{place}.content", reading)
        elif content is None:
            raise RequestInvalid(f"{place}.content: Field required", param=f"{place}.content")
        else:
            raise Fields({"content": content}, path=place, claude=True).wrong_type("content", str)
        for name in message.keys() - {"role", "content"}:
            reading.anything(message[name])


def _read_tools(fields: Fields, reading: Reading) -> None:
    """The tools: own ones by their JSON, Anthropic's by what is documented, those that run at the provider by name."""
    tools = objects_in(fields, "tools")
    if not tools:
        return
    reading.fixed_tokens += _TOOLS_TOKENS
    for tool in tools:
        reading.definition(tool)
        kind = tool.get("type")
        if kind == "custom" or (kind is None and type(tool.get("input_schema")) is dict):
            continue
        documented = next((tokens for name, tokens in _CLIENT_TOOLS if name.fullmatch(str(kind))), None)
        if documented is None:
            reading.unbounded.add(SERVER_TOOLS)
        else:
            reading.fixed_tokens += documented


def _read_options(fields: Fields, reading: Reading) -> None:
    """Options that change what is billed."""
    values = fields.values
    if values.get("container") is not None or values.get("mcp_servers"):
        reading.unbounded.add(SERVER_TOOLS)
    if fields.optional("speed", str) not in (None, "standard"):
        reading.unbounded.add(FAST_MODE)
    # Inference in one region has a price of its own (Anthropic, "Pricing", "Data residency").
    if fields.optional("inference_geo", str) not in (None, "global", "not_available"):
        reading.unbounded.add(DATA_RESIDENCY)
    if values.get("fallbacks"):
        reading.unbounded.add(OTHER_MODELS)
    thread = fields.optional("thread", dict)
    if thread is not None and thread.get("type") != "create":
        reading.unbounded.add(CONVERSATION)
    if values.get("compaction") is not None:
        reading.unbounded.add(COMPACTION)
    management = fields.optional("context_management", dict)
    if management is not None:
        edits = management.get("edits")
        # Clearing old results only lowers the input; compacting runs the model once more.
        if type(edits) is not list or any(_adds(edit) for edit in edits):
            reading.unbounded.add(COMPACTION)
    config = fields.optional("output_config", dict)
    if config is not None and config.get("format") is not None:
        reading.fixed_tokens += _FORMAT_TOKENS
        reading.definition(config["format"])


def _adds(edit: object) -> bool:
    """Whether an edit of the context does more than leave things out."""
    kind = edit.get("type") if type(edit) is dict else None
    return not (type(kind) is str and kind.startswith("clear_"))
