"""`bursar verify`: prove the books of a database, and name the first things that are wrong with them.

Invariant: status 0 only when every book that was asked for is proved whole; 1 when anything differs; 2 when the work
could not be done, so that no script takes the one for the other.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ledger.cli.database import BadValue, database_option, errors_in_one_line, require_file
from ledger.cli.progress import progress_bar
from ledger.cli.verify_bundle import (
    plain_differences,
    plain_signings,
    print_notes,
    verified_bundles,
    verifier_keys_option,
)

if TYPE_CHECKING:
    from ledger.services.bundle_verify import BundleReport
    from ledger.services.verify_findings import BookReport


class CouldNotRun(click.ClickException):
    """Nothing is known about the books. The message says why."""

    exit_code = 2


@click.command(name="verify")
@database_option
@click.option("--book", default=None, metavar="NAME", help="Only the book of this name; else every book there is.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option(
    "--limit-differences",
    default=10,
    show_default=True,
    type=click.IntRange(min=1),
    help="Stop with a book after this many differences.",
)
@click.option(
    "--leaves-only", is_flag=True, help="Only the records' hashes and the root: quick, but no proof of balances."
)
@click.option(
    "--bundle",
    "bundles",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    envvar="BURSAR_BUNDLE",
    metavar="FILE",
    help="Verify this bundle, and no database; a full one and then spans that carry on where the last one ended.",
)
@verifier_keys_option
def command(
    database_url: str,
    book: str | None,
    as_json: bool,
    limit_differences: int,
    leaves_only: bool,
    bundles: tuple[Path, ...],
    keys: tuple[str, ...],
) -> None:
    """Prove the books: recompute every record, balance and root.

    Every log record's hash and the Merkle root are computed again, every table is rebuilt from the log and compared row
    by row, and every accounting invariant is checked. Servers may keep running. No secret is needed.

    The status is 0 when all is right, 1 when anything differs, 2 when the books could not be read. A log by itself
    cannot show that its end was cut off together with all that followed from it: compare the size and root printed
    here with ones that you kept elsewhere.

    \b
    For example:
      bursar verify --database-url sqlite:///bursar.db
      bursar verify --database-url sqlite:///bursar.db --book acme --json
      bursar verify --bundle acme.tar.gz --key "bursar/acme-0123abcd+1f2e3d4c+AQ..."
    """
    if bundles:
        if leaves_only:
            raise BadValue("--leaves-only is for databases: a bundle is verified whole")
        _verify_bundles(bundles, keys, limit_differences, as_json=as_json)
        return
    with _statuses():
        require_file(database_url)
        reports = _run(database_url, book, limit_differences, leaves_only=leaves_only)
        if not reports:
            raise CouldNotRun("this database has no book: run 'bursar init' first")
    if as_json:
        verified = all(report.verified for report in reports)
        click.echo(json.dumps({"verified": verified, "books": [_plain(report) for report in reports]}))
    else:
        for report in reports:
            _print(report, "leaves" if leaves_only else "books")
    if not all(report.verified for report in reports):
        sys.exit(1)


def _verify_bundles(bundles: tuple[Path, ...], keys: tuple[str, ...], limit: int, *, as_json: bool) -> None:
    """Offline: the files and nothing else."""
    _spare_the_collector()
    found = verified_bundles(bundles, keys, limit)
    if as_json:
        said = _plain(found.report) | {
            "first": found.first,
            "checkpoints": plain_signings(found),
            "notes": list(found.notes),
        }
        click.echo(json.dumps({"verified": found.verified, "books": [said]}))
    else:
        _print(found.report, _what_was_proved(found))
        print_notes(found)
    if not found.verified:
        sys.exit(1)


def _what_was_proved(found: BundleReport) -> str:
    return f"records from {found.first} on" if found.first else "books"


@contextmanager
def _statuses() -> Iterator[None]:
    """Every failure to do the work ends with status 2."""
    from ledger.services.verify import NoSuchBook

    try:
        with errors_in_one_line():
            yield
    except NoSuchBook as error:
        raise CouldNotRun(f'there is no book "{error}" in this database') from error
    except click.ClickException as error:
        raise CouldNotRun(error.format_message()) from error


def _run(database_url: str, book: str | None, limit: int, *, leaves_only: bool) -> list[BookReport]:
    from ledger.services.verify import verify_books

    _spare_the_collector()
    with progress_bar("verifying") as progress:
        reports = verify_books(
            database_url, book=book, differences_max=limit, progress=progress, leaves_only=leaves_only
        )
        return list(reports)


def _spare_the_collector() -> None:
    # Bodies are trees without cycles, millions of them: looking for cycles at every turn costs a fifth of the time.
    gc.set_threshold(200_000, 50, 100)


def _print(report: BookReport, proved: str) -> None:
    name = report.name or f"book {report.book_id}"
    if report.verified:
        click.echo(f"{name}: {proved} verified: {report.records} records, root {report.root}")
        if report.texts_missing:
            click.echo(
                f"{name}: {report.texts_missing} free texts were removed; {report.texts} are there, as the log says"
            )
        return
    count = len(report.differences)
    click.echo(f"{name}: NOT verified: {count} difference{'' if count == 1 else 's'} in {report.records} records:")
    for difference in report.differences:
        click.echo(f"  {difference.sentence()}")
    if not report.complete:
        click.echo("  The work stopped there; there may be more.")


def _plain(report: BookReport) -> dict[str, Any]:
    return {
        "book": report.name,
        "verified": report.verified,
        "records": report.records,
        "root": report.root,
        "complete": report.complete,
        "texts": report.texts,
        "texts_missing": report.texts_missing,
        "seconds": round(report.seconds, 3),
        "differences": plain_differences(report),
    }
