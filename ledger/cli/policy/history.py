"""`bursar policy history`: every version of a policy, who made it, when and why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from ledger.cli.policy.owner import Owner, book_options, owner_of

if TYPE_CHECKING:
    from ledger.core.policy_row import PolicyVersion

DIGEST_SHOWN = 12


@click.command(name="history")
@click.argument("name")
@book_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def command(name: str, database_url: str, book: str | None, as_json: bool) -> None:
    """List the versions of a policy, newest first.

    \b
    For example:
      bursar policy history sandbox-run
    """
    with owner_of(database_url, book) as owner:
        lines = _versions(owner, name)
    if as_json:
        for line in lines:
            click.echo(json.dumps(line))
        return
    rows = [("VERSION", "", "MADE", "BY", "DIGEST", "LOG", "REASON")]
    for line in lines:
        rows.append(
            (
                str(line["version"]),
                "live" if line["live"] else "",
                line["recorded_at"],
                line["made_by"],
                line["digest"][:DIGEST_SHOWN],
                str(line["log_index"]),
                line.get("reason", ""),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, " ".join(row[6].split())]).rstrip())


def _versions(owner: Owner, name: str) -> list[dict[str, Any]]:
    from ledger.core.moment import moment_text
    from ledger.storage.paging import LIMIT_MAX
    from ledger.storage.queries_log import texts_at
    from ledger.storage.queries_policies import list_versions
    from ledger.storage.queries_texts import redacted_at

    live = owner.live(name).policy
    rows: list[PolicyVersion] = []
    after: int | None = None
    with owner.engine.connect() as connection:
        while True:
            page = list_versions(connection, owner.book_id, live.name, after=after, limit=LIMIT_MAX)
            rows += page.items
            if page.after is None:
                break
            after = int(page.after[0])
        reasons: dict[int, str] = {}
        redacted: dict[int, dict[str, int]] = {}
        for at in range(0, len(rows), LIMIT_MAX):
            indexes = [row.created_index for row in rows[at : at + LIMIT_MAX]]
            reasons |= texts_at(connection, owner.book_id, indexes, "reason")
            redacted |= redacted_at(connection, owner.book_id, indexes)
    lines = []
    for row in rows:
        line: dict[str, Any] = {
            "policy": row.policy,
            "version": row.version,
            "live": row.version == live.version and not live.retired,
            "recorded_at": moment_text(row.recorded_at),
            "made_by": row.made_by,
            "digest": row.digest,
            "log_index": row.created_index,
        }
        if row.created_index in reasons:
            line["reason"] = reasons[row.created_index]
        elif row.created_index in redacted:
            line["reason"] = f"(redacted by log record {redacted[row.created_index]['reason']})"
        lines.append(line)
    return lines
