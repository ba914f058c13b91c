"""A ledger of a few dozen lines that speaks the part of the HTTP contract that a replay uses.

It can be told to lose an atom, to refuse, and to be busy for a while, so that tests see the replay notice.
"""

import json
import re
import threading
from collections import defaultdict
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ATOM = Decimal("0.000000001")


class FakeBursar:
    """Serves on a port of its own until closed. `busy_answers`: how many 503s come first on the hot path."""

    def __init__(self, *, lost_atoms: int = 0, refuse_after: int | None = None, busy_answers: int = 0) -> None:
        self.balances: defaultdict[str, Decimal] = defaultdict(Decimal)
        self.answers: dict[str, tuple[int, Any]] = {}
        self.holds: dict[str, tuple[str, Decimal, dict[str, Any]]] = {}
        self.lost_atoms, self.refuse_after, self.busy_answers = lost_atoms, refuse_after, busy_answers
        self.lock = threading.Lock()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Without a buffer, head and body leave apart, and the second waits for the first one's receipt.
            wbufsize = 65536

            def do_GET(self) -> None:
                with fake.lock:
                    self.reply(*fake.read(self.path))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with fake.lock:
                    self.reply(*fake.post(self.path, body, self.headers["Idempotency-Key"]))

            def reply(self, status: int, document: Any) -> None:
                content = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                if status == 503:
                    self.send_header("Retry-After", "0")
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *arguments: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def read(self, path: str) -> tuple[int, Any]:
        if path == "/v1/trial-balance":
            lines = [
                {"account": name, "currency": "USD", "debit": None, "credit": {"amount": f"{value:f}"}}
                for name, value in self.balances.items()
            ]
            return 200, {"lines": lines}
        account = re.fullmatch(r"/v1/accounts/([^/]+)/balance\?currency=USD", path)
        if account is None or account[1] not in self.balances:
            return 404, {"code": "not_found"}
        return 200, {"balance": {"amount": f"{self.balances[account[1]]:f}", "currency": "USD"}}

    def post(self, path: str, body: dict[str, Any], key: str) -> tuple[int, Any]:
        if key in self.answers:
            return self.answers[key]
        if path.startswith("/v1/authorizations") and self.busy_answers:
            self.busy_answers -= 1
            return 503, {"code": "overloaded"}
        self.answers[key] = self.first_post(path, body)
        return self.answers[key]

    def first_post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path == "/v1/keys":
            return 201, {"id": "key_1", "key": f"bk_agent_{body['agent']}"}
        if path == "/v1/authorizations":
            if self.refuse_after is not None and len(self.holds) >= self.refuse_after:
                return 403, {"code": "budget_exceeded"}
            held = Decimal(body["amount"]["amount"])
            identity = f"auth_{len(self.holds)}"
            self.holds[identity] = (body["budget"], held, body)
            self.balances[f"budgets:{body['budget']}:held"] += held
            return 201, {"id": identity}
        if settle := re.fullmatch(r"/v1/authorizations/(\w+)/settle", path):
            budget, held, request = self.holds[settle[1]]
            cost = Decimal(body["amount"]["amount"]) - self.lost_atoms * ATOM
            self.lost_atoms = 0
            self.balances[f"budgets:{budget}:held"] -= held
            for account in (
                f"budgets:{budget}:spent",
                f"expenses:{request['category']}",
                f"payables:{request['payee']}",
            ):
                self.balances[account] += cost
            return 200, {"id": settle[1], "state": "settled"}
        return 201, {"name": body.get("name")}
