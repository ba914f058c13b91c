"""The load generator's requests are well-formed, its keys new, and its parser reads what really arrives."""

import json

import pytest

from bench.wire import (
    KeySource,
    Principal,
    ResponseParser,
    UnreadableResponse,
    authorization_id,
    batch_template,
    call_template,
    settle_template,
    single_templates,
)

APPROVED = b'HTTP/1.1 201 Created\r\nContent-Length: 14\r\nx: y\r\n\r\n{"id":"auth_1"}'[:-1]
EMPTY = b"HTTP/1.1 204 No Content\r\ncontent-length:0\r\n\r\n"
ALICE = Principal("bk_agent_alice", ("one", "three"))
BOB = Principal("bk_agent_bob", ("two",))


def split_request(request: bytes) -> tuple[str, dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return first, dict(line.split(": ", 1) for line in lines), body


def test_one_whole_response() -> None:
    assert ResponseParser().feed(APPROVED) == [(201, b'{"id":"auth_1"')]


@pytest.mark.parametrize("cut", range(1, len(APPROVED)))
def test_a_response_split_anywhere(cut: int) -> None:
    parser = ResponseParser()
    assert parser.feed(APPROVED[:cut]) == []
    assert parser.feed(APPROVED[cut:]) == [(201, b'{"id":"auth_1"')]


def test_several_responses_and_a_piece_in_one_arrival() -> None:
    parser = ResponseParser()
    assert [status for status, _ in parser.feed(EMPTY + APPROVED + APPROVED[:20])] == [204, 201]
    assert [status for status, _ in parser.feed(APPROVED[20:])] == [201]


STREAM = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: 0\r\n\r\n0\r\n\r\n"


@pytest.mark.parametrize("cut", range(1, len(STREAM)))
def test_a_stream_split_anywhere_and_what_follows_it(cut: int) -> None:
    parser = ResponseParser(streams=True)
    assert parser.feed(STREAM[:cut]) == []
    (status, body), *others = parser.feed(STREAM[cut:] + APPROVED + STREAM)
    assert (status, body) == (200, b"9\r\ndata: 0\r\n\r\n0\r\n\r\n")
    assert [status for status, _ in others] == [201, 200]


def test_a_stream_without_events_ends_too() -> None:
    head = STREAM.partition(b"9\r\n")[0]
    assert ResponseParser(streams=True).feed(head + b"0\r\n\r\n") == [(200, b"0\r\n\r\n")]


def test_a_call_carries_its_key_and_a_body_of_the_length_it_says() -> None:
    template = call_template(ALICE, path="/v1/chat/completions", host="h:1", body={"model": "m"})
    request = template.render(KeySource())
    first, headers, body = split_request(request)
    assert first == "POST /v1/chat/completions HTTP/1.1"
    assert headers["Authorization"] == "Bearer bk_agent_alice"
    assert "Idempotency-Key" not in headers
    assert json.loads(body) == {"model": "m"}
    assert int(headers["Content-Length"]) == len(body)


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nserver: x\r\n\r\n",
        b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
    ],
    ids=["chunked", "no length", "not 1.1"],
)
def test_what_would_hang_a_closed_loop_is_an_error(response: bytes) -> None:
    with pytest.raises(UnreadableResponse):
        ResponseParser().feed(response)


def test_the_length_is_not_taken_from_the_body_or_the_next_response() -> None:
    first = b'HTTP/1.1 200 OK\r\ncontent-length: 23\r\n\r\n\r\ncontent-length: 9999"'
    assert [len(body) for _, body in ResponseParser().feed(first + EMPTY)] == [23, 0]


def test_the_id_of_an_authorization() -> None:
    assert authorization_id(b'{"id": "auth_42", "budget": {"id": "b"}}') == b"auth_42"
    with pytest.raises(UnreadableResponse):
        authorization_id(b"{}")


def test_keys_never_repeat_and_keep_their_length() -> None:
    source, other = KeySource(), KeySource()
    keys = [source.next() for _ in range(1000)] + [other.next() for _ in range(1000)]
    assert len(set(keys)) == 2000
    assert {len(key) for key in keys} == {source.length_bytes}


def test_a_single_request_names_each_budget_with_its_own_key() -> None:
    keys = KeySource()
    templates = single_templates([ALICE, BOB], path="/p", host="h:1", body={"amount": "1"})
    seen = []
    for principal, template in templates:
        first, headers, body = split_request(template.render(keys))
        assert first == "POST /p HTTP/1.1"
        assert int(headers["Content-Length"]) == len(body)
        assert headers["Authorization"] == f"Bearer {principal.key}"
        assert len(headers["Idempotency-Key"]) == keys.length_bytes
        seen.append((principal.key, json.loads(body)["budget"]))
    assert seen == [(ALICE.key, "one"), (BOB.key, "two"), (ALICE.key, "three")]


def test_a_settlement_names_the_authorization_in_its_path() -> None:
    keys = KeySource()
    first, headers, body = split_request(
        settle_template(ALICE, host="h:1", body={"final": True}).render(keys, b"auth_7")
    )
    assert first == "POST /v1/authorizations/auth_7/settle HTTP/1.1"
    assert int(headers["Content-Length"]) == len(body)
    assert headers["Authorization"] == "Bearer bk_agent_alice"
    assert json.loads(body) == {"final": True}


def test_a_batch_has_a_fresh_key_for_itself_and_every_item() -> None:
    keys = KeySource()
    template = batch_template(
        ALICE, path="/batch", host="h:1", body={"amount": "1"}, items=5, key_length_bytes=keys.length_bytes
    )
    used = set()
    for _ in range(2):
        _, headers, body = split_request(template.render(keys))
        assert int(headers["Content-Length"]) == len(body)
        items = json.loads(body)["items"]
        assert [item["budget"] for item in items] == ["one", "three", "one", "three", "one"]
        used |= {headers["Idempotency-Key"], *(item["idempotency_key"] for item in items)}
    assert len(used) == 12
