"""A verification that is killed goes on where it was, and one that ended well is what the next one trusts."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ledger.core import projecting_kept
from ledger.core.projecting_record import Progress
from ledger.services import verify_book, verify_log, verify_projections, verify_state
from ledger.services.verify import SinceLacks, verify_books
from ledger.services.verify_against import EXTENDS, FORKED, OLDER, read_claim
from ledger.services.verify_findings import BookReport, Findings
from ledger.services.verify_log import LogPass
from ledger.services.verify_state import StateUnusable
from ledger.storage.scratch import Scratch
from tests.services.signed_book import SignedBook
from tests.services.stored_book import StoredBook
from tests.support.databases import DATABASE_KINDS, postgresql_database, sqlite_url
from tests.support.every_kind import LiveLedger, play


@pytest.fixture(scope="module", params=DATABASE_KINDS, ids=DATABASE_KINDS)
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoredBook]:
    """A book with a record of every kind, made once for each database."""
    if request.param == "sqlite":
        made = StoredBook(sqlite_url(tmp_path_factory.mktemp("story")))
        yield made
        made.close()
        return
    with postgresql_database(request.getfixturevalue("postgres_server")) as url:
        made = StoredBook(url)
        yield made
        made.close()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a long book meets: many pages, kept often, with rows that were written out."""
    monkeypatch.setattr(verify_log, "PAGE_RECORDS", 7)
    monkeypatch.setattr(verify_state, "KEEP_RECORDS", 20)
    monkeypatch.setattr(verify_state, "Scratch", partial(Scratch, entries=3))


def verified(url: str, state: Path | None = None, **options: Any) -> BookReport:
    """The report of the only book, which is right."""
    (report,) = verify_books(url, state=state, **options)
    assert report.verified, [difference.sentence() for difference in report.differences]
    return report


def killed(work: Callable[[], object]) -> None:
    """Do the work in a process of its own, which is to be killed by it."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(3)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"it was not killed, but ended with {status}"
    assert os.WTERMSIG(status) == signal.SIGKILL


def die(*_: object) -> None:
    """As a machine that is switched off."""
    os.kill(os.getpid(), signal.SIGKILL)


def rows_of(state: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row in the finished state of the only book there."""
    (manifest,) = state.glob("book-*.json")
    database = state / json.loads(manifest.read_text())["database"]
    with sqlite3.connect(database) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for name in names if name != "kept"}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_a_run_that_was_killed_goes_on(story: StoredBook, tmp_path: Path, share: float) -> None:
    """With the same result as one that was not, and the same rows in what it leaves; killed twice, it still does."""

    def dying(_: str, done: int, total: int) -> None:
        if done > total * share:
            die()

    killed(lambda: list(verify_books(story.url, state=tmp_path / "killed", progress=dying)))
    killed(lambda: list(verify_books(story.url, state=tmp_path / "killed", progress=dying)))
    report = verified(story.url, tmp_path / "killed")
    fresh = verified(story.url, tmp_path / "fresh")
    alone = verified(story.url)
    assert report.resumed >= report.records * share - 27
    assert (report.records, report.root, report.texts, report.texts_missing) == (
        (alone.records, alone.root, alone.texts, alone.texts_missing)
    )
    assert (fresh.resumed, fresh.trusted, report.trusted) == (0, 0, 0)
    assert rows_of(tmp_path / "killed") == rows_of(tmp_path / "fresh")
    assert sorted(path.suffix for path in (tmp_path / "killed").iterdir()) == [".db", ".json"]


@pytest.mark.usefixtures("small")
def test_a_run_that_was_killed_while_it_compared_goes_on(
    story: StoredBook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is not read twice."""
    with monkeypatch.context() as patched:
        patched.setattr(verify_projections, "row_differences", die)
        patched.setattr(verify_projections, "unequal_rows", die)
        killed(lambda: list(verify_books(story.url, state=tmp_path)))
    report = verified(story.url, tmp_path)
    assert report.resumed == report.records


@pytest.mark.usefixtures("small")
def test_what_is_wrong_behind_the_place_is_found_and_before_it_is_not_read(story: StoredBook, tmp_path: Path) -> None:
    """A run that goes on has read what stands before; the head's root still binds it."""

    def dying(_: str, done: int, total: int) -> None:
        if done > total / 2:
            die()

    killed(lambda: list(verify_books(story.url, state=tmp_path, progress=dying)))
    rows = story.rows("log_records")
    kept = (tmp_path / next(iter(os.listdir(tmp_path)))).parent
    with story.with_row("log_records", len(rows) - 3, body=rows[-3]["body"] + b" "):
        (late,) = verify_books(story.url, state=kept, differences_max=1)
    assert (late.differences[0].table, late.differences[0].log_index) == ("log_records", len(rows) - 3)
    assert late.resumed
    # It ended, and begins anew: what was wrong before the place is found by the next run.
    with story.with_row("log_records", 3, body=rows[3]["body"] + b" "):
        (early,) = verify_books(story.url, state=kept, differences_max=1)
    assert (early.resumed, early.differences[0].log_index) == (0, 3)


def test_everything_that_a_pass_knows_is_kept(story: StoredBook) -> None:
    """Whoever adds something to what a pass or a fold remembers has to say what becomes of it."""
    scratch = Scratch()
    fold = set(vars(Progress(1, scratch)))
    assert fold == {*projecting_kept.PLAIN, *projecting_kept.CONVERTED, *projecting_kept.NOT_KEPT}
    made = LogPass(None, scratch, 1, Findings(1), progress=lambda *_: None)  # type: ignore[arg-type]
    given = {"_source", "_scratch", "_findings", "_progress", "_checks", "_tree_checks", "on_page", "fold"}
    given |= {"without_texts", "_made"}
    counted_at_the_end = {"texts_missing", "texts_redacted"}
    between_pages = {"_leaves", "_wanted", "_roots", "_tiles", "_clock", "followed", "whole"}
    assert set(vars(made)) == {*verify_log.KEPT, "_tree", *given, *between_pages, *counted_at_the_end}
    scratch.close()


class Nightly(SignedBook):
    """A book that is verified each night, with its checkpoint of the last night."""

    def __init__(self, database_url: str, state: Path) -> None:
        super().__init__(database_url)
        self.state = state
        self.spend(5)
        self.note = self.sign()
        self.first = verified(self.url, state)
        self.spend(4)

    def since(self, note: str | None = None, **options: Any) -> BookReport:
        """A nightly run."""
        claim = read_claim("kept.txt", note or self.note)
        (report,) = verify_books(self.url, state=self.state, since=(claim,), **options)
        return report


@pytest.fixture
def nightly(database_url: str, tmp_path: Path) -> Iterator[Nightly]:
    """The book, on either database."""
    made = Nightly(database_url, tmp_path / "state")
    yield made
    made.close()


def found(report: BookReport) -> set[str]:
    """The tables in which something is wrong."""
    return {difference.table for difference in report.differences}


def test_a_nightly_run_reads_what_came_after(nightly: Nightly) -> None:
    """Night after night, with a checkpoint of the same size, an older or a newer one; the result is a fresh run's."""
    report = nightly.since()
    assert report.verified
    assert (report.trusted, report.resumed) == (nightly.first.records, 0)
    assert (report.records, report.root) == (nightly.size(), verified(nightly.url).root)
    nightly.spend(2)
    again = nightly.since()
    assert (again.verified, again.agrees, again.trusted) == (True, True, report.records)
    newer = nightly.sign()
    nightly.spend(1)
    last = nightly.since(newer)
    assert (last.verified, last.agrees, last.verdicts[0].verdict) == (True, True, EXTENDS)
    assert last.trusted == again.records
    with sqlite3.connect(next(nightly.state.glob("*.db"))) as connection:
        assert connection.execute("SELECT count(*) FROM authorizations").fetchone() == (12,)


@pytest.mark.usefixtures("small")
def test_a_nightly_run_that_was_killed_goes_on_and_keeps_what_it_trusts(nightly: Nightly) -> None:
    """And one from the first record that comes between does not go on from it."""
    nightly.spend(30)

    def dying(_: str, done: int, total: int) -> None:
        if done > total - 10:
            die()

    killed(lambda: nightly.since(progress=dying))
    report = nightly.since()
    assert (report.verified, report.trusted) == (True, nightly.first.records)
    assert report.resumed >= 20
    nightly.spend(30)
    killed(lambda: nightly.since(progress=dying))
    whole = verified(nightly.url, nightly.state)
    assert (whole.trusted, whole.resumed) == (0, 0)


def test_what_a_nightly_run_does_not_see_and_what_it_does(nightly: Nightly) -> None:
    """An old record that was changed alone is not read again; with the hashes that follow it is found; every
    projection is compared whole; transfers of old records are not."""
    rows = nightly.stored.rows("log_records")
    with nightly.stored.with_row("log_records", 4, body=rows[4]["body"] + b" "):
        unseen = nightly.since()
        assert "log_records" in found(next(iter(verify_books(nightly.url))))
    assert unseen.verified
    with nightly.rewritten(4, note="x"):
        seen = nightly.since()
    assert found(seen) == {"log_records"}
    assert seen.differences[0].what == (
        f"the first {unseen.records} are not those that were verified before: the log was rewritten since"
    )
    with nightly.stored.with_row("accounts", 1, balance=1):
        assert found(nightly.since()) == {"accounts"}
    with nightly.stored.with_row("transfers", 0, amount=1):
        assert nightly.since().verified
        assert "transfers" in found(next(iter(verify_books(nightly.url))))
    assert nightly.since().verified


def test_a_log_that_was_set_back_or_is_another_one_is_no_nightly_log(nightly: Nightly) -> None:
    """Even where the checkpoint is of an earlier size that both have."""
    back = nightly.stored.everything()
    nightly.spend(3)
    assert nightly.since().verified
    with nightly.set_back(back):
        report = nightly.since()
    assert [(one.table, one.column) for one in report.differences] == [("book_heads", "size")]
    assert "the log was set back" in report.differences[0].what
    size = nightly.size()
    with nightly.rewritten(size - 1, note="x"):
        report = nightly.since()
    assert found(report) == {"log_records"}
    ahead = nightly.sign()
    with nightly.set_back(back):
        (older,) = verify_books(nightly.url, against=(read_claim("ahead.txt", ahead),))
    assert (older.verified, [one.verdict for one in older.verdicts]) == (True, [OLDER])


def test_a_checkpoint_of_another_history_is_not_trusted(nightly: Nightly) -> None:
    """The state is right, the log is right, and still somebody signed something else."""
    with nightly.rewritten(4, note="x"):
        other = nightly.sign()
    report = nightly.since(other)
    assert [verdict.verdict for verdict in report.verdicts] == [FORKED]
    assert report.verified
    assert not report.agrees
    manifest = json.loads(next(nightly.state.glob("*.json")).read_text())
    assert manifest["size"] == nightly.first.records


def test_nothing_is_trusted_on_the_word_of_a_checkpoint_that_nobody_signed(nightly: Nightly) -> None:
    """The work is not begun."""
    report = nightly.since(nightly.note.replace("\n\n", "\n\n", 1)[:-8] + "AAAAAA=\n")
    assert (report.verified, report.records) == (False, 0)
    assert [verdict.verdict for verdict in report.verdicts] == ["bad_signature"]


def test_since_a_checkpoint_hashes_alone_need_no_state(nightly: Nightly) -> None:
    """The tree is taken from tiles or leaf hashes, and believed because it has the signed root."""
    claim = read_claim("kept.txt", nightly.note)
    (report,) = verify_books(nightly.url, since=(claim,), leaves_only=True)
    assert (report.verified, report.agrees, report.trusted) == (True, True, claim.size)
    assert report.root == verified(nightly.url).root
    rows = nightly.stored.rows("log_records")
    with nightly.stored.with_row("log_records", len(rows) - 1, body=b"{}"):
        (late,) = verify_books(nightly.url, since=(claim,), leaves_only=True)
    assert late.differences[0].log_index == len(rows) - 1
    with nightly.stored.with_row("log_records", 4, leaf_hash=bytes(32)):
        (early,) = verify_books(nightly.url, since=(claim,), leaves_only=True)
    assert [(one.verdict, one.between) for one in early.verdicts] == [(FORKED, (0, claim.size))]
    assert not early.verified


def test_only_its_owner_reads_a_state(nightly: Nightly) -> None:
    """Of a directory that was there and is open to others, too."""
    nightly.state.chmod(0o755)
    nightly.world.hold(nightly.world.crawler, "1")
    nightly.since()
    assert {file.stat().st_mode & 0o777 for file in nightly.state.iterdir()} == {0o600}


def _first(state: Path, pattern: str) -> Path:
    return next(state.glob(pattern))


def _flip(state: Path) -> None:
    file = _first(state, "book-*-*.db")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _edit(state: Path, **changes: Any) -> None:
    manifest = _first(state, "*.json")
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | changes))


def _forge(state: Path, **changes: Any) -> None:
    """Change what was kept, with a digest that fits."""
    database = _first(state, "book-*-*.db")
    _note(database, **changes)
    _edit(state, sha256=hashlib.sha256(database.read_bytes()).hexdigest())


DAMAGES: list[tuple[Callable[[Path], object], str]] = [
    (_flip, "is not as the run left it that made it"),
    (lambda state: _first(state, "book-*-*.db").unlink(), "cannot be read or written: No such file"),
    (lambda state: _first(state, "*.json").write_text("{"), "cannot be read as a state"),
    (lambda state: _first(state, "*.json").unlink(), "has no finished state of book acme to trust"),
    (partial(_edit, format="other"), "is no state of a verification"),
    (partial(_edit, genesis="00"), "is the state of another book"),
    (partial(_edit, rules=[1, 99]), "was made by other rules than this version's"),
    (partial(_edit, size=3), "is not the state that"),
    (partial(_edit, size=float("inf")), "cannot be read as a state"),
    (lambda state: _first(state, "*.json").write_text("[" * 100_000), "cannot be read as a state"),
    (partial(_forge, **{"pass": None}), "cannot be read as a state"),
    (partial(_forge, fold=None), "cannot be gone on from"),
]


def test_a_state_that_is_not_as_it_was_left_is_refused(nightly: Nightly, tmp_path: Path) -> None:
    """With a sentence, and nothing is verified on its word."""
    left = nightly.state
    for number, (damage, words) in enumerate(DAMAGES):
        nightly.state = tmp_path / f"damaged-{number}"
        shutil.copytree(left, nightly.state)
        damage(nightly.state)
        with pytest.raises(StateUnusable, match=words):
            nightly.since()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda file: file.write_bytes(b"no database" * 500), "is damaged or no state of a verification"),
        (lambda file: _note(file, genesis="00"), "is the state of another book"),
        (lambda file: _note(file, root="00"), "cannot be gone on from"),
        (lambda file: _note(file, fold={}), "cannot be gone on from"),
        (lambda file: _note(file, **{"pass": None}), "cannot be read as a state"),
        (lambda file: _layout(file), "was made by another version of Bursar"),
    ],
    ids=["torn", "book", "root", "fold", "pass", "layout"],
)
@pytest.mark.usefixtures("small")
def test_an_unfinished_state_that_was_changed_is_refused(
    story: StoredBook, tmp_path: Path, damage: Callable[[Path], object], words: str
) -> None:
    """Rather than begun anew in silence: somebody may want to know."""
    killed(lambda: list(verify_books(story.url, state=tmp_path, progress=lambda _, done, total: done < 60 or die())))
    running = _first(tmp_path, "*.running.db")
    with sqlite3.connect(running) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    damage(running)
    with pytest.raises(StateUnusable, match=words):
        list(verify_books(story.url, state=tmp_path))


def _note(file: Path, **changes: Any) -> None:
    connection = sqlite3.connect(file)
    note = json.loads(connection.execute("SELECT note FROM kept").fetchone()[0])
    connection.execute("UPDATE kept SET note = ?", (json.dumps(note | changes),))
    connection.commit()
    connection.close()


def _layout(file: Path) -> None:
    connection = sqlite3.connect(file)
    connection.execute("UPDATE kept SET layout = 'other'")
    connection.commit()
    connection.close()


def test_two_runs_do_not_share_a_state(story: StoredBook, tmp_path: Path) -> None:
    """The second is refused while the first works."""
    tried: list[str] = []

    def meanwhile(*_: object) -> None:
        if not tried:
            with pytest.raises(StateUnusable) as refused:
                list(verify_books(story.url, state=tmp_path))
            tried.append(str(refused.value))

    verified(story.url, tmp_path, progress=meanwhile)
    assert tried[0].endswith("is in use by another verification")


def test_every_book_has_a_state_of_its_own(database_url: str, tmp_path: Path) -> None:
    """And ``since`` needs a checkpoint for each that is verified."""
    book = SignedBook(database_url)
    other = LiveLedger(database_url, "zenith")
    play(other)
    note = book.sign()
    reports = list(verify_books(database_url, state=tmp_path))
    assert [report.verified for report in reports] == [True, True]
    assert len(list(tmp_path.glob("*.json"))) == 2
    claim = read_claim("kept.txt", note)
    with pytest.raises(SinceLacks, match="no checkpoint is given with --since for book zenith"):
        list(verify_books(database_url, state=tmp_path, since=(claim,)))
    (report,) = verify_books(database_url, state=tmp_path, since=(claim,), book="acme")
    assert (report.verified, report.trusted) == (True, reports[0].records)
    other.close()
    book.close()


def test_memory_is_bounded_by_what_there_is_and_not_by_how_often_it_was_used(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows in memory stay below a bound that the log's length is not in; what the fold remembers stays as it is."""
    entries, page = 10, 20
    monkeypatch.setattr(verify_log, "PAGE_RECORDS", page)
    monkeypatch.setattr(verify_book, "Scratch", partial(Scratch, entries=entries))
    most: list[int] = []
    sizes: list[dict[str, int]] = []
    trim = Scratch.trim

    def counted(scratch: Scratch) -> None:
        held = [
            len(table._young) + len(table._old) + len(table._new) + len(table._changed)
            for table in scratch.tables
            if hasattr(table, "_young")
        ]
        most.append(max(held))
        trim(scratch)

    take = LogPass._end_page

    def ended(made: LogPass) -> None:
        take(made)
        remembered = {**vars(made.fold), **vars(made)}
        sizes.append({name: len(value) for name, value in remembered.items() if isinstance(value, (dict, list, set))})

    monkeypatch.setattr(Scratch, "trim", counted)
    monkeypatch.setattr(LogPass, "_end_page", ended)
    book = SignedBook(database_url)
    book.spend(150)
    report = verified(database_url)
    book.close()
    assert report.records > 300
    # Two generations, the rows that are not written yet, and what one page of records touches.
    assert max(most) <= 4 * (entries + 2 * page)
    half = len(sizes) // 2
    assert sizes[half] == sizes[-1]
