"""Clients of a stream for whom nobody waits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.listening import BUFFER_BYTES_MAX, BufferedListener


class Client:
    """Takes what it is sent once ``reading`` is set."""

    def __init__(self) -> None:
        self.reading = asyncio.Event()
        self.got = b""
        self.is_whole = False

    async def send(self, message: dict[str, Any]) -> None:
        await self.reading.wait()
        self.got += message["body"]
        self.is_whole = not message["more_body"]


def test_writing_waits_for_nobody_and_the_end_comes_last() -> None:
    async def main() -> None:
        client = Client()
        listener = BufferedListener(client.send, 5)
        for number in range(100):
            await listener.write(b"%d," % number)
        assert client.got == b""
        client.reading.set()
        await listener.finish(b"end")
        assert client.got == b"".join(b"%d," % number for number in range(100)) + b"end"
        assert client.is_whole

    asyncio.run(main())


def test_a_client_that_falls_too_far_behind_is_given_up() -> None:
    async def main() -> None:
        client = Client()
        listener = BufferedListener(client.send, 5)
        for _ in range(3):
            await listener.write(b"x" * (BUFFER_BYTES_MAX // 2))
        assert not listener.reads
        client.reading.set()
        await listener.finish(b"end")
        assert client.got == b""

    asyncio.run(main())


@pytest.mark.parametrize("written", [b"", b"data"])
def test_the_end_of_a_stream_waits_no_longer_than_it_may(written: bytes) -> None:
    async def main() -> None:
        client = Client()
        listener = BufferedListener(client.send, 60)
        await listener.write(written)
        async with asyncio.timeout(10):
            await listener.finish(b"end", 0.05)
        assert not listener.reads
        listener.close()

    asyncio.run(main())


def test_a_client_that_left_fails_nothing() -> None:
    async def main() -> None:
        async def send(message: dict[str, Any]) -> None:
            raise OSError("gone")

        listener = BufferedListener(send, 5)
        await listener.write(b"data")
        await listener.write(b"data")
        await listener.finish(b"end")
        assert not listener.reads

    asyncio.run(main())
