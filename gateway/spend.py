"""The ledger's side of one call: authorize before it is forwarded; settle, release or mark it afterwards.

Owns the rule for every way a call can end. Invariants: no call is forwarded without a hold that is committed; each hold
ends with exactly one settlement or release, or is marked ``unknown`` for people to resolve; a report to the ledger is
repeated under its one idempotency key until it is known to be recorded, or until this process ends and the hold's own
time marks it; a call that ends before it is forwarded leaves no hold behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

from gateway.ledger import Ledger, Waiting
from gateway.reports import REPORT_DELAYS_SECONDS, Reports, delay_seconds
from ledger.core.authorization import ON_EXPIRY_UNKNOWN
from ledger.core.command import Authorize, Caller, Command, Extend, MarkUnknown, Release, Settle
from ledger.core.ids import AUTHORIZATION
from ledger.core.metering import pairs_of
from ledger.core.money import currency_digits, format_atoms
from ledger.core.outcome import Outcome, Status
from ledger.core.rules import RULE_RUN_CAP
from ledger.services.errors import CommandFailed, LeftLine, OutcomeUnknown, ServiceError
from ledger.services.sources import ParsedKey, Sources

LEFT_CHECK_SECONDS: Final = 0.05
"""A call that is decided sooner is not asked whether its client is still there."""
SETTLED: Final = "settled"
RELEASED: Final = "released"
UNKNOWN: Final = "unknown"
_RECORDED: Final = frozenset((Status.DONE, Status.REPLAYED, Status.APPROVED))
Report = Settle | Release | MarkUnknown
_REMAINING: Final = 4
"""Where a rule in a decision says what remains: [rule, verdict, observed, limit, remaining]."""
_logger = logging.getLogger("bursar.gateway")


class ClientLeft(Exception):
    """The client left before its call was forwarded. Nothing is held for it."""


class Wish(NamedTuple):
    """What a call asks of the ledger. Amounts in atoms; ``least`` is the smallest amount with which it can be made."""

    amount: int
    least: int
    currency: str
    category: str
    payee: str
    resource: str
    ttl_seconds: int
    wait_seconds: int
    fingerprint: str
    budget: str | None = None
    run: str | None = None
    intent: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    barred: str | None = None


def decimal_text(atoms: int, currency: str) -> str:
    """Atoms of a money currency as decimal text."""
    digits = currency_digits(currency)
    if digits is None:
        raise ValueError(f"{currency} is not money")
    return format_atoms(atoms, digits)


class Spend:
    """One call's authorization. ``authorize`` comes first; then one of ``settle``, ``release``, ``mark_unknown``."""

    __slots__ = (
        "_extensions", "_key", "_ledger", "_per", "_reports", "approved", "budget_available", "cap_left", "client_left",
        "currency", "end", "id", "outcome", "was_asked",
    )  # fmt: skip

    def __init__(self, ledger: Ledger, reports: Reports, key: ParsedKey, sources: Sources) -> None:
        self._ledger = ledger
        self._reports = reports
        self._key = key
        self.id = sources.new_id(AUTHORIZATION)
        self.outcome: Outcome | None = None
        self.approved = 0
        self.currency = "USD"
        self.budget_available = 0
        self.cap_left: int | None = None
        self._extensions = 0
        self._per = (1, 1)
        self.client_left = False
        """Whether the client was seen to leave while its hold was decided."""
        self.was_asked = False
        self.end = ""
        """How the hold was ended: ``settled``, ``released`` or ``unknown``; "" while it is not."""

    async def authorize(self, wish: Wish, left: Callable[[], Awaitable[None]]) -> Outcome:
        """Ask for a hold, in line if need be. ``left`` ends when the client is gone.

        Raises ClientLeft, and ServiceError where nothing is held.
        """
        self.currency = wish.currency
        self.was_asked = True
        command = Authorize(
            caller=Caller(self._key.digest, as_gateway=True),
            idempotency_key=f"gateway:{self.id}",
            id=self.id,
            amount=decimal_text(wish.amount, wish.currency),
            currency=wish.currency,
            category=wish.category,
            payee=wish.payee,
            resource=wish.resource,
            budget=wish.budget,
            run=wish.run,
            intent=wish.intent,
            ttl_seconds=wish.ttl_seconds,
            on_expiry=ON_EXPIRY_UNKNOWN,
            labels=wish.labels,
            fingerprint=wish.fingerprint,
            barred=wish.barred,
            afford=wish.least < wish.amount,
            least=decimal_text(wish.least, wish.currency) if wish.least < wish.amount else None,
        )
        waiting = self._ledger.decide_waiting(self._key.book_id, command, wish.wait_seconds)
        try:
            outcome = await self._in_line(waiting, left)
        except LeftLine as error:
            raise ClientLeft from error
        except OutcomeUnknown:
            outcome = await self._ask_again(command)
        if outcome.replayed and outcome.status is Status.REPLAYED and outcome.body is not None:
            # The first answer was lost and this one tells it.
            held = outcome.body.get("kind") == "hold"
        else:
            held = outcome.status is Status.APPROVED
        self.outcome = outcome
        if held and outcome.body is not None:
            # Of a budget in another currency, what is approved of what was asked; its own amounts are converted.
            exchange = outcome.body.get("exchange")
            if exchange is not None:
                self._per = (int(exchange["per"][0]), int(exchange["per"][1]))
            self.approved = int((exchange or outcome.body)["approved"])
            self._see_budget(outcome)
            self._see_cap(outcome)
        return outcome

    def remaining(self, cost: int) -> int:
        """What the caller may still spend once this call has cost so much: by its budget, and by its run's cap."""
        if self.cap_left is None:
            return self.budget_available
        return min(self.budget_available, self.cap_left + self.approved - cost)

    @property
    def is_held(self) -> bool:
        """Whether there is a hold to report on."""
        return self.approved > 0 and not self.end

    async def _in_line(self, waiting: Waiting, left: Callable[[], Awaitable[None]]) -> Outcome:
        """The outcome; whoever leaves meanwhile steps out of the line."""
        loop = asyncio.get_running_loop()
        watching: list[asyncio.Task[None]] = []

        async def watch() -> None:
            await left()
            self.client_left = True
            waiting.leave()

        handle = loop.call_later(LEFT_CHECK_SECONDS, lambda: watching.append(loop.create_task(watch())))
        try:
            return await asyncio.shield(waiting.future)
        except asyncio.CancelledError:
            waiting.leave()
            self._reports.add(self._undo(waiting.future))
            raise
        finally:
            handle.cancel()
            for task in watching:
                task.cancel()

    async def _undo(self, deciding: asyncio.Future[Outcome]) -> None:
        """Give back what may still be decided for a call that will not be made."""
        try:
            outcome = await deciding
        except OutcomeUnknown:
            pass
        except ServiceError:
            return
        else:
            if outcome.status is not Status.APPROVED:
                return
        await self._insist(self._releasing("the gateway stopped before the call was forwarded"))

    async def _ask_again(self, command: Command) -> Outcome:
        """What became of a command whose commit was lost: the idempotency key tells. Raises ServiceError."""
        try:
            for delay in REPORT_DELAYS_SECONDS[:6]:
                await asyncio.sleep(delay)
                with contextlib.suppress(ServiceError):
                    return await self._ledger.decide(self._key.book_id, command)
        except asyncio.CancelledError:
            self._reports.add(self._insist(self._releasing("the gateway stopped before the call was forwarded")))
            raise
        # It is not forwarded, so whatever is held for it is given back as soon as the ledger can be asked.
        self._reports.add(self._insist(self._releasing("whether it was held was not known in time")))
        raise OutcomeUnknown("whether money is held for this call is not known; nothing was forwarded")

    def _see_budget(self, outcome: Outcome) -> None:
        if outcome.body is not None and "budget" in outcome.body:
            self.budget_available = self._converted(int(outcome.body["budget"].get("available", "0")))

    def _converted(self, atoms: int) -> int:
        """Atoms of the budget's currency in that of the call, rounded down."""
        budgets, asked = self._per
        return atoms * asked // budgets

    def _see_cap(self, outcome: Outcome) -> None:
        decision = (outcome.body or {}).get("decision", {})
        for rule in decision.get("rules", ()):
            if rule[0] == RULE_RUN_CAP and len(rule) > _REMAINING:
                self.cap_left = self._converted(int(rule[_REMAINING]))

    async def extend(self, atoms: int, wait_seconds: float) -> bool:
        """Hold ``atoms`` more. Where others hold what is missing, it stands in line for so long, before every call that
        has not begun: those who hold can then end. False: denied, or not decided in time."""
        self._extensions += 1
        command = Extend(
            caller=Caller(self._key.digest, as_gateway=True),
            idempotency_key=f"gateway:{self.id}:extend:{self._extensions}",
            authorization=self.id,
            amount=decimal_text(atoms, self.currency),
            currency=self.currency,
        )
        try:
            outcome = await self._ledger.decide_waiting(self._key.book_id, command, wait_seconds).future
        except ServiceError as error:
            _logger.warning("%s could not be extended: %s", self.id, error)
            return False
        if outcome.status not in (Status.DONE, Status.APPROVED, Status.REPLAYED):
            return False
        self.approved += atoms
        if self.cap_left is not None:
            self.cap_left -= atoms
        self._see_budget(outcome)
        return True

    async def settle(
        self, atoms: int, *, resource: str | None, metering: Mapping[str, str], flags: tuple[str, ...] = ()
    ) -> bool:
        """Record what the call did cost. True once that is durable; False where it is repeated in the background."""
        return await self._report(
            Settle(
                caller=Caller(self._key.digest, as_gateway=True),
                idempotency_key=f"gateway:{self.id}:end",
                authorization=self.id,
                amount=decimal_text(atoms, self.currency),
                currency=self.currency,
                resource=resource,
                metering=pairs_of(metering),
                flags=flags,
            )
        )

    async def release(self, reason: str) -> bool:
        """End the hold: the provider cannot have billed anything."""
        return await self._report(self._releasing(reason))

    def _releasing(self, reason: str) -> Release:
        return Release(
            caller=Caller(self._key.digest, as_gateway=True),
            idempotency_key=f"gateway:{self.id}:end",
            authorization=self.id,
            reason=reason,
        )

    async def mark_unknown(self, reason: str) -> bool:
        """Keep the hold and list it: the provider may have billed something, and nobody here knows what."""
        return await self._report(
            MarkUnknown(
                caller=Caller(self._key.digest, as_gateway=True),
                idempotency_key=f"gateway:{self.id}:end",
                authorization=self.id,
                reason=reason,
            )
        )

    async def _report(self, command: Report) -> bool:
        """Have the call's end recorded. Never raises ServiceError."""
        self.end = _ENDS[type(command)]
        try:
            following = self._after(command, await self._ledger.decide(self._key.book_id, command))
        except CommandFailed as error:
            following = self._after_failure(command, error)
        except ServiceError as error:
            _logger.warning("the end of %s will be reported again: %s", self.id, error)
            self._reports.add(self._insist(command))
            return False
        except asyncio.CancelledError:
            # It may be recorded or not; its idempotency key lets it be told again.
            self._reports.add(self._insist(command))
            raise
        if following is not None:
            # Nothing is reported instead of that: this ends here.
            await self._report(following)
            return False
        return True

    async def _insist(self, command: Report) -> None:
        """Report again and again, for as long as this process lives. What is not recorded by then, the hold's own time
        marks ``unknown``."""
        following: Report | None = command
        attempt = 0
        try:
            while following is not None:
                command = following
                try:
                    following = self._after(command, await self._ledger.decide(self._key.book_id, command))
                except CommandFailed as error:
                    following = self._after_failure(command, error)
                except ServiceError:
                    await self._reports.pause(delay_seconds(attempt))
                    attempt += 1
        except asyncio.CancelledError:
            _logger.error("the end of %s was not recorded; its hold will be listed as unknown", self.id)
            raise

    def _after(self, command: Report, outcome: Outcome) -> Report | None:
        """What is still to be reported after this was decided; None: nothing."""
        status = outcome.status
        if status in _RECORDED:
            self._see_budget(outcome)
            return None
        if status is Status.NOT_FOUND and isinstance(command, Release):
            # What was given back in case it was held was not held.
            return None
        _logger.error("the end of %s was not accepted: %s %s", self.id, status.value, outcome.detail)
        return None if status is Status.WRONG_STATE else self._unknown_instead(command)

    def _after_failure(self, command: Report, error: CommandFailed) -> Report | None:
        _logger.error("the end of %s cannot be recorded", self.id, exc_info=error)
        return self._unknown_instead(command)

    def _unknown_instead(self, command: Report) -> Report | None:
        """Where the books do not take what a call is said to have cost, such as a sum beyond all bounds, people look at
        it at once."""
        if isinstance(command, MarkUnknown):
            return None
        self.end = UNKNOWN
        return MarkUnknown(
            caller=command.caller,
            idempotency_key=f"gateway:{self.id}:unknown",
            authorization=self.id,
            reason="what the call did cost was not accepted",
        )


_ENDS: Final[Mapping[type[Command], str]] = {Settle: SETTLED, Release: RELEASED, MarkUnknown: UNKNOWN}
