"""Typed, prefixed ids and the grammar of names: validates, never generates (``services.sources`` generates).

Invariant: an id and a name can never be mistaken for each other, because a name that has the form of an id is no name.
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
WEBHOOK: Final = "whk"
WEBHOOK_SECRET: Final = "whs"
EVENT: Final = "evt"

POLICY: Final = "pol"
APPROVAL: Final = "apr"
DELEGATION: Final = "dlg"
REDACTION: Final = "rdc"
RATE: Final = "rte"
CORRECTION: Final = "cor"
REVERSAL: Final = "rev"
RECONCILIATION: Final = "rcn"
INVOICE: Final = "inv"
PAYMENT: Final = "pay"
HISTORY: Final = "his"

PREFIXES: Final = (
    AUTHORIZATION, KEY, AGENT, TEAM, BUDGET, RUN, CHARGE, REFUND, ADJUSTMENT, ALLOCATION, WEBHOOK, WEBHOOK_SECRET,
    EVENT, POLICY, APPROVAL, DELEGATION, REDACTION, RECONCILIATION, CORRECTION, REVERSAL, INVOICE, PAYMENT,
    HISTORY,
    RATE,
)  # fmt: skip
TIME_LENGTH: Final = 10
BODY_LENGTH: Final = 26
ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32 in lower case: 26 characters carry 50 bits of milliseconds and 80 random bits, so that ids
sort by the time they were made."""

NAME_LENGTH_MAX: Final = 64
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_RUN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_ID: Final = re.compile(rf"(?:{'|'.join(PREFIXES)})_[{ALPHABET}]{{{BODY_LENGTH}}}")


def is_name(text: str) -> bool:
    """Whether text is a slug (``[a-z0-9][a-z0-9._-]*``, at most 64 characters) that does not have the form of an id."""
    return _NAME.fullmatch(text) is not None and _ID.fullmatch(text) is None


def is_run_name(text: str) -> bool:
    """Whether text can name a run: letters of either case, digits and ``._:-``, at most 128 characters, and not of the
    form of an id."""
    return _RUN_NAME.fullmatch(text) is not None and _ID.fullmatch(text) is None


def is_id(text: str, *prefixes: str) -> bool:
    """Whether text is a well-formed id of one of the kinds that ``prefixes`` name."""
    return "_" in text and text.partition("_")[0] in prefixes and _ID.fullmatch(text) is not None


_OF_KIND: Final = {"agents": (AGENT, TEAM), "budgets": (BUDGET,), "runs": (RUN,)}


def is_id_of(kind: str, reference: str) -> bool:
    """Whether a reference to an agent, budget or run (``kind`` is a map of ``Snapshot``) is an id and not a name."""
    return "_" in reference and is_id(reference, *_OF_KIND[kind])
