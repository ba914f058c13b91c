"""A server that answers every request with the same prepared bytes: the load generator's ceiling.

It reads just enough of a request to know where it ends. Invariant: it does less work than any server that
the bench compares, so the rate measured against it is a lower bound of the generator's own ceiling.

    python -m bench.canned_server PORT CORE
"""

import asyncio
import json
import os
import re
import sys

import uvloop

from bench.sample import authorization_response

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)


def canned_response() -> bytes:
    """A 201 of the size that a real approval has."""
    body = json.dumps(authorization_response(), separators=(",", ":")).encode()
    return b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
        len(body),
        body,
    )


class CannedProtocol(asyncio.Protocol):
    """Answers each complete request on one connection."""

    def __init__(self, response: bytes) -> None:
        self._response = response
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to answer on."""
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Answer once per request that is now whole."""
        self._buffer += data
        while (head_end := self._buffer.find(b"\r\n\r\n")) >= 0:
            match = _CONTENT_LENGTH.search(self._buffer, 0, head_end)
            request_end = head_end + 4 + (int(match.group(1)) if match else 0)
            if len(self._buffer) < request_end:
                return
            self._buffer = self._buffer[request_end:]
            self._transport.write(self._response)  # type: ignore[union-attr]


async def serve(port: int) -> None:
    """Listen on 127.0.0.1 until killed; prints one line when ready."""
    response = canned_response()
    server = await asyncio.get_running_loop().create_server(lambda: CannedProtocol(response), "127.0.0.1", port)
    print(f"ready on port {port}", flush=True)
    await server.serve_forever()


def main() -> None:
    """Pin to the core, then serve."""
    os.sched_setaffinity(0, {int(sys.argv[2])})
    uvloop.run(serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
