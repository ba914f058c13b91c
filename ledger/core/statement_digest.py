"""The digest of a statement: what a closing records, and what the statement made again is compared with.

Owns form 1 of what is digested. Invariants: it depends on scope, period and log size alone, so it leaves out what may
come beside a statement later (the checkpoint) and what is only another way of showing it; a form never changes, because
closings are compared with it for as long as there are books: what statements say one day is another form, and this one
stays.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from ledger.core.canonical import canonical_bytes
from ledger.core.moment import moment_text
from ledger.core.statement import HoldLine, Line, Statement

FORM: Final = 1


def digest_statement(statement: Statement) -> str:
    """SHA-256, in hex, over a line of canonical JSON for each thing that the statement says. Raises StatementBroken
    where it does not add up."""
    digest = sha256()
    for said in (_head(statement), ["opening", _balances(statement.opening)]):
        digest.update(canonical_bytes(said) + b"\n")
    for line in statement.lines():
        digest.update(canonical_bytes(_line(line)) + b"\n")
    digest.update(canonical_bytes(["closing", _balances(statement.closing)]) + b"\n")
    for hold in statement.holds():
        digest.update(canonical_bytes(_hold(hold)) + b"\n")
    return digest.hexdigest()


def _head(statement: Statement) -> list[object]:
    period = statement.period
    return [
        "statement", FORM, statement.book, str(statement.scope), statement.measure, period.text, statement.timezone,
        moment_text(period.starts_at), moment_text(period.ends_at), statement.log.size, statement.log.root.hex(),
    ]  # fmt: skip


def _balances(balances: Mapping[str, int]) -> list[list[str]]:
    return [[currency, str(atoms)] for currency, atoms in sorted(balances.items())]


def _line(line: Line) -> list[object]:
    return [
        "line", line.log_index, line.position, line.kind, moment_text(line.effective_at), moment_text(line.recorded_at),
        moment_text(line.meant_for) if line.meant_for is not None else "", line.authorization or "", line.agent or "",
        line.run or "", line.budget or "", line.category or "", line.payee or "", line.resource or "",
        [list(pair) for pair in line.labels], list(line.approvals), list(line.approved_by), list(line.flags),
        line.corrects.log_index if line.corrects is not None else -1, [link.log_index for link in line.corrected_by],
        line.currency, str(line.cost), str(line.amount), str(line.balance),
    ]  # fmt: skip


def _hold(hold: HoldLine) -> list[object]:
    return [
        "hold", hold.log_index, hold.authorization, hold.state, hold.agent or "", hold.run or "", hold.budget,
        hold.category, hold.payee, hold.resource or "", list(hold.flags), hold.currency, str(hold.held),
        moment_text(hold.opened_at), moment_text(hold.expires_at) if hold.expires_at is not None else "",
    ]  # fmt: skip
