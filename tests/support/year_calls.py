"""What happens every month of the year: what agents spend, what payees bill, what finance pays and closes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tests.support.year_desk import YearDesk, money

Event = tuple[str, Callable[[YearDesk], None]]
"""When it happens, by the clock of Paris, and what."""
MONTHS = tuple(f"2026-{month:02d}" for month in range(1, 13))
FOLLOWING = dict(zip(MONTHS, (*MONTHS[1:], "2027-01"), strict=True))
LAST_DAYS = {month: f"{month}-{last}" for month, last in zip(
    MONTHS, (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), strict=True
)}  # fmt: skip
QUARTER_ENDS = ("2026-03", "2026-06", "2026-09", "2026-12")

RATES = dict.fromkeys(MONTHS[:6], "1.10") | dict.fromkeys(MONTHS[6:], "1.25")
"""What a euro is worth in dollars. Ten euros are 11.00 or 12.50 dollars; 22 dollars are 20.00 or 17.60 euros."""

CALLS = (
    ("05 10:00", "crawler", "50.00", "40.00", "research", "openai", "inference", "gpt-5"),
    ("06 10:00", "crawler", "10.00", "10.00", "research", "serp", "search", "web"),
    ("07 10:00", "reader", "40.00", "30.00", "research", "anthropic", "inference", "claude-sonnet-4-5"),
    ("08 10:00", "triage", "30.00", "20.00", "support", "openai", "inference", "gpt-5-mini"),
    ("09 10:00", "replier", "15.00", "15.00", "support", "anthropic", "inference", "claude-haiku-4-5"),
    ("09 11:00", "replier", "10.00 EUR", "10.00 EUR", "support", "mistral", "inference", "mistral-large"),
    ("10 10:00", "writer", "50.00 EUR", "50.00 EUR", "growth", "mistral", "inference", "mistral-medium"),
    ("11 10:00", "ads", "22.00", "22.00", "growth", "openai", "inference", "o3"),
)
"""Every month: day and time, agent, what it asks for, what it costs, budget, payee, category, resource."""
TOKENS = {"gpt-5": "4000000", "gpt-5-mini": "1000000", "o3": "2000000"}
"""What the calls with openai read, as it was metered."""
OVERRUN = {("2026-11", "writer"): "55.00 EUR"}
"""In November the writer's call costs 5.00 more than was approved."""

OPENAI = {
    "2026-01": ("82.00", "16.40", "98.40"), "2026-02": ("78.00", "15.60", "93.60"),
    "2026-03": ("102.00", "20.40", "122.40"), "2026-04": ("64.00", "12.80", "76.80"),
    "2026-05": ("90.00", "18.00", "108.00"), "2026-06": ("82.00", "16.40", "98.40"),
    "2026-07": ("82.00", "16.40", "98.40"), "2026-08": ("82.00", "16.40", "98.40"),
    "2026-09": ("81.00", "16.20", "97.20"), "2026-10": ("82.00", "16.40", "98.40"),
    "2026-11": ("86.00", "17.20", "103.20"), "2026-12": ("82.00", "16.40", "98.40"),
}  # fmt: skip
"""What openai bills in dollars: what was used, 20 percent of tax, the total. 82 is 40 of the crawler, 20 of triage and
22 of ads. February has a refund of 4, March a call of 20 at a mistyped price and April 18 of it back, May is compared
line by line, September has a refund of 1, November a call of 4 that came late."""
MISTRAL = dict.fromkeys(MONTHS, ("60.00", "12.00", "72.00")) | {
    "2026-08": ("55.00", "11.00", "66.00"), "2026-11": ("65.00", "13.00", "78.00"),
}  # fmt: skip
"""What mistral bills in euros: 50 of the writer and 10 of the replier; in August 5 come back, in November the writer's
call costs 5 more."""
SERP = {
    "2026-03": ("90.00", None, "90.00"), "2026-06": ("36.00", "5.00", "31.00"),
    "2026-09": ("36.00", None, "36.00"), "2026-12": ("30.00", None, "30.00"),
}  # fmt: skip
"""What serp bills in dollars, every quarter: what was used, what it takes off, the total. Beside 10 a month, the first
has a dataset of 60; the second 8 that nobody recorded, less 2 that came back; the third 6 found late."""

TOTALS = {
    "2026-03": {"openai": "102.00", "anthropic": "45.00", "mistral": "60.00", "serp": "10.00"},
    "2026-05": {"anthropic": "45.00", "mistral": "60.00", "serp": "10.00"},
    "2026-06": {"openai": "82.00", "anthropic": "45.00", "mistral": "60.00", "serp": "10.00"},
    "2026-12": {"openai": "82.00", "anthropic": "45.00", "mistral": "60.00", "serp": "10.00"},
}
"""What payees say was used in months whose bills finance compares by their total; openai's of May is compared line by
line. In other months the comparison is left for the quarter."""


def every_month() -> list[Event]:
    """All that recurs, for the whole year."""
    events: list[Event] = []
    for month in MONTHS:
        following = FOLLOWING[month]
        events.append((f"{month}-01 09:00", partial(rate, month=month)))
        events.append((f"{month}-09 09:00", partial(open_run, month=month)))
        events += [(f"{month}-{call[0]}", partial(spend, month=month, number=at)) for at, call in enumerate(CALLS)]
        events.append((f"{month}-09 12:00", partial(end_run, month=month)))
        events.append((f"{following}-02 09:00", partial(bills, month=month)))
        events.append((f"{following}-02 16:00", partial(totals, month=month)))
        if month != "2026-12":
            events.append((f"{following}-20 10:00", partial(pay, month=month)))
    return events


def rate(desk: YearDesk, month: str) -> None:
    """The rate of a month, from its first day on."""
    desk.run("fay", "rates", "add", "EUR", "USD", RATES[month], "--from", f"{month}-01", "--max-age-days", "31",
             "--source", "treasury")  # fmt: skip


def spend(desk: YearDesk, month: str, number: int) -> None:
    """One of the calls of every month."""
    _, agent, asked, cost, budget, payee, category, resource = CALLS[number]
    more: dict[str, object] = {"resource": resource}
    if agent == "replier":
        more |= {"run": f"support-{month}", "labels": {"prompt": prompt(month)}}
    held = desk.hold(agent, asked, budget, payee, category, **more)
    metering = {"provider": payee, "model": resource, "input_tokens": TOKENS[resource]} if resource in TOKENS else None
    said = {"metering": metering} if metering else {}
    desk.settle(agent, held, OVERRUN.get((month, agent), cost), f"{month} {agent} {payee}", **said)


def prompt(month: str) -> str:
    """The prompt that the replier works with: a new one since July."""
    return "v1" if month in MONTHS[:6] else "v2"


def open_run(desk: YearDesk, month: str) -> None:
    """The replier's run of a month."""
    desk.do("replier", "runs", name=f"support-{month}", cap=money("40.00"))


def end_run(desk: YearDesk, month: str) -> None:
    """What the replier says of it: half of the first six succeeded, and all of the last."""
    success = prompt(month) == "v2" or month in ("2026-01", "2026-03", "2026-05")
    desk.do("replier", f"runs/support-{month}/outcome", success=success)


def bills(desk: YearDesk, month: str) -> None:
    """The invoices of a month, whose taxes and credits count for its last day."""
    for payee, currency, billed in (("openai", "USD", OPENAI[month]), ("mistral", "EUR", MISTRAL[month])):
        desk.keep(f"{month} {payee} bill", bill(desk, month, payee, currency, *billed))
    if month in SERP:
        used, credit, total = SERP[month]
        following = FOLLOWING[month]
        billed_once = desk.do(
            "fay", "invoices", payee="serp", number=f"Q-{month}", currency="USD", issued_on=f"{following}-01",
            due_on=f"{following}-28", period=quarter(month), lines=[{"amount": used}], total=total,
            credits=[{"amount": credit, "description": "service credit"}] if credit else [],
            effective_at=last_noon(month),
        )  # fmt: skip
        desk.keep(f"{month} serp bill", billed_once)


def bill(
    desk: YearDesk, month: str, payee: str, currency: str, used: str, tax: str, total: str, *, number: str = ""
) -> object:
    """An invoice over a month with its tax."""
    return desk.do(
        "fay", "invoices", payee=payee, number=number or f"{payee}-{month}", currency=currency,
        issued_on=f"{FOLLOWING[month]}-01", due_on=f"{FOLLOWING[month]}-28", period=month,
        lines=[{"amount": used, "category": "inference"}], taxes=[{"name": "VAT", "rate": "20", "amount": tax}],
        total=total, effective_at=last_noon(month),
    )  # fmt: skip


def last_noon(month: str) -> str:
    """Noon of the last day of a month, in UTC."""
    return f"{LAST_DAYS[month]}T12:00:00Z"


def quarter(month: str) -> str:
    """The quarter that a month ends."""
    return f"2026-Q{QUARTER_ENDS.index(month) + 1}"


def totals(desk: YearDesk, month: str) -> None:
    """Compare what payees say was used in a month with the ledger, and put it on record: there is no difference."""
    for payee, total in TOTALS.get(month, {}).items():
        compare_total(desk, month, payee, total)


def compare_total(desk: YearDesk, month: str, payee: str, total: str) -> None:
    """One payee's total."""
    currency = "EUR" if payee == "mistral" else "USD"
    desk.run("fay", "reconcile", "--payee", payee, "--period", month, "--currency", currency, "--total", total,
             "--record", "--yes")  # fmt: skip


def pay(desk: YearDesk, month: str) -> None:
    """Pay what was billed over a month."""
    paid = [("openai", OPENAI[month][2]), ("mistral", f"{MISTRAL[month][2]} EUR")]
    if month in SERP:
        paid.append(("serp", SERP[month][2]))
    for payee, amount in paid:
        body = {"payee": payee, "amount": money(amount), "invoices": [
            {"id": desk.known[f"{month} {payee} bill"], "amount": money(amount)["amount"]}
        ]}  # fmt: skip
        desk.keep(f"{month} {payee} payment", desk.do("fay", "payments", **body, **{"from": "assets:bank"}))
