"""What Chat Completions, Responses and Embeddings share: the frame of a request, tiers, cache marks and tools.

Invariant: a tool is bounded only if the client runs it; every tool type that is not known to run at the client is taken
to run at the provider.
"""

from typing import Any

from gateway.estimate.cache_marks import lifetimes_in
from gateway.estimate.fields import Fields, objects_in
from gateway.estimate.reading import (
    COMPACTION,
    DEFINITION_TOKENS,
    FAST_MODE,
    ITEM_REFERENCE,
    OTHER_MODELS,
    SERVER_TOOLS,
    SERVICE_TIER,
    STORED_PROMPT,
    WEB_SEARCH,
    Reading,
)
from gateway.estimate.request import RequestInvalid

_TIERS = {
    **dict.fromkeys(("auto", "default", "standard", "standard_only", "on_demand", "scale", "batch"), "standard"),
    "flex": "flex",
    "priority": "priority",
    "fast": "priority",
}
# The provider's own text around tools: namespace, calling convention, parallel calls. OpenAI's recipe has less than 30;
# chat templates of other models write instructions of up to a few hundred (Llama, Qwen, Hermes).
_TOOLS_TOKENS = 64
_TOOLS_TOKENS_OTHERS = 512
# Tools that the client runs but whose definition the provider writes, without a documented size.
_CLIENT_TOOL_TOKENS = 2_048
_CLIENT_TOOLS = ("local_shell", "apply_patch")
# Parameters of OpenAI-compatible providers that add cost and are not in OpenAI's reference: OpenRouter's plugins,
# models, route, provider, preset and transforms, xAI's search_parameters, Qwen's enable_search, Google's extra_body
# (which may name cached content and tools), vLLM's chat_template (which may write any text any number of times).
COSTLY: dict[str, str] = {
    "web_search_options": WEB_SEARCH,
    "search_parameters": WEB_SEARCH,
    "enable_search": WEB_SEARCH,
    "plugins": SERVER_TOOLS,
    "mcp_servers": SERVER_TOOLS,
    "models": OTHER_MODELS,
    "fallbacks": OTHER_MODELS,
    "route": OTHER_MODELS,
    "provider": OTHER_MODELS,
    "preset": STORED_PROMPT,
    "transforms": COMPACTION,
    "cached_content": ITEM_REFERENCE,
    "extra_body": ITEM_REFERENCE,
    "google": ITEM_REFERENCE,
    "chat_template": STORED_PROMPT,
}
# OpenRouter: a preset is a stored prompt, and also chooses the model; `extra_body` may name all of these.
_ALSO: dict[str, tuple[str, ...]] = {
    "preset": (OTHER_MODELS,),
    "extra_body": (SERVER_TOOLS, OTHER_MODELS),
    "google": (SERVER_TOOLS, OTHER_MODELS),
}
_PRESET = "@preset/"


def read_extras(document: dict[str, Any], reading: Reading, *, plain: frozenset[str]) -> None:
    """Parameters that are neither read elsewhere nor known to be harmless: costly ones are named, the text of others
    counted."""
    refuse_twins(document, plain)
    if _PRESET in document["model"]:
        read_costly("preset", reading)
    for name in document.keys() - plain:
        value = document[name]
        if value is None or value is False:
            continue
        if name in COSTLY:
            if value != []:
                read_costly(name, reading)
        elif type(value) in (dict, list):
            reading.definition(value)
        else:
            reading.anything(value)


def read_costly(name: str, reading: Reading) -> None:
    """A parameter of ``COSTLY``: everything that it may add."""
    for slug in (COSTLY[name], *_ALSO.get(name, ())):
        reading.unbounded.add(slug)


def refuse_twins(document: dict[str, Any], plain: frozenset[str]) -> None:
    """Some servers take names in any case, as Go's JSON reader does: what they would take for a known parameter, and
    nobody here has read, is refused. Raises RequestInvalid."""
    for name in document.keys() - plain:
        known = name.casefold()
        if name != known and (known in plain or known in COSTLY):
            raise RequestInvalid(f"Unknown parameter: '{name}'. Did you mean '{known}'?", param=name)


def read_tier(fields: Fields, reading: Reading) -> str:
    """The tier asked for, in this package's words; a word that nobody here knows also cannot be bounded."""
    asked = fields.optional("service_tier", str) or "default"
    if asked == "ultrafast":
        reading.unbounded.add(FAST_MODE)
    elif asked not in _TIERS:
        reading.unbounded.add(SERVICE_TIER)
    return _TIERS.get(asked, asked)


def read_cache_writes(document: dict[str, Any], fields: Fields, *, body: bytes) -> tuple[str, ...]:
    """The lifetimes of cache entries that the client asks for, in order of their names."""
    found: set[str] = set()
    retention = fields.optional("prompt_cache_retention", str)
    if retention is not None:
        found.add(retention)
    options = fields.optional("prompt_cache_options", dict)
    default = "30m"
    if options is not None:
        default = Fields(options, path="prompt_cache_options").optional("ttl", str) or default
        found.add(default)
    found |= lifetimes_in(document, body=body, marks={"cache_control": "5m", "prompt_cache_breakpoint": default})
    return tuple(sorted(found))


def read_tools(fields: Fields, name: str, reading: Reading) -> None:
    """The tools under this name: definitions as JSON text, and the provider's own words around them."""
    tools = objects_in(fields, name)
    if not tools:
        return
    reading.fixed_tokens += _TOOLS_TOKENS if reading.family.known else _TOOLS_TOKENS_OTHERS
    for tool in tools:
        read_tool(tool, reading, legacy=name == "functions")


def read_tool(tool: dict[str, Any], reading: Reading, *, legacy: bool = False) -> None:
    """One tool. Chat's ``functions`` (``legacy``) have no type; the Responses wire nests functions in namespaces."""
    kind = tool.get("type")
    reading.definition(tool)
    if kind in ("function", "custom") or (kind is None and (legacy or type(tool.get("function")) is dict)):
        return
    if kind == "namespace":
        nested = tool.get("tools")
        for inner in nested if type(nested) is list else []:
            if type(inner) is dict and inner.get("type") not in ("function", "custom"):
                reading.unbounded.add(SERVER_TOOLS)
        reading.fixed_tokens += DEFINITION_TOKENS * (len(nested) if type(nested) is list else 0)
        return
    environment = tool.get("environment")
    runs_here = (
        kind in _CLIENT_TOOLS
        or (kind == "tool_search" and tool.get("execution") == "client")
        or (kind == "shell" and type(environment) is dict and environment.get("type") == "local")
    )
    if runs_here:
        reading.fixed_tokens += _CLIENT_TOOL_TOKENS
    else:
        reading.unbounded.add(SERVER_TOOLS)


def read_output_limit(fields: Fields, names: tuple[str, ...]) -> tuple[tuple[str, ...], int | None]:
    """The fields under which the client names an output limit, and the largest of the limits."""
    found = [(name, limit) for name in names if (limit := fields.count(name, least=1)) is not None]
    return tuple(name for name, _ in found), max((limit for _, limit in found), default=None)
