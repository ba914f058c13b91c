"""Typed, prefixed ids and the grammar of names: validates, never generates (``services.sources`` generates).

Invariant: an id and a name can never be mistaken for each other, because a name (slug) has no underscore and
every id has one right after its prefix.
"""

import re
from typing import Final

AUTHORIZATION: Final = "auth"
KEY: Final = "key"
AGENT: Final = "agt"
TEAM: Final = "team"
BUDGET: Final = "bud"
RUN: Final = "run"
CHARGE: Final = "chg"
REFUND: Final = "ref"
ADJUSTMENT: Final = "adj"
ALLOCATION: Final = "alc"

PREFIXES: Final = (AUTHORIZATION, KEY, AGENT, TEAM, BUDGET, RUN, CHARGE, REFUND, ADJUSTMENT, ALLOCATION)
BODY_LENGTH: Final = 26
ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32 in lower case: 26 characters carry 50 bits of milliseconds and 80 random bits, so that ids
sort by the time they were made."""

NAME_LENGTH_MAX: Final = 64
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_RUN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_ID: Final = re.compile(rf"(?:{'|'.join(PREFIXES)})_[{ALPHABET}]{{{BODY_LENGTH}}}")


def is_name(text: str) -> bool:
    """Whether text is a slug: ``[a-z0-9][a-z0-9._-]*``, at most 64 characters."""
    return _NAME.fullmatch(text) is not None


def is_run_name(text: str) -> bool:
    """Whether text can name a run: letters of either case, digits and ``._:-``, at most 128 characters."""
    return _RUN_NAME.fullmatch(text) is not None


def is_id(text: str, prefix: str) -> bool:
    """Whether text is a well-formed id of the kind that ``prefix`` names."""
    return text.startswith(prefix + "_") and _ID.fullmatch(text) is not None
