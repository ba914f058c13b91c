"""What is certain not to have been sent, and what is not."""

import asyncio

import aiohttp
import pytest

from gateway.config import GatewayConfig
from gateway.upstream import Broken, NotSent, Upstream, _Sending


def test_an_error_of_the_client_itself_may_have_come_after_sending() -> None:
    async def failing() -> aiohttp.ClientResponse:
        raise ValueError("anything")

    async def run() -> None:
        async with _Sending(failing(), 10):
            pass

    with pytest.raises(Broken):
        asyncio.run(run())


def test_what_cannot_be_written_is_not_sent() -> None:
    async def run() -> None:
        upstream = Upstream(GatewayConfig())
        await upstream.start()
        try:
            async with upstream.send("POST", "http://127.0.0.1:1/x", [("x-a", "b\r\nc: d")], b""):
                pass
        finally:
            await upstream.stop()

    with pytest.raises(NotSent):
        asyncio.run(run())
