"""Whatever a provider does instead of answering: what the client gets, what the ledger records, what the bill says.

Each row is one line of the table in docs/gateway-failures.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.gateway.failing import FORMS, IDS, OUT, call_of, fate_of, insist_that_nothing_leaked
from tests.support.clients import Answer
from tests.support.databases import DATABASE_KINDS, postgresql_database, sqlite_url
from tests.support.gateway import GatewayWorld, gateway_world
from tests.support.server import verified

CONFIG = {"idle_seconds": 1, "total_seconds": 20, "connect_seconds": 1, "calls_per_agent_max": 1, "wait_seconds": 0}


@pytest.fixture(scope="module", params=DATABASE_KINDS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    """One call at a time may be under way, so that one that is not let out again stops all others."""
    directory = tmp_path_factory.mktemp("failures")
    if request.param == "sqlite":
        with gateway_world(sqlite_url(directory), directory, allocated="100.00", config=CONFIG) as made:
            yield made
    else:
        with (
            postgresql_database(request.getfixturevalue("postgres_server")) as url,
            gateway_world(url, directory, allocated="100.00", config=CONFIG) as made,
        ):
            yield made


@dataclass(frozen=True)
class Row:
    """What the provider does; what the client gets and what becomes of the hold, not streamed and streamed.

    ``billed``: ``exact`` (settled at the bill), ``within`` (what is settled, or stays held, is no less than the bill),
    ``none`` (no line on it).
    """

    does: str
    whole: tuple[int, str]
    stream: tuple[int, str]
    billed: str
    flags: tuple[str, ...] = ()
    says: dict[str, str] = field(default_factory=dict)


def refused(status: int, **says: str) -> Row:
    directives = f"status={status}" + (f" retry_after={says['retry-after']}" if says else "")
    return Row(directives, (status, "released"), (status, "released"), "none", says=says)


def failed(status: int) -> Row:
    return Row(f"status={status}", (status, "unknown"), (status, "unknown"), "none")


ROWS = {
    "refused 400": refused(400),
    "refused 401": Row("status=401", (502, "released"), (502, "released"), "none"),
    "refused 403": refused(403),
    "out of time 408": failed(408),
    "out of time 499": failed(499),
    "refused 404": refused(404),
    "refused 422": refused(422),
    "refused 429": refused(429, **{"retry-after": "7"}),
    "failed 500": failed(500),
    "failed 502": failed(502),
    "failed 503": failed(503),
    "failed 529": failed(529),
    "closes before the head": Row("close", (502, "unknown"), (502, "unknown"), "none"),
    "resets before the head": Row("close reset", (502, "unknown"), (502, "unknown"), "none"),
    "closes in the middle": Row("close_after=5", (502, "unknown"), (200, "unknown"), "within"),
    "resets in the middle": Row("close_after=5 reset", (502, "unknown"), (200, "unknown"), "within"),
    "ends in the middle": Row("end_after=5", (200, "settled"), (200, "unknown"), "within", flags=("estimated",)),
    "hangs before the head": Row("hang=yes", (504, "unknown"), (504, "unknown"), "none"),
    "hangs and bills": Row("hang=billed", (504, "unknown"), (504, "unknown"), "within"),
    "hangs in the middle": Row("hang_after=5", (504, "unknown"), (200, "unknown"), "within"),
    "error after 200": Row("error_after=5", (500, "unknown"), (200, "unknown"), "within"),
    "slow drip": Row("split=40 split_ms=5", (200, "settled"), (200, "settled"), "exact"),
    "no usage": Row("usage=none", (200, "settled"), (200, "settled"), "within", flags=("estimated",)),
    "null usage": Row("usage=null", (200, "settled"), (200, "settled"), "within", flags=("estimated",)),
}


def events(answer: Answer) -> list[bytes]:
    return [event for event in answer.body.split(b"\n\n") if event]


@pytest.mark.parametrize(("wire", "stream"), FORMS, ids=IDS)
@pytest.mark.parametrize("name", ROWS)
def test_each_failure_of_a_provider_has_one_rule(world: GatewayWorld, name: str, wire: str, stream: bool) -> None:
    row = ROWS[name]
    path, body = call_of(wire, row.does, stream=stream)
    answer = world.office.send("POST", path, body, key=world.key)
    status, state = row.stream if stream else row.whole
    assert answer.status == status, answer.body
    for header, value in row.says.items():
        assert answer.headers[header] == value
    found = fate_of(world, answer)
    assert found.state == state, found
    if state == "settled":
        assert found.flags == set(row.flags)
    if row.billed == "none":
        assert found.billed is None
        assert found.settled == 0
    elif row.billed == "exact":
        assert found.settled == found.billed
    else:
        assert found.billed is not None
        assert found.settled + found.held >= found.billed > 0
    if state == "unknown" and stream and status == 200:
        assert b'"error"' in events(answer)[-1]
        assert answer.body.count(b'"error"') <= 2
    if status >= 500:
        assert answer.headers["x-bursar-authorization"] == found.id
    insist_that_nothing_leaked(world)


def test_an_estimate_counts_the_output_that_was_seen(world: GatewayWorld) -> None:
    """The words of the fake provider are one token each, so the count is exact; the input is what was bounded."""
    for wire, stream in FORMS:
        path, body = call_of(wire, "usage=none", stream=stream)
        found = fate_of(world, world.office.send("POST", path, body, key=world.key))
        metering = world.office.get(f"/v1/authorizations/{found.id}")["metering"]
        (line,) = [line for line in world.provider.bill()["lines"] if line["client_request_id"] == found.id]
        assert int(metering["output_tokens"]) >= OUT == line["output_tokens"]
        assert int(metering["input_tokens"]) >= line["input_tokens"]


@pytest.mark.parametrize(("wire", "stream"), FORMS, ids=IDS)
def test_a_usage_that_cannot_be_read_is_never_cheaper_than_the_bill(
    world: GatewayWorld, wire: str, stream: bool
) -> None:
    path, body = call_of(wire, "usage=malformed", stream=stream)
    found = fate_of(world, world.office.send("POST", path, body, key=world.key))
    assert found.state == "settled"
    assert found.billed is not None
    assert found.settled >= found.billed
    assert found.flags & {"estimated", "unpriced"}


@pytest.mark.parametrize("directive", ["unknown=5", "unknown_detail=5"])
@pytest.mark.parametrize(("wire", "stream"), FORMS, ids=IDS)
def test_a_usage_key_that_nobody_knows_is_flagged(world: GatewayWorld, wire: str, stream: bool, directive: str) -> None:
    path, body = call_of(wire, directive, stream=stream)
    found = fate_of(world, world.office.send("POST", path, body, key=world.key))
    assert (found.state, found.flags) == ("settled", {"unpriced"})
    metering = world.office.get(f"/v1/authorizations/{found.id}")["metering"]
    assert metering["unknown"] in metering["unpriced"]


@pytest.mark.parametrize("wire", ["chat", "messages"])
@pytest.mark.parametrize("length", [9, -9])
def test_a_content_length_that_lies(world: GatewayWorld, wire: str, length: int) -> None:
    """Of one that is too small either the bytes beyond it are seen, or what came before them is no JSON."""
    path, body = call_of(wire, f"length={length} split=64", stream=False)
    answer = world.office.send("POST", path, body, key=world.key)
    found = fate_of(world, answer)
    if answer.status == 200:
        assert length < 0
        assert (found.state, found.flags) == ("settled", {"estimated"})
    else:
        assert (answer.status, found.state) == (502, "unknown")
    assert found.billed is not None
    assert found.settled + found.held >= found.billed
    insist_that_nothing_leaked(world)


def test_a_response_that_failed_with_its_usage_is_settled_at_it(world: GatewayWorld) -> None:
    body = {"model": "gpt-4o-mini", "input": "hello [[fake out=20 fail_after=5]]", "stream": True}
    answer = world.office.send("POST", "/openai/v1/responses", body, key=world.key)
    assert answer.status == 200
    assert b"response.failed" in answer.body
    found = fate_of(world, answer)
    assert (found.state, found.settled) == ("settled", found.billed)
    insist_that_nothing_leaked(world)


def test_what_was_exactly_known_is_spent_and_the_books_verify(world: GatewayWorld) -> None:
    calls = world.authorizations()
    assert all(call["state"] != "held" or "unknown" in call["flags"] for call in calls)
    verified(world.book.database_url)
