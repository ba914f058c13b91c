"""Saying what became of a run: for programs that know it, inside `bursar run` or anywhere.

Invariants: what is not given is taken from the environment that `bursar run` makes; a report is sent again, with the
same Idempotency-Key, while the server says to ask again, and is on record once however often it was sent; the key is
never printed.
"""

from __future__ import annotations

import asyncio
import os
import re
from typing import Any, Final
from urllib.parse import quote

from bursar.asking import DEFAULT_URL, CannotAsk, remote

SCORE: Final = re.compile(r"(0|1)(\.[0-9]{1,6})?")
RUN_VARIABLE: Final = "BURSAR_RUN"
KEY_VARIABLES: Final = ("BURSAR_API_KEY", "BURSAR_KEY")
URL_VARIABLE: Final = "BURSAR_URL"


def report_outcome(
    success: bool,
    *,
    score: float | str | None = None,
    run: str | None = None,
    url: str | None = None,
    key: str | None = None,
    idempotency_key: str | None = None,
) -> dict[str, Any]:
    """Say whether a run succeeded, and how well: ``score`` is from 0 to 1 with at most six digits after the point. What
    is on record, as the server answers it. The last report of a run counts.

    ``run``, ``url`` and ``key`` are those of `bursar run` where they are not given. Raises ValueError for what no
    server would take, Refused for what this one does not, CannotAsk where it cannot be asked.
    """
    body = {"success": _checked(success), "score": _score(score)}
    path = f"/v1/runs/{quote(_run(run), safe='')}/outcome"
    with remote(url or os.environ.get(URL_VARIABLE) or DEFAULT_URL, key or _key()) as server:
        answer: dict[str, Any] = server.post(path, body, idempotency_key=idempotency_key)
    return answer


async def report_outcome_async(
    success: bool,
    *,
    score: float | str | None = None,
    run: str | None = None,
    url: str | None = None,
    key: str | None = None,
    idempotency_key: str | None = None,
) -> dict[str, Any]:
    """The same for programs with an event loop, which goes on meanwhile; a report that was begun is sent even if who
    waits for it is cancelled."""
    return await asyncio.to_thread(
        report_outcome, success, score=score, run=run, url=url, key=key, idempotency_key=idempotency_key
    )


def _checked(success: bool) -> bool:
    if not isinstance(success, bool):
        raise ValueError("success is True or False")
    return success


def _score(score: float | str | None) -> str | None:
    if score is None:
        return None
    text = score if isinstance(score, str) else f"{score:.12f}".rstrip("0").rstrip(".")
    if isinstance(score, bool) or SCORE.fullmatch(text) is None or float(text) > 1:
        raise ValueError(
            f"{score!r} is no score: it is from 0 to 1, with at most 6 digits after the point, such as 0.8"
        )
    return text


def _run(run: str | None) -> str:
    named = run or os.environ.get(RUN_VARIABLE)
    if not named:
        raise ValueError(f"name the run, as run= or {RUN_VARIABLE}; bursar run sets it")
    return named


def _key() -> str:
    for name in KEY_VARIABLES:
        if os.environ.get(name):
            return os.environ[name]
    raise CannotAsk(f"no key was given: as key= or {KEY_VARIABLES[0]}; bursar run sets it")
