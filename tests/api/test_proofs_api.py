"""Checkpoints and proofs over HTTP: who gets which, in which form, and what anybody can check with them."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import text

from ledger.core.merkle import leaf_hash
from ledger.core.notes import parse_verifier_key
from ledger.core.proofs import check_consistency, check_inclusion
from ledger.services.ed25519 import open_checkpoint
from ledger.services.proof_files import check_file
from ledger.services.verify import verify_books
from ledger.storage.engine import create_engine
from tests.support.running_app import RunningApp, authorization
from tests.support.signed_app import Signed


def test_a_checkpoint_is_made_read_and_listed(signed: Signed) -> None:
    """As JSON, as the note alone, by size, in a list; the same while nothing happens; the book verifies."""
    app = signed.app
    opened = open_checkpoint(signed.checkpoint["note"], [signed.key])
    assert opened.checkpoint.size == signed.checkpoint["size"] == app.log_size()
    assert opened.checkpoint.root.hex() == app.get("/v1/book").json["root"] == signed.checkpoint["root"]
    assert opened.checkpoint.origin == signed.checkpoint["origin"] == signed.key.name
    assert app.get("/v1/checkpoints/latest").json == signed.checkpoint
    assert signed.post_checkpoint(signed.auditor) == signed.checkpoint
    headers = [(b"authorization", f"Bearer {app.admin_key}".encode()), (b"accept", b"text/plain")]
    plain = app.request("GET", "/v1/checkpoints/latest", headers=headers)
    assert plain.headers["content-type"] == "text/plain; charset=utf-8"
    assert plain.body.decode() == signed.checkpoint["note"]
    app.make("/v1/authorizations", authorization("1.00"), key=signed.crawler)
    later = signed.post_checkpoint()
    assert later["size"] == signed.checkpoint["size"] + 1
    assert app.get(f"/v1/checkpoints/{signed.checkpoint['size']}").json == signed.checkpoint
    first = app.get("/v1/checkpoints?limit=1").json
    rest = app.get(f"/v1/checkpoints?limit=1&cursor={first['next_cursor']}").json
    assert [first["items"], rest["items"]] == [[later], [signed.checkpoint]]
    (report,) = verify_books(app.database_url)
    assert report.verified, [difference.sentence() for difference in report.differences]


def test_before_the_first_checkpoint(own_app: RunningApp) -> None:
    """There is none, and no key, and the answer says how to get one."""
    for path in ("/v1/checkpoints/latest", "/v1/checkpoints/key", "/v1/checkpoints/5"):
        answer = own_app.get(path)
        assert (answer.status, answer.code) == (404, "not_found")
    assert "POST /v1/checkpoints" in own_app.get("/v1/checkpoints/latest").json["detail"]
    assert own_app.get("/v1/checkpoints").json == {"items": [], "next_cursor": None}
    refused = own_app.get("/v1/proofs/record?index=0")
    assert (refused.status, refused.code, refused.json["state"]) == (409, "wrong_state", "not_covered")


def test_proofs_check_out(signed: Signed) -> None:
    """Inclusion by index, by authorization, of a statement's line; consistency; of any size."""
    app = signed.app
    index = signed.spent["log"]["index"]
    by_index = app.get(f"/v1/proofs/inclusion?index={index}").json
    assert app.get(f"/v1/proofs/inclusion?authorization={signed.id}").json == by_index
    assert by_index["leaf_hash"] == signed.spent["log"]["leaf_hash"]
    line = app.get(f"/v1/proofs/inclusion?index={index}&position=0&size={index + 1}").json
    assert line["transfer"] == ["budgets:research:held", "budgets:research:available", "1000000000", "USD"]
    for made in (by_index, line):
        check_inclusion(
            leaf=bytes.fromhex(made["leaf_hash"]),
            index=made["index"],
            size=made["size"],
            proof=[bytes.fromhex(text) for text in made["proof"]],
            root=bytes.fromhex(made["root"]),
        )
    size = signed.checkpoint["size"]
    between = app.get(f"/v1/proofs/consistency?first=3&second={size}", key=signed.reader).json
    assert between["second_root"] == signed.checkpoint["root"]
    check_consistency(
        first=3,
        second=size,
        first_root=bytes.fromhex(between["first_root"]),
        second_root=bytes.fromhex(between["second_root"]),
        proof=[bytes.fromhex(text) for text in between["proof"]],
    )
    assert app.get(f"/v1/proofs/consistency?first={size}").json["proof"] == []


def test_a_proof_file_stands_alone(signed: Signed) -> None:
    """Every record of the authorization, checked with nothing but the key."""
    app = signed.app
    answer = app.get(f"/v1/proofs/record?authorization={signed.id}", key=signed.crawler)
    proved = check_file(answer.body, [signed.key])
    assert [record.body["kind"] for record in proved.records] == ["hold", "settlement"]
    assert {record.body["authorization"] for record in proved.records} == {signed.id}
    recorded = app.get(f"/v1/log/{proved.records[0].index}").json
    assert leaf_hash(proved.records[0].packed).hex() == recorded["leaf_hash"]
    line = app.get(f"/v1/proofs/record?index={proved.records[0].index}&position=0").json
    assert line["about"]["position"] == 0
    assert check_file(json.dumps(line).encode(), [signed.key]).about.position == 0


def test_an_agent_proves_its_own_records_only(signed: Signed) -> None:
    """Another's are not there for it; the keys that sign are there for everybody."""
    app = signed.app
    index = signed.spent["log"]["index"]
    for path in (f"inclusion?index={index}", f"inclusion?authorization={signed.id}", f"record?index={index}",
                 f"record?authorization={signed.id}", "inclusion?index=0"):  # fmt: skip
        answer = app.get(f"/v1/proofs/{path}", key=signed.reader)
        assert (answer.status, answer.code) == (404, "not_found"), path
        assert app.get(f"/v1/proofs/{path}", key=signed.auditor).status == 200
    own = app.get(f"/v1/proofs/inclusion?index={index}", key=signed.crawler)
    assert own.status == 200
    key_index = app.get("/v1/checkpoints/key", key=signed.reader).json["keys"][0]["log"]["index"]
    assert app.get(f"/v1/proofs/record?index={key_index}", key=signed.reader).status == 200
    assert app.post("/v1/checkpoints", key=signed.reader).code == "role_not_allowed"
    assert app.post("/v1/checkpoints/keys", key=signed.auditor).code == "role_not_allowed"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("inclusion", 422, "validation_failed"),
        ("inclusion?index=1&authorization=auth_00000000000000000000000000", 422, "validation_failed"),
        ("inclusion?authorization=auth_00000000000000000000000000&position=0", 422, "validation_failed"),
        ("inclusion?authorization=auth_00000000000000000000000000", 404, "not_found"),
        ("inclusion?index=100000", 404, "not_found"),
        ("inclusion?index=0&position=9", 404, "not_found"),
        ("inclusion?index=3&size=2", 404, "not_found"),
        ("inclusion?index=-1", 422, "validation_failed"),
        ("consistency?first=100000", 404, "not_found"),
        ("consistency?first=3&second=2", 404, "not_found"),
        ("consistency", 422, "validation_failed"),
        ("record?index=100000", 404, "not_found"),
    ],
)
def test_what_cannot_be_proved(acme: RunningApp, path: str, status: int, code: str) -> None:
    """A refusal that says what is wrong."""
    answer = acme.get(f"/v1/proofs/{path}")
    assert (answer.status, answer.code) == (status, code)


def test_another_books_key_sees_nothing(signed: Signed) -> None:
    """Each book has its own checkpoints, keys and proofs."""
    other = signed.app.open_book("other")
    assert signed.app.get("/v1/checkpoints/latest", key=other).status == 404
    assert signed.app.get(f"/v1/proofs/record?authorization={signed.id}", key=other).status == 404


def test_a_rotation_over_http(signed: Signed) -> None:
    """On record, once for one idempotency key; both keys are shown, and the old signature verifies."""
    app = signed.app
    made = app.post("/v1/checkpoints/keys", idempotency_key="rotate-1")
    assert made.status == 201, made.json
    again = app.post("/v1/checkpoints/keys", idempotency_key="rotate-1")
    assert again.json["id"] == made.json["id"]
    assert made.json["replaces"] == signed.key.id.hex()
    keys = app.get("/v1/checkpoints/key").json
    assert [key["id"] for key in keys["keys"]] == [made.json["id"], signed.key.id.hex()]
    assert [key["current"] for key in keys["keys"]] == [True, False]
    assert keys["pem"].startswith("-----BEGIN PUBLIC KEY-----")
    record = app.get(f"/v1/log/{made.json['log']['index']}").json
    assert (record["kind"], record["body"]["public_key"]) == ("signing_key", record["body"]["public_key"])
    later = signed.post_checkpoint()
    assert later["keys"] == [made.json["id"], signed.key.id.hex()]
    assert open_checkpoint(signed.checkpoint["note"], [signed.key])
    assert open_checkpoint(later["note"], [parse_verifier_key(made.json["verifier_key"])])
    (report,) = verify_books(app.database_url)
    assert report.verified


def test_who_changes_nothing_records_no_key(app_on: RunningApp) -> None:
    """An auditor and finance get checkpoints once a key is on record, and a sentence before; an admin records it."""
    people = {role: app_on.make("/v1/keys", {"role": role, "person": role})["key"] for role in ("auditor", "finance")}
    size = app_on.log_size()
    for key in people.values():
        answer = app_on.post("/v1/checkpoints", key=key)
        assert (answer.status, answer.code, answer.json["state"]) == (409, "wrong_state", "no_key")
        assert "an admin" in answer.json["detail"]
    assert app_on.log_size() == size
    made = app_on.post("/v1/checkpoints")
    assert (made.status, app_on.log_size()) == (201, size + 1)
    for key in people.values():
        assert app_on.post("/v1/checkpoints", key=key).json == made.json


def test_a_repeated_rotation_leaves_no_private_half(signed: Signed) -> None:
    """Of five requests under one idempotency key, one key."""
    for _ in range(5):
        assert signed.app.post("/v1/checkpoints/keys", idempotency_key="same").status == 201
    engine = create_engine(signed.app.database_url)
    with engine.connect() as connection:
        kept = connection.execute(text("SELECT count(*) FROM signing_secrets")).scalar_one()
    engine.dispose()
    assert kept == len(signed.app.get("/v1/checkpoints/key").json["keys"]) == 2


def test_how_many_transfers_another_has_is_not_told(signed: Signed) -> None:
    """A position that is there and one that is not are the same to whoever may not see the record."""
    index = signed.spent["log"]["index"]
    answers = {
        signed.app.get(f"/v1/proofs/{what}?index={index}&position={position}", key=signed.reader).json["detail"]
        for what in ("record", "inclusion")
        for position in (0, 1, 9)
    }
    assert answers == {f"there is no record {index}."}
