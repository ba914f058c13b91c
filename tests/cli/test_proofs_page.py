"""The page `docs/proofs.md` does what it says: each command of its blocks is run, on a real book and a server of it."""

from __future__ import annotations

import re
import shlex
import string
from pathlib import Path

import pytest
from click.testing import CliRunner

from bursar.command import bursar
from ledger.cli import prove as prove_verb
from ledger.cli import witness as witness_verb
from tests.support.databases import sqlite_url
from tests.support.running_app import RunningApp, authorization, usd
from tests.support.transport import remote_to

PAGE = Path(__file__).resolve().parents[2] / "docs" / "proofs.md"
BLOCKS = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line]
URL = "https://ledger.example.com"


def test_every_command_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, in an empty folder, with status 0; what is written to a file is the next one's input."""
    assert len(COMMANDS) > 10
    assert all(line.startswith("bursar ") for line in COMMANDS)
    monkeypatch.chdir(tmp_path)
    with RunningApp(sqlite_url(tmp_path)) as app:
        crawler = app.make_agent("crawler", budget="research")
        spent = app.make("/v1/authorizations", authorization("1.00"), key=crawler)
        settled = app.post(f"/v1/authorizations/{spent['id']}/settle", {"amount": usd("0.50")}, key=crawler)
        assert settled.status == 200
        for verb in (witness_verb, prove_verb):
            monkeypatch.setattr(verb, "remote", remote_to({URL: app}))
        known = {"AUTHORIZATION": spent["id"]}
        environment = {"BURSAR_DATABASE_URL": app.database_url, "BURSAR_API_KEY": app.admin_key}
        for command in COMMANDS:
            if "$VKEY" in command:
                known["VKEY"] = app.get("/v1/checkpoints/key").json["verifier_key"]
            typed, _, file = string.Template(command).substitute(known).partition(" > ")
            arguments = [re.sub("^12:0$", f"{spent['log']['index']}:0", word) for word in shlex.split(typed)[1:]]
            result = CliRunner().invoke(bursar, arguments, env=environment)
            assert result.exit_code == 0, (command, result.output, result.exception)
            if file:
                (tmp_path / file).write_text(result.stdout, encoding="utf-8")
        served = app.get("/v1/checkpoints/latest").json
        assert [one["name"] for one in served["cosignatures"]] == ["w.example.com"]
