"""The sandbox of `bursar run`: a network in which there is the gateway and nothing else.

Owns how it is made, and finding out by trying which way works on this machine: bubblewrap, or namespaces that
``inside.py`` makes itself. Invariants: where no way works the command is not run at all; the command runs only after
the one listener it can connect to was handed out to this process. The file system stays as it is, but for ``/run``,
which bubblewrap hides because of the sockets that other services have there.
"""

from __future__ import annotations

import array
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple

from bursar.run import child
from bursar.run.opening import CannotStart

INSIDE: Final = str(Path(__file__).with_name("inside.py"))
HANDSHAKE_SECONDS: Final = 30.0
HIDDEN: Final = "/run"
KEPT_BELOW_HIDDEN: Final = ("/run/current-system",)
"""Where NixOS keeps its programs."""


class Way(Enum):
    """How the sandbox is made."""

    BUBBLEWRAP = "bubblewrap"
    NAMESPACES = "namespaces"


class Inside(NamedTuple):
    """A sandbox that stands: the process to wait for, the command's own id, and the listener it connects to."""

    pid: int
    command_pid: int
    listener: socket.socket


def find_way() -> Way:
    """The first way that works here, found by making an empty sandbox. Raises CannotStart, saying why none does."""
    if not sys.platform.startswith("linux"):
        raise CannotStart("--sandbox needs Linux, for its network namespaces; run without it, or in a container")
    reasons = []
    for way in Way:
        reason = _try(way)
        if reason is None:
            return way
        reasons.append(f"{way.value}: {reason}")
    raise CannotStart(
        f"--sandbox cannot be made on this machine, so nothing was run ({'; '.join(reasons)}). Install bubblewrap, or "
        "allow unprivileged user namespaces"
    )


def _try(way: Way) -> str | None:
    """Make a sandbox with nothing in it; None when it stood, else why not."""
    if way is Way.BUBBLEWRAP and shutil.which("bwrap") is None:
        return "bwrap is not installed"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        argv = _argv(way, door=theirs.fileno(), port=0, mask=(), command=())
        try:
            process = subprocess.Popen(
                argv, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
        except OSError as error:
            return error.strerror or str(error)
        theirs.close()
        try:
            received = _receive(ours)
            if received is not None:
                received[1].close()
                ours.send(b"+")
            _, told = process.communicate(timeout=HANDSHAKE_SECONDS)
        except (OSError, subprocess.TimeoutExpired):
            process.kill()
            process.communicate()
            return "it did not answer in time"
    if received is not None and process.returncode == 0:
        return None
    return " ".join(told.split())[:300] or f"it ended with status {process.returncode}"


def _argv(way: Way, *, door: int, port: int, mask: Sequence[int], command: Sequence[str]) -> list[str]:
    """The command line that makes the sandbox and runs ``command`` in it."""
    script = [sys.executable, "-I", "-S", INSIDE, "--door", str(door), "--port", str(port)]
    script += ["--mask", *(str(number) for number in mask)] if mask else []
    script += ["--isolate"] if way is Way.NAMESPACES else []
    script += ["--command", *command]
    return script if way is Way.NAMESPACES else [*_bubblewrap(), *script]


def _bubblewrap() -> list[str]:
    """The program and its options. A user namespace also for root, who could otherwise join the network outside."""
    options = ["--unshare-user", "--unshare-net", "--cap-drop", "ALL", "--die-with-parent"]
    options += ["--dev-bind", "/", "/"]
    hidden = Path(HIDDEN)
    if hidden.is_dir():
        options += ["--tmpfs", HIDDEN]
        needed = (*KEPT_BELOW_HIDDEN, os.getcwd(), sys.prefix, sys.base_prefix)
        below = [path for path in needed if hidden in Path(os.path.realpath(path)).parents or path in KEPT_BELOW_HIDDEN]
        for path in dict.fromkeys(below):
            options += ["--bind-try", path, path]
    return [shutil.which("bwrap") or "bwrap", *options, "--"]


def enter(way: Way, command: Sequence[str], environment: Mapping[str, str], *, port: int, mask: set[int]) -> Inside:
    """Make the sandbox and let ``command`` start in it, listening for it on 127.0.0.1:``port`` of the inside.

    ``mask`` holds the signals that were blocked before ``child.signals_held``. Raises CannotStart; then the command
    was not started.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        os.set_inheritable(theirs.fileno(), True)
        argv = _argv(way, door=theirs.fileno(), port=port, mask=sorted(mask), command=command)
        # Bubblewrap waits outside the command and would end at Ctrl-C, and the command with it, before the command
        # has tidied up: so the signals stay blocked, and inside.py lets them through again.
        try:
            pid = child.start(argv, environment, {*mask, *child.PASSED_ON})
        except child.CannotExecute as error:
            raise CannotStart(str(error)) from error
        theirs.close()
        try:
            received = _receive(ours)
        except OSError:
            received = None
        if received is None:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            raise CannotStart("the sandbox that could be made a moment ago cannot be made now; nothing was run")
        command_pid, listener = received
        ours.send(b"+")
    return Inside(pid, command_pid, listener)


def _receive(ours: socket.socket) -> tuple[int, socket.socket] | None:
    """The listener from the inside with the sender's process id (0 where credentials are not passed); None when the
    inside ended before. Raises OSError."""
    ours.settimeout(HANDSHAKE_SECONDS)
    number = array.array("i")
    space = socket.CMSG_SPACE(number.itemsize) + socket.CMSG_SPACE(3 * number.itemsize)
    data, ancillary, _, _ = ours.recvmsg(64, space)
    if not data:
        return None
    process = 0
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            number.frombytes(content[: number.itemsize])
        elif level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            process = int.from_bytes(content[:4], sys.byteorder)
    return (process, socket.socket(fileno=number[0])) if number else None
