"""What a key that is for one run only may do.

Invariant: with such a key nothing is asked for, changed or read outside of its run, whatever its agent may do with
other keys.
"""

from ledger.core.outcome import Status
from ledger.core.overlay import Overlay
from ledger.core.principal import Key
from ledger.core.refusal import refuse
from ledger.core.roles import RUN_SCOPED


def check_operation(operation: str, key: Key) -> None:
    """Refuse an operation that is not for a key of one run."""
    if key.run is not None and operation not in RUN_SCOPED:
        refuse(Status.KEY_RUN_ONLY, f"{key.id} is for run {key.run} only, and may not {operation}")


def run_asked(overlay: Overlay, key_run: str | None, named: str | None) -> str | None:
    """The run that a request is for: the key's own where it is for one, and what the request names (name or id)
    otherwise. Refuses another run than the key's."""
    if key_run is None:
        return named
    if named is not None and overlay.name_of("runs", named) != key_run:
        refuse(Status.KEY_RUN_ONLY, f"the key is for run {key_run} only, and the request names {named}")
    return key_run
