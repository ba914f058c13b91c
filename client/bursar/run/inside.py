"""The first program inside the sandbox: opens the one door, hands it out, and becomes the command.

Run as a script, by path, with the standard library only. Inside a network namespace that has nothing but the loopback
interface it listens on 127.0.0.1, sends the listening socket out through an inherited one, waits for the answer, and
executes the command. A socket belongs to the namespace it was made in, so whoever holds it outside can accept what
the command connects, and needs no process in here.

Invariants: the command is not executed unless the listener was handed out; it gets no inherited file but the three
standard ones, so no socket of the outside; its signals are as they were given.
"""

from __future__ import annotations

import argparse
import array
import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import sys
from collections.abc import Sequence

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
SIOCSIFFLAGS = 0x8914
IFF_UP_RUNNING = 0x1 | 0x40
BACKLOG = 128
STATUS_NO_SANDBOX = 125
HELLO = b"listening"


def isolate() -> None:
    """Move this process into a user and a network namespace of its own, as the same user without any capability.

    Raises OSError where the kernel or a profile forbids it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"no user and network namespace: {os.strerror(number)}")
    for name, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(line)
    raise_loopback()
    # Root in the namespace would get its capabilities back when the command is executed; without a bounding set
    # there are none to get, and no program that changes the user can bring them.
    for capability in range(64):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "privileges cannot be given up")
    libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def raise_loopback() -> None:
    """Bring up the loopback interface of this namespace. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP_RUNNING))


def only_loopback() -> bool:
    """Whether this process sees no interface but the loopback."""
    return [name for _, name in socket.if_nameindex()] == ["lo"]


def hand_out(*, door: int, port: int) -> bool:
    """Listen on 127.0.0.1 and send the listener out; whether somebody outside took it. Raises OSError."""
    with socket.socket(fileno=door) as outward, socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(BACKLOG)
        outward.sendmsg([HELLO], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener.fileno()]))])
        return outward.recv(1) == b"+"


def close_inherited() -> None:
    """Close every file but the three standard ones."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            # The listing's own file is among them, and closed already.
            with contextlib.suppress(OSError):
                os.close(int(name))


def restore_signals(mask: Sequence[int]) -> None:
    """Undo what Python does to signals when it starts, and block those that were blocked outside."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def main() -> int:
    """Do all of it; the exit status where the command was not executed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--door", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--isolate", action="store_true")
    parser.add_argument("--mask", type=int, nargs="*", default=[])
    parser.add_argument("--command", nargs=argparse.REMAINDER, required=True)
    given = parser.parse_args()
    try:
        if given.isolate:
            isolate()
        if not only_loopback():
            raise OSError("the network is still there")
        if not hand_out(door=given.door, port=given.port):
            return STATUS_NO_SANDBOX
    except OSError as error:
        sys.stderr.write(f"{error.strerror or error}\n")
        return STATUS_NO_SANDBOX
    if not given.command:
        return 0
    close_inherited()
    try:
        restore_signals(given.mask)
        os.execvp(given.command[0], given.command)
    except OSError as error:
        sys.stderr.write(f"Error: {given.command[0]} cannot be started: {error.strerror or error}\n")
        return 127 if isinstance(error, FileNotFoundError) else 126


if __name__ == "__main__":
    sys.exit(main())
