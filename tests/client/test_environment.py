"""What the command finds in its environment, and what it does not."""

from __future__ import annotations

import pytest

from bursar.run.environment import PROVIDER_NAMES, environment_for
from bursar.run.gateway_url import GatewayUrl, gateway_url


def child(parent: dict[str, str], **more: object) -> dict[str, str]:
    given = {"base_url": "https://b.example/x", "host": "b.example", "key": "bk_agent_run", "run": "r-1"} | more
    return environment_for(parent, **given)  # type: ignore[arg-type]


SET = {
    "OPENAI_BASE_URL": "https://b.example/x/openai/v1",
    "OPENAI_API_KEY": "bk_agent_run",
    "ANTHROPIC_BASE_URL": "https://b.example/x/anthropic",
    "ANTHROPIC_API_KEY": "bk_agent_run",
    "BURSAR_URL": "https://b.example/x",
    "BURSAR_API_KEY": "bk_agent_run",
    "BURSAR_KEY": "bk_agent_run",
    "BURSAR_RUN": "r-1",
}


def test_from_nothing_it_has_the_gateway_and_the_runs_key() -> None:
    """Every name that a client library reads, and nothing more."""
    assert child({}) == SET


@pytest.mark.parametrize("name", sorted(PROVIDER_NAMES | {"BURSAR_DATABASE_URL", "BURSAR_API_KEY", "BURSAR_ADMIN"}))
def test_no_secret_of_the_caller_goes_on(name: str) -> None:
    """Neither a provider's key nor another of Bursar's, nor the database from which an admin key could be made."""
    assert "secret" not in child({name: "secret"}).values()


def test_a_key_of_bursar_does_not_go_on_under_any_name() -> None:
    """A shell that keeps it in a variable of its own may have exported that."""
    assert child({"ADMIN": "bk_admin_0123", "HOME": "/home/me"}) == {**SET, "HOME": "/home/me"}


def test_what_is_kept_goes_on_but_never_in_place_of_the_gateway() -> None:
    """--keep-env is for what is needed beside the gateway."""
    shown = child(
        {"HF_HOME": "h", "GROQ_API_KEY": "g", "OPENAI_API_KEY": "sk"}, kept=["GROQ_API_KEY", "OPENAI_API_KEY"]
    )
    assert shown == {**SET, "HF_HOME": "h", "GROQ_API_KEY": "g"}


def test_a_proxy_is_told_to_leave_out_the_loopback() -> None:
    """It could not reach the gateway there; what it leaves out already stays."""
    shown = child({"https_proxy": "http://p:3128", "NO_PROXY": "corp"}, host="127.0.0.1")
    assert shown["NO_PROXY"] == shown["no_proxy"] == "corp,127.0.0.1"
    assert "NO_PROXY" not in child({"https_proxy": "http://p:3128"}, host="b.example")
    assert "NO_PROXY" not in child({}, host="127.0.0.1")


def test_in_the_sandbox_nothing_points_at_what_is_not_there() -> None:
    """Neither a proxy nor a session's services."""
    parent = dict.fromkeys(
        ("HTTPS_PROXY", "no_proxy", "XDG_RUNTIME_DIR", "DOCKER_HOST", "DBUS_SESSION_BUS_ADDRESS"), "x"
    )
    assert child(parent, sandboxed=True) == SET


@pytest.mark.parametrize(
    ("text", "parts", "authority"),
    [
        ("http://127.0.0.1:8000", ("http", "127.0.0.1", 8000, ""), "127.0.0.1:8000"),
        ("https://b.example/", ("https", "b.example", 443, ""), "b.example"),
        ("https://b.example:8443/bursar/", ("https", "b.example", 8443, "/bursar"), "b.example:8443"),
        ("http://[::1]:80", ("http", "::1", 80, ""), "[::1]"),
    ],
)
def test_addresses(text: str, parts: tuple[str, str, int, str], authority: str) -> None:
    """The parts of an address, and its host as the Host header has it."""
    assert gateway_url(text) == GatewayUrl(*parts)
    assert gateway_url(text).authority == authority
    assert gateway_url(gateway_url(text).text) == gateway_url(text)


@pytest.mark.parametrize(
    "text",
    ["", "localhost:8000", "ftp://b", "http://", "http://b:x", "http://u:p@b", "http://b?q=1", "http://bücher.de"],
)
def test_what_is_no_address_is_said_in_a_sentence(text: str) -> None:
    """Before anything is asked."""
    with pytest.raises(ValueError, match="is no address of a server"):
        gateway_url(text)
