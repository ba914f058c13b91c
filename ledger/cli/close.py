"""`bursar close`: check a month and close it, or the months of a quarter or a year in order.

Invariants: `--dry-run` records nothing; what is closed stays closed when a later month of the same quarter is refused,
and the same command again goes on from there.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import click

from bursar import Refused
from ledger.cli.checkpoint import json_option
from ledger.cli.database import BadValue
from ledger.cli.month_places import NotDone, Place, place, place_options

REASON_LENGTH_MAX: Final = 2000
_MONTH: Final = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")
_QUARTER: Final = re.compile(r"(\d{4})-Q([1-4])")
_YEAR: Final = re.compile(r"\d{4}")
_AUTHORIZATION: Final = re.compile(r"(?:auth|chg)_[0-9a-z]{26}")
CHECK_WORDS: Final = {
    "flags": "flagged and not explained",
    "unknown_holds": "holds of which nobody knows what became",
    "pending_approvals": "requests that wait for a person",
    "reconciliation": "payees whose bills nobody compared",
    "trial_balance": "does not balance",
}


def months_typed(text: str) -> list[str]:
    """The months of a month, a quarter or a year, in order. Raises BadValue."""
    if _MONTH.fullmatch(text):
        return [text]
    if (found := _QUARTER.fullmatch(text)) is not None:
        first = 3 * int(found[2]) - 2
        return [f"{found[1]}-{month:02d}" for month in range(first, first + 3)]
    if _YEAR.fullmatch(text):
        return [f"{text}-{month:02d}" for month in range(1, 13)]
    raise BadValue(f"{text} is no month, quarter or year: write 2026-11, 2026-Q4 or 2026")


@click.command(name="close")
@click.argument("period", metavar="PERIOD")
@click.option("--dry-run", is_flag=True, help="Say what stands in the way, and record nothing.")
@click.option(
    "--accept", "accepted", multiple=True, metavar="CHECK=REASON",
    help="Let a check fail, with the reason why that does not matter; may be given again.",
)  # fmt: skip
@click.option(
    "--explain", "explained", multiple=True, metavar="ID=REASON",
    help="Explain what is flagged on an authorization or charge, before the checks; may be given again.",
)  # fmt: skip
@place_options
@json_option
def command(
    period: str,
    dry_run: bool,
    accepted: tuple[str, ...],
    explained: tuple[str, ...],
    database_url: str,
    book: str | None,
    url: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    """Close PERIOD: a month such as 2026-11, or a quarter or a year, whose months are closed in order.

    Each month is checked first; what fails is mended, explained, or accepted with a reason. Then the digests of its
    statements go on record, made as of one size of the log, while agents go on spending. What is found later for a day
    of the month counts for the first month that is open. Finance and admins close, with a key of their own.

    \b
    For example:
      bursar close 2026-11 --dry-run
      bursar close 2026-11 --explain chg_01k...="found on the invoice"
      bursar close 2026-Q4 --accept reconciliation="the invoice comes on the 5th"
    """
    months = months_typed(period)
    accept = dict(_pair(one, "--accept", CHECK_WORDS) for one in accepted)
    if "trial_balance" in accept:
        raise BadValue("books that do not balance are not accepted: run 'bursar verify'")
    reasons = [_pair(one, "--explain", None) for one in explained]
    with place(database_url, book, url, api_key) as chosen:
        closed = {month["period"] for month in chosen.months() if month["state"] != "open"}
        left = [month for month in months if month not in closed]
        if not left:
            raise click.ClickException(f"{period} is closed already")
        if dry_run:
            _try(chosen, left, accept, as_json=as_json)
            return
        for reference, reason in reasons:
            chosen.change("/v1/explanations", {"authorization": reference, "reason": reason})
        for month in left:
            _tell(_close(chosen, month, accept), as_json=as_json)


def _pair(text: str, option: str, names: dict[str, str] | None) -> tuple[str, str]:
    name, sign, reason = text.partition("=")
    if not sign or not reason.strip() or len(reason) > REASON_LENGTH_MAX:
        raise BadValue(f"write {option} NAME=REASON, with a reason of 1 to {REASON_LENGTH_MAX} characters: {text[:60]}")
    if names is not None and name not in names:
        raise BadValue(f"{name[:60]} is no check; those are {', '.join(names)}")
    if names is None and _AUTHORIZATION.fullmatch(name) is None:
        raise BadValue(f"{name[:60]} is no id of an authorization or charge")
    return name, reason


def _close(chosen: Place, month: str, accept: dict[str, str]) -> dict[str, Any]:
    try:
        return chosen.change(f"/v1/periods/{month}/close", {"accept": accept})
    except (Refused, NotDone) as refused:
        if refused.code == "checks_failed":
            _print_checks([check for check in chosen.month(month)["checks"] if check["failing"]])
        raise


def _try(chosen: Place, months: list[str], accept: dict[str, str], *, as_json: bool) -> None:
    """Say of each month what would be found. Status 1 where something fails that is not accepted."""
    in_the_way = False
    for name in months:
        month = chosen.month(name)
        failing = [check for check in month["checks"] if check["failing"]]
        left = [check for check in failing if check["name"] not in accept]
        in_the_way = in_the_way or bool(left) or not month["is_over"]
        if as_json:
            click.echo(json.dumps({"period": name, "is_over": month["is_over"], "checks": month["checks"]}))
            continue
        if not month["is_over"]:
            click.echo(f"{name} is not over: it ends at {month['to']}.")
        else:
            said = "can be closed" if not left else f"cannot be closed yet: {len(left)} checks fail"
            click.echo(f"{name} {said}.")
        _print_checks(failing)
    if in_the_way:
        raise click.exceptions.Exit(1)


def _print_checks(failing: list[dict[str, Any]]) -> None:
    for check in failing:
        click.echo(f"  {check['name']}: {check['failing']} {CHECK_WORDS[check['name']]}")
        for item in check["items"]:
            click.echo(f"    {item}")
        if check["failing"] > len(check["items"]):
            click.echo(f"    and {check['failing'] - len(check['items'])} more")


def _tell(done: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        names = ("period", "size", "root", "digest", "accepted")
        click.echo(json.dumps({name: done[name] for name in names} | {"log_index": done["log"]["index"]}))
        return
    accepted = f"; accepted: {', '.join(done['accepted'])}" if done["accepted"] else ""
    click.echo(
        f"Closed {done['period']} as of {done['size']} records; record {done['log']['index']} has the digests of its "
        f"statements, {done['digest'][:16]}… over all{accepted}."
    )
