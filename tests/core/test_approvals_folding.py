"""Logs that say of approvals what the rules do not give: the fold notes every one of them."""

from __future__ import annotations

from typing import Any

from ledger.core.command import AssignBudget
from ledger.core.deriving import Clock, columns_of
from ledger.core.projecting import Fold
from tests.support.approving import Office, rule
from tests.support.memory_rows import MemoryStore


def differences(bodies: list[dict[str, Any]]) -> list[str]:
    """What the fold notes about bodies."""
    fold, clock = Fold(1, MemoryStore()), Clock()
    for body in bodies:
        fold.apply(body, columns_of(body, clock))
    return [one.what for one in fold.differences]


def test_a_log_that_counts_a_stranger_does_not_fold() -> None:
    """A voice of who was not asked, one counted twice, and a tier without its quorum are differences."""
    office = Office(rule(quorum=2))
    office.do(AssignBudget, office.admin, budget="research", agents=("crawler",))
    reference = office.ask()
    office.grant(office.pat, reference)
    office.grant(office.quinn, reference)
    honest = office.bodies()
    for change, said in (
        (("vote", "person", "fred"), "is not asked"),
        (("vote", "role", "admin"), "is not asked"),
        (("vote", "seat", "robin"), "is not asked"),
        (("granted", None, 3), "granted"),
        (("approvals", None, []), "approvals"),
        (("state", None, "settled"), "state"),
    ):
        bodies = [dict(body) for body in honest]
        field, inner, value = change
        bodies[-1][field] = {**bodies[-1][field], inner: value} if inner else value
        assert any(said in what for what in differences(bodies)), change


def test_a_log_in_which_the_maker_of_the_key_votes_does_not_fold() -> None:
    """Though the rule asks for the role."""
    office = Office(rule(approvers=["admin"]))
    office.grant(office.zoe, office.ask())
    bodies = office.bodies()
    assert differences(bodies) == []
    key = next(row.id for row in office.rows("api_keys") if row.digest == office.admin.key_digest)
    bodies[-1]["by"] = {"principal": "person:owner", "key": key}
    bodies[-1]["vote"] |= {"person": "owner", "seat": "owner"}
    assert "owner is not asked for this approval" in differences(bodies)


def test_a_log_that_grants_without_a_quorum_does_not_fold() -> None:
    """The tier asked for two."""
    office = Office()
    office.grant(office.pat, office.ask())
    bodies = office.bodies()
    bodies[-2]["approvals"][0]["quorum"] = 2
    assert "a tier is granted without its quorum" in differences(bodies)
