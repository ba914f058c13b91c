"""The option that names a prices.yaml, and reading it for a verb.

Invariant: a file that is named and cannot be read ends the verb with status 2 and the lines of what is wrong in it, so
that no price is ever shown or applied without the corrections that somebody meant.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from gateway.pricing import Overrides

DEFAULT_FILE: Final = Path("policies/prices.yaml")


class BadPrices(click.ClickException):
    """A file of prices that cannot be used."""

    exit_code = 2


def overrides_in(path: Path | None) -> Overrides:
    """What the file says; without a name policies/prices.yaml where it is, else nothing. Raises BadPrices."""
    from gateway.pricing import NO_OVERRIDES, load_overrides
    from ledger.services.policies.document_errors import PolicyFileError

    if path is None:
        if not DEFAULT_FILE.is_file():
            return NO_OVERRIDES
        path = DEFAULT_FILE
    try:
        return load_overrides(path)
    except PolicyFileError as error:
        raise BadPrices("\n".join(error.lines())) from error
    except OSError as error:
        raise BadPrices(f"{path} cannot be read: {error.strerror}") from error
