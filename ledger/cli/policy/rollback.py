"""`bursar policy rollback`: an earlier document as a new version; history is not taken back."""

from __future__ import annotations

import click

from ledger.cli.policy.owner import ask, book_options, owner_of, print_comparison, reason_option, yes_option


@click.command(name="rollback")
@click.argument("name")
@click.option("--to", "version", type=click.IntRange(min=1), required=True, help="The version to go back to.")
@book_options
@yes_option
@reason_option
def command(name: str, version: int, database_url: str, book: str | None, yes: bool, reason: str | None) -> None:
    """Make the document of an earlier version the next version.

    It is applied like a file: the difference is shown, limits that count as they do now keep what they have counted,
    the others are filled from the book's history.

    \b
    For example:
      bursar policy history sandbox-run
      bursar policy rollback sandbox-run --to 3 --reason "the new cap was a typo"
    """
    with owner_of(database_url, book) as owner:
        live = owner.live(name).policy
        document = owner.document(live.name, version)
        comparison = owner.compare(document, f"{live.name} version {version}")
        if comparison.unchanged:
            click.echo(f"{live.name}: unchanged, version {comparison.live_version} says the same")
            return
        print_comparison(comparison)
        ask(f"Roll {live.name} back to version {version}?", yes=yes)
        outcome = owner.apply(document, after_version=comparison.live_version or 0, reason=reason)
    made = (outcome.body or {})["version"]
    click.echo(
        f"{live.name}: version {made}, which says what version {version} said, decides from log record "
        f"{outcome.log_index} on"
    )
