"""`bursar policy retire`: let a policy bind nobody any more, with its versions left on record."""

from __future__ import annotations

import click

from ledger.cli.policy.owner import ask, book_options, owner_of, reason_option, yes_option


@click.command(name="retire")
@click.argument("name")
@book_options
@yes_option
@reason_option
def command(name: str, database_url: str, book: str | None, yes: bool, reason: str | None) -> None:
    """Let a policy bind nobody any more.

    Its versions stay on record. Applying a file of its name, or rolling it back, makes it decide again; its limits are
    then filled from the book's history.

    \b
    For example:
      bursar policy retire sandbox-run --reason "the sandbox was closed"
    """
    from ledger.core.command import Caller
    from ledger.core.command_policies import RetirePolicy

    with owner_of(database_url, book) as owner:
        live = owner.live(name).policy
        if live.retired:
            click.echo(f"{live.name}: retired already")
            return
        bound = "the whole book" if not live.scope else f"{live.scope_kind} {live.scope}"
        ask(f"Retire {live.name}, version {live.version}, which judges {bound}?", yes=yes)
        retire = RetirePolicy(caller=Caller(None, as_owner=True), policy=live.name, reason=reason)
        outcome = owner.decide(retire, live.name)
    click.echo(f"{live.name}: retired, from log record {outcome.log_index} on")
