"""Which request is which: calls, lists of models, counts of tokens, and the fake provider's own routes below `/_fake`.

Invariant: what a real provider would refuse (another key, a body that it cannot read, a path that it does not have) is
refused in that provider's shape, and never billed.
"""

import time
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import parse_qs

import orjson

from bench.fake_provider.calls import CHAT, EMBEDDINGS, MESSAGES, RESPONSES, BadRequest, input_tokens, read_call
from bench.fake_provider.connection import Connection, Request, head
from bench.fake_provider.directives import HEADER, UnknownDirective
from bench.fake_provider.errors import error_of
from bench.fake_provider.exchange import Exchange
from bench.fake_provider.server import FakeProvider, Seen

WIRES = {
    "/v1/chat/completions": CHAT,
    "/v1/responses": RESPONSES,
    "/v1/embeddings": EMBEDDINGS,
    "/v1/messages": MESSAGES,
}
ID_PREFIXES = {CHAT: "chatcmpl-", RESPONSES: "resp_", EMBEDDINGS: "", MESSAGES: "msg_"}
MODELS = {
    "openai": ("gpt-4o-mini", "gpt-5", "gpt-5-mini", "text-embedding-3-small"),
    "anthropic": ("claude-haiku-4-5", "claude-opus-4-8", "claude-sonnet-4-5"),
}
_COUNT_TOKENS = "/v1/messages/count_tokens"
_MODELS = "/v1/models"
_HEADER = HEADER.encode()
_CREATED = "2025-01-01T00:00:00Z"
_CREATED_SECONDS = 1735689600


class Routes:
    """Answers each request of every connection."""

    def __init__(self, fake: FakeProvider) -> None:
        self._fake = fake
        self._own: dict[tuple[str, str], Callable[[Request, dict[str, list[str]]], Any]] = {
            ("GET", "/_fake/bill"): self._bill,
            ("GET", "/_fake/seen"): self._seen,
            ("POST", "/_fake/defaults"): self._defaults,
            ("POST", "/_fake/reset"): self._reset,
            ("GET", "/readyz"): lambda request, query: {"ready": True},
        }

    def connected(self) -> None:
        """A connection was made."""
        self._fake.connections.enter()

    def disconnected(self) -> None:
        """A connection is gone."""
        self._fake.connections.leave()

    def answer(self, connection: Connection, request: Request) -> Coroutine[Any, Any, None] | None:
        """Answer at once, or return the coroutine that will."""
        target, _, query = request.target.decode("latin-1").partition("?")
        own = self._own.get((request.method, target))
        if own is not None:
            try:
                _write(connection, request, 200, own(request, parse_qs(query)))
            except ValueError as error:
                _write(connection, request, 400, {"error": str(error)})
            return None
        seen = Seen(
            method=request.method, path=request.target.decode("latin-1"), headers=request.headers, body=request.body
        )
        self._fake.seen.append(seen)
        wire = WIRES.get(target) if request.method == "POST" else None
        spoken = wire or (MESSAGES if _is_anthropic(request, target) else CHAT)
        key = _key(request)
        if not self._fake.may_call(key):
            self._refuse(connection, request, seen, spoken, 401)
            return None
        try:
            if wire is not None:
                return self._call(connection, request, seen, wire, key)
            document = self._free(request, target, anthropic=spoken == MESSAGES)
        except BadRequest as error:
            self._refuse(connection, request, seen, spoken, 400, message=error.message, param=error.param)
            return None
        except UnknownDirective as error:
            self._refuse(connection, request, seen, spoken, 400, message=f"fake provider: {error}")
            return None
        if document is None:
            self._refuse(connection, request, seen, spoken, 404, message=f"Not found: {request.method} {target}")
            return None
        _write(connection, request, 200, document, seen)
        return None

    def _call(
        self, connection: Connection, request: Request, seen: Seen, wire: str, key: str
    ) -> Coroutine[Any, Any, None] | None:
        """Answer a call that may cost money."""
        behaviour = self._fake.behaviour_of(header=request.header(_HEADER), body=request.body)
        response_id = ID_PREFIXES[wire] + self._fake.next_id()
        call = read_call(wire, request.body, behaviour, response_id=response_id, created=int(time.time()))
        return Exchange(self._fake, connection, request, call, seen, key=key).start()

    def _free(self, request: Request, target: str, *, anthropic: bool) -> Any:
        """The answer to what costs nothing; None: there is no such path or model."""
        if (request.method, target) == ("POST", _COUNT_TOKENS):
            return self._count_tokens(request)
        if request.method != "GET" or not (target + "/").startswith(_MODELS + "/"):
            return None
        names = MODELS["anthropic" if anthropic else "openai"] + tuple(sorted(set(self._fake.oracle.table) - {"*"}))
        models = [_model(name, anthropic=anthropic) for name in names]
        if target == _MODELS:
            if anthropic:
                return {"data": models, "has_more": False, "first_id": names[0], "last_id": names[-1]}
            return {"object": "list", "data": models}
        return next((model for model in models if model["id"] == target.removeprefix(_MODELS + "/")), None)

    def _count_tokens(self, request: Request) -> dict[str, int]:
        behaviour = self._fake.behaviour_of(header=request.header(_HEADER), body=request.body)
        try:
            body = orjson.loads(request.body)
        except orjson.JSONDecodeError:
            body = None
        if not isinstance(body, dict):
            raise BadRequest("The body must be a JSON object.")
        counted = input_tokens(MESSAGES, body)
        return {"input_tokens": counted if behaviour.in_ is None else behaviour.in_}

    def _refuse(
        self,
        connection: Connection,
        request: Request,
        seen: Seen,
        wire: str,
        status: int,
        *,
        message: str = "",
        param: str | None = None,
    ) -> None:
        request_id = f"req_{self._fake.next_id()}"
        _write(
            connection,
            request,
            status,
            error_of(wire, status, message=message, param=param, request_id=request_id),
            seen,
        )

    def _bill(self, request: Request, query: dict[str, list[str]]) -> Any:
        with_lines = query.get("lines", ["1"])[0] != "0"
        return self._fake.bill.document(query["key"][0] if "key" in query else None, with_lines=with_lines)

    def _seen(self, request: Request, query: dict[str, list[str]]) -> Any:
        return {
            "requests": [seen.document() for seen in self._fake.seen],
            "calls": self._fake.calls.document(),
            "connections": self._fake.connections.document(),
        }

    def _defaults(self, request: Request, query: dict[str, list[str]]) -> Any:
        self._fake.directives.change(request.body.decode())
        return {"changed": True}

    def _reset(self, request: Request, query: dict[str, list[str]]) -> Any:
        self._fake.reset()
        return {"reset": True}


def _key(request: Request) -> str:
    """The key that a request came with, in either provider's header; "" for none."""
    scheme, _, token = request.header(b"authorization").partition(b" ")
    key = token if scheme.lower() == b"bearer" else request.header(b"x-api-key")
    return key.decode("latin-1").strip()


def _is_anthropic(request: Request, target: str) -> bool:
    return target.startswith("/v1/messages") or bool(request.header(b"anthropic-version"))


def _model(name: str, *, anthropic: bool) -> dict[str, Any]:
    if anthropic:
        return {"type": "model", "id": name, "display_name": name, "created_at": _CREATED}
    return {"id": name, "object": "model", "created": _CREATED_SECONDS, "owned_by": "fake"}


def _write(connection: Connection, request: Request, status: int, document: Any, seen: Seen | None = None) -> None:
    """Write an answer of JSON."""
    body = orjson.dumps(document)
    if seen is not None:
        seen.status = status
        seen.answer.append(body)
    fields = [b"content-type: application/json", b"content-length: %d" % len(body)]
    connection.write(head(status, fields, keep_alive=request.keep_alive) + body)
    if not request.keep_alive:
        connection.close()
