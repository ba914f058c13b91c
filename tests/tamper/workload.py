"""A book of hundreds of records of every kind, the same in every run, with several rows in every table that is proved.

Owns what happens after the story with every kind: agents that spend by chance, persons who approve, checkpoints that a
witness cosigns, a rotation of the key, and tiles. Invariant: everything comes from the seed, ids and salts included, so
that a tamper named by its place in a table can be made again alone.
"""

from __future__ import annotations

import random
from typing import Any

from ledger.core.command import (
    AddName,
    AssignBudget,
    Caller,
    Command,
    CreateKey,
    DefineUnit,
    ExpireDue,
    Extend,
    OpenRun,
    Refund,
    Release,
    Reprice,
)
from ledger.core.command_approvals import Delegate, GrantApproval
from ledger.core.command_budgets import SetRenewal
from ledger.core.command_webhooks import RegisterWebhook
from ledger.core.ids import ALPHABET
from ledger.core.notes import parse_note
from ledger.core.outcome import Outcome
from ledger.services.checkpoints import Checkpointer, CheckpointSettings
from ledger.storage import checkpoint_rows
from ledger.storage.checkpoint_rows import StoredCheckpoint, StoredCosignature
from ledger.storage.engine import create_engine
from ledger.storage.side_writer import SideWriter
from tests.support import every_policy
from tests.support.every_kind import Clock, LiveLedger, play
from tests.support.spend import write_lines
from tests.support.witnesses import cosigned

SEED = 5
STEPS = 110
SPENDERS = ("picker", "packer", "sorter")
PAYEES = ("openai", "anthropic", "brave")
CATEGORIES = ("inference", "search", "hosting")


class SeededClock(Clock):
    """Sources whose chance is a seed's."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)
        self._ids = 0

    def random_bytes(self, count: int) -> bytes:
        """Bytes from the seed."""
        return self._random.randbytes(count)

    def new_id(self, prefix: str) -> str:
        """A well-formed id, the next of a count, apart from those that the story makes."""
        self._ids += 1
        value, text = self._ids + (1 << 60), ""
        for _ in range(26):
            text = ALPHABET[value & 31] + text
            value >>= 5
        return f"{prefix}_{text}"


class Signing:
    """The checkpoints of a book that a test drives, each cosigned by a witness."""

    def __init__(self, ledger: LiveLedger, database_url: str) -> None:
        self._book_id = ledger.book.book_id
        self._engine = create_engine(database_url, pool_size=1)
        self._side = SideWriter(database_url, pool_size=1)

        def decide(_: int, command: Command) -> Outcome:
            return ledger.decide(command)[0]

        self.checkpointer = Checkpointer(self._engine, self._side, decide, ledger.sources, CheckpointSettings())

    def rotate(self) -> None:
        """Make a new key sign from here on."""
        self.checkpointer.rotate(self._book_id)

    def sign(self) -> StoredCheckpoint:
        """Sign the log as it is, and have it cosigned by one witness or two."""
        made = self.checkpointer.make(self._book_id)
        names = ("w.example.com",) if made.size % 2 else ("v.example.com", "w.example.com")
        for name in names:
            said = cosigned(made.note, name=name)
            line = parse_note(said["note"]).signatures[-1]
            with self._side.transaction() as connection:
                given = StoredCosignature(made.size, said["key"], name, line.signature, made.created_at)
                assert checkpoint_rows.add_cosignature(connection, self._book_id, given)
        return made

    def close(self) -> None:
        """Write the tiles that are complete, and end."""
        self.checkpointer.tiler.extend(self._book_id)
        self._side.close()
        self._engine.dispose()


def make_books(database_url: str, *, chance_seed: int = SEED) -> tuple[int, int]:
    """Fill a migrated database with the book to attack and a small one beside it; the ids of both. Another
    ``chance_seed`` makes the same book, with the same secrets, go another way after the first checkpoint."""
    ledger = LiveLedger(database_url, sources=SeededClock(SEED))
    play(ledger)
    signing = Signing(ledger, database_url)
    signing.rotate()
    signing.sign()
    floor = Floor(ledger, random.Random(chance_seed))
    for step in range(STEPS):
        floor.step()
        if step % 30 == 29:
            signing.sign()
        if step == STEPS // 2:
            signing.rotate()
    signing.sign()
    signing.close()
    ledger.close()
    other = LiveLedger(database_url, "other", sources=SeededClock(SEED + 1))
    _play_little(other, database_url)
    other.close()
    write_lines(database_url)
    return ledger.book.book_id, other.book.book_id


def _play_little(ledger: LiveLedger, database_url: str) -> None:
    """A few records of a book that is none of the first one's business."""
    spender = ledger.agent("spender")
    ledger.budget("all", "10", "spender")
    held = ledger.hold(spender, "3", intent="a question")
    ledger.settle(spender, held, "1")
    signing = Signing(ledger, database_url)
    signing.sign()
    signing.close()


class Floor:
    """Three agents that spend, those who look after them, and what is open."""

    def __init__(self, ledger: LiveLedger, chance: random.Random) -> None:
        self._ledger = ledger
        self._chance = chance
        self._open: list[tuple[str, str, str, int]] = []
        self._settled: list[tuple[str, int]] = []
        ledger.agent("floor", kind="team")
        self._callers = {name: ledger.agent(name, "floor") for name in SPENDERS}
        self._rita = ledger.key("approver", "rita")
        self._finance = ledger.key("finance", "sam")
        self._set_up()

    def _set_up(self) -> None:
        """Second and third rows of what the story has one of."""
        ledger, admin = self._ledger, self._ledger.admin
        for unit, digits in (("pages", 0), ("minutes", 3)):
            ledger.do(DefineUnit, admin, name=unit, digits=digits)
        for name, currency, amount in (("picking", "USD", "300"), ("packing", "USD", "200"), ("pages", "pages", "900")):
            ledger.budget(name, amount, "floor", currency=currency)
        ledger.do(AssignBudget, admin, budget="packing", agents=("packer", "sorter"))
        for name in ("hosting", "storage"):
            ledger.do(AddName, admin, kind="category", name=name)
        for budget, every in (("picking", "week"), ("packing", "day")):
            renewal = {"every": every, "amount": "20", "currency": "USD", "carry_over": "400"}
            ledger.do(SetRenewal, admin, budget=budget, **renewal)
        self._govern()
        ledger.do(
            Delegate, admin, id="dlg_00000000000000000000000081", giver="rita", receiver="sam", role="approver",
            ttl_seconds=9_000,
        )  # fmt: skip
        endpoint = {"events": ("*",), "secret": "whs_00000000000000000000000009"}
        ledger.do(RegisterWebhook, admin, url="https://floor.example.com/", **endpoint)
        for name in ("picker", "packer"):
            ledger.do(OpenRun, admin, name=f"run-{name}", agent=name, cap_amount="40", cap_currency="USD")
        ledger.do(CreateKey, admin, digest=ledger._digest(), role="agent", run="run-picker", ttl_seconds=60)

    def _govern(self) -> None:
        """Two policies that count by payee; one asks a person, one stops loops."""
        big = {"id": "big", "above": "9.00", "per": "authorization", "approvers": ["approver"], "quorum": 1}
        loops = {"same_request": 3, "within": 600, "then": "deny"}
        for agent, more in (("packer", {"approval": [big | {"expires_after": 900}]}), ("sorter", {"loops": loops})):
            limits = [
                {"id": "payee", "per": "day", "max": "60", "by": ["payee"], "match": {"currencies": ["USD"]}},
                {"id": "calls", "per": "hour", "rolling": True, "max_count": 40},
            ]
            document = {"policy": f"floor-{agent}", "applies_to": {"agent": agent}, "currency": "USD", "limits": limits}
            every_policy.apply(self._ledger, document | more)

    def step(self) -> None:
        """One step of one agent, and now and then of finance or of time."""
        chance, ledger = self._chance, self._ledger
        roll = chance.random()
        if roll < 0.5 or not self._open:
            self._ask(chance.choice(SPENDERS))
        elif roll < 0.8:
            self._settle()
        elif roll < 0.88:
            reference, owner, currency, _ = chance.choice(self._open)
            ledger.do(Extend, self._callers[owner], authorization=reference, amount="1", currency=currency)
        elif roll < 0.93:
            reference, owner, _, _ = self._open.pop()
            ledger.do(Release, self._callers[owner], authorization=reference, reason="another way was found")
        elif self._settled:
            self._correct(*self._settled.pop())
        if chance.random() < 0.06:
            ledger.advance(3_600 * chance.choice((1, 5, 30)))
            ledger.do(ExpireDue, Caller(None), idempotency_key="")
            self._open.clear()

    def _ask(self, who: str) -> None:
        chance, ledger = self._chance, self._ledger
        budget = chance.choice(("picking", "packing", "pages"))
        currency = "pages" if budget == "pages" else "USD"
        amount = chance.randrange(1, 40 if currency == "pages" else 13)
        asked = ledger.authorize(
            self._callers[who], str(amount), budget=budget, currency=currency, payee=chance.choice(PAYEES),
            category=chance.choice(CATEGORIES), accept_pending=True, ttl_seconds=chance.choice((600, 90_000)),
            run=f"run-{who}" if chance.random() < 0.3 else None, intent=f"order {chance.randrange(9_999)}",
            labels=(("shift", chance.choice(("day", "night"))),), resource=chance.choice(("gpt-5-mini", "gpt-5", None)),
        )  # fmt: skip
        body = asked.body or {}
        if asked.status.value == "pending_approval":
            for tier in body["approvals"]:
                ledger.do(GrantApproval, self._rita, approval=tier["id"], reason="needed today")
        elif asked.status.value != "approved":
            return
        self._open.append((str(body["authorization"]), who, currency, amount))

    def _settle(self) -> None:
        chance = self._chance
        reference, owner, currency, amount = self._open.pop(chance.randrange(len(self._open)))
        spent = chance.randrange(1, amount + 1)
        more: dict[str, Any] = {}
        if chance.random() < 0.4:
            more["metering"] = (("input_tokens", str(chance.randrange(9_000))), ("model", "gpt-5-mini"))
        if chance.random() < 0.3:
            more |= {"category": "search", "payee": "brave"}
        if chance.random() < 0.2:
            more["evidence"] = '{"calls":3}'
        self._ledger.settle(
            self._callers[owner], reference, str(spent), currency=currency, final=chance.random() < 0.7, **more
        )
        if currency == "USD":
            self._settled.append((reference, spent))

    def _correct(self, reference: str, spent: int) -> None:
        on: dict[str, Any] = {"authorization": reference, "currency": "USD"}
        if self._chance.random() < 0.5:
            self._ledger.do(Refund, self._finance, amount="0.25", reason="a credit note", **on)
            return
        self._ledger.do(
            Reprice, self._finance, settled=str(spent), amount=str(spent + 1), old_price=(("output", "2"),),
            new_price=(("output", "3"),), reason="the tier was wrong", **on,
        )  # fmt: skip
