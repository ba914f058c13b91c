"""The sandbox, really made: what can be reached from inside, and what becomes of signals, status and streams."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bursar.run import sandbox
from bursar.run.opening import CannotStart
from tests.client.conftest import BURSAR, Run, environment
from tests.client.scripted_server import ScriptedServer
from tests.client.test_run import signals_after_ctrl_c, started

TRY = """
import socket, sys
def reaches(make):
    try:
        make()
        return "reached"
    except OSError as error:
        return type(error).__name__
def stream(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as one:
        one.settimeout(3)
        one.connect(address)
"""


def missing(way: sandbox.Way) -> str | None:
    """Why a way does not work on this machine."""
    if not sys.platform.startswith("linux"):
        return "there are no network namespaces"
    return sandbox._try(way)


WAYS = [
    pytest.param(way, marks=pytest.mark.skipif(reason is not None, reason=f"{way.value}: {reason}"))
    for way, reason in ((way, missing(way)) for way in sandbox.Way)
]


@pytest.fixture(params=WAYS, ids=lambda way: way.value)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The PATH with which `bursar run` takes one of the ways: without bwrap on it, the other is taken."""
    folders = os.environ["PATH"].split(os.pathsep)
    if request.param is sandbox.Way.NAMESPACES:
        folders = [folder for folder in folders if not (Path(folder) / "bwrap").exists()]
        programs = tmp_path / "programs"
        programs.mkdir()
        for name in ("sh", "true", "id", "sleep", "cat"):
            (programs / name).symlink_to(shutil.which(name) or name)
        folders = [*folders, str(programs)]
    return os.pathsep.join(folders)


def inside(run: Run, path: str, program: str, **more: str) -> subprocess.CompletedProcess[str]:
    return run("--sandbox", "--", sys.executable, "-c", TRY + program, PATH=path, **more)


def test_the_gateway_is_reached_and_nothing_else(server: ScriptedServer, run: Run, path: str) -> None:
    """Not another port of this machine, not an address of another, no name, no abstract socket."""
    abstract = f"\0bursar-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as other, socket.socket(socket.AF_UNIX) as hidden:
        hidden.bind(abstract)
        hidden.listen()
        other_port = other.getsockname()[1]
        done = inside(
            run,
            path,
            f"""
import os, urllib.request
print(urllib.request.urlopen(os.environ["OPENAI_BASE_URL"] + "/models").status)
print(reaches(lambda: stream(socket.AF_INET, ("127.0.0.1", {other_port}))))
print(reaches(lambda: stream(socket.AF_INET, ("192.0.2.1", 443))))
print(reaches(lambda: stream(socket.AF_INET6, ("2001:db8::1", 443))))
print(reaches(lambda: stream(socket.AF_UNIX, {abstract!r})))
print(reaches(lambda: socket.getaddrinfo("example.com", 443)))
print([name for _, name in socket.if_nameindex()])
""",
        )
    assert done.returncode == 0, done.stderr
    first, *others, interfaces = done.stdout.splitlines()
    assert (first, interfaces) == ("200", "['lo']")
    assert len(others) == 5
    assert "reached" not in others
    assert server.asked("/openai/v1/models")[0].headers["host"] == f"127.0.0.1:{server.port}"


def test_inside_it_is_the_same_user_without_a_way_back(run: Run, path: str) -> None:
    """No capability, no joining the network outside, no reading the caller's keys in another process."""
    done = inside(
        run,
        path,
        f"""
import ctypes, os
print(os.getuid(), os.getgid())
print([line.split()[1] for line in open("/proc/self/status") if line.startswith(("CapEff", "CapBnd"))])
def join():
    handle = os.open("/proc/{os.getpid()}/ns/net", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(handle, 0) != 0:
        raise OSError(ctypes.get_errno(), "setns")
print(reaches(join))
print(reaches(lambda: open("/proc/{os.getpid()}/environ").read()))
print(sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1])
""",
    )
    assert done.returncode == 0, done.stderr
    user, capabilities, joined, read, files = done.stdout.splitlines()
    assert user == f"{os.getuid()} {os.getgid()}"
    assert all(set(bits) == {"0"} for bits in capabilities.strip("[]").replace("'", "").split(", "))
    assert (joined, read) == ("PermissionError", "PermissionError")
    assert files == "[0, 1, 2]"


@pytest.mark.skipif(missing(sandbox.Way.BUBBLEWRAP) is not None, reason="bubblewrap does not work here")
def test_bubblewrap_hides_the_sockets_of_services(run: Run) -> None:
    """Docker's is a way to the network and to everything else."""
    done = run("--sandbox", "--", sys.executable, "-c", "import os; print(os.listdir('/run'))")
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_streams_and_status_are_the_commands(run: Run, path: str) -> None:
    """As without the sandbox; also of what cannot be executed."""
    done = run("--sandbox", "--", "sh", "-c", "cat; echo no >&2; exit 3", stdin="in", PATH=path)
    assert (done.returncode, done.stdout) == (3, "in")
    assert done.stderr.startswith("no\nbursar run ")
    assert run("--sandbox", "--", "sh", "-c", "kill -KILL $$", PATH=path).returncode == 137


def test_a_program_of_another_format_is_126(run: Run, path: str, tmp_path: Path) -> None:
    """It is found out inside."""
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELFnothing")
    broken.chmod(0o755)
    done = run("--sandbox", "--", "./broken", PATH=path)
    assert done.returncode == 126
    assert "./broken cannot be started: Exec format error" in done.stderr


def test_the_signals_of_the_command_are_as_outside(run: Run, path: str) -> None:
    """Neither blocked nor ignored: a pipe that closes still ends what writes to it."""
    outside = run("--", "cat", "/proc/self/status").stdout
    status = run("--sandbox", "--", "cat", "/proc/self/status", PATH=path).stdout
    for name in ("SigBlk", "SigIgn"):
        assert next(line for line in status.splitlines() if line.startswith(name)) == next(
            line for line in outside.splitlines() if line.startswith(name)
        )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_command_through_the_sandbox(
    server: ScriptedServer, path: str, number: signal.Signals
) -> None:
    """The command ends as it wants to, although bubblewrap stands between."""
    process = started(server, "--sandbox", path=path)
    process.send_signal(number)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (7, f"got {int(number)}\n"), errors
    assert server.asked("/v1/keys/key_7/revoke")


def test_ctrl_c_of_a_terminal_reaches_the_command_once_and_does_not_end_the_sandbox(
    server: ScriptedServer, path: str
) -> None:
    """Bubblewrap is in the terminal's group as well, and would take the command with it before it has tidied up."""
    assert signals_after_ctrl_c(server, "--sandbox", path=path) == ["got 2\n", "got 10\n"]


def test_the_command_ends_with_the_one_that_started_it(server: ScriptedServer, path: str, tmp_path: Path) -> None:
    """Killed outright, `bursar run` leaves nothing behind that works on without its receipt."""
    beat = tmp_path / "beat"
    program = f"import time\nwhile True:\n    open({str(beat)!r}, 'a').write('x'); time.sleep(0.05)"
    process = subprocess.Popen(
        [BURSAR, "run", "--agent", "crawler", "--sandbox", "--", sys.executable, "-c", program],
        env=environment(server, PATH=path),
    )
    deadline = time.monotonic() + 20
    while not beat.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait(20)
    time.sleep(0.5)
    size = beat.stat().st_size
    time.sleep(0.5)
    assert beat.stat().st_size == size


def test_many_calls_at_once_go_through_the_one_door(server: ScriptedServer, run: Run, path: str) -> None:
    """An agent with parallel calls is usual."""
    done = inside(
        run,
        path,
        """
import os, urllib.request
from concurrent.futures import ThreadPoolExecutor
ask = lambda n: urllib.request.urlopen(os.environ["ANTHROPIC_BASE_URL"] + f"/{n}").status
with ThreadPoolExecutor(32) as pool:
    print(set(pool.map(ask, range(200))))
""",
    )
    assert done.stdout == "{200}\n", done.stderr
    assert len([seen for seen in server.seen if seen.path.startswith("/anthropic/")]) == 200


def test_where_no_way_works_nothing_is_run(server: ScriptedServer, run: Run, tmp_path: Path) -> None:
    """A bwrap that fails and namespaces that are forbidden: one sentence with both reasons, and no run."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "bwrap").write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    (programs / "bwrap").chmod(0o755)
    # Whoever runs the tests may be allowed namespaces, so the program that makes them is one that cannot.
    program = f"""
import sys
from bursar.run import sandbox
sandbox.INSIDE = {str(programs / "inside.py")!r}
from bursar.command import main
sys.argv = ["bursar", "run", "--agent", "crawler", "--sandbox", "--", "touch", "started"]
main()
"""
    (programs / "inside.py").write_text(
        "import sys; sys.exit('no user and network namespace: Operation not permitted')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        env=environment(server, PATH=f"{programs}{os.pathsep}{os.environ['PATH']}"),
    )  # fmt: skip
    assert done.returncode == 2
    assert "bubblewrap: bwrap: No permissions to create new namespace" in done.stderr
    assert "namespaces: no user and network namespace: Operation not permitted" in done.stderr
    assert not (tmp_path / "started").exists()
    assert not server.asked("/v1/runs")


def test_elsewhere_than_on_linux_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are no network namespaces there."""
    monkeypatch.setattr(sandbox.sys, "platform", "darwin")
    with pytest.raises(CannotStart, match="needs Linux"):
        sandbox.find_way()


def test_the_door_is_shut_where_the_network_is_still_there() -> None:
    """Run outside of any sandbox, the first program refuses to become the command."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        script = [sys.executable, "-I", "-S", sandbox.INSIDE, "--door", str(theirs.fileno()), "--port", "0"]
        done = subprocess.run(
            [*script, "--command", "echo", "ran"],
            pass_fds=(theirs.fileno(),), capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    if [name for _, name in socket.if_nameindex()] == ["lo"]:
        pytest.skip("this machine has no network but the loopback")
    assert (done.returncode, done.stdout, done.stderr) == (125, "", "the network is still there\n")
