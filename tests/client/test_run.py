"""`bursar run` as a process: what it asks, what it starts, how it ends."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.client.conftest import BURSAR, Run, environment
from tests.client.scripted_server import ADMIN_KEY, AGENT_KEY, RUN_KEY, ScriptedServer, row, usd

WAIT = """
import os, signal, sys, time
def got(number, frame):
    print("got", number, flush=True)
    if number != signal.SIGUSR1: sys.exit(7)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1): signal.signal(number, got)
print("ready", flush=True)
while True: time.sleep(0.05)
"""


def test_an_admin_opens_the_run_and_its_key_in_this_order_and_revokes_it(server: ScriptedServer, run: Run) -> None:
    """The contract with the server, body by body; each change carries an idempotency key."""
    done = run("--budget", "5.00", "--name", "r-1", "--ttl-seconds", "60", "--", "true")
    assert done.returncode == 0, done.stderr
    changes = [(seen.path, seen.body) for seen in server.seen if seen.method == "POST"]
    assert changes == [
        ("/v1/runs", {"name": "r-1", "agent": "crawler", "cap": usd("5.00")}),
        ("/v1/keys", {"role": "agent", "agent": "crawler", "run": "r-1", "ttl_seconds": 60}),
        ("/v1/keys/key_7/revoke", {"reason": "the command of its run has ended"}),
    ]
    assert all(seen.headers["idempotency-key"] for seen in server.seen if seen.method == "POST")
    assert all(seen.headers["authorization"] == f"Bearer {ADMIN_KEY}" for seen in server.seen)


def test_an_agent_names_nobody_and_a_run_may_have_no_cap(server: ScriptedServer, run: Run) -> None:
    """Its own key says who it is; what is not asked for is left out."""
    assert run("--name", "r-1", "--", "true", key=AGENT_KEY).returncode == 0
    assert server.asked("/v1/runs")[0].body == {"name": "r-1"}
    assert server.asked("/v1/keys")[0].body == {"role": "agent", "run": "r-1", "ttl_seconds": 86400}


def test_an_agent_may_name_a_descendant(server: ScriptedServer, run: Run) -> None:
    """Whether it may is the server's to say; its own name is left out."""
    run("--agent", "helper", "--", "true", key=AGENT_KEY)
    run("--agent", "crawler", "--", "true", key=AGENT_KEY)
    assert [seen.body.get("agent") for seen in server.asked("/v1/runs")] == ["helper", None]


def test_a_name_is_made_of_the_program_the_time_and_chance(server: ScriptedServer, run: Run) -> None:
    """Two runs of one program in one second have two names."""
    run("--", "true")
    run("--", "true")
    names = [seen.body["name"] for seen in server.asked("/v1/runs")]
    assert len(set(names)) == 2
    assert all(name.startswith("true-20") for name in names)


def test_the_command_has_the_gateway_and_its_streams(server: ScriptedServer, run: Run) -> None:
    """Standard output is the command's alone; the receipt goes to standard error."""
    program = (
        "import os, sys, urllib.request; print(sys.stdin.read(), os.environ['BURSAR_RUN'], 'sk' in str(os.environ));"
        "ask = urllib.request.Request(os.environ['OPENAI_BASE_URL'] + '/x', b'{}',"
        " {'authorization': 'Bearer ' + os.environ['OPENAI_API_KEY']}); print(urllib.request.urlopen(ask).status);"
        "print('mine', file=sys.stderr)"
    )
    done = run("--name", "r-1", "--", sys.executable, "-c", program, stdin="in", OPENAI_API_KEY="sk-real", X="sk-other")
    assert done.stdout == "in r-1 True\n200\n"
    assert done.stderr.startswith("mine\nbursar run r-1 (agent crawler), ended with status 0\n")
    assert server.asked("/openai/v1/x")[0].headers["authorization"] == f"Bearer {RUN_KEY}"


def test_the_real_client_libraries_find_the_gateway_by_themselves(server: ScriptedServer, run: Run) -> None:
    """Without an argument, and although the caller has accounts of its own with both providers."""
    program = (
        "import openai, anthropic; openai.OpenAI(max_retries=0).models.list();"
        "anthropic.Anthropic(max_retries=0).models.list()"
    )
    mine = {"ANTHROPIC_AUTH_TOKEN": "sk-real", "OPENAI_ORG_ID": "org-real", "OPENAI_API_KEY": "sk-real"}
    done = run("--", sys.executable, "-c", program, **mine)
    assert done.returncode == 0, done.stderr
    (openai,), (anthropic,) = server.asked("/openai/v1/models"), server.asked("/anthropic/v1/models")
    assert openai.headers["authorization"] == f"Bearer {RUN_KEY}"
    # Which of the two headers Anthropic's library uses depends on its version.
    assert (
        anthropic.headers.get("x-api-key", anthropic.headers.get("authorization", "").removeprefix("Bearer "))
        == RUN_KEY
    )
    assert "sk-real" not in str((openai, anthropic))
    assert "org-real" not in str(openai)


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -TERM $$", 143), ("kill -KILL $$", 137)],
)
def test_the_status_is_the_commands(run: Run, script: str, status: int) -> None:
    """As a shell has it."""
    assert run("--", "sh", "-c", script).returncode == status


def test_what_cannot_be_started_opens_no_run(server: ScriptedServer, run: Run, tmp_path: Path) -> None:
    """127 for what is not there, 126 for what cannot be executed, as in a shell."""
    (tmp_path / "plain").write_text("echo no")
    assert run("--", "no-such-program").returncode == 127
    done = run("--", "./plain")
    assert done.returncode == 126
    assert done.stderr == "bursar run: ./plain cannot be started: Permission denied\n"
    assert server.seen == []


def test_a_program_of_another_format_is_126_and_its_key_is_revoked(
    server: ScriptedServer, run: Run, tmp_path: Path
) -> None:
    """Only the kernel can tell."""
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELFnothing")
    broken.chmod(0o755)
    done = run("--", "./broken")
    assert done.returncode == 126
    assert "./broken cannot be started: Exec format error" in done.stderr
    assert server.asked("/v1/keys/key_7/revoke")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--budget", "lots"], "--budget lots is no amount: write it like 5.00, above zero"),
        (["--budget", "0.00"], "--budget 0.00 is no amount: write it like 5.00, above zero"),
        (["--budget", "1e3"], "--budget 1e3 is no amount: write it like 5.00, above zero"),
        (["--name", "no name"], "--name no name is no name of a run"),
        (["--label", "x"], "--label x is no label: write it like team=search, in plain ASCII"),
        (["--url", "localhost"], "localhost is no address of a server"),
        (["--url", "http://127.0.0.1:9"], "cannot be reached"),
        (["--json-receipt", "no/such/folder"], "--json-receipt no/such/folder cannot be written"),
        (["--budget", "1.00", "--from-budget", "x"], "budget x is in EUR and the cap in USD: add --currency EUR"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(
    server: ScriptedServer, run: Run, arguments: list[str], sentence: str
) -> None:
    """One sentence, status 2, no run."""
    done = run(*arguments, "--", "touch", "started")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert sentence in done.stderr
    assert not server.asked("/v1/runs")


@pytest.mark.parametrize("path", ["/v1/runs", "/v1/keys"])
def test_what_the_server_refuses_is_said_in_its_words(
    server: ScriptedServer, run: Run, path: str, tmp_path: Path
) -> None:
    """A taken name, a cap in no currency, a key that may not: the problem's sentence and code."""
    server.refusals[path] = (409, {"code": "name_taken", "detail": "There is a run r-1 already"})
    done = run("--name", "r-1", "--", "touch", str(tmp_path / "started"))
    assert (done.returncode, done.stderr) == (2, "Error: There is a run r-1 already (name_taken)\n")
    assert not (tmp_path / "started").exists()


def test_keys_that_cannot_open_runs_are_told_why(run: Run, server: ScriptedServer) -> None:
    """An unknown key, a role that spends nothing, an admin's key without an agent."""
    assert "not one of this book's (unauthenticated)" in run("--", "true", key="bk_agent_wrong").stderr
    assert "a key of role auditor opens no runs" in run("--", "true", key="bk_auditor").stderr
    done = subprocess.run(
        [BURSAR, "run", "--", "true"], env=environment(server), capture_output=True, text=True, check=False
    )
    assert (done.returncode, "say which with --agent NAME" in done.stderr) == (2, True)


def test_what_is_no_bursar_server_is_said(server: ScriptedServer, run: Run) -> None:
    """An answer of another shape must not become a traceback."""
    server.refusals["/v1/me"] = (200, {"hello": "world"})
    done = run("--", "true")
    assert (done.returncode, "is it a Bursar server?" in done.stderr) == (2, True)


def test_the_receipt_of_many_pages_and_its_file(server: ScriptedServer, run: Run, tmp_path: Path) -> None:
    """Every page is read; refusals come with the rule and the sentence of the newest; the file says the same."""
    server.rows = [row(n, "denied", reason="run_cap_exceeded") for n in range(3)]
    server.rows += [row(n, "settled", settled=usd("0.001")) for n in range(3, 450)]
    server.decisions["auth_0"] = {"reasons": [{"rule": "run_cap", "detail": "Nothing is left of 1.00 USD"}]}
    done = run("--budget", "1.00", "--json-receipt", "receipt.json", "--", "sh", "-c", "exit 5")
    assert "  calls    447 settled, 3 refused\n" in done.stderr
    assert "gpt-5-mini: 447 calls, 0.447 USD" in done.stderr
    assert "refused  3 x gpt-5-mini, run_cap_exceeded by run_cap: Nothing is left of 1.00 USD" in done.stderr
    shown = json.loads((tmp_path / "receipt.json").read_text())
    assert (shown["status"], shown["cap"], shown["models"][0]["cost"]) == (5, usd("1.00"), usd("0.447"))
    assert [seen.query.get("cursor") for seen in server.asked("/v1/authorizations")] == [None, "200", "400"]


def test_a_call_under_way_is_waited_for_before_the_key_ends(server: ScriptedServer, run: Run) -> None:
    """The gateway may still be settling what the command's last moment began; for a few seconds, and not for ever."""
    server.run["totals"] = [
        {"currency": "USD", "approved_count": 1, "denied_count": 0, "held": usd("0.50"), "spent": usd("0.00")}
    ]
    started = time.monotonic()
    assert run("--name", "r-1", "--", "true").returncode == 0
    assert 3 <= time.monotonic() - started < 15
    paths = [seen.path for seen in server.seen]
    assert paths[: paths.index("/v1/keys/key_7/revoke")].count("/v1/runs/r-1") > 5


def test_a_failing_end_costs_neither_the_status_nor_the_word(server: ScriptedServer, run: Run) -> None:
    """A key that could not be revoked and a receipt that cannot be had are said."""
    server.refusals["/v1/keys/key_7/revoke"] = (403, {"code": "forbidden", "detail": "Not yours"})
    server.refusals["/v1/authorizations"] = (403, {"code": "forbidden", "detail": "Not yours"})
    done = run("--name", "r-1", "--", "sh", "-c", "exit 4")
    assert done.returncode == 4
    assert "the receipt of run r-1 cannot be had: Not yours (forbidden)" in done.stderr
    assert "the run's key key_7 could not be revoked, and ends by itself: Not yours" in done.stderr


def test_a_budget_and_labels_go_with_every_call(server: ScriptedServer, run: Run) -> None:
    """Whatever client the command uses, and whatever it writes there itself."""
    program = (
        "import os, urllib.request as r;"
        "[r.urlopen(r.Request(os.environ['ANTHROPIC_BASE_URL'] + '/v1/messages', b'{}', {'x-bursar-budget': 'other'}))"
        " for _ in range(2)]"
    )
    options = [
        "--from-budget",
        "lab",
        "--label",
        "team=a&b",
        "--label",
        "stage=test",
        "--budget",
        "1",
        "--currency",
        "EUR",
    ]
    done = run(*options, "--", sys.executable, "-c", program)
    assert done.returncode == 0, done.stderr
    calls = server.asked("/anthropic/v1/messages")
    assert [seen.headers["x-bursar-budget"] for seen in calls] == ["lab", "lab"]
    assert calls[0].headers["x-bursar-labels"] == "team=a%26b&stage=test"
    assert calls[0].headers["host"] == f"127.0.0.1:{server.port}"


def started(server: ScriptedServer, *options: str, path: str = os.environ["PATH"]) -> subprocess.Popen[str]:
    """`bursar run` with a command that tells which signals it gets, once that command is ready."""
    process = subprocess.Popen(
        [BURSAR, "run", "--agent", "crawler", *options, "--", sys.executable, "-c", WAIT],
        env=environment(server, PATH=path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_passed_on_once_and_the_receipt_still_comes(server: ScriptedServer, number: signal.Signals) -> None:
    """A supervisor's SIGTERM reaches the command, which ends as it wants to."""
    process = started(server)
    process.send_signal(signal.SIGUSR1)
    assert process.stdout is not None
    assert process.stdout.readline() == f"got {int(signal.SIGUSR1)}\n"
    process.send_signal(number)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (7, f"got {int(number)}\n")
    assert "ended with status 7" in errors
    assert server.asked("/v1/keys/key_7/revoke")


def signals_after_ctrl_c(server: ScriptedServer, *options: str, path: str = os.environ["PATH"]) -> list[str]:
    """What a command at a terminal says it got when somebody presses Ctrl-C once, and when it then ends itself."""
    ours, theirs = pty.openpty()
    program = WAIT.replace("sys.exit(7)", "pass")
    process = subprocess.Popen(
        [BURSAR, "run", "--agent", "crawler", *options, "--", sys.executable, "-c", program],
        env=environment(server, PATH=path), stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        start_new_session=True, preexec_fn=_take_terminal,
    )  # fmt: skip
    os.close(theirs)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.write(ours, b"\x03")
    said = [process.stdout.readline()]
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGUSR1)
    said.append(process.stdout.readline())
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    os.close(ours)
    return said


def test_ctrl_c_of_a_terminal_reaches_the_command_once(server: ScriptedServer) -> None:
    """The terminal sends it to the whole group; passing it on as well would be twice."""
    assert signals_after_ctrl_c(server) == ["got 2\n", "got 10\n"]


def _take_terminal() -> None:
    """Make standard input the controlling terminal of this new session."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
