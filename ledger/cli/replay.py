"""`bursar replay`: decide again what was decided, and show record, rule and values where it comes out otherwise.

Invariant: status 0 only when every decision that was asked for came out as it is recorded; 1 when anything differs; 2
when the work could not be done.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ledger.cli.database import BadValue, database_option, require_file
from ledger.cli.moments import moment_typed
from ledger.cli.progress import progress_bar
from ledger.cli.verify import CouldNotRun, statuses
from ledger.cli.verify_bundle import (
    plain_signings,
    print_notes,
    trusted_keys,
    unreadable_bundles,
    verifier_keys_option,
)

if TYPE_CHECKING:
    from ledger.core.notes import VerifierKey
    from ledger.services.replay_watching import Replayed, ReplayReport, Row
    from ledger.services.replaying import Bound
    from ledger.services.replaying_bundles import BundleReplay

HEADINGS = ("policy", "rule", "value", "recorded", "decided again")


@click.command(name="replay")
@database_option
@click.option("--book", default=None, metavar="NAME", help="Only the book of this name; else every book there is.")
@click.option(
    "--from", "start", default=None, metavar="INDEX|TIME", help="From this record, day or moment on, which is included."
)
@click.option("--to", "stop", default=None, metavar="INDEX|TIME", help="Up to this one, which is not included.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option(
    "--limit-differences",
    default=20,
    show_default=True,
    type=click.IntRange(min=1),
    help="Show so many records that differ; all are counted.",
)
@click.option(
    "--archive",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=None,
    help="The directory with the archives into which records were detached (bursar partitions).",
)
@click.option(
    "--bundle",
    "bundles",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    envvar="BURSAR_BUNDLE",
    metavar="FILE",
    help="Read this bundle, and no database; a full one and then spans that carry on where the last one ended.",
)
@verifier_keys_option
def command(
    database_url: str,
    book: str | None,
    start: str | None,
    stop: str | None,
    as_json: bool,
    limit_differences: int,
    archive: Path | None,
    bundles: tuple[Path, ...],
    keys: tuple[str, ...],
) -> None:
    """Decide again what was decided, and show what comes out otherwise.

    Every decision is made anew from what was asked, who asked and when, by the versions of policies and the balances
    that stood at its place in the log, and compared with what is recorded. A difference shows the record, the rule and
    both values. Decisions in which a rule counted by the words of an intent that was redacted are counted as redacted.

    A bundle is verified on the way, as 'bursar verify --bundle' does, and needs no database and no secret.

    A day or a moment is one of the book's time zone. The status is 0 when everything comes out as recorded, 1 when
    anything differs, 2 when nothing could be learned.

    \b
    For example:
      bursar replay --database-url sqlite:///bursar.db
      bursar replay --book acme --from 2026-11-01 --to 2026-12-01
      bursar replay --from 1200 --to 1201 --json
      bursar replay --bundle acme.tar.gz --key "bursar/acme-0123abcd+1f2e3d4c+AQ..."
    """
    with statuses():
        # Bodies are trees without cycles, millions of them: looking for cycles at every turn costs a fifth of the time.
        gc.set_threshold(200_000, 50, 100)
        if bundles:
            if book is not None or archive is not None:
                raise CouldNotRun("a bundle is of one book and has all its records: leave out --book and --archive")
            found = _replay_bundles(bundles, trusted_keys(keys), (start, stop), limit_differences)
            reports, told = [found.replay], found.bundles
        else:
            reports, told = _replay_database(database_url, book, archive, (start, stop), limit_differences), None
    replayed = all(report.replayed for report in reports)
    if as_json:
        more = {} if told is None else {"signed": plain_signings(told), "notes": list(told.notes)}
        click.echo(json.dumps({"replayed": replayed, "books": [_plain(report) | more for report in reports]}))
    else:
        for report in reports:
            _print(report, "verify" if told is None else "verify --bundle")
        if told is not None:
            print_notes(told)
    if not replayed:
        sys.exit(1)


def _replay_database(
    database_url: str, book: str | None, archive: Path | None, ends: tuple[str | None, str | None], limit: int
) -> list[ReplayReport]:
    from ledger.services.replaying import replay_books, timezone_of

    require_file(database_url)
    start, stop = _bounds(ends, timezone_of(database_url, book))
    with progress_bar("replaying") as progress:
        reports = list(
            replay_books(
                database_url, book=book, start=start, stop=stop, limit=limit, archives=archive, progress=progress
            )
        )
    if not reports:
        raise CouldNotRun("this database has no book: run 'bursar init' first")
    return reports


def _replay_bundles(
    bundles: tuple[Path, ...], trusted: list[VerifierKey], ends: tuple[str | None, str | None], limit: int
) -> BundleReplay:
    from ledger.services.replaying_bundles import replay_bundles

    with unreadable_bundles(), progress_bar("replaying") as progress:
        return replay_bundles(
            bundles, trusted, bounds=lambda timezone: _bounds(ends, timezone), limit=limit, progress=progress
        )


def _bounds(ends: tuple[str | None, str | None], timezone: str) -> tuple[Bound, Bound]:
    return _bound(ends[0], timezone, "--from"), _bound(ends[1], timezone, "--to")


def _bound(text: str | None, timezone: str, option: str) -> Bound:
    from ledger.services.replaying import UNBOUND, Bound

    if text is None:
        return UNBOUND
    if text.isascii() and text.isdigit():
        if len(text) > 15:
            raise BadValue(f"{option} is the index of a record, which has at most 15 digits, or a day or a moment")
        return Bound(index=int(text))
    return Bound(moment=moment_typed(text, timezone, option=option))


def _print(report: ReplayReport, verify: str) -> None:
    differs = f", {report.different} came out OTHERWISE" if report.different else ""
    click.echo(
        f"{report.name}: replayed {_count(report.decisions, 'decision')} of records {report.start} to"
        f" {report.stop - 1}: {report.equal} came out as recorded{differs}"
        if report.stop > report.start
        else f"{report.name}: there is no record from {report.start} to before {report.stop}"
    )
    if report.redacted:
        shown = ", ".join(map(str, report.redacted_indexes))
        more = ", …" if report.redacted > len(report.redacted_indexes) else ""
        click.echo(
            f"{report.name}: {report.redacted} redacted: a rule counted by words that are gone, in records"
            f" {shown}{more}"
        )
    if report.unmade:
        click.echo(
            f"{report.name}: {report.unmade} fingerprints could not be made again: their words or their secret are not"
            " here"
        )
    for one in report.differences:
        _print_difference(one)
    if report.different > len(report.differences):
        click.echo(f"  and {report.different - len(report.differences)} more: see --limit-differences")
    for difference in report.log_differences:
        click.echo(f"  {difference.sentence()}")
    if report.log_differences:
        click.echo(f"  The log itself is not in order: 'bursar {verify}' tells what is wrong.")


def _print_difference(one: Replayed) -> None:
    agent = f", agent {one.agent}" if one.agent else ""
    click.echo(f"  record {one.index}: {one.kind} {one.subject} at {one.time}{agent}")
    lines = [HEADINGS, *(_cells(row) for row in one.rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(HEADINGS))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo(f"    {'  '.join(cells)}".rstrip())


def _cells(row: Row) -> tuple[str, str, str, str, str]:
    policy = f"{row.policy} v{row.version}" if row.policy and row.version is not None else row.policy
    return policy or "-", row.rule, row.value, _cell(row.recorded), _cell(row.again)


def _cell(text: str | None) -> str:
    return "(nothing)" if text is None else text


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _plain(report: ReplayReport) -> dict[str, Any]:
    return {
        "book": report.name,
        "replayed": report.replayed,
        "from": report.start,
        "to": report.stop,
        "decisions": report.decisions,
        "equal": report.equal,
        "different": report.different,
        "redacted": report.redacted,
        "redacted_records": report.redacted_indexes,
        "fingerprints_unmade": report.unmade,
        "complete": report.complete,
        "seconds": round(report.seconds, 3),
        "differences": [
            {
                "index": one.index,
                "kind": one.kind,
                "id": one.subject,
                "time": one.time,
                **({"agent": one.agent} if one.agent else {}),
                "values": [
                    {
                        "policy": row.policy,
                        "version": row.version,
                        "rule": row.rule,
                        "value": row.value,
                        "recorded": row.recorded,
                        "again": row.again,
                    }
                    for row in one.rows
                ],
            }
            for one in report.differences
        ],
        "log_differences": [
            {key: value for key, value in difference._asdict().items() if value not in ("", None)}
            for difference in report.log_differences
        ],
    }
