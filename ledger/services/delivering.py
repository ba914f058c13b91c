"""Delivering events to endpoints: at least once, signed, tried again with growing pauses, bounded in every way.

Owns ``Deliverer``. Invariants: an attempt is claimed before it is made and its result kept after it, each in a
transaction of its own, and no transaction is open while something is sent; one endpoint never has more than
``PER_ENDPOINT`` attempts under way, so a slow one keeps no other waiting for long.
"""

import logging
import random
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Engine

from ledger.core.moment import SECOND
from ledger.services.sources import Sources
from ledger.services.webhook_sending import Sent, send
from ledger.services.webhook_signing import signed_headers
from ledger.services.webhook_targets import Resolver, TargetRefused, checked_addresses, parse_target, resolve
from ledger.storage import delivery_rows
from ledger.storage.delivery_rows import Claim, Due
from ledger.storage.errors import Busy, Conflict, StorageError
from ledger.storage.side_writer import SideWriter

PAUSES_SECONDS: Final = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400)
"""What is waited after each failed attempt; after the last there is no other."""
ATTEMPTS_MAX: Final = len(PAUSES_SECONDS) + 1
JITTER: Final = 0.2
PER_ENDPOINT: Final = 2
LEASE_EXTRA_SECONDS: Final = 60
"""A claim outlives its attempt by this much, for a resolver that is slow and a database that is busy."""
KEEP_TRIES: Final = 5
_KEEP_PAUSE_SECONDS: Final = (0.05, 0.5)
GONE: Final = 410
LOGGER: Final = logging.getLogger("bursar.alerts")


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """How deliveries are made. Times in seconds."""

    allow_http: bool = False
    allow_private: bool = False
    timeout_seconds: float = 10.0
    sending_max: int = 16
    disable_after_days: int = 5


class Deliverer:
    """Sends what is due. One per process; one thread calls ``run_once``, each attempt runs in a thread of its own."""

    def __init__(
        self,
        engine: Engine,
        writer: SideWriter,
        sources: Sources,
        settings: DeliverySettings,
        *,
        resolver: Resolver = resolve,
        tls: ssl.SSLContext | None = None,
        on_result: Callable[[str], None] = lambda result: None,
    ) -> None:
        self._engine = engine
        self._writer = writer
        self._sources = sources
        self._settings = settings
        self._resolver = resolver
        self._tls = tls or ssl.create_default_context()
        self._on_result = on_result
        self._sending: Counter[tuple[int, str]] = Counter()
        self._changed = threading.Condition()

    @property
    def sending(self) -> int:
        """How many attempts are under way."""
        with self._changed:
            return self._sending.total()

    def run_once(self) -> int:
        """Begin the attempts that are due and that there is room for; how many. Raises StorageError."""
        now = self._sources.now_us()
        with self._engine.connect() as connection:
            due = delivery_rows.due_endpoints(connection, now)
        begun = 0
        random.shuffle(due)
        for endpoint in due:
            room = self._room(endpoint)
            if room <= 0:
                continue
            lease = round((self._settings.timeout_seconds + LEASE_EXTRA_SECONDS) * SECOND)
            with self._writer.transaction() as connection:
                claims = delivery_rows.claim(connection, endpoint.endpoint, now=now, until=now + lease, limit=room)
            for claim in claims:
                self._begin(endpoint, claim)
            begun += len(claims)
        return begun

    def wait_idle(self, timeout_seconds: float) -> bool:
        """Wait until no attempt is under way; whether that came to be."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._sending.total(), timeout_seconds)

    def _room(self, due: Due) -> int:
        with self._changed:
            own = self._sending[due.endpoint.book_id, due.endpoint.id]
            return min(PER_ENDPOINT - own, self._settings.sending_max - self._sending.total())

    def _begin(self, due: Due, claim: Claim) -> None:
        with self._changed:
            self._sending[claim.book_id, claim.webhook] += 1
        # A daemon: a resolver that hangs must not keep the process from stopping; the claim ends by itself.
        threading.Thread(target=self._attempt, args=(due, claim), name="webhook", daemon=True).start()

    def _attempt(self, due: Due, claim: Claim) -> None:
        try:
            self._keep_surely(claim, self.send(due, claim))
        except StorageError as error:
            LOGGER.warning("an attempt at %s was not kept and will be made again: %s", claim.event, error)
        except Exception:
            LOGGER.exception("an attempt at %s failed", claim.event)
        finally:
            with self._changed:
                self._sending[claim.book_id, claim.webhook] -= 1
                self._sending += Counter()
                self._changed.notify_all()

    def send(self, due: Due, claim: Claim) -> Sent:
        """Make one attempt. The address is checked anew: what a name means may have changed since it was registered."""
        settings = self._settings
        if not due.secrets:
            return Sent(None, "no_secret")
        try:
            target = parse_target(due.endpoint.url, allow_http=settings.allow_http)
            addresses = checked_addresses(target, allow_private=settings.allow_private, resolver=self._resolver)
        except TargetRefused as refused:
            return Sent(None, refused.code)
        headers = signed_headers(
            due.secrets, identity=claim.event, timestamp=self._sources.now_us() // SECOND, body=claim.payload
        )
        return send(
            target,
            addresses,
            headers=headers,
            body=claim.payload,
            timeout_seconds=settings.timeout_seconds,
            tls=self._tls,
        )

    def _keep_surely(self, claim: Claim, sent: Sent) -> None:
        """Keep how an attempt went, also where the database is busy for a while: what is not kept is sent again."""
        for left in reversed(range(KEEP_TRIES)):
            try:
                return self._keep(claim, sent)
            except (Busy, Conflict):
                if not left:
                    raise
                time.sleep(random.uniform(*_KEEP_PAUSE_SECONDS))

    def _keep(self, claim: Claim, sent: Sent) -> None:
        now = self._sources.now_us()
        next_at = None
        if not sent.delivered and claim.attempts < ATTEMPTS_MAX:
            pause = PAUSES_SECONDS[claim.attempts - 1] * random.uniform(1 - JITTER, 1 + JITTER)
            next_at = now + round(pause * SECOND)
        with self._writer.transaction() as connection:
            # The endpoint's row first, here and wherever it is disabled: two attempts that end at once then wait for
            # each other in one order.
            since = now
            if sent.delivered:
                delivery_rows.note_success(connection, claim)
            else:
                since = delivery_rows.note_failure(connection, claim, now=now)
            delivery_rows.finish(connection, claim, result=sent.result, delivered=sent.delivered, next_at=next_at)
            if sent.status == GONE:
                delivery_rows.disable(connection, claim.book_id, claim.webhook, reason="gone", now=now)
            elif now - since >= self._settings.disable_after_days * 86_400 * SECOND:
                delivery_rows.disable(connection, claim.book_id, claim.webhook, reason="failing", now=now)
        self._on_result("delivered" if sent.delivered else "failed" if next_at is None else "retried")
