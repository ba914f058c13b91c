"""The gateway as an ASGI application: who asks, where to, and the answer to whatever cannot be forwarded.

Owns the life of the gateway in one process. Invariants: every request is answered in its provider's own form; nothing
is forwarded for a key that is not valid, nor to a path that is not known; when the process stops, calls that are under
way are finished, or marked as unknown.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final
from urllib.parse import unquote_to_bytes

from pydantic import SecretStr

from gateway.asked import Asked
from gateway.call import Call
from gateway.config import GatewayConfig, Provider
from gateway.estimate import RequestInvalid
from gateway.facts import CallFacts, Telemetry, shown_model
from gateway.gates import Gates
from gateway.headers import carries_key, downward, is_compressed, key_in, length_in, unknown_parameter, upward
from gateway.history import OutputHistory
from gateway.paths import Place, place_of, split
from gateway.ports import Message, Ports, Receive, Scope, Send
from gateway.pricing import PriceBook, Tariff
from gateway.provider_errors import hide, hide_in_headers, key_refused
from gateway.refusals import ANTHROPIC, OPENAI, Refusal, error_body, redirected, refusal_headers
from gateway.reports import Reports
from gateway.said import said_in
from gateway.spend import ClientLeft, Spend
from gateway.tokens import TokenCounter
from gateway.upstream import AnswerTooLong, Broken, NotSent, Upstream
from gateway.usage import Usage
from ledger.core.money import NANO_DIGITS
from ledger.core.outcome import Status
from ledger.core.roles import AGENT
from ledger.services.asker import Asker
from ledger.services.errors import OutcomeUnknown, ServiceError
from ledger.services.sources import ParsedKey
from ledger.storage.errors import StorageError

STOP_SHARE: Final = 0.8
"""The part of the time to stop that calls get to end by themselves; the rest is for reporting on those that did not."""
_UNFINISHED: Final = Refusal(
    503, "stopping",
    "Bursar stopped before this call was finished; if it was forwarded, it stays held until its cost is known",
    retry_after_seconds=1,
)  # fmt: skip
TELEMETRY_STOP_SECONDS: Final = 3.0
"""Time that spans and measurements which are not sent yet have at the end."""
_logger = logging.getLogger("bursar.gateway")


class Gateway:
    """The gateway of one process. ``start`` and ``stop`` run on its event loop."""

    def __init__(
        self, config: GatewayConfig, prices: PriceBook, ports: Ports, telemetry: Telemetry | None = None
    ) -> None:
        self._config = config
        self._prices = prices
        self._ports = ports
        self._telemetry = telemetry
        self._keys: dict[str, SecretStr | None] = {
            name: provider.key.read() if provider.key is not None else None
            for name, provider in config.providers.items()
        }
        self._upstream = Upstream(config)
        self._gates = Gates(
            calls_max=config.calls_max, calls_per_agent_max=config.calls_per_agent_max,
            bodies_bytes_max=config.bodies_bytes_max,
        )  # fmt: skip
        self._history = OutputHistory()
        self._tokens = TokenCounter()
        self._reports = Reports()
        self._places: dict[tuple[str, str], tuple[Provider, Place]] = {}
        self._tasks: set[asyncio.Task[object]] = set()
        self._stopping = False

    async def start(self) -> None:
        """Make what calls need; the encodings load in the background."""
        if any(provider.key is None or self._keys[name] for name, provider in self._config.providers.items()):
            # Where no provider can be called, nothing is ever counted.
            self._tokens.start()
        await self._upstream.start()

    async def stop(self, seconds: float) -> None:
        """Take no more calls, let those under way end, mark the rest, and report on all of them."""
        self._stopping = True
        deadline = time.monotonic() + seconds
        if self._tasks:
            _, left = await asyncio.wait(set(self._tasks), timeout=seconds * STOP_SHARE)
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left, timeout=max(deadline - time.monotonic(), 0.5))
        await self._reports.finish(max(deadline - time.monotonic(), 0.5))
        await self._upstream.stop()
        self._tokens.stop()
        if self._telemetry is not None:
            await self._telemetry.stop(TELEMETRY_STOP_SECONDS)

    @property
    def category(self) -> str:
        """The category of calls in the books."""
        return self._config.category

    @property
    def calls_under_way(self) -> int:
        """Calls that hold or wait for money now."""
        return self._gates.under_way

    async def __call__(self, scope: Scope, receive: Receive, send: Send, request_id: bytes) -> tuple[str, int]:
        """Answer one request. Returns the route for metrics and the status (0: the client left)."""
        sender = _Sender(send, request_id)
        facts = CallFacts(request_id.decode(), scope["method"], scope["path"])
        family = ANTHROPIC if scope["path"].startswith("/anthropic/") else OPENAI
        route = "gateway"
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
        try:
            known = self._places.get((scope["method"], scope["path"]))
            if known is None:
                provider_name, provider, below = self._provider_at(scope["path"])
                family = provider.wire
                facts.provider, facts.base_url = provider_name, provider.base_url
                place = self._place(provider_name, provider, scope, below)
            else:
                provider, place = known
                family = provider.wire
                facts.provider, facts.base_url = place.provider, provider.base_url
            route = f"gateway:{place.wire.value if place.wire is not None else 'free'}"
            facts.wire = place.wire
            await self._answer(place, provider, scope, receive, sender, facts)
        except ClientLeft:
            facts.has_left = True
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            facts.code = _UNFINISHED.code
            await self._refuse(sender, family, _UNFINISHED, request_id)
        except Exception as error:
            refusal = self._refusal_of(error, request_id)
            facts.code = refusal.code
            await self._refuse(sender, family, refusal, request_id)
        finally:
            if task is not None:
                self._tasks.discard(task)
            self._ended(facts, sender.status)
        return route, sender.status

    def _ended(self, facts: CallFacts, status: int) -> None:
        """Tell whoever watches."""
        facts.status, facts.ended_at = status, time.monotonic()
        if facts.wire is not None and self._telemetry is not None:
            self._telemetry.end(facts)
        self._ports.ended(facts)

    def _provider_at(self, path: str) -> tuple[str, Provider, str]:
        found = split(path)
        provider = self._config.providers.get(found[0]) if found is not None else None
        if found is None or provider is None:
            raise Refusal(404, "unknown_provider", f"Bursar has no provider at {path[:200]}")
        return found[0], provider, found[1]

    def _place(self, name: str, provider: Provider, scope: Scope, below: str) -> Place:
        """What a request to a provider is; that of a call is remembered, of which there are a few for each provider.
        Raises Refusal."""
        place = place_of(provider.wire, name, scope["method"], below)
        if place is None:
            raise Refusal(
                404, "not_served",
                f"Bursar does not forward {scope['method']} {scope['path'][:200]}: it would pass the ledger by",
            )  # fmt: skip
        if place.wire is not None:
            self._places[scope["method"], scope["path"]] = provider, place
        return place

    @staticmethod
    def _refusal_of(error: Exception, request_id: bytes) -> Refusal:
        if isinstance(error, Refusal):
            return error
        if isinstance(error, RequestInvalid):
            return Refusal(400, "invalid_request", f"Bursar cannot read this request: {error}", param=error.param)
        if isinstance(error, OutcomeUnknown):
            return Refusal(503, "outcome_unknown", f"Bursar: {error}", retry_after_seconds=error.retry_after_seconds)
        if isinstance(error, StorageError):
            return Refusal(503, "database_unavailable", "Bursar cannot read who asks now", retry_after_seconds=1)
        if isinstance(error, ServiceError):
            seconds = error.retry_after_seconds
            return Refusal(
                503, "ledger_unavailable", f"Bursar cannot decide now, and forwarded nothing: {error}",
                retry_after_seconds=seconds,
            )  # fmt: skip
        _logger.error("a call failed", exc_info=error, extra={"request_id": request_id.decode()})
        return Refusal(500, "internal", "Bursar failed; the failure was logged with the request's id")

    @staticmethod
    async def _refuse(sender: _Sender, family: str, refusal: Refusal, request_id: bytes) -> None:
        if sender.status:
            # The answer has begun, and cannot be made another. It is not ended either: the server closes the connection
            # of what is left open, so that nobody takes a part for the whole.
            return
        body = error_body(family, refusal, request_id.decode())
        headers = [*refusal_headers(refusal), (b"content-length", b"%d" % len(body))]
        await sender({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await sender({"type": "http.response.body", "body": body})

    async def _answer(
        self, place: Place, provider: Provider, scope: Scope, receive: Receive, send: _Sender, facts: CallFacts
    ) -> None:
        if self._stopping:
            raise Refusal(503, "stopping", "Bursar is stopping; ask again", retry_after_seconds=1)
        headers = scope["headers"]
        query = scope.get("query_string", b"")
        if query and carries_key(unquote_to_bytes(query)):
            raise Refusal(
                400, "key_in_query", "Bursar: a key does not belong into a query, which logs keep; send it as a header"
            )
        unknown = unknown_parameter(query) if query and place.wire is not None else None
        if unknown is not None:
            raise Refusal(
                400, "query_not_allowed",
                f"Bursar forwards no {unknown[:100]!r} in the query of a call: it may change the cost",
                param=unknown[:100],
            )  # fmt: skip
        if is_compressed(headers):
            raise Refusal(415, "compressed", "Bursar cannot read a compressed request; send it as it is")
        key = self._key(headers)
        said = said_in(headers)
        asker = await self._asker(key, said.budget)
        facts.agent = asker.agent or ""
        provider_key = self._keys[place.provider]
        if provider.key is not None and provider_key is None:
            raise Refusal(
                403, "provider_key_missing", f"Bursar has no key for {place.provider}; its operator must set one"
            )
        secret = provider_key.get_secret_value() if provider_key is not None else None
        query_text = f"?{query.decode('latin-1')}" if query else ""
        with self._gates.passing(key.book_id, asker.agent or asker.principal) as passage:
            passage.carry(min(length_in(headers), self._config.body_bytes_max))
            body = await self._ports.read_body(scope, receive, self._config.body_bytes_max)
            if body is None:
                raise ClientLeft
            passage.carry(len(body))
            if place.wire is None:
                if asker.frozen is not None:
                    raise Refusal(403, asker.frozen.value, "Bursar: this agent is frozen")
                await self._free(place, provider, secret, scope, query_text, body, send)
                return
            request = await self._tokens.read(place.wire, body)
            facts.model, facts.stream = shown_model(request.model), request.stream
            facts.output_limit, facts.run = request.output_limit, said.run or asker.run or ""
            if self._telemetry is not None:
                facts.trace = self._telemetry.begin(facts, headers)
            counts = await self._tokens.counts(request)
            at = datetime.now(UTC)
            tariff = self._tariff(place, provider, request.model, asker, at)
            served = self._served(place, provider, request.model, at)
            asked = Asked(
                place, provider, secret, asker, headers, said, query_text, body, request, counts, tariff, served,
                facts,
            )  # fmt: skip
            spend = facts.spend = Spend(self._ports.ledger, self._reports, key, self._ports.sources)
            call = Call(
                asked, spend, config=self._config, upstream=self._upstream, history=self._history,
                tokens=self._tokens, send=send,
            )  # fmt: skip
            await call.run(_Gone(receive))

    def _key(self, headers: list[tuple[bytes, bytes]]) -> ParsedKey:
        header = key_in(headers)
        key = self._ports.read_key(header) if header is not None else None
        if key is None:
            raise Refusal(
                401, "invalid_api_key", "Bursar needs one of its own keys (bk_…) where the provider's key would stand"
            )
        seconds = self._ports.take(key)
        if seconds:
            raise Refusal(429, "rate_limited", "Bursar: this key asks too often", retry_after_seconds=seconds)
        return key

    async def _asker(self, key: ParsedKey, budget: str | None) -> Asker:
        """Who asks. What the ledger would refuse in any case is refused here already where nothing is recorded: a key
        that is not known, or is not an agent's."""
        asker = await self._ports.askers.get(key.book_id, key.digest, budget)
        problem = asker.key_problem(self._ports.sources.now_us()) if asker is not None else Status.KEY_UNKNOWN
        if asker is None or problem is not None:
            code = problem.value if problem is not None else Status.KEY_UNKNOWN.value
            raise Refusal(401, code, "Bursar does not know this key, or it has ended")
        if asker.role != AGENT:
            raise Refusal(403, "role_not_allowed", "Bursar: only an agent's key may make calls")
        return asker

    def _served(self, place: Place, provider: Provider, model: str, at: datetime) -> Callable[[Usage], Tariff | None]:
        """The prices of whatever model answered."""
        name = provider.prices or place.provider
        return lambda usage: self._prices.served(name, model, usage, at)

    def _tariff(self, place: Place, provider: Provider, model: str, asker: Asker, at: datetime) -> Tariff | None:
        """The prices of a model, or the fallback that a policy sets; None: there are none."""
        name = provider.prices or place.provider
        found = self._prices.tariff(name, model, at)
        price = asker.rules.fallback_price
        if found is None and price is not None:
            prices = {"input_mtok": usd(price.input_mtok), "output_mtok": usd(price.output_mtok)}
            return self._prices.fallback(name, model, prices, source="policy (fallback)")
        return found

    async def _free(
        self, place: Place, provider: Provider, secret: str | None, scope: Scope, query: str, body: bytes, send: _Sender
    ) -> None:
        """Forward a question that costs nothing, for whoever has a valid key."""
        below = f"v1/{place.path}" if provider.wire == "anthropic" else place.path
        headers = upward(scope["headers"], provider, secret, "")
        if body:
            headers.append(("content-type", "application/json"))
        try:
            async with self._upstream.send(
                scope["method"], f"{provider.base_url}/{below}{query}", headers, body or None
            ) as answer:
                if 300 <= answer.status < 400:
                    raise redirected(place.provider, answer.status)
                content = await answer.read()
                hidden = secret if answer.status >= 400 else None
                content = hide(hidden, content)
                if answer.status == 401:
                    raise key_refused(place.provider, content)
                shown = hide_in_headers(hidden, downward(answer.headers))
                shown.append((b"content-length", b"%d" % len(content)))
                await send({"type": "http.response.start", "status": answer.status, "headers": shown})
                await send({"type": "http.response.body", "body": content})
        except (NotSent, Broken, AnswerTooLong) as error:
            raise Refusal(502, "upstream_broken", f"Bursar: {error}") from error


def usd(atoms: int) -> Decimal:
    """Atoms of USD as USD."""
    return Decimal(atoms).scaleb(-NANO_DIGITS)


class _Sender:
    """ASGI ``send`` that adds the request's id and remembers the status."""

    __slots__ = ("_request_id", "_send", "status")

    def __init__(self, send: Send, request_id: bytes) -> None:
        self._send = send
        self._request_id = request_id
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = message["headers"]
            name = b"x-request-id"
            for header in headers:
                if header[0] == name:
                    # The provider's own stands there, which its support asks for.
                    name = b"x-bursar-request-id"
                    break
            headers.append((name, self._request_id))
        await self._send(message)


class _Gone:
    """Ends when the client has left."""

    __slots__ = ("_receive",)

    def __init__(self, receive: Receive) -> None:
        self._receive = receive

    def __call__(self) -> Awaitable[None]:
        return self._wait()

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
