"""Opening a run on the server, with a key that is good for this run only, and ending that key.

Owns what is asked of the server before and after the command. Invariants: nothing is started unless the run was
opened with its cap and the key was made for it; the key ends by itself after its time, whether or not it was revoked.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import click

from bursar.asking import CannotAsk, Refused, Remote

AMOUNT: Final = re.compile(r"[0-9]{1,19}(\.[0-9]{1,9})?")
RUN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
ROLE_AGENT: Final = "agent"
ROLE_ADMIN: Final = "admin"


class CannotStart(click.ClickException):
    """The command was not started; the message is one sentence that says why."""

    exit_code = 2


class Asked(NamedTuple):
    """What the run is to be: ``cap`` is decimal text, None for no cap; ``budget`` the one to spend from."""

    run: str
    agent: str | None
    cap: str | None
    currency: str
    budget: str | None
    ttl_seconds: int


class Opened(NamedTuple):
    """A run that is open. ``key`` is the secret that the command gets, ``key_id`` names it."""

    run: str
    agent: str
    key_id: str
    key: str


def new_run_name(command: Sequence[str]) -> str:
    """A name that nobody has used: what is run, when, and chance."""
    program = re.sub(r"[^a-z0-9]+", "-", os.path.basename(command[0]).lower()).strip("-")[:20] or "run"
    return f"{program}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def check_asked(asked: Asked) -> None:
    """Raises CannotStart for what no server would take."""
    if asked.cap is not None and (not AMOUNT.fullmatch(asked.cap) or not asked.cap.strip("0.")):
        raise CannotStart(f"--budget {asked.cap} is no amount: write it like 5.00, above zero")
    if not RUN_NAME.fullmatch(asked.run):
        raise CannotStart(f"--name {asked.run} is no name of a run: letters, digits and . _ : - after one, at most 64")


def open_run(server: Remote, asked: Asked) -> Opened:
    """Open the run with its cap and make its key. Raises CannotStart."""
    try:
        me = server.get("/v1/me")
        agent = _agent(me, asked.agent)
        if asked.budget is not None:
            _check_budget(server, asked.budget, asked.currency if asked.cap is not None else None)
        # An agent's own key stands for the agent, so that only somebody else has to name it.
        named = None if agent == _own_name(me) else agent
        cap = None if asked.cap is None else {"amount": asked.cap, "currency": asked.currency}
        server.post("/v1/runs", {"name": asked.run, "agent": named, "cap": cap})
        made = server.post(
            "/v1/keys", {"role": ROLE_AGENT, "agent": named, "run": asked.run, "ttl_seconds": asked.ttl_seconds}
        )
        return Opened(asked.run, agent, str(made["id"]), str(made["key"]))
    except (Refused, CannotAsk) as error:
        raise CannotStart(error.message) from error
    except (KeyError, TypeError, AttributeError) as error:
        raise CannotStart("the server's answer is not one of this version's; is it a Bursar server?") from error


def _own_name(me: dict[str, Any]) -> str | None:
    own = me.get("agent")
    return str(own["name"]) if me["role"] == ROLE_AGENT and own else None


def _agent(me: dict[str, Any], wanted: str | None) -> str:
    if me["role"] not in (ROLE_AGENT, ROLE_ADMIN):
        raise CannotStart(f"a key of role {me['role']} opens no runs: use an agent's own key, or an admin's")
    agent = wanted or _own_name(me)
    if agent is None:
        raise CannotStart(f"a key of role {me['role']} may run any agent: say which with --agent NAME")
    return agent


def _check_budget(server: Remote, budget: str, currency: str | None) -> None:
    found = server.get(f"/v1/budgets/{quote(budget, safe='')}")
    if currency is not None and found["currency"] != currency:
        raise CannotStart(
            f"budget {budget} is in {found['currency']} and the cap in {currency}: "
            f"add --currency {found['currency']} and an amount in it"
        )


def revoke(server: Remote, key_id: str) -> str | None:
    """End the key. None when it is ended; else a sentence that says why it could not be."""
    try:
        server.post(f"/v1/keys/{quote(key_id, safe='')}/revoke", {"reason": "the command of its run has ended"})
    except (Refused, CannotAsk) as error:
        return error.message
    return None


def settled_soon(server: Remote, run: str) -> bool:
    """Whether no call of the run holds money now; True also where the server does not tell."""
    with suppress(Refused, CannotAsk, KeyError, TypeError):
        totals = server.get(f"/v1/runs/{quote(run, safe='')}").get("totals") or ()
        return not any(total["held"]["amount"].strip("0.") for total in totals)
    return True
