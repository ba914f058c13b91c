"""Asking a Bursar server over HTTP, and insisting on the answer.

Owns retries and the comparison of an answer with what was expected. Invariant: an answer other than the expected one
ends the demo with a sentence that shows both; a 503 or a lost connection is repeated with the same Idempotency-Key, a
bounded number of times.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from types import TracebackType
from typing import Any

import httpx

from ledger.cli.demo.plan import CURRENCY

ATTEMPTS_MAX = 20
TIMEOUT_SECONDS = 30.0


class DemoError(Exception):
    """Something is not as it must be."""


def money(amount: Decimal) -> dict[str, str]:
    """An amount as requests carry it."""
    return {"amount": format(amount, "f"), "currency": CURRENCY}


def amount_of(value: Mapping[str, str]) -> Decimal:
    """The amount that an answer carries."""
    return Decimal(value["amount"])


class Calls:
    """One client with one key. Counts what was refused, with the first sentence of each code."""

    def __init__(self, base_url: str, key: str) -> None:
        self._client = httpx.Client(
            base_url=base_url, headers={"authorization": f"Bearer {key}"}, timeout=TIMEOUT_SECONDS, trust_env=False
        )
        self.requests = 0
        self.refused: Counter[tuple[int, str]] = Counter()
        self.sentences: dict[str, str] = {}

    def __enter__(self) -> Calls:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, path: str, **query: str | int) -> Any:
        """The JSON of a page that must be there. Raises DemoError."""
        response = self._send("GET", path, None, None, query)
        return self._checked(response, path, status=200, code=None)

    def post(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str,
        status: int,
        code: str | None = None,
        replayed: bool = False,
    ) -> Any:
        """The JSON of an answer that must have this HTTP status, this problem code and this mark of a replay.

        Raises DemoError where it has not.
        """
        response = self._send("POST", path, body, key, {})
        answer = self._checked(response, path, status=status, code=code)
        if (response.headers.get("idempotency-replayed") == "true") != replayed:
            raise DemoError(f"POST {path} with key {key}: expected replayed to be {replayed}, and it was not")
        if response.status_code == 429 and "retry-after" not in response.headers:
            raise DemoError(f"POST {path}: a 429 came without Retry-After")
        if code is not None:
            self.refused[response.status_code, code] += 1
            self.sentences.setdefault(code, answer["detail"])
        return answer

    def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None, key: str | None, query: Mapping[str, str | int]
    ) -> httpx.Response:
        headers = {} if key is None else {"idempotency-key": key}
        problem = "no answer"
        for attempt in range(ATTEMPTS_MAX):
            if attempt:
                time.sleep(0.05 * attempt)
            self.requests += 1
            try:
                response = self._client.request(
                    method, path, json=body if method == "POST" else None, headers=headers, params=dict(query)
                )
            except httpx.TransportError as error:
                problem = f"{type(error).__name__} {error}".strip()
                continue
            if response.status_code != 503:
                return response
            problem = response.text
        raise DemoError(f"{method} {path}: no answer after {ATTEMPTS_MAX} attempts: {problem}")

    @staticmethod
    def _checked(response: httpx.Response, path: str, *, status: int, code: str | None) -> Any:
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if response.status_code == status and isinstance(answer, dict) and (status < 400 or answer.get("code") == code):
            return answer
        expected = f"{status} {code}" if code else str(status)
        raise DemoError(f"{path}: expected {expected}, got {response.status_code}: {response.text[:400]}")
