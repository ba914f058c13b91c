"""The page `docs/verify-it-yourself.md` does what it says: each of its blocks is run on a real proof."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bursar.command import bursar
from ledger.core.merkle import leaf_hash
from ledger.core.notes import parse_verifier_key
from ledger.services.ed25519 import public_pem
from ledger.storage.migrate import upgrade
from tests.services.live_world import LiveWorld
from tests.support.databases import sqlite_url

PAGE = Path(__file__).resolve().parents[2] / "docs" / "verify-it-yourself.md"
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the page takes for given."""
    made = tmp_path_factory.mktemp("yourself")
    url = sqlite_url(made)
    upgrade(url)
    world = LiveWorld(url, "acme")
    held = world.hold(world.crawler, "5", intent="prüfen")
    world.settle(world.crawler, held, "2")
    environment = {"BURSAR_DATABASE_URL": url}
    proof = CliRunner().invoke(bursar, ["prove", held], env=environment)
    assert proof.exit_code == 0
    (made / "proof.json").write_text(proof.stdout, encoding="utf-8")
    bundle = CliRunner().invoke(bursar, ["export", str(made / "acme.tar.gz")], env=environment)
    assert bundle.exit_code == 0
    listed = CliRunner().invoke(bursar, ["checkpoint", "keys", "list", "--json"], env=environment)
    key = parse_verifier_key(json.loads(listed.stdout)["verifier_key"])
    (made / "key.pem").write_text(public_pem(key.public_key), encoding="utf-8")
    world.close()
    file = Path(url.removeprefix("sqlite:///"))
    if file != made / "bursar.db":
        shutil.copy(file, made / "bursar.db")
    return made


def run(folder: Path, number: int, *, spoil: bool = False) -> subprocess.CompletedProcess[str]:
    """Run one block of the page."""
    language, source = BLOCKS[number]
    program = ["bash", "-euo", "pipefail", "-c", source] if language == "bash" else [sys.executable, "-c", source]
    if spoil:
        program = ["bash", "-c", source.replace("-in signed.txt", "-in proof.json")]
    return subprocess.run(program, cwd=folder, capture_output=True, text=True, timeout=60)


def test_the_leaf(folder: Path) -> None:
    """sha256sum gives the leaf hash."""
    record = json.loads((folder / "proof.json").read_text(encoding="utf-8"))["records"][0]["record"]
    assert run(folder, 0).stdout.split()[0] == leaf_hash(record.encode()).hex()


def test_the_root(folder: Path) -> None:
    """Twenty lines lead every record to the signed root; a changed record leads elsewhere."""
    assert len([line for line in BLOCKS[1][1].splitlines() if line.strip()]) <= 20
    lines = run(folder, 1).stdout.splitlines()
    assert [line.split()[2] for line in lines] == ["True", "True"]
    written = (folder / "proof.json").read_text(encoding="utf-8")
    (folder / "proof.json").write_text(written.replace("crawler", "crawled"), encoding="utf-8")
    try:
        assert "False" in run(folder, 1).stdout
    finally:
        (folder / "proof.json").write_text(written, encoding="utf-8")


def test_the_signature(folder: Path) -> None:
    """openssl verifies it, and not over something else."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    assert "Verified Successfully" in run(folder, 2).stdout
    assert run(folder, 2, spoil=True).returncode != 0


def test_the_whole_log(folder: Path) -> None:
    """Size and root are those of the checkpoint."""
    size, root = run(folder, 3).stdout.split()
    checkpoint = json.loads((folder / "proof.json").read_text(encoding="utf-8"))["checkpoint"].split("\n")
    assert [size, root] == checkpoint[1:3]


def test_the_bundle(folder: Path) -> None:
    """sha256sum gives the leaf of record 3, twenty lines the root in the checkpoint; not those of changed records."""
    printed = run(folder, 4).stdout.split()
    records = folder / "acme" / "records" / "000000000000.ndjson"
    written = records.read_bytes()
    assert printed[0] == leaf_hash(written.split(b"\n")[3]).hex()
    assert len([line for line in BLOCKS[5][1].splitlines() if line.strip()]) <= 20
    assert run(folder, 5).stdout == "True\n"
    records.write_bytes(written.replace(b"crawler", b"crawled", 1))
    assert run(folder, 5).stdout == "False\n"


def test_every_block_is_run() -> None:
    """A block that is added gets a test."""
    assert [language for language, _ in BLOCKS] == ["bash", "python", "bash", "python", "bash", "python"]
