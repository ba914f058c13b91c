"""What the API reads, on both databases: filters, pages, past balances, and the indexes they stand on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, event

from ledger.core import changeset
from ledger.core.account import Account
from ledger.core.authorization import FLAG_PARTIAL
from ledger.core.changeset import Changeset, row_of, update_of
from ledger.core.journal import Transfer
from ledger.core.needs import Needs
from ledger.storage import queries_accounts as accounts
from ledger.storage import queries_authorizations as authorizations
from ledger.storage import queries_budgets as budgets
from ledger.storage import queries_finance as finance
from ledger.storage import queries_log as log
from ledger.storage import queries_principals as principals
from ledger.storage.engine import create_engine
from ledger.storage.paging import LIMIT_MAX, Page
from ledger.storage.queries_authorizations import AuthorizationFilter
from ledger.storage.writer import BookWriter
from tests.storage import rows

BOOK = rows.BOOK_ID
HOLDS = 12
SIZE = rows.SETUP_SIZE + HOLDS
"""Holds numbered 1 to 12, each made by the record of its number, at 1,000 + its number microseconds; then a settlement
of hold 3 at index 13, and a charge at 14 that counts for the moment of record 5."""


def more() -> Changeset:
    """Hold 3 is settled; then 7 atoms are charged, backdated."""
    made = Changeset(BOOK, SIZE, rows.root(SIZE), rows.head(SIZE + 2))
    held, available = 5 * HOLDS, rows.ROOM - 5 * HOLDS
    made.inserts = {
        "log_records": [
            tuple(rows.record(13, "settlement", rows.numbered_id("auth", 3))),
            tuple(rows.record(14, "charge")),
        ],
        "transfers": [
            tuple(Transfer(BOOK, 13, 0, 3, 2, "USD", 5, 5, held - 5, 1_013, 1_013)),
            tuple(Transfer(BOOK, 14, 0, 3, 1, "USD", 7, 12, available - 7, 1_014, 1_005)),
        ],
    }
    settled = rows.authorization(3, 3)
    settled.state, settled.held, settled.settled, settled.due_at, settled.changed_index = "settled", 0, 5, None, 13
    made.updates = {
        "authorizations": [update_of(changeset.AUTHORIZATIONS, settled)],
        "accounts": [
            (available - 7, None, 14, BOOK, 1), (held - 5, None, 13, BOOK, 2), (12, None, 14, BOOK, 3),
        ],
    }  # fmt: skip
    return made


@pytest.fixture
def connection(migrated_url: str, book_writer: BookWriter) -> Iterator[Connection]:
    """A connection to a database with two books, of which the second is as the first was made."""
    other = BOOK + 1
    book_writer.begin(other, Needs())
    book_writer.write_and_commit(rows.setup(other), text_secret=rows.SECRET)
    book_writer.begin(other, Needs())
    book_writer.write_and_commit(rows.holds(1, 3, other))
    for changes in (rows.holds(1, HOLDS), more()):
        book_writer.begin(BOOK, Needs())
        book_writer.write_and_commit(changes)
    engine = create_engine(migrated_url)
    with engine.connect() as opened:
        yield opened
    engine.dispose()


def numbers(page: Page[Any]) -> list[int]:
    """The numbers of a page's authorizations."""
    return [int(item.id[5:]) for item in page.items]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (AuthorizationFilter(), list(range(12, 0, -1))),
        (AuthorizationFilter(state="held"), [12, 11, 10, 9, 8, 7, 6, 5, 4, 2, 1]),
        (AuthorizationFilter(state="settled"), [3]),
        (AuthorizationFilter(state="denied"), []),
        (AuthorizationFilter(agent="crawler", state="settled"), [3]),
        (AuthorizationFilter(agent="crawler"), list(range(12, 0, -1))),
        (AuthorizationFilter(agent="other"), []),
        (AuthorizationFilter(budget="research", run="run-42"), [11, 9, 7, 5, 3, 1]),
        (AuthorizationFilter(flag=FLAG_PARTIAL), [12, 9, 6, 3]),
        (AuthorizationFilter(flag=1), []),
        (AuthorizationFilter(created_from=1_010), [12, 11, 10]),
        (AuthorizationFilter(created_from=1_002, created_to=1_004), [3, 2]),
        (AuthorizationFilter(created_from=5_000), []),
        (AuthorizationFilter(created_to=5_000, flag=FLAG_PARTIAL, state="held"), [12, 9, 6]),
    ],
)
def test_authorizations_are_filtered_and_newest_first(
    connection: Connection, wanted: AuthorizationFilter, expected: list[int]
) -> None:
    """Each filter alone, and together; page by page the same list."""
    page = authorizations.list_authorizations(connection, BOOK, wanted, limit=LIMIT_MAX)
    assert numbers(page) == expected
    assert page.after is None
    found: list[int] = []
    after = None
    while True:
        page = authorizations.list_authorizations(connection, BOOK, wanted, after=after, limit=2)
        found += numbers(page)
        if page.after is None:
            break
        after = int(page.after[0])
    assert found == expected


def test_an_authorization_is_its_own_books(connection: Connection) -> None:
    """An id of another book is not there."""
    first = rows.numbered_id("auth", 1)
    assert authorizations.authorization(connection, BOOK, first) == rows.authorization(1, 1)
    assert authorizations.authorization(connection, BOOK, rows.numbered_id("auth", 99)) is None
    assert authorizations.authorization(connection, BOOK + 1, rows.numbered_id("auth", 9)) is None
    assert authorizations.count_open(connection, BOOK) == {"held": 11}


@pytest.mark.parametrize("reference", ["run-42", rows.numbered_id("run", 1)])
def test_a_run_has_its_totals(connection: Connection, reference: str) -> None:
    """By name or id, and in the list."""
    found = authorizations.run(connection, BOOK, reference)
    assert found is not None
    assert [(total.currency, total.approved_count, total.held, total.spent) for total in found.totals] == [
        ("USD", 3, 5, 7)
    ]
    assert authorizations.list_runs(connection, BOOK, agent="crawler").items == [found]
    assert authorizations.list_runs(connection, BOOK, agent="other").items == []
    assert authorizations.run(connection, BOOK, "run-43") is None


@pytest.mark.parametrize("reference", ["research", rows.numbered_id("bud", 1)])
def test_a_budget_has_its_balances(connection: Connection, reference: str) -> None:
    """What it can authorize, holds and has spent add up to what it was given."""
    found = budgets.budget(connection, BOOK, reference)
    assert found is not None
    assert (found.available, found.held, found.spent) == (rows.ROOM - 67, 55, 12)
    assert budgets.list_budgets(connection, BOOK) == Page([found], None)
    assert budgets.list_budgets(connection, BOOK, parent="research").items == []
    assert budgets.budgets_of_agents(connection, BOOK, ["crawler", "research"]) == [found]
    assert budgets.agents_of_budget(connection, BOOK, "research") == ["research"]
    assert budgets.budget(connection, BOOK, "other") is None
    sums = budgets.CurrencySums(BOOK, "USD", 55, 12)
    assert budgets.held_and_spent(connection, BOOK) == [sums]
    assert sums in budgets.held_and_spent(connection)
    assert len(budgets.held_and_spent(connection)) == 2


@pytest.mark.parametrize("reference", ["crawler", rows.numbered_id("agt", 2)])
def test_agents_and_keys_are_found(connection: Connection, reference: str) -> None:
    """By name, id or digest; lists are paged."""
    found = principals.agent(connection, BOOK, reference)
    assert found is not None
    assert (found.name, found.frozen) == ("crawler", True)
    assert principals.agent(connection, BOOK, "nobody") is None
    first = principals.list_agents(connection, BOOK, limit=1)
    assert ([agent.name for agent in first.items], first.after) == (["crawler"], ("crawler",))
    assert [agent.name for agent in principals.list_agents(connection, BOOK, after="crawler").items] == ["research"]
    assert [agent.name for agent in principals.list_agents(connection, BOOK, kind="team").items] == ["research"]
    assert [agent.name for agent in principals.list_agents(connection, BOOK, parent="research").items] == ["crawler"]
    assert [person.name for person in principals.list_persons(connection, BOOK).items] == ["ada"]
    key = principals.key_by_digest(connection, BOOK, rows.digest("key"))
    assert key is not None
    assert key == principals.key_by_id(connection, BOOK, rows.numbered_id("key", 1))
    assert principals.list_keys(connection, BOOK).items == [key]
    assert principals.list_keys(connection, BOOK, principal="agent:other").items == []
    assert principals.key_by_digest(connection, BOOK, rows.digest("none")) is None


def test_books_heads_and_names_are_found(connection: Connection) -> None:
    """And what is not there is None."""
    assert log.book_by_id(connection, BOOK) == log.book_by_name(connection, "acme") == rows.book()
    assert log.book_by_name(connection, "none") is None
    assert [book.book_id for book in log.list_books(connection)] == [BOOK, BOOK + 1]
    assert log.head(connection, BOOK) == rows.head(15)
    assert log.head(connection, 1) is None
    assert log.text_secret(connection, BOOK) == rows.SECRET
    assert [name.name for name in log.list_names(connection, BOOK, "payee").items] == ["openai"]
    assert log.list_names(connection, BOOK, "payee", after="openai").items == []
    assert [unit.name for unit in log.list_units(connection, BOOK).items] == ["tokens"]
    assert log.unit(connection, BOOK, "credits") is None
    assert [text.content for text in log.texts_of(connection, BOOK, 0)] == ["because"]


def test_the_log_is_paged(connection: Connection) -> None:
    """By range and kind, either way round."""
    assert log.record(connection, BOOK, 14) == rows.record(14, "charge")
    assert log.record(connection, BOOK, 15) is None
    assert [record.log_index for record in log.records(connection, BOOK, start=3, stop=6)] == [3, 4, 5]
    page = log.list_records(connection, BOOK, kinds=["hold", "charge"], start=11, limit=2)
    assert ([record.log_index for record in page.items], page.after) == ([11, 12], (12,))
    page = log.list_records(connection, BOOK, kinds=["hold", "charge"], after=12)
    assert ([record.log_index for record in page.items], page.after) == ([14], None)
    page = log.list_records(connection, BOOK, newest_first=True, stop=14, limit=1)
    assert [record.log_index for record in page.items] == [13]
    assert [log.size_at(connection, BOOK, moment) for moment in (999, 1_000, 1_013, 9_999)] == [0, 1, 14, 15]


@pytest.mark.parametrize(
    ("account", "moment", "recorded", "effective"),
    [
        (2, 1_000, 0, 0), (2, 1_001, 5, 5), (2, 1_012, 60, 60), (2, 1_013, 55, 55), (2, 9_999, 55, 55),
        (3, 1_004, 0, 0), (3, 1_005, 0, 7), (3, 1_013, 5, 12), (3, 1_014, 12, 12),
        (0, 9_999, 0, 0),
    ],
)  # fmt: skip
def test_a_balance_at_a_past_moment(
    connection: Connection, account: int, moment: int, recorded: int, effective: int
) -> None:
    """By what was recorded then; or by what counts for then, the backdated charge included."""
    assert accounts.balance_at(connection, BOOK, account, moment) == recorded
    assert accounts.balance_at(connection, BOOK, account, moment, basis="effective") == effective


LARGE = 2**63 - 1


def large(size: int, effective_at: int) -> Changeset:
    """Three charges of the largest amount there is, backdated, and as many back, so that each balance fits."""
    made = Changeset(BOOK, size, rows.root(size), rows.head(size + 6))
    logs, moved = [], []
    for at in range(6):
        index = size + at
        logs.append(tuple(rows.record(index, "charge" if at % 2 == 0 else "adjustment")))
        sides = (3, 1) if at % 2 == 0 else (1, 3)
        when = effective_at if at % 2 == 0 else 1_000 + index
        moved.append(tuple(Transfer(BOOK, index, 0, *sides, "USD", LARGE, 0, 0, 1_000 + index, when)))
    made.inserts = {"log_records": logs, "transfers": moved}
    return made


def test_sums_beyond_64_bits_are_exact(migrated_url: str, book_writer: BookWriter) -> None:
    """Of backdated amounts, and of what budgets hold and have spent; SQLite alone would give up."""
    made = large(rows.SETUP_SIZE, 500)
    made.inserts["accounts"] = [
        row_of(Account(BOOK, 10 + at, f"budgets:b{at}:spent", "USD", "budgetary", "spent", value, None, 0, 0))
        for at, value in enumerate((LARGE, LARGE, LARGE - 7, -3))
    ]
    book_writer.begin(BOOK, Needs())
    book_writer.write_and_commit(made)
    engine = create_engine(migrated_url)
    with engine.connect() as opened:
        assert accounts.balance_at(opened, BOOK, 3, 600, basis="effective") == 3 * LARGE
        assert accounts.balance_at(opened, BOOK, 1, 600, basis="effective") == -3 * LARGE
        assert accounts.balance_at(opened, BOOK, 3, 600) == 0
        assert budgets.held_and_spent(opened, BOOK) == [budgets.CurrencySums(BOOK, "USD", 0, 3 * LARGE - 10)]
    engine.dispose()


def test_records_of_finance_are_listed_by_kind(connection: Connection) -> None:
    """Newest first, continuing after an index; the records of others are not there."""
    assert [record.log_index for record in finance.list_of_kind(connection, BOOK, "charge").items] == [14]
    assert finance.list_of_kind(connection, BOOK, "charge", after=14).items == []
    assert finance.list_of_kind(connection, BOOK, "refund").items == []
    assert finance.list_allocations(connection, BOOK, "research", "USD") == Page([], None)
    assert set(log.records_at(connection, BOOK, [3, 5, 99])) == {3, 5}
    assert log.texts_at(connection, BOOK, [0, 1], "reason") == {0: "because"}
    assert log.texts_at(connection, BOOK, [0, 1], "intent") == {}


def test_a_balance_at_a_log_size(connection: Connection) -> None:
    """The record at the size itself is not yet in it."""
    balances = [accounts.balance_at_size(connection, BOOK, 2, size) for size in (0, 1, 2, 13, 14)]
    assert balances == [0, 0, 5, 60, 55]


def test_postings_run_with_their_balance(connection: Connection) -> None:
    """Both sides merged in the order of the log, newest or oldest first, page by page."""
    page = accounts.list_postings(connection, BOOK, 2, limit=3)
    shown = [(line.log_index, line.amount, line.balance, line.kind, line.other_account) for line in page.items]
    assert shown == [
        (13, -5, 55, "settlement", "budgets:research:spent"),
        (12, 5, 60, "hold", "budgets:research:available"),
        (11, 5, 55, "hold", "budgets:research:available"),
    ]
    assert page.after == (11, 0)
    assert [line.log_index for line in accounts.list_postings(connection, BOOK, 2, after=(11, 0), limit=2).items] == [
        10,
        9,
    ]
    oldest = accounts.list_postings(connection, BOOK, 2, newest_first=False, limit=200).items
    assert [line.log_index for line in oldest] == list(range(1, 14))
    balance = 0
    for line in oldest:
        balance += line.amount
        assert line.balance == balance
    between = accounts.list_postings(connection, BOOK, 2, recorded_from=1_003, recorded_to=1_005).items
    assert [line.log_index for line in between] == [4, 3]
    assert accounts.list_postings(connection, BOOK, 0).items == []


def test_the_trial_balance_nets_to_what_was_given(connection: Connection) -> None:
    """All accounts with the head they belong to."""
    found = accounts.trial_balance(connection, BOOK)
    assert found is not None
    assert (found.size, found.root) == (15, rows.root(15))
    assert [(line.account, line.debit, line.credit) for line in found.lines] == [
        ("authority", 0, rows.ROOM),
        ("budgets:research:available", rows.ROOM - 67, 0),
        ("budgets:research:held", 55, 0),
        ("budgets:research:spent", 12, 0),
    ]
    assert accounts.trial_balance(connection, 1) is None


def test_accounts_are_listed_and_found(connection: Connection) -> None:
    """By name and currency, continuing after both."""
    page = accounts.list_accounts(connection, BOOK, kind="budgetary", limit=3)
    assert page.after == ("budgets:research:held", "USD")
    rest = accounts.list_accounts(connection, BOOK, after=("budgets:research:held", "USD"))
    assert [account.name for account in rest.items] == ["budgets:research:spent"]
    assert (
        accounts.account(connection, BOOK, "authority", "USD")
        == accounts.accounts_named(connection, BOOK, "authority")[0]
    )
    assert accounts.account(connection, BOOK, "authority", "EUR") is None


@pytest.mark.parametrize("limit", [0, -1, LIMIT_MAX + 1])
def test_a_page_is_bounded(connection: Connection, limit: int) -> None:
    """Nobody reads a whole book at once."""
    with pytest.raises(ValueError, match="200"):
        accounts.list_accounts(connection, BOOK, limit=limit)


PLANNED: list[tuple[str, Callable[[Connection], object]]] = [
    *(
        (index, lambda connection, wanted=wanted: authorizations.list_authorizations(connection, BOOK, wanted))
        for index, wanted in (
            ("authorizations_state", AuthorizationFilter()),
            ("authorizations_state", AuthorizationFilter(state="held")),
            ("authorizations_agent", AuthorizationFilter(agent="crawler")),
            ("authorizations_agent", AuthorizationFilter(agent="crawler", state="settled")),
            ("authorizations_budget", AuthorizationFilter(budget="research")),
            ("authorizations_run", AuthorizationFilter(run="run-42")),
            ("authorizations_flagged", AuthorizationFilter(flag=1)),
        )
    ),
    ("transfers_debit ", lambda connection: accounts.balance_at(connection, BOOK, 2, 1_005)),
    ("transfers_credit ", lambda connection: accounts.balance_at(connection, BOOK, 2, 1_005)),
    (
        "transfers_debit_backdated",
        lambda connection: accounts.balance_at(connection, BOOK, 2, 1_005, basis="effective"),
    ),
    (
        "transfers_credit_backdated",
        lambda connection: accounts.balance_at(connection, BOOK, 2, 1_005, basis="effective"),
    ),
    ("transfers_debit ", lambda connection: accounts.list_postings(connection, BOOK, 2)),
    ("log_records_recorded_at", lambda connection: log.size_at(connection, BOOK, 1_005)),
    ("accounts_name", lambda connection: budgets.list_budgets(connection, BOOK)),
    ("log_records_finance", lambda connection: finance.list_of_kind(connection, BOOK, "refund")),
    ("log_records_finance", lambda connection: finance.list_of_kind(connection, BOOK, "charge", after=5)),
    ("log_records_finance", lambda connection: finance.list_allocations(connection, BOOK, "research", "USD")),
]


@pytest.mark.parametrize(
    ("index", "query"), PLANNED, ids=[str(at) + " " + planned[0] for at, planned in enumerate(PLANNED)]
)
def test_sqlite_reads_by_the_index_made_for_it(tmp_path, index: str, query: Callable[[Connection], object]) -> None:
    """What SQLite plans, it plans without statistics; a list is not sorted beyond a page of each stretch."""
    from ledger.storage.migrate import upgrade

    url = f"sqlite:///{tmp_path}/b.db"
    upgrade(url)
    engine = create_engine(url)
    sent: list[tuple[str, Any]] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _k, text, values, _x, _m: sent.append((text, values)))
    with engine.connect() as connection:
        query(connection)
        plans = []
        for statement, values in list(sent):
            plans += [row[3] + " " for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert any(f"INDEX {index}" in step for step in plans), plans
    assert not any(step.startswith(("SCAN authorizations", "SCAN transfers", "SCAN log_records")) for step in plans), (
        plans
    )
