"""`bursar redact`: remove free texts from beside the log, on record, as the owner of the database or over HTTP.

Invariants: nothing is removed without a record that says who, when, why and what; `--dry-run` changes nothing; work
that was broken off is taken up by the same command again, because what is gone is not found again.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import click

from bursar import Refused, Remote, remote
from ledger.cli.checkpoint import book_option, json_option
from ledger.cli.database import BadValue, chosen_book, database_option, errors_in_one_line, require_file
from ledger.cli.moments import moment_typed

REASON_LENGTH_MAX = 2000
DAY_US = 86_400 * 1_000_000
SHOWN_MAX = 10
_AUTHORIZATION = re.compile(r"(?:auth|chg)_[0-9a-z]{26}")
_INDEX = re.compile(r"[0-9]{1,15}")
Text = tuple[int, str]


class Asked(NamedTuple):
    """What was typed, checked as far as the book need not be known."""

    authorization: str | None
    record: int | None
    before: str | None
    older_than: int | None
    agent: str | None
    fields: tuple[str, ...]
    ground: str
    reason: str

    def moment(self, timezone: str) -> int | None:
        """The moment before which records are meant, in microseconds."""
        if self.older_than is not None:
            return time.time_ns() // 1_000 - self.older_than * DAY_US
        return None if self.before is None else moment_typed(self.before, timezone, option="--before")


@click.command(name="redact")
@click.argument("what", metavar="[AUTHORIZATION|INDEX]", required=False)
@click.option("--before", default=None, metavar="DATE", help="Every record from before this day or moment of the book.")
@click.option(
    "--older-than", default=None, metavar="DAYS", type=click.IntRange(0, 36_500), help="Older than so many days."
)
@click.option("--agent", default=None, metavar="NAME", help="By age: only what is by or about this agent.")
@click.option(
    "--field",
    "fields",
    multiple=True,
    type=click.Choice(("intent", "reason", "evidence", "all")),
    help="Only texts of this field; may be given again.  [default: all]",
)
@click.option(
    "--ground",
    default="other",
    show_default=True,
    type=click.Choice(("erasure", "mistake", "other", "retention", "secret")),
    help="Why, in a word that stays readable for good.",
)
@click.option("--reason", default=None, metavar="TEXT", help="Why; its digest stands in the log.")
@click.option("--dry-run", is_flag=True, help="Count what would be removed, and change nothing.")
@database_option
@book_option
@click.option("--url", default=None, envvar="BURSAR_URL", metavar="URL", help="Ask this server instead of a database.")
@click.option(
    "--key",
    "api_key",
    default=None,
    envvar=["BURSAR_API_KEY", "BURSAR_KEY"],
    metavar="KEY",
    help="With --url, an admin's key; better given as BURSAR_API_KEY.",
)
@json_option
def command(
    what: str | None,
    before: str | None,
    older_than: int | None,
    agent: str | None,
    fields: tuple[str, ...],
    ground: str,
    reason: str | None,
    dry_run: bool,
    database_url: str,
    book: str | None,
    url: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    """Remove free texts (intents, reasons, evidence) for good, and say so on record.

    Names an authorization with all that is on record about it, one record of the log, or by age every record. The
    texts go, their salted digests stay in the log: hashes, proofs, balances and decisions stay good, and 'bursar
    verify' tells what was redacted from what somebody took away. Backups and exported copies still have the texts.

    \b
    For example:
      bursar redact auth_01k... --field intent --ground erasure --reason "ticket 4711"
      bursar redact --older-than 90 --ground retention --reason "retention: 90 days" --dry-run
      bursar redact --before 2026-08-01 --agent crawler --reason "the pilot has ended"
    """
    asked = _asked(what, before, older_than, agent, fields, ground, reason, dry_run=dry_run)
    if url is not None:
        if api_key is None:
            raise BadValue("give the key to ask the server with, as BURSAR_API_KEY or --key")
        with remote(url, api_key) as server:
            _run(_Server(server), asked, dry_run=dry_run, as_json=as_json)
        return
    with errors_in_one_line():
        require_file(database_url)
        with _database(database_url, chosen_book(database_url, book).book_id) as place:
            _run(place, asked, dry_run=dry_run, as_json=as_json)


def _asked(
    what: str | None,
    before: str | None,
    older_than: int | None,
    agent: str | None,
    fields: tuple[str, ...],
    ground: str,
    reason: str | None,
    *,
    dry_run: bool,
) -> Asked:
    if (what is not None) + (before is not None) + (older_than is not None) != 1:
        raise BadValue("name one thing: an authorization, the index of a record, --before DATE or --older-than DAYS")
    if what is not None and agent is not None:
        raise BadValue("--agent goes with --before or --older-than")
    if not dry_run and (reason is None or not reason.strip() or len(reason) > REASON_LENGTH_MAX):
        raise BadValue(f"give a --reason of 1 to {REASON_LENGTH_MAX} characters")
    authorization = what if what is not None and _AUTHORIZATION.fullmatch(what) else None
    index = int(what) if what is not None and _INDEX.fullmatch(what) else None
    if what is not None and authorization is None and index is None:
        raise BadValue(f"{what} is no id of an authorization or charge, and no index of a record")
    named = () if "all" in fields else tuple(sorted(set(fields)))
    return Asked(authorization, index, before, older_than, agent, named, ground, reason or "")


class _Refused(click.ClickException):
    """Nothing was removed. The message says why, ``code`` in a word."""

    exit_code = 1

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class Done(NamedTuple):
    """A record that was written, and the texts that it removed."""

    log_index: int
    texts: list[Text]


class _Database:
    """The book, in the hands of the database's owner."""

    def __init__(self, database_url: str, engine: Any, book_id: int, timezone: str) -> None:
        self._database_url = database_url
        self._engine = engine
        self._book_id = book_id
        self._timezone = timezone

    def _selection(self, asked: Asked) -> Any:
        from ledger.services.redacting import Selection

        return Selection(
            authorization=asked.authorization,
            record=asked.record,
            before=asked.moment(self._timezone),
            agent=asked.agent,
            fields=asked.fields,
        )

    def left(self, asked: Asked) -> Iterator[Text]:
        """Every text that is meant and there."""
        from ledger.services.redacting import all_left

        return all_left(self._engine, self._book_id, self._selection(asked))

    def redact(self, asked: Asked) -> Iterator[Done]:
        """Remove them, a record at a time. Raises _Refused where there is nothing to remove."""
        from ledger.core.outcome import Status
        from ledger.services.redacting import redact_as_owner

        selection = self._selection(asked)
        for outcome in redact_as_owner(
            self._database_url, self._book_id, selection, reason=asked.reason, ground=asked.ground
        ):
            if outcome.status is not Status.DONE:
                raise _Refused(outcome.detail, outcome.status.value)
            yield Done(outcome.log_index, [(index, field) for index, field in (outcome.body or {})["texts"]])

    def after(self) -> str:
        """What is left to be done about the database itself."""
        from ledger.storage.emptying import WAL_KEPT, empty_write_ahead_log

        return "" if empty_write_ahead_log(self._database_url) else WAL_KEPT


@contextmanager
def _database(database_url: str, book_id: int) -> Iterator[_Database]:
    from ledger.storage.engine import create_engine
    from ledger.storage.queries_log import book_by_id

    engine = create_engine(database_url, pool_size=1)
    try:
        with engine.connect() as connection:
            found = book_by_id(connection, book_id)
        yield _Database(database_url, engine, book_id, found.timezone if found is not None else "UTC")
    finally:
        engine.dispose()


class _Server:
    """A server, asked as an admin."""

    def __init__(self, server: Remote) -> None:
        self._server = server
        self._note = ""

    def _selection(self, asked: Asked) -> dict[str, Any]:
        from ledger.core.moment import moment_text

        before = None
        if asked.older_than is not None or asked.before is not None:
            timezone = "UTC" if asked.before is None else self._server.get("/v1/book")["timezone"]
            before = moment_text(asked.moment(timezone) or 0)
        given = {"authorization": asked.authorization, "index": asked.record, "before": before, "agent": asked.agent}
        return {name: value for name, value in given.items() if value is not None}

    def left(self, asked: Asked) -> Iterator[Text]:
        """Every text that is meant and there."""
        selection = self._selection(asked)
        for field in asked.fields or ("",):
            named = {"field": field} if field else {}
            for page in self._server.pages("/v1/texts", **selection, **named):
                yield from ((item["index"], item["field"]) for item in page)

    def redact(self, asked: Asked) -> Iterator[Done]:
        """Remove them, a record at a time. Raises Refused where there is nothing to remove."""
        body = self._selection(asked) | {"ground": asked.ground, "reason": asked.reason}
        if asked.fields:
            body["fields"] = list(asked.fields)
        begun = False
        while True:
            try:
                done = self._server.post("/v1/redactions", body)
            except Refused as refused:
                if begun and refused.code == "wrong_state":
                    return
                raise
            # A server from before this version says nothing of it.
            self._note = done.get("note") or ""
            yield Done(done["log"]["index"], [(text["index"], text["field"]) for text in done["texts"]])
            if done["more_from"] is None:
                return
            begun = True
            if asked.record is None:
                body["start"] = done["more_from"]

    def after(self) -> str:
        """What the server said of its database after the last record."""
        return self._note


def _run(place: _Database | _Server, asked: Asked, *, dry_run: bool, as_json: bool) -> None:
    if dry_run:
        _tell_left(place.left(asked), as_json=as_json)
        return
    by_age = asked.authorization is None and asked.record is None
    indexes: list[int] = []
    first: list[Text] = []
    counts: Counter[str] = Counter()
    try:
        for done in place.redact(asked):
            indexes.append(done.log_index)
            first += done.texts[: SHOWN_MAX - len(first)]
            counts.update(field for _, field in done.texts)
    except (Refused, _Refused) as refused:
        # By age, nothing to remove is what most days find.
        if not by_age or refused.code != "wrong_state":
            raise
    note = place.after() if indexes else ""
    total = sum(counts.values())
    if as_json:
        shown = {"redacted": total, "fields": dict(sorted(counts.items())), "records": indexes}
        click.echo(json.dumps(shown | ({"note": note} if note else {})))
        return
    if not total:
        click.echo("There is nothing to redact.")
        return
    listed = ", ".join(f"{field} of record {index}" for index, field in first)
    rest = f" and {total - len(first)} more" if total > len(first) else ""
    said = f"record {indexes[0]} of the log says so"
    if len(indexes) > 1:
        said = f"{len(indexes)} records of the log say so, {indexes[0]} to {indexes[-1]}"
    click.echo(f"Redacted {_texts(total)}: {listed}{rest}; {said}.")
    click.echo("Backups and exported copies from before still have what was removed.")
    if note:
        click.echo(f"Note: {note}.", err=True)


def _tell_left(texts: Iterable[Text], *, as_json: bool) -> None:
    first: list[Text] = []
    counts: Counter[str] = Counter()
    for text in texts:
        if len(first) < SHOWN_MAX:
            first.append(text)
        counts[text[1]] += 1
    total = sum(counts.values())
    if as_json:
        click.echo(json.dumps({"would_redact": total, "fields": dict(sorted(counts.items()))}))
        return
    if not total:
        click.echo("There is nothing to redact.")
        return
    by_field = ", ".join(f"{count} {field}" for field, count in sorted(counts.items()))
    click.echo(f"Would redact {_texts(total)} ({by_field}); nothing was changed. The first:")
    for index, field in first:
        click.echo(f"  {field} of record {index}")


def _texts(count: int) -> str:
    return f"{count} free text{'' if count == 1 else 's'}"
