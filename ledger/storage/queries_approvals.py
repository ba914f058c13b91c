"""Reading approvals with their votes, and delegations.

Invariant: lists are newest first, and what a page refers to is read with one statement for the whole page.
"""

from collections.abc import Collection

from sqlalchemy import ColumnElement, Connection, and_, or_, select

from ledger.core.approval import Approval, Delegation, Vote
from ledger.core.authorization import Authorization
from ledger.storage.paging import Page, bounded, page_of
from ledger.storage.tables import approval_votes, approvals, authorizations, delegations


def approval(connection: Connection, book_id: int, approval_id: str) -> Approval | None:
    """The approval of that id, or None."""
    statement = select(approvals).where(approvals.c.book_id == book_id, approvals.c.id == approval_id)
    row = connection.execute(statement).one_or_none()
    return None if row is None else Approval(*row)


def approvals_of(connection: Connection, book_id: int, references: Collection[str]) -> dict[str, list[Approval]]:
    """Authorization to its approvals in their sequence, of those that have any; for the few that a page refers to."""
    columns = approvals.c
    statement = (
        select(approvals)
        .where(columns.book_id == book_id, columns.authorization_id.in_(references))
        .order_by(columns.authorization_id, columns.position)
    )
    found: dict[str, list[Approval]] = {}
    for row in connection.execute(statement):
        found.setdefault(row.authorization_id, []).append(Approval(*row))
    return found


def votes_on(connection: Connection, book_id: int, references: Collection[str]) -> dict[str, list[Vote]]:
    """Approval to its votes, oldest first, of those that have any; for the few that a page refers to."""
    columns = approval_votes.c
    statement = (
        select(approval_votes)
        .where(columns.book_id == book_id, columns.approval.in_(references))
        .order_by(columns.approval, columns.created_index)
    )
    found: dict[str, list[Vote]] = {}
    for row in connection.execute(statement):
        found.setdefault(row.approval, []).append(Vote(*row))
    return found


def list_approvals(
    connection: Connection, book_id: int, *, state: str, after: tuple[int, int] | None = None, limit: int = 50
) -> Page[Approval]:
    """Approvals in one state, newest first, continuing after a (``created_index``, ``position``)."""
    columns = approvals.c
    conditions: list[ColumnElement[bool]] = [columns.book_id == book_id, columns.state == state]
    if after is not None:
        index, position = after
        # The first condition bounds the walk of the index; the second alone would be a filter on all that is newer.
        conditions.append(columns.created_index <= index)
        conditions.append(
            or_(columns.created_index < index, and_(columns.created_index == index, columns.position < position))
        )
    statement = (
        select(approvals)
        .where(*conditions)
        .order_by(columns.created_index.desc(), columns.position.desc())
        .limit(bounded(limit) + 1)
    )
    return page_of(
        connection.execute(statement).all(),
        limit,
        lambda row: Approval(*row),
        lambda item: (item.created_index, item.position),
    )


def authorizations_named(connection: Connection, book_id: int, references: Collection[str]) -> dict[str, Authorization]:
    """Id to authorization, of those that are there; for the few that a page refers to."""
    columns = authorizations.c
    statement = select(authorizations).where(columns.book_id == book_id, columns.id.in_(references))
    return {row.id: Authorization(*row) for row in connection.execute(statement)}


def delegation(connection: Connection, book_id: int, delegation_id: str) -> Delegation | None:
    """The delegation of that id, or None."""
    statement = select(delegations).where(delegations.c.book_id == book_id, delegations.c.id == delegation_id)
    row = connection.execute(statement).one_or_none()
    return None if row is None else Delegation(*row)


def list_delegations(
    connection: Connection,
    book_id: int,
    *,
    person: str | None = None,
    live_at: int | None = None,
    after: str | None = None,
    limit: int = 50,
) -> Page[Delegation]:
    """Delegations, newest first, continuing after an id; ``person`` gave or received them; ``live_at`` (microseconds)
    leaves out those that do not stand at that moment."""
    columns = delegations.c
    conditions: list[ColumnElement[bool]] = [columns.book_id == book_id]
    if person is not None:
        conditions.append(or_(columns.giver == person, columns.receiver == person))
    if live_at is not None:
        conditions += [columns.starts_at <= live_at, columns.ends_at > live_at, columns.revoked_at.is_(None)]
    if after is not None:
        conditions.append(columns.id < after)
    statement = select(delegations).where(*conditions).order_by(columns.id.desc()).limit(bounded(limit) + 1)
    return page_of(connection.execute(statement).all(), limit, lambda row: Delegation(*row), lambda item: (item.id,))
