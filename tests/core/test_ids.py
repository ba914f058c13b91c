"""Ids, names of things and names of accounts: what is taken and what is not."""

from __future__ import annotations

import pytest

from ledger.core.account import KINDS, ROLES, classify, is_credit_normal
from ledger.core.book import book_code, book_id_of
from ledger.core.ids import PREFIXES, is_id, is_name, is_run_name

BODY = "01m84m5dgc7bc7gphm9xhn9s43"


@pytest.mark.parametrize("text", ["a", "0", "openai", "gpt-5.1", "a_b", "bud_1", "a" * 64, "x..--"])
def test_names(text: str) -> None:
    """Slugs."""
    assert is_name(text)


@pytest.mark.parametrize("text", ["", "A", "-a", ".a", "_a", "a" * 65, "a b", "a:b", "a/b", "é", "a\n", "a\x00"])
def test_what_is_no_name(text: str) -> None:
    """No upper case, colon, slash, control character, nor anything beyond ASCII."""
    assert not is_name(text)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_ids(prefix: str) -> None:
    """An id is its prefix, an underscore and 26 characters; and what has the form of an id is no name."""
    assert is_id(f"{prefix}_{BODY}", prefix)
    assert not is_name(f"{prefix}_{BODY}")
    for bad in (BODY, f"{prefix}_{BODY}x", f"{prefix}_{BODY[1:]}", f"{prefix}_{BODY[1:]}U", f"x{prefix}_{BODY}", ""):
        assert not is_id(bad, prefix)


def test_an_id_is_of_one_kind() -> None:
    """A budget's id is no agent's."""
    assert not is_id(f"bud_{BODY}", "agt")


@pytest.mark.parametrize(("text", "good"), [("run-42", True), ("A:b.c", True), ("r" * 128, True), ("r" * 129, False)])
def test_run_names(text: str, good: bool) -> None:
    """Looser than names, because other systems make them up; still never of the form of an id."""
    assert is_run_name(text) == good
    assert not is_run_name(f"run_{BODY}")


@pytest.mark.parametrize(
    ("name", "kind", "role"),
    [
        ("authority", "budgetary", "authority"),
        ("budgets:research:available", "budgetary", "available"),
        ("budgets:research:held", "budgetary", "held"),
        ("budgets:research:spent", "budgetary", "spent"),
        ("expenses:inference", "expense", "real"),
        ("payables:openai", "liability", "real"),
        ("assets:bank", "asset", "real"),
        ("assets:prepaid:openai", "asset", "real"),
        ("equity:opening", "equity", "real"),
        ("income:rebates", "income", "real"),
    ],
)
def test_accounts(name: str, kind: str, role: str) -> None:
    """The name says the kind and the role."""
    assert classify(name) == (kind, role)
    assert kind in KINDS
    assert role in ROLES
    assert is_credit_normal(kind, role) == (kind in ("liability", "equity", "income") or role == "authority")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "authority:x",
        "budgets:research",
        "budgets:research:other",
        "budgets::held",
        "expenses",
        "expenses:",
        "bank",
        "assets:Bank",
        "assets:bank:",
        "assets::bank",
        "budgets:a:b:held",
        "assets:" + "a" * 65,
        f"expenses:bud_{BODY}",
    ],
)
def test_what_names_no_account(name: str) -> None:
    """Only the names above."""
    assert classify(name) is None


@pytest.mark.parametrize("book_id", [1, 31, 32, 2**40 - 1, 331443915137])
def test_book_codes(book_id: int) -> None:
    """Eight characters that stand for a book inside its keys."""
    assert len(book_code(book_id)) == 8
    assert book_id_of(book_code(book_id)) == book_id
    assert book_id_of(book_code(book_id)[1:]) is None
    assert book_id_of("u" * 8) is None
