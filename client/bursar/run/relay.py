"""The relay outside the sandbox: takes what the command connects and brings it to the gateway, and nowhere else.

Owns one thread with its own event loop. It speaks HTTP/1.1 on both sides and, to a gateway with https, TLS with the
certificate checked; inside is plain HTTP on the loopback address. It reads each request instead of passing bytes on,
because the gateway may stand behind a proxy that many services share, and a request with another host name, or TLS
with another server name, would come out at one of those. Invariants: the host, and the path down to the gateway's own,
are those of the gateway's address whatever the command wrote; what is streamed is passed on as it comes; a side that
goes away takes the other with it.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

import h11

from bursar.run.gateway_url import GatewayUrl

CHUNK_BYTES: Final = 65536
HEAD_BYTES_MAX: Final = 65536
CONNECT_SECONDS: Final = 10.0
IDLE_SECONDS_MAX: Final = 5.0
"""How long a connection to the gateway is kept for the next request; the gateway keeps it for longer than that."""
CONNECTIONS_MAX: Final = 512
UNWANTED_BYTES_MAX: Final = 1 << 24
STOP_SECONDS: Final = 5.0
OF_ONE_HOP: Final = frozenset(
    (
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection"),
        *(b"te", b"trailer", b"upgrade", b"expect", b"http2-settings"),
    )
)


Event: TypeAlias = h11.Event | type[h11.PAUSED]


class _Away(Exception):
    """A side ended its connection, or broke the protocol."""


class _Peer:
    """One connection with its protocol state."""

    def __init__(self, role: type[h11.CLIENT] | type[h11.SERVER], reader: asyncio.StreamReader,
                 writer: asyncio.StreamWriter) -> None:  # fmt: skip
        self.http = h11.Connection(role, max_incomplete_event_size=HEAD_BYTES_MAX)
        self.reader = reader
        self.writer = writer
        self.used_at = time.monotonic()

    async def next(self) -> Event:
        """The next event. Raises _Away."""
        while True:
            try:
                event = self.http.next_event()
                if isinstance(event, h11.Event) or event is h11.PAUSED:
                    return event
                self.http.receive_data(await self.reader.read(CHUNK_BYTES))
            except (h11.RemoteProtocolError, OSError) as error:
                raise _Away from error

    async def send(self, event: h11.Event) -> None:
        """Write an event and wait until there is room for the next. Raises _Away."""
        try:
            data = self.http.send(event)
            if data:
                self.writer.write(data)
                await self.writer.drain()
        except (h11.LocalProtocolError, OSError) as error:
            raise _Away from error

    def close(self) -> None:
        """End the connection at once."""
        with suppress(OSError, RuntimeError):
            self.writer.close()

    @property
    def reusable(self) -> bool:
        """Whether the exchange is over on both sides and another may follow."""
        return self.http.our_state is h11.DONE and self.http.their_state is h11.DONE


class Relay:
    """Serves a listening socket until it is stopped. ``headers`` stand on every request in place of the command's."""

    def __init__(self, gateway: GatewayUrl, listener: socket.socket, headers: Sequence[tuple[str, str]] = ()) -> None:
        self._gateway = gateway
        self._listener = listener
        self._headers = [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in headers]
        self._tls = _trust() if gateway.scheme == "https" else None
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def start(self) -> None:
        """Begin to serve, in a thread that takes over the signal mask of this one."""
        self._thread.start()

    def stop(self) -> None:
        """End every connection and the thread; once more does nothing."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        room = asyncio.Semaphore(CONNECTIONS_MAX)
        tasks: set[asyncio.Task[None]] = set()

        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            if task is not None:
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            near = _Peer(h11.SERVER, reader, writer)
            try:
                async with room:
                    await self._connection(near)
            except (_Away, asyncio.CancelledError):
                # A connection that breaks, or is left when the relay stops, concerns nobody but its own two sides.
                pass
            finally:
                near.close()

        server = await asyncio.start_server(accepted, sock=self._listener)
        await self._stopping.wait()
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connection(self, near: _Peer) -> None:
        """Serve the requests of one connection of the command, one after another."""
        far: _Peer | None = None
        try:
            while True:
                request = await near.next()
                if not isinstance(request, h11.Request):
                    return
                refusal = _refusal(request, self._gateway.prefix)
                if refusal is not None:
                    await _refuse(near, 403, refusal)
                    return
                if far is not None and (far.reader.at_eof() or time.monotonic() - far.used_at > IDLE_SECONDS_MAX):
                    far.close()
                    far = None
                try:
                    far = far or await self._connect()
                except OSError as error:
                    await _refuse(near, 502, f"the gateway cannot be reached: {error.strerror or error}")
                    return
                await self._exchange(near, far, request)
                if not near.reusable:
                    return
                near.http.start_next_cycle()
                if far.reusable:
                    far.http.start_next_cycle()
                    far.used_at = time.monotonic()
                else:
                    far.close()
                    far = None
        finally:
            if far is not None:
                far.close()

    async def _connect(self) -> _Peer:
        """A connection to the gateway. Raises OSError."""
        opening = asyncio.open_connection(self._gateway.host, self._gateway.port, ssl=self._tls)
        reader, writer = await asyncio.wait_for(opening, CONNECT_SECONDS)
        return _Peer(h11.CLIENT, reader, writer)

    async def _exchange(self, near: _Peer, far: _Peer, request: h11.Request) -> None:
        """Bring one request to the gateway and its answer back. Raises _Away."""
        own = {b"host", *OF_ONE_HOP, *(name for name, _ in self._headers)}
        kept = [(name, value) for name, value in request.headers if name not in own]
        host = (b"host", self._gateway.authority.encode("ascii"))
        await far.send(h11.Request(method=request.method, target=request.target, headers=[host, *kept, *self._headers]))
        if near.http.they_are_waiting_for_100_continue:
            await near.send(h11.InformationalResponse(status_code=100, headers=[]))
        await _bring_body(near, far)
        # The command may send its next request early or go away; both are seen while the answer is on its way.
        watch = asyncio.create_task(near.reader.read(CHUNK_BYTES))
        try:
            while True:
                event = await _answer_event(near, far, watch)
                if isinstance(event, h11.Response):
                    headers = [(name, value) for name, value in event.headers if name not in OF_ONE_HOP]
                    await near.send(h11.Response(status_code=event.status_code, headers=headers, reason=event.reason))
                elif isinstance(event, h11.Data):
                    await near.send(h11.Data(data=event.data))
                elif isinstance(event, h11.EndOfMessage):
                    await near.send(h11.EndOfMessage())
                    return
                elif not isinstance(event, h11.InformationalResponse):
                    raise _Away
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await watch


async def _bring_body(near: _Peer, far: _Peer) -> None:
    """The request's body. A gateway that answers before it has all of it and hangs up is asked for that answer."""
    while True:
        event = await near.next()
        if isinstance(event, h11.Data):
            try:
                await far.send(h11.Data(data=event.data))
            except _Away:
                return
        elif isinstance(event, h11.EndOfMessage):
            await far.send(h11.EndOfMessage())
            return
        else:
            raise _Away


async def _answer_event(near: _Peer, far: _Peer, watch: asyncio.Task[bytes]) -> Event:
    """The gateway's next event, while ``watch`` reads from the command. Raises _Away when the command has gone."""
    coming = asyncio.create_task(far.next())
    try:
        while True:
            waiting: set[asyncio.Task[Any]] = {coming} if watch.done() else {coming, watch}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if watch.done() and watch in waiting:
                early = watch.result()
                if not early:
                    raise _Away
                # What comes early is kept, and no more is read until this answer is through.
                near.http.receive_data(early)
            if coming.done():
                return coming.result()
    except OSError as error:
        raise _Away from error
    finally:
        if not coming.done():
            coming.cancel()
            with suppress(asyncio.CancelledError, _Away):
                await coming


def _refusal(request: h11.Request, prefix: str) -> str | None:
    """Why this request does not belong to the gateway; None when it does."""
    target = request.target.decode("ascii", "replace")
    path = unquote(target.partition("?")[0])
    if request.method.upper() == b"CONNECT" or not target.startswith("/"):
        return "this is the way to the gateway and no proxy"
    if prefix and (not path.startswith(prefix + "/") or any(part in (".", "..") for part in path.split("/"))):
        return f"only what is below {prefix} belongs to the gateway"
    return None


async def _refuse(near: _Peer, status: int, detail: str) -> None:
    """Answer in the gateway's place, and let the connection end. A body that is under way is read first, because a
    connection that is closed on unread bytes may take the answer with it."""
    unread = UNWANTED_BYTES_MAX
    while unread > 0 and not near.http.they_are_waiting_for_100_continue:
        event = await near.next()
        if not isinstance(event, h11.Data):
            break
        unread -= len(event.data)
    body = json.dumps({"type": "about:blank", "title": "Not reachable", "status": status, "detail": detail}).encode()
    headers = [
        ("content-type", "application/problem+json"),
        ("content-length", str(len(body))),
        ("connection", "close"),
    ]
    await near.send(h11.Response(status_code=status, headers=headers))
    await near.send(h11.Data(data=body))
    await near.send(h11.EndOfMessage())


def _trust() -> ssl.SSLContext:
    """What every other request of this program trusts."""
    import httpx

    return httpx.create_ssl_context()
