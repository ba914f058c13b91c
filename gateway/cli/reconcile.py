"""`bursar gateway reconcile`: list the calls whose outcome is not known, and settle or release them.

Owns the verb: what it asks the server, and in which order. Invariants: nothing is settled or released before it was
shown and agreed to; each request carries an idempotency key made of the call and of what is done with it, so that a run
that was cut short, or a second one, doubles nothing; a call that somebody else resolved meanwhile is left alone.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click

from bursar import Refused, Remote, remote, remote_options
from gateway.cli.bill import BillError, BillLine, columns_of, read_bill
from gateway.cli.bill_prices import priced
from gateway.cli.prices_file import DEFAULT_FILE, overrides_in
from gateway.cli.reconciled import ELSEWHERE, FAILED, Result, plain, show
from gateway.cli.reconciling import KEEP, RELEASE, SETTLE, Call, Matches, Step, Wish, body_of, call_of, match, plan
from ledger.core.moment import moment_text

CALLS_MAX: Final = 1_000_000
_SECONDS_OF: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_RESOLVED: Final = ("wrong_state", "idempotency_mismatch")


class CannotReconcile(click.ClickException):
    """Something that was given cannot be worked with; nothing was changed."""

    exit_code = 2


@click.command(name="reconcile")
@remote_options
@click.option(
    "--bill", "bills", multiple=True, metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The provider's bill, CSV or JSON lines; may be given several times.",
)  # fmt: skip
@click.option("--column", "columns", multiple=True, metavar="FIELD=NAME", help="How the bill calls a field.")
@click.option("--bill-since", default=None, metavar="WHEN", help="The bill covers calls from then on.  [default: all]")
@click.option("--bill-until", default=None, metavar="WHEN", help="The bill covers calls before then.")
@click.option("--bill-currency", default="USD", show_default=True, metavar="CODE", help="Of costs which name none.")
@click.option(
    "--prices", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
    help=f"Your own prices, for lines without a cost; {DEFAULT_FILE} where it exists.",
)  # fmt: skip
@click.option(
    "--absent", type=click.Choice([KEEP, RELEASE, SETTLE]), default=KEEP, show_default=True,
    help="What becomes of calls that the bill covers and does not name.",
)  # fmt: skip
@click.option("--settle-all", is_flag=True, help="Settle every one at the amount it holds.")
@click.option("--release-all", is_flag=True, help="Release every one: they were not made.")
@click.option("--reason", default=None, metavar="TEXT", help="Why; kept on record. Needed with --settle/release-all.")
@click.option("--include-open", is_flag=True, help="Also holds whose time has not run out, of a gateway that is gone.")
@click.option("--older-than", default="10m", show_default=True, metavar="TIME", help="With --include-open: how old.")
@click.option("--agent", default=None, metavar="NAME", help="Calls of one agent only.")
@click.option("--category", default="inference", show_default=True, metavar="NAME", help="Of which category.")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask before it is done.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(url: str, key: str, **options: Any) -> None:
    """List the calls whose outcome is not known, and settle or release them.

    Without --bill, --settle-all or --release-all they are only listed. With a bill, each call that it names (by its
    authorization as the client's request id, or by the response's id) is settled at what was billed. Dates are in the
    book's time zone. Settling and releasing need a finance key; any key may list what it sees.

    \b
    For example:
      bursar gateway reconcile
      bursar gateway reconcile --bill openai.csv --column cost=amount_usd --dry-run
      bursar gateway reconcile --bill openai.csv --bill-until 2026-12-01 --absent release
      bursar gateway reconcile --include-open --older-than 1h --settle-all --reason "host lost on Monday"
    """
    _check(options)
    now = time.time_ns() // 1_000
    with remote(url, key) as server:
        wish = _wish(server, options, now)
        calls = list(_calls(server, options, now))
        matches = _matches(options, calls, wish) if options["bills"] else None
        steps = plan(calls, matches or Matches(), wish)
        planned = [Result(step, step.action, step.why) for step in steps]
        todo = [step for step in steps if step.action != KEEP]
        if not todo or options["dry_run"]:
            _tell(planned, matches, options, now=now)
            return
        _may_resolve(server)
        if not options["yes"]:
            if not options["as_json"]:
                show(planned, matches, now=now, done=False)
            click.confirm(f"Settle or release {len(todo)} of {len(steps)} calls?", abort=True, err=True)
        results = [
            _carried_out(server, step) if step.action != KEEP else Result(step, KEEP, step.why) for step in steps
        ]
    _tell(results, matches, options, now=now)
    if any(result.outcome == FAILED for result in results):
        raise SystemExit(1)


def _tell(results: list[Result], matches: Matches | None, options: dict[str, Any], *, now: int) -> None:
    if options["as_json"]:
        click.echo(json.dumps(plain(results, matches, now=now, dry_run=options["dry_run"])))
    else:
        show(results, matches, now=now, done=True)


def _check(options: dict[str, Any]) -> None:
    """Raises click.UsageError for options that do not go together."""
    everything = options["settle_all"] + options["release_all"]
    if everything + bool(options["bills"]) > 1:
        raise click.UsageError("--bill, --settle-all and --release-all do not go together: choose one")
    if everything and not options["reason"]:
        raise click.UsageError("say why with --reason: it stays on record beside each call")
    if not options["bills"]:
        for name in ("columns", "bill_since", "bill_until"):
            if options[name]:
                raise click.UsageError(f"--{name.rstrip('s').replace('_', '-')} says nothing without --bill")
    if options["absent"] != KEEP and (not options["bills"] or options["bill_until"] is None):
        raise click.UsageError(
            "--absent needs --bill and --bill-until, the time up to which the bill is complete: a call that is not on "
            "it yet may still be billed"
        )


def _wish(server: Remote, options: dict[str, Any], now: int) -> Wish:
    made = Wish(
        everything=SETTLE if options["settle_all"] else RELEASE if options["release_all"] else None,
        absent=options["absent"],
        currency=options["bill_currency"],
        reason=options["reason"] or "",
    )
    if options["bill_since"] is None and options["bill_until"] is None:
        return made
    # Imported here, because it brings the database's packages with it.
    from ledger.services.policies.simulating import SimulationRefused, read_moment

    timezone = server.get("/v1/book")["timezone"]
    try:
        since, until = (
            read_moment(said, timezone=timezone, now=now) if said is not None else None
            for said in (options["bill_since"], options["bill_until"])
        )
    except SimulationRefused as error:
        raise CannotReconcile(str(error)) from error
    return replace(made, covers_from=since or 0, covers_until=until)


def _calls(server: Remote, options: dict[str, Any], now: int) -> Iterator[Call]:
    """The calls that are to be looked at, oldest first, each once."""
    query: dict[str, str | int | bool] = {"agent": options["agent"]} if options["agent"] else {}
    views = server.items("/v1/authorizations", limit=CALLS_MAX, flag="unknown", **query)
    if options["include_open"]:
        before = moment_text(now - _seconds(options["older_than"]) * 1_000_000)
        views += server.items("/v1/authorizations", limit=CALLS_MAX, state="held", to=before, **query)
    seen: set[str] = set()
    for view in sorted(views, key=lambda view: view["log"]["index"]):
        # An ordinary hold gives its money back by itself; only those that would be kept are of concern.
        concerned = view["state"] == "held" and view["on_expiry"] == "unknown"
        if concerned and view["category"] == options["category"] and view["id"] not in seen:
            seen.add(view["id"])
            yield call_of(view)


def _seconds(text: str) -> int:
    found = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    if found is None:
        raise CannotReconcile(f'"{text}" is no length of time: write 90s, 10m, 1h or 2d')
    return int(found[1]) * _SECONDS_OF[found[2]]


def _matches(options: dict[str, Any], calls: list[Call], wish: Wish) -> Matches:
    """Which lines of the bills name which call, with a cost for those that say only what was used."""
    from gateway.pricing import PriceBook

    said: dict[str, str] = {}
    for text in options["columns"]:
        name, equals, column = text.partition("=")
        if not equals or not column:
            raise CannotReconcile(f'"{text}" names no column: write --column cost=NAME')
        said[name] = column

    def lines() -> Iterator[BillLine]:
        columns = columns_of(said)
        for path in options["bills"]:
            yield from read_bill(path, columns)

    try:
        found = match(calls, lines(), currency=wish.currency)
    except BillError as error:
        raise CannotReconcile(str(error)) from error
    book = PriceBook(overrides_in(options["prices"]))
    for call in calls:
        named = found.lines.get(call.authorization)
        if named:
            found.lines[call.authorization] = [
                priced(line, book, provider=call.payee, model=call.model, at=call.created_at) for line in named
            ]
    return found


def _may_resolve(server: Remote) -> None:
    """Raises CannotReconcile for a key that may look and not touch."""
    me = server.get("/v1/me")
    if not {"settle", "release"} <= set(me["may"]):
        raise CannotReconcile(
            f"a key with role {me['role']} may list these calls, and not settle or release them: use a key with role "
            "finance (--dry-run shows what would be done)"
        )


def _carried_out(server: Remote, step: Step) -> Result:
    path = f"/v1/authorizations/{step.call.authorization}"
    if step.guess and not step.call.said_unknown and server.get(path)["state"] != "held":
        # A gateway that was thought to be gone may have ended it since it was listed.
        return Result(step, ELSEWHERE, "it was settled or released since it was listed")
    try:
        if step.action == RELEASE:
            server.post(f"{path}/release", {"reason": step.why}, idempotency_key=step.idempotency_key())
        else:
            server.post(f"{path}/settle", body_of(step), idempotency_key=step.idempotency_key())
    except Refused as refused:
        state = server.get(path)["state"] if refused.code in _RESOLVED else "held"
        if state != "held":
            return Result(step, ELSEWHERE, f"it is {state} since it was listed")
        return Result(step, FAILED, refused.message)
    return Result(step, step.action, step.why)
