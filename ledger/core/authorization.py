"""Authorizations and the holds they make: states, flags, and the row.

Invariant: ``held`` is what the hold still reserves; it is zero in every state but ``held`` and
``pending_approval``. A charge (spend nobody authorized) is a row of the same shape, with an id of its own prefix,
born ``settled`` and flagged ``unauthorized``, so that a refund finds both in one place.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

DENIED: Final = "denied"
PENDING: Final = "pending_approval"
HELD: Final = "held"
SETTLED: Final = "settled"
RELEASED: Final = "released"
EXPIRED: Final = "expired"
REFUSED: Final = "refused"
STATES: Final = (DENIED, PENDING, HELD, SETTLED, RELEASED, EXPIRED, REFUSED)
OPEN_STATES: Final = (PENDING, HELD)

ON_EXPIRY_RELEASE: Final = "release"
ON_EXPIRY_UNKNOWN: Final = "unknown"
ON_EXPIRY: Final = (ON_EXPIRY_RELEASE, ON_EXPIRY_UNKNOWN)

FLAG_OVERRUN: Final = 1
FLAG_LATE: Final = 2
FLAG_MISMATCH: Final = 4
FLAG_UNAUTHORIZED: Final = 8
FLAG_UNKNOWN: Final = 16
FLAG_PARTIAL: Final = 32
FLAG_FORCED: Final = 64
FLAG_ESTIMATED: Final = 128
FLAG_UNPRICED: Final = 256
FLAG_REPRICED: Final = 512
FLAG_GATEWAY: Final = 1024
FLAGS: Final = {
    "overrun": FLAG_OVERRUN,
    "late": FLAG_LATE,
    "mismatch": FLAG_MISMATCH,
    "unauthorized": FLAG_UNAUTHORIZED,
    "unknown": FLAG_UNKNOWN,
    "partial": FLAG_PARTIAL,
    "forced": FLAG_FORCED,
    "estimated": FLAG_ESTIMATED,
    "unpriced": FLAG_UNPRICED,
    "repriced": FLAG_REPRICED,
    "gateway": FLAG_GATEWAY,
}
"""Flag name to bit: settled above its hold; settled after its end; settled as something else than asked; spent
without authorization; its time ran out and its outcome is not known; approved for less than asked; granted
by an admin against the approval that was asked for; settled by an estimate, because no usage came; settled though
nobody could price the usage; settled at a price that was corrected later; carried out by the gateway, which
alone says how it ended."""
GATEWAY: Final = "gateway"
"""Who carries a request out, as its record says it (``operator``), where that is not the asker."""
SETTLE_FLAGS: Final = ("estimated", "unpriced")
"""Flags that whoever settles may say; they stay for ever."""

TTL_SECONDS_DEFAULT: Final = 600
TTL_SECONDS_MAX: Final = 30 * 24 * 3600
SPLITS_MAX: Final = 16


@dataclass(slots=True)
class Authorization:
    """One row of ``authorizations``. Amounts in atoms of ``currency``, times in microseconds since 1970 UTC.

    ``amount`` was asked, ``approved`` is authorized in all (extensions included), ``held`` is still reserved,
    ``due_at`` is when an open hold must be looked at next (None: never); only a charge
    may lack an ``agent``. ``splits`` lists what each (category,
    payee) pair settled and got refunded, as canonical JSON, once settlements name more than one pair. ``labels`` are
    sorted pairs and ``portions`` the parts of an extended hold (``core.uses``), both as canonical JSON; ``metering`` is
    what the latest settlement that said so was metered from (``core.metering``). ``repriced`` is what repricing added
    to what was settled, or took off it (below zero). ``exchange`` is the side that was asked, where that is another
    currency than the budget's (``core.exchange``), as canonical JSON.
    """

    book_id: int
    id: str
    agent: str | None
    budget: str
    run: str | None
    category: str
    payee: str
    resource: str | None
    currency: str
    amount: int
    approved: int
    held: int
    settled: int
    refunded: int
    state: str
    flags: int
    reason: str | None
    on_expiry: str
    created_at: int
    expires_at: int | None
    due_at: int | None
    settled_category: str | None
    settled_payee: str | None
    splits: str | None
    labels: str | None
    portions: str | None
    created_index: int
    changed_index: int
    metering: str | None = None
    repriced: int = 0
    exchange: str | None = None

    @property
    def cost(self) -> int:
        """What was settled, at the prices that hold now: refunds are not taken off."""
        return self.settled + self.repriced


def flag_names(flags: int) -> list[str]:
    """The names of the bits set in ``flags``, in the order of ``FLAGS``."""
    return [name for name, bit in FLAGS.items() if flags & bit] if flags else []


def flag_bits(names: Iterable[str]) -> int:
    """The bits that flag names stand for. Raises KeyError for a name that is no flag."""
    bits = 0
    for name in names:
        bits |= FLAGS[name]
    return bits
