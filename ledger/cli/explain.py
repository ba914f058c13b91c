"""`bursar explain`: why a request to spend was decided as it was, and what became of it, for people.

Invariant: reads only; every number comes from the record of the decision, not from what holds now.
"""

from __future__ import annotations

import click

from ledger.cli.database import chosen_book, database_option, errors_in_one_line, require_file


@click.command(name="explain")
@click.argument("authorization")
@database_option
@click.option("--book", default=None, metavar="NAME", help="Name of the book; may be left out where there is only one.")
def command(authorization: str, database_url: str, book: str | None) -> None:
    """Explain a decision: each rule, what it saw, its limit, what was left, and when the request would fit.

    AUTHORIZATION is the id that the answer named, of an approval or a denial; a charge is told too. What happened since
    stands below: settlements, releases, refunds, approvals, and flags.

    \b
    For example:
      bursar explain auth_01jd2m3q4r5s6t7v8w9x0y1z2a --database-url sqlite:///bursar.db
    """
    from ledger.cli.explaining_text import lines_of
    from ledger.services.explaining import explain
    from ledger.storage.engine import create_engine

    with errors_in_one_line():
        require_file(database_url)
        chosen = chosen_book(database_url, book)
        engine = create_engine(database_url, pool_size=1)
        try:
            with engine.connect() as connection:
                found = explain(connection, chosen.book_id, authorization)
        finally:
            engine.dispose()
    if found is None:
        raise click.ClickException(
            f"book {chosen.name} has no authorization {authorization}: an answer names it as id, a denial as "
            "authorization"
        )
    for line in lines_of(found):
        click.echo(line)
