"""Outcomes of runs over HTTP: who reports them, scores as they come in and go out, and what the run shows."""

from __future__ import annotations

from typing import Any

import pytest

from api.schemas.setting_up import OutcomeView, RunView
from ledger.services.verify import verify_books
from tests.support.running_app import RunningApp


def test_what_became_of_a_run_is_on_record_and_shown(app_on: RunningApp) -> None:
    """By its agent, then corrected by finance: the run shows the last, the log has both, and the book verifies."""
    crawler = app_on.make_agent("crawler", budget="research")
    stranger = app_on.make_agent("stranger", budget="other")
    finance = app_on.make("/v1/keys", {"role": "finance", "person": "fay"})["key"]
    opened = app_on.make("/v1/runs", {"name": "run-42"}, key=crawler)
    assert "outcome" not in app_on.get("/v1/runs/run-42", key=crawler).json
    said = app_on.post("/v1/runs/run-42/outcome", {"success": True, "score": 0.8}, key=crawler, idempotency_key="one")
    assert said.status == 201, said.json
    OutcomeView.model_validate(said.json)
    assert (said.json["success"], said.json["score"], said.json["reported_by"]) == (True, "0.8", "agent:crawler")
    again = app_on.post(
        "/v1/runs/run-42/outcome", {"success": True, "score": "0.80"}, key=crawler, idempotency_key="one"
    )
    assert (again.status, again.json, again.headers["idempotency-replayed"]) == (201, said.json, "true")
    refused = app_on.post("/v1/runs/run-42/outcome", {"success": False}, key=stranger)
    assert (refused.status, refused.code) == (404, "not_found")
    mended = app_on.post(f"/v1/runs/{opened['id']}/outcome", {"success": False}, key=finance)
    assert (mended.status, "score" in mended.json) == (201, False)
    shown = app_on.get("/v1/runs/run-42", key=crawler).json
    RunView.model_validate(shown)
    assert (shown["outcome"]["success"], shown["outcome"]["reported_by"]) == (False, "person:fay")
    assert shown["outcome"]["log"]["index"] == mended.json["log"]["index"]
    (listed,) = app_on.get("/v1/runs", key=crawler).json["items"]
    assert listed["outcome"] == shown["outcome"]
    (report,) = verify_books(app_on.database_url)
    assert report.verified, [difference.sentence() for difference in report.differences]


def test_a_key_for_one_run_speaks_of_that_run(own_app: RunningApp) -> None:
    """What `bursar run` hands to its command is enough to say how it went."""
    crawler = own_app.make_agent("crawler", budget="research")
    for name in ("run-1", "run-2"):
        own_app.make("/v1/runs", {"name": name}, key=crawler)
    key = own_app.make("/v1/keys", {"role": "agent", "run": "run-1"}, key=crawler)["key"]
    assert own_app.post("/v1/runs/run-1/outcome", {"success": True}, key=key).status == 201
    other = own_app.post("/v1/runs/run-2/outcome", {"success": True}, key=key)
    assert (other.status, other.code) == (403, "key_run_only")


@pytest.fixture(scope="module")
def run(acme: RunningApp, crawler: str) -> str:
    """A run of the crawler's, of which anything may be said."""
    return str(acme.make("/v1/runs", {"name": "run-1"}, key=crawler)["name"])


@pytest.mark.parametrize(
    "score",
    [1.5, -0.1, "0.1234567", 0.1234567, "1.000001", "a", "", ".5", "1e-3", True, None, [], "0." + "0" * 99 + "1"],
)
def test_a_score_that_is_none(acme: RunningApp, crawler: str, run: str, score: Any) -> None:
    """422 names the field and says what a score is; only a missing score is none at all."""
    refused = acme.post(f"/v1/runs/{run}/outcome", {"success": True, "score": score}, key=crawler)
    if score is None:
        assert refused.status == 201
        return
    assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, "/score")
    assert "from 0 to 1" in refused.json["errors"][0]["detail"]


@pytest.mark.parametrize(
    ("score", "text"), [(0, "0"), (1, "1"), (1.0, "1"), (0.5, "0.5"), (0.000001, "0.000001"), ("0.800", "0.8")]
)
def test_scores_are_numbers_or_texts(acme: RunningApp, crawler: str, run: str, score: Any, text: str) -> None:
    """A number of JSON is taken by the text that it was written as."""
    assert acme.post(f"/v1/runs/{run}/outcome", {"success": True, "score": score}, key=crawler).json["score"] == text
