"""The page `docs/backup.md` does what it says: its commands are run, in order, on a real book."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.storage.migrate import upgrade
from tests.services.live_world import LiveWorld
from tests.support.bundles import prove
from tests.support.databases import sqlite_url

PAGE = Path(__file__).resolve().parents[2] / "docs" / "backup.md"
BLOCKS = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def world(tmp_path: Path) -> LiveWorld:
    """The book that the page takes for given."""
    url = sqlite_url(tmp_path)
    upgrade(url)
    made = LiveWorld(url, "acme")
    made.settle(made.crawler, made.hold(made.crawler, "5", intent="summarize"), "2")
    return made


def run(folder: Path, block: str) -> str:
    """What a block prints; it must succeed."""
    binaries = Path(sys.executable).parent
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BURSAR_")}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=folder,
        env=environment | {"PATH": f"{binaries}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_block(world: LiveWorld, tmp_path: Path) -> None:
    """Export, verify, a span behind it, and a database that is the same book."""
    export, verify, span, restore = BLOCKS
    assert "SHA-256 of the archive" in run(tmp_path, export)
    assert "acme: books verified: " in run(tmp_path, verify)
    before, after = span.split("# … agents at work …\n")
    size = run(tmp_path, before + 'echo "$SIZE"').strip()
    assert int(size) == world.size()
    world.settle(world.crawler, world.hold(world.crawler, "3", intent="more"), "3")
    world.close()
    printed = run(tmp_path, before + after)
    assert f"acme: records {size} to {world.size() - 1}, root " in printed
    assert f"acme: books verified: {world.size()} records" in printed
    assert f"acme: imported {world.size()} records" in run(tmp_path, restore)
    assert prove(f"sqlite:///{tmp_path / 'restored.db'}").root == prove(world.url).root
