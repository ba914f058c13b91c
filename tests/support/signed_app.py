"""An app whose book has something to prove, and a checkpoint of it."""

from __future__ import annotations

from typing import Any

from ledger.core.notes import parse_verifier_key
from tests.support.running_app import RunningApp, authorization, usd


class Signed:
    """An app with an agent, one settled authorization, and a checkpoint of it."""

    def __init__(self, app: RunningApp) -> None:
        self.app = app
        self.crawler = app.make_agent("crawler", budget="research")
        self.reader = app.make_agent("reader", budget="reading")
        self.auditor = app.make("/v1/keys", {"role": "auditor", "person": "ada"})["key"]
        self.spent = app.make("/v1/authorizations", authorization("1.00"), key=self.crawler)
        self.id = self.spent["id"]
        settled = app.post(f"/v1/authorizations/{self.id}/settle", {"amount": usd("0.50")}, key=self.crawler)
        assert settled.status == 200
        self.checkpoint = self.post_checkpoint()
        self.key = parse_verifier_key(app.get("/v1/checkpoints/key").json["verifier_key"])

    def post_checkpoint(self, key: str | None = None) -> Any:
        """Have one made."""
        answer = self.app.post("/v1/checkpoints", key=key)
        assert answer.status == 201, answer.json
        return answer.json
