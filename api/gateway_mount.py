"""The gateway in this server: what it asks of the HTTP room, and how it is made.

Owns the adapters between the two rooms. Invariant: the gateway gets the same keys, rate limits, deadlines and ledger as
every other route, and none of this server's errors reach its clients in a form that their SDKs do not read.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Final

from api.edge_state import STATE_KEY
from api.logs import ACCESS, SERVER, shown_path
from api.problems import ProblemError
from api.request import Asked, Receive, Scope, read_body
from gateway.config import GatewayConfig, load_config
from gateway.exporting import telemetry as telemetry_of
from gateway.facts import CallFacts, Telemetry
from gateway.gateway import Gateway
from gateway.ledger import Waiting
from gateway.ports import Ports
from gateway.pricing import PriceBook, load_overrides
from gateway.refusals import Refusal
from gateway.spend import decimal_text
from ledger.core.command import Authorize, Command, Extend
from ledger.core.outcome import Outcome
from ledger.services.asker_cache import AskerCache
from ledger.services.sources import ParsedKey

if TYPE_CHECKING:
    from api.context import Context

_STATUSES: Final = {
    "body_too_large": 413,
    "request_timeout": 408,
    "stopping": 503,
    "header_too_large": 431,
}


class _Ledger:
    """The ledger as the gateway knows it. The hand-over exists once the app has begun."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def decide(self, book_id: int, command: Command) -> asyncio.Future[Outcome]:
        """Have a command decided."""
        return self._context.handover.decide(book_id, command)

    def decide_waiting(self, book_id: int, command: Authorize | Extend, wait_seconds: float) -> Waiting:
        """Have a command decided, in line where money is only held by others."""
        return self._context.handover.decide_waiting(book_id, command, wait_seconds)


def gateway_config(context: Context) -> GatewayConfig:
    """The gateway's configuration. Raises GatewayInvalid."""
    return load_config(context.settings.gateway_file)


def make_gateway(context: Context, telemetry: Telemetry | None = None) -> Gateway:
    """The gateway of one app; without ``telemetry`` the settings and the environment say where calls are told.

    Raises GatewayInvalid, PricesInvalid for the file of price overrides, and TelemetryInvalid.
    """
    config = gateway_config(context)
    prices = PriceBook(load_overrides(config.prices) if config.prices is not None else None)

    def read_key(header: bytes) -> ParsedKey | None:
        try:
            return context.keys.read(header)
        except ProblemError:
            return None

    def take(key: ParsedKey) -> int:
        try:
            if context.rate.per_second:
                context.rate.take(key.digest, time.monotonic(), 1)
        except ProblemError as error:
            return next((int(value) for name, value in error.headers if name == b"retry-after"), 1)
        return 0

    async def read(scope: Scope, receive: Receive, bytes_max: int) -> bytes | None:
        asked: Asked = scope[STATE_KEY]
        try:
            if asked.header_bytes > context.settings.header_bytes_max:
                raise ProblemError("header_too_large", "the headers are too long")
            return await read_body(asked, receive, bytes_max=bytes_max, deadlines=context.deadlines)
        except ProblemError as error:
            raise Refusal(
                _STATUSES.get(error.code, 400), error.code, f"Bursar: {error.detail or error.code.replace('_', ' ')}",
                retry_after_seconds=1 if error.code == "stopping" else 0,
            ) from error  # fmt: skip

    def ended(facts: CallFacts) -> None:
        context.metrics.gateway.ended(facts)
        if context.settings.access_log or facts.status == 500:
            _log(facts)

    if telemetry is None:
        telemetry = telemetry_of(context.settings.gateway_telemetry, os.environ, SERVER.warning)
    askers = AskerCache(context.engine, settings=context.authorizer.settings_seen)
    ports = Ports(_Ledger(context), askers, context.sources, read_key, take, read, ended)
    return Gateway(config, prices, ports, telemetry)


def _log(facts: CallFacts) -> None:
    """The access line of one request to the gateway: what was asked of whom, what it did cost, and never its words."""
    fields: dict[str, object] = {
        "request_id": facts.request_id,
        "method": facts.method,
        "path": shown_path(facts.path),
        "status": facts.status,
        "milliseconds": round(facts.seconds * 1000, 3),
        "outcome": facts.outcome,
    }
    named = {
        "authorization": facts.authorization,
        "provider": facts.provider,
        "model": facts.model,
        "agent": facts.agent,
        "code": facts.code,
        "trace_id": facts.trace.id if facts.trace is not None else "",
    }
    fields |= {name: value for name, value in named.items() if value}
    if facts.usage is not None:
        fields |= {name: facts.tokens(name) for name in ("input_tokens", "output_tokens")}
    if facts.cost is not None:
        fields |= {"cost": decimal_text(facts.cost, facts.currency), "currency": facts.currency}
    ACCESS.info("answered" if facts.status else "left", extra=fields)
