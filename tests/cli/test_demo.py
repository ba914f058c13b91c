"""`bursar demo`: its plan, its own arithmetic, and the whole of it against a real server."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from ledger.cli.demo.calls import DemoError
from ledger.cli.demo.plan import FROZEN_AGENT, SCENES, SHARES, make_plan
from ledger.cli.demo.purse import Purse
from ledger.cli.demo.report import aligned, shown
from ledger.cli.demo.server import bursar_command

FEW_TASKS = "50"


def test_the_same_seed_makes_the_same_day() -> None:
    """And another seed another one."""
    assert make_plan(seed=3, tasks_per_agent=60) == make_plan(seed=3, tasks_per_agent=60)
    assert make_plan(seed=3, tasks_per_agent=60) != make_plan(seed=4, tasks_per_agent=60)


@pytest.mark.parametrize("seed", range(5))
def test_every_day_has_every_scene_and_budgets_that_fit_their_parents(seed: int) -> None:
    """Whatever the seed: five agents, each scene for each agent, and no allocation above what the parent has."""
    plan = make_plan(seed=seed, tasks_per_agent=250)
    assert len(plan.agents) == 5
    for agent in plan.agents:
        kinds = {task.kind for task in agent.tasks}
        assert set(SCENES.values()) <= kinds
        assert ("frozen" in kinds) == (agent.name == FROZEN_AGENT)
        assert all(task.worst > 0 and task.actual > 0 for task in agent.tasks)
        assert max(task.worst for task in agent.tasks) < agent.allocated
    assert set(SHARES) <= {task.kind for agent in plan.agents for task in agent.tasks}
    for team, amount in plan.team_allocations.items():
        assert sum(agent.allocated for agent in plan.agents if agent.team == team) <= amount
    assert sum(plan.team_allocations.values()) <= plan.organization_allocation


def test_a_purse_follows_holds_settlements_and_returns() -> None:
    """A hold of 10 out of 100, settled 4 in part, then 9 in the end: an overrun of 3."""
    purse = Purse("research", Decimal(100))
    purse.hold(Decimal(10))
    left = purse.settle(Decimal(4), held=Decimal(10), final=False)
    assert (left, purse.available, purse.held, purse.spent) == (6, 90, 6, 4)
    assert purse.settle(Decimal(9), held=left, final=True) == 0
    assert (purse.available, purse.held, purse.spent) == (87, 0, 13)
    purse.hold(Decimal(80))
    assert purse.verdict(Decimal(7)) is None
    assert purse.verdict(Decimal(8)) == "budget_held"
    assert purse.verdict(Decimal(8), own=Decimal(80)) == "insufficient_budget"
    assert purse.verdict(Decimal(88)) == "insufficient_budget"
    purse.give_back(Decimal(80))
    assert (purse.available, purse.held) == (87, 0)


def test_a_purse_that_differs_from_the_server_ends_the_demo() -> None:
    """To the last digit."""
    money = {name: {"amount": "1.00", "currency": "USD"} for name in ("available", "held", "spent")}
    purse = Purse("research", Decimal(1), Decimal(1), Decimal(1))
    purse.compare(money)
    money["spent"] = {"amount": "1.000000001", "currency": "USD"}
    with pytest.raises(DemoError, match=r"spent 1\.000000001"):
        purse.compare(money)


def test_amounts_stand_with_their_points_one_below_the_other() -> None:
    """Exact digits, however many; an empty cell stays empty."""
    header, lines = aligned("spent", [shown(Decimal("12.5")), "", shown(Decimal("0.000000001")), shown(Decimal(0))])
    assert header == "       spent"
    assert lines == ["12.50       ", "            ", " 0.000000001", " 0.00       "]


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def demo(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`bursar demo` in that directory, on a free port."""
    command = [*bursar_command(), "demo", "--directory", str(directory), "--port", str(free_port())]
    return subprocess.run(
        [*command, "--tasks", FEW_TASKS, *arguments],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_the_demo_runs_twice_in_one_directory_and_leaves_a_server_that_works(tmp_path: Path) -> None:
    """The first run stops its server; the second opens a book of its own beside, and its curl lines work."""
    first = demo(tmp_path, "--exit", "--seed", "5")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "\x1b" not in first.stdout
    for text in ("Book demo opened", "Trial balance", "Refused, and why", "budget_held", "agent_frozen", "was stopped"):
        assert text in first.stdout
    assert re.search(r"verified: \d+ records", first.stdout)
    second = demo(tmp_path)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "Book demo-2 opened" in second.stdout
    stop = re.search(r"^Stop it with: kill (\d+)$", second.stdout, re.MULTILINE)
    assert stop is not None
    try:
        for url, key in re.findall(r"curl -s '?(http://\S+?)'? -H 'Authorization: Bearer (\S+)'$", second.stdout, re.M):
            answer = httpx.get(url, headers={"authorization": f"Bearer {key}"}, trust_env=False)
            assert answer.status_code == 200, (url, answer.text)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(stop.group(1)), signal.SIGTERM)


def test_a_port_that_is_taken_is_one_sentence(tmp_path: Path) -> None:
    """Status 1, and the option to change."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        command = [*bursar_command(), "demo", "--directory", str(tmp_path), "--port", port]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert f"port {port} is taken: choose another --port" in ended.stderr
    assert ended.stderr.count("\n") == 1
