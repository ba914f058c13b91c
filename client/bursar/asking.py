"""Asking a Bursar server over HTTP, for verbs that work with a key and need no database.

Owns the options ``--url`` and ``--key`` and the sentences of what goes wrong. Invariants: a request that changes the
book carries an Idempotency-Key, a new one unless its verb gives one, and is repeated with that same key while the
server says to ask again; the key of whoever asks is never printed; of an answer no more is read than fits in memory,
and nothing is shown that could control a terminal. A verb ends with 1 when the server refuses, and with 2 when it
cannot be asked.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import click
import httpx

ATTEMPTS_MAX: Final = 5
RETRY_SECONDS_MAX: Final = 5.0
TIMEOUT_SECONDS: Final = 30.0
DOWNLOAD_TIMEOUT_SECONDS: Final = 360.0
"""For a file to begin: a long statement is set as a PDF, or made a workbook, before its first byte."""
PAGE_ITEMS: Final = 200
ANSWER_BYTES_MAX: Final = 32 * 1024 * 1024
"""More than any answer to a verb has, unpacked."""
DEFAULT_URL: Final = "http://127.0.0.1:8000"
Verb = TypeVar("Verb", bound=Callable[..., Any])


def remote_options(verb: Verb) -> Verb:
    """The options that say which server, and who asks."""
    with_key = click.option(
        "--key", required=True, envvar=["BURSAR_API_KEY", "BURSAR_KEY"], metavar="KEY",
        help="Your own key; better given as BURSAR_API_KEY, which the list of processes does not show.",
    )  # fmt: skip
    with_url = click.option(
        "--url", default=DEFAULT_URL, show_default=True, envvar="BURSAR_URL", metavar="URL",
        help="Where the server is.",
    )  # fmt: skip
    return with_url(with_key(verb))


class CannotAsk(click.ClickException):
    """The server could not be asked, or did not answer as a Bursar server does."""

    exit_code = 2


class Refused(click.ClickException):
    """The server answered with a problem."""

    exit_code = 1

    def __init__(self, problem: dict[str, Any]) -> None:
        self.code = str(problem.get("code", ""))
        super().__init__(_plain(f"{problem.get('detail', problem.get('title', 'the server refused'))} ({self.code})"))


def _plain(text: str) -> str:
    """Text of a server as it can be shown, whoever wrote it."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


class Download:
    """The bytes of an answer, to be gone through once, and what its headers say."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        return self._response.iter_bytes()

    def header(self, name: str) -> str:
        """What a header says, as it can be shown; empty where it is not there."""
        return _plain(self._response.headers.get(name, ""))


class Remote:
    """A server, asked with one key. A request is sent ``attempts_max`` times at most."""

    def __init__(self, client: httpx.Client, *, attempts_max: int = ATTEMPTS_MAX) -> None:
        self._client = client
        self._attempts_max = attempts_max

    def get(self, path: str, **query: str | int | bool) -> Any:
        """The JSON of an answer. Raises Refused or CannotAsk."""
        return self._send("GET", path, None, query)

    def items(self, path: str, *, limit: int, **query: str | int | bool) -> list[Any]:
        """The first ``limit`` items of a list, over as many pages as it takes."""
        found: list[Any] = []
        while len(found) < limit:
            page = self.get(path, limit=min(PAGE_ITEMS, limit - len(found)), **query)
            found += page["items"]
            if page["next_cursor"] is None:
                break
            query["cursor"] = page["next_cursor"]
        return found

    def pages(self, path: str, **query: str | int | bool) -> Iterator[list[Any]]:
        """Every page of a list, one after the other, so that no list is too long."""
        while True:
            page = self.get(path, limit=PAGE_ITEMS, **query)
            yield page["items"]
            if page["next_cursor"] is None:
                return
            query["cursor"] = page["next_cursor"]

    @contextmanager
    def download(self, path: str, **query: str | int | bool) -> Iterator[Download]:
        """The bytes of an answer as they come, however many. Raises Refused or CannotAsk, also while they are read when
        the server ends before it is done."""
        patient = httpx.Timeout(TIMEOUT_SECONDS, read=DOWNLOAD_TIMEOUT_SECONDS)
        for attempt in range(1, self._attempts_max + 1):
            try:
                with self._client.stream("GET", path, params=query, timeout=patient) as response:
                    if response.status_code < 400:
                        yield Download(response)
                        return
                    response.read()
                    if response.status_code != 503 or attempt == self._attempts_max:
                        _content(response, response.content)
            except httpx.TransportError as error:
                raise CannotAsk(
                    f"{self._client.base_url} did not answer to the end: {error or type(error).__name__}"
                ) from error
            time.sleep(_told_seconds(response))
        raise CannotAsk("the server did not answer")

    def post(self, path: str, body: dict[str, Any], *, idempotency_key: str | None = None) -> Any:
        """Have something changed; what is None in ``body`` is left out. A key that the caller gives makes a later run
        of the same verb a repetition of this request. Raises Refused or CannotAsk."""
        said = {name: value for name, value in body.items() if value is not None}
        return self._send("POST", path, said, {}, idempotency_key or uuid.uuid4().hex)

    def _send(
        self, method: str, path: str, body: Any, query: dict[str, Any], idempotency_key: str | None = None
    ) -> Any:
        headers = {"idempotency-key": idempotency_key} if idempotency_key is not None else {}
        for attempt in range(1, self._attempts_max + 1):
            last = attempt == self._attempts_max
            try:
                with self._client.stream(method, path, json=body, params=query, headers=headers) as response:
                    told = _read(response)
            except httpx.TransportError as error:
                if last or isinstance(error, httpx.ConnectError):
                    raise CannotAsk(
                        f"{self._client.base_url} cannot be reached: {error or type(error).__name__}"
                    ) from error
                time.sleep(min(0.2 * attempt, RETRY_SECONDS_MAX))
                continue
            except httpx.HTTPError as error:
                raise CannotAsk(f"{self._client.base_url} answers what cannot be read: {error}") from error
            if response.status_code != 503 or last:
                return _content(response, told)
            time.sleep(_told_seconds(response))
        raise CannotAsk("the server did not answer")


def _told_seconds(response: httpx.Response) -> float:
    """How long the server asks to wait, at most RETRY_SECONDS_MAX; one second where it says nothing that is known."""
    told = response.headers.get("retry-after", "")
    return min(float(told), RETRY_SECONDS_MAX) if told.isascii() and told.isdigit() else 1.0


def _read(response: httpx.Response) -> bytes:
    """The body, unpacked. Raises CannotAsk for one that is too long."""
    body = bytearray()
    for piece in response.iter_bytes():
        body += piece
        if len(body) > ANSWER_BYTES_MAX:
            raise CannotAsk(f"{response.url} answered with more than {ANSWER_BYTES_MAX} bytes; is it a Bursar server?")
    return bytes(body)


def _content(response: httpx.Response, body: bytes) -> Any:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise CannotAsk(
            f"{response.url} answered {response.status_code} with what is not JSON; is it a Bursar server?"
        ) from error
    if response.status_code >= 400:
        raise Refused(content if isinstance(content, dict) else {})
    return content


@contextmanager
def remote(url: str, key: str) -> Iterator[Remote]:
    """A server to be asked. Raises CannotAsk for an address or a key that cannot be one."""
    if not url.startswith(("http://", "https://")):
        raise CannotAsk(f"{url} is no address of a server; it begins with http:// or https://")
    if not key.isascii() or not key.strip():
        raise CannotAsk("the key is not one of Bursar's; it begins with bk_")
    headers = {"authorization": f"Bearer {key.strip()}"}
    with httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_SECONDS) as client:
        yield Remote(client)
