"""What a checkpoint that was kept says of a database: it extends it, is an older copy, or is another history."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.rendering_proofs import consistency_shown
from ledger.core.notes import Checkpoint, Note, VerifierKey, parse_checkpoint, parse_note
from ledger.services.checkpoints import CheckpointSettings
from ledger.services.ed25519 import SigningPair
from ledger.services.owner_checkpoints import owner_desk
from ledger.services.verify import NoSuchBook, verify_books
from ledger.services.verify_against import (
    BAD_SIGNATURE,
    EXTENDS,
    FORKED,
    OLDER,
    UNKNOWN_KEY,
    Claim,
    ClaimUnusable,
    Consistency,
    Verdict,
    read_claim,
    read_consistency,
)
from ledger.services.witness_state import WitnessState, write_state
from ledger.storage import checkpoint_rows
from ledger.storage.engine import create_engine
from tests.services.signed_book import SignedBook
from tests.services.stored_book import Row
from tests.support.databases import DATABASE_KINDS, postgresql_database, sqlite_url

OTHER = SigningPair.from_seed(bytes([9] * 32))


class Grown(SignedBook):
    """A book that was signed three times, with what it was at the second and between the second and the third."""

    def __init__(self, database_url: str) -> None:
        super().__init__(database_url)
        self.spend(3)
        self.first = self.sign()
        self.spend(4)
        self.second = self.sign()
        self.at_second = self.stored.everything()
        self.spend(2)
        self.between = self.stored.everything()
        self.spend(3)
        self.third = self.sign()
        self.spend(1)

    def keys(self) -> list[VerifierKey]:
        """The keys on record."""
        engine = create_engine(self.url, pool_size=1)
        with engine.connect() as connection:
            found = [key.verifier() for key in checkpoint_rows.keys(connection, self.world.book_id)]
        engine.dispose()
        return found

    def state(self, path: Path, *notes: str) -> Claim:
        """What a witness that saw these has in its file."""
        state = WitnessState(keys=self.keys())
        for note in notes:
            state.saw(note, parse_checkpoint(parse_note(note).text))
        write_state(path, state)
        return read_claim(path.name, path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=DATABASE_KINDS, ids=DATABASE_KINDS)
def book(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grown]:
    """The grown book, made once for each database."""
    if request.param == "sqlite":
        made = Grown(sqlite_url(tmp_path_factory.mktemp("against")))
        yield made
        made.close()
        return
    with postgresql_database(request.getfixturevalue("postgres_server")) as url:
        made = Grown(url)
        yield made
        made.close()


def sizes(*notes: str) -> list[int]:
    """The sizes of checkpoints."""
    return [parse_checkpoint(parse_note(note).text).size for note in notes]


def verdicts(book: Grown, *claims: Claim | str, leaves_only: bool = False, **options: object) -> list[Verdict]:
    """What the claims say; the books themselves must be right."""
    read = tuple(claim if isinstance(claim, Claim) else read_claim("kept.txt", claim) for claim in claims)
    (report,) = verify_books(book.url, against=read, leaves_only=leaves_only, **options)  # type: ignore[arg-type]
    assert report.verified, [difference.sentence() for difference in report.differences]
    assert report.agrees == all(verdict.verdict == EXTENDS for verdict in report.verdicts)
    return report.verdicts


@pytest.mark.parametrize("leaves_only", [False, True], ids=["everything", "leaves"])
def test_a_log_that_grew_extends_what_was_signed(book: Grown, leaves_only: bool) -> None:
    """Every checkpoint there ever was, whichever size it is of."""
    found = verdicts(book, book.first, book.second, book.third, leaves_only=leaves_only)
    assert [(one.verdict, one.size) for one in found] == [
        (EXTENDS, size) for size in sizes(book.first, book.second, book.third)
    ]
    after = book.size() - found[1].size
    assert found[1].sentence == (
        f"the first {found[1].size} records are those that were signed, and {after} came after them"
    )


@pytest.mark.parametrize("leaves_only", [False, True], ids=["everything", "leaves"])
def test_an_older_copy_is_told_with_what_is_known_of_it(book: Grown, tmp_path: Path, leaves_only: bool) -> None:
    """Right at an earlier signed size all of it is proved; between two, a part; from the later checkpoint alone
    nothing, until a proof of consistency leads there."""
    _, second, third = sizes(book.first, book.second, book.third)
    witness = book.state(tmp_path / "acme.witness", book.first, book.second, book.third)
    consistency = _consistency(book, len(book.between["log_records"]), third)
    with book.set_back(book.at_second):
        (known,) = verdicts(book, witness, leaves_only=leaves_only)
    assert (known.verdict, known.missing) == (OLDER, third - second)
    assert known.sentence.endswith("not here; all that is here is the beginning of the signed log")
    with book.set_back(book.between):
        (alone,) = verdicts(book, book.third, leaves_only=leaves_only)
        (partly,) = verdicts(book, witness, leaves_only=leaves_only)
        (proved,) = verdicts(book, book.third, leaves_only=leaves_only, proofs=(consistency,))
    size = len(book.between["log_records"])
    assert {one.verdict for one in (alone, partly, proved)} == {OLDER}
    assert f"from {size} to {third} would tell" in alone.sentence
    assert "whether what is here is the beginning of the signed log cannot be known" in alone.sentence
    known_part = f"the first {second} are the beginning of the signed log, and whether the {size - second} after them"
    assert known_part in partly.sentence
    assert proved.sentence.endswith("all that is here is the beginning of the signed log")


def _consistency(book: Grown, first: int, second: int) -> Consistency:
    """What a server would have answered to whoever asked in time."""
    with owner_desk(book.url, CheckpointSettings()) as desk:
        made = desk.checkpointer.prover.consistency(book.world.book_id, first, second)
    return read_consistency("proof.json", json.dumps(consistency_shown(made)))


@pytest.mark.parametrize("leaves_only", [False, True], ids=["everything", "leaves"])
def test_a_rewritten_log_is_told_from_an_older_one(book: Grown, tmp_path: Path, leaves_only: bool) -> None:
    """Although every hash in the database is right; and between which checkpoints the histories part."""
    first, second, third = sizes(book.first, book.second, book.third)
    witness = book.state(tmp_path / "acme.witness", book.first, book.second, book.third)
    with book.rewritten(second - 1, time="2030-01-01T00:00:00.000000Z"):
        (report,) = verify_books(
            book.url, against=(witness, read_claim("first.txt", book.first)), leaves_only=leaves_only
        )
    forked, before = report.verdicts
    assert (forked.verdict, forked.between) == (FORKED, (first, second))
    assert forked.sentence == (
        f"this is not the log that was signed: with {second} records its root is another one; the first {first} "
        f"records are the same, so the first that differs is from {first} to {second - 1}"
    )
    assert before.verdict == EXTENDS
    assert not report.agrees
    assert third > second


def test_an_older_copy_that_was_rewritten_is_no_older_copy(book: Grown) -> None:
    """A proof of consistency shows that what was restored is not what had been there."""
    _, _, third = sizes(book.first, book.second, book.third)
    size = len(book.between["log_records"])
    consistency = _consistency(book, size, third)
    with book.set_back(book.between), book.rewritten(size - 2, time="2030-01-01T00:00:00.000000Z"):
        (report,) = verify_books(
            book.url,
            against=(read_claim("third.txt", book.third),),
            proofs=(consistency,),
            leaves_only=True,
        )
    assert [(one.verdict, one.between) for one in report.verdicts] == [(FORKED, (0, size))]


def test_a_signature_that_does_not_fit_is_its_own_verdict(book: Grown) -> None:
    """A root that was changed in the note, and a note that another key signed."""
    note = parse_note(book.second)
    stated = parse_checkpoint(note.text)
    changed = Note(Checkpoint(stated.origin, stated.size, bytes(32)).text(), note.signatures).write()
    (bad,) = verdicts(book, changed)
    assert (bad.verdict, bad.good) == (BAD_SIGNATURE, False)
    stranger = Note(note.text, (OTHER.sign(stated.origin, note.text),)).write()
    (unknown,) = verdicts(book, stranger)
    assert unknown.verdict == UNKNOWN_KEY
    assert unknown.sentence.endswith("name the log's key with --key")


def test_a_key_that_is_given_counts_in_place_of_those_on_record(book: Grown) -> None:
    """Who got the key elsewhere does not ask the database for it."""
    (trusted,) = verdicts(book, book.second, keys=tuple(book.keys()))
    stranger = OTHER.verifier(parse_checkpoint(parse_note(book.second).text).origin)
    (other,) = verdicts(book, book.second, keys=(stranger,))
    assert (trusted.verdict, other.verdict) == (EXTENDS, UNKNOWN_KEY)


@pytest.mark.parametrize("leaves_only", [False, True], ids=["everything", "leaves"])
def test_a_restored_copy_whose_key_was_replaced(book: Grown, leaves_only: bool) -> None:
    """It is older, and later another history: the key that signed what is lost is on record, and ended before it."""
    stated = parse_checkpoint(parse_note(book.third).text)
    kept = book.stored.everything()
    with book.set_back(book.at_second):
        with owner_desk(book.url, CheckpointSettings(), sources=book.world.sources) as desk:
            desk.checkpointer.rotate(book.world.book_id)
        end = parse_checkpoint(parse_note(book.second).text).size
        (older,) = verdicts(book, book.third, leaves_only=leaves_only)
        assert older.verdict == OLDER
        assert older.sentence.endswith(
            f"; it is signed by key {book.keys()[0].id.hex()}, which this log ended at record {end}"
        )
        (given,) = verdicts(book, book.third, leaves_only=leaves_only, keys=(OTHER.verifier(stated.origin),))
        assert given.verdict == UNKNOWN_KEY
        (since,) = verify_books(book.url, since=(read_claim("third.txt", book.third),), leaves_only=True)
        assert [one.verdict for one in since.verdicts] == [UNKNOWN_KEY]
    assert book.stored.everything() == kept


def test_a_checkpoint_of_another_book_is_said_so(book: Grown) -> None:
    """Rather than taken for a fork."""
    text = Checkpoint("bursar/other-00000000", 3, bytes(32)).text()
    claim = read_claim("other.txt", Note(text, (OTHER.sign("bursar/other-00000000", text),)).write())
    with pytest.raises(NoSuchBook, match=r"other\.txt is a checkpoint of bursar/other-00000000, which is not in"):
        list(verify_books(book.url, against=(claim,)))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("no note", "cannot be read as a checkpoint"),
        ("{}", "cannot be read as a checkpoint"),
        ('{"format": "other"}', "neither a signed checkpoint nor the state of a witness"),
        ('{"format": "bursar-witness/1", "note": "", "seen": [], "keys": []}', "has not seen a checkpoint yet"),
        ('{"format": "bursar-witness/1", "note": "x", "seen": [], "keys": []}', "cannot be read"),
        ('{"a":' * 100_000, "cannot be read"),
        ('{"format": "bursar-witness/1", "note": "x", "first": 1e400}', "cannot be read"),
    ],
)
def test_a_file_that_says_nothing_signed_is_refused(content: str, words: str) -> None:
    """With a sentence."""
    with pytest.raises(ClaimUnusable, match=words):
        read_claim("file.txt", content)
    with pytest.raises(ClaimUnusable, match=r"file\.txt cannot be read as a proof of consistency"):
        read_consistency("file.txt", content)


def test_nothing_that_was_done_above_lasts(book: Grown) -> None:
    """Each test found its own change only."""
    rows: dict[str, list[Row]] = book.stored.everything()
    assert rows["checkpoints"]
    assert [one.verdict for one in verdicts(book, book.third)] == [EXTENDS]
