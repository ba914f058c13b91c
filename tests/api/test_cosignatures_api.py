"""Cosignatures over HTTP: what a witness signed is kept and served, and nothing that it sends spoils a checkpoint."""

from __future__ import annotations

import base64

import pytest
from sqlalchemy import text

from ledger.core.notes import COSIGNATURE, COSIGNED_AHEAD_SECONDS_MAX, parse_note, parse_verifier_key
from ledger.services.ed25519 import SigningPair, open_checkpoint
from ledger.services.proof_files import check_file
from ledger.services.sources import Sources
from ledger.services.verify import verify_books
from ledger.storage.side_writer import SideWriter
from tests.support.signed_app import Signed
from tests.support.witnesses import WITNESS, cosigned


def test_a_witness_cosigns(signed: Signed) -> None:
    """Its line is served in the note; a second time changes nothing; the log's own signature stays good."""
    app = signed.app
    asked = cosigned(signed.checkpoint["note"])
    answer = app.post("/v1/checkpoints/cosignatures", asked, key=signed.auditor)
    assert answer.status == 201, answer.json
    assert app.post("/v1/checkpoints/cosignatures", asked).json == answer.json
    assert answer.json["cosignatures"] == [
        {"name": "w.example.com", "key": asked["key"], "seen_at": "2023-11-14T22:13:20.000000Z"}
    ]
    latest = app.get("/v1/checkpoints/latest").json
    assert latest["note"] == asked["note"]
    keys = [signed.key, parse_verifier_key(asked["key"])]
    assert len(open_checkpoint(latest["note"], keys).signers) == 2
    proved = app.get("/v1/proofs/record?index=0").body
    assert len(check_file(proved, keys).signers) == 2


def test_what_no_witness_signed_is_not_kept(signed: Signed) -> None:
    """A signature by another key, of another checkpoint, or of another kind."""
    app, note = signed.app, signed.checkpoint["note"]
    right = cosigned(note)
    other = cosigned(note, pair=SigningPair.from_seed(bytes(32)))
    grown = note.replace(f"\n{signed.checkpoint['size']}\n", "\n999999\n")
    for asked in (
        {"key": other["key"], "note": right["note"]},
        {"key": right["key"], "note": note},
        {"key": signed.key.text(), "note": note},
        cosigned(grown),
        {"key": "nonsense", "note": note},
        {"key": right["key"], "note": "nonsense\n"},
    ):
        answer = app.post("/v1/checkpoints/cosignatures", asked)
        assert (answer.status, answer.code) == (422, "cosignature_invalid"), asked
    assert app.post("/v1/checkpoints/cosignatures", right, key=signed.crawler).code == "role_not_allowed"
    assert len(parse_note(app.get("/v1/checkpoints/latest").json["note"]).signatures) == 1
    for number in range(32):
        seed = bytes([number + 100] * 32)
        assert app.post("/v1/checkpoints/cosignatures", cosigned(note, pair=SigningPair.from_seed(seed))).status == 201
    assert app.post("/v1/checkpoints/cosignatures", right).code == "wrong_state"


def test_a_time_that_lies_ahead_is_not_taken(signed: Signed) -> None:
    """A witness's clock may be ahead by an hour; a checkpoint is served whatever was tried."""
    app, note = signed.app, signed.checkpoint["note"]
    now = Sources().now_us() // 1_000_000
    for time, status in (
        (2**64 - 1, 422),
        (now + COSIGNED_AHEAD_SECONDS_MAX + 60, 422),
        (now + COSIGNED_AHEAD_SECONDS_MAX - 60, 201),
    ):
        answer = app.post("/v1/checkpoints/cosignatures", cosigned(note, seen_at=time), key=signed.auditor)
        assert answer.status == status, answer.json
        assert app.get("/v1/checkpoints/latest").status == 200
    assert len(app.get("/v1/checkpoints/latest").json["cosignatures"]) == 1


def test_what_stands_in_the_table_never_spoils_a_checkpoint(signed: Signed) -> None:
    """A row that no server would have kept is left out of every answer, and verify names it."""
    app, note = signed.app, signed.checkpoint["note"]
    asked = cosigned(note)
    assert app.post("/v1/checkpoints/cosignatures", asked).status == 201
    side = SideWriter(app.database_url)
    late = WITNESS.cosign("w.example.com", parse_note(note).text, 2**64 - 1).signature
    for column, value in (("signature", late), ("signature", b"short"), ("key", "nonsense"), ("name", "else")):
        with side.transaction() as connection:
            kept = connection.execute(text(f"SELECT {column} FROM checkpoint_cosignatures")).scalar_one()
            connection.execute(text(f"UPDATE checkpoint_cosignatures SET {column} = :value"), {"value": value})
        for path in ("/v1/checkpoints/latest", f"/v1/checkpoints/{signed.checkpoint['size']}"):
            assert app.get(path).json == signed.checkpoint, column
        assert app.get("/v1/checkpoints").json["items"] == [signed.checkpoint]
        assert app.post("/v1/checkpoints").json == signed.checkpoint
        assert check_file(app.get("/v1/proofs/record?index=0").body, [signed.key])
        (report,) = verify_books(app.database_url)
        assert [difference.table for difference in report.differences] == ["checkpoint_cosignatures"], column
        with side.transaction() as connection:
            connection.execute(text(f"UPDATE checkpoint_cosignatures SET {column} = :value"), {"value": kept})
    side.close()
    assert app.get("/v1/checkpoints/latest").json["note"] == asked["note"]


def test_a_witness_is_not_named_as_the_log(signed: Signed) -> None:
    """Else its line could pass for one of the log's that does not fit."""
    asked = cosigned(signed.checkpoint["note"], name=signed.key.name)
    answer = signed.app.post("/v1/checkpoints/cosignatures", asked)
    assert (answer.status, answer.code) == (422, "cosignature_invalid")
    assert "another name" in answer.json["detail"]


@pytest.mark.parametrize("size", ["9" * 19, "9" * 100, "9" * 5000, str(2**53 + 1), "0", "05", "-1", "1_0", "\u0663"])
def test_a_size_that_is_none_is_refused(signed: Signed, size: str) -> None:
    """Validly signed all the same."""
    body = f"{signed.key.name}\n{size}\n{base64.b64encode(bytes(32)).decode()}\n"
    note = body + "\n" + WITNESS.cosign("w", body, 1).line()
    asked = {"key": WITNESS.verifier("w", COSIGNATURE).text(), "note": note}
    answer = signed.app.post("/v1/checkpoints/cosignatures", asked)
    assert (answer.status, answer.code) == (422, "cosignature_invalid")
