"""The README's first authorization, run as it stands: a page that shows commands must show commands that work."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# The server of the page ends with the page, also where a line of it fails.
PRELUDE = """
set -eu -o pipefail
trap 'kill ${SERVER:-} 2> /dev/null || true; wait' EXIT
"""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.skipif(shutil.which("curl") is None, reason="the README's lines use curl")
def test_the_first_authorization_of_the_readme_works(tmp_path: Path) -> None:
    """Each block in order, in one shell, in an empty directory; what the page promises is what is printed."""
    blocks = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(blocks) >= 8
    binaries = Path(sys.executable).parent
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("BURSAR_")},
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "PORT": str(free_port()),
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    ended = subprocess.run(
        ["bash", "-c", PRELUDE + "\n".join(blocks)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    printed = ended.stdout
    assert ended.returncode == 0, printed + ended.stderr
    assert re.search(r"^held by auth_[0-9a-z]{26}$", printed, re.MULTILINE)
    assert '"state":"settled"' in printed
    assert '"code":"insufficient_budget"' in printed
    assert "denied\n" in printed
    assert '"spent":{"amount":"0.0312","currency":"USD"}' in printed
    assert '"available":{"amount":"99.9688","currency":"USD"}' in printed
    assert "verified" in printed
    assert re.search(r'"type":"permission_error","param":null,"code":"(price_unknown|provider_key_missing)"', printed)
    assert (tmp_path / "bursar.db").exists()


def test_the_index_of_the_documentation_names_every_page() -> None:
    """A page that nobody finds is not there."""
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = sorted(path.name for path in (ROOT / "docs").glob("*.md") if path.name != "README.md")
    assert [name for name in pages if f"]({name})" not in index] == []
    decisions = (ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    records = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert [name for name in records if f"]({name})" not in decisions] == []
    assert [int(name[:4]) for name in records] == list(range(1, len(records) + 1))
