"""What a settlement was metered from, and what prices were: short texts under short names, kept in the log for good.

Owns their bounds and their form. Invariant: the same mapping gives the same pairs, sorted by name, so that a record,
the row of an authorization and an answer say the same. These are no free texts: nothing of them can be removed later.
"""

import re
from collections.abc import Mapping
from typing import Final

from ledger.core.canonical import canonical_bytes, parse

Pairs = tuple[tuple[str, str], ...]
"""(name, value), sorted by name."""
PAIRS_MAX: Final = 40
NAME_PATTERN: Final = r"^[a-z0-9_.-]{1,64}$"
VALUE_PATTERN: Final = r"^[^\x00-\x1f\x7f]*$"
VALUE_LENGTH_MAX: Final = 256
_NAME: Final = re.compile(NAME_PATTERN.removesuffix("$") + r"\Z")
_NAMES: Final = re.compile(r"[a-z0-9_.-]{1,64}(?:\n[a-z0-9_.-]{1,64})*+\Z")
_VALUE: Final = re.compile(VALUE_PATTERN.removesuffix("$") + r"\Z")


def pairs_of(values: Mapping[str, str]) -> Pairs:
    """A mapping as sorted pairs. Raises ValueError, saying why, for more than ``PAIRS_MAX`` pairs, a name outside
    ``NAME_PATTERN``, or a value that is no printable text of at most ``VALUE_LENGTH_MAX`` characters."""
    if len(values) > PAIRS_MAX:
        raise ValueError(f"{len(values)} pairs; at most {PAIRS_MAX} are allowed")
    if _all_plain(values):
        return tuple(sorted(values.items()))
    for name, value in values.items():
        if not isinstance(name, str) or _NAME.match(name) is None:
            raise ValueError(f"{name!r} is no name of 1 to 64 of a-z, 0-9, and the characters _ . -")
        if not isinstance(value, str) or len(value) > VALUE_LENGTH_MAX or _VALUE.match(value) is None:
            raise ValueError(f"the value of {name} is no printable text of at most {VALUE_LENGTH_MAX} characters")
    return tuple(sorted(values.items()))


def _all_plain(values: Mapping[str, str]) -> bool:
    """Whether all names and values are of the usual kind, looked at together: whatever is not is looked at one by one,
    because some of it is allowed as well."""
    try:
        return (
            _NAMES.match("\n".join(values)) is not None
            and "".join(values.values()).isprintable()
            and max(map(len, values.values()), default=0) <= VALUE_LENGTH_MAX
        )
    except TypeError:
        return False


def pairs_text(pairs: Pairs) -> str | None:
    """Pairs as the row of an authorization keeps them: canonical JSON, None for none."""
    return canonical_bytes([list(pair) for pair in pairs]).decode() if pairs else None


def pairs_said(text: str | None) -> dict[str, str]:
    """What a row keeps, as a mapping again."""
    return dict(parse(text.encode())) if text is not None else {}
