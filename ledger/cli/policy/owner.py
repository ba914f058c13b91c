"""Policies as whoever owns the database changes and reads them: without a server and without a key.

Owns what the verbs share: the options, the book that was chosen, and the way to a new version. Invariant: a change is
made on record, as made by the database's owner, and only from the version that was shown.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ledger.cli.database import chosen_book, database_option, errors_in_one_line, require_file

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from ledger.core.command import Command
    from ledger.core.outcome import Outcome
    from ledger.services.policies.comparing import Comparison, CountedRule
    from ledger.storage.queries_policies import LivePolicy

Function = TypeVar("Function", bound=Callable[..., Any])


def book_options(function: Function) -> Function:
    """Add ``--database-url`` and ``--book`` to a verb."""
    option = click.option(
        "--book", default=None, metavar="NAME", help="Name of the book; may be left out where there is only one."
    )
    return database_option(option(function))


reason_option = click.option("--reason", default=None, metavar="TEXT", help="Why; kept beside the log record.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


class Owner:
    """A book in the hands of the database's owner."""

    def __init__(self, database_url: str, engine: Engine, book_id: int) -> None:
        self._database_url = database_url
        self.engine = engine
        self.book_id = book_id

    def live(self, name: str) -> LivePolicy:
        """The policy of that name or id. Raises click.ClickException where there is none."""
        from ledger.storage.queries_policies import list_policies, policy

        with self.engine.connect() as connection:
            found = policy(connection, self.book_id, name)
            if found is not None:
                return found
            names = [item.policy.name for item in list_policies(connection, self.book_id, limit=20).items]
        known = f"; there are {', '.join(names)}" if names else "; this book has none yet"
        raise click.ClickException(f"there is no policy {name}{known}")

    def document(self, name: str, version: int) -> dict[str, Any]:
        """The document of one version. Raises click.ClickException where there is none."""
        from ledger.core.canonical import parse
        from ledger.storage.queries_policies import policy_version

        with self.engine.connect() as connection:
            row = policy_version(connection, self.book_id, name, version)
        if row is None:
            raise click.ClickException(
                f"there is no version {version} of {name}: 'bursar policy history {name}' lists those there are"
            )
        document: dict[str, Any] = parse(row.packed.encode())["document"]
        return document

    def compare(self, document: dict[str, Any], source: str) -> Comparison:
        """What applying a document would change. Raises click.ClickException where it names what is not there."""
        from ledger.services.policies.comparing import compare, unknown_reference

        with self.engine.connect() as connection:
            unknown = unknown_reference(connection, self.book_id, document)
        if unknown is not None:
            raise click.ClickException(f"{document['policy']}: {unknown[1]}")
        return compare(self.engine, self.book_id, document, source=source)

    def apply(self, document: dict[str, Any], *, after_version: int, reason: str | None) -> Outcome:
        """Make a document the next version after the one that was shown. Raises click.ClickException."""
        from ledger.core.command import Caller
        from ledger.services.authorizer import Authorizer
        from ledger.services.policies.applying import apply_policy

        authorizer = Authorizer(self._database_url)
        authorizer.start()
        try:
            outcome = apply_policy(
                authorizer,
                self.engine,
                self.book_id,
                caller=Caller(None, as_owner=True),
                document=document,
                after_version=after_version,
                reason=reason,
            )
        finally:
            authorizer.stop(deadline_seconds=10.0)
        return done(outcome, document["policy"])

    def decide(self, command: Command, name: str) -> Outcome:
        """Have a command about a policy decided. Raises click.ClickException."""
        from ledger.services.authorizer import Authorizer

        authorizer = Authorizer(self._database_url)
        authorizer.start()
        try:
            return done(authorizer.decide_now(self.book_id, command), name)
        finally:
            authorizer.stop(deadline_seconds=10.0)


def done(outcome: Outcome, name: str) -> Outcome:
    """The outcome if it was carried out. Raises click.ClickException with the sentence that says what to change."""
    from ledger.core.outcome import Status

    if outcome.status is Status.DONE:
        return outcome
    if outcome.status is Status.POLICY_CHANGED:
        raise click.ClickException(f"{name}: it was changed by somebody else meanwhile; look at the difference again")
    if outcome.status is Status.FILL_NEEDED:
        raise click.ClickException(f"{name}: the book is too busy to fill the new limits now; try again")
    raise click.ClickException(f"{name}: {outcome.detail or outcome.status.value}")


@contextlib.contextmanager
def owner_of(database_url: str, book: str | None) -> Iterator[Owner]:
    """The chosen book, opened and closed again; errors of the database are one sentence each."""
    from ledger.storage.engine import create_engine

    with errors_in_one_line():
        require_file(database_url)
        chosen = chosen_book(database_url, book)
        engine = create_engine(database_url, pool_size=2)
        try:
            yield Owner(database_url, engine, chosen.book_id)
        finally:
            engine.dispose()


def print_comparison(found: Comparison) -> None:
    """Show a difference, and what becomes of each limit's count."""
    from ledger.services.policies.comparing import filled_from_history

    before = f"version {found.live_version}" if found.live_version is not None else "nothing"
    click.echo(f"{found.name}: {before} -> version {found.next_version}")
    click.echo(found.difference, nl=False)
    for rule in found.limits:
        if rule.kept:
            use = "keeps what it has counted"
        elif filled_from_history(rule):
            use = "begins with what the book's history says"
        else:
            use = "begins with nothing"
        click.echo(f"  {_named(rule)} {use}")
    for rule in found.dropped:
        click.echo(f"  {_named(rule)} is dropped")


def _named(rule: CountedRule) -> str:
    if rule.kind == rule.id:
        return rule.kind
    return f"limit {rule.id} (on runs)" if rule.kind == "runs" else f"{rule.kind} {rule.id}"


def ask(question: str, *, yes: bool) -> None:
    """Ask before something is changed. Raises click.ClickException where the answer is no, or nobody is there."""
    if yes:
        return
    try:
        agreed = click.confirm(question)
    except click.Abort:
        click.echo()
        raise click.ClickException("nobody answered, so nothing was changed: use --yes where nobody can") from None
    if not agreed:
        raise click.ClickException("nothing was changed")
