"""One request as the edge reads it: the headers that matter, found in one pass, and the body, bounded.

Owns ``Asked``. Invariants: header bytes and body bytes are counted here, whatever server is in front; a body is read
whole, and before anything is done with it; an idempotency key or a key given twice is refused, not chosen from.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from itertools import count
from typing import Any, Final

from api.deadlines import Deadlines
from api.problems import ProblemError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

IDEMPOTENCY_KEY_LENGTH_MAX: Final = 255
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
_PRINTABLE: Final = re.compile(r"[!-~](?:[ -~]{0,253}[!-~])?")
_numbers: Final = count(1)
_process_token: Final = secrets.token_hex(6).encode()


def new_request_id() -> bytes:
    """An id that no other request of any process has, short of luck."""
    return b"req_%s%08x" % (_process_token, next(_numbers))


def checked_idempotency_key(text: str | None) -> str:
    """An idempotency key that may be used. Raises ProblemError for a missing, oversized or unprintable one."""
    if not text:
        raise ProblemError("missing_idempotency_key")
    if _PRINTABLE.fullmatch(text) is None:
        raise ProblemError("idempotency_key_invalid")
    return text


class Asked:
    """A request's method, path and the headers that Bursar reads. ``problem`` is the code of what is wrong with the
    headers themselves, to be raised by whoever handles the request."""

    __slots__ = (
        "authorization", "content_length", "header_bytes", "idempotency_key", "is_json", "problem", "request_id",
        "request_id_text", "scope",
    )  # fmt: skip

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.authorization: bytes | None = None
        self.idempotency_key: bytes | None = None
        self.is_json = False
        self.content_length = -1
        self.problem = ""
        request_id: bytes | None = None
        size = 0
        for name, value in scope["headers"]:
            size += len(name) + len(value) + 4
            if name == b"authorization":
                if self.authorization is not None:
                    self.problem = "unauthenticated"
                self.authorization = value
            elif name == b"idempotency-key":
                if self.idempotency_key is not None:
                    self.problem = "idempotency_key_invalid"
                self.idempotency_key = value
            elif name == b"content-type":
                self.is_json = value == b"application/json" or _is_json(value)
            elif name == b"content-length":
                self.content_length = int(value) if value.isdigit() and len(value) < 16 else -1
            elif name == b"x-request-id" and _REQUEST_ID.fullmatch(value) is not None:
                request_id = value
        self.header_bytes = size
        self.request_id = request_id or new_request_id()
        self.request_id_text = ""

    def id_text(self) -> str:
        """The request id as text."""
        if not self.request_id_text:
            self.request_id_text = self.request_id.decode()
        return self.request_id_text

    def idempotency(self) -> str:
        """The request's idempotency key. Raises ProblemError."""
        key = self.idempotency_key
        return checked_idempotency_key(None if key is None else key.decode("latin-1"))


def _is_json(value: bytes) -> bool:
    media, _, parameters = value.partition(b";")
    if media.strip().lower() != b"application/json":
        return False
    charset = parameters.strip().lower()
    return charset in (b"", b"charset=utf-8", b'charset="utf-8"')


async def read_body(asked: Asked, receive: Receive, *, bytes_max: int, deadlines: Deadlines) -> bytes | None:
    """The whole body; None when the client went away before it was sent. Raises ProblemError ``body_too_large``,
    ``request_timeout``, or ``stopping`` when the server stops first."""
    if asked.content_length > bytes_max:
        raise ProblemError("body_too_large", f"the body has at most {bytes_max} bytes")
    task = deadlines.enter()
    chunks: list[bytes] = []
    size = 0
    try:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > bytes_max:
                raise ProblemError("body_too_large", f"the body has at most {bytes_max} bytes")
            if not message.get("more_body", False):
                return b"".join((*chunks, chunk)) if chunks else chunk
            chunks.append(chunk)
    except asyncio.CancelledError:
        if not deadlines.leave(task):
            raise
        task.uncancel()
        raise ProblemError(
            "stopping" if deadlines.stopping else "request_timeout", headers=((b"connection", b"close"),)
        ) from None
    finally:
        deadlines.leave(task)
