"""A scripted server, and `bursar run` as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.client.scripted_server import ADMIN_KEY, ScriptedServer

BURSAR = str(Path(sys.executable).parent / "bursar")
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server that answers what the client asks."""
    scripted = ScriptedServer()
    yield scripted
    scripted.close()


def environment(server: ScriptedServer, key: str = ADMIN_KEY, **more: str) -> dict[str, str]:
    """What a caller's environment has: no variable of Bursar but the two, no proxy."""
    mine = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("BURSAR_") and not name.lower().endswith("_proxy")
    }
    return {**mine, "BURSAR_URL": server.url, "BURSAR_API_KEY": key, **more}


@pytest.fixture
def run(server: ScriptedServer, tmp_path: Path) -> Run:
    """`bursar run OPTIONS -- COMMAND` to its end, as an admin for the agent crawler unless told otherwise."""

    def run_command(
        *arguments: str, key: str = ADMIN_KEY, stdin: str = "", **more: str
    ) -> subprocess.CompletedProcess[str]:
        who = ["--agent", "crawler"] if key == ADMIN_KEY else []
        return subprocess.run(
            [BURSAR, "run", *who, *arguments],
            env=environment(server, key, **more),
            cwd=tmp_path,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run_command
