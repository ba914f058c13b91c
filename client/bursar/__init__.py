"""What the client offers to programs: asking a Bursar server, saying what became of a run, and what a verb of the
`bursar` command is made with.

Invariant: the names in ``__all__`` are the whole public surface; a test compares it with a list. They are imported
when they are used, so that `bursar --help` does not wait for an HTTP client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from bursar.asking import CannotAsk, Refused, Remote, remote, remote_options
    from bursar.command import name_in_environment
    from bursar.outcomes import report_outcome, report_outcome_async

__all__ = [
    "CannotAsk", "Refused", "Remote", "name_in_environment", "remote", "remote_options", "report_outcome",
    "report_outcome_async",
]  # fmt: skip

_HOMES: Final = {
    "CannotAsk": "bursar.asking",
    "Refused": "bursar.asking",
    "Remote": "bursar.asking",
    "name_in_environment": "bursar.command",
    "remote": "bursar.asking",
    "remote_options": "bursar.asking",
    "report_outcome": "bursar.outcomes",
    "report_outcome_async": "bursar.outcomes",
}


def __getattr__(name: str) -> Any:
    """A public name, from the module that owns it. Raises AttributeError."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
