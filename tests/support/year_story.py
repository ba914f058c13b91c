"""The year of three teams: how it was set up, and what happened beside what happens every month."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import partial
from typing import Any

from tests.support.year_calls import FOLLOWING, MONTHS, Event, bill, compare_total, every_month, last_noon
from tests.support.year_desk import YearDesk, money

OPENED = "2026-01-01 08:00"
TEAMS = {"research": ("crawler", "reader"), "support": ("triage", "replier"), "growth": ("writer", "ads")}
OPENING = """account,debit,credit,currency,effective_at
assets:bank,5000.00,,USD,
assets:bank,2000.00,,EUR,
payables:openai,,100.00,USD,
"""
POLICY = {
    "policy": "team-research", "applies_to": {"team": "research"}, "currency": "USD",
    "limits": [{"id": "day", "per": "day", "max": "70.00"}],
    "approval": [{"above": "55.00", "approvers": ["finance"], "quorum": 1, "expires_after": "24h"}],
}  # fmt: skip
GROWTH = {"policy": "team-growth", "applies_to": {"team": "growth"}, "deny": {"payees": ["serp"]}}
LATER = "compared once a quarter"


def live(desk: YearDesk) -> None:
    """Set the book up, and let the year happen."""
    set_up(desk)
    for moment, happens in sorted(every_month() + closings() + ODD, key=lambda event: event[0]):
        desk.at(moment)
        happens(desk)


def set_up(desk: YearDesk) -> None:
    """People, teams, agents, budgets that renew, policies; what there was in the bank and what was owed."""
    for name, role in (("fay", "finance"), ("gus", "finance"), ("ada", "auditor")):
        desk.keys[name] = desk.do("owner", "keys", role=role, person=name)["key"]
    for team, agents in TEAMS.items():
        desk.do("owner", "teams", name=team)
        for agent in agents:
            desk.do("owner", "agents", name=agent, parent=team)
            desk.keys[agent] = desk.do("owner", "keys", role="agent", agent=agent)["key"]
    budgets: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("company", "5000.00", {}),
        ("research", "150.00", {"parent": "company", "agents": ["research"]}),
        ("support", "80.00", {"parent": "company", "agents": ["support"]}),
        ("growth", "100.00 EUR", {"agents": ["growth"]}),
    )
    for name, amount, more in budgets:
        desk.do("owner", "budgets", name=name, currency=money(amount)["currency"], **more)
        desk.do("owner", f"budgets/{name}/allocations", amount=money(amount))
        if name != "company":
            kept = {"carry_over": money("20.00")} if name == "support" else {}
            desk.do("owner", f"budgets/{name}/renewal", every="month", amount=money(amount), **kept)
    for policy in (POLICY, GROWTH):
        desk.do("owner", "policies", **policy)
    desk.do("fay", "payees/anthropic", prepaid=True, reason="they bill in advance")
    desk.run("fay", "take-over", "opening", desk.file("opening.csv", OPENING))


def closings() -> list[Event]:
    """Every month is closed on the third of the next; before, whatever is flagged in it was explained."""
    return [(f"{FOLLOWING[month]}-03 10:00", partial(close, month=month)) for month in MONTHS]


def close(desk: YearDesk, month: str, who: str = "fay") -> None:
    """By the command; where something was flagged, after a look at what stands in the way."""
    explained = {
        "2026-05": {"2026-05 missing": "on the bill, and nobody authorized it"},
        "2026-06": {"2026-06 twice": "entered by mistake, and taken back"},
        "2026-09": {"2026-08 late": "found on the bill of the quarter"},
        "2026-11": {"2026-11 writer mistral": "a long text", "2026-11 late": "billed after it was given up"},
    }.get(month, {})
    compared = month in ("2026-03", "2026-05", "2026-06", "2026-12")
    asked = [f"{desk.known[name]}={why}" for name, why in explained.items()]
    if asked or month == "2026-03":
        look = desk.run("ada", "close", month, "--dry-run", status=1 if asked else 0).stdout
        assert [name for name in explained if desk.known[name] not in look] == [], (month, look)
    given = [word for one in asked for word in ("--explain", one)]
    given += [] if compared else ["--accept", f"reconciliation={LATER}"]
    done = desk.told(who, "close", month, *given, "--json")
    desk.indexes[f"{month} closed"] = done["log_index"]
    desk.indexes[f"{month} size"] = done["size"]


def opening_paid(desk: YearDesk) -> None:
    """What was owed when the year began is paid on account: no invoice of it is in this book."""
    paid = {"payee": "openai", "from": "assets:bank", "amount": money("100.00"), "invoices": [], "rest": "on_account"}
    desk.do("fay", "payments", **paid)


def credit_bought(desk: YearDesk) -> None:
    """In January credit with anthropic is bought by a payment."""
    paid = {"payee": "anthropic", "from": "assets:bank", "amount": money("300.00"), "rest": "prepayment"}
    desk.do("fay", "payments", **paid)


def credit_billed(desk: YearDesk) -> None:
    """In July it comes with an invoice."""
    desk.do(
        "fay", "invoices", payee="anthropic", number="A-7", currency="USD", issued_on="2026-07-02", period="2026-Q3",
        lines=[{"amount": "300.00", "prepaid": True}], total="300.00",
    )  # fmt: skip
    desk.do("fay", "payments", payee="anthropic", amount=money("300.00"), **{"from": "assets:bank"})


def refund_of_january(desk: YearDesk) -> None:
    """In February 4.00 of a call of January come back; January is not closed until ten minutes later, and yet it counts
    for February, because nobody said otherwise."""
    desk.keep("2026-02 refund", refund(desk, "2026-01 crawler openai", "4.00"))


def dataset(desk: YearDesk) -> None:
    """A dataset of 60.00 is above what the policy lets pass: a person grants it. What a policy refuses costs
    nothing."""
    asked = {
        "amount": money("60.00"),
        "budget": "research",
        "payee": "serp",
        "category": "data",
        "accept_pending": True,
    }
    status, waiting = desk.post("crawler", "authorizations", **asked)
    assert (status, waiting["state"]) == (202, "pending_approval")
    (approval,) = desk.read("approvals?state=open")["items"]
    desk.run("fay", "approvals", "grant", approval["id"], "--yes", "--reason", "in the plan")
    desk.settle("crawler", waiting["id"], "60.00", "2026-02 dataset")
    refused = desk.post("ads", "authorizations", amount=money("1.00"), budget="growth", payee="serp", category="search")
    assert (refused[0], refused[1]["code"]) == (403, "payee_not_allowed")


def refund_across_month_end(desk: YearDesk) -> None:
    """On 2 March 3.00 of a call of February come back, for 27 February, which is open still."""
    desk.keep("2026-02 backdated", refund(desk, "2026-02 reader anthropic", "3.00", "2026-02-27T12:00:00Z"))


def mistyped_invoice(desk: YearDesk) -> None:
    """The invoice of February was recorded twice under two numbers: the second is taken back."""
    twice = bill(desk, "2026-02", "openai", "USD", "78.00", "15.60", "93.60", number="openai-2026-20")
    assert isinstance(twice, dict)
    desk.do("fay", f"invoices/{twice['id']}/void", reason="entered twice", effective_at=last_noon("2026-02"))


def mistyped_price(desk: YearDesk) -> None:
    """In March two million tokens are priced at 10.00 a million: 20.00, which should be 2.00."""
    metered = {
        "provider": "openai", "model": "gpt-5-nano", "input_tokens": "2000000", "output_tokens": "0",
        "price.source": "prices.yaml", "price.input_mtok": "10",
    }  # fmt: skip
    held = desk.hold("triage", "25.00", "support", "openai", resource="gpt-5-nano")
    desk.settle("triage", held, "20.00", "2026-03 mispriced", metering=metered)


def price_mended(desk: YearDesk) -> None:
    """In April the price is put right, by the command that reads what the call used: 18.00 come back."""
    prices = desk.file("prices.yaml", 'prices: [{provider: openai, model: "gpt-5-nano", prices: {input_mtok: "1"}}]')
    done = desk.told(
        "fay", "reprice", "--provider", "openai", "--model", "gpt-5-nano", "--from", "2026-03-01", "--to", "2026-03-31",
        "--prices", prices, "--reason", "a mistyped price", "--yes", "--json",
    )  # fmt: skip
    assert (done["corrected"], done["recorded"], done["corrected_total"]) == (1, "20.00", "2.00")


def refund_too_late(desk: YearDesk) -> None:
    """On 8 April 2.00 of a search of March come back, meant for 20 March, which is closed: it counts for 1 April."""
    said = refund(desk, "2026-03 crawler serp", "2.00", "2026-03-20T12:00:00Z")
    desk.keep("2026-03 too late", said)


def bounced(desk: YearDesk) -> None:
    """The bank sends the payment of March's invoice back, and it is made again."""
    known = desk.known
    desk.do("fay", f"payments/{known['2026-03 openai payment']}/reverse", reason="bounced")
    desk.do("fay", "payments", payee="openai", amount=money("122.40"), **{"from": "assets:bank"})


def may_calls(desk: YearDesk) -> None:
    """Beside the usual ones: a call of 2.00 that openai never bills."""
    held = desk.hold("reader", "3.00", "research", "openai", resource="gpt-4.1")
    desk.settle("reader", held, "2.00", "2026-05 never billed")


def over_midnight(desk: YearDesk) -> None:
    """And one of 5.00 that begins before midnight UTC, which is two in the morning in Paris, and ends after it."""
    held = desk.hold("crawler", "6.00", "research", "openai", resource="o4-mini")
    desk.clock.pass_minute()
    desk.settle("crawler", held, "5.00", "2026-05 over midnight")


BILLED_IN_MAY = (
    ("2026-05-05", "gpt-5-2025-08-07", "38.00", 4_000_000),
    ("2026-05-08", "gpt-5-mini-2025-08-07", "22.00", 1_100_000),
    ("2026-05-11", "o3-2025-04-16", "22.00", 2_000_000),
    ("2026-05-12", "gpt-5-nano-2025-08-07", "3.00", 300_000),
    ("2026-05-20", "o4-mini-2025-04-16", "5.00", None),
)
"""Day of UTC, model, dollars, tokens. The first costs less for the same tokens, the second read more; the third is the
same on both sides; of the fourth nobody asked; the last began on the day before it was settled. One of 2.00 lacks."""


def compare_may(desk: YearDesk) -> None:
    """Openai's costs and usage of May beside the ledger: five kinds of difference, 90.00 against 89.00; all that is
    money is booked, each for its day, and the comparison goes on record."""
    costs, counts = [], []
    for day, model, cost, tokens in BILLED_IN_MAY:
        start = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())
        bucket = {"start_time": start, "end_time": start + 86_400}
        said = {"amount": {"value": f"#{cost}#", "currency": "usd"}, "line_item": f"{model}, input"}
        costs.append(bucket | {"results": [said]})
        if tokens is not None:
            counts.append(bucket | {"results": [{"model": model, "input_tokens": tokens, "output_tokens": 0}]})
    texts = [json.dumps({"data": data, "has_more": False}) for data in (costs, counts)]
    files = [
        desk.file(f"{name}.json", text.replace('"#', "").replace('#"', ""))
        for name, text in zip(("costs", "usage"), texts, strict=True)
    ]
    asked = ("reconcile", "--report", f"openai-costs={files[0]}", "--report", f"openai-usage={files[1]}", "--period",
             "2026-05", "--format", "json")  # fmt: skip
    found = desk.told("fay", *asked, "--dry-run", status=1)
    assert sorted((one["kind"], one["difference"]) for one in found["differences"]) == [
        ("missing_here", "3.00"), ("missing_there", "-2.00"), ("price", "-2.00"), ("quantity", "2.00"),
        ("timing", "0.00"),
    ]  # fmt: skip
    totals = (found["provider_total"], found["ledger_total"], found["matched"])
    assert totals == ("90.00", "89.00", 2), totals
    given = ("--accept", "all", "--budget", "research", "--accept-rest", "a matter of days", "--yes")
    done = desk.told("fay", *asked, *given)
    booked = (done["ledger_total"], done["difference"], len(done["booked"]))
    assert booked == ("90.00", "0.00", 4), booked
    size = desk.app.log_size()
    again = desk.told("fay", *asked, "--accept", "all", "--budget", "research", "--yes", status=1)
    assert (again["booked"], desk.app.log_size()) == ([], size)
    (missing,) = [one for one in desk.read("charges")["items"] if one["amount"] == money("3.00")]
    desk.known["2026-05 missing"] = missing["id"]


def charged_twice(desk: YearDesk) -> None:
    """On 10 June fay records 70.00 of an invoice of serp that was meant for somebody else."""
    desk.keep("2026-06 twice", charge(desk, "fay", "70.00", "research", "crawler", "data"))


def rule(desk: YearDesk) -> None:
    """The auditors ask that above 50.00 a second person looks."""
    desk.run("owner", "corrections", "rule", "USD", "--above", "50.00", "--reason", "as the auditors ask")


def reversed_by_two(desk: YearDesk) -> None:
    """So fay's reversal waits; fay may not approve it, and gus does."""
    status, asked = desk.post("fay", "reversals", record=desk.indexes["2026-06 twice"], reason="not ours")
    assert status == 202, asked
    assert "not_an_approver" in desk.run("fay", "corrections", "approve", asked["id"], "--yes", status=1).stderr
    desk.run("gus", "corrections", "approve", asked["id"], "--yes", "--reason", "it is not ours")


def reopened(desk: YearDesk) -> None:
    """Serp's invoice of the second quarter claims 8.00 that the ledger has not. June is closed: two persons open it."""
    match = desk.read(f"invoices/{desk.known['2026-06 serp bill']}")["match"]
    assert (match["billed"], match["accrued"], match["difference"]) == (money("36.00"), money("28.00"), money("8.00"))
    desk.run("fay", "reopen", "2026-06", "--reason", "a search that nobody recorded")
    assert "not_an_approver" in desk.run("fay", "reopen", "2026-06", "--approve", status=1).stderr
    desk.run("gus", "reopen", "2026-06", "--approve")
    found = charge(desk, "fay", "8.00", "support", "triage", "search", "2026-06-25T12:00:00Z")
    desk.keep("2026-06 found", found)
    desk.do("fay", "explanations", authorization=found["id"], reason="on the invoice of the quarter")
    assert desk.read(f"invoices/{desk.known['2026-06 serp bill']}")["match"]["difference"] == money("0.00")


def closed_again(desk: YearDesk) -> None:
    """Compared again, and closed by the other person."""
    compare_total(desk, "2026-06", "serp", "18.00")
    desk.indexes["2026-06 first size"] = desk.indexes["2026-06 size"]
    done = desk.told("gus", "close", "2026-06", "--json")
    desk.indexes["2026-06 closed"], desk.indexes["2026-06 size"] = done["log_index"], done["size"]


def outcome_taken_back(desk: YearDesk) -> None:
    """The run of July failed, whatever the agent said; and 5.00 euros of it, which were 6.25 dollars, come back."""
    desk.do("fay", "runs/support-2026-07/outcome", success=False)
    desk.keep("2026-08 refund", refund(desk, "2026-07 replier mistral", "5.00 EUR"))


def late_in_september(desk: YearDesk) -> None:
    """On 10 September a search of 6.00 of 20 August is found, and 1.00 of a call of August comes back: both land on
    1 September."""
    desk.keep("2026-08 late", charge(desk, "fay", "6.00", "research", "crawler", "search", "2026-08-20T12:00:00Z"))
    desk.keep("2026-08 came back", refund(desk, "2026-08 crawler openai", "1.00", "2026-08-25T12:00:00Z"))


def wrong_category(desk: YearDesk) -> None:
    """7.00 of the crawler's call of October were search."""
    moved = {"debit": "expenses:search", "credit": "expenses:inference", "amount": money("7.00")}
    desk.do("fay", "adjustments", transfers=[moved], reason="it was search",
            corrects=desk.indexes["2026-10 crawler openai"])  # fmt: skip


def euros_bought(desk: YearDesk) -> None:
    """500 euros for 610 dollars; which is above 50.00, so two persons."""
    moved = [
        {"debit": "assets:bank", "credit": "equity:exchange", "amount": money("500.00 EUR")},
        {"debit": "equity:exchange", "credit": "assets:bank", "amount": money("610.00")},
    ]
    status, asked = desk.post("gus", "adjustments", transfers=moved, reason="euros for mistral")
    assert status == 202, asked
    desk.run("fay", "corrections", "approve", asked["id"], "--yes")


def given_up_and_billed(desk: YearDesk) -> None:
    """In November triage gives up a call of 9.00, and 4.00 are billed after all."""
    held = desk.hold("triage", "9.00", "support", "openai", resource="gpt-4.1-mini")
    desk.do("triage", f"authorizations/{held}/release", reason="it took too long")
    desk.settle("triage", held, "4.00", "2026-11 late")


def held_over_new_year(desk: YearDesk) -> None:
    """On 30 December triage asks for 9.00, which are held when the year ends."""
    desk.known["2026-12 held"] = desk.hold("triage", "9.00", "support", "openai", ttl_seconds=20 * 86_400)


def refund(desk: YearDesk, name: str, amount: str, day: str | None = None) -> Any:
    """What comes back of something, by fay."""
    more = {} if day is None else {"effective_at": day}
    return desk.do(
        "fay", "refunds", authorization=desk.known[name], amount=money(amount), reason="a credit note", **more
    )


def charge(
    desk: YearDesk, who: str, amount: str, budget: str, agent: str, category: str, day: str | None = None
) -> Any:
    """What finance found on an invoice of serp."""
    more = {} if day is None else {"effective_at": day}
    return desk.do(who, "charges", budget=budget, agent=agent, amount=money(amount), category=category, payee="serp",
                   reason="on the invoice", **more)  # fmt: skip


ODD: list[Event] = [
    ("2026-01-02 09:00", credit_bought),
    ("2026-01-20 10:00", opening_paid),
    ("2026-02-03 09:50", refund_of_january),
    ("2026-02-12 10:00", dataset),
    ("2026-03-02 08:50", refund_across_month_end),
    ("2026-03-02 11:00", mistyped_invoice),
    ("2026-03-12 10:00", mistyped_price),
    ("2026-04-07 12:00", price_mended),
    ("2026-04-08 12:00", refund_too_late),
    ("2026-04-22 10:00", bounced),
    ("2026-05-14 10:00", may_calls),
    ("2026-05-21 01:58", over_midnight),
    ("2026-06-02 08:50", compare_may),
    ("2026-06-10 12:00", charged_twice),
    ("2026-06-15 10:00", rule),
    ("2026-06-20 10:00", reversed_by_two),
    ("2026-07-02 12:00", credit_billed),
    ("2026-07-08 11:00", reopened),
    ("2026-07-08 12:00", closed_again),
    ("2026-08-05 09:00", outcome_taken_back),
    ("2026-09-10 11:00", late_in_september),
    ("2026-10-15 10:00", wrong_category),
    ("2026-10-21 10:00", euros_bought),
    ("2026-11-14 10:00", given_up_and_billed),
    ("2026-12-30 10:00", held_over_new_year),
]
