"""A book whose days a test chooses, with calls that were metered as the gateway does, and the verb that compares it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from click.testing import CliRunner, Result

from bursar import asking
from ledger.cli.reconcile import command
from ledger.core.reconciling_lines import DAY, day_of, day_text
from ledger.services.sources import Sources
from ledger.services.verify import verify_books
from tests.support.running_app import RunningApp, authorization, usd

MINUTE = 60_000_000
SETTINGS: dict[str, Any] = {"clock_jump_seconds": 10**7}


class Days(Sources):
    """A clock that stands where the test puts it; ``first`` is the first day (of UTC, since 1970) it is put on."""

    def __init__(self) -> None:
        super().__init__()
        self.first = day_of(time.time_ns() // 1_000) + 1
        self.now = time.time_ns() // 1_000

    def put(self, day: int, minute: float = 600) -> None:
        """Let it be a minute of a day after the first."""
        self.now = (self.first + day) * DAY + round(minute * MINUTE)

    def now_us(self) -> int:
        return self.now

    def decision_time(self, clock_us: int) -> int:
        return self.now


class Bridge(httpx.BaseTransport):
    """Carries requests to an app in this process; of requests that change the book, at most ``posts_left`` arrive."""

    def __init__(self, app: RunningApp) -> None:
        self.app = app
        self.posts: list[str] = []
        self.posts_left: int | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        if request.method == "POST":
            if self.posts_left is not None and len(self.posts) >= self.posts_left:
                raise httpx.ConnectError("the cable was pulled", request=request)
            self.posts.append(request.url.path)
        headers = [(name.lower(), value) for name, value in request.headers.raw]
        answer = self.app.request(
            request.method, request.url.raw_path.decode(), body=request.read(), headers=headers
        )  # fmt: skip
        return httpx.Response(answer.status, headers=answer.headers, content=answer.body)


class Books:
    """The book, its agent and finance, and the verb."""

    def __init__(self, app: RunningApp, days: Days, directory: Path, patch: Callable[..., None]) -> None:
        self.app, self.days, self.directory = app, days, directory
        self.crawler = app.make_agent("crawler", budget="research", allocated="1000.00")
        self.finance = app.make("/v1/keys", {"role": "finance", "person": "fay"})["key"]
        self.bridge = Bridge(app)
        client = httpx.Client
        patch(asking.httpx, "Client", lambda **settings: client(**settings, transport=self.bridge))
        self._files = 0

    def call(
        self, day: int, cost: str, model: str = "gpt-5", *, id: str = "", minute: float = 600, lasts: float = 1,
        tokens: tuple[int, int] | None = None,
    ) -> str:  # fmt: skip
        """An authorization that was settled at a cost; its id."""
        self.days.put(day, minute)
        asked = authorization("100.00", resource=model, budget="research")
        held = self.app.make("/v1/authorizations", asked, key=self.crawler)["id"]
        self.days.put(day, minute + lasts)
        metering = {"provider": "openai", "model": f"{model}-2025-08-07"} | ({"response_id": id} if id else {})
        if tokens is not None:
            metering |= {"input_tokens": str(tokens[0]), "output_tokens": str(tokens[1])}
        settled = {"amount": usd(cost), "metering": metering}
        self.app.make(f"/v1/authorizations/{held}/settle", settled, key=self.crawler)
        return str(held)

    def period(self, first: int, last: int) -> str:
        """Days as the verb takes them."""
        return f"{self.day(first)}..{self.day(last)}"

    def day(self, day: int) -> str:
        """A day as it is written."""
        return day_text(self.days.first + day)

    def file(self, text: str) -> Path:
        """A new file with a text."""
        self._files += 1
        path = self.directory / f"report-{self._files}.txt"
        path.write_text(text, encoding="utf-8")
        return path

    def costs(self, *rows: tuple[int, str, str]) -> str:
        """A report of costs by day and model, as an option of the verb: (day, model, dollars)."""
        buckets = []
        for day in sorted({day for day, _, _ in rows}):
            start = (self.days.first + day) * 86_400
            results = [
                {"amount": {"value": f"#{cost}#", "currency": "usd"}, "line_item": f"{model}-2025-08-07, input"}
                for at, model, cost in rows
                if at == day
            ]
            buckets.append({"start_time": start, "end_time": start + 86_400, "results": results})
        text = json.dumps({"data": buckets, "has_more": False}).replace('"#', "").replace('#"', "")
        return f"openai-costs={self.file(text)}"

    def responses(self, *rows: tuple[int, str, str]) -> str:
        """A CSV of responses, as an option of the verb: (day, id, dollars)."""
        lines = ["date,generation,model,cost", *(f"{self.day(day)},{id},gpt-5,{cost}" for day, id, cost in rows)]
        return f"csv={self.file(chr(10).join(lines) + chr(10))}"

    def mapping(self) -> Path:
        """The mapping of such a CSV."""
        return self.file("{day: date, id: generation, model: model, amount: cost}")

    def run(self, *arguments: object, key: str | None = None, period: tuple[int, int] = (0, 1)) -> Result:
        """The verb, about ``period`` (first and last day), as finance."""
        environment = {"BURSAR_API_KEY": key or self.finance, "BURSAR_URL": "http://bursar.test"}
        given = [str(one) for one in arguments]
        return CliRunner().invoke(command, ["--period", self.period(*period), *given], env=environment)

    def said(self, *arguments: object, period: tuple[int, int] = (0, 1)) -> dict[str, Any]:
        """What the verb says as JSON, whatever its status below 2."""
        result = self.run("--format", "json", "--yes", *arguments, period=period)
        assert result.exit_code in (0, 1), result.output
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    def verified(self) -> None:
        """Verify must find nothing."""
        (report,) = verify_books(self.app.database_url)
        assert report.verified, [difference.sentence() for difference in report.differences]


def kinds(said: dict[str, Any]) -> list[tuple[str, str]]:
    """Kind and amount of each difference."""
    return [(one["kind"], one["difference"]) for one in said["differences"]]
