"""`bursar verify`: prove the books of a database, and name the first things that are wrong with them.

Invariant: status 0 only when every book that was asked for is proved whole and every checkpoint that was given is of
it; 1 when anything differs; 2 when the work could not be done, so that no script takes the one for the other.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from ledger.cli.database import database_option, errors_in_one_line, require_file
from ledger.cli.progress import progress_bar
from ledger.cli.verify_bundle import (
    plain_differences,
    plain_signings,
    print_notes,
    verified_bundles,
    verifier_keys_option,
)

if TYPE_CHECKING:
    from ledger.core.notes import VerifierKey
    from ledger.services.bundle_verify import BundleReport
    from ledger.services.verify_against import Claim, Consistency
    from ledger.services.verify_findings import BookReport

CLAIM_BYTES_MAX: Final = 16_777_216
"""A witness's state of ten thousand checkpoints is a megabyte."""


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
    "--against",
    multiple=True,
    metavar="CHECKPOINT",
    help="A file with a signed checkpoint, or a witness's state, that the log must extend; - is standard input.",
)
@click.option(
    "--since",
    multiple=True,
    metavar="CHECKPOINT",
    help="As --against, and what an earlier run found right before it is trusted: with --state, or with --leaves-only.",
)
@click.option(
    "--consistency",
    multiple=True,
    metavar="FILE",
    help="An answer of GET /v1/proofs/consistency that leads from this database to a later checkpoint.",
)
@verifier_keys_option
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="A directory where progress is kept: a run that was killed goes on, and --since begins from there.",
)
@click.option(
    "--archive",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=None,
    help="The directory with the archives into which records were detached (bursar partitions).",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=None,
    help="Processes that work on several books at once; left out: one a processor, at most 8, where books are long.",
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
@click.option(
    "--without-texts",
    is_flag=True,
    help="The database was made from a copy without free texts: count those that are missing, and no more.",
)
@click.option(
    "--statements",
    is_flag=True,
    help="Make the statements of every closing again, too, and compare their digests: costs all lines of those months.",
)
def command(
    database_url: str,
    book: str | None,
    as_json: bool,
    limit_differences: int,
    leaves_only: bool,
    against: tuple[str, ...],
    since: tuple[str, ...],
    consistency: tuple[str, ...],
    keys: tuple[str, ...],
    state: Path | None,
    archive: Path | None,
    jobs: int | None,
    bundles: tuple[Path, ...],
    without_texts: bool,
    statements: bool,
) -> None:
    """Prove the books: recompute every record, balance and root.

    Every log record's hash and the Merkle root are computed again, every table is rebuilt from the log and compared row
    by row, and every accounting invariant is checked. Servers may keep running. No secret is needed.

    The status is 0 when all is right, 1 when anything differs, or a checkpoint is not of the log's beginning, 2 when
    the books could not be read. A log by itself cannot show that its end was cut off together with all that followed
    from it: give checkpoints that you, or a witness, kept elsewhere, with --against.

    \b
    For example:
      bursar verify --database-url sqlite:///bursar.db
      bursar verify --against acme.witness --database-url sqlite:///restored.db
      bursar verify --state /var/lib/bursar-verify
      bursar verify --state /var/lib/bursar-verify --since checkpoint.txt
      bursar verify --bundle acme.tar.gz --key "bursar/acme-0123abcd+1f2e3d4c+AQ..."
    """
    if bundles:
        if leaves_only or since or state is not None or jobs is not None or without_texts or statements:
            raise CouldNotRun(
                "a bundle is verified whole, and says whether it has texts: leave out --leaves-only, --since, --state, "
                "--jobs, --without-texts and --statements"
            )
        with statuses():
            claims = _Claims.read(against, (), consistency, keys)
            found = _bundles_verified(bundles, claims, limit_differences)
        _tell_of_bundles(found, claims, as_json=as_json)
        return
    with statuses():
        if since and state is None and not leaves_only:
            raise CouldNotRun(
                "--since trusts what an earlier run has found right: name the directory that it kept with --state, or "
                "add --leaves-only to recompute the hashes of what came after"
            )
        if state is not None and leaves_only:
            raise CouldNotRun("--leaves-only keeps nothing: leave out --state")
        if statements and leaves_only:
            raise CouldNotRun("--leaves-only looks at no statement: leave out --statements")
        claims = _Claims.read(against, since, consistency, keys)
        require_file(database_url)
        reports = _run(
            database_url,
            book,
            limit_differences,
            claims,
            leaves_only=leaves_only,
            state=state,
            archive=archive,
            jobs=jobs,
            without_texts=without_texts,
        )
        if statements:
            reports = _with_statements(database_url, reports, limit_differences)
        if not reports:
            raise CouldNotRun("this database has no book: run 'bursar init' first")
    verified = all(report.verified for report in reports)
    agree = all(report.agrees for report in reports)
    if as_json:
        click.echo(json.dumps({"verified": verified, "agrees": agree, "books": [_plain(report) for report in reports]}))
    else:
        for report in reports:
            _print(report, "leaves" if leaves_only else "books")
    if not (verified and agree):
        sys.exit(1)


def _bundles_verified(bundles: tuple[Path, ...], claims: _Claims, limit: int) -> BundleReport:
    """Offline: the files and nothing else."""
    _spare_the_collector()
    return verified_bundles(bundles, claims.keys, limit, against=claims.against, proofs=claims.proofs)


def _tell_of_bundles(found: BundleReport, claims: _Claims, *, as_json: bool) -> None:
    if as_json:
        book = _plain(found.report) | {
            "first": found.first,
            "signed": plain_signings(found),
            "notes": list(found.notes),
        }
        click.echo(json.dumps({"verified": found.verified, "agrees": found.report.agrees, "books": [book]}))
    else:
        _print(found.report, _what_was_proved(found))
        print_notes(found)
    # A checkpoint that was given and not compared has proved nothing, whatever the reason.
    if not (found.verified and found.report.agrees) or len(found.report.verdicts) != len(claims.against):
        sys.exit(1)


def _what_was_proved(found: BundleReport) -> str:
    return f"records from {found.first} on" if found.first else "books"


class _Claims(NamedTuple):
    """What was given beside the database, read."""

    against: tuple[Claim, ...]
    since: tuple[Claim, ...]
    proofs: tuple[Consistency, ...]
    keys: tuple[VerifierKey, ...]

    @classmethod
    def read(
        cls, against: tuple[str, ...], since: tuple[str, ...], consistency: tuple[str, ...], keys: tuple[str, ...]
    ) -> _Claims:
        """Read the files and keys. Raises CouldNotRun."""
        from ledger.core.notes import NoteInvalid, parse_verifier_key
        from ledger.services.verify_against import ClaimUnusable, read_claim, read_consistency

        if consistency and not (against or since):
            raise CouldNotRun("--consistency leads to a signed checkpoint: give that one with --against")
        try:
            return cls(
                tuple(read_claim(file, _content(file)) for file in against),
                tuple(read_claim(file, _content(file)) for file in since),
                tuple(read_consistency(file, _content(file)) for file in consistency),
                tuple(parse_verifier_key(text) for text in keys),
            )
        except NoteInvalid as error:
            raise CouldNotRun(f"--key: {error}") from error
        except ClaimUnusable as error:
            raise CouldNotRun(str(error)) from error


def _content(file: str) -> str:
    try:
        raw = sys.stdin.buffer.read(CLAIM_BYTES_MAX) if file == "-" else Path(file).read_bytes()[:CLAIM_BYTES_MAX]
        return raw.decode("utf-8")
    except OSError as error:
        raise CouldNotRun(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CouldNotRun(f"{file} is no text") from error


@contextmanager
def statuses() -> Iterator[None]:
    """Every failure to do the work ends with status 2, and status 1 says that something differs and nothing else."""
    from ledger.services.archive_files import ArchiveUnfit
    from ledger.services.archived_reader import ArchiveNeeded
    from ledger.services.verify import NoSuchBook, SinceLacks
    from ledger.services.verify_parallel import ProcessDied
    from ledger.services.verify_state import StateUnusable

    try:
        with errors_in_one_line():
            yield
    except (NoSuchBook, SinceLacks, StateUnusable, ArchiveNeeded, ArchiveUnfit, ProcessDied) as error:
        raise CouldNotRun(str(error)) from error
    except click.ClickException as error:
        raise CouldNotRun(error.format_message()) from error
    except (click.exceptions.Exit, click.Abort):
        raise
    except Exception as error:
        # A traceback ends with status 1, which a script would take for a book that differs.
        raise CouldNotRun(
            f"the work ended with an error that should not be, {type(error).__name__}: {error}. Nothing is known about "
            "the books; please report this with the command that was given"
        ) from error


def _run(
    database_url: str,
    book: str | None,
    limit: int,
    claims: _Claims,
    *,
    leaves_only: bool,
    state: Path | None,
    archive: Path | None,
    jobs: int | None,
    without_texts: bool,
) -> list[BookReport]:
    from ledger.services.verify import verify_books

    _spare_the_collector()
    with progress_bar("verifying") as progress:
        reports = verify_books(
            database_url,
            book=book,
            differences_max=limit,
            progress=progress,
            leaves_only=leaves_only,
            against=claims.against,
            since=claims.since,
            proofs=claims.proofs,
            keys=claims.keys,
            state=state,
            jobs=jobs,
            without_texts=without_texts,
            archives=archive,
        )
        return list(reports)


def _with_statements(database_url: str, reports: list[BookReport], limit: int) -> list[BookReport]:
    from ledger.services.verify_statements import with_statements

    with progress_bar("making statements of") as progress:
        return with_statements(database_url, reports, differences_max=limit, progress=progress)


def _spare_the_collector() -> None:
    # Bodies are trees without cycles, millions of them: looking for cycles at every turn finds nothing.
    gc.set_threshold(200_000, 50, 100)


def _print(report: BookReport, proved: str) -> None:
    name = report.name or f"book {report.book_id}"
    if report.trusted or report.resumed:
        click.echo(f"{name}: {_not_read(report)}")
    for verdict in report.verdicts:
        click.echo(f"{name}: {verdict.source}: {verdict.verdict.upper().replace('_', ' ')}: {verdict.sentence}")
    if report.verified:
        click.echo(f"{name}: {proved} verified: {report.records} records, root {report.root}")
        if report.texts_redacted:
            click.echo(f"{name}: {report.texts_redacted} free texts were redacted on record; {report.texts} are there")
        if report.texts_unproved:
            click.echo(f"{name}: {report.texts_unproved} free texts are missing, and no record here redacts them")
        if allowed := report.texts_missing - report.texts_unproved:
            click.echo(f"{name}: {allowed} free texts are missing, as was allowed for")
        return
    if not report.differences:
        click.echo(f"{name}: NOT verified: no work was done on the word of that checkpoint")
        return
    count = len(report.differences)
    click.echo(f"{name}: NOT verified: {count} difference{'' if count == 1 else 's'} in {report.records} records:")
    for difference in report.differences:
        click.echo(f"  {difference.sentence()}")
    if not report.complete:
        click.echo("  The work stopped there; there may be more.")


def _not_read(report: BookReport) -> str:
    """What the report does not rest on this run for."""
    parts = []
    if report.trusted:
        parts.append(f"the first {report.trusted} records were verified by an earlier run and are trusted")
    if report.resumed:
        parts.append(f"{report.resumed} records were read before this run was interrupted")
    return "; ".join(parts)


def _plain(report: BookReport) -> dict[str, Any]:
    return {
        "book": report.name,
        "verified": report.verified,
        "agrees": report.agrees,
        "records": report.records,
        "root": report.root,
        "complete": report.complete,
        "trusted": report.trusted,
        "resumed": report.resumed,
        "texts": report.texts,
        "texts_missing": report.texts_missing,
        "texts_redacted": report.texts_redacted,
        "texts_unproved": report.texts_unproved,
        "seconds": round(report.seconds, 3),
        "checkpoints": [
            {key: value for key, value in verdict._asdict().items() if value is not None} for verdict in report.verdicts
        ],
        "differences": plain_differences(report),
    }
