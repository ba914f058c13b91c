"""`bursar delegations`: let somebody else approve in one's place for a time, and see or end that.

Invariant: every delegation has an end, and is on record with who made it.
"""

from __future__ import annotations

import json

import click

from bursar import remote, remote_options

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
DAY_SECONDS = 86_400


@click.group(name="delegations")
def command() -> None:
    """Let somebody else approve in your place for a time, and see or end that.

    \b
    For example:
      bursar delegations give quinn --days 14 --reason "on leave"
      bursar delegations list --live
      bursar delegations revoke dlg_...
    """


@command.command(name="list")
@remote_options
@click.option("--live", is_flag=True, help="Only those that stand now.")
@click.option("--person", default=None, metavar="NAME", help="Only those that this person gave or received.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@json_option
def list_verb(url: str, key: str, live: bool, person: str | None, limit: int, as_json: bool) -> None:
    """List delegations, newest first."""
    query: dict[str, str | int | bool] = {"live": live}
    if person is not None:
        query["person"] = person
    with remote(url, key) as server:
        items = server.items("/v1/delegations", limit=limit, **query)
    if as_json:
        for item in items:
            click.echo(json.dumps(item))
        return
    from ledger.cli.approvals.shown import print_delegations

    print_delegations(items)


@command.command(name="give")
@remote_options
@click.argument("to", metavar="PERSON")
@click.option("--days", type=click.IntRange(1, 90), default=None, help="For so many days from its start.")
@click.option("--until", default=None, metavar="DATE", help="Until this date or moment, such as 2026-12-01.")
@click.option("--starts", default=None, metavar="DATE", help="From this date or moment; left out: at once.")
@click.option("--from", "giver", default=None, metavar="NAME", help="In whose place, where an admin does it for them.")
@click.option("--role", type=click.Choice(("approver", "finance", "admin")), default=None, help="With --from: as what.")
@click.option("--reason", default=None, metavar="TEXT", help="Why; it stays on record.")
@json_option
def give(
    url: str,
    key: str,
    to: str,
    days: int | None,
    until: str | None,
    starts: str | None,
    giver: str | None,
    role: str | None,
    reason: str | None,
    as_json: bool,
) -> None:
    """Let PERSON approve in your place, with --days or --until saying how long."""
    if (days is None) == (until is None):
        raise click.UsageError("Say how long: either --days or --until.")
    body = {
        "to": to,
        "from": giver,
        "role": role,
        "starts_at": starts,
        "ends_at": until,
        "ttl_seconds": None if days is None else days * DAY_SECONDS,
        "reason": reason,
    }
    with remote(url, key) as server:
        given = server.post("/v1/delegations", body)
    _print(given, as_json=as_json)


@command.command(name="revoke")
@remote_options
@click.argument("delegation", metavar="DELEGATION")
@click.option("--reason", default=None, metavar="TEXT", help="Why; it stays on record.")
@json_option
def revoke(url: str, key: str, delegation: str, reason: str | None, as_json: bool) -> None:
    """End a delegation at once: as its giver, its receiver or an admin."""
    if not delegation.isascii() or not delegation.replace("_", "").isalnum():
        raise click.BadParameter(f"{delegation!r} is no id of a delegation; `bursar delegations list` shows them")
    with remote(url, key) as server:
        ended = server.post(f"/v1/delegations/{delegation}/revoke", {"reason": reason})
    _print(ended, as_json=as_json)


def _print(item: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(item))
        return
    from ledger.cli.approvals.shown import print_delegation

    print_delegation(item)
