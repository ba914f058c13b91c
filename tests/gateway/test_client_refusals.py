"""What the users of both SDKs catch when the ledger says no: the exception they expect, its code, a message that names
the rule and what remains, and no repetition of what would be refused again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from tests.support.asking_agents import BOTH, OPENAI, Agent, Agents, Sent, Spoken
from tests.support.gateway import GatewayWorld
from tests.support.sdk import anthropic_client, client_world, openai_client

pytestmark = pytest.mark.parametrize("sdk", BOTH, ids=lambda sdk: sdk.name)
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    no_key = {"base_url": "http://127.0.0.1:9", "key": {"env": "NOBODY_SET_THIS"}, "prices": "openai"}
    with client_world(tmp_path_factory.mktemp("refusals"), more_providers={"keyless": no_key}) as made:
        yield made


@pytest.fixture(scope="module")
def agents(world: GatewayWorld) -> Agents:
    return Agents(world)


def code_of(error: Any) -> str:
    """The code as each family has it."""
    if error.body.get("type") == "error":
        return str(error.body["error"]["message"].rpartition("[")[2].rstrip("]"))
    return str(error.body["code"])


def insist_on(sdk: Spoken, agent: Agent, kind: str, code: str, *said: str, **asked: Any) -> Any:
    """The call raises this exception with this code and these words, was sent once, and reached no provider."""
    before = len(agent.world.provider.seen())
    sent = Sent()
    with pytest.raises(getattr(sdk.errors, kind)) as caught:
        sdk.ask(agent, sent=sent, **asked)
    error = caught.value
    assert code_of(error) == error.response.headers["x-bursar-code"] == code
    for words in said:
        assert words in error.message
    assert sent.count == 1
    assert len(agent.world.provider.seen()) == before
    return error


def test_money(sdk: Spoken, agents: Agents) -> None:
    agent = agents.make("0.000001")
    error = insist_on(
        sdk,
        agent,
        "PermissionDeniedError",
        "insufficient_budget",
        "budget_available",
        "limit",
        "remaining 0.000001 USD",
    )
    newest = agent.newest()
    assert newest["state"] == "denied"
    assert error.response.headers["x-bursar-authorization"] == newest["id"]
    if sdk is OPENAI:
        assert (error.code, error.type, error.param) == ("insufficient_budget", "permission_error", None)
    else:
        assert error.body["error"]["type"] == "permission_error"


@pytest.mark.parametrize("stream", [False, True])
def test_money_without_waiting(sdk: Spoken, agents: Agents, stream: bool) -> None:
    """With the client that does not wait, and for a stream, which is refused before it begins."""
    agent = agents.make("0.000001")
    with pytest.raises(sdk.errors.PermissionDeniedError) as caught:
        asyncio.run(sdk.ask_async(agent, stream=stream))
    assert code_of(caught.value) == "insufficient_budget"
    assert agent.asked() == 1


def test_velocity(sdk: Spoken, agents: Agents) -> None:
    """429 with the seconds until it fits, which the SDK itself would wait for."""
    agent = agents.make(limits=[{"id": "rate", "per": "minute", "rolling": True, "max_count": 1}])
    sdk.ask(agent)
    with pytest.raises(sdk.errors.RateLimitError) as caught:
        sdk.ask(agent, "hello again", retries=0)
    assert code_of(caught.value) == "velocity"
    assert "rate" in caught.value.message
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60
    assert "x-should-retry" not in caught.value.response.headers


@pytest.mark.parametrize("key", ["", "sk-something", "bk_agent_nonsense", "revoked", "admin"])
def test_keys(sdk: Spoken, world: GatewayWorld, agents: Agents, key: str) -> None:
    agent = agents.make()
    kind, code = "AuthenticationError", "invalid_api_key"
    if key == "revoked":
        made = world.office.make("/v1/keys", {"role": "agent", "agent": agent.name})
        world.office.make(f"/v1/keys/{made['id']}/revoke", {})
        key, code = made["key"], "key_revoked"
    elif key == "admin":
        key, kind, code = world.book.admin_key, "PermissionDeniedError", "role_not_allowed"
    insist_on(sdk, Agent(world, agent.name, key or "x"), kind, code)
    assert agent.asked() == 0


def test_a_malformed_request(sdk: Spoken, agents: Agents) -> None:
    error = insist_on(sdk, agents.make(), "BadRequestError", "invalid_request", "max_tokens", max_tokens=-1)
    if sdk is OPENAI:
        assert error.param == "max_tokens"


def test_a_header_that_nobody_knows(sdk: Spoken, agents: Agents) -> None:
    insist_on(
        sdk,
        agents.make(),
        "BadRequestError",
        "header_invalid",
        "x-bursar-bugdet",
        extra_headers={"x-bursar-bugdet": "a"},
    )


def test_a_path_that_is_not_forwarded(sdk: Spoken, world: GatewayWorld) -> None:
    before = len(world.provider.seen())
    asked: Any = partial(openai_client(world).images.generate, prompt="a cat")
    if sdk is not OPENAI:
        asked = anthropic_client(world).messages.batches.list
    with pytest.raises(sdk.errors.NotFoundError) as caught:
        asked()
    assert code_of(caught.value) == "not_served"
    assert len(world.provider.seen()) == before


def test_a_model_without_a_price(sdk: Spoken, agents: Agents) -> None:
    insist_on(sdk, agents.make(), "PermissionDeniedError", "price_unknown", "no-such-model", model="no-such-model")


def test_what_nothing_bounds(sdk: Spoken, agents: Agents) -> None:
    url = "https://example.com/cat.png"
    part = (
        {"type": "image_url", "image_url": {"url": url}}
        if sdk is OPENAI
        else {"type": "image", "source": {"type": "url", "url": url}}
    )
    messages = [{"role": "user", "content": [part]}]
    insist_on(sdk, agents.make(), "PermissionDeniedError", "cannot_bound", "url_input", messages=messages)


def test_a_frozen_agent(sdk: Spoken, world: GatewayWorld, agents: Agents) -> None:
    agent = agents.make()
    world.office.make(f"/v1/agents/{agent.name}/freeze", {"reason": "it spends in its sleep"})
    insist_on(sdk, agent, "PermissionDeniedError", "agent_frozen")


def test_a_budget_that_there_is_not(sdk: Spoken, agents: Agents) -> None:
    insist_on(
        sdk,
        agents.make(),
        "PermissionDeniedError",
        "unknown_budget",
        extra_headers={"x-bursar-budget": "no-such-budget"},
    )


def other_days() -> list[str]:
    """Days of the week that are not today, whenever today ends."""
    now = datetime.now(UTC)
    near = {now.weekday(), (now + timedelta(hours=1)).weekday()}
    return [day for number, day in enumerate(DAYS) if number not in near]


RULES: dict[str, tuple[dict[str, Any], str, tuple[str, ...]]] = {
    "a model that is not allowed": (
        {"allow": {"resources": ["gpt-5*", "claude-haiku-*"]}}, "resource_not_allowed", ("allow",),
    ),
    "a model that is denied": ({"deny": {"resources": ["gpt-4*", "claude-*"]}}, "resource_not_allowed", ("deny",)),
    "a provider that is not allowed": ({"allow": {"payees": ["groq"]}}, "payee_not_allowed", ("allow",)),
    "a category that is not allowed": ({"allow": {"categories": ["search"]}}, "category_not_allowed", ("allow",)),
    "more than a call may cost": (
        {"limits": [{"id": "each", "per": "authorization", "max": "0.000001"}]}, "limit_too_small",
        ("each", "limit 0.000001 USD"),
    ),
    "more than a day may cost": (
        {"limits": [{"id": "day", "per": "day", "max": "0.000001"}]}, "limit_too_small", ("day", "limit 0.000001 USD"),
    ),
    "a call that people must approve": (
        {"approval": [{"id": "big", "above": "0.000001", "approvers": ["finance"], "expires_after": "1h"}]},
        "approval_required", ("big",),
    ),
    "a call outside of hours": ({"hours": {"days": "other"}}, "outside_hours", ("hours", "it would fit at")),
    "a limit of runs without a run": (
        {"limits": [{"id": "run", "per": "run", "max": "1.00"}]}, "run_required", ("run",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_a_policy(sdk: Spoken, agents: Agents, name: str) -> None:
    policy, code, said = RULES[name]
    if "hours" in policy:
        policy = {"hours": {"days": other_days()}}
    agent = agents.make(**policy)
    insist_on(sdk, agent, "PermissionDeniedError", code, f"of-{agent.name}", *said)
    assert agent.newest()["state"] == "denied"
    assert agent.balances()["spent"] == agent.balances()["held"] == 0


def test_a_loop(sdk: Spoken, agents: Agents) -> None:
    """The same body again and again; another body is another request."""
    agent = agents.make(loops={"same_request": 3, "within": "1h", "then": "deny"})
    for _ in range(3):
        sdk.ask(agent)
    insist_on(sdk, agent, "PermissionDeniedError", "loop_detected", f"of-{agent.name}")
    sdk.ask(agent, "something else")


def test_a_limit_that_fills(sdk: Spoken, agents: Agents) -> None:
    """The day's limit lets calls through until it is used up: by what they cost, not by what was held for them."""
    agent = agents.make(limits=[{"id": "day", "per": "day", "max": "0.01"}])
    size = {"max_tokens": 8000 if sdk is OPENAI else 250}
    calls: list[Any] = []

    def until_refused() -> None:
        while len(calls) < 200:
            calls.append(sdk.ask(agent, f"call {len(calls)} [[fake out=200]]", **size))

    with pytest.raises(sdk.errors.PermissionDeniedError) as caught:
        until_refused()
    assert calls
    assert code_of(caught.value) == "limit_exceeded"
    assert "day" in caught.value.message
    assert "remaining" in caught.value.message
    agent.world.settled()
    assert 0 < agent.balances()["spent"] <= 10_000_000


def test_a_provider_without_its_key(sdk: Spoken, world: GatewayWorld, agents: Agents) -> None:
    """Its name is told, and nothing of where the key would stand."""
    if sdk is not OPENAI:
        pytest.skip("the provider without a key speaks OpenAI's wire")
    agent = agents.make()
    client = openai_client(world, base_url=f"{world.server.url}/providers/keyless/v1", api_key=agent.key)
    with pytest.raises(sdk.errors.PermissionDeniedError) as caught:
        client.models.list()
    assert code_of(caught.value) == "provider_key_missing"
    assert "keyless" in caught.value.message
    assert "NOBODY" not in caught.value.message
