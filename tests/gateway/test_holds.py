"""What a call does with its hold where no whole world is needed to see it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.call import Call
from gateway.config import GatewayConfig
from gateway.metering import TEXT_CHARACTERS_MAX, StreamMeter
from gateway.purse import UNSEEN_TOKENS, GrowingPurse
from gateway.streaming import Relay
from gateway.tokens import TokenCounter
from gateway.wires import Wire
from ledger.core.inference import StreamStart


class Held:
    """A hold that keeps what was reported of it."""

    def __init__(self, approved: int) -> None:
        self.id = "auth_1"
        self.approved = approved
        self.client_left = False
        self.reported: list[str] = []
        self.asked: list[tuple[int, float]] = []
        self.denies_from = 0.0
        """Extensions that may not wait so long are denied."""

    @property
    def is_held(self) -> bool:
        return not self.reported

    async def release(self, reason: str) -> bool:
        self.reported.append("released")
        return True

    async def mark_unknown(self, reason: str) -> bool:
        self.reported.append("unknown")
        return True

    async def extend(self, atoms: int, wait_seconds: float) -> bool:
        self.asked.append((atoms, wait_seconds))
        if wait_seconds < self.denies_from:
            return False
        self.approved += atoms
        return True


class Broken:
    """An asked call that cannot be written."""

    facts = SimpleNamespace(trace=None, forwarded_at=0.0)
    request = SimpleNamespace(wire=Wire.CHAT)

    def url(self) -> str:
        raise RuntimeError("a fault of ours")


def test_a_fault_before_the_call_is_forwarded_gives_its_hold_back() -> None:
    held = Held(100)
    nothing: Any = None
    call = Call(
        cast(Any, Broken()), cast(Any, held), config=cast(GatewayConfig, None), upstream=nothing, history=nothing,
        tokens=nothing, send=nothing,
    )  # fmt: skip

    async def hold(_: Any) -> None:
        return None

    cast(Any, call)._hold = hold
    with pytest.raises(RuntimeError, match="a fault of ours"):
        asyncio.run(call.run(nothing))
    assert held.reported == ["released"]


class Answered:
    """A provider's stream of which ``first`` is read, and ``second`` has come when it is cut."""

    def __init__(self, log: list[str], first: bytes, second: bytes) -> None:
        self._log, self._first, self._second = log, first, second

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self._first
        raise AssertionError("it was read on")

    async def arrived(self) -> AsyncIterator[bytes]:
        yield self._second[:20]
        yield self._second[20:]

    def cut(self) -> None:
        self._log.append("cut")


class Denying:
    """A purse with nothing in it."""

    def __init__(self, log: list[str]) -> None:
        self._log = log

    async def covers(self, meter: StreamMeter) -> bool:
        self._log.append("asked")
        return False


def test_a_cut_stream_has_metered_what_had_come_and_its_client_was_asked_for_last() -> None:
    log: list[str] = []
    first = b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n'
    second = (
        b'data: {"choices": [{"index": 0, "delta": {"content": "b"}, "finish_reason": "stop"}]}\n\n'
        b'data: {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}\n\ndata: [DONE]\n\n'
    )

    async def main() -> None:
        async def send(message: dict[str, Any]) -> None:
            log.append(message["body"].decode())

        relay = Relay(Wire.CHAT, send, strip_usage=False, send_seconds=5, purse=Denying(log))
        end = await relay.run(cast(Any, Answered(log, first, second)))
        assert end.how == "cut"
        assert relay.meter.usage_is_final
        assert relay.meter.visible_text() == "ab"
        await relay.finish(end, 2)

    asyncio.run(main())
    assert log[:3] == ["asked", "cut", first.decode()]
    assert "cut_at_cap" in log[-1]


def purse_of(held: Held) -> GrowingPurse:
    """A purse in which each token costs one atom, ahead by 20."""
    holding = SimpleNamespace(cost_of=lambda tariff, tokens: tokens)
    request = SimpleNamespace(encoding=None)
    nothing: Any = None
    return GrowingPurse(
        cast(Any, held), cast(Any, holding), cast(Any, request), nothing, TokenCounter(),
        StreamStart(start_tokens=30, lookahead_tokens=20),
    )  # fmt: skip


def test_what_is_not_kept_of_a_stream_is_held_by_its_bytes() -> None:
    meter = StreamMeter(Wire.CHAT)
    for _ in range(3):
        meter.feed("", {"choices": [{"index": 0, "delta": {"content": "x" * TEXT_CHARACTERS_MAX}}]})
    held = Held(1)
    assert asyncio.run(purse_of(held).covers(meter))
    assert held.approved >= 3 * TEXT_CHARACTERS_MAX + UNSEEN_TOKENS + 20


def test_only_an_extension_by_what_is_needed_waits_in_line() -> None:
    """A larger step is a convenience; what is needed now is worth a moment."""
    meter = StreamMeter(Wire.CHAT)
    held = Held(1)
    held.denies_from = 0.5
    assert asyncio.run(purse_of(held).covers(meter))
    needed = UNSEEN_TOKENS + 20 - 1
    assert held.asked == [(needed + 30, 0.0), (needed, 1.0)]
