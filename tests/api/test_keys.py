"""Keys at the edge: shown once, ended at once, rotated with overlap, and bounded in rate and in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.keys import KeyRing, RateLimit, Recent
from api.problems import ProblemError
from ledger.services.sources import Sources
from tests.support.databases import sqlite_url
from tests.support.running_app import RunningApp, authorization


def test_a_key_is_shown_once(own_app: RunningApp) -> None:
    """Not in a repeat of the request that made it, not in the list, not in the log."""
    own_app.make("/v1/teams", {"name": "t"})
    own_app.make("/v1/agents", {"name": "a", "parent": "t"})
    body = {"role": "agent", "agent": "a"}
    made = own_app.post("/v1/keys", body, idempotency_key="k")
    again = own_app.post("/v1/keys", body, idempotency_key="k")
    text = made.json["key"]
    assert (again.status, again.headers["idempotency-replayed"]) == (201, "true")
    assert again.json["id"] == made.json["id"]
    for answer in (again, own_app.get("/v1/keys"), own_app.get(f"/v1/keys/{made.json['id']}"), own_app.get("/v1/log")):
        assert text not in answer.body.decode()
        assert '"key":"bk_' not in answer.body.decode()


def test_a_revoked_key_ends_at_once(app_on: RunningApp) -> None:
    """For writes at the commit, for reads at the next look-up, in another process's app too."""
    key = app_on.make_agent("crawler", budget="research")
    own = app_on.get("/v1/me", key=key).json["key"]
    with RunningAgain(app_on) as other:
        assert other.get("/v1/me", key=key).status == 200
        assert other.post("/v1/authorizations", authorization(), key=key).status == 201
        app_on.make(f"/v1/keys/{own}/revoke", {"reason": "it leaked"})
        for app in (app_on, other):
            read, write = app.get("/v1/me", key=key), app.post("/v1/authorizations", authorization(), key=key)
            assert (read.status, read.code) == (write.status, write.code) == (401, "key_revoked")


class RunningAgain(RunningApp):
    """A second app on the database of a first one."""

    def __init__(self, first: RunningApp) -> None:
        self._first = first
        super().__init__(first.database_url)

    def open_book(self, name: str) -> str:
        """The first app's book."""
        return self._first.admin_key


def test_a_rotated_key_overlaps(own_app: RunningApp) -> None:
    """Both are valid for the overlap; without one the old key ends with the rotation. The role is kept."""
    key = own_app.make_agent("crawler", budget="research")
    own = own_app.get("/v1/me", key=key).json["key"]
    successor = own_app.make(f"/v1/keys/{own}/rotate", {"overlap_seconds": 3600})
    assert successor["key"].startswith("bk_agent_")
    assert own_app.get("/v1/me", key=key).status == 200
    assert own_app.get("/v1/me", key=successor["key"]).json["role"] == "agent"
    last = own_app.make(f"/v1/keys/{successor['id']}/rotate", {})["key"]
    assert own_app.get("/v1/me", key=successor["key"]).code == "key_expired"
    assert own_app.post("/v1/authorizations", authorization(), key=successor["key"]).code == "key_expired"
    assert own_app.get("/v1/me", key=last).status == 200


def test_a_well_formed_key_that_nobody_made(own_app: RunningApp) -> None:
    """Of this book and of a book that is not here: 401 alike, so that nobody learns which books there are."""
    sources = Sources()
    known_book = own_app.app.context.keys.read(b"Bearer " + own_app.admin_key.encode()).book_id
    for book_id in (known_book, sources.new_book_id()):
        text, _ = sources.new_key(book_id, "agent")
        for answer in (own_app.get("/v1/me", key=text), own_app.post("/v1/authorizations", authorization(), key=text)):
            assert (answer.status, answer.code) == (401, "key_unknown")


def test_a_flood_is_refused_before_the_authorizer(tmp_path: Path) -> None:
    """429 with Retry-After, unrecorded, counted; another key is not touched; the rate comes back."""
    with RunningApp(sqlite_url(tmp_path), rate_limit_per_second=1, rate_limit_burst=20) as app:
        key = app.make_agent("crawler", budget="research")
        size = app.log_size()
        answers = [app.post("/v1/authorizations", authorization("0.01"), key=key) for _ in range(30)]
        refused = [answer for answer in answers if answer.status == 429]
        assert {answer.status for answer in answers} == {201, 429}
        assert 8 <= len(refused) <= 10
        assert all(answer.code == "rate_limited" and int(answer.headers["retry-after"]) >= 1 for answer in refused)
        assert app.log_size() == size + 30 - len(refused)
        assert app.post("/v1/authorizations/batch", {"items": [authorization()] * 5}, key=key).code == "rate_limited"


def test_a_bucket_fills_at_its_rate() -> None:
    """Ten a second, five at once: five now, then one each tenth of a second; a large request takes a whole bucket."""
    rate = RateLimit(per_second=10, burst=5)
    for _ in range(5):
        rate.take(b"k", 100.0)
    with pytest.raises(ProblemError) as refused:
        rate.take(b"k", 100.05)
    assert refused.value.headers == ((b"retry-after", b"1"),)
    rate.take(b"k", 100.2)
    rate.take(b"k", 200.0, 1000)
    with pytest.raises(ProblemError):
        rate.take(b"k", 200.0)
    assert (rate.take_refused(), rate.take_refused()) == (2, 0)


def test_what_is_remembered_of_keys_is_bounded() -> None:
    """However many keys clients make up."""
    recent: Recent[int, int] = Recent(100)
    for number in range(1, 10_000):
        recent.put(number, number)
        assert recent.get(number) == number
    assert len(recent) <= 200
    ring = KeyRing(10)
    text, digest = Sources().new_key(7, "agent")
    assert ring.read(b"Bearer " + text.encode()).digest == ring.read(b"bearer  " + text.encode()).digest == digest
