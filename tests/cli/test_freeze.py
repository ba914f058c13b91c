"""`bursar freeze` and `unfreeze`: everything can be stopped with nothing but the database."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bursar.command import bursar
from ledger.core.command_budgets import CloseBudget
from ledger.services.verify import verify_books
from ledger.storage.migrate import upgrade
from tests.services.live_world import Desk, LiveWorld


@pytest.fixture
def world(database_url: str) -> Any:
    """A book with an agent and money, on either database; it must verify at the end."""
    upgrade(database_url)
    made = LiveWorld(database_url, "acme")
    made.agent("lab", kind="team")
    yield made
    made.close()
    (report,) = verify_books(database_url, book="acme")
    assert report.verified


def run(world: LiveWorld, *arguments: str) -> Result:
    """The command on the world's database, as an operator would type it."""
    return CliRunner().invoke(bursar, arguments, env={"BURSAR_DATABASE_URL": world.url})


@pytest.mark.parametrize(
    ("what", "code", "said"),
    [
        (("--agent", "crawler"), "agent_frozen", "agent crawler"),
        (("--budget", "research"), "budget_frozen", "budget research"),
        (("--book",), "book_frozen", "book acme"),
    ],
    ids=["agent", "budget", "book"],
)
def test_it_stops_and_lets_go_on(world: LiveWorld, what: tuple[str, ...], code: str, said: str) -> None:
    """Under a running server, whose next decision knows it; on record with who did it and why."""
    with Desk(world) as desk:
        assert desk.say(world.ask("1")) == ["approved"]
        stopped = run(world, "freeze", *what, "--reason", "it loops")
        assert (stopped.exit_code, stopped.stderr) == (0, "")
        assert stopped.stdout.startswith(f"In book acme, {said} is frozen; record ")
        assert desk.say(world.ask("1")) == [code]
        again = run(world, "freeze", *what, "--reason", "it loops", "--json")
        assert (again.exit_code, json.loads(again.stdout)["already"]) == (0, True)
        gone = run(world, "unfreeze", *what, "--reason", "mended", "--json")
        assert gone.exit_code == 0
        assert json.loads(gone.stdout) == {
            "book": "acme", "what": said, "frozen": False, "already": False, "log_index": world.size() - 1,
        }  # fmt: skip
        assert desk.say(world.ask("1")) == ["approved"]
    records = [one for one in world.recorded().log if one.kind.endswith("freeze")]
    assert [one.body["by"] for one in records] == [{"principal": "system:database-owner"}] * 2
    assert all(len(one.body["request"]["reason"]) == 64 for one in records)


def test_a_team_is_stopped_by_its_name(world: LiveWorld) -> None:
    """Teams are agents' parents, and share their names."""
    assert run(world, "freeze", "--agent", "lab", "--reason", "all of them").exit_code == 0


WRONG: tuple[tuple[tuple[str, ...], str], ...] = (
    (("freeze", "--reason", "why"), "name one thing"),
    (("freeze", "--book", "--agent", "crawler", "--reason", "why"), "name one thing"),
    (("freeze", "--book", "--reason", "  "), "give a --reason"),
    (("freeze", "--book"), "--reason"),
    (("unfreeze", "--book"), "--reason"),
    (("freeze", "--agent", "nobody", "--reason", "why"), "there is no agent or team nobody"),
    (("freeze", "--budget", "nothing", "--reason", "why"), "there is no budget nothing"),
    (("freeze", "--book", "--in", "globex", "--reason", "why"), 'there is no book "globex"'),
)


@pytest.mark.parametrize(("arguments", "said"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_what_cannot_be(world: LiveWorld, arguments: tuple[str, ...], said: str) -> None:
    """One sentence, status 2, and nothing on record."""
    size = world.size()
    result = run(world, *arguments)
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr
    assert world.size() == size


def test_a_closed_budget_is_not_frozen(world: LiveWorld) -> None:
    """It says since when it is closed, and does not pretend."""
    world.do(CloseBudget, world.admin, budget="research")
    result = run(world, "freeze", "--budget", "research", "--reason", "why")
    assert (result.exit_code, "was closed at" in result.stderr) == (2, True)
