"""Witnesses: what extends is taken and cosigned; a fork, a rollback and a false signature are shouted about."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bursar.command import bursar
from ledger.cli import witness as witness_verb
from ledger.services.ed25519 import SigningPair
from ledger.services.witness_state import StateUnusable, WitnessState, read_state, write_state
from ledger.services.witnessing import Alarm, Witness, compare
from tests.support.databases import sqlite_url
from tests.support.running_app import RunningApp, authorization
from tests.support.transport import AppServer, Change, remote_to

TRUE, FALSE = "https://ledger.example.com", "https://ledger.example.net"


class _Copy(RunningApp):
    """An app on a copied database, whose book is there already."""

    def __init__(self, database_url: str, admin_key: str) -> None:
        self._key = admin_key
        super().__init__(database_url)

    def open_book(self, name: str) -> str:
        """Not opened again."""
        return self._key


class Forked:
    """A book, and a copy of it that went another way from the same beginning, signed with the same key."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.true = RunningApp(sqlite_url(directory)).__enter__()
        self.crawler = self.true.make_agent("crawler", budget="research")
        self.spend(self.true)
        self.true.post("/v1/checkpoints")
        copied = directory / "copy"
        copied.mkdir()
        url = sqlite_url(copied)
        source = sqlite3.connect(_file(self.true.database_url))
        target = sqlite3.connect(_file(url))
        source.backup(target)
        source.close()
        target.close()
        self.false = _Copy(url, self.true.admin_key).__enter__()

    def spend(self, app: RunningApp, amount: str = "1.00", *, times: int = 1) -> None:
        """More records in one of the two."""
        for _ in range(times):
            app.make("/v1/authorizations", authorization(amount), key=self.crawler)

    def checkpoint(self, app: RunningApp) -> int:
        """Sign one of the two as it is now; its size."""
        answer = app.post("/v1/checkpoints")
        assert answer.status == 201, answer.json
        return int(answer.json["size"])

    def close(self) -> None:
        """End both."""
        for app in (self.true, self.false):
            app.__exit__()


def _file(url: str) -> str:
    return url.removeprefix("sqlite:///")


@pytest.fixture
def forked(tmp_path: Path) -> Iterator[Forked]:
    """Two servers that tell two stories."""
    made = Forked(tmp_path)
    yield made
    made.close()


def watching(app: RunningApp) -> Witness:
    """A witness that has looked at a server once."""
    made = Witness(AppServer(app), WitnessState())
    made.trust_first()
    made.look()
    return made


def test_a_log_that_grows_is_taken(forked: Forked) -> None:
    """Step by step, and when nothing happened."""
    witness = watching(forked.true)
    sizes = []
    for times in (0, 1, 5):
        forked.spend(forked.true, times=times)
        forked.checkpoint(forked.true)
        sizes.append(witness.look()[0].size)
    assert sizes == [sizes[0], sizes[0] + 1, sizes[0] + 6]
    assert [size for size, _ in witness.state.seen] == sizes
    assert witness.state.alarm is None


def test_a_fork_shown_to_one_witness(forked: Forked) -> None:
    """Having seen one branch, it does not take the other: longer, of the same size, or shorter."""
    forked.spend(forked.true, times=3)
    forked.checkpoint(forked.true)
    for times, kind in ((1, "rollback"), (2, "fork"), (2, "fork")):
        witness = watching(forked.true)
        forked.spend(forked.false, "0.50", times=times)
        forked.checkpoint(forked.false)
        seen = witness.state.note
        witness._server = AppServer(forked.false)
        with pytest.raises(Alarm) as raised:
            witness.look()
        assert raised.value.kind == kind
        assert raised.value.evidence["seen"] == seen == witness.state.note
        assert raised.value.evidence["now"] != seen
        assert witness.state.alarm == raised.value.content()


def test_a_fork_shown_to_two_witnesses(forked: Forked) -> None:
    """Each is shown a log that grows; together they know that there are two."""
    one, other = watching(forked.true), watching(forked.false)
    assert compare(one.state, other.state) is None
    forked.spend(forked.true, times=2)
    forked.spend(forked.false, "0.50", times=2)
    forked.checkpoint(forked.true)
    forked.checkpoint(forked.false)
    one.look()
    other.look()
    assert "FORK" in str(compare(one.state, other.state))
    forked.spend(forked.false, "0.50", times=3)
    forked.checkpoint(forked.false)
    late = watching(forked.false)
    with pytest.raises(LookupError, match="--url"):
        compare(one.state, late.state)
    for app in (forked.true, forked.false):
        assert "FORK" in str(compare(one.state, late.state, AppServer(app)))
    assert compare(other.state, late.state, AppServer(forked.false)) is None


def test_a_rotation_is_followed_through_the_log(forked: Forked) -> None:
    """Even when the checkpoint that both keys signed is no longer the newest; another key is not."""
    witness = watching(forked.true)
    for _ in range(2):
        assert forked.true.post("/v1/checkpoints/keys").status == 201
        forked.checkpoint(forked.true)
        forked.spend(forked.true)
        forked.checkpoint(forked.true)
    checkpoint, learned = witness.look()
    assert len(learned) == 2
    assert len(witness.state.keys) == 3
    assert checkpoint.size == forked.true.log_size()
    stranger = Witness(AppServer(forked.true), WitnessState([SigningPair.from_seed(bytes(32)).verifier("a/b")]))
    with pytest.raises(Alarm) as raised:
        stranger.look()
    assert raised.value.kind == "unknown_key"


# The command.


def run(forked: Forked, *arguments: str, change: Change | None = None) -> Result:
    """`bursar witness` against the two servers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(witness_verb, "remote", remote_to({TRUE: forked.true, FALSE: forked.false}, change))
        environment = {"BURSAR_API_KEY": forked.true.admin_key}
        return CliRunner().invoke(bursar, ["witness", *arguments], env=environment)


def test_the_command_looks_cosigns_and_remembers(forked: Forked) -> None:
    """Status 0, one line, a state file that is whole, and its signature in the note that is served."""
    state, key = forked.directory / "acme.witness", forked.directory / "witness.pem"
    assert CliRunner().invoke(bursar, ["checkpoint", "keys", "make", "--out", str(key)]).exit_code == 0
    assert key.stat().st_mode & 0o077 == 0
    signing = ("--cosign-key", str(key), "--cosign-name", "w.example.com")
    looked = run(forked, TRUE, "--state", str(state), "--once", *signing)
    assert looked.exit_code == 0, looked.output
    assert looked.stdout.startswith("ok: bursar/acme-")
    assert "trusting at first sight" in looked.stderr
    (kept,) = forked.true.get("/v1/checkpoints/latest").json["cosignatures"]
    assert kept["name"] == "w.example.com"
    printed = run(forked, TRUE, "--state", str(state), *signing, "--print")
    assert printed.stdout.count("\n— ") == 2
    assert json.loads(state.read_text(encoding="utf-8"))["alarm"] is None
    assert [path.name for path in forked.directory.iterdir() if path.name.startswith(".acme")] == []


def test_the_command_shouts(forked: Forked) -> None:
    """A fork: status 1, a line, the evidence in the file, and the command for alarms told."""
    state, told = forked.directory / "acme.witness", forked.directory / "told.json"
    forked.spend(forked.true, times=2)
    forked.checkpoint(forked.true)
    assert run(forked, TRUE, "--state", str(state)).exit_code == 0
    forked.spend(forked.false, "0.50", times=4)
    forked.checkpoint(forked.false)
    script = f"import sys; open({str(told)!r}, 'w').write(sys.stdin.read())"
    shouted = run(forked, FALSE, "--state", str(state), "--on-alarm", f'{sys.executable} -c "{script}"')
    assert shouted.exit_code == 1
    assert shouted.stderr.startswith("ALARM fork: the log of ")
    kept = read_state(state)
    assert kept is not None
    assert kept.alarm == json.loads(told.read_text(encoding="utf-8"))
    assert run(forked, TRUE, "--state", str(state)).exit_code == 0
    failing = run(forked, FALSE, "--state", str(state), "--on-alarm", "/nonexistent/command")
    assert failing.exit_code == 1
    assert "the command for alarms failed" in failing.stderr


def test_false_answers_are_told_apart(forked: Forked) -> None:
    """A changed note or proof is an alarm; an answer in another form is none."""
    state = forked.directory / "acme.witness"
    assert run(forked, TRUE, "--state", str(state)).exit_code == 0
    forked.spend(forked.true, times=3)
    size = forked.checkpoint(forked.true)

    def changed(wanted: str, change: Any) -> Change:
        return lambda path, content: change(content) if wanted in path else content

    for change, words in (
        (
            changed("latest", lambda c: c | {"note": c["note"].replace(f"\n{size}\n", f"\n{size + 1}\n")}),
            "bad_signature",
        ),
        (changed("latest", lambda c: c | {"note": "nonsense\n"}), "bad_signature"),
        (changed("consistency", lambda c: c | {"proof": c["proof"][:-1]}), "fork"),
        (changed("consistency", lambda c: c | {"proof": ["zz"]}), "fork"),
    ):
        result = run(forked, TRUE, "--state", str(state), change=change)
        assert result.exit_code == 1, result.output
        assert f"ALARM {words}: " in result.stderr
    odd = run(forked, TRUE, "--state", str(state), change=changed("latest", lambda c: {"items": []}))
    assert (odd.exit_code, "as no Bursar server does" in odd.stderr) == (2, True)
    assert run(forked, TRUE, "--state", str(state)).exit_code == 0


def test_compare_as_a_command(forked: Forked) -> None:
    """Status 0 for one log, 1 for two, 2 where it cannot be told."""
    paths = [str(forked.directory / name) for name in ("one", "other")]
    for url, path in zip((TRUE, FALSE), paths, strict=True):
        assert run(forked, url, "--state", path).exit_code == 0
    assert run(forked, "compare", *paths).exit_code == 0
    forked.spend(forked.true)
    forked.checkpoint(forked.true)
    assert run(forked, TRUE, "--state", paths[0]).exit_code == 0
    assert run(forked, "compare", *paths).exit_code == 0
    forked.spend(forked.false, "0.50", times=2)
    forked.checkpoint(forked.false)
    assert run(forked, FALSE, "--state", paths[1]).exit_code == 0
    assert run(forked, "compare", *paths).exit_code == 2
    found = run(forked, "compare", *paths, "--url", FALSE)
    assert (found.exit_code, "FORK" in found.stderr) == (1, True)
    assert run(forked, "compare", paths[0], str(forked.directory / "none")).exit_code == 2


@pytest.mark.parametrize(
    "wrong",
    [
        ("--every", "never"),
        ("--every", "60s", "--once"),
        ("--key", "nonsense"),
        ("--cosign-key", "/nonexistent.pem"),
        ("--cosign-name", "with space"),
    ],
    ids=" ".join,
)
def test_what_is_typed_wrong(forked: Forked, wrong: tuple[str, ...]) -> None:
    """Status 2 and one sentence."""
    result = run(forked, TRUE, "--state", str(forked.directory / "s"), *wrong)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_the_state_is_whole_or_refused(tmp_path: Path) -> None:
    """No file is no state; another file is none; a failed write leaves the old one."""
    path = tmp_path / "state"
    assert read_state(path) is None
    write_state(path, WitnessState())
    before = path.read_text(encoding="utf-8")
    broken = WitnessState(seen=[(1, object())])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        write_state(path, broken)
    assert path.read_text(encoding="utf-8") == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]
    for content in ("{", "{}", '{"format": "bursar-witness/1", "keys": [], "note": "x", "seen": [], "alarm": null}'):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(StateUnusable):
            read_state(path)
