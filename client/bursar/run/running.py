"""The steps of `bursar run`, from the command line to the receipt.

Invariants: whatever happens after the key was made, it is revoked; the key of whoever called is used for asking the
server and goes no further.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

import click
import httpx

from bursar.asking import CannotAsk, Refused, Remote, remote
from bursar.run import child, receipt, sandbox
from bursar.run.environment import environment_for
from bursar.run.gateway_url import GatewayUrl, gateway_url
from bursar.run.opening import Asked, CannotStart, Opened, check_asked, new_run_name, open_run, revoke, settled_soon
from bursar.run.receipt_text import lines_of
from bursar.run.relay import Relay

LABEL: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63})=([ -~]{1,256})")
HEADER_BUDGET: Final = "x-bursar-budget"
HEADER_LABELS: Final = "x-bursar-labels"
LOOPBACK: Final = "127.0.0.1"
SETTLING_SECONDS_MAX: Final = 3.0
SETTLING_PAUSE_SECONDS: Final = 0.1
PORT_INSIDE: Final = 8000
STATUS_INTERRUPTED: Final = 130


class Plan(NamedTuple):
    """What is to be run, and how."""

    command: Sequence[str]
    gateway: GatewayUrl
    kept: Sequence[str]
    way: sandbox.Way | None
    headers: Sequence[tuple[str, str]]


def run(
    *,
    command: Sequence[str],
    cap: str | None,
    currency: str,
    agent: str | None,
    name: str | None,
    from_budget: str | None,
    labels: Sequence[str],
    sandbox: bool,
    kept: Sequence[str],
    ttl_seconds: int,
    json_receipt: str | None,
    outcome_from_exit: bool,
    url: str,
    key: str,
) -> int:
    """Run the command under a cap; the exit status. Raises click.ClickException with status 2 before it is started."""
    missing = child.what_is_missing(command[0])
    if missing is not None:
        _say(str(missing))
        return missing.status
    asked = Asked(name or new_run_name(command), agent, cap, currency, from_budget, ttl_seconds)
    check_asked(asked)
    plan = Plan(command, _gateway(url), kept, _way(sandbox), _headers(from_budget, labels))
    _check_writable(json_receipt)
    with remote(plan.gateway.text, key) as server:
        opened = open_run(server, asked)
        status: int | None = None
        try:
            status = _started(plan, opened)
        except KeyboardInterrupt:
            status = STATUS_INTERRUPTED
        finally:
            # Also where the command was never started: its key must not outlive this.
            told = _revoked(server, opened, wait=status is not None)
        if outcome_from_exit:
            _report(server, opened, success=status == 0)
        try:
            shown = receipt.read(server, opened.run)
        except (Refused, CannotAsk) as error:
            _say(f"the receipt of run {opened.run} cannot be had: {error.message}")
        except (KeyError, TypeError, KeyboardInterrupt):
            _say(f"the receipt of run {opened.run} cannot be had; GET /v1/runs/{opened.run} shows its totals")
        else:
            _print(shown, status, json_receipt)
        if told is not None:
            _say(f"the run's key {opened.key_id} could not be revoked, and ends by itself: {told}")
        return status


def _gateway(url: str) -> GatewayUrl:
    try:
        return gateway_url(url)
    except ValueError as error:
        raise CannotStart(str(error)) from error


def _way(wanted: bool) -> sandbox.Way | None:
    return sandbox.find_way() if wanted else None


def _headers(budget: str | None, labels: Sequence[str]) -> list[tuple[str, str]]:
    """The headers that tell the gateway which budget to use and what to write on each call. Raises CannotStart."""
    headers = [] if budget is None else [(HEADER_BUDGET, budget)]
    pairs: dict[str, str] = {}
    for label in labels:
        found = LABEL.fullmatch(label)
        if found is None:
            raise CannotStart(f"--label {label} is no label: write it like team=search, in plain ASCII")
        pairs[found[1]] = found[2]
    return [*headers, (HEADER_LABELS, urlencode(pairs))] if pairs else headers


def _check_writable(path: str | None) -> None:
    if path is None:
        return
    try:
        with open(path, "a", encoding="utf-8"):
            pass
    except OSError as error:
        raise CannotStart(f"--json-receipt {path} cannot be written: {error.strerror}") from error


def _started(plan: Plan, opened: Opened) -> int:
    """Run the command to its end; its status. Raises CannotStart when the sandbox cannot be made."""
    with child.signals_held() as mask:
        if plan.way is not None:
            return _in_sandbox(plan, plan.way, opened, mask)
        relay = None
        if plan.headers:
            # No client library takes further headers from the environment, so a relay puts them on.
            listener = socket.create_server((LOOPBACK, 0))
            relay = Relay(plan.gateway, listener, plan.headers)
            relay.start()
            seen = GatewayUrl("http", LOOPBACK, listener.getsockname()[1], plan.gateway.prefix)
        else:
            seen = plan.gateway
        try:
            return child.wait_for(child.start(plan.command, _environment(plan, opened, seen), mask))
        except child.CannotExecute as error:
            _say(str(error))
            return error.status
        finally:
            if relay is not None:
                relay.stop()


def _in_sandbox(plan: Plan, way: sandbox.Way, opened: Opened, mask: set[Any]) -> int:
    # Nothing else is in this network, so any port is free; the gateway's own lets its address stay what it was.
    port = plan.gateway.port if plan.gateway.port >= 1024 else PORT_INSIDE
    seen = GatewayUrl("http", LOOPBACK, port, plan.gateway.prefix)
    inside = sandbox.enter(way, plan.command, _environment(plan, opened, seen), port=port, mask=mask)
    relay = Relay(plan.gateway, inside.listener, plan.headers)
    relay.start()
    try:
        return child.wait_for(inside.pid, command_pid=inside.command_pid)
    finally:
        relay.stop()


def _environment(plan: Plan, opened: Opened, seen: GatewayUrl) -> dict[str, str]:
    return environment_for(
        os.environ, base_url=seen.text, host=seen.host, key=opened.key, run=opened.run, kept=plan.kept,
        sandboxed=plan.way is not None,
    )  # fmt: skip


def _revoked(server: Remote, opened: Opened, *, wait: bool) -> str | None:
    """Give calls that are under way a moment to be settled, then end the key; a sentence when that failed."""
    try:
        deadline = time.monotonic() + SETTLING_SECONDS_MAX
        while wait and not settled_soon(server, opened.run) and time.monotonic() < deadline:
            time.sleep(SETTLING_PAUSE_SECONDS)
        return revoke(server, opened.key_id)
    except (KeyboardInterrupt, httpx.HTTPError) as error:
        return type(error).__name__


def _report(server: Remote, opened: Opened, *, success: bool) -> None:
    """Say what became of the run, with the caller's own key; a sentence when that failed."""
    try:
        server.post(f"/v1/runs/{quote(opened.run, safe='')}/outcome", {"success": success})
    except (Refused, CannotAsk) as error:
        _say(f"the outcome of run {opened.run} could not be reported: {error.message}")
    except KeyboardInterrupt:
        _say(f"the outcome of run {opened.run} was not reported")


def _print(shown: dict[str, Any], status: int, path: str | None) -> None:
    for line in lines_of(shown, status=status):
        click.echo(line, err=True)
    if path is None:
        return
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(json.dumps({**shown, "status": status}, indent=2) + "\n")
    except OSError as error:
        _say(f"the receipt could not be written to {path}: {error.strerror}")


def _say(sentence: str) -> None:
    click.echo(f"bursar run: {sentence}", err=True)
