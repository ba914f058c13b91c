"""The gateway's floor: a bare ASGI app that sends each call on with aiohttp, and checks nothing.

Invariant: it reads a call, sends it upstream with one pooled client and passes the answer on, streams piece by piece;
no key, no price, no ledger, no parsing of what passes. Served as Bursar is: one uvicorn worker on one core, with uvloop
and httptools and without an access log. Whatever a gateway costs above this is what it does with a call.

    python -m bench.gateway_floor PORT CORE UPSTREAM_URL
"""

import os
import sys
from typing import Any

import aiohttp
import uvicorn
from yarl import URL

_NOT_UP = frozenset((b"host", b"content-length", b"connection", b"accept-encoding"))
_NOT_DOWN = frozenset((b"transfer-encoding", b"connection", b"date", b"server"))
_AUTOMATIC = ("accept", "accept-encoding", "content-type", "user-agent")


class Floor:
    """The application. The client is made with the first call."""

    def __init__(self, upstream_url: str) -> None:
        self._upstream_url = upstream_url
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        if scope["path"] == "/readyz":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        session = self._session
        if session is None:
            session = self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), auto_decompress=False, skip_auto_headers=_AUTOMATIC
            )
        headers = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in scope["headers"]
            if name not in _NOT_UP
        ]  # fmt: skip
        url = URL(self._upstream_url + scope["path"], encoded=True)
        async with session.request("POST", url, data=await _body(receive), headers=headers) as answer:
            shown = [(name.lower(), value) for name, value in answer.raw_headers if name.lower() not in _NOT_DOWN]
            await send({"type": "http.response.start", "status": answer.status, "headers": shown})
            if answer.content_length is not None:
                await send({"type": "http.response.body", "body": await answer.read()})
                return
            async for piece in answer.content.iter_any():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


async def _body(receive: Any) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    return body


def main() -> None:
    """Pin to the core, then serve."""
    os.sched_setaffinity(0, {int(sys.argv[2])})
    uvicorn.run(
        Floor(sys.argv[3]),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
