"""`bursar explain`: what a person reads about decisions that a real server made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from ledger.cli.explain import command
from ledger.services import explaining
from tests.support.policies import day, policy
from tests.support.running_app import RunningApp, authorization, usd

LIMITS = [
    {"id": "each", "per": "authorization", "max": "5.00"},
    day(),
    {"id": "rate", "per": "day", "max_count": 9, "by": "agent"},
]


class Case:
    """A running server with agent ``crawler`` and its policies."""

    def __init__(self, app: RunningApp) -> None:
        self.app = app
        self.key = app.make_agent("crawler", budget="research")
        app.make("/v1/policies", policy(limits=LIMITS, approval=[{"above": "4.00"}], allow={"payees": ["open*"]}))
        tried = policy(
            "tried", shadow=True, applies_to={"book": True}, limits=[day("0.50", id="small", per="lifetime")]
        )
        app.make("/v1/policies", tried)

    def ask(self, amount: str, **fields: Any) -> str:
        """Ask to spend; the id of the authorization."""
        answer = self.app.post("/v1/authorizations", authorization(amount, **fields), key=self.key).json
        return str(answer.get("authorization") or answer["id"])

    def settle(self, reference: str, amount: str, **fields: Any) -> None:
        """Settle, in part where ``final`` is false."""
        self.app.make(f"/v1/authorizations/{reference}/settle", {"amount": usd(amount)} | fields, key=self.key)

    def explain(self, reference: str) -> list[str]:
        """The lines that are printed, their columns one blank apart."""
        done = CliRunner().invoke(command, [reference, "--database-url", self.app.database_url])
        assert done.exit_code == 0, done.output
        assert all(line == line.rstrip() for line in done.output.splitlines())
        return [re.sub(r" {2,}", " ", line).strip() for line in done.output.splitlines()]


@pytest.fixture
def case(app_on: RunningApp) -> Case:
    """A case on either database."""
    return Case(app_on)


@pytest.fixture
def app_on(database_url: str) -> Iterator[RunningApp]:
    """An app of a test's own, on either database."""
    with RunningApp(database_url) as app:
        yield app


def test_an_approval_and_what_became_of_it(case: Case) -> None:
    """Who asked for what, each rule, shadow verdicts, policies, settlements and flags."""
    reference = case.ask("2.00", resource="gpt-5", intent="summarize\nticket 4711", labels={"prompt": "v7"})
    case.settle(reference, "0.50", final=False)
    case.settle(reference, "2.25", payee="other", evidence={"invoice": "7"})
    lines = case.explain(reference)
    assert lines[0] == f"{reference} settled: 2.75 USD spent of 2.00 USD approved"
    assert re.fullmatch(r"crawler asked on \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC for 2\.00 USD", lines[2])
    for line in (
        "from budget research, for inference at openai (gpt-5)",
        "labels prompt=v7",
        "intent: summarize ticket 4711",
        "flagged overrun: more was settled than was held",
        "flagged mismatch: what was settled is not what was asked for",
        "budget_available allow 2.00 USD 100.00 USD 98.00 USD the budget has the money",
        "caps/allow allow",
        "caps/each allow 2.00 USD 5.00 USD 3.00 USD each request",
        "tried/small would deny 2.00 USD 0.50 USD 0.00 USD per lifetime",
        "caps/approval-1: above 4.00 USD each request: not reached",
        "Shadow policies would have refused",
        'evidence: {"invoice":"7"}',
    ):
        assert line in lines, line
    text = "\n".join(lines)
    assert "Why not" not in text
    assert re.search(r"caps/day allow 2\.00 USD 10\.00 USD 8\.00 USD per day, until .* 00:00:00 UTC", text)
    assert re.search(r"caps/rate allow 1 9 8 per day, crawler, until", text)
    assert re.search(r"caps version 1 \([0-9a-f]{12}, log record \d+\)$", text, re.MULTILINE)
    assert re.search(r"tried version 1 \([0-9a-f]{12}, log record \d+, shadow: refuses nothing\)", text)
    assert re.search(r"settled 0\.50 USD \(not the last\) by agent:crawler \(log record \d+\)", text)
    assert re.search(r"settled 2\.25 USD as payee other, flagged overrun, mismatch by agent:crawler", text)


def test_a_denial_that_never_fits(case: Case) -> None:
    """Every reason with what it saw, and the plain word that waiting does not help."""
    case.ask("1.00")
    lines = case.explain(case.ask("11.00", payee="evil"))
    assert lines[0].endswith("denied: payee_not_allowed")
    at = lines.index("Why not")
    assert lines[at + 1] == "payee_not_allowed: payee evil is not among what is allowed: open* [caps/allow.payees]"
    text = "\n".join(lines)
    assert "with this request 11.00 USD, the limit is 5.00 USD, 5.00 USD was left; it never fits" in text
    assert "with this request 12.00 USD, the limit is 10.00 USD, 9.00 USD was left; it never fits" in text
    assert "Waiting does not help: as it was asked, it can never be approved under these policies." in lines
    assert "caps/allow deny" in lines
    assert any(line.startswith("caps/day deny 12.00 USD 10.00 USD 9.00 USD per day") for line in lines)
    assert "caps/approval-1: above 4.00 USD each request: asked" in lines


def test_a_denial_that_fits_later(case: Case) -> None:
    """With the moment; and a policy that was changed since is said to be."""
    for _ in range(3):
        case.settle(case.ask("3.00"), "3.00")
    reference = case.ask("2.00")
    case.app.make("/v1/policies", policy(limits=[day("50.00")]))
    case.app.make("/v1/policies/tried/retire", {})
    text = "\n".join(case.explain(reference))
    assert "limit_exceeded: the limit day has too little left until its window moves on [caps/day]" in text
    assert re.search(r"it fits from \d{4}-\d\d-\d\d 00:00:00 UTC\n", text)
    assert re.search(r"It would fit from .* 00:00:00 UTC on, if nothing else were spent until then\.", text)
    assert re.search(r"caps version 1 \(.*\); version 2 decides now", text)
    assert re.search(r"tried version 1 \(.*\); retired since", text)


def test_a_denial_without_a_time(case: Case) -> None:
    """What only money from outside mends has no moment."""
    case.app.make("/v1/budgets/research/deallocations", {"amount": usd("99.00")})
    lines = case.explain(case.ask("2.00"))
    assert lines[0].endswith("denied: insufficient_budget")
    assert "Nothing says when it would fit: time alone does not mend every reason." in lines
    assert "budget_available deny 2.00 USD 1.00 USD 1.00 USD the budget has the money" in lines


def test_what_waits_for_people(case: Case) -> None:
    """The tier, who may grant it, and until when; then who refused."""
    reference = case.ask("4.50", accept_pending=True)
    lines = case.explain(reference)
    assert lines[0] == f"{reference} waits for approval; 4.50 USD is held meanwhile"
    assert any(re.fullmatch(r"apr_\w+ open: 1 of approver, until .* UTC \[caps/approval-1\]", line) for line in lines)
    case.app.make(f"/v1/authorizations/{reference}/release", {"reason": "no longer needed"}, key=case.key)
    lines = case.explain(reference)
    assert lines[0] == f"{reference} released; 0.00 USD spent of 4.50 USD approved"
    assert any(line.startswith("apr_") and " withdrawn: " in line for line in lines)
    assert "reason: no longer needed" in lines


def test_a_hold_that_was_extended(case: Case) -> None:
    """Also an extension that was denied, with its reason."""
    reference = case.ask("2.00")
    case.app.make(f"/v1/authorizations/{reference}/extend", {"amount": usd("1.00")}, key=case.key)
    assert case.app.post(f"/v1/authorizations/{reference}/extend", {"amount": usd("9.00")}, key=case.key).status == 403
    lines = case.explain(reference)
    assert re.fullmatch(rf"{reference} approved; 3\.00 USD is held until .* UTC", lines[0])
    text = "\n".join(lines)
    assert re.search(r"extended 1\.00 USD by agent:crawler", text)
    assert re.search(r"extension denied 9\.00 USD by agent:crawler .*\nlimit_too_small: .* \[caps/each\]", text)


def test_a_limit_that_could_not_be_looked_at(case: Case) -> None:
    """No number in a currency that it is not in."""
    case.app.make("/v1/policies", policy("yen", limits=[day("7", currency="JPY")]))
    lines = case.explain(case.ask("2.00"))
    assert "yen/day deny" in "\n".join(lines)
    assert not any("7.00" in line or "0.007" in line for line in lines)


def test_a_charge(case: Case) -> None:
    """What nobody authorized has no decision to explain, and says so by its flag."""
    finance = case.app.make("/v1/keys", {"role": "finance", "person": "fay"})["key"]
    body = {"budget": "research", "amount": usd("3.00"), "category": "search", "payee": "serp", "reason": "an invoice"}
    charge = case.app.make("/v1/charges", body, key=finance)
    lines = case.explain(charge["id"])
    assert "flagged unauthorized: it was spent without an authorization" in lines
    assert "reason: an invoice" in lines
    assert "Each rule" not in lines


def test_a_long_story_is_cut(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest records are told, and that there are older ones."""
    reference = case.ask("2.00")
    for amount in ("0.10", "0.20", "0.30"):
        case.settle(reference, amount, final=False)
    monkeypatch.setattr(explaining, "RECORDS_MAX", 2)
    lines = case.explain(reference)
    assert "(older records are left out)" in lines
    assert ["settled 0.20" in lines[-2], "settled 0.30" in lines[-1]] == [True, True]
    assert not any("settled 0.10" in line for line in lines)


def test_an_authorization_that_is_not_there(case: Case) -> None:
    """One sentence that says where the id is found."""
    done = CliRunner().invoke(command, ["auth_none", "--database-url", case.app.database_url])
    assert done.exit_code == 1
    assert "book acme has no authorization auth_none" in done.output
    assert done.output.count("\n") == 1


def test_what_was_metered_and_repriced_is_explained(case: Case) -> None:
    """What the amount was made from, that nobody knew its outcome, and from what to what its price was corrected."""
    reference = case.ask("2.00", on_expiry="unknown")
    path = f"/v1/authorizations/{reference}"
    case.app.make(f"{path}/unknown", {"reason": "it timed out"}, key=case.key)
    case.settle(reference, "1.50", metering={"model": "gpt-5", "input_tokens": "9"}, flags=["estimated"])
    prices = {"old_price": {"input": "2"}, "new_price": {"input": "1"}, "reason": "mistyped"}
    asked = {"authorization": reference, "settled": usd("1.50"), "amount": usd("0.50")} | prices
    case.app.make("/v1/reprices", asked)
    lines = case.explain(reference)
    assert lines[0] == f"{reference} settled: 0.50 USD spent of 2.00 USD approved"
    assert "metered from input_tokens=9, model=gpt-5" in lines
    assert "flagged estimated: no usage was reported, so its amount is an estimate" in lines
    since = "\n".join(lines[lines.index("Since then") :])
    assert "marked as not known, flagged unknown by agent:crawler" in since
    assert "repriced from 1.50 USD to 0.50 USD, flagged estimated, repriced by person:owner" in since
    assert "reason: mistyped" in since
