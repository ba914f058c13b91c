"""`bursar reprice`: correct what calls were settled for, once a price is found to have been wrong.

Owns the verb and what it prints; ``repricing`` owns what is to be corrected. Invariant: nothing is sent before what
would change was shown and agreed to, and running it again corrects nothing twice.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from bursar import Refused, Remote, remote, remote_options
from gateway.cli.prices_file import overrides_in
from gateway.cli.repricing import Correction, Survey, survey
from ledger.core.money import NANO_DIGITS, format_atoms

REASON_LENGTH_MAX = 2000
_DAY = click.DateTime(["%Y-%m-%d"])


@click.command(name="reprice")
@remote_options
@click.option("--provider", required=True, metavar="NAME", help="Whose calls.")
@click.option("--model", required=True, metavar="PATTERN", help='Which model, as it was recorded; "*" for all.')
@click.option("--from", "first", required=True, type=_DAY, help="The first day (UTC) of the calls.")
@click.option("--to", "last", required=True, type=_DAY, help="The last day, that day included.")
@click.option(
    "--prices",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The corrected prices.yaml.",
)
@click.option("--reason", required=True, metavar="TEXT", help="Why; it stands beside each correction.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask before it is sent.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object and nothing else; needs --yes or --dry-run."
)
def command(
    url: str, key: str, provider: str, model: str, first: datetime, last: datetime, prices: Path, reason: str,
    dry_run: bool, yes: bool, as_json: bool,
) -> None:  # fmt: skip
    """Correct what calls were settled for at a wrong price. Needs a key of finance or of an admin.

    Reads the settled calls of a provider and model, computes what each should have cost from the usage that was
    recorded with it and the prices in FILE, shows the difference, asks, and records one adjustment for each call that
    names the old and the new price. What was recorded before is never edited. Run again, it corrects nothing twice.

    The status is 0 when all is corrected or nothing was to be, 1 when a correction was refused. What is above the
    book's rule for corrections waits for a second person, and is told apart (bursar corrections list).

    \b
    For example:
      bursar reprice --provider openai --model "gpt-5*" --from 2026-11-01 --to 2026-11-07 \\
        --prices policies/prices.yaml --reason "input was ten times too dear" --dry-run
    """
    if last < first:
        raise click.UsageError("--to is before --from")
    if not reason.strip() or len(reason) > REASON_LENGTH_MAX:
        raise click.UsageError(f"give a --reason of 1 to {REASON_LENGTH_MAX} characters")
    if as_json and not (yes or dry_run):
        raise click.UsageError("--json asks nothing: add --yes or --dry-run")
    overrides = overrides_in(prices)
    with remote(url, key) as server:
        found = survey(server, overrides, provider=provider, pattern=model, first=first.date(), last=last.date())
        if not as_json:
            _print(found)
        refused: list[tuple[Correction, str]] = []
        waiting: list[str] = []
        agreed = bool(found.corrections) and not dry_run
        if agreed and not yes:
            agreed = click.confirm(f"Record {len(found.corrections)} corrections?")
        if agreed:
            refused, waiting = _send(server, found.corrections, overrides.digest, reason)
    done = len(found.corrections) - len(refused) - len(waiting) if agreed else 0
    if as_json:
        click.echo(json.dumps(_plain(found, done, refused, waiting), indent=2))
    else:
        for correction, why in refused:
            click.echo(f"refused  {correction.authorization}  {why}", err=True)
        for reference in waiting:
            click.echo(f"waiting  {reference}  for a second person")
        pending = f", {len(waiting)} waiting for a second person" if waiting else ""
        click.echo(f"{done} corrected{pending}, {len(refused)} refused." if agreed else "Nothing was changed.")
    if refused:
        sys.exit(1)


def _send(
    server: Remote, corrections: Sequence[Correction], digest: str, reason: str
) -> tuple[list[tuple[Correction, str]], list[str]]:
    """Record each correction; those that the server refused, with its words, and the ids of those that wait for a
    second person. One refusal does not stop the rest."""
    refused, waiting = [], []
    for correction in corrections:
        try:
            done = server.post(
                "/v1/reprices", correction.body(reason), idempotency_key=correction.idempotency_key(digest)
            )
        except Refused as error:
            refused.append((correction, error.message))
            continue
        if "operation" in done:
            # A repeat is answered with what has become of it.
            if done["state"] == "pending":
                waiting.append(str(done["id"]))
            elif done["state"] != "approved":
                refused.append((correction, f"{done['id']} is {done['state']}: a second person was asked for it"))
    return refused, waiting


def _usd(atoms: int) -> str:
    return format_atoms(atoms, NANO_DIGITS)


def _print(found: Survey) -> None:
    if found.corrections:
        rows = [("model", "calls", "recorded", "corrected", "difference")]
        for model, calls, settled, amount in found.by_model():
            rows.append((model, str(calls), _usd(settled), _usd(amount), _usd(amount - settled)))
        settled, amount = found.total()
        rows.append(("total", str(len(found.corrections)), _usd(settled), _usd(amount), _usd(amount - settled)))
        wide = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            cells = [row[0].ljust(wide[0]), *(cell.rjust(width) for cell, width in zip(row[1:], wide[1:], strict=True))]
            click.echo("  ".join(cells))
    click.echo(
        f"{found.seen} calls in the period, {found.right} right as they are, {len(found.corrections)} to correct."
    )
    for why, count in sorted(found.skipped.items()):
        click.echo(f"{count} left alone: {why}.")
    if found.unpriced:
        click.echo(f"{found.unpriced} of those to correct still have usage without a price.")


def _plain(
    found: Survey, done: int, refused: Sequence[tuple[Correction, str]], waiting: Sequence[str]
) -> dict[str, Any]:
    settled, amount = found.total()
    return {
        "seen": found.seen,
        "right": found.right,
        "to_correct": len(found.corrections),
        "corrected": done,
        "waiting": list(waiting),
        "refused": [{"authorization": correction.authorization, "why": why} for correction, why in refused],
        "skipped": found.skipped,
        "unpriced": found.unpriced,
        "models": [
            {"model": model, "calls": calls, "recorded": _usd(before), "corrected": _usd(after)}
            for model, calls, before, after in found.by_model()
        ],
        "recorded": _usd(settled),
        "corrected_total": _usd(amount),
        "currency": "USD",
    }
