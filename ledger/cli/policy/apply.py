"""`bursar policy apply`: make policy files the law of a book.

Invariants: nothing is changed unless every file is right and its cases pass; what is applied is what was shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ledger.cli.policy.owner import Owner, ask, book_options, owner_of, print_comparison, reason_option, yes_option

if TYPE_CHECKING:
    from ledger.services.policies.comparing import Comparison


class _Change(NamedTuple):
    """A document that is not what decides now."""

    document: dict[str, Any]
    comparison: Comparison


@click.command(name="apply")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@book_options
@yes_option
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@reason_option
def command(
    paths: Sequence[Path], database_url: str, book: str | None, yes: bool, dry_run: bool, reason: str | None
) -> None:
    """Apply policy files: each that says something new becomes the next version of its policy.

    PATHS are files or folders. The files are checked and their cases are run first. Then the difference to what decides
    now is shown, with what becomes of each limit: one that counts as it did keeps what it has counted, one that is new
    is filled from the book's history. A new version decides from its log record on, in every process; servers may keep
    running. A file that says what decides already changes nothing.

    The status is 0 when all is applied or unchanged, else 1.

    \b
    For example:
      bursar policy apply policies/
      bursar policy apply policies/sandbox-run.yaml --dry-run
      bursar policy apply policies/ --yes --reason "new caps for the quarter"
    """
    documents = _checked(paths)
    with owner_of(database_url, book) as owner:
        changes = _changes(owner, documents)
        if not changes:
            return
        if dry_run:
            click.echo("nothing was changed (--dry-run)")
            return
        count = f"{len(changes)} policies" if len(changes) > 1 else changes[0].comparison.name
        ask(f"Apply {count}?", yes=yes)
        for change in changes:
            outcome = owner.apply(change.document, after_version=change.comparison.live_version or 0, reason=reason)
            version = (outcome.body or {})["version"]
            click.echo(f"{change.comparison.name}: version {version} decides, from log record {outcome.log_index} on")


def _checked(paths: Sequence[Path]) -> list[tuple[Path, dict[str, Any]]]:
    """The documents of the files, all of them right. Raises click.ClickException, and says what is wrong first."""
    from ledger.services.policies.document_files import check_files, policy_files, read_policy

    files = policy_files(paths)
    if not files:
        raise click.ClickException(f"no policy (NAME.yaml) in {', '.join(str(path) for path in paths)}")
    wrong = 0
    for report in check_files(files):
        for line in report.problems:
            click.echo(line, err=True)
        for found in report.differences:
            click.echo(
                f"{report.cases_path}:{found.line}: case {found.case}: {found.field} is {found.found}, "
                f"expected {found.expected}",
                err=True,
            )
        wrong += not report.ok
    if wrong:
        plural = "file is" if wrong == 1 else "files are"
        raise click.ClickException(f"{wrong} {plural} wrong, and nothing was applied: see 'bursar policy check'")
    return [(path, read_policy(path).canonical()) for path in files]


def _changes(owner: Owner, documents: Sequence[tuple[Path, dict[str, Any]]]) -> list[_Change]:
    """What the documents would change, shown on the way."""
    changes = []
    for path, document in documents:
        comparison = owner.compare(document, str(path))
        if comparison.unchanged:
            click.echo(f"{comparison.name}: unchanged, version {comparison.live_version} says the same")
            continue
        print_comparison(comparison)
        click.echo()
        changes.append(_Change(document, comparison))
    return changes
