"""Corrections that need a second person: the rules, what was asked for, how much each person corrected alone, and what
was reversed.

Invariants: a request is carried out by another person than the one who asked, and at most once; what one person
corrects alone on one day of the book, in one currency, is never more than the rule allows; a record is reversed once.
"""

from dataclasses import dataclass
from typing import Final

PENDING: Final = "pending"
APPROVED: Final = "approved"
REFUSED: Final = "refused"
WITHDRAWN: Final = "withdrawn"
EXPIRED: Final = "expired"
STATES: Final = (PENDING, APPROVED, REFUSED, WITHDRAWN)
"""States that a row has. One that is pending when its time is over counts as ``expired``, without a record."""
STATES_SHOWN: Final = (*STATES, EXPIRED)

EXPIRES_AFTER_DAYS: Final = 14
"""How long a request waits for a second person: over a fortnight's leave, and no longer than its facts stay in mind."""

SET_RULE: Final = "set_correction_rule"
ENTRIES: Final = ("charge", "refund", "reprice", "adjust", "reverse")
"""Operations that correct the book, and that a rule is about."""
OPERATIONS: Final = (*ENTRIES, SET_RULE)
"""What may be asked for: corrections, and a rule that is to allow more than before."""


@dataclass(slots=True)
class CorrectionRule:
    """One row of ``correction_rules``: more than ``above`` atoms of ``currency`` need a second person; None: nothing
    does any more."""

    book_id: int
    currency: str
    above: int | None
    created_index: int
    changed_index: int


@dataclass(slots=True)
class CorrectionSum:
    """One row of ``correction_sums``: what a person has corrected alone on ``day`` (days since 1970 in the book's time
    zone), in atoms of a currency that has a rule."""

    book_id: int
    person: str
    currency: str
    day: int
    amount: int
    changed_index: int


@dataclass(slots=True)
class Correction:
    """One row of ``corrections``: something that a person asked for and another must approve.

    ``request`` is the canonical request as its record has it, ``amounts`` canonical JSON of [currency, atoms] pairs;
    ``key_made_by`` is who stands behind the key it came with. Times in microseconds. Once approved, ``changed_index``
    is the record that it became.
    """

    book_id: int
    id: str
    operation: str
    state: str
    request: str
    amounts: str
    requested_by: str
    requested_key: str
    key_made_by: str
    created_at: int
    expires_at: int
    decided_at: int | None
    decided_by: str | None
    created_index: int
    changed_index: int


@dataclass(slots=True)
class Reversal:
    """One row of ``reversals``: record ``log_index`` was reversed by record ``created_index``."""

    book_id: int
    log_index: int
    created_index: int


@dataclass(slots=True)
class Reversible:
    """An adjustment or a charge as a verifier remembers it, to look at its reversal: ``authorization`` is the charge's
    id, ``transfers`` canonical JSON."""

    book_id: int
    log_index: int
    authorization: str | None
    transfers: str


def is_looser(before: int | None, above: int | None) -> bool:
    """Whether a rule allows a person more than the one before it did; None allows everything."""
    return before is not None and (above is None or above > before)


def exceeds(above: int | None, *, alone: int, atoms: int) -> bool:
    """Whether a correction of ``atoms`` by somebody who corrected ``alone`` today needs a second person."""
    return above is not None and alone + atoms > above
