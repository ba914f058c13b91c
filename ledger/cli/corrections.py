"""`bursar corrections`: see what waits for a second person, decide on it, and say what needs one.

Invariant: what is approved was shown right before, and whoever approves was asked, unless they said not to.
"""

from __future__ import annotations

import json
from typing import Any, Final

import click

from bursar import remote, remote_options
from ledger.core.correction import STATES_SHOWN

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
reason_option = click.option("--reason", default=None, metavar="TEXT", help="Why; it stays on record.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask before it is sent.")
correction_argument = click.argument("correction", metavar="CORRECTION")
_QUESTIONS: Final = {
    "approve": "Have this done?",
    "refuse": "Refuse this?",
    "withdraw": "Withdraw this?",
}
_UNSHOWN: Final = ("amount", "transfers", "old_price", "new_price")


@click.group(name="corrections")
def command() -> None:
    """See the corrections that wait for a second person, and decide on them.

    A refund, reprice, adjustment, charge or reversal above the book's rule is not done but waits until another person
    approves it. docs/corrections.md explains who may.

    \b
    For example:
      export BURSAR_URL=https://bursar.example.com BURSAR_API_KEY=bk_finance_...
      bursar corrections list
      bursar corrections show cor_...
      bursar corrections approve cor_... --reason "checked against the credit note"
    """


@command.command(name="list")
@remote_options
@click.option("--state", type=click.Choice(STATES_SHOWN), default="pending", show_default=True, help="Which to list.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@json_option
def list_verb(url: str, key: str, state: str, limit: int, as_json: bool) -> None:
    """List the corrections in one state, newest first: by default those that wait for a decision."""
    with remote(url, key) as server:
        items = server.items("/v1/corrections", limit=limit, state=state)
    if as_json:
        for item in items:
            click.echo(json.dumps(item))
        return
    from ledger.cli.approvals.shown import moment, print_table, said

    if not items:
        said("Nothing waits for a second person." if state == "pending" else f"No correction is {state}.")
        return
    print_table(
        ("correction", "what", "amount", "asked by", "reason", "until"),
        [
            (
                item["id"],
                item["operation"],
                _amounts(item),
                item["requested_by"],
                item["reason"] or "-",
                moment(item["expires_at"]),
            )
            for item in items
        ],
    )


@command.command(name="show")
@remote_options
@correction_argument
@json_option
def show(url: str, key: str, correction: str, as_json: bool) -> None:
    """Show one correction: what was asked for, by whom, and what became of it."""
    with remote(url, key) as server:
        found = server.get(f"/v1/corrections/{_path_part(correction)}")
    if as_json:
        click.echo(json.dumps(found))
    else:
        _print(found)


@command.command(name="approve")
@remote_options
@correction_argument
@reason_option
@yes_option
@json_option
def approve(url: str, key: str, correction: str, reason: str | None, yes: bool, as_json: bool) -> None:
    """Have done what another person asked for. It is shown first, and you are asked."""
    _decide(url, key, correction, "approve", reason, yes=yes, as_json=as_json)


@command.command(name="refuse")
@remote_options
@correction_argument
@reason_option
@yes_option
@json_option
def refuse(url: str, key: str, correction: str, reason: str | None, yes: bool, as_json: bool) -> None:
    """Refuse what another person asked for: nothing is posted. It is shown first, and you are asked."""
    _decide(url, key, correction, "refuse", reason, yes=yes, as_json=as_json)


@command.command(name="withdraw")
@remote_options
@correction_argument
@reason_option
@yes_option
@json_option
def withdraw(url: str, key: str, correction: str, reason: str | None, yes: bool, as_json: bool) -> None:
    """Take back what you asked for yourself, before another person has decided."""
    _decide(url, key, correction, "withdraw", reason, yes=yes, as_json=as_json)


@command.command(name="rules")
@remote_options
@json_option
def rules(url: str, key: str, as_json: bool) -> None:
    """List from what amount on corrections need a second person, by currency."""
    with remote(url, key) as server:
        items = server.get("/v1/correction-rules")["items"]
    if as_json:
        for item in items:
            click.echo(json.dumps(item))
        return
    if not items:
        click.echo("No correction needs a second person.")
    for item in items:
        click.echo(_rule(item))


@command.command(name="rule")
@remote_options
@click.argument("currency", metavar="CURRENCY")
@click.option("--above", default=None, metavar="AMOUNT", help="Above this, a second person; 0: always.")
@click.option("--none", "never", is_flag=True, help="Nothing needs a second person any more.")
@reason_option
@json_option
def rule(url: str, key: str, currency: str, above: str | None, never: bool, reason: str | None, as_json: bool) -> None:
    """Set the rule of a currency, as an admin. One that allows more than before waits for another admin."""
    if (above is None) == (not never):
        raise click.UsageError("Say from where on: either --above AMOUNT or --none.")
    with remote(url, key) as server:
        body = {"currency": currency, "above": above, "never": never or None, "reason": reason}
        done = server.post("/v1/correction-rules", body)
    if as_json:
        click.echo(json.dumps(done))
    elif "operation" in done:
        click.echo(f"This allows more than before, so it waits for another admin: {done['id']}.")
    else:
        click.echo(_rule(done))


def _rule(item: dict[str, Any]) -> str:
    above = item["above"]
    if above is None:
        return f"{item['currency']}: no correction needs a second person."
    return f"{item['currency']}: above {above['amount']}, alone and on one day, needs a second person."


def _decide(url: str, key: str, correction: str, verb: str, reason: str | None, *, yes: bool, as_json: bool) -> None:
    path = f"/v1/corrections/{_path_part(correction)}"
    with remote(url, key) as server:
        found = server.get(path)
        if not as_json:
            _print(found)
        if not yes:
            click.confirm(_QUESTIONS[verb], abort=True, err=True)
        done = server.post(f"{path}/{verb}", {"reason": reason})
    if as_json:
        click.echo(json.dumps(done))
    elif verb == "approve":
        click.echo(f"Done: record {done['log']['index']} of the log, approved by you for {found['requested_by']}.")
    else:
        click.echo(f"{'Refused' if verb == 'refuse' else 'Withdrawn'}. {found['id']} ends here; nothing was posted.")


def _amounts(item: dict[str, Any]) -> str:
    from ledger.cli.approvals.shown import amount

    return ", ".join(map(amount, item["amounts"])) or "-"


def _print(item: dict[str, Any]) -> None:
    from ledger.cli.approvals.shown import amount, moment, print_lines

    request = item["request"]
    lines: list[tuple[str, object]] = [
        ("correction", f"{item['id']} ({item['state']})"),
        ("what", item["operation"]),
        ("amount", _amounts(item)),
    ]
    for transfer in request.get("transfers", ()):
        lines.append(("transfer", f"{transfer['debit']} from {transfer['credit']}: {amount(transfer['amount'])}"))
    for name, value in request.items():
        if name not in _UNSHOWN:
            lines.append((name, amount(value) if isinstance(value, dict) else value))
    if item["operation"] == "reprice":
        lines.append(("should be", amount(request["amount"])))
    lines += [
        ("asked by", f"{item['requested_by']} at {moment(item['requested_at'])}"),
        ("reason", item["reason"] or "-"),
        ("decide until", moment(item["expires_at"])),
    ]
    if item["decided_by"] is not None:
        lines.append((item["state"], f"by {item['decided_by']} at {moment(item['decided_at'])}"))
    if item.get("decision_reason"):
        lines.append(("because", item["decision_reason"]))
    print_lines(lines)


def _path_part(correction: str) -> str:
    """An id as it may stand in a path. Raises click.BadParameter for what is no id."""
    if not correction.isascii() or not correction.replace("_", "").isalnum():
        raise click.BadParameter(f"{correction!r} is no id of a correction; `bursar corrections list` shows them")
    return correction
