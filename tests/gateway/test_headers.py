"""Which headers go up and come down: no key in the wrong direction, no hop-by-hop header, the rest untouched."""

import pytest

from gateway.config import ANTHROPIC, OPENAI, KeyPlace, Provider
from gateway.headers import downward, key_in, upward

ASKED = [
    (b"host", b"gateway.example"),
    (b"authorization", b"Bearer bk_agent_x"),
    (b"x-api-key", b"bk_agent_x"),
    (b"connection", b"keep-alive, x-private"),
    (b"x-private", b"for the next hop only"),
    (b"content-length", b"12"),
    (b"content-type", b"application/json"),
    (b"accept-encoding", b"gzip, br"),
    (b"cookie", b"session=1"),
    (b"openai-organization", b"org-of-the-client"),
    (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    (b"anthropic-beta", b"output-128k"),
    (b"x-stainless-retry-count", b"1"),
    (b"x-bursar-run", b"run-42"),
    (b"user-agent", b"OpenAI/Python"),
]


def test_up_goes_the_providers_key_and_what_concerns_the_call() -> None:
    sent = upward(ASKED, OPENAI, "sk-secret", "auth_1")
    assert sent == [
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("anthropic-beta", "output-128k"),
        ("x-stainless-retry-count", "1"),
        ("user-agent", "OpenAI/Python"),
        ("accept-encoding", "identity"),
        ("x-client-request-id", "auth_1"),
        ("authorization", "Bearer sk-secret"),
    ]


def test_anthropics_key_stands_in_its_own_header() -> None:
    sent = dict(upward(ASKED, ANTHROPIC, "sk-ant-secret", "auth_1"))
    assert sent["x-api-key"] == "sk-ant-secret"
    assert "authorization" not in sent


def test_a_providers_own_headers_are_added() -> None:
    provider = Provider(base_url="https://gateway.example/v1", headers={"OpenAI-Project": "proj_1"})
    assert ("OpenAI-Project", "proj_1") in upward(ASKED, provider, None, "")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(b"authorization", b"Bearer bk_1")], b"Bearer bk_1"),
        ([(b"authorization", b"bearer bk_1")], b"Bearer bk_1"),
        ([(b"x-api-key", b"bk_1")], b"Bearer bk_1"),
        ([(b"x-api-key", b"bk_1"), (b"authorization", b"Bearer bk_1")], b"Bearer bk_1"),
        ([(b"x-api-key", b"bk_1"), (b"authorization", b"Bearer bk_2")], None),
        ([(b"authorization", b"Basic bk_1")], None),
        ([], None),
    ],
)
def test_where_the_key_stands(headers: list[tuple[bytes, bytes]], expected: bytes | None) -> None:
    assert key_in(headers) == expected


def test_what_is_said_to_bursar_is_not_forwarded() -> None:
    assert not [name for name, _ in upward(ASKED, OPENAI, None, "") if name.startswith("x-bursar")]


def test_down_comes_what_concerns_the_answer() -> None:
    answered = (
        (b"Content-Type", b"application/json"),
        (b"X-Request-Id", b"req_provider"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Connection", b"close, x-hop"),
        (b"X-Hop", b"1"),
        (b"Set-Cookie", b"__cf_bm=shared"),
        (b"Content-Length", b"3"),
        (b"Alt-Svc", b'h3=":443"'),
        (b"X-Bursar-Cost", b"a provider that pretends"),
        (b"x-ratelimit-remaining-tokens", b"149984"),
    )
    assert downward(answered) == [
        (b"content-type", b"application/json"),
        (b"x-request-id", b"req_provider"),
        (b"x-ratelimit-remaining-tokens", b"149984"),
    ]


def test_a_key_may_go_in_a_header_of_its_providers_choice() -> None:
    provider = Provider(base_url="https://azure.example/v1", key=KeyPlace(env="AZURE", header="api-key"))
    sent = upward([*ASKED, (b"api-key", b"mine")], provider, "secret", "")
    assert [value for name, value in sent if name == "api-key"] == ["secret"]
    assert not {"authorization", "x-api-key"} & {name for name, _ in sent}


def test_how_a_request_came_here_is_not_told() -> None:
    way = [(b"x-forwarded-for", b"10.0.0.1"), (b"forwarded", b"for=10.0.0.1"), (b"via", b"1.1 proxy")]
    assert upward(way, OPENAI, None, "") == [("accept-encoding", "identity")]


def test_the_organization_of_a_key_is_not_told() -> None:
    assert downward([(b"OpenAI-Organization", b"acme"), (b"openai-project", b"p")]) == []
