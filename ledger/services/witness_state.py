"""What a witness remembers of a book: the last checkpoint it saw, those before, the keys it trusts, and its alarms.

Owns the file's form (``bursar-witness/1``). Invariants: the file is whole at every moment, because it is written beside
its place, put on disk, and moved there; two looks never work on it at one time; a checkpoint is remembered only after
it was checked; an alarm stays until somebody says that it was seen.
"""

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ledger.core.notes import Checkpoint, NoteInvalid, VerifierKey, parse_verifier_key
from ledger.services.ed25519 import open_checkpoint

FORMAT: Final = "bursar-witness/1"
SEEN_MAX: Final = 10_000
"""Checkpoints remembered by size and root: a week of one a minute."""
ALARMS_MAX: Final = 20
"""Alarms kept of each kind, the first ones: whoever makes many of one kind drives out none of another."""


class StateUnusable(ValueError):
    """A file that is no witness's state. The message is a sentence."""


class StateBusy(Exception):
    """Another look is at work with the file. The message is a sentence."""


@dataclass(slots=True)
class WitnessState:
    """``note`` is the last checkpoint, empty before the first; ``seen`` are (size, root in hex) of those up to it, in
    order; ``keys`` are trusted, those in ``ended`` up to logs of a size, because they were replaced; ``alarms`` are
    what was found wrong and not acknowledged, with the evidence."""

    keys: list[VerifierKey] = field(default_factory=list)
    note: str = ""
    seen: list[tuple[int, str]] = field(default_factory=list)
    alarms: list[dict[str, Any]] = field(default_factory=list)
    ended: dict[VerifierKey, int] = field(default_factory=dict)

    @property
    def checkpoint(self) -> Checkpoint | None:
        """What the last checkpoint says, None before the first. Raises NoteInvalid when the file was changed."""
        return open_checkpoint(self.note, self.keys, self.ended).checkpoint if self.note else None

    def end(self, key: VerifierKey, size: int) -> None:
        """Trust a key up to logs of ``size`` records and no further; what was known before is not widened."""
        self.ended[key] = min(size, self.ended.get(key, size))

    def told(self, alarm: dict[str, Any]) -> None:
        """Keep an alarm, unless it is kept already or there are too many of its kind."""
        of_kind = [kept for kept in self.alarms if kept["kind"] == alarm["kind"]]
        if len(of_kind) < ALARMS_MAX and alarm not in of_kind:
            self.alarms.append(alarm)

    def saw(self, note: str, checkpoint: Checkpoint) -> None:
        """Remember a checkpoint that was checked."""
        self.note = note
        pair = (checkpoint.size, checkpoint.root.hex())
        if not self.seen or self.seen[-1] != pair:
            self.seen = [*self.seen[-SEEN_MAX + 1 :], pair]


def read_state(path: Path) -> WitnessState | None:
    """The state in a file, None where there is no file. Raises StateUnusable."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise StateUnusable(f"{path} cannot be read as a witness's state: {error}") from error
    try:
        if content["format"] != FORMAT:
            raise ValueError(content["format"])
        state = WitnessState(
            [parse_verifier_key(key) for key in content["keys"]],
            content["note"],
            [(int(size), str(root)) for size, root in content["seen"]],
            [{"kind": str(alarm["kind"]), **alarm} for alarm in content["alarms"]],
            {parse_verifier_key(key): int(size) for key, size in content["ended"].items()},
        )
        state.checkpoint  # noqa: B018
    except (KeyError, TypeError, AttributeError, ValueError, NoteInvalid) as error:
        raise StateUnusable(f"{path} is no witness's state, or was changed: {error}") from error
    return state


def write_state(path: Path, state: WitnessState) -> None:
    """Write the state, whole or not at all. Raises OSError."""
    content = {
        "format": FORMAT,
        "keys": [key.text() for key in state.keys],
        "note": state.note,
        "seen": state.seen,
        "alarms": state.alarms,
        "ended": {key.text(): size for key, size in state.ended.items()},
    }
    descriptor, beside = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise
    directory = os.open(path.absolute().parent, os.O_RDONLY)
    try:
        # The name is on disk only once its directory is.
        os.fsync(directory)
    finally:
        os.close(directory)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep everybody else from working with a state file, by a file beside it. Where that one cannot be made, whoever
    shares the directory cannot write the state either, and the look goes on: an alarm must be heard. Raises StateBusy.
    """
    try:
        descriptor = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    except OSError:
        yield
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StateBusy(f"another look is at work with {path}; it will be looked at again") from error
        yield
    finally:
        os.close(descriptor)
