"""Witnesses: what extends is taken and cosigned; a fork, a rollback and a false signature are shouted about."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from bursar.command import bursar
from ledger.cli import witness as witness_verb
from ledger.services import witness_state
from ledger.services.witness_state import locked, read_state
from tests.support import transport
from tests.support.forked import Forked
from tests.support.transport import Change, remote_to

TRUE, FALSE = "https://ledger.example.com", "https://ledger.example.net"


@pytest.fixture
def forked(tmp_path: Path) -> Iterator[Forked]:
    """Two servers that tell two stories."""
    made = Forked(tmp_path)
    yield made
    made.close()


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
    assert json.loads(state.read_text(encoding="utf-8"))["alarms"] == []
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
    assert kept.alarms == [json.loads(told.read_text(encoding="utf-8"))]
    good = run(forked, TRUE, "--state", str(state))
    assert (good.exit_code, "1 alarms are kept" in good.stderr) == (0, True)
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
        (changed("consistency", lambda c: c | {"proof": c["proof"][:-1]}), "unproved"),
        (changed("consistency", lambda c: c | {"proof": ["zz"]}), "unproved"),
        (changed("consistency", lambda c: c | {"proof": ["zz"], "first_root": ["zz"] * 9_999}), "unproved"),
        (changed("consistency", lambda c: {"size": 1}), "unproved"),
        (changed("consistency", lambda c: []), "unproved"),
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


def test_the_evidence_stays_until_it_is_acknowledged(forked: Forked) -> None:
    """A fork that is shown once is in the file whatever is seen later; printed, it can be taken out."""
    state = forked.directory / "acme.witness"
    forked.spend(forked.true, times=2)
    forked.checkpoint(forked.true)
    run(forked, TRUE, "--state", str(state))
    forked.spend(forked.false, "0.50", times=4)
    forked.checkpoint(forked.false)
    for url, status in ((FALSE, 1), (TRUE, 0), (FALSE, 1), (TRUE, 0)):
        assert run(forked, url, "--state", str(state)).exit_code == status
    shown = run(forked, "alarms", str(state))
    (alarm,) = map(json.loads, shown.stdout.splitlines())
    assert (alarm["kind"], sorted(alarm["evidence"])) == ("fork", ["first_root", "now", "proof", "seen"])
    assert run(forked, "alarms", str(state), "--acknowledge").stdout == shown.stdout
    assert run(forked, "alarms", str(state)).stdout == ""
    assert run(forked, "alarms", str(forked.directory / "none")).exit_code == 2
    assert run(forked, TRUE, "--state", str(state)).exit_code == 0


def test_an_alarm_is_heard_where_the_file_cannot_be_written(forked: Forked, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line, the command, the evidence and status 1; without an alarm it is status 2, and never a traceback."""
    state, told = forked.directory / "acme.witness", forked.directory / "told"
    forked.spend(forked.true, times=2)
    forked.checkpoint(forked.true)
    run(forked, TRUE, "--state", str(state))
    forked.spend(forked.false, "0.50", times=4)
    forked.checkpoint(forked.false)

    def full(*given: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(witness_state, "write_state", full)
    shouted = run(forked, FALSE, "--state", str(state), "--on-alarm", f"touch {told}")
    assert (shouted.exit_code, told.exists()) == (1, True)
    assert shouted.stderr.startswith("ALARM fork: ")
    assert "No space left on device; the evidence: {" in shouted.stderr
    unwritten = run(forked, TRUE, "--state", str(state))
    assert (unwritten.exit_code, "cannot be written" in unwritten.stderr) == (2, True)
    monkeypatch.undo()
    for place in (forked.directory / "nowhere" / "state", forked.directory):
        nowhere = run(forked, TRUE, "--state", str(place))
        assert nowhere.exit_code == 2
        assert "Traceback" not in nowhere.output


def test_two_looks_do_not_work_on_one_file(forked: Forked) -> None:
    """The second comes back later, so that no look takes the state back."""
    state = forked.directory / "acme.witness"
    with locked(state):
        busy = run(forked, TRUE, "--state", str(state))
        assert (busy.exit_code, "another look" in busy.stderr) == (2, True)
    assert run(forked, TRUE, "--state", str(state)).exit_code == 0


class _Enough(Exception):
    """The test has seen enough looks."""


def test_every_look_is_a_new_chance(forked: Forked, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a server answers wrongly, too long or not at all ends one look and not the watch; an alarm ends it."""
    state = forked.directory / "acme.witness"
    looks: list[int] = []
    right = transport.AppTransport.handle_request

    def broken(self: Any, request: httpx.Request) -> httpx.Response:
        if len(looks) == 1:
            return httpx.Response(200, headers={"content-encoding": "gzip"}, content=b"junk")
        if len(looks) == 2:
            return httpx.Response(200, content=b"[" * 200_000)
        if len(looks) == 3:
            return httpx.Response(200, content=b" " * (33 * 1024 * 1024))
        if len(looks) == 4:
            return httpx.Response(302, headers={"location": "http://x"}, content=b"x")
        if len(looks) == 5:
            return httpx.Response(403, json={"detail": "\x1b[2J", "code": "\x1b"})
        return right(self, request)

    def sleep(seconds: float) -> None:
        assert seconds == 60
        forked.spend(forked.true)
        forked.checkpoint(forked.true)
        looks.append(len(looks))
        if len(looks) == 8:
            raise _Enough

    monkeypatch.setattr(transport.AppTransport, "handle_request", broken)
    monkeypatch.setattr(witness_verb.time, "sleep", sleep)
    watched = run(forked, TRUE, "--state", str(state), "--every", "1m")
    assert isinstance(watched.exception, _Enough)
    assert [line[:3] for line in watched.stdout.splitlines()] == ["ok:"] * 3
    assert watched.stderr.count("cannot look: ") == 5
    assert "\x1b" not in watched.output
    kept = read_state(state)
    assert kept is not None
    assert len(kept.seen) == 3


def test_a_key_that_leaked_is_trusted_up_to_a_size(forked: Forked) -> None:
    """Typed with the size; what was seen beyond it is the evidence, and the state is not believed any more."""
    state = forked.directory / "acme.witness"
    assert run(forked, TRUE, "--state", str(state)).exit_code == 0
    key = forked.true.get("/v1/checkpoints/key").json["verifier_key"]
    size = forked.true.get("/v1/checkpoints/latest").json["size"]
    assert run(forked, TRUE, "--state", str(state), "--key", f"{key}@{size}").exit_code == 0
    forked.spend(forked.true)
    forked.checkpoint(forked.true)
    late = run(forked, TRUE, "--state", str(state))
    assert (late.exit_code, "ALARM unknown_key: key " in late.stderr) == (1, True)
    refused = run(forked, TRUE, "--state", str(state), "--key", f"{key}@{size - 1}")
    assert (refused.exit_code, "which is the evidence" in refused.stderr) == (2, True)
