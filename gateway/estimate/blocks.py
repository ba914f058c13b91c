"""Reading the content blocks of a Messages request, nested ones too.

Invariant: every block is either counted (text, images, calls, results), charged by its bytes (what is encrypted), or
named as unbounded; blocks are walked without recursion.
"""

from typing import Any

from gateway.estimate.fields import Fields
from gateway.estimate.reading import FILE_INPUT, SERVER_TOOLS, URL_INPUT, Reading

# Around each block Anthropic writes marks of its own; citations cut a document into numbered pieces and explain them
# ("Citations": "slightly more input tokens due to system prompt additions and document chunking").
_BLOCK_TOKENS = 32
_CITATIONS_TOKENS = 1_024
# Results of server tools in the history: text, or encrypted text that its bytes bound.
_SEALED = ("signature", "data", "encrypted_content", "encrypted_index", "encrypted_stdout")


def read_blocks(content: list[Any], place: str, reading: Reading) -> None:
    """Every block in the list, and those nested in it. Raises RequestInvalid where a block is no object."""
    waiting: list[Any] = list(reversed(content))
    while waiting:
        block = waiting.pop()
        if type(block) is str:
            reading.piece(block)
            continue
        if type(block) is not dict:
            raise Fields({place: block}, claude=True).wrong_type(place, dict)
        reading.fixed_tokens += _BLOCK_TOKENS
        waiting.extend(_read_block(block, reading))


def _read_block(block: dict[str, Any], reading: Reading) -> list[Any]:
    """One block; returns the blocks inside it."""
    kind = block.get("type")
    text = block.get("text")
    if kind == "text" and type(text) is str:
        reading.piece(text)
        _read_others(block, reading, but=("type", "text", "cache_control"))
        return []
    if kind == "image":
        _read_image(block.get("source"), reading)
        return []
    if kind == "document":
        return _read_document(block, reading)
    if kind in ("tool_use", "server_tool_use", "mcp_tool_use"):
        reading.definition(block)
        return []
    if kind in ("tool_result", "search_result", "mcp_tool_result"):
        _read_others(block, reading, but=("type", "content", "cache_control"))
        content = block.get("content")
        if type(content) is list:
            return content
        reading.anything(content)
        return []
    if kind in ("container_upload", "tool_addition", "mcp_tool_listing"):
        # What is added in mid-conversation may be any tool, and an upload is a file that a server tool reads.
        reading.unbounded.add(SERVER_TOOLS)
    elif not _is_text_only(block):
        reading.unbounded.add(FILE_INPUT)
    _read_others(block, reading, but=("type", "cache_control"))
    return []


def _read_others(block: dict[str, Any], reading: Reading, *, but: tuple[str, ...]) -> None:
    """The other members of a block: sealed ones by their bytes, the rest as text."""
    for name, value in block.items():
        if name in but or value is None:
            continue
        if name in _SEALED and type(value) is str:
            reading.opaque(value)
        else:
            reading.anything(value)


def _read_image(source: object, reading: Reading) -> None:
    """An image in base64 is bounded; one by address or by a file's id is not in the request."""
    kind = source.get("type") if type(source) is dict else None
    if kind == "base64":
        reading.image()
    else:
        reading.unbounded.add(URL_INPUT if kind == "url" else FILE_INPUT)


def _read_document(block: dict[str, Any], reading: Reading) -> list[Any]:
    """A document: its text, its blocks, or a file whose tokens its bytes do not bound (a PDF is billed by page and
    text)."""
    _read_others(block, reading, but=("type", "source", "cache_control", "citations"))
    citations = block.get("citations")
    if type(citations) is dict and citations.get("enabled"):
        reading.fixed_tokens += _CITATIONS_TOKENS
    source = block.get("source")
    source = source if type(source) is dict else {}
    kind = source.get("type")
    data = source.get("data")
    if kind == "text" and type(data) is str:
        reading.piece(data)
        return []
    if kind == "content":
        content = source.get("content")
        return content if type(content) is list else [content if type(content) is str else {}]
    reading.unbounded.add(URL_INPUT if kind == "url" else FILE_INPUT)
    return []


def _is_text_only(block: dict[str, Any]) -> bool:
    """Whether an unknown block holds only text: no media in it, however deep, and nothing by a file's id."""
    waiting: list[Any] = [block]
    while waiting:
        item = waiting.pop()
        if type(item) is list:
            waiting.extend(item)
        elif type(item) is dict:
            if "media_type" in item or "source" in item:
                return False
            waiting.extend(item.values())
    return type(block.get("type")) is str and (block["type"] in _TEXT_BLOCKS or block["type"].endswith("_tool_result"))


_TEXT_BLOCKS = frozenset({"thinking", "redacted_thinking", "compaction", "fallback", "tool_removal", "tool_reference"})
