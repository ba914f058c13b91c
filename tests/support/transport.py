"""An app in the test's process, asked by what speaks HTTP: the command line's own client, without a socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from bursar import Remote
from ledger.services.witnessing import Refusal
from tests.support.running_app import RunningApp

Change = Callable[[str, Any], Any]
"""What stands in for the server's answer to a path: itself, or something false."""


class AppTransport(httpx.BaseTransport):
    """Hands requests to an app, and lets a test change what it answers."""

    def __init__(self, app: RunningApp, change: Change | None = None) -> None:
        self.app = app
        self._change = change

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        headers = [(name.lower(), value) for name, value in request.headers.raw]
        path = request.url.raw_path.decode()
        answer = self.app.request(request.method, path, body=request.read(), headers=headers)
        if self._change is not None and answer.status < 400:
            return httpx.Response(answer.status, json=self._change(path, answer.json))
        return httpx.Response(answer.status, headers=answer.headers, content=answer.body)


def remote_to(apps: dict[str, RunningApp], change: Change | None = None) -> Any:
    """In place of ``bursar.remote``: a URL names one of ``apps``."""

    @contextmanager
    def remote(url: str, key: str) -> Iterator[Remote]:
        headers = {"authorization": f"Bearer {key}"}
        with httpx.Client(base_url=url, headers=headers, transport=AppTransport(apps[url], change)) as client:
            yield Remote(client, attempts_max=1)

    return remote


class AppServer:
    """An app as ``services.witnessing`` asks a server."""

    def __init__(self, app: RunningApp) -> None:
        self.app = app

    def get(self, path: str, **query: str | int | bool) -> Any:
        """The JSON of an answer, read with the admin's key."""
        answer = self.app.get(f"{path}?{httpx.QueryParams(query)}" if query else path)
        if answer.status == 404:
            raise Refusal(answer.json["detail"])
        assert answer.status == 200, answer.json
        return answer.json
