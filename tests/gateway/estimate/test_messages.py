"""Messages: blocks of every kind, tools of every kind, options that change the bill."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.estimate import Counts, Request, RequestInvalid, bound, read_request
from gateway.wires import Wire
from tests.gateway.estimate.bodies import PIXEL, blocks, messages
from tests.support.sent_bodies import sent_by_anthropic

IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}


def test_the_body_of_the_package() -> None:
    """System blocks with cache marks, thinking, tools, results with images, documents."""
    body = sent_by_anthropic(
        lambda client: client.messages.create(
            model="claude-opus-4-1",
            max_tokens=2_000,
            system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
            messages=[
                {"role": "user", "content": [{"type": "text", "text": "Look"}, IMAGE]},  # type: ignore[list-item]
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "S" * 500},
                                                  {"type": "tool_use", "id": "t1", "name": "look", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1",
                                              "content": [{"type": "text", "text": "17 degrees"}, IMAGE]},
                                             {"type": "document", "title": "Rules", "citations": {"enabled": True},
                                              "source": {"type": "text", "media_type": "text/plain", "data": "No."}}]},
            ],
            tools=[{"name": "look", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}],
            thinking={"type": "enabled", "budget_tokens": 1_024},
            metadata={"user_id": "u4711"},
            stop_sequences=["STOPWORD"],
        )
    )  # fmt: skip
    request = read_request(Wire.MESSAGES, body)
    everything = "\n".join(request.texts)
    for text in ("Be brief.", "Look", "hm", "look", "17 degrees", "Rules", "No."):
        assert text in everything
    for text in ("u4711", "STOPWORD", PIXEL, "SSSS"):
        assert text not in everything
    assert request.image_tokens == 2 * 4_784
    assert request.fixed_tokens > 500 + 1_024 + 1_024
    assert request.cache_writes == ("1h", "5m")
    assert (request.encoding, request.output_limit, request.hidden_output) == (None, 2_000, True)
    assert (request.unbounded, request.usage_asked) == ((), True)


@pytest.mark.parametrize(
    ("request_", "unbounded"),
    [
        (messages(), ()),
        (messages(system="Be brief."), ()),
        (blocks({"type": "image", "source": {"type": "url", "url": "https://x.org"}}), ("url_input",)),
        (blocks({"type": "image", "source": {"type": "file", "file_id": "file_1"}}), ("file_input",)),
        (blocks({"type": "document", "source": {"type": "url", "url": "https://x.org"}}), ("url_input",)),
        (blocks({"type": "document", "source": {"type": "base64", "data": "AAAA"}}), ("file_input",)),
        (blocks({"type": "document", "source": {"type": "file", "file_id": "f"}}), ("file_input",)),
        (blocks({"type": "document", "source": {"type": "content", "content": "text"}}), ()),
        (blocks({"type": "document", "source": {"type": "content", "content": [IMAGE]}}), ()),
        (
            blocks({"type": "tool_result", "content": [{"type": "document", "source": {"type": "base64"}}]}),
            ("file_input",),
        ),
        (blocks({"type": "tool_result", "content": "text"}), ()),
        (blocks({"type": "tool_result"}), ()),
        (
            blocks({"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "x"}]}),
            (),
        ),
        (blocks({"type": "redacted_thinking", "data": "AAAA"}), ()),
        (blocks({"type": "server_tool_use", "name": "web_search", "input": {"query": "q"}}), ()),
        (blocks({"type": "web_search_tool_result", "content": [{"encrypted_content": "AAAA", "title": "t"}]}), ()),
        (
            blocks({"type": "web_fetch_tool_result", "content": {"content": {"source": {"media_type": "x"}}}}),
            ("file_input",),
        ),
        (blocks({"type": "container_upload", "file_id": "f"}), ("server_tools",)),
        (blocks({"type": "tool_addition", "tool": {"definition": {}}}), ("server_tools",)),
        (blocks({"type": "something_new", "text": "x"}), ("file_input",)),
        (messages(container="c_1"), ("server_tools",)),
        (messages(mcp_servers=[{"type": "url", "url": "https://x.org", "name": "x"}]), ("server_tools",)),
        (messages(mcp_servers=[]), ()),
        (messages(speed="fast"), ("fast_mode",)),
        (messages(speed="standard"), ()),
        (messages(inference_geo="us"), ("data_residency",)),
        (messages(inference_geo="global"), ()),
        (messages(fallbacks="default"), ("other_models",)),
        (messages(thread={"type": "create"}), ()),
        (messages(thread={"type": "continue", "previous_message_id": "msg_1"}), ("conversation",)),
        (messages(compaction={"type": "summarize"}), ("compaction",)),
        (messages(context_management={"edits": [{"type": "clear_tool_uses_20250919"}]}), ()),
        (messages(context_management={"edits": [{"type": "compact_20260112"}]}), ("compaction",)),
        (messages(service_tier="standard_only"), ()),
        (messages(service_tier="gold"), ("service_tier",)),
    ],
)
def test_what_cannot_be_bounded(request_: Request, unbounded: tuple[str, ...]) -> None:
    """What is fetched, kept at the provider, run there, or has a price of its own."""
    assert request_.unbounded == unbounded


@pytest.mark.parametrize(
    ("kind", "documented"),
    [
        (None, 0),
        ("custom", 0),
        ("bash_20250124", 245),
        ("text_editor_20250728", 700),
        ("computer_20250124", 735 + 499),
        ("memory_20250818", 0),
        ("web_search_20250305", None),
        ("web_fetch_20250910", None),
        ("code_execution_20250825", None),
        ("tool_search_tool_regex_20251119", None),
        ("mcp_toolset", None),
        ("advisor_20260301", None),
        ("browser_toolset_20260801", None),
        ("computer_toolset_20260801", None),
    ],
)
def test_tools(kind: str | None, documented: int | None) -> None:
    """A tool that the client runs costs at least what is documented; any tool brings a prompt of up to 530 tokens."""
    request = messages(tools=[{"name": "t", **({"type": kind} if kind else {"input_schema": {}})}])
    assert request.unbounded == (() if documented is not None else ("server_tools",))
    assert request.fixed_tokens - messages().fixed_tokens >= 530 + (documented or 0)


@pytest.mark.parametrize(
    ("model", "thinking", "hidden"),
    [
        ("claude-sonnet-4-5", None, False),
        ("claude-3-5-haiku-latest", None, False),
        ("claude-sonnet-4-20250514", None, False),
        ("claude-opus-4-7", None, False),
        ("claude-opus-4-7", {"type": "adaptive"}, True),
        ("claude-opus-4-9", None, True),
        ("claude-sonnet-4-5", {"type": "enabled", "budget_tokens": 1024}, True),
        ("claude-sonnet-5", None, True),
        ("claude-sonnet-5", {"type": "disabled"}, False),
    ],
)
def test_hidden_thinking(model: str, thinking: dict[str, Any] | None, hidden: bool) -> None:
    """Thinking is billed in full and shown in summary; later models may think unasked."""
    assert messages(model=model, thinking=thinking).hidden_output is hidden


@pytest.mark.parametrize(
    ("body", "lifetimes"),
    [
        (b'"cache_control":{"type":"ephemeral"}', ("5m",)),
        (b'"cache_control":{"type":"ephemeral","ttl":"1h"}', ("1h",)),
        (b'"cache\\u005fcontrol":{"type":"ephemeral"}', ("5m",)),
        (b'"cache_control":null', ()),
        (b'"tools":[{"name":"t","cache_control":{"ttl":"1h"}}],"cache_control":{}', ("1h", "5m")),
        (b'"metadata":{}', ()),
    ],
)
def test_cache_writes(body: bytes, lifetimes: tuple[str, ...]) -> None:
    """Marks anywhere, escaped ones too."""
    start = b'{"model":"claude-sonnet-4-5","max_tokens":1,"messages":[],'
    assert read_request(Wire.MESSAGES, start + body + b"}").cache_writes == lifetimes


def test_structured_output_counts_its_schema() -> None:
    """And the prompt that explains it."""
    request = messages(output_config={"format": {"type": "json_schema", "schema": {"title": "Degrees"}}})
    assert any("Degrees" in text for text in request.texts)
    assert request.fixed_tokens - messages().fixed_tokens >= 1_024


def test_unknown_members_are_counted_as_text() -> None:
    """At the top, in messages, and in blocks."""
    request = messages(
        something={"deep": ["new text"]},
        messages=[{"role": "user", "content": [{"type": "text", "text": "Hi", "citations": [{"cited_text": "old"}]}],
                   "note": "aside"}],
    )  # fmt: skip
    assert {"new text", "aside", "old"} <= set(request.texts)
    assert bound(request, Counts(40), default_output_tokens=7).input_tokens == 40 + request.fixed_tokens


def test_a_limit_of_zero_prepares_the_cache_only() -> None:
    """The input is billed, no output is."""
    assert bound(messages(max_tokens=0), Counts(2), default_output_tokens=99).output_tokens == 0


def test_options_of_compatible_servers_and_names_in_another_case() -> None:
    """Routers take Messages too, and a tool is the client's own only if it has a schema."""
    assert messages(models=["a/b"], plugins=[{"id": "web"}]).unbounded == ("other_models", "server_tools")
    assert messages(tools=[{"google_search": {}}]).unbounded == ("server_tools",)
    with pytest.raises(RequestInvalid, match="Did you mean 'max_tokens'"):
        messages(Max_Tokens=100_000)
