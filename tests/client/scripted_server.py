"""A server of a few dozen lines that answers what `bursar run` and `bursar me` ask, and records every request.

It stands for the contract between the client and the server: bodies, paths and order are what tests compare.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

RUN_KEY = "bk_agent_key_of_the_run"
ADMIN_KEY = "bk_admin_key_of_the_caller"
AGENT_KEY = "bk_agent_key_of_the_caller"


class Seen(NamedTuple):
    """A request: ``path`` without its query."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


def usd(amount: str) -> dict[str, str]:
    return {"amount": amount, "currency": "USD"}


def row(number: int, state: str, **more: Any) -> dict[str, Any]:
    """An authorization as lists show it."""
    return {
        "id": f"auth_{number}",
        "state": state,
        "resource": "gpt-5-mini",
        "amount": usd("0.50"),
        "held": usd("0.50" if state == "held" else "0.00"),
        "settled": usd("0.00"),
        "refunded": usd("0.00"),
        "flags": [],
        "reason": None,
        "expires_at": None,
        **more,
    }


class ScriptedServer:
    """Serves on a port of its own until closed. ``refusals`` maps a path to the status and problem it answers."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.rows: list[dict[str, Any]] = []
        self.decisions: dict[str, dict[str, Any]] = {}
        self.refusals: dict[str, tuple[int, dict[str, Any]]] = {}
        self.run: dict[str, Any] = {"totals": []}
        self.streaming = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 65536

            def do_GET(self) -> None:
                self.answer(None)

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", "0"))
                if self.headers.get("Transfer-Encoding") == "chunked":
                    content = self.chunks()
                else:
                    content = self.rfile.read(length)
                self.answer(json.loads(content or b"null"))

            def chunks(self) -> bytes:
                found = b""
                while size := int(self.rfile.readline(), 16):
                    found += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return found

            def answer(self, body: Any) -> None:
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                headers = {name.lower(): value for name, value in self.headers.items()}
                server.seen.append(Seen(self.command, parts.path, query, headers, body))
                if parts.path.endswith("/stream"):
                    self.stream()
                    return
                status, document = server.answer(self.command, parts.path, query, headers, body)
                content = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(content)

            def stream(self) -> None:
                """Send an event, wait for the word to go on, and send the next."""
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.event(b"one")
                server.streaming.wait(20)
                try:
                    self.event(b"two")
                    self.wfile.write(b"0\r\n\r\n")
                except OSError:
                    self.close_connection = True

            def event(self, data: bytes) -> None:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                self.wfile.flush()

            def log_message(self, format: str, *arguments: object) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that leaves in the middle is what some tests are about."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.streaming.set()
        self.server.shutdown()
        self.server.server_close()

    def asked(self, path: str) -> list[Seen]:
        """The requests of one path."""
        return [request for request in self.seen if request.path == path]

    def answer(
        self, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: Any
    ) -> tuple[int, Any]:
        if path in self.refusals:
            return self.refusals[path]
        key = headers.get("authorization", "").removeprefix("Bearer ")
        if path == "/v1/me":
            return self.me(key)
        if (method, path) == ("POST", "/v1/runs"):
            self.run |= {"name": body["name"], "agent": body.get("agent", "crawler"), "cap": body.get("cap")}
            return 201, self.run
        if (method, path) == ("POST", "/v1/keys"):
            return 201, {"id": "key_7", "key": RUN_KEY, "role": "agent"}
        if path == "/v1/authorizations":
            start = int(query.get("cursor", "0"))
            end = start + int(query["limit"])
            return 200, {"items": self.rows[start:end], "next_cursor": str(end) if end < len(self.rows) else None}
        if path.startswith("/v1/authorizations/"):
            name = path.rpartition("/")[2]
            return 200, {"id": name, "decision": self.decisions.get(name)}
        if path.startswith("/v1/runs/"):
            return 200, self.run
        if path.startswith("/v1/budgets/"):
            return 200, {"name": path.rpartition("/")[2], "currency": "EUR"}
        return 200, {"path": path, "echo": body}

    def me(self, key: str) -> tuple[int, Any]:
        shown = {"key": "key_1", "book": "acme", "budgets": [], "may": [], "policies": []}
        if key == ADMIN_KEY:
            return 200, {**shown, "role": "admin", "principal": "person:root", "agent": None}
        if key == AGENT_KEY:
            return 200, {**shown, "role": "agent", "principal": "agent:crawler", "agent": {"name": "crawler"}}
        if key == "bk_auditor":
            return 200, {**shown, "role": "auditor", "principal": "person:ann", "agent": None}
        return 401, {"code": "unauthenticated", "detail": "The key is not one of this book's"}
