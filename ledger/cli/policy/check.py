"""`bursar policy check`: whether policy files are well formed, and answer as the cases beside them say.

Invariant: status 0 only when every file and every case is right; 1 when anything is wrong; 2 when there was nothing to
check, so that a mistyped path in a pipeline is not taken for success.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ledger.services.policies.document_files import FileReport

DEFAULT_FOLDER = Path("policies")


class NothingToCheck(click.ClickException):
    """No policy file was found. The message says where it was looked for."""

    exit_code = 2


@click.command(name="check")
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(paths: Sequence[Path], as_json: bool) -> None:
    """Check policy files and run the cases beside them.

    PATHS are files or folders; by default the folder policies/. Every NAME.yaml is checked, and the cases in
    NAME_cases.yaml beside it are run: each says what a request must be answered. Nothing is sent anywhere, and no
    database is needed.

    The status is 0 when all is right, 1 when a file or a case is wrong, 2 when there is nothing to check.

    \b
    For example:
      bursar policy check
      bursar policy check policies/sandbox-run.yaml
      bursar policy check --json policies/
    """
    from ledger.services.policies.document_files import check_files, policy_files

    if not paths and not DEFAULT_FOLDER.is_dir():
        raise NothingToCheck(f"there is no folder {DEFAULT_FOLDER}/ here: name the files or folders to check")
    files = policy_files(paths or (DEFAULT_FOLDER,))
    if not files:
        raise NothingToCheck(f"no policy (NAME.yaml) in {', '.join(str(path) for path in paths) or DEFAULT_FOLDER}")
    reports = check_files(files)
    if as_json:
        click.echo(
            json.dumps({"ok": all(report.ok for report in reports), "files": [_plain(each) for each in reports]})
        )
    else:
        _print(reports)
    if not all(report.ok for report in reports):
        sys.exit(1)


def _print(reports: Sequence[FileReport]) -> None:
    for report in reports:
        name, passed = report.policy or "not read", report.cases - len({found.case for found in report.differences})
        state = "ok" if report.ok else "WRONG"
        cases = f"{passed} of {report.cases} cases" if report.cases else "no cases"
        click.echo(f"{state:5}  {report.path}  {name}, {cases}")
        for line in report.problems:
            click.echo(f"       {line}")
        for warning in report.warnings:
            click.echo(f"       warning: {warning}")
    _print_differences(reports)
    wrong = sum(not report.ok for report in reports)
    cases_run = sum(report.cases for report in reports)
    plural = "policy" if len(reports) == 1 else "policies"
    click.echo(f"{len(reports)} {plural}, {cases_run} cases: " + (f"{wrong} WRONG" if wrong else "all right"))


def _print_differences(reports: Sequence[FileReport]) -> None:
    """The cases that came out otherwise, as one table."""
    rows = [
        (f"{report.cases_path}:{found.line}", found.case, found.field, found.expected, found.found)
        for report in reports
        for found in report.differences
    ]
    if not rows:
        return
    table = [("WHERE", "CASE", "FIELD", "EXPECTED", "FOUND"), *rows]
    widths = [max(len(row[column]) for row in table) for column in range(4)]
    click.echo()
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[4]]))
    click.echo()


def _plain(report: FileReport) -> dict[str, Any]:
    return {
        "path": str(report.path),
        "policy": report.policy,
        "ok": report.ok,
        "cases": report.cases,
        "cases_path": str(report.cases_path) if report.cases_path else None,
        "problems": list(report.problems),
        "warnings": list(report.warnings),
        "differences": [found._asdict() for found in report.differences],
    }
