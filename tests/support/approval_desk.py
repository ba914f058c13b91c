"""An application in which an agent's spending needs persons, for tests of the HTTP room and of the command."""

from __future__ import annotations

import time
from typing import Any

from ledger.core.canonical import canonical_bytes
from ledger.core.command import Caller
from ledger.core.command_policies import ApplyPolicy
from ledger.services.sources import parse_key
from tests.support.approving import rule
from tests.support.running_app import Answer, RunningApp, authorization

PENDING = {"accept_pending": True}


class Desk:
    """An app with agent ``crawler``, approvers ``pat`` and ``quinn``, auditor ``ada``, admin ``zoe``."""

    def __init__(self, app: RunningApp, *rules: dict[str, Any]) -> None:
        self.app = app
        self.crawler = app.make_agent("crawler", budget="research")
        for role, person in (("approver", "pat"), ("approver", "quinn"), ("auditor", "ada"), ("admin", "zoe")):
            setattr(self, person, str(app.make("/v1/keys", {"role": role, "person": person})["key"]))
        self.apply(*(rules or (rule(),)))

    pat: str
    quinn: str
    ada: str
    zoe: str

    def apply(self, *rules: dict[str, Any]) -> None:
        """Make these the approval rules of the agent's team."""
        parsed = parse_key(self.app.admin_key)
        assert parsed is not None
        document = {
            "policy": "asks", "applies_to": {"team": "team-of-crawler"}, "currency": "USD", "approval": list(rules),
        }  # fmt: skip
        context = self.app.app.edge._context
        command = ApplyPolicy(
            caller=Caller(parsed.digest),
            idempotency_key=f"policy-{time.monotonic_ns()}",
            id=context.sources.new_id("pol"),
            document=canonical_bytes(document).decode(),
        )
        outcome = self.app._run(_decide(context, parsed.book_id, command))
        assert outcome.status.value == "done", outcome

    def ask(self, amount: str = "5.00", **more: Any) -> Answer:
        """Ask as the crawler."""
        behind = bool(more.pop("behind", False))
        key = more.pop("idempotency_key", None)
        body = authorization(amount, **PENDING, **more)
        return self.app.post("/v1/authorizations", body, key=self.crawler, behind=behind, idempotency_key=key)

    def waiting(self, amount: str = "5.00", **more: Any) -> tuple[str, str]:
        """(authorization, first approval) of a request that waits."""
        answer = self.ask(amount, **more)
        assert answer.status == 202, answer.body
        return answer.json["id"], answer.json["approvals"][0]["id"]

    def state(self, reference: str) -> str:
        """The state of an authorization as its agent sees it."""
        return str(self.app.get(f"/v1/authorizations/{reference}", key=self.crawler).json["state"])


async def _decide(context: Any, book_id: int, command: Any) -> Any:
    return await context.handover.decide(book_id, command)
