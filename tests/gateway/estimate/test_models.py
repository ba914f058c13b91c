"""Which encoding a model is known to use."""

from __future__ import annotations

import pytest
import tiktoken.model

from gateway.estimate import encoding_of


@pytest.mark.parametrize(
    ("encoding", "models"),
    [
        (
            "o200k_base",
            "gpt-4o gpt-4o-mini-2024-07-18 gpt-4.1 gpt-4.1-nano gpt-4.5-preview gpt-5 gpt-5-mini gpt-5.1-codex "
            "gpt-5.6-sol o1 o1-pro o3-mini o4-mini chatgpt-4o-latest openai/gpt-oss-120b ft:gpt-4o-2024-08-06:org::id "
            "openai/gpt-4o",
        ),
        (
            "cl100k_base",
            "gpt-4 gpt-4-0613 gpt-4-32k gpt-4-turbo gpt-3.5-turbo gpt-35-turbo-16k text-embedding-3-large "
            "text-embedding-ada-002 ft:gpt-3.5-turbo:org",
        ),
        (
            None,
            "claude-sonnet-4-5 llama-3.3-70b gpt-6 gpt-50 gpt-4.2 o5 o10 davinci-002 gpt2 my-gpt-4o azure/gpt-4o "
            "mistral-large text-embedding-004 gemini-2.5-pro",
        ),
    ],
)
def test_encodings(encoding: str | None, models: str) -> None:
    """A name that is not known for certain has none."""
    assert {model: encoding_of(model) for model in models.split()} == dict.fromkeys(models.split(), encoding)


def test_no_model_disagrees_with_tiktoken() -> None:
    """Where tiktoken's table names a model, its encoding is ours, or we make no claim."""
    table = tiktoken.model.MODEL_TO_ENCODING
    agreed = [model for model, encoding in table.items() if encoding_of(model) == encoding]
    assert [model for model, encoding in table.items() if encoding_of(model) not in (None, encoding)] == []
    assert {"gpt-4o", "gpt-4", "o3", "gpt-5", "text-embedding-3-small"} <= set(agreed)
