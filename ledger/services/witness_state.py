"""What a witness remembers of a book: the last checkpoint it saw, those before, and the keys it trusts.

Owns the file's form (``bursar-witness/1``). Invariants: the file is whole at every moment, because it is written beside
its place, put on disk, and moved there; a checkpoint is remembered only after it was checked.
"""

import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ledger.core.notes import Checkpoint, NoteInvalid, VerifierKey, parse_verifier_key
from ledger.services.ed25519 import open_checkpoint

FORMAT: Final = "bursar-witness/1"
SEEN_MAX: Final = 10_000
"""Checkpoints remembered by size and root: a week of one a minute."""


class StateUnusable(ValueError):
    """A file that is no witness's state. The message is a sentence."""


@dataclass(slots=True)
class WitnessState:
    """``note`` is the last checkpoint, empty before the first; ``seen`` are (size, root in hex) of those up to it, in
    order; ``keys`` are trusted; ``alarm`` is what was found wrong last, with the evidence."""

    keys: list[VerifierKey] = field(default_factory=list)
    note: str = ""
    seen: list[tuple[int, str]] = field(default_factory=list)
    alarm: dict[str, Any] | None = None

    @property
    def checkpoint(self) -> Checkpoint | None:
        """What the last checkpoint says, None before the first. Raises NoteInvalid when the file was changed."""
        return open_checkpoint(self.note, self.keys).checkpoint if self.note else None

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
    except (OSError, ValueError) as error:
        raise StateUnusable(f"{path} cannot be read as a witness's state: {error}") from error
    try:
        if content["format"] != FORMAT:
            raise ValueError(content["format"])
        state = WitnessState(
            [parse_verifier_key(key) for key in content["keys"]],
            content["note"],
            [(int(size), str(root)) for size, root in content["seen"]],
            content["alarm"],
        )
        state.checkpoint  # noqa: B018
    except (KeyError, TypeError, ValueError, NoteInvalid) as error:
        raise StateUnusable(f"{path} is no witness's state, or was changed: {error}") from error
    return state


def write_state(path: Path, state: WitnessState) -> None:
    """Write the state, whole or not at all. Raises OSError."""
    content = {
        "format": FORMAT,
        "keys": [key.text() for key in state.keys],
        "note": state.note,
        "seen": state.seen,
        "alarm": state.alarm,
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
