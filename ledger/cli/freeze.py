"""`bursar freeze` and `bursar unfreeze`: stop an agent, a team, a budget or everything, without a server and a key.

Invariant: both are on record as done by the database's owner, with their reason; to freeze what is frozen already is no
error, because whoever must stop something now may not have to look first.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import click

from ledger.cli.database import BadValue, chosen_book, database_option, errors_in_one_line, require_file

REASON_LENGTH_MAX = 2000
Function = TypeVar("Function", bound=Callable[..., Any])


def _options(function: Function) -> Function:
    """What both verbs take: the database, the one thing they are about, the reason, and how to answer."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else."),
        click.option("--reason", required=True, metavar="TEXT", help="Why; its digest stands in the log."),
        click.option(
            "--in", "book", default=None, metavar="BOOK",
            help="Name of the book; may be left out where there is only one.",
        ),
        click.option("--book", "whole_book", is_flag=True, help="The whole book: everybody in it."),
        click.option("--budget", default=None, metavar="NAME", help="A budget with all below it, by name or id."),
        click.option("--agent", default=None, metavar="NAME", help="An agent or team with all below it."),
    ):  # fmt: skip
        function = option(function)
    return database_option(function)


@click.command(name="freeze")
@_options
def freeze(**given: Any) -> None:
    """Stop an agent, a team, a budget or the whole book, as the owner of the database.

    Effective for the next decision of every server, running or not: nothing new is approved. What is held can
    still be settled or released, and money can still be allocated. Needs no server and no key, so it works when
    the API does not.

    \b
    For example:
      bursar freeze --agent crawler --reason "it repeats itself"
      bursar freeze --book --reason "a key leaked" --database-url sqlite:///bursar.db
    """
    _run(frozen=True, **given)


@click.command(name="unfreeze")
@_options
def unfreeze(**given: Any) -> None:
    """Let an agent, a team, a budget or the whole book go on, as the owner of the database.

    \b
    For example:
      bursar unfreeze --agent crawler --reason "the prompt is fixed"
      bursar unfreeze --book --reason "the key was revoked" --database-url sqlite:///bursar.db
    """
    _run(frozen=False, **given)


def _run(
    *,
    frozen: bool,
    database_url: str,
    agent: str | None,
    budget: str | None,
    whole_book: bool,
    book: str | None,
    reason: str,
    as_json: bool,
) -> None:
    from ledger.core.outcome import Status
    from ledger.services.stopping import freeze_as_owner

    if (agent is not None) + (budget is not None) + whole_book != 1:
        raise BadValue("name one thing: --agent NAME, --budget NAME or --book")
    if not reason.strip() or len(reason) > REASON_LENGTH_MAX:
        raise BadValue(f"give a --reason of 1 to {REASON_LENGTH_MAX} characters")
    with errors_in_one_line():
        require_file(database_url)
        chosen = chosen_book(database_url, book)
        outcome = freeze_as_owner(
            database_url, chosen.book_id, frozen=frozen, reason=reason, agent=agent, budget=budget
        )
    what = f"agent {agent}" if agent else f"budget {budget}" if budget else f"book {chosen.name}"
    state = "frozen" if frozen else "active"
    already = outcome.status is Status.WRONG_STATE and outcome.facts.get("state") == state
    if outcome.status is not Status.DONE and not already:
        raise BadValue(outcome.detail)
    if as_json:
        index = {} if already else {"log_index": outcome.log_index}
        click.echo(json.dumps({"book": chosen.name, "what": what, "frozen": frozen, "already": already} | index))
    elif already:
        click.echo(f"In book {chosen.name}, {what} is {state} already.")
    else:
        verb = "frozen" if frozen else "unfrozen"
        click.echo(f"In book {chosen.name}, {what} is {verb}; record {outcome.log_index} of the log says so.")
