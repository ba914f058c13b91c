"""Responses: items of every kind, what the provider looks up, tools that run there."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.estimate import Request, read_request
from gateway.wires import Wire
from tests.gateway.estimate.bodies import PNG, responses
from tests.support.sent_bodies import sent_by_openai


def items(*given: Any) -> Request:
    """A request whose input has these items."""
    return responses(input=list(given))


def test_the_body_of_the_package() -> None:
    """Instructions, items, a function, a schema, limits."""
    body = sent_by_openai(
        lambda client: client.responses.create(
            model="gpt-5-mini",
            instructions="Be brief.",
            input=[
                {"role": "user", "content": [{"type": "input_text", "text": "Read this"},
                                             {"type": "input_image", "image_url": PNG, "detail": "auto"}]},
                {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c1", "output": "17 degrees"},
                {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA" * 100},
            ],
            tools=[{"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": True}],
            text={"format": {"type": "json_schema", "name": "answer", "schema": {"title": "Degrees"}}},
            max_output_tokens=300,
            reasoning={"effort": "low"},
            stream=True,
            service_tier="priority",
            include=["reasoning.encrypted_content"],
        )
    )  # fmt: skip
    request = read_request(Wire.RESPONSES, body)
    everything = "\n".join(request.texts)
    for text in ("Be brief.", "Read this", "look", "17 degrees", "Degrees"):
        assert text in everything
    assert request.fixed_tokens > 500
    assert request.image_tokens == 3_779
    assert (request.output_fields, request.output_limit) == (("max_output_tokens",), 300)
    assert (request.stream, request.usage_asked, request.tier) == (True, True, "priority")
    assert (request.hidden_output, request.unbounded) == (True, ())


@pytest.mark.parametrize(
    ("request_", "unbounded"),
    [
        (responses(), ()),
        (responses(previous_response_id="resp_1"), ("previous_response",)),
        (responses(previous_response_id=None), ()),
        (responses(conversation="conv_1"), ("conversation",)),
        (responses(conversation={"id": "conv_1"}), ("conversation",)),
        (responses(background=True), ("background",)),
        (responses(background=False), ()),
        (responses(prompt={"id": "pmpt_1"}), ("stored_prompt",)),
        (responses(context_management=[{"type": "compaction"}]), ("compaction",)),
        (items({"type": "item_reference", "id": "msg_1"}), ("item_reference",)),
        (items({"id": "msg_1"}), ("item_reference",)),
        (items({"type": "reasoning", "id": "rs_1", "summary": []}), ("item_reference",)),
        (items({"type": "compaction", "encrypted_content": "AA"}), ()),
        (items({"type": "compaction", "id": "cmp_1"}), ("item_reference",)),
        (items({"type": "compaction_trigger"}), ("compaction",)),
        (items({"type": "web_search_call", "id": "ws_1"}), ("item_reference",)),
        (items({"type": "mcp_call", "arguments": "{}", "output": "text"}), ()),
        (items({"role": "user", "content": [{"type": "input_image", "image_url": "https://x.org"}]}), ("url_input",)),
        (items({"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]}), ("file_input",)),
        (items({"role": "user", "content": [{"type": "input_file", "file_id": "file_1"}]}), ("file_input",)),
        (items({"role": "user", "content": [{"type": "input_file", "file_data": "AAAA"}]}), ("file_input",)),
        (items({"role": "user", "content": [{"type": "input_file", "file_url": "https://x.org"}]}), ("url_input",)),
        (items({"role": "user", "content": [{"type": "input_smell"}]}), ("file_input",)),
        (items({"type": "function_call_output", "output": [{"type": "input_file", "file_id": "f"}]}), ("file_input",)),
        (items({"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": PNG}}), ()),
        (items({"type": "computer_call_output", "output": {"type": "computer_screenshot"}}), ("file_input",)),
        (items({"type": "additional_tools", "tools": [{"type": "web_search"}]}), ("server_tools",)),
        (responses(model="o3-deep-research"), ("server_tools",)),
        (responses(prompt={"id": "p"}, background=True), ("background", "stored_prompt")),
    ],
)
def test_what_cannot_be_bounded(request_: Request, unbounded: tuple[str, ...]) -> None:
    """What is looked up by an id, fetched, or run at the provider."""
    assert request_.unbounded == unbounded


@pytest.mark.parametrize(
    ("tool", "bounded"),
    [
        ({"type": "function", "name": "f"}, True),
        ({"type": "custom", "name": "f"}, True),
        ({"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "f"}]}, True),
        ({"type": "namespace", "name": "n", "tools": [{"type": "mcp"}]}, False),
        ({"type": "local_shell"}, True),
        ({"type": "apply_patch"}, True),
        ({"type": "shell", "environment": {"type": "local"}}, True),
        ({"type": "shell", "environment": {"type": "container_auto"}}, False),
        ({"type": "shell"}, False),
        ({"type": "tool_search", "execution": "client"}, True),
        ({"type": "tool_search"}, False),
        *[
            ({"type": name}, False)
            for name in (
                *("web_search", "web_search_preview", "file_search", "code_interpreter", "mcp", "image_generation"),
                *("computer_use_preview", "computer", "programmatic_tool_calling", "something_new"),
            )
        ],
    ],
)
def test_tools(tool: dict[str, Any], bounded: bool) -> None:
    """Only tools that the client is known to run are bounded."""
    assert (responses(tools=[tool]).unbounded == ()) is bounded


def test_reasoning_effort() -> None:
    """Under its own object in this wire."""
    assert not responses(model="gpt-5.2", reasoning={"effort": "none"}).hidden_output
    assert responses(model="gpt-5.2").hidden_output
    assert not responses(model="gpt-4.1").hidden_output
