"""The command as a process: started, given the signals that are meant for it, and waited for.

Owns the exit status. Invariants: the command has this process's terminal, group and standard streams, so that it
behaves as if it had been started without `bursar run`; each signal reaches it once; the status is what a shell would
report: its own, 128 and the signal's number when a signal ended it, 127 when there is no such command and 126 when
it cannot be executed.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final

STATUS_NOT_FOUND: Final = 127
STATUS_NOT_EXECUTABLE: Final = 126
STATUS_OF_SIGNAL: Final = 128
SENT_BY_KERNEL: Final = 0x80
"""``SI_KERNEL`` of Linux: what a terminal sends comes from the kernel, and to its whole foreground group at once."""

PASSED_ON: Final = frozenset(
    {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}
)
IGNORED_BY_PYTHON: Final = (signal.SIGPIPE, signal.SIGXFSZ)


class CannotExecute(Exception):
    """The command could not be started; ``status`` is what a shell would exit with."""

    def __init__(self, command: str, error: OSError) -> None:
        self.status = STATUS_NOT_FOUND if isinstance(error, FileNotFoundError) else STATUS_NOT_EXECUTABLE
        super().__init__(f"{command} cannot be started: {error.strerror or error}")


def what_is_missing(command: str) -> CannotExecute | None:
    """Why there is no such program to be executed, so that no run is opened for it; None where there is one."""
    if shutil.which(command) is not None:
        return None
    there = os.sep in command and os.path.exists(command)
    number = errno.EACCES if there else errno.ENOENT
    return CannotExecute(command, OSError(number, os.strerror(number)))


@contextmanager
def signals_held() -> Iterator[set[signal.Signals | int]]:
    """Keep signals pending in every thread that is started inside, for ``wait_for`` to take; the mask before."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON | {signal.SIGCHLD})
    try:
        yield set(before)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start(argv: Sequence[str], environment: Mapping[str, str], mask: set[signal.Signals | int]) -> int:
    """Start a program of the path with its signals as they were before; its process id. Raises CannotExecute."""
    try:
        return os.posix_spawnp(argv[0], list(argv), environment, setsigmask=mask, setsigdef=IGNORED_BY_PYTHON)
    except OSError as error:
        raise CannotExecute(argv[0], error) from error


def wait_for(pid: int, *, command_pid: int | None = None) -> int:
    """Wait for the process ``pid`` and pass signals on to ``command_pid``, which is ``pid`` where it is left out; the
    exit status as a shell has it. To be called within ``signals_held``."""
    while True:
        number, by_terminal = _next_signal()
        if number == signal.SIGCHLD:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                _forget_pending()
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else STATUS_OF_SIGNAL - code
        elif not by_terminal:
            # The command may be gone already, with its end still to be waited for.
            with suppress(ProcessLookupError):
                os.kill(command_pid or pid, number)


def _forget_pending() -> None:
    """Drop what was sent to a command that has ended, so that it does not end this process before the receipt."""
    while hasattr(signal, "sigtimedwait") and signal.sigtimedwait(PASSED_ON, 0) is not None:
        pass


def _next_signal() -> tuple[int, bool]:
    """The next pending signal, and whether a terminal sent it to the command too."""
    watched = PASSED_ON | {signal.SIGCHLD}
    if hasattr(signal, "sigwaitinfo"):
        information = signal.sigwaitinfo(watched)
        return information.si_signo, information.si_code == SENT_BY_KERNEL
    number = signal.sigwait(watched)
    return number, number in (signal.SIGINT, signal.SIGQUIT) and _in_foreground()


def _in_foreground() -> bool:
    """Whether this process belongs to the foreground group of a terminal; asked where the sender is not told."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False
