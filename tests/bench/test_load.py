"""The generator counts only what it should, and one wrong answer makes a result invalid."""

import asyncio
import json

import pytest

from bench.load import LoadResult, Plan, drive, percentile
from bench.wire import Principal

PRINCIPALS = (Principal("bk_agent_x", ("one",)),)


def answer(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body)


class Scripted:
    """A server that answers request number n with `answers[n]`, and with the last one from then on."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                response = self.answers[min(len(self.requests), len(self.answers)) - 1]
                if not response:
                    return
                writer.write(response)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


def run(server: Scripted, **options: object) -> LoadResult:
    async def both() -> LoadResult:
        listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        values: dict[str, object] = {"body": {}, "connections": 2, "warmup_seconds": 0.05, "seconds": 0.15}
        plan = Plan(host="127.0.0.1", port=port, principals=PRINCIPALS, **(values | options))  # type: ignore[arg-type]
        result = await drive(Plan.from_json(plan.to_json()))
        listener.close()
        return result

    return asyncio.run(both())


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 0.5, 0.0),
        ([7.0], 0.99, 7.0),
        ([1.0, 2.0, 3.0, 4.0], 0.5, 2.0),
        ([float(n) for n in range(1, 101)], 0.5, 50.0),
        ([float(n) for n in range(1, 101)], 0.99, 99.0),
        ([float(n) for n in range(1, 101)], 1.0, 100.0),
    ],
)
def test_percentile_is_the_nearest_rank(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected


def test_singles_are_counted_inside_the_window_only() -> None:
    server = Scripted(answer(201, b"{}"))
    result = run(server)
    assert result.valid
    assert result.units == result.requests > 0
    assert result.units < len(server.requests) == result.statuses["201"]
    assert 0 < result.p50_ms <= result.p99_ms


def test_every_authorization_of_a_pair_is_settled() -> None:
    server = Scripted(answer(201, b'{"id":"auth_9"}'))
    result = run(server, kind="pair", settle_body={"final": True})
    settlements = [request for request in server.requests if b"/auth_9/settle " in request]
    assert result.valid
    assert len(settlements) * 2 == len(server.requests)
    assert 0 < result.units < result.requests


def test_batches_count_items() -> None:
    server = Scripted(answer(200, b'{"items":[{"status":201},{"status":201}]}'))
    result = run(server, kind="batch", items=2, expected_marker='"status":201')
    assert result.valid
    assert result.units == 2 * result.requests
    assert len(json.loads(server.requests[0].partition(b"\r\n\r\n")[2])["items"]) == 2


def test_calls_are_sent_as_they_are_and_their_streams_read() -> None:
    stream = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
    server = Scripted(stream)
    result = run(server, kind="call", path="/v1/chat/completions", body={"stream": True}, expected_marker="[DONE]")
    assert result.valid
    assert result.units == result.requests > 0
    assert server.requests[0].startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert json.loads(server.requests[0].partition(b"\r\n\r\n")[2]) == {"stream": True}


def test_a_maximum_ends_the_run_early() -> None:
    server = Scripted(answer(201, b"{}"))
    result = run(server, maximum_requests=5, warmup_seconds=0.0, seconds=60.0)
    assert result.valid
    assert len(server.requests) == result.units == 5


@pytest.mark.parametrize(
    ("answers", "options", "problem"),
    [
        ([answer(201, b"{}"), answer(403, b"no money")], {}, "status 403: no money"),
        ([answer(201, b"{}"), b""], {}, "connection lost"),
        ([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"], {}, "unreadable response"),
        (
            [answer(200, b'{"items":[{"status":201},{"status":403}]}')],
            {"kind": "batch", "items": 2, "expected_marker": '"status":201'},
            "1 items not approved",
        ),
        ([answer(201, b"{}")], {"kind": "pair"}, "no authorization id"),
        ([answer(200, b"data: {}")], {"kind": "call", "expected_marker": "[DONE]"}, "an answer without"),
    ],
    ids=["refused", "lost", "chunked", "item refused", "no id", "half a stream"],
)
def test_one_wrong_answer_makes_the_result_invalid(
    answers: list[bytes], options: dict[str, object], problem: str
) -> None:
    result = run(Scripted(*answers), **options)
    assert not result.valid
    assert problem in result.problem


def test_a_plan_of_unknown_kind_is_refused() -> None:
    plan = Plan(host="h", port=1, principals=PRINCIPALS, body={}, kind="burst")
    with pytest.raises(ValueError, match="unknown kind 'burst'"):
        Plan.from_json(plan.to_json())
