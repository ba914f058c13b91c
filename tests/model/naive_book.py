"""The naive ledger's frame: balances summed up anew, one batch, one command, who may, and what was asked before."""

from __future__ import annotations

import re
from dataclasses import fields
from decimal import Decimal
from typing import Any

from ledger.core import command as c
from tests.model.naive_parts import (
    BINDING,
    LIMIT,
    NOT_THE_REQUEST,
    RECORDED,
    ROLE_ROWS,
    SCALES,
    ZERO,
    Answer,
    Hold,
    Refused,
)


class NaiveFrame:
    """One book. Times in microseconds."""

    def __init__(self, *, opened_at: int, admin: bytes) -> None:
        self.opened_at = self.recorded_at = self.now = opened_at
        self.keys: dict[bytes, dict[str, Any]] = {
            admin: {
                "id": "?",
                "role": "admin",
                "principal": "person:owner",
                "revoked": False,
                "expires": None,
                "run": None,
                "maker": "system",
            }
        }
        self.agents: dict[str, dict[str, Any]] = {}
        self.budgets: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, str] = {}
        self.caps: dict[str, tuple[Decimal, str]] = {}
        self.run_openings: list[tuple[str, int]] = []
        self.holds: dict[str, Hold] = {}
        self.units: dict[str, int] = {}
        self.names: set[tuple[str, str]] = set()
        self.postings: dict[tuple[str, str], list[Decimal]] = {}
        self.bound: dict[tuple[str, str], tuple[Any, ...]] = {}
        self.commands = 0
        self.records = 2
        self.delta: dict[tuple[str, str], Decimal] = {}

    # Sums.

    def balance(self, account: str, currency: str) -> Decimal:
        """Debits less credits, summed from the first posting on."""
        return sum(self.postings.get((account, currency), ()), ZERO)

    def post(self, debit: str, credit: str, amount: Decimal, currency: str) -> None:
        """One transfer, if there is something to transfer."""
        if not amount:
            return
        for account, change in ((debit, amount), (credit, -amount)):
            self.postings.setdefault((account, currency), []).append(change)
            self.delta[account, currency] = self.delta.get((account, currency), ZERO) + change

    def run_total(self, run: str, currency: str) -> dict[str, Any]:
        """What a run holds and spent, and how many were approved and denied, from all authorizations that count."""
        mine = [one for one in self.holds.values() if one.counts and (one.run, one.currency) == (run, currency)]
        asked = [one for one in mine if one.events[:1] != [] and one.events[0][0] == "hold"]
        facts = [one.facts() for one in mine]
        return {
            "held": sum((one["held"] for one in facts), ZERO),
            "spent": sum((one["settled"] + one["repriced"] - one["refunded"] for one in facts), ZERO),
            "approved": len(asked),
            "denied": sum(not one.events for one in mine),
        }

    # One batch, one command.

    def begin(self, clock: int) -> None:
        """A batch begins: its time is never earlier than the last record; what is due ends first."""
        self.now = max(clock, self.recorded_at)
        self.delta = {}
        for reference, hold in self.holds.items():
            if hold.due is not None and hold.due <= self.now:
                self.expire(reference)

    def expire(self, reference: str) -> None:
        """End a hold whose time has come, or flag it."""
        hold = self.holds[reference]
        hold.due = None
        if hold.on_expiry == "unknown" and hold.facts()["state"] == "held":
            hold.events.append(("unknown",))
        else:
            budget = f"budgets:{hold.budget}:"
            self.post(budget + "available", budget + "held", hold.facts()["held"], hold.currency)
            hold.events.append(("expire",))
        self.recorded()

    def recorded(self) -> None:
        """A record was written."""
        self.records += 1
        self.recorded_at = self.now

    def decide(self, asked: c.Command) -> Answer:
        """Decide one command."""
        self.commands += 1
        self.delta = {}
        try:
            principal = self.admit(asked)
            request = self.request(asked)
            prior = self.bound.get((principal, asked.idempotency_key))
            if prior is not None:
                return self.repeat(prior, request)
            answer: Answer = getattr(self, asked.operation)(asked, principal)
        except Refused as refused:
            return Answer(refused.code)
        answer.delta = self.delta
        if answer.status in BINDING:
            self.bound[principal, asked.idempotency_key] = (request, self.commands, answer)
        if answer.status in RECORDED:
            self.recorded()
        self.records += answer.followed
        return answer

    def repeat(self, prior: tuple[Any, ...], request: Any) -> Answer:
        """The answer to a key that was used before."""
        before, number, answer = prior
        if before != request:
            raise Refused("idempotency_mismatch")
        status = "replayed"
        approved = answer.status in ("approved", "pending_approval")
        approved = approved or (answer.status == "done" and request[0] == "extend")
        if approved and self.holds[answer.subject].facts()["state"] not in ("held", "pending_approval"):
            status = "replay_closed"
        return Answer(status, {}, answer.subject, None, number)

    def admit(self, asked: c.Command) -> str:
        """Who asks, if they may."""
        key = self.keys.get(asked.caller.key_digest or b"")
        if key is None:
            raise Refused("key_unknown")
        codes = []
        if key["revoked"]:
            codes.append("key_revoked")
        if key["expires"] is not None and key["expires"] <= self.now:
            codes.append("key_expired")
        if ROLE_ROWS[asked.operation][key["role"]] == "no":
            codes.append("role_not_allowed")
        if key["run"] is not None and not self.is_for_run(asked, key["run"]):
            codes.append("key_run_only")
        if isinstance(asked, c.CreateKey) and key["role"] == "agent" and (asked.role != "agent" or asked.run is None):
            codes.append("role_not_allowed")
        if codes:
            raise Refused(*codes)
        return str(key["principal"])

    def is_for_run(self, asked: c.Command, run: str) -> bool:
        """Whether a key for one run may ask this."""
        if isinstance(asked, c.Authorize):
            return asked.run in (None, run)
        return isinstance(asked, (c.Settle, c.Extend, c.Release, c.MarkUnknown))

    def key_run(self, asked: c.Command) -> str | None:
        """The only run that the key of a command is for."""
        found = self.keys[asked.caller.key_digest or b""]["run"]
        return str(found) if found is not None else None

    def request(self, asked: c.Command) -> Any:
        """What is asked, with its amounts as numbers; refuses amounts that are none."""
        zero_ok = isinstance(asked, c.Reprice) or (isinstance(asked, c.Settle) and asked.final)
        said: list[Any] = [asked.operation]
        moved = asked.transfers if isinstance(asked, c.Adjust) else (asked,)
        codes: set[str] = set()
        if isinstance(asked, c.OpenRun) and asked.cap_amount is not None:
            codes |= self.wrong_with(asked.cap_amount, str(asked.cap_currency), False)
        for one in moved:
            if getattr(one, "amount", None) is not None:
                codes |= self.wrong_with(one.amount, one.currency, zero_ok)
                if getattr(one, "least", None) is not None:
                    codes |= self.wrong_with(one.least, one.currency, False)
            elif isinstance(asked, c.CreateBudget) and self.digits(asked.currency) is None:
                codes.add("unknown_currency")
        if isinstance(asked, c.Reprice):
            codes |= self.wrong_with(asked.settled, asked.currency, zero_ok)
        if codes:
            raise Refused(*codes)
        for one in moved:
            for name in (item.name for item in fields(one)):
                value = getattr(one, name)
                if name in ("amount", "settled", "least") and value is not None:
                    value = Decimal(value)
                if name == "run" and isinstance(asked, c.Authorize):
                    value = value or self.key_run(asked)
                if name not in NOT_THE_REQUEST and name != "transfers":
                    said.append((name, value))
        return tuple(said)

    def digits(self, currency: str) -> int | None:
        """Digits after the point, None for what is no currency here."""
        return SCALES.get(currency, self.units.get(currency))

    def wrong_with(self, text: str, currency: str, zero_ok: bool) -> set[str]:
        """What is wrong with an amount, if anything."""
        digits = self.digits(currency)
        if digits is None:
            return {"unknown_currency"}
        if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text):
            return {"amount_malformed"}
        amount = Decimal(text)
        codes = set()
        if amount.scaleb(digits) != amount.scaleb(digits).to_integral_value():
            codes.add("amount_too_precise")
        if abs(amount.scaleb(digits)) > LIMIT:
            codes.add("amount_too_large")
        if amount < 0 or (amount == 0 and not zero_ok):
            codes.add("amount_not_positive")
        return codes

    # Agents.

    def above(self, agent: str) -> list[str]:
        """The agent and all above it."""
        chain = [agent]
        while (parent := self.agents[chain[-1]]["parent"]) is not None:
            chain.append(parent)
        return chain

    def frozen(self, agent: str) -> bool:
        """Whether it or anything above it is frozen."""
        return any(self.agents[one]["frozen"] for one in self.above(agent))
