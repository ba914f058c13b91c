"""`replay` decides again, and names record, rule and values where what is recorded is not what the rules give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ledger.core.canonical import canonical_bytes, parse
from ledger.core.command_policies import ApplyPolicy
from ledger.core.command_redactions import Redact
from ledger.core.moment import moment_of
from ledger.core.replaying import DECISIONS
from ledger.services.replay_watching import ReplayReport, Row
from ledger.services.replaying import Bound, replay_books
from ledger.services.verify import NoSuchBook
from ledger.storage.migrate import upgrade
from tests.services.live_world import LiveWorld
from tests.services.stored_book import StoredBook
from tests.services.test_verify import rehashed
from tests.support.databases import DATABASE_KINDS, postgresql_database, sqlite_url

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module", params=DATABASE_KINDS)
def book(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoredBook]:
    """A book with every kind of record, made once for each database."""
    if request.param == "sqlite":
        stored = StoredBook(sqlite_url(tmp_path_factory.mktemp("replay")))
        yield stored
        stored.close()
        return
    with postgresql_database(request.getfixturevalue("postgres_server")) as url:
        stored = StoredBook(url)
        yield stored
        stored.close()


def replayed(book: StoredBook, **options: Any) -> ReplayReport:
    """The report on the book."""
    (report,) = replay_books(book.url, **options)
    return report


def bodies(book: StoredBook) -> list[dict[str, Any]]:
    """Every body."""
    return [parse(row["body"]) for row in book.rows("log_records")]


def forged(book: StoredBook, at: int, change: Change, **options: Any) -> ReplayReport:
    """The report when one body is another, with every hash right."""
    rows = book.rows("log_records")
    body = parse(rows[at]["body"])
    change(body)
    rows[at] = rows[at] | {"body": canonical_bytes(body)}
    made, head = rehashed(rows)
    with book.with_rows("log_records", made), book.with_row("book_heads", 0, **head):
        return replayed(book, **options)


def with_limit(book: StoredBook, kind: str = "hold", sort: str = "money") -> tuple[int, int, list[Any]]:
    """(index, place among the limits, limit) of the last decision of a kind that a limit was part of."""
    return max(
        (body["index"], place, limit)
        for body in bodies(book)
        if body["kind"] == kind
        for place, limit in enumerate(body["decision"]["limits"])
        if limit[2] == sort and limit[3] != "authorization"
    )


def test_every_decision_of_an_honest_book_comes_out_as_recorded(book: StoredBook) -> None:
    """All kinds of decisions; the intent that was redacted was no matter of a loop."""
    report = replayed(book)
    due = [
        body
        for body in bodies(book)
        if body["kind"] in DECISIONS and ("decision" in body or body["kind"] not in ("run", "run_denial"))
    ]
    assert report.replayed, (report.differences, report.log_differences)
    assert (report.decisions, report.equal, report.different) == (len(due), len(due), 0)
    assert {body["kind"] for body in due} == set(DECISIONS)
    assert (report.start, report.stop) == (0, len(bodies(book)))


def test_a_forged_limit_is_named_with_both_values(book: StoredBook) -> None:
    """Rule, policy, version, and money as people write it."""
    at, place, limit = with_limit(book)
    policy = bodies(book)[at]["decision"]["policies"][limit[0]]
    report = forged(book, at, lambda body: body["decision"]["limits"][place].__setitem__(4, "1000000000"))
    (one,) = report.differences
    assert (one.index, one.kind, one.agent) == (at, "hold", bodies(book)[at]["agent"])
    assert one.subject == bodies(book)[at]["authorization"]
    assert one.time == bodies(book)[at]["time"]
    (row,) = one.rows
    assert (row.policy, row.version, row.rule, row.value) == (policy[0], policy[1], limit[1], "limit")
    assert row.recorded == "1.00 USD"
    assert row.again is not None
    assert row.again.endswith(" USD")
    assert (report.different, report.equal, report.replayed) == (1, report.decisions - 1, False)


def test_a_forged_use_and_window(book: StoredBook) -> None:
    """Two values of one rule are two lines; a moment is one."""
    at, place, limit = with_limit(book)

    def change(body: dict[str, Any]) -> None:
        said = body["decision"]["limits"][place]
        said[5], said[6] = "77", said[6] + 60_000_000

    (one,) = forged(book, at, change).differences
    assert [(row.rule, row.value) for row in one.rows] == [(limit[1], "used before"), (limit[1], "window start")]
    assert one.rows[0].recorded == "0.000000077 USD"
    assert one.rows[1].again is not None
    assert one.rows[1].again.endswith("Z") or one.rows[1].again == "none"


def test_a_forged_verdict(book: StoredBook) -> None:
    """A denial that says approved, with its reasons dropped: every value that lacks is shown."""
    at = max(body["index"] for body in bodies(book) if body["kind"] == "denial" and body["decision"]["reasons"])
    reasons = bodies(book)[at]["decision"]["reasons"]

    def change(body: dict[str, Any]) -> None:
        body["decision"] |= {"outcome": "approved", "reasons": []}

    (one,) = forged(book, at, change).differences
    assert one.rows[0] == Row("", None, "decision", "outcome", "approved", "denied")
    named = {row.rule for row in one.rows[1:] if row.recorded is None}
    assert {reason["code"] for reason in reasons} == {name.partition(": ")[2] for name in named}


def test_a_forged_version_of_a_policy(book: StoredBook) -> None:
    """Another version, which did not stand by then."""
    at, _, limit = with_limit(book)
    policy = bodies(book)[at]["decision"]["policies"][limit[0]]
    (one,) = forged(
        book, at, lambda body: body["decision"]["policies"][limit[0]].__setitem__(1, policy[1] + 5)
    ).differences
    assert (one.rows[0].policy, one.rows[0].value) == (policy[0], "version")
    assert (one.rows[0].recorded, one.rows[0].again) == (str(policy[1] + 5), str(policy[1]))


def test_a_forged_fingerprint(book: StoredBook) -> None:
    """Made again from what was asked, where words and secret are there."""
    there = {row["log_index"] for row in book.rows("texts") if row["field"] == "intent"}
    at = max(body["index"] for body in bodies(book) if body["kind"] == "hold" and body["index"] in there)
    (one,) = forged(book, at, lambda body: body.__setitem__("fingerprint", "0" * 24)).differences
    assert [(row.rule, row.value, row.recorded) for row in one.rows] == [("decision", "fingerprint", "0" * 24)]
    assert one.rows[0].again == bodies(book)[at]["fingerprint"]


def test_what_has_another_form_is_shown_as_it_is(book: StoredBook) -> None:
    """A decision that no honest writer wrote does not stop the work."""
    at, place, _ = with_limit(book)
    for change in (
        lambda body: body.__setitem__("decision", {"outcome": 7}),
        lambda body: body["decision"]["limits"][place].pop(),
        lambda body: body["decision"].__setitem__("note", "well"),
    ):
        report = forged(book, at, change)
        (one,) = report.differences
        assert [row.value for row in one.rows] == ["form"]
        assert report.decisions > 20


def test_all_are_counted_and_some_are_shown(book: StoredBook) -> None:
    """The first differences, and how many there are."""
    rows = book.rows("log_records")
    changed = 0
    for at, row in enumerate(rows):
        body = parse(row["body"])
        if body["kind"] in ("hold", "denial") and body["decision"]["rules"]:
            body["decision"]["rules"][0][1] = "perhaps"
            rows[at] = row | {"body": canonical_bytes(body)}
            changed += 1
    made, head = rehashed(rows)
    with book.with_rows("log_records", made), book.with_row("book_heads", 0, **head):
        report = replayed(book, limit=2)
    assert (report.different, len(report.differences)) == (changed, 2)
    assert report.differences[0].index < report.differences[1].index


def test_a_range_of_indexes_or_of_moments(book: StoredBook) -> None:
    """From is included, to is not; what lies before is followed and not decided again."""
    at, place, _ = with_limit(book)

    def change(body: dict[str, Any]) -> None:
        body["decision"]["limits"][place][4] = "1"

    for start, stop, found in ((at, at + 1, 1), (0, at, 0), (at + 1, 10**9, 0)):
        report = forged(book, at, change, start=Bound(index=start), stop=Bound(index=stop))
        assert report.different == found, (start, stop)
        assert report.complete
    (whole,) = {report.decisions for report in [replayed(book, start=Bound(index=at), stop=Bound(index=at + 1))]}
    assert whole == 1
    moment = moment_of(bodies(book)[at]["time"])
    same = [body for body in bodies(book) if body["time"] == bodies(book)[at]["time"]]
    report = replayed(book, start=Bound(moment=moment), stop=Bound(moment=moment + 1))
    assert (report.start, report.stop) == (same[0]["index"], same[-1]["index"] + 1)
    nothing = replayed(book, start=Bound(moment=moment + 10**15))
    assert (nothing.decisions, nothing.replayed, nothing.start) == (0, True, nothing.stop)


def test_rules_that_this_version_does_not_know(book: StoredBook) -> None:
    """A record of a later version stops the work with a sentence that says what to use."""
    at, _, _ = with_limit(book)
    report = forged(book, at, lambda body: body.__setitem__("semantics", 2))
    assert not report.replayed
    assert not report.complete
    assert (
        "it was decided by rules of version 2, and this version of Bursar knows 1: use the version that wrote it, or a"
        " newer one"
    ) in report.log_differences[0].what
    assert report.log_differences[0].log_index == at


def test_a_log_that_cannot_be_followed_is_said_so(book: StoredBook) -> None:
    """A record that lacks, or whose body is cut: the work stops there, and says that verify knows more."""
    rows = book.rows("log_records")
    with book.with_rows("log_records", [row for row in rows if row["log_index"] != 5]):
        report = replayed(book)
    assert (report.replayed, report.complete) == (False, False)
    assert report.log_differences


def test_a_book_that_is_not_there(book: StoredBook) -> None:
    """Rather than replayed as nothing."""
    with pytest.raises(NoSuchBook):
        list(replay_books(book.url, book="other"))


def test_small_pages_give_the_same(book: StoredBook, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the log is cut into pages."""
    whole = replayed(book)
    monkeypatch.setattr("ledger.services.verify_log.PAGE_RECORDS", 3)
    report = replayed(book)
    assert (report.decisions, report.equal, report.redacted) == (whole.decisions, whole.equal, whole.redacted)


class Looping(LiveWorld):
    """A world whose agent asks the same thing with an intent again and again, under a policy that counts that."""

    def __init__(self, database_url: str) -> None:
        upgrade(database_url)
        super().__init__(database_url, "acme")
        document = {
            "policy": "loops", "applies_to": {"agent": "crawler"}, "currency": "USD",
            "loops": {"same_request": 3, "within": 600, "then": "deny"},
        }  # fmt: skip
        applied = self.do(
            ApplyPolicy, self.admin, id="pol_00000000000000000000000001", document=canonical_bytes(document).decode()
        )
        assert applied.status.value == "done", applied
        self.asked = [self.authorize(self.crawler, "0.50", intent="mail jane@example.com") for _ in range(5)]
        self.plain = self.authorize(self.crawler, "0.50")

    def redact(self, *indexes: int) -> None:
        """Redact intents by age."""
        texts = tuple((index, "intent") for index in indexes)
        done = self.do(Redact, self.admin, texts=texts, before=2**50, reason="she asked")
        assert done.status.value == "done", done

    def replay(self, **options: Any) -> ReplayReport:
        """The report."""
        (report,) = replay_books(self.url, **options)
        assert report.replayed, report
        return report


@pytest.fixture
def looping(database_url: str) -> Iterator[Looping]:
    """On either database."""
    world = Looping(database_url)
    yield world
    world.prove()
    world.close()


def test_a_decision_that_counted_by_words_that_are_gone_is_redacted(looping: Looping) -> None:
    """It comes out the same, because the fingerprint is on record; that it is that of the words cannot be told."""
    assert [one.status.value for one in looping.asked][-2:] == ["loop_detected"] * 2
    before = looping.replay()
    assert (before.redacted, before.unmade) == (0, 0)
    gone = [one.log_index for one in looping.asked]
    looping.redact(*gone[:2])
    after = looping.replay()
    assert (after.redacted, after.redacted_indexes, after.unmade) == (2, gone[:2], 0)
    assert (after.decisions, after.equal) == (before.decisions, before.equal)
    looping.redact(*gone[2:])
    assert looping.replay().redacted_indexes == gone
    part = looping.replay(start=Bound(index=gone[1]), stop=Bound(index=gone[3]))
    assert part.redacted_indexes == gone[1:3], "although the record that redacted them lies behind the range"


def test_words_that_lack_for_no_reason_are_told_apart(looping: Looping) -> None:
    """No redaction names them: they count as not made again, and it is for verify to call that a difference."""
    book = _Rows(looping.url)
    kept = book.texts()
    book.drop_texts()
    report = looping.replay()
    assert (report.redacted, report.unmade) == (0, 5)
    book.put_texts(kept)


def test_a_secret_that_is_not_that_of_the_records(looping: Looping) -> None:
    """A book that came from elsewhere has another: nothing is called forged for that, until one was made again."""
    _Rows(looping.url).new_secret()
    report = looping.replay()
    assert (report.different, report.unmade) == (0, 6)


class _Rows:
    """The tables of texts and secrets, changed behind Bursar's back."""

    def __init__(self, url: str) -> None:
        self._url = url

    def _run(self, statement: str, rows: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
        from sqlalchemy import text

        from ledger.storage.side_writer import SideWriter

        writer = SideWriter(self._url)
        try:
            with writer.transaction() as connection:
                done = connection.execute(text(statement), rows) if rows else connection.execute(text(statement))
                return [dict(row._mapping) for row in done] if done.returns_rows else []
        finally:
            writer.close()

    def texts(self) -> list[dict[str, Any]]:
        """Every row."""
        return self._run("SELECT * FROM texts")

    def drop_texts(self) -> None:
        """None is left."""
        self._run("DELETE FROM texts")

    def put_texts(self, rows: list[dict[str, Any]]) -> None:
        """They are back."""
        self._run("INSERT INTO texts VALUES (:book_id, :log_index, :field, :salt, :content)", rows)

    def new_secret(self) -> None:
        """Another secret of the book."""
        self._run("UPDATE book_secrets SET text_secret = :secret", [{"secret": b"another secret of 32 bytes......"}])
