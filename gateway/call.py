"""One call from its request to its settlement: estimate, authorize, forward, meter, settle.

Owns the order of these steps and what each way of ending means for the hold (``docs/gateway.md`` has the table).
Invariants: nothing is forwarded before its hold is committed; whatever happens after that, one report ends the hold;
that a client left changes nothing about what is recorded.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from gateway.asked import Asked
from gateway.config import GatewayConfig
from gateway.headers import downward
from gateway.history import OutputHistory
from gateway.holding import Holding, plan
from gateway.limiting import limited
from gateway.ports import Message, Send
from gateway.pricing.recorded import PAIRS_MAX, printable, recorded
from gateway.provider_errors import hide, hide_in_headers, key_refused, may_be_billed, usage_in_error
from gateway.purse import GrowingPurse
from gateway.refusals import CUT_AT_CAP, Refusal, redirected, refusal_of
from gateway.spend import UNKNOWN, ClientLeft, Spend, Wish, decimal_text
from gateway.splice import set_nested
from gateway.streaming import Relay, StreamEnd
from gateway.tokens import TokenCounter
from gateway.upstream import Answer, AnswerTooLong, Broken, NotSent, Upstream
from gateway.usage import Usage
from gateway.whole import read_whole
from gateway.wires import Wire

_logger = logging.getLogger("bursar.gateway")
EVENT_STREAM: Final = "text/event-stream"
ESTIMATED: Final = "estimated"
UNPRICED: Final = "unpriced"
STOPPED: Final = "the gateway stopped while the call was under way"
NOT_FORWARDED: Final = "the gateway failed before the call was forwarded"
LAST_EVENT_SECONDS: Final = 1.0
"""For a client to take the end of its stream while the process stops."""
CLIENT_LEFT: Final = "the client left"


class Call:
    """One call. ``run`` answers the client and ends the hold; ``status`` is what the client got."""

    def __init__(
        self,
        asked: Asked,
        spend: Spend,
        *,
        config: GatewayConfig,
        upstream: Upstream,
        history: OutputHistory,
        tokens: TokenCounter,
        send: Send,
    ) -> None:
        self._asked = asked
        self._spend = spend
        self._config = config
        self._upstream = upstream
        self._history = history
        self._tokens = tokens
        self._send = send
        self._wire = asked.request.wire
        self._holding: Holding | None = None
        self._grows = False
        """Whether the hold has to grow with the stream, because it covers its beginning only."""
        self.status = 0
        self.usage: Usage | None = None
        self.cost: int | None = None

    async def run(self, left: Callable[[], Awaitable[None]]) -> None:
        """Raises Refusal where nothing was forwarded, ClientLeft, and ServiceError where nothing is held."""
        holding = await self._hold(left)
        if self._spend.client_left:
            await self._spend.release("the client left before its call was forwarded")
            raise ClientLeft
        asked = self._asked
        facts = asked.facts
        try:
            url, headers, body = asked.url(), asked.upward_headers(self._spend.id), self._body_for(holding)
            facts.forwarded_at = time.monotonic()
            async with self._upstream.send("POST", url, headers, body) as answer:
                await self._answered(answer, left)
        except NotSent as error:
            await self._spend.release("the provider could not be reached")
            raise Refusal(
                502, "upstream_unreachable", f"Bursar: {error}; nothing was charged", authorization=self._spend.id
            ) from error
        except Broken as error:
            # Only the head of the answer was awaited: nothing was sent to the client yet.
            await self._spend.mark_unknown(str(error))
            raise Refusal(
                504 if error.timed_out else 502, "upstream_timeout" if error.timed_out else "upstream_broken",
                f"Bursar: {error}; what the call did cost is not known, and stays held as {self._spend.id}",
                authorization=self._spend.id,
            ) from error  # fmt: skip
        finally:
            if self._spend.is_held:
                # A fault of ours, or the end of this process.
                ending = self._spend.mark_unknown(STOPPED) if facts.forwarded_at else self._spend.release(NOT_FORWARDED)
                await asyncio.shield(ending)

    async def _hold(self, left: Callable[[], Awaitable[None]]) -> Holding:
        """Have what the call can cost held. Raises Refusal."""
        try:
            holding = self._planned()
        except Refusal as refusal:
            # A denial is a decision: this one goes on record too. What denies it first may be another rule.
            outcome = await self._spend.authorize(self._wish(refusal.amount, refusal.amount, barred=refusal.code), left)
            if outcome.status.value != refusal.code:
                raise refusal_of(outcome, self._spend.currency) from refusal
            refusal.authorization = self._spend.id
            raise
        wish = self._wish(holding.start, min(holding.start, holding.least))
        outcome = await self._spend.authorize(wish, left)
        if not self._spend.is_held:
            raise refusal_of(outcome, wish.currency)
        self._holding = holding
        # A stream that cannot even start in full has its limit lowered, and holds all it can cost.
        self._grows = holding.starts_small and self._spend.approved >= holding.start
        return holding

    def _planned(self) -> Holding:
        asked = self._asked
        rules, model = asked.asker.rules, asked.request.model
        if asked.tariff is None:
            raise Refusal(
                403, "price_unknown",
                f"Bursar denied this call: there is no price for {model[:100]} at {asked.place.provider}; set one in "
                "prices.yaml, or have a policy name inference.fallback_price",
            )  # fmt: skip
        expected = self._history.expected(asked.asker.book_id, self._agent, model) if rules.stream else None
        return plan(
            asked.request, asked.counts, asked.tariff, asked.provider, rules, history_tokens=expected
        )  # fmt: skip

    @property
    def _agent(self) -> str:
        return self._asked.asker.agent or ""

    def _wish(self, amount: int, least: int, *, barred: str | None = None) -> Wish:
        asked, said = self._asked, self._asked.said
        return Wish(
            amount=amount,
            least=least,
            currency=asked.tariff.currency if asked.tariff is not None else "USD",
            category=self._config.category,
            payee=asked.place.provider,
            resource=asked.request.model,
            ttl_seconds=self._config.ttl_seconds,
            wait_seconds=self._config.wait_seconds,
            fingerprint=hashlib.sha256(asked.body).hexdigest(),
            budget=said.budget,
            run=said.run,
            intent=said.intent,
            labels=said.labels,
            barred=barred,
        )

    def _body_for(self, holding: Holding) -> bytes:
        """The body that is forwarded: the client's own bytes, but for the limit that its hold covers, and the usage
        that a stream is to end with."""
        asked = self._asked
        request, body = asked.request, asked.body
        if self._wire is not Wire.EMBEDDINGS and asked.tariff is not None:
            limit = holding.bound.output_limit
            if not self._grows:
                limit = holding.limit_afforded(asked.tariff, self._spend.approved)
            asked.facts.output_limit = limit
            body = limited(body, request, asked.provider, limit)
        if self._adds_usage():
            body = set_nested(body, "stream_options", "include_usage", b"true")
        return body

    def _adds_usage(self) -> bool:
        request = self._asked.request
        return (
            self._wire is Wire.CHAT and request.stream and not request.usage_asked and self._asked.provider.stream_usage
        )

    async def _answered(self, answer: Answer, left: Callable[[], Awaitable[None]]) -> None:
        """The provider's head has come: pass its answer on, and report."""
        facts = self._asked.facts
        facts.first_byte_at = time.monotonic()
        facts.provider_status = answer.status
        if answer.status >= 400:
            await self._failed(answer)
        elif answer.status >= 300:
            await self._spend.release(f"the provider answered {answer.status}")
            raise redirected(self._asked.place.provider, answer.status, self._spend.id)
        elif answer.content_type == EVENT_STREAM:
            await self._stream(answer, left)
        else:
            await self._whole(answer)

    async def _failed(self, answer: Answer) -> None:
        """Settled at the usage that an error names, unknown where it may be billed, released otherwise."""
        status, secret, spend = answer.status, self._asked.provider_key, self._spend
        reason = f"the provider answered {status}"
        try:
            body = await self._read(answer)
        except Broken as error:
            if may_be_billed(status, None):
                raise
            await spend.release(reason)
            raise Refusal(
                502, "upstream_broken",
                f"Bursar: the provider refused this call with {status}, and did not say why: {error}",
                authorization=spend.id,
            ) from error  # fmt: skip
        usage = usage_in_error(self._wire, body) if status < 500 else None
        if usage is not None:
            await self._settle(usage, ())
        elif may_be_billed(status, body):
            await spend.mark_unknown(reason)
        else:
            await spend.release(reason)
        shown = hide(secret, body)
        if status == 401:
            raise key_refused(self._asked.place.provider, shown, spend.id)
        await self._reply(status, hide_in_headers(secret, downward(answer.headers)), shown)

    async def _read(self, answer: Answer) -> bytes:
        try:
            return await answer.read()
        except AnswerTooLong as error:
            raise Broken(str(error)) from error

    async def _whole(self, answer: Answer) -> None:
        raw = await self._read(answer)
        facts = self._asked.facts
        read = read_whole(self._wire, raw, self._asked.request.choices)
        if facts.trace is not None:
            facts.finish_reasons = read.finish_reasons
        usage = read.usage
        flags: tuple[str, ...] = ()
        if usage is None:
            usage, flags = await self._estimated(read.text, read.rest, read.model, read.begun), (ESTIMATED,)
        await self._settle(usage, flags)
        await self._reply(answer.status, downward(answer.headers), raw)

    async def _stream(self, answer: Answer, left: Callable[[], Awaitable[None]]) -> None:
        holding = self._holding
        if holding is None:
            raise RuntimeError("a stream without a hold")
        relay = Relay(
            self._wire, self._send,
            strip_usage=self._adds_usage(), send_seconds=self._config.idle_seconds,
            purse=self._purse(holding) if self._grows else None, choices=self._asked.request.choices,
        )  # fmt: skip
        self.status = answer.status
        headers = [*downward(answer.headers), *self._ours(self._spend.approved, is_final=False)]
        await self._send({"type": "http.response.start", "status": answer.status, "headers": headers})
        try:
            end = await self._relayed(relay, answer, left)
            await self._ended(relay, end)
            output_tokens = self.usage.counts.get("output_tokens", 0) if self.usage is not None else 0
            await relay.finish(end, output_tokens)
        finally:
            relay.close()

    async def _ended(self, relay: Relay, end: StreamEnd) -> None:
        """Report a stream that is over."""
        meter = relay.meter
        facts = self._asked.facts
        facts.first_byte_at = relay.first_event_at or facts.first_byte_at
        if facts.trace is not None:
            facts.finish_reasons = meter.finish_reasons
        if end.how == "failed":
            facts.code = "upstream_broken"
        elif end.how == "cut":
            facts.code = "client_left" if end.reason == CLIENT_LEFT else CUT_AT_CAP
        if meter.usage is not None and meter.usage_is_final:
            await self._settle(meter.usage, ())
        elif end.how in ("cut", "whole"):
            # Stopped by us, or ended without a usage: what was seen is what was used, as far as can be told from here.
            text = meter.visible_text()
            seen = await self._estimated(text, meter.output_bytes_dropped, "", meter.usage_so_far)
            await self._settle(seen, (ESTIMATED,))
        else:
            await self._spend.mark_unknown(end.reason or "the stream failed")

    async def _relayed(self, relay: Relay, answer: Answer, left: Callable[[], Awaitable[None]]) -> StreamEnd:
        """Pass a stream on to its end. One whose client left is read to the end all the same, or is cut, as configured:
        then what was seen is what was used."""
        leaving: list[str] = []

        async def cut_when_left() -> None:
            await left()
            leaving.append(CLIENT_LEFT)
            answer.cut()

        watch = asyncio.ensure_future(cut_when_left()) if self._config.client_gone == "cut" else None
        try:
            end = await relay.run(answer)
        except asyncio.CancelledError:
            await asyncio.shield(self._spend.mark_unknown(STOPPED))
            await relay.finish(StreamEnd("failed", STOPPED), 0, seconds=LAST_EVENT_SECONDS)
            raise
        finally:
            if watch is not None:
                watch.cancel()
        return StreamEnd("cut", leaving[0]) if leaving and end.how == "failed" else end

    def _purse(self, holding: Holding) -> GrowingPurse:
        asked = self._asked
        rules = asked.asker.rules.stream
        if asked.tariff is None or rules is None:
            raise RuntimeError("a stream started small that nothing allowed to")
        return GrowingPurse(self._spend, holding, asked.request, asked.tariff, self._tokens, rules)

    async def _estimated(self, text: str, rest: int, model: str, begun: Usage | None = None) -> Usage:
        """What a call used whose provider did not say: the input as it was bounded, the output as it was seen (``rest``
        are the bytes of it that are not in ``text``); where not all of it can be seen, as much as was held. ``begun``
        is what the provider did say, which is no less."""
        request, holding = self._asked.request, self._holding
        if request.hidden_output and holding is not None:
            output = holding.bound.output_tokens
        else:
            output = await self._tokens.count((text,), request.encoding)
            if rest and holding is not None:
                # Bytes bound tokens far too high, and so does the limit that was forwarded: the lower of both.
                output = max(output, min(output + rest, holding.bound.output_tokens))
        if begun is not None:
            output = max(output, begun.counts.get("output_tokens", 0))
            return replace(begun, counts=begun.counts | {"output_tokens": output})
        input_tokens = holding.bound.input_tokens if holding is not None else 0
        return Usage({"input_tokens": input_tokens, "output_tokens": output}, model=model)

    @property
    def _covers_all(self) -> bool:
        """Whether the hold is the most that the call can cost, so that no estimate is above it."""
        return not self._grows and self._holding is not None and not self._holding.ceilings

    async def _settle(self, usage: Usage, flags: tuple[str, ...]) -> None:
        asked = self._asked
        model = asked.request.model
        tariff = asked.served(usage) or asked.tariff
        if tariff is None or asked.tariff is None:
            raise RuntimeError("a call without a price was forwarded")
        cost = tariff.cost(usage)
        atoms = min(cost.atoms, self._spend.approved) if ESTIMATED in flags and self._covers_all else cost.atoms
        metering = recorded(usage, tariff)
        if cost.unpriced:
            flags = (*flags, UNPRICED)
            if len(metering) < PAIRS_MAX:
                metering[UNPRICED] = printable(" ".join(cost.unpriced))
        other_model = usage.model if tariff.model != asked.tariff.model else None
        self.usage, self.cost = usage, atoms
        facts = asked.facts
        facts.usage, facts.cost, facts.is_estimated = usage, atoms, ESTIMATED in flags
        self._history.add(asked.asker.book_id, self._agent, model, usage.counts.get("output_tokens", 0))
        if self._grows and atoms > self._spend.approved:
            # It overruns only what it may not have.
            await self._spend.extend(atoms - self._spend.approved, 0)
        await self._spend.settle(atoms, resource=other_model, metering=metering, flags=flags)

    def _ours(self, cost: int, *, is_final: bool) -> list[tuple[bytes, bytes]]:
        """The headers that tell what the call did cost, or can cost at most while it is not known."""
        currency = self._spend.currency
        headers = [
            (b"x-bursar-authorization", self._spend.id.encode()),
            (b"x-bursar-cost", decimal_text(cost, currency).encode()),
            (b"x-bursar-remaining", decimal_text(self._spend.remaining(cost), currency).encode()),
            (b"x-bursar-currency", currency.encode()),
        ]
        if not is_final:
            headers.append((b"x-bursar-cost-at-most", b"true"))
        return headers

    async def _reply(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.status = status
        # Where the cost is not known, it is at most what stays held.
        unknown = self._spend.end == UNKNOWN
        ours = self._ours(self._spend.approved if unknown else self.cost or 0, is_final=not unknown)
        start: Message = {
            "type": "http.response.start",
            "status": status,
            "headers": [*headers, *ours, (b"content-length", b"%d" % len(body))],
        }
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})
