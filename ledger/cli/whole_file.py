"""Writing what a verb makes: to standard output, or as a file that is whole or not there.

Invariant: a file is written beside its place and put there once it is whole, so nothing that broke off looks like what
ends.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import click

from ledger.cli.database import BadValue


def write_whole(pieces: Iterable[bytes], out: Path | None) -> None:
    """Write pieces to ``out``, to standard output where it is None. Raises BadValue, ClickException, and what making
    the pieces raises; then there is no file, or the one that was there before."""
    if out is None:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{out.name}.", dir=out.absolute().parent)
    except OSError as error:
        raise BadValue(f"{out} cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            for piece in pieces:
                file.write(piece)
        # As readable as a file that was opened in its place.
        mask = os.umask(0)
        os.umask(mask)
        Path(name).chmod(0o666 & ~mask)
        Path(name).replace(out)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise click.ClickException(f"{out} could not be written to its end: {error.strerror}") from error
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
