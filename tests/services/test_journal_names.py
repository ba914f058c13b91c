"""Names as other programs take them: accepted there, and led back here."""

from __future__ import annotations

import re

import pytest
from beancount.core import account as beancount_accounts
from beancount.core.amount import CURRENCY_RE
from hypothesis import example, given
from hypothesis import strategies as st

from ledger.core import account
from ledger.services.journal.names import (
    ROOTS,
    account_of_beancount,
    beancount_account,
    beancount_commodity,
    beancount_text,
    currency_of_beancount,
    hledger_value,
    hledger_words,
)
from tests.support import plain_text

SLUG = st.builds(str.__add__, st.sampled_from("adu09"), st.text(alphabet="aduz09._-", max_size=8))
ACCOUNT = st.one_of(
    st.just("authority"),
    st.builds(lambda head, name: f"{head}:{name}", st.sampled_from(["expenses", "payables"]), SLUG),
    st.builds(lambda budget, role: f"budgets:{budget}:{role}", SLUG, st.sampled_from(["available", "held", "spent"])),
    st.builds(
        lambda head, names: ":".join((head, *names)),
        st.sampled_from(["assets", "equity", "income"]),
        st.lists(SLUG, min_size=1, max_size=3),
    ),
)


def test_every_beginning_of_an_account_has_a_root() -> None:
    """Whoever adds one must say what beancount calls it."""
    heads = {*account._REAL_PREFIXES, "budgets"}
    assert set(ROOTS) == heads
    roots = {root.partition(":")[0] for root in ROOTS.values()}
    assert roots == {"Assets", "Liabilities", "Equity", "Income", "Expenses"}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("expenses:search", "Expenses:Search"),
        ("payables:serp.api", "Liabilities:Payables:SerpDapi"),
        ("payables:4_u", "Liabilities:Payables:4Uu"),
        ("assets:prepaid:openai", "Assets:Prepaid:Openai"),
        ("budgets:research:available", "Equity:BudgetAuthority:Research:Available"),
        ("authority", "Equity:BudgetAuthority:AllBudgets"),
        ("equity:budgets:research:held", "Equity:Budgets:Research:Held"),
        ("equity:budgetauthority:allbudgets", "Equity:Budgetauthority:Allbudgets"),
    ],
)
def test_accounts_by_example(ours: str, theirs: str) -> None:
    assert beancount_account(ours) == theirs
    assert account_of_beancount(theirs) == ours


@given(ACCOUNT)
@example("expenses:a.")
@example("budgets:authority:held")
def test_beancount_takes_every_account_and_it_leads_back(name: str) -> None:
    theirs = beancount_account(name)
    assert beancount_accounts.is_valid(theirs)
    assert account_of_beancount(theirs) == name


@pytest.mark.parametrize("name", ["Assets", "Assets:bank", "Assets:BanK", "Assets:Ba nk", "Cash:Bank", "Equity:Ünit"])
def test_what_no_journal_says_is_no_account(name: str) -> None:
    with pytest.raises(ValueError, match="of a journal"):
        account_of_beancount(name)


@given(SLUG)
@example("usd")
@example("a.")
@example("0")
@example("gpt-5_")
def test_beancount_takes_every_unit_and_it_leads_back(unit: str) -> None:
    commodity = beancount_commodity(unit)
    assert re.fullmatch(CURRENCY_RE, commodity)
    assert commodity[-1].isalnum()
    assert currency_of_beancount(commodity) == unit


def test_currencies_are_their_codes() -> None:
    assert beancount_commodity("USD") == currency_of_beancount("USD") == "USD"


ODD = [
    'a "b" \\c',
    "x, y; z | = (w)",
    "50% off",
    "  led by blanks ",
    "* starred",
    "! due",
    "[2026-01-01]",
    "日本",
    "a\u2028b",
]


@pytest.mark.parametrize("text", ODD)
def test_texts_are_kept(text: str) -> None:
    """As beancount and hledger read them back."""
    journal = (
        "1970-01-01 open Assets:A\n1970-01-01 open Assets:B\n"
        f"2026-01-01 * {beancount_text(text)}\n  resource: {beancount_text(text)}\n"
        "  Assets:A  1.00 USD\n  Assets:B  -1.00 USD\n"
    )
    assert plain_text.beancount_errors(journal.encode()) == []
    assert plain_text.beancount_texts(journal.encode()) == [text.replace("\u2028", "%E2%80%A8")] * 2


@plain_text.needs_hledger
@pytest.mark.parametrize("text", ODD)
def test_texts_are_kept_by_hledger(text: str, tmp_path) -> None:
    """A tag's value and a description lead back to the text by taking percent signs as in a URL."""
    from urllib.parse import unquote

    file = tmp_path / "odd.journal"
    journal = f"2026-01-01 * (1) who | {hledger_words(text)}\n    ; resource: {hledger_value(text)}\n"
    file.write_text(journal + "    a  1.00 USD\n    b  -1.00 USD\n", encoding="utf-8")
    status, said = plain_text.hledger(file, "tags", "resource", "--values")
    assert (status, unquote(said.removesuffix("\n"))) == (0, text)
    status, said = plain_text.hledger(file, "notes")
    assert (status, unquote(said.removesuffix("\n"))) == (0, text)
