"""Saying what became of a run: from a program, with and without an event loop, and from the status of a command."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bursar import CannotAsk, Refused, report_outcome, report_outcome_async
from tests.client.conftest import Run
from tests.client.scripted_server import AGENT_KEY, RUN_KEY, ScriptedServer

OUTCOME = "/v1/runs/r-1/outcome"


@pytest.fixture
def inside(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> ScriptedServer:
    """The environment that `bursar run` gives its command."""
    for name, value in (("URL", server.url), ("API_KEY", RUN_KEY), ("KEY", RUN_KEY), ("RUN", "r-1")):
        monkeypatch.setenv(f"BURSAR_{name}", value)
    return server


def test_inside_a_run_nothing_needs_to_be_named(inside: ScriptedServer) -> None:
    """The run, the server and the key are in the environment; each report is on record once."""
    report_outcome(True)
    report_outcome(False, score=0.25)
    report_outcome(True, score="0.8", run="r-2", key=AGENT_KEY, idempotency_key="mine")
    asyncio.run(report_outcome_async(True, score=1))
    first, second, last = inside.asked(OUTCOME)
    assert [seen.body for seen in (first, second, last)] == [
        {"success": True}, {"success": False, "score": "0.25"}, {"success": True, "score": "1"},
    ]  # fmt: skip
    assert first.headers["authorization"] == f"Bearer {RUN_KEY}"
    assert first.headers["idempotency-key"] != second.headers["idempotency-key"]
    (named,) = inside.asked("/v1/runs/r-2/outcome")
    assert (named.headers["authorization"], named.headers["idempotency-key"]) == (f"Bearer {AGENT_KEY}", "mine")


@pytest.mark.parametrize("score", [1.5, -0.1, 0.1234567, "a", "1e-3", float("nan"), True, "1.000001"])
def test_what_is_no_score_is_not_sent(inside: ScriptedServer, score: Any) -> None:
    """A sentence says what a score is."""
    with pytest.raises(ValueError, match="from 0 to 1"):
        report_outcome(True, score=score)
    assert inside.seen == []


def test_what_is_missing_is_said(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of `bursar run`, without a name or a key."""
    for name in ("BURSAR_RUN", "BURSAR_API_KEY", "BURSAR_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="BURSAR_RUN"):
        report_outcome(True, url=server.url, key=RUN_KEY)
    with pytest.raises(CannotAsk, match="BURSAR_API_KEY"):
        report_outcome(True, run="r-1", url=server.url)
    with pytest.raises(ValueError, match="True or False"):
        report_outcome(1, run="r-1", url=server.url, key=RUN_KEY)  # type: ignore[arg-type]
    server.refusals[OUTCOME] = (404, {"code": "not_found", "detail": "there is no run r-1"})
    with pytest.raises(Refused, match="there is no run r-1"):
        report_outcome(True, run="r-1", url=server.url, key=RUN_KEY)


@pytest.mark.parametrize(("command", "success"), [(("true",), True), (("sh", "-c", "exit 3"), False)])
def test_the_status_of_a_command_is_what_became_of_its_run(
    server: ScriptedServer, run: Run, command: tuple[str, ...], success: bool
) -> None:
    """With the caller's own key, after the run's key has ended; the status stays the command's."""
    done = run("--name", "r-1", "--outcome-from-exit", "--", *command, key=AGENT_KEY)
    assert done.returncode == (0 if success else 3)
    (said,) = server.asked(OUTCOME)
    assert (said.body, said.headers["authorization"]) == ({"success": success}, f"Bearer {AGENT_KEY}")
    assert [seen.path for seen in server.seen].index(OUTCOME) > [seen.path for seen in server.seen].index(
        "/v1/keys/key_7/revoke"
    )


def test_nothing_is_said_unless_it_is_asked_for(server: ScriptedServer, run: Run) -> None:
    """And where the server refuses it, a sentence says so, and the status is the command's."""
    run("--name", "r-1", "--", "true")
    assert server.asked(OUTCOME) == []
    server.refusals[OUTCOME] = (404, {"code": "not_found", "detail": "there is no run r-1"})
    done = run("--name", "r-1", "--outcome-from-exit", "--", "sh", "-c", "exit 5")
    assert done.returncode == 5
    assert "the outcome of run r-1 could not be reported: there is no run r-1" in done.stderr
