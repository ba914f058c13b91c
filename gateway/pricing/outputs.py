"""The largest output of models that people use, which the list of prices does not have.

Sources: OpenAI's model pages ("max output tokens"), Anthropic's model overview ("Max output"), DeepSeek's price page
("max output"). Invariant: only a limit that a provider documents stands here; a model that is missing is None, and
prices.yaml can add it.
"""

from __future__ import annotations

from typing import Final

# By the beginning of the name without its vendor (``openai/``, ``us.anthropic.``), the longest beginning first.
_LARGEST: Final[tuple[tuple[str, int], ...]] = tuple(
    sorted(
        {
            "gpt-3.5-turbo": 4_096,
            "gpt-4": 8_192,
            "gpt-4-turbo": 4_096,
            "gpt-4-1106": 4_096,
            "gpt-4-0125": 4_096,
            "gpt-4.1": 32_768,
            "gpt-4.5": 16_384,
            "gpt-4o": 16_384,
            "gpt-4o-2024-05-13": 4_096,
            "chatgpt-4o": 16_384,
            "gpt-audio": 16_384,
            "gpt-5": 128_000,
            "gpt-5-chat": 16_384,
            "gpt-5-pro": 272_000,
            "gpt-6": 128_000,
            "gpt-5.1-chat": 16_384,
            "gpt-5.2-chat": 16_384,
            "o1": 100_000,
            "o1-mini": 65_536,
            "o1-preview": 32_768,
            "o3": 100_000,
            "o4-mini": 100_000,
            "claude-3-haiku": 4_096,
            "claude-3-opus": 4_096,
            "claude-3-sonnet": 4_096,
            "claude-3-5-haiku": 8_192,
            "claude-3-5-sonnet": 8_192,
            "claude-3.5-haiku": 8_192,
            "claude-3.5-sonnet": 8_192,
            "claude-3-7-sonnet": 64_000,
            "claude-3.7-sonnet": 64_000,
            "claude-haiku-4-5": 64_000,
            "claude-haiku-4.5": 64_000,
            "claude-sonnet-4": 64_000,
            "claude-opus-4": 32_000,
            "claude-opus-4-1": 32_000,
            "claude-opus-4.1": 32_000,
            "claude-opus-4-5": 64_000,
            "claude-opus-4.5": 64_000,
            "claude-opus-4-6": 128_000,
            "claude-opus-4.6": 128_000,
            "claude-opus-4-7": 128_000,
            "claude-opus-4.7": 128_000,
            "claude-opus-4-8": 128_000,
            "claude-opus-4.8": 128_000,
            "claude-sonnet-4-6": 128_000,
            "claude-sonnet-4.6": 128_000,
            "claude-opus-5": 128_000,
            "claude-sonnet-5": 128_000,
            "claude-haiku-5-5": 128_000,
            "claude-haiku-5.5": 128_000,
            "claude-fable-5": 128_000,
            "deepseek-chat": 8_192,
            "deepseek-reasoner": 65_536,
        }.items(),
        key=lambda item: -len(item[0]),
    )
)


def largest_output(model: str) -> int | None:
    """The most output tokens a call of this model can have, or None where it is not known here."""
    name = model.lower().rpartition("/")[2].rpartition("anthropic.")[2].removeprefix("ft:")
    return next((limit for beginning, limit in _LARGEST if name.startswith(beginning)), None)
