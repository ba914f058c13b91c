"""What became of past authorizations, followed through the log as far as a candidate policy would have let it happen.

Owns ``Following``: the authorizations that are open, those that only the candidate would have approved, and the marks
of those that it would have denied. Invariants: what has ended is left behind, and found again by its row when something
of it changes once more; an authorization that the candidate denies counts nothing, whatever became of it.
"""

from heapq import heapify, heappop, heappush
from typing import Final

from ledger.core.authorization import HELD, ON_EXPIRY_RELEASE, OPEN_STATES, Authorization
from ledger.core.canonical import parse
from ledger.core.moment import SECOND, moment_of
from ledger.core.planning import Plan, subject_of
from ledger.core.policy import Subject
from ledger.core.simulated import NEWLY_ASKING, NEWLY_DENIED, Findings
from ledger.core.simulating_examples import Past
from ledger.core.simulating_uses import Counting, Marks, Use, changes_between

DUE_SPARE: Final = 1_000


class Following:
    """Goes on with authorizations. ``since`` is the moment from which findings are made; ``log_size`` bounds the
    indexes of records."""

    def __init__(self, counting: Counting, findings: Findings, *, since: int, log_size: int) -> None:
        self._counting = counting
        self._findings = findings
        self._since = since
        self._open: dict[str, Use] = {}
        self._ended: list[str] = []
        self._denied = Marks(log_size)
        self._refused = Marks(log_size)
        self._trims: dict[int, dict[int, int]] = {}
        self._due: list[tuple[int, int, str]] = []
        self._phantoms: list[tuple[int, int, Use]] = []

    def __contains__(self, reference: str) -> bool:
        return reference in self._open

    def __len__(self) -> int:
        return len(self._open) + len(self._phantoms)

    def get(self, reference: str) -> Use | None:
        """An authorization that may change; None where the candidate is not on its path."""
        return self._open.get(reference)

    def begin(self, record: Past, plan: Plan, subject: Subject, *, denied: str | None = None, less: int = 0) -> Use:
        """Go on with an authorization that really held, or waited for persons. ``denied`` is the category under which
        the candidate would not have let it, ``less`` what it would have approved less."""
        index, kind, now, body = record
        reference = body["authorization"]
        use = Use(reference, index, now, subject, plan.applied(subject).counted)
        use.approved = use.held = int(body["approved"])
        use.denied = denied
        request = body["request"]
        use.release = request["on_expiry"] == ON_EXPIRY_RELEASE
        self._open[reference] = use
        if denied is not None:
            self._denied.set(index)
            if denied == NEWLY_ASKING:
                self._refused.set(index)
            return use
        if less:
            use.trims = self._trims[index] = {0: less}
        if kind == "hold":
            self._falls_due(use, now + request["ttl_seconds"] * SECOND)
        use.counts = use.uses()
        self._counting.count_now(use.counted, (0, use.held - less, 1), now)
        return use

    def approve(self, record: Past, plan: Plan, subject: Subject, amount: int) -> None:
        """Hold what only the candidate approves: ``amount``, until its time is up."""
        now = record.moment
        use = Use(record.body["authorization"], record.log_index, now, subject, plan.applied(subject).counted)
        use.approved = use.held = amount
        use.counts = use.uses()
        self._counting.count_now(use.counted, (0, amount, 1), now)
        heappush(self._phantoms, (now + record.body["request"]["ttl_seconds"] * SECOND, record.log_index, use))

    def extend(self, use: Use, now: int, atoms: int) -> None:
        """Hold more, which only the candidate approves, until the hold ends."""
        if atoms:
            use.extra = (*use.extra, (now, atoms))
            self._count_again(use, now)

    def trim(self, use: Use, record: Past, atoms: int) -> None:
        """Take off the portion that the extension of ``record`` adds, because the candidate denies it."""
        if atoms:
            place = len(parse(record.body["portions"].encode())) - 1
            use.trims = self._trims[use.index] = (use.trims or {}) | {place: atoms}

    def follow(self, record: Past, *, longer: bool = True) -> None:
        """An authorization went on as its record says. Without ``longer`` its time is not extended."""
        _, kind, now, body = record
        use = self._open.get(body["authorization"])
        if use is None:
            return
        spent = use.spent
        use.spent = int(body["settled"]) + int(body.get("repriced", "0")) - int(body.get("refunded", "0"))
        use.held = int(body["held"])
        if "approved" in body:
            use.approved = int(body["approved"])
        use.portions = body.get("portions")
        state = body["state"]
        if use.denied is not None:
            if use.spent != spent and now >= self._since:
                self._findings.spend(use.denied, use.subject.agent or "", use.spent - spent, use.subject.currency)
        elif state == HELD:
            use.unasked = False
            if longer and kind in ("extension", "approval_granted"):
                self._falls_due(use, moment_of(body["expires_at"]))
        if state not in OPEN_STATES:
            use.extra = ()
            if use.unasked and use.ends_at > now:
                # Nobody would have been asked: it would have held, for nobody knows what, until its time was up.
                use.held, use.unasked = use.approved, False
                heappush(self._phantoms, (use.ends_at, record.log_index, use))
            else:
                self._end(use)
        self._count_again(use, now)

    def charge(self, record: Past, plan: Plan, subject: Subject) -> None:
        """Spend that nobody authorized counts when it was recorded, whatever a policy says."""
        index, _, now, body = record
        use = Use(body["authorization"], index, now, subject, plan.applied(subject).counted)
        use.spent = int(body["amount"])
        self._open[use.reference] = use
        self._end(use)
        self._count_again(use, now)

    def take_elder(self, row: Authorization, plan: Plan) -> None:
        """Go on with an authorization that was left behind, or that was made before the first record fed."""
        subject = subject_of(row)
        use = Use(row.id, row.created_index, row.created_at, subject, plan.applied(subject).counted)
        use.approved, use.held, use.spent = row.approved, row.held, row.cost - row.refunded
        use.portions = row.portions
        use.release = row.on_expiry == ON_EXPIRY_RELEASE
        if row.created_index in self._denied:
            use.denied = NEWLY_ASKING if row.created_index in self._refused else NEWLY_DENIED
        use.trims = self._trims.get(row.created_index)
        use.counts = use.uses()
        self._open[row.id] = use
        if row.state not in OPEN_STATES:
            self._end(use)
        elif row.state == HELD and row.expires_at is not None:
            self._falls_due(use, row.expires_at)

    def forget_ended(self) -> None:
        """Leave behind what has ended; to be called once the records at hand are taken in."""
        for reference in self._ended:
            use = self._open.get(reference)
            if use is not None and use.closed:
                del self._open[reference]
        self._ended.clear()

    def end_due(self, now: int) -> bool:
        """End the holds whose time is up though no record says so yet; whether there were any."""
        found = False
        while self._due and self._due[0][0] <= now:
            due, _, reference = heappop(self._due)
            use = self._open.get(reference)
            if use is not None and use.due == due and use.held and not use.closed:
                use.held, use.extra = 0, ()
                self._count_again(use, now)
                found = True
        return found

    def end_approved(self, now: int) -> None:
        """End what only the candidate approved and whose time is up."""
        while self._phantoms and self._phantoms[0][0] <= now:
            _, _, use = heappop(self._phantoms)
            use.held = 0
            self._count_again(use, now)
            if self._open.get(use.reference) is use:
                self._end(use)

    def _end(self, use: Use) -> None:
        use.closed = True
        self._ended.append(use.reference)

    def _falls_due(self, use: Use, due: int) -> None:
        if not use.release:
            return
        use.due = due
        if len(self._due) > 2 * len(self._open) + DUE_SPARE:
            self._due = [
                (one.due, one.index, one.reference) for one in self._open.values() if one.due is not None and one.held
            ]
            heapify(self._due)
        heappush(self._due, (due, use.index, use.reference))

    def _count_again(self, use: Use, now: int) -> None:
        """Count what changed of a use."""
        after = use.uses()
        if after != use.counts:
            self._counting.count(use.counted, changes_between(use.counts, after), now)
            use.counts = after
