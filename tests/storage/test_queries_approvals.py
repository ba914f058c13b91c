"""What approvers are shown, on both databases: pages, what belongs together, and the indexes it is read by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, insert

from ledger.core.approval import Approval, Delegation, Vote
from ledger.core.changeset import APPROVALS, DELEGATIONS, VOTES, row_of
from ledger.storage import queries_approvals as queries
from ledger.storage.engine import create_engine, create_migration_engine
from ledger.storage.migrate import upgrade
from ledger.storage.tables import metadata

BOOK, OTHER = 1, 2
STATES = ("open", "waiting", "granted")


def approval(number: int, position: int, state: str, book_id: int = BOOK) -> Approval:
    """An approval of authorization ``auth_NUMBER``."""
    return Approval(
        book_id, f"apr_{number}_{position}", f"auth_{number}", position, "asks", 1, "two", state, '["approver"]', 1, 60,
        b"d" * 32, "agent:crawler", "person:owner", 600, 1, 2, None, number, number,
    )  # fmt: skip


def rows() -> dict[str, list[tuple[object, ...]]]:
    """Six requests of two tiers, in three states; votes on one; delegations between three persons; and another book."""
    approvals = [approval(number, place, STATES[number % 3]) for number in range(6) for place in (0, 1)]
    approvals.append(approval(9, 0, "open", OTHER))
    votes = [
        Vote(BOOK, "apr_2_0", seat, person, "grant", index, index)
        for seat, person, index in (("pat", "pat", 8), ("ann", "quinn", 7))
    ]
    votes.append(Vote(OTHER, "apr_2_0", "eve", "eve", "grant", 7, 7))
    delegations = [
        Delegation(BOOK, "dlg_1", "pat", "quinn", "approver", "person:pat", 10, 20, None, 1, 1),
        Delegation(BOOK, "dlg_2", "ann", "pat", "finance", "person:ann", 10, 30, 15, 2, 3),
        Delegation(BOOK, "dlg_3", "ann", "quinn", "finance", "person:zoe", 20, 30, None, 4, 4),
        Delegation(OTHER, "dlg_4", "pat", "quinn", "finance", "person:zoe", 10, 30, None, 4, 4),
    ]
    made = ((APPROVALS, approvals), (VOTES, votes), (DELEGATIONS, delegations))
    return {spec.name: [row_of(row) for row in entities] for spec, entities in made}  # type: ignore[attr-defined]


@pytest.fixture
def connection(migrated_url: str) -> Iterator[Connection]:
    """A connection to a database that has the rows."""
    fill(migrated_url)
    engine = create_engine(migrated_url, pool_size=1)
    with engine.connect() as opened:
        yield opened
    engine.dispose()


def fill(url: str) -> None:
    """Write the rows."""
    engine = create_migration_engine(url)
    with engine.begin() as writing:
        for name, values in rows().items():
            table = metadata.tables[name]
            names = [column.name for column in table.columns]
            writing.execute(insert(table), [dict(zip(names, row, strict=True)) for row in values])
    engine.dispose()


def test_approvals_in_a_state_are_paged_newest_first(connection: Connection) -> None:
    """Both tiers of a request, the later first; nothing twice, nothing left out, nothing of another book."""
    whole = ["apr_3_1", "apr_3_0", "apr_0_1", "apr_0_0"]
    for limit in (1, 2, 3, 4, 200):
        seen: list[str] = []
        after = None
        while True:
            page = queries.list_approvals(connection, BOOK, state="open", after=after, limit=limit)
            seen += [one.id for one in page.items]
            if page.after is None:
                break
            after = page.after
        assert seen == whole
    assert queries.list_approvals(connection, BOOK, state="refused").items == []


def test_what_belongs_to_a_request_is_found(connection: Connection) -> None:
    """Tiers in their sequence, votes in theirs; of others and of other books nothing."""
    assert queries.approval(connection, BOOK, "apr_2_1") == approval(2, 1, "granted")
    assert queries.approval(connection, BOOK, "apr_9_0") is None
    found = queries.approvals_of(connection, BOOK, ["auth_1", "auth_2", "auth_9"])
    assert {key: [one.position for one in tiers] for key, tiers in found.items()} == {
        "auth_1": [0, 1],
        "auth_2": [0, 1],
    }
    votes = queries.votes_on(connection, BOOK, ["apr_2_0", "apr_2_1"])
    assert {key: [one.person for one in given] for key, given in votes.items()} == {"apr_2_0": ["quinn", "pat"]}
    assert queries.authorizations_named(connection, BOOK, ["auth_1"]) == {}


@pytest.mark.parametrize(
    ("person", "live_at", "expected"),
    [
        (None, None, ["dlg_3", "dlg_2", "dlg_1"]),
        ("pat", None, ["dlg_2", "dlg_1"]),
        ("quinn", None, ["dlg_3", "dlg_1"]),
        (None, 9, []),
        (None, 10, ["dlg_1"]),
        (None, 20, ["dlg_3"]),
        (None, 30, []),
        ("nobody", None, []),
    ],
)
def test_delegations_are_narrowed(
    connection: Connection, person: str | None, live_at: int | None, expected: list[str]
) -> None:
    """By person, and by a moment: from its start, up to its end, not once it is revoked."""
    page = queries.list_delegations(connection, BOOK, person=person, live_at=live_at)
    assert [one.id for one in page.items] == expected
    first = queries.list_delegations(connection, BOOK, person=person, live_at=live_at, limit=1)
    assert [one.id for one in first.items] == expected[:1]
    assert (first.after is None) == (len(expected) <= 1)
    if first.after is not None:
        rest = queries.list_delegations(connection, BOOK, person=person, live_at=live_at, after=str(first.after[0]))
        assert [one.id for one in rest.items] == expected[1:]


@pytest.mark.parametrize(
    ("index", "query"),
    [
        ("approvals_state", lambda opened: queries.list_approvals(opened, BOOK, state="open", after=(3, 0))),
        ("approvals_authorization", lambda opened: queries.approvals_of(opened, BOOK, ["auth_1", "auth_2"])),
    ],
)
def test_sqlite_reads_by_the_index_made_for_it(
    tmp_path: Path, index: str, query: Callable[[Connection], object]
) -> None:
    """Asked of the planner itself: no scan, and no sort in memory."""
    url = f"sqlite:///{tmp_path}/book.db"
    upgrade(url)
    engine = create_engine(url, pool_size=1)
    asked: list[tuple[str, object]] = []
    event.listen(engine, "before_cursor_execute", lambda *call: asked.append((call[2], call[3])))
    with engine.connect() as opened:
        query(opened)
        statement, values = asked[-1]
        steps = [row[3] for row in opened.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
    engine.dispose()
    assert any(f"INDEX {index} " in step + " " for step in steps), steps
    assert not any(step.startswith("SCAN") or "TEMP B-TREE" in step for step in steps), steps
