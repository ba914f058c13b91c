"""Rates over HTTP, and what answers show of an authorization that was converted; on both databases."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.support.running_app import RunningApp, authorization, usd


def eur(amount: str) -> dict[str, str]:
    """An amount in euros."""
    return {"amount": amount, "currency": "EUR"}


def today(app: RunningApp) -> str:
    """The day of the book."""
    zone = ZoneInfo(app.get("/v1/book").json["timezone"])
    return datetime.now(zone).date().isoformat()


def finance(app: RunningApp) -> str:
    """A key of finance."""
    return str(app.make("/v1/keys", {"role": "finance", "person": "fred"})["key"])


def rate(app: RunningApp, text: str = "1.10", **more: Any) -> dict[str, Any]:
    """A rate of the euro in dollars, for today."""
    return {"base": "EUR", "quote": "USD", "rate": text, "valid_from": today(app), "source": "treasury"} | more


@pytest.mark.parametrize("behind", [False, True], ids=["hot", "behind"])
def test_a_converted_authorization_shows_both_sides(app_on: RunningApp, behind: bool) -> None:
    """The answer and every later look at it: amounts in the budget's currency, and what was asked with its rate."""
    key = app_on.make_agent("crawler", budget="research", allocated="100.00")
    asked = authorization("10.00") | {"amount": eur("10.00")}
    denied = app_on.post("/v1/authorizations", asked, key=key, behind=behind)
    assert (denied.status, denied.code) == (403, "no_rate")
    assert "from EUR to USD" in denied.json["detail"]
    assert set(denied.json["budget"]) == {"id", "name"}
    given = app_on.post("/v1/rates", rate(app_on), behind=behind)
    assert given.status == 201, given.json
    held = app_on.post("/v1/authorizations", asked, key=key, behind=behind)
    assert held.status == 201, held.json
    assert (held.json["amount"], held.json["approved"]) == (usd("11.00"), usd("11.00"))
    assert held.json["exchange"] == {
        "amount": eur("10.00"),
        "approved": eur("10.00"),
        "settled": eur("0.00"),
        "refunded": eur("0.00"),
        "repriced": eur("0.00"),
        "rates": [
            {
                "base": "EUR",
                "quote": "USD",
                "rate": "1.1",
                "valid_from": today(app_on),
                "source": "treasury",
                "inverse": False,
                "log_index": given.json["log"]["index"],
            }
        ],
    }
    path = f"/v1/authorizations/{held.json['id']}"
    third = app_on.post(f"{path}/settle", {"amount": usd("1.00")}, key=key, behind=behind)
    assert (third.status, third.code) == (422, "currency_mismatch")
    settled = app_on.post(f"{path}/settle", {"amount": eur("6.00")}, key=key, behind=behind)
    assert (settled.status, settled.json["settled"]) == (200, usd("6.60"))
    assert settled.json["exchange"]["settled"] == eur("6.00")
    refunded = app_on.post(
        "/v1/refunds", {"authorization": held.json["id"], "amount": eur("1.00")}, key=finance(app_on)
    )
    assert refunded.status == 201, refunded.json
    assert (refunded.json["amount"], refunded.json["exchange"]["refunded"]) == (usd("1.10"), eur("1.00"))
    assert [one["amount"]["currency"] for one in refunded.json["transfers"]] == ["USD", "USD", "EUR"]
    for shown in (app_on.get(path, key=key).json, *app_on.get("/v1/authorizations", key=key).json["items"][:1]):
        assert (shown["settled"], shown["refunded"]) == (usd("6.60"), usd("1.10"))
        assert (shown["exchange"]["settled"], shown["exchange"]["refunded"]) == (eur("6.00"), eur("1.00"))
    (listed,) = app_on.get("/v1/refunds").json["items"]
    assert listed["exchange"]["refunded"] == eur("1.00")


def test_an_evaluation_and_a_plain_request(acme: RunningApp, crawler: str) -> None:
    """The first says what it would be converted by; the second says nothing of exchange."""
    assert acme.post("/v1/rates", rate(acme, "1.25")).status == 201
    found = acme.post("/v1/evaluations", authorization() | {"amount": eur("2.00")}, key=crawler).json
    assert (found["approved"], found["exchange"]["approved"]) == (usd("2.50"), eur("2.00"))
    assert "exchange" not in acme.post("/v1/authorizations", authorization("1.00"), key=crawler).json


def test_rates_are_listed_by_pair_and_day(app_on: RunningApp) -> None:
    """The last that was given for each; filtered, and a page at a time."""
    days = ["2026-11-25", "2026-11-26", "2026-11-27"]
    many = [
        {"base": "EUR", "quote": quote, "rate": text, "valid_from": day}
        for day in days
        for quote, text in (("USD", "1.08"), ("JPY", "163.5"), ("GBP", "0.83"))
    ]
    given = app_on.post("/v1/rates", {"rates": many, "source": "ecb", "reason": "the file of the 27th"})
    assert given.status == 201, given.json
    assert (len(given.json["rates"]), given.json["source"], given.json["max_age_days"]) == (9, "ecb", 7)
    assert app_on.post("/v1/rates", {**many[0], "rate": "1.0812", "max_age_days": 31}).status == 201
    found, cursor = [], ""
    while True:
        page = app_on.get(f"/v1/rates?limit=4{cursor}").json
        found += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    places = [(one["base"] + one["quote"], one["valid_from"]) for one in found]
    assert places == [(f"EUR{quote}", day) for quote in ("GBP", "JPY", "USD") for day in days]
    assert (found[6]["rate"], found[6]["source"], found[6]["max_age_days"]) == ("1.0812", "manual", 31)
    assert found[7]["rate"] == "1.08"
    dollars = app_on.get("/v1/rates?base=EUR&quote=USD&from=2026-11-26&to=2026-11-26").json["items"]
    assert [one["valid_from"] for one in dollars] == ["2026-11-26"]
    assert len(app_on.get("/v1/rates?quote=JPY").json["items"]) == 3
    assert len(app_on.get("/v1/rates?base=EUR").json["items"]) == 9
    assert app_on.get("/v1/rates?base=USD").json["items"] == []


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"rate": "0"}, 422, "rate_invalid"),
        ({"rate": "1,10"}, 422, "rate_invalid"),
        ({"rate": 1.1}, 422, "validation_failed"),
        ({"quote": "EUR"}, 422, "rate_invalid"),
        ({"quote": "XQZ"}, 422, "rate_invalid"),
        ({"quote": "usd"}, 422, "validation_failed"),
        ({"valid_from": "2026-02-30"}, 422, "validation_failed"),
        ({"valid_from": "1989-12-31"}, 422, "rate_invalid"),
        ({"valid_from": None}, 422, "validation_failed"),
        ({"max_age_days": 93}, 422, "validation_failed"),
        ({"source": "The Bank"}, 422, "validation_failed"),
        ({"rates": [{"base": "EUR", "quote": "USD", "rate": "1", "valid_from": "2026-11-27"}]}, 422,
         "validation_failed"),
        ({"note": "x"}, 422, "unknown_field"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_rate_is_refused(acme: RunningApp, change: dict[str, Any], status: int, code: str) -> None:
    """And nothing is recorded."""
    size = acme.log_size()
    answer = acme.post("/v1/rates", rate(acme) | change)
    assert (answer.status, answer.code) == (status, code), answer.json
    assert acme.log_size() == size


def test_who_may(acme: RunningApp, crawler: str) -> None:
    """An agent neither gives rates nor lists them."""
    assert acme.post("/v1/rates", rate(acme), key=crawler).code == "role_not_allowed"
    assert acme.get("/v1/rates", key=crawler).code == "role_not_allowed"


def test_a_charge_without_a_rate(acme: RunningApp, crawler: str) -> None:
    """Is refused, and names what is missing."""
    charge = {"budget": "research", "amount": {"amount": "5", "currency": "CHF"}, "category": "search", "payee": "x"}
    answer = acme.post("/v1/charges", charge, key=finance(acme))
    assert (answer.status, answer.code) == (409, "rate_needed")
    assert "from CHF to USD" in answer.json["detail"]
