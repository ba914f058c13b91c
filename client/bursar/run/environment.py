"""The environment that `bursar run` gives to the command.

Owns the names: what is set, what is taken out. Pure. Invariants: every client library that reads its address and key
from the environment finds the gateway and the run's own key there; no key of a provider, no other key of Bursar and
no address of Bursar's database goes on to the command, unless it was named to be kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

OWN_PREFIX: Final = "BURSAR_"
KEY_PREFIX: Final = "bk_"

PROVIDER_NAMES: Final = frozenset(
    (
        *("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE", "OPENAI_API_HOST"),
        *("OPENAI_ORG_ID", "OPENAI_ORGANIZATION", "OPENAI_PROJECT", "OPENAI_PROJECT_ID", "OPENAI_WEBHOOK_SECRET"),
        *("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "ANTHROPIC_CUSTOM_HEADERS"),
        *("CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY"),
        *("AI21_API_KEY", "ANYSCALE_API_KEY", "AWS_BEARER_TOKEN_BEDROCK", "AZURE_API_KEY", "AZURE_OPENAI_AD_TOKEN"),
        *("AZURE_OPENAI_API_KEY", "CEREBRAS_API_KEY", "CO_API_KEY", "COHERE_API_KEY", "DASHSCOPE_API_KEY"),
        *("DEEPINFRA_API_KEY", "DEEPSEEK_API_KEY", "FIREWORKS_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"),
        *("GOOGLE_GENERATIVE_AI_API_KEY", "GROQ_API_KEY", "MINIMAX_API_KEY", "MISTRAL_API_KEY", "MOONSHOT_API_KEY"),
        *("NEBIUS_API_KEY", "NOVITA_API_KEY", "NVIDIA_API_KEY", "OPENROUTER_API_KEY", "PERPLEXITY_API_KEY"),
        *("PERPLEXITYAI_API_KEY", "REPLICATE_API_KEY", "REPLICATE_API_TOKEN", "SAMBANOVA_API_KEY", "TOGETHER_API_KEY"),
        *("TOGETHERAI_API_KEY", "VOYAGE_API_KEY", "XAI_API_KEY", "ZAI_API_KEY", "ZHIPUAI_API_KEY"),
    )
)
"""Variables by which clients of inference providers find an address, an account or a key, or choose to go elsewhere."""

PROXY_NAMES: Final = frozenset(
    name for word in ("http", "https", "all", "no") for name in (f"{word}_proxy", f"{word}_proxy".upper())
)
SESSION_NAMES: Final = frozenset({"DBUS_SESSION_BUS_ADDRESS", "DOCKER_HOST", "XDG_RUNTIME_DIR"})
"""What points below /run, or at a service that could reach further than the sandbox."""

LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})


def environment_for(
    parent: Mapping[str, str],
    *,
    base_url: str,
    host: str,
    key: str,
    run: str,
    kept: Collection[str] = (),
    sandboxed: bool = False,
) -> dict[str, str]:
    """The environment of the command, from that of `bursar run`.

    ``base_url`` is the gateway's address as the command sees it, without a slash at the end, and ``host`` its host;
    ``key`` the key of the run; ``kept`` the variables that go on although they would be taken out.
    """
    child = {name: value for name, value in parent.items() if name in kept or not _taken_out(name, value)}
    if sandboxed:
        child = {name: value for name, value in child.items() if name not in PROXY_NAMES | SESSION_NAMES}
    elif host in LOOPBACK_HOSTS:
        child |= _past_the_proxy(child, host)
    return child | {
        "OPENAI_BASE_URL": f"{base_url}/openai/v1",
        "OPENAI_API_KEY": key,
        "ANTHROPIC_BASE_URL": f"{base_url}/anthropic",
        "ANTHROPIC_API_KEY": key,
        "BURSAR_URL": base_url,
        "BURSAR_API_KEY": key,
        "BURSAR_KEY": key,
        "BURSAR_RUN": run,
    }


def _taken_out(name: str, value: str) -> bool:
    return name.startswith(OWN_PREFIX) or name in PROVIDER_NAMES or value.startswith(KEY_PREFIX)


def _past_the_proxy(environment: Mapping[str, str], host: str) -> dict[str, str]:
    """A proxy cannot reach this machine's loopback address, so clients must be told to leave it out."""
    if not any(environment.get(name) for name in PROXY_NAMES if not name.lower().startswith("no")):
        return {}
    told = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    listed = ",".join(part for part in (told, host) if part)
    return {"no_proxy": listed, "NO_PROXY": listed}
