"""The connections to the providers: made when they are needed, kept for the next call, and ended when they are old.

Invariants: a connection carries one call at a time; one that did not end its answer well, or on which anything came
while it rested, is not used again; whether a call can have arrived is known: before it is written it cannot.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Hashable
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

from aiohappyeyeballs import start_connection
from aiohappyeyeballs.types import AddrInfoType

from gateway.http_connection import HttpConnection

KEEP_ALIVE_SECONDS: Final = 15.0
"""Shorter than providers keep an idle connection, so that a call is not sent into one that was just closed."""
SECOND_ADDRESS_SECONDS: Final = 0.25
"""How long the first address of a name is tried alone (RFC 8305)."""
_PORTS: Final = {"http": 80, "https": 443}
_AS_IT_IS: Final = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


class Origin(NamedTuple):
    """Where a connection leads."""

    host: str
    port: int
    is_tls: bool


class Target(NamedTuple):
    """What an address means: where to connect, the request's target, and its ``Host``."""

    origin: Origin
    path: str
    host: str


@lru_cache(maxsize=1024)
def target_of(url: str) -> Target:
    """Read an ``http`` or ``https`` address. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname or parts.username is not None:
        raise ValueError("no address of a provider")
    name = parts.hostname
    if not name.isascii():
        name = name.encode("idna").decode()
    port = parts.port or _PORTS[parts.scheme]
    shown = f"[{name}]" if ":" in name else name
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(
        Origin(name, port, parts.scheme == "https"),
        quote(path, safe=_AS_IT_IS, encoding="latin-1", errors="strict"),
        shown if port == _PORTS[parts.scheme] else f"{shown}:{port}",
    )


class HttpPool:
    """The connections of one process, all on one event loop. ``connect_seconds`` bounds each new one,
    ``idle_seconds`` a provider's silence."""

    def __init__(self, *, connect_seconds: float, idle_seconds: float) -> None:
        self._connect_seconds = connect_seconds
        self._idle_seconds = idle_seconds
        self._loop = asyncio.get_running_loop()
        self._resting: dict[Hashable, list[tuple[HttpConnection, float]]] = {}
        self._used: set[HttpConnection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._tls: ssl.SSLContext | None = None

    def now(self) -> float:
        """The time by which deadlines are measured, in seconds."""
        return self._loop.time()

    async def take(self, origin: Origin) -> HttpConnection:
        """A connection that a call may be written to. Raises OSError or TimeoutError where there is none to be had."""
        resting = self._resting.get(origin)
        oldest = self._loop.time() - KEEP_ALIVE_SECONDS
        while resting:
            connection, since = resting.pop()
            if since >= oldest and connection.is_usable:
                self._used.add(connection)
                return connection
            connection.abort()
        async with asyncio.timeout(self._connect_seconds):
            connection = await self._connect(origin)
        self._used.add(connection)
        return connection

    def give_back(self, connection: HttpConnection) -> None:
        """Keep a connection whose answer was read to its end; end any other."""
        self._used.discard(connection)
        if not connection.is_usable:
            connection.abort()
            return
        connection.rest()
        self._resting.setdefault(connection.origin, []).append((connection, self._loop.time()))
        if self._sweep is None:
            self._sweep = self._loop.call_later(KEEP_ALIVE_SECONDS, self._end_old)

    def close(self) -> None:
        """End every connection."""
        if self._sweep is not None:
            self._sweep.cancel()
        for resting in self._resting.values():
            for connection, _ in resting:
                connection.abort()
        self._resting.clear()
        for connection in list(self._used):
            connection.abort()
        self._used.clear()

    def _end_old(self) -> None:
        """End what has rested for too long."""
        self._sweep = None
        oldest = self._loop.time() - KEEP_ALIVE_SECONDS
        for origin, resting in list(self._resting.items()):
            young = [each for each in resting if each[1] > oldest and each[0].is_usable]
            for each in resting:
                if each not in young:
                    each[0].abort()
            if young:
                self._resting[origin] = young
            else:
                del self._resting[origin]
        if self._resting:
            self._sweep = self._loop.call_later(KEEP_ALIVE_SECONDS, self._end_old)

    async def _connect(self, origin: Origin) -> HttpConnection:
        found = await self._loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        addresses: list[AddrInfoType] = [(each[0], each[1], each[2], each[3], each[4]) for each in found]
        opened = await start_connection(
            addresses, happy_eyeballs_delay=SECOND_ADDRESS_SECONDS, interleave=1, loop=self._loop
        )
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _, connection = await self._loop.create_connection(
                lambda: HttpConnection(origin, self._idle_seconds),
                sock=opened,
                ssl=self._tls_context() if origin.is_tls else None,
                server_hostname=origin.host if origin.is_tls else None,
            )
        except BaseException:
            opened.close()
            raise
        return connection

    def _tls_context(self) -> ssl.SSLContext:
        """Certificates are checked against those that this machine trusts."""
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls
