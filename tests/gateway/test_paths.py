"""Which paths are calls, which are free, and that nothing else gets through."""

import pytest

from gateway.paths import Place, is_gateway_path, place_of, split
from gateway.wires import Wire

SERVED = [
    ("openai", "POST", "/openai/v1/chat/completions", Place("openai", "chat/completions", Wire.CHAT)),
    ("openai", "POST", "/openai/v1/responses", Place("openai", "responses", Wire.RESPONSES)),
    ("openai", "POST", "/openai/v1/embeddings", Place("openai", "embeddings", Wire.EMBEDDINGS)),
    ("openai", "GET", "/openai/v1/models", Place("openai", "models", None)),
    ("openai", "GET", "/openai/v1/models/gpt-5-mini", Place("openai", "models/gpt-5-mini", None)),
    ("openai", "POST", "/openai/v1/responses/input_tokens", Place("openai", "responses/input_tokens", None)),
    ("openai", "POST", "/providers/groq/v1/chat/completions", Place("groq", "chat/completions", Wire.CHAT)),
    ("openai", "GET", "/providers/groq/v1/models/meta-llama/llama-4", Place("groq", "models/meta-llama/llama-4", None)),
    ("anthropic", "POST", "/anthropic/v1/messages", Place("anthropic", "messages", Wire.MESSAGES)),
    ("anthropic", "POST", "/anthropic/v1/messages/count_tokens", Place("anthropic", "messages/count_tokens", None)),
    ("anthropic", "GET", "/anthropic/v1/models", Place("anthropic", "models", None)),
]

# Each of these costs money at its provider, or shows what others did there (problems.md: "other routes of the same
# gateway evade the budget").
NOT_SERVED = [
    ("openai", "POST", "/openai/v1/completions"),
    ("openai", "POST", "/openai/v1/images/generations"),
    ("openai", "POST", "/openai/v1/audio/speech"),
    ("openai", "POST", "/openai/v1/batches"),
    ("openai", "POST", "/openai/v1/files"),
    ("openai", "POST", "/openai/v1/fine_tuning/jobs"),
    ("openai", "POST", "/openai/v1/responses/resp_1/cancel"),
    ("openai", "GET", "/openai/v1/responses/resp_1"),
    ("openai", "GET", "/openai/v1/chat/completions"),
    ("openai", "DELETE", "/openai/v1/models/ft:mine"),
    ("openai", "POST", "/openai/v1/messages"),
    ("openai", "POST", "/openai/v1/chat/completions/extra"),
    ("openai", "POST", "/openai/v1/CHAT/completions"),
    ("anthropic", "POST", "/anthropic/v1/complete"),
    ("anthropic", "POST", "/anthropic/v1/messages/batches"),
    ("anthropic", "POST", "/anthropic/v1/chat/completions"),
    ("anthropic", "GET", "/anthropic/v1/messages"),
]
NO_FORM = [
    "/openai/chat/completions",
    "/openai/v1",
    "/openai/v1/",
    "/openai/v1//chat/completions",
    "/openai/v1/../admin",
    "/openai/v1/chat/./completions",
    "/openai/v2/chat/completions",
    "/providers/v1/chat",
    "/providers/",
]


@pytest.mark.parametrize(("wire", "method", "path", "place"), SERVED)
def test_served(wire: str, method: str, path: str, place: Place) -> None:
    found = split(path)
    assert found is not None
    assert is_gateway_path(path)
    assert place_of(wire, found[0], method, found[1]) == place


@pytest.mark.parametrize(("wire", "method", "path"), NOT_SERVED)
def test_not_served(wire: str, method: str, path: str) -> None:
    found = split(path)
    assert found is not None
    assert place_of(wire, found[0], method, found[1]) is None


@pytest.mark.parametrize("path", NO_FORM)
def test_paths_without_the_form_of_one(path: str) -> None:
    assert split(path) is None
