"""Request bodies as the openai and anthropic packages send them: their own serialisation, caught before the network."""

from __future__ import annotations

from collections.abc import Callable

import anthropic
import httpx2
import openai


class Caught(Exception):
    """A request was caught on its way out."""


def sent_by_openai(call: Callable[[openai.OpenAI], object]) -> bytes:
    """The body that the openai package sends for this call."""
    caught: list[bytes] = []
    client = openai.OpenAI(api_key="sk-none", max_retries=0, http_client=_client(caught))
    _run(lambda: call(client))
    return caught[0]


def sent_by_anthropic(call: Callable[[anthropic.Anthropic], object]) -> bytes:
    """The body that the anthropic package sends for this call."""
    caught: list[bytes] = []
    client = anthropic.Anthropic(api_key="sk-none", max_retries=0, http_client=_client(caught))
    _run(lambda: call(client))
    return caught[0]


def _client(caught: list[bytes]) -> httpx2.Client:
    def catch(request: httpx2.Request) -> httpx2.Response:
        caught.append(request.read())
        return httpx2.Response(400, json={"error": {"message": "caught", "type": "invalid_request_error"}})

    return httpx2.Client(transport=httpx2.MockTransport(catch))


def _run(call: Callable[[], object]) -> None:
    try:
        call()
    except (openai.BadRequestError, anthropic.BadRequestError):
        return
    raise Caught("the package sent nothing")
