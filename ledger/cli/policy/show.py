"""`bursar policy show`: the document of a version, as a file that can be edited and applied."""

from __future__ import annotations

import click

from ledger.cli.policy.owner import book_options, owner_of


@click.command(name="show")
@click.argument("name")
@click.option("--version", type=click.IntRange(min=1), default=None, help="Another version than the live one.")
@book_options
def command(name: str, version: int | None, database_url: str, book: str | None) -> None:
    """Print a policy as a file: what decides now, or an earlier version.

    \b
    For example:
      bursar policy show sandbox-run
      bursar policy show sandbox-run --version 3 > policies/sandbox-run.yaml
    """
    from ledger.services.policies.document_writing import policy_yaml

    with owner_of(database_url, book) as owner:
        live = owner.live(name).policy
        chosen = version if version is not None else live.version
        document = owner.document(live.name, chosen)
    state = "retired" if live.retired else "live" if chosen == live.version else f"version {live.version} is live"
    click.echo(f"# {live.name} version {chosen} ({state})")
    click.echo(policy_yaml(document), nl=False)
