"""`bursar reopen`: open the month again that was closed last, by two persons.

Invariant: one asks with a reason and another opens it, each with a key of their own.
"""

from __future__ import annotations

import json
import re
from typing import Final

import click

from ledger.cli.checkpoint import json_option
from ledger.cli.database import BadValue
from ledger.cli.month_places import place, place_options

REASON_LENGTH_MAX: Final = 2000
_MONTH: Final = re.compile(r"\d{4}-(?:0[1-9]|1[0-2])")


@click.command(name="reopen")
@click.argument("period", metavar="MONTH")
@click.option("--approve", is_flag=True, help="Open it, as another person asked.")
@click.option("--reason", default=None, metavar="TEXT", help="Why; needed by whoever asks.")
@place_options
@json_option
def command(
    period: str,
    approve: bool,
    reason: str | None,
    database_url: str,
    book: str | None,
    url: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    """Ask that MONTH be opened again, or with --approve open it, as another person asked within the last seven days.

    Only the month that was closed last can be opened, by two persons of finance or admins, neither of whom made the
    other's key. Its closing stays on record, with the digests of its statements.

    \b
    For example:
      bursar reopen 2026-11 --reason "the invoice of openai came after all"
      bursar reopen 2026-11 --approve
    """
    if _MONTH.fullmatch(period) is None:
        raise BadValue(f"{period} is no month: write 2026-11")
    if not approve and (reason is None or not reason.strip()):
        raise BadValue("give a --reason, which goes on record")
    if reason is not None and len(reason) > REASON_LENGTH_MAX:
        raise BadValue(f"a reason has at most {REASON_LENGTH_MAX} characters")
    path = f"/v1/periods/{period}/reopen" + ("/approve" if approve else "")
    with place(database_url, book, url, api_key) as chosen:
        done = chosen.change(path, {"reason": reason})
    if as_json:
        state = "open" if approve else "reopening"
        click.echo(json.dumps({"period": period, "state": state, "log_index": done["log"]["index"]}))
    elif approve:
        click.echo(f"{period} is open again; record {done['log']['index']} says so.")
    else:
        click.echo(f"Asked that {period} be opened again; a second person runs: bursar reopen {period} --approve")
