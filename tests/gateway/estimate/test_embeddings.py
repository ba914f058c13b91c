"""Embeddings: texts, tokens, arrays of both; no output."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.estimate import Counts, bound, read_request
from gateway.wires import Wire
from tests.gateway.estimate.bodies import read
from tests.support.sent_bodies import sent_by_openai


@pytest.mark.parametrize(
    ("given", "texts", "fixed"),
    [
        ("one", ("one",), 0),
        (["one", "two"], ("one", "two"), 0),
        ([1, 2, 3], (), 3),
        ([[1, 2], [3]], (), 3),
        ([], (), 0),
    ],
)
def test_inputs(given: Any, texts: tuple[str, ...], fixed: int) -> None:
    """A token is a token; OpenAI adds none of its own."""
    body = sent_by_openai(lambda client: client.embeddings.create(model="text-embedding-3-small", input=given))
    request = read_request(Wire.EMBEDDINGS, body)
    assert (request.encoding, request.texts, request.fixed_tokens - 16) == ("cl100k_base", texts, fixed)
    limit = bound(request, Counts(2), default_output_tokens=4_096)
    assert (limit.input_tokens, limit.output_tokens, limit.unbounded) == (2 + 16 + fixed, 0, ())
    assert request.limit_fields == ()


def test_other_models_mark_each_input() -> None:
    """BERT's marks at both ends."""
    one = read(Wire.EMBEDDINGS, {"model": "bge-m3", "input": ["x"]})
    two = read(Wire.EMBEDDINGS, {"model": "bge-m3", "input": ["x", "y"]})
    assert two.fixed_tokens - one.fixed_tokens >= 2


def test_other_inputs_are_files() -> None:
    """Images of multimodal models."""
    request = read(Wire.EMBEDDINGS, {"model": "m", "input": [{"image": "AAAA"}], "task": "retrieval"})
    assert request.unbounded == ("file_input",)
    assert "retrieval" in request.texts
