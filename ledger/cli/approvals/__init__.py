"""`bursar approvals`: see the requests that wait for people, and grant or refuse them.

Owns the verbs; ``shown`` owns what they print. Invariant: a vote is sent with the digest of the request that was just
shown, so that nothing else is ever granted.
"""

from __future__ import annotations

import json
from typing import Any, Final

import click

from bursar import Remote, remote, remote_options

STATES: Final = ("open", "waiting", "granted", "refused", "expired", "withdrawn", "forced")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
reason_option = click.option("--reason", default=None, metavar="TEXT", help="Why; it stays on record beside the vote.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask before it is sent.")
approval_argument = click.argument("approval", metavar="APPROVAL")


@click.group(name="approvals")
def command() -> None:
    """See the requests that wait for people, and grant or refuse them.

    Each verb asks a server with your own key (role approver, finance or admin). docs/approvals.md explains who
    may decide what.

    \b
    For example:
      export BURSAR_URL=https://bursar.example.com BURSAR_API_KEY=bk_approver_...
      bursar approvals list
      bursar approvals show apr_...
      bursar approvals grant apr_... --reason "in the plan for November"
    """


@command.command(name="list")
@remote_options
@click.option("--state", type=click.Choice(STATES), default="open", show_default=True, help="Which to list.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@json_option
def list_verb(url: str, key: str, state: str, limit: int, as_json: bool) -> None:
    """List the approvals in one state, newest first: by default those that wait for a decision."""
    with remote(url, key) as server:
        items = server.items("/v1/approvals", limit=limit, state=state)
    if as_json:
        for item in items:
            click.echo(json.dumps(item))
        return
    from ledger.cli.approvals.shown import print_queue

    print_queue(items, state)


@command.command(name="show")
@remote_options
@approval_argument
@json_option
def show(url: str, key: str, approval: str, as_json: bool) -> None:
    """Show one approval: the request, who is asked, and who has voted."""
    with remote(url, key) as server:
        found = server.get(f"/v1/approvals/{_path_part(approval)}")
    if as_json:
        click.echo(json.dumps(found))
        return
    from ledger.cli.approvals.shown import print_approval

    print_approval(found)


@command.command(name="grant")
@remote_options
@approval_argument
@reason_option
@yes_option
@json_option
def grant(url: str, key: str, approval: str, reason: str | None, yes: bool, as_json: bool) -> None:
    """Grant a request, as far as your vote goes. It is shown first, and you are asked."""
    _vote(url, key, approval, "approve", reason, yes=yes, as_json=as_json)


@command.command(name="refuse")
@remote_options
@approval_argument
@reason_option
@yes_option
@json_option
def refuse(url: str, key: str, approval: str, reason: str | None, yes: bool, as_json: bool) -> None:
    """Refuse a request: one refusal ends it. It is shown first, and you are asked."""
    _vote(url, key, approval, "refuse", reason, yes=yes, as_json=as_json)


@command.command(name="force")
@remote_options
@approval_argument
@click.option("--reason", required=True, metavar="TEXT", help="Why nobody else could decide; it stays on record.")
@yes_option
@json_option
def force(url: str, key: str, approval: str, reason: str, yes: bool, as_json: bool) -> None:
    """Grant every tier at once, as an admin. The authorization is flagged as forced for ever."""
    _vote(url, key, approval, "force", reason, yes=yes, as_json=as_json)


_QUESTIONS: Final = {
    "approve": "Grant this request?",
    "refuse": "Refuse this request?",
    "force": "Force this request, against what its policy asks for?",
}


def _vote(url: str, key: str, approval: str, verb: str, reason: str | None, *, yes: bool, as_json: bool) -> None:
    from ledger.cli.approvals.shown import print_approval, print_vote

    with remote(url, key) as server:
        found = _found(server, approval)
        if not as_json:
            print_approval(found)
        if not yes:
            click.confirm(_QUESTIONS[verb], abort=True, err=True)
        body = {"request_digest": found["request_digest"], "reason": reason}
        done = server.post(f"/v1/approvals/{found['id']}/{verb}", body)
    if as_json:
        click.echo(json.dumps(done))
    else:
        print_vote(done)


def _found(server: Remote, approval: str) -> Any:
    return server.get(f"/v1/approvals/{_path_part(approval)}")


def _path_part(approval: str) -> str:
    """An id as it may stand in a path. Raises click.BadParameter for what is no id."""
    if not approval.isascii() or not approval.replace("_", "").isalnum():
        raise click.BadParameter(f"{approval!r} is no id of an approval; `bursar approvals list` shows them")
    return approval
