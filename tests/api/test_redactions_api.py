"""Redactions over HTTP: what is removed, what every answer shows afterwards, and who may."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from ledger.services.verify import verify_books
from ledger.storage.emptying import WAL_KEPT
from tests.support.databases import sqlite_url
from tests.support.running_app import RunningApp, authorization, usd

WORDS = "mail jane@example.com"


class Spoken:
    """An app with texts of every field: an intent, evidence and a reason, of two agents and of finance."""

    def __init__(self, app: RunningApp) -> None:
        self.app = app
        self.crawler = app.make_agent("crawler", budget="research")
        self.reader = app.make_agent("reader", budget="reading")
        self.auditor = app.make("/v1/keys", {"role": "auditor", "person": "ada"})["key"]
        self.finance = app.make("/v1/keys", {"role": "finance", "person": "fred"})["key"]
        self.asked = authorization("1.00") | {"intent": WORDS}
        self.spent = app.post("/v1/authorizations", self.asked, key=self.crawler, idempotency_key="spent").json
        self.id = self.spent["id"]
        settled = app.post(
            f"/v1/authorizations/{self.id}/settle",
            {"amount": usd("0.50"), "evidence": {"to": "jane"}},
            key=self.crawler,
        )
        assert settled.status == 200, settled.json
        self.settled = settled.json["log"]["index"]
        read = authorization("1.00") | {"intent": "read for Jane"}
        self.read = app.make("/v1/authorizations", read, key=self.reader)
        charge = {"budget": "research", "amount": usd("1.00"), "category": "inference", "payee": "openai"}
        self.charge = app.make("/v1/charges", charge | {"reason": "the invoice of Jane"}, key=self.finance)

    def redact(self, **asked: Any) -> Any:
        """Redact as an admin; the answer must be 201."""
        answer = self.app.post("/v1/redactions", {"reason": "she asked"} | asked)
        assert answer.status == 201, answer.json
        return answer.json

    def texts(self, query: str) -> list[tuple[int, str]]:
        """What the list of texts has."""
        answer = self.app.get(f"/v1/texts?{query}", key=self.auditor)
        assert answer.status == 200, answer.json
        return [(item["index"], item["field"]) for item in answer.json["items"]]

    def verified(self) -> Any:
        """The report of verify, which must find nothing."""
        (report,) = verify_books(self.app.database_url)
        assert report.verified, [difference.sentence() for difference in report.differences]
        return report


@pytest.fixture
def spoken(app_on: RunningApp) -> Spoken:
    """On either database."""
    return Spoken(app_on)


def test_an_authorization_is_redacted_whole(spoken: Spoken) -> None:
    """Intent and evidence go; the answers say so; the book verifies, and counts them."""
    app, made = spoken.app, spoken.spent["log"]["index"]
    assert spoken.texts(f"authorization={spoken.id}") == [(spoken.settled, "evidence"), (made, "intent")]
    done = spoken.redact(authorization=spoken.id, ground="erasure")
    assert done["texts"] == [{"index": made, "field": "intent"}, {"index": spoken.settled, "field": "evidence"}]
    assert (done["ground"], done["more_from"]) == ("erasure", None)
    by = done["log"]["index"]
    shown = app.get(f"/v1/authorizations/{spoken.id}", key=spoken.crawler).json
    assert (shown["intent"], shown["redacted"]) == (None, {"intent": by})
    for index, field in ((made, "intent"), (spoken.settled, "evidence")):
        record = app.get(f"/v1/log/{index}").json
        assert (record["texts"], record["redacted"]) == ({}, {field: by})
        assert len(record["body"]["request"][field]) == 64
    said = app.get(f"/v1/log/{by}").json
    assert (said["kind"], said["subject"], said["texts"]) == ("redaction", done["id"], {"reason": "she asked"})
    assert "redacted" not in app.get(f"/v1/authorizations/{spoken.read['id']}", key=spoken.reader).json
    report = spoken.verified()
    assert (report.texts_redacted, report.texts_missing) == (2, 0)
    again = app.post("/v1/redactions", {"authorization": spoken.id, "reason": "she asked"})
    assert (again.status, again.code, again.json["state"]) == (409, "wrong_state", "redacted")
    assert again.json["redacted_by"] == by


def test_one_field_and_one_record(spoken: Spoken) -> None:
    """The other field stays; a reason of finance is shown as redacted in its list."""
    app = spoken.app
    spoken.redact(authorization=spoken.id, fields=["intent"])
    assert spoken.texts(f"authorization={spoken.id}") == [(spoken.settled, "evidence")]
    index = spoken.charge["log"]["index"]
    by = spoken.redact(index=index)["log"]["index"]
    (item,) = app.get("/v1/charges", key=spoken.finance).json["items"]
    assert "reason" not in item
    assert item["redacted"] == {"reason": by}
    spoken.verified()


def test_by_age_page_by_page(spoken: Spoken) -> None:
    """As many requests as it takes; the reasons of redactions stay; then there is nothing left."""
    app, before = spoken.app, "2100-01-01"
    agents = spoken.texts(f"before={before}&agent=reader")
    assert agents == [(spoken.read["log"]["index"], "intent")]
    first = spoken.redact(before=before, agent="reader", ground="retention")
    assert [text["index"] for text in first["texts"]] == [spoken.read["log"]["index"]]
    left = spoken.texts(f"before={before}")
    assert (first["log"]["index"], "reason") not in left
    done = spoken.redact(before=before, ground="retention")
    assert {(text["index"], text["field"]) for text in done["texts"]} == set(left)
    assert spoken.texts(f"before={before}") == []
    answer = app.post("/v1/redactions", {"before": before, "reason": "again"})
    assert (answer.status, answer.code) == (409, "wrong_state")
    assert spoken.verified().texts_redacted == len(left) + 1


def test_a_page_of_texts_holds_whole_records(spoken: Spoken) -> None:
    """And the next goes on from there."""
    seen: list[tuple[int, str]] = []
    query = "before=2100-01-01&limit=1"
    page = spoken.app.get(f"/v1/texts?{query}").json
    while True:
        assert len(page["items"]) <= 3
        seen += [(item["index"], item["field"]) for item in page["items"]]
        if page["next_cursor"] is None:
            break
        page = spoken.app.get(f"/v1/texts?{query}&cursor={page['next_cursor']}").json
    assert seen == spoken.texts("before=2100-01-01&limit=200")
    assert len(set(seen)) == len(seen) >= 4


def test_a_repeat_is_the_recorded_redaction(spoken: Spoken) -> None:
    """Although nothing is left; and a repeated request whose intent is gone is known all the same."""
    app = spoken.app
    asked = {"authorization": spoken.id, "reason": "she asked"}
    first = app.post("/v1/redactions", asked, idempotency_key="once")
    again = app.post("/v1/redactions", asked, idempotency_key="once")
    assert (first.status, again.status, again.headers["idempotency-replayed"]) == (201, 201, "true")
    assert again.json["texts"] == first.json["texts"]
    spend = app.post("/v1/authorizations", spoken.asked, key=spoken.crawler, idempotency_key="spent")
    assert (spend.status, spend.code) == (409, "replay_closed")
    other = app.post(
        "/v1/authorizations", spoken.asked | {"intent": "another"}, key=spoken.crawler, idempotency_key="spent"
    )
    assert other.code == "idempotency_mismatch"
    spoken.verified()


def test_who_may(spoken: Spoken) -> None:
    """An admin redacts; who reads the log may see what would go."""
    app = spoken.app
    for key in (spoken.crawler, spoken.auditor, spoken.finance):
        answer = app.post("/v1/redactions", {"authorization": spoken.id, "reason": "x"}, key=key)
        assert (answer.status, answer.code) == (403, "role_not_allowed")
    assert app.get(f"/v1/texts?authorization={spoken.id}", key=spoken.crawler).code == "role_not_allowed"
    assert spoken.texts(f"authorization={spoken.id}")


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({}, 422, "validation_failed"),
        ({"authorization": "auth_00000000000000000000000000", "index": 1}, 422, "validation_failed"),
        ({"authorization": "auth_00000000000000000000000000", "agent": "crawler"}, 422, "validation_failed"),
        ({"index": 1, "start": 1}, 422, "validation_failed"),
        ({"index": 1, "fields": []}, 422, "validation_failed"),
        ({"index": 1, "fields": ["salt"]}, 422, "validation_failed"),
        ({"index": -1}, 422, "validation_failed"),
        ({"index": 2**60}, 422, "validation_failed"),
        ({"index": 1, "ground": "fun"}, 422, "validation_failed"),
        ({"before": "soon"}, 422, "validation_failed"),
        ({"index": 1, "reason": ""}, 422, "validation_failed"),
        ({"authorization": "auth_00000000000000000000000000"}, 404, "not_found"),
        ({"index": 2**40}, 404, "not_found"),
        ({"index": 0}, 404, "not_found"),
        ({"before": "2100-01-01", "agent": "nobody"}, 422, "unknown_agent"),
        ({"before": "1971-01-01"}, 409, "wrong_state"),
        ({"authorization": "auth_00000000000000000000000000", "start": 3}, 404, "not_found"),
    ],
    ids=str,
)
def test_bad_requests(acme: RunningApp, asked: dict[str, Any], status: int, code: str) -> None:
    """Each says what to change, and nothing is recorded."""
    size = acme.log_size()
    answer = acme.post("/v1/redactions", {"reason": "because"} | asked)
    assert (answer.status, answer.code) == (status, code), answer.json
    assert answer.json["detail"]
    assert acme.log_size() == size


def test_bad_lists(acme: RunningApp) -> None:
    """One thing must be named."""
    for query in ("", "?index=1&before=2026-01-01", "?index=1&agent=crawler"):
        assert acme.get(f"/v1/texts{query}").code == "validation_failed", query
    assert acme.get("/v1/texts?index=0").json == {"items": [], "next_cursor": None}


def test_an_intent_that_people_were_shown_is_gone_for_them_too(app_on: RunningApp) -> None:
    """The request in the queue of approvals, and the reasons of votes."""
    app = app_on
    crawler = app.make_agent("crawler", budget="research")
    pat = app.make("/v1/keys", {"role": "approver", "person": "pat"})["key"]
    policy = {
        "policy": "asks", "applies_to": {"book": True}, "currency": "USD",
        "approval": [{"id": "two", "above": "0.50", "per": "authorization", "approvers": ["approver"], "quorum": 1,
                      "expires_after": 600}],
    }  # fmt: skip
    applied = app.post("/v1/policies", policy)
    assert applied.status == 201, applied.json
    asked = authorization("1.00") | {"intent": WORDS, "accept_pending": True}
    pending = app.post("/v1/authorizations", asked, key=crawler).json
    by = app.make("/v1/redactions", {"authorization": pending["id"], "reason": "x"})["log"]["index"]
    (item,) = app.get("/v1/approvals", key=pat).json["items"]
    assert (item["request"]["intent"], item["request"]["redacted"]) == (None, {"intent": by})
    voted = app.post(f"/v1/approvals/{item['id']}/approve", {"reason": "Jane is fine"}, key=pat)
    assert voted.status == 200, voted.json
    by = app.make("/v1/redactions", {"index": voted.json["log"]["index"], "reason": "x"})["log"]["index"]
    (vote,) = app.get(f"/v1/approvals/{item['id']}", key=pat).json["votes"]
    assert (vote["reason"], vote["redacted"]) == (None, {"reason": by})
    (report,) = verify_books(app.database_url)
    assert report.verified


def test_nothing_of_it_is_left_in_the_servers_files(tmp_path: Path) -> None:
    """SQLite: the server cuts its write-ahead log too; while somebody reads an older moment it says that it could not,
    and the next redaction does it."""
    words = "mail jane.doe@example.com "
    with RunningApp(sqlite_url(tmp_path)) as app:
        crawler = app.make_agent("crawler", budget="research")
        made = [app.make("/v1/authorizations", authorization("1.00") | {"intent": words * 9}, key=crawler)["id"]]
        file = Path(str(make_url(app.database_url).database))
        reader = sqlite3.connect(file, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM texts").fetchone()
        made.append(app.make("/v1/authorizations", authorization("1.00") | {"intent": words * 9}, key=crawler)["id"])
        first = app.post("/v1/redactions", {"authorization": made[0], "reason": "she asked"})
        assert (first.status, first.json["note"]) == (201, WAL_KEPT)
        reader.execute("COMMIT")
        reader.close()
        second = app.post("/v1/redactions", {"authorization": made[1], "reason": "she asked"})
        assert (second.status, second.json["note"]) == (201, None)
        for path in file.parent.glob(file.name + "*"):
            assert b"jane.doe" not in path.read_bytes(), path
