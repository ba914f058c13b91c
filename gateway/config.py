"""``gateway.yaml``: which providers there are, how they are reached, and the gateway's own bounds.

Owns the form of the file. Invariants: a provider's key is named here (a variable of the environment or a file), never
written here; it is read when the server starts, and appears in no error, log line or record.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")
_KEY_HEADERS = frozenset(("api-key", "authorization", "x-api-key"))
_URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")


class GatewayInvalid(ValueError):
    """A ``gateway.yaml`` that cannot be used, with a sentence that says what to change."""


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KeyPlace(_Form):
    """Where a provider's key stands: exactly one of a variable's name and a file's path. ``header`` is the one it is
    sent in, as it is, where that is not its wire's own."""

    env: str | None = None
    file: Path | None = None
    header: str | None = Field(default=None, pattern=r"^[A-Za-z0-9-]{1,64}$")

    @model_validator(mode="after")
    def _one(self) -> KeyPlace:
        if (self.env is None) == (self.file is None):
            raise ValueError("name the key's place by exactly one of env and file")
        return self

    def read(self) -> SecretStr | None:
        """The key, or None where the variable or the file is not there or empty."""
        if self.env is not None:
            text = os.environ.get(self.env, "")
        else:
            try:
                text = self.file.read_text(encoding="utf-8") if self.file is not None else ""
            except OSError:
                text = ""
        text = text.strip()
        return SecretStr(text) if text and text.isascii() and text.isprintable() else None


Seconds = Annotated[float, Field(gt=0, le=3600)]


class Provider(_Form):
    """One provider. ``base_url`` is what the paths of its wire follow (``…/v1`` for OpenAI's wire, without ``/v1`` for
    Anthropic's). ``prices`` names it in the price list, by default its own name."""

    base_url: str
    wire: Literal["openai", "anthropic"] = "openai"
    key: KeyPlace | None = None
    headers: dict[str, str] = Field(default_factory=dict, description="Sent with every call.")
    prices: str | None = None
    output_limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    output_limit_fields: Literal["one", "both"] = Field(
        default="one",
        description="Whether it reads max_tokens and max_completion_tokens alike, or output_limit_field alone.",
    )
    max_output_tokens: int | None = Field(
        default=None, ge=1, le=2**31 - 1, description="Held where a client names no limit, of models that nobody knows."
    )
    highest_service_tier: Literal["standard", "priority"] = Field(
        default="standard",
        description="The dearest tier that the provider serves a call from that names none; its project's setting.",
    )
    stream_usage: bool = Field(
        default=True, description="Whether stream_options.include_usage may be added to streams that do not ask for it."
    )

    @field_validator("base_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        if _URL.fullmatch(value) is None:
            raise ValueError("a base URL is http(s)://HOST[:PORT][/PATH], without credentials, query or fragment")
        return value.rstrip("/")

    @field_validator("headers")
    @classmethod
    def _plain_headers(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if re.fullmatch(r"[A-Za-z0-9-]+", name) is None or not text.isprintable() or not text.isascii():
                raise ValueError(f"the header {name!r} is not one that can be sent")
            if name.lower() in _KEY_HEADERS:
                raise ValueError(f"the header {name!r} carries a key, which is not written here: use key with header")
        return value


OPENAI = Provider(
    base_url="https://api.openai.com/v1",
    key=KeyPlace(env="OPENAI_API_KEY"),
    output_limit_field="max_completion_tokens",
    output_limit_fields="both",
)
ANTHROPIC = Provider(
    base_url="https://api.anthropic.com", wire="anthropic", key=KeyPlace(env="ANTHROPIC_API_KEY")
)  # fmt: skip


class GatewayConfig(_Form):
    """The whole file. Without one, OpenAI and Anthropic are reached at their own addresses, with the keys that the
    environment has for them."""

    providers: dict[str, Provider] = Field(default_factory=lambda: {"openai": OPENAI, "anthropic": ANTHROPIC})
    prices: Path | None = Field(default=None, description="The price overrides, beside this file.")
    category: str = Field(default="inference", pattern=r"[a-z0-9][a-z0-9._-]{0,63}")
    wait_seconds: int = Field(default=30, ge=0, le=30, description="How long a call waits in line for money held.")
    client_gone: Literal["drain", "cut"] = Field(
        default="drain",
        description="What becomes of a stream whose client left: read to its end, so that its usage is known, or cut, "
        "and settled at an estimate of what was seen. An answer that is not streamed is read to its end either way.",
    )
    calls_max: int = Field(default=1024, ge=1, le=100_000, description="Calls under way in each process.")
    calls_per_agent_max: int = Field(default=256, ge=1, le=100_000, description="Calls of one agent in each process.")
    body_bytes_max: int = Field(default=33_554_432, ge=1024, le=268_435_456)
    bodies_bytes_max: int = Field(
        default=268_435_456, ge=1024, le=68_719_476_736, description="Bytes of all requests under way in each process."
    )
    answer_bytes_max: int = Field(
        default=67_108_864, ge=1024, le=1_073_741_824, description="Longest answer that is not a stream."
    )
    connect_seconds: Seconds = 10
    idle_seconds: Seconds = Field(default=300, description="Longest silence of a provider.")
    total_seconds: Seconds = Field(default=900, description="Longest call.")

    @field_validator("providers")
    @classmethod
    def _named(cls, value: dict[str, Provider]) -> dict[str, Provider]:
        for name in value:
            if NAME.fullmatch(name) is None:
                raise ValueError(f"{name!r} is no provider's name: use a-z, 0-9, . and -, at most 64 characters")
        return value

    @model_validator(mode="after")
    def _bounds(self) -> GatewayConfig:
        if self.idle_seconds > self.total_seconds:
            raise ValueError("idle_seconds must not exceed total_seconds")
        if self.body_bytes_max > self.bodies_bytes_max:
            raise ValueError("body_bytes_max must not exceed bodies_bytes_max")
        return self

    @property
    def ttl_seconds(self) -> int:
        """How long a hold lasts: longer than any call, so that what expires is a call that nobody settled."""
        return int(self.total_seconds) + 60


def load_config(path: Path | None) -> GatewayConfig:
    """Read ``gateway.yaml``; the defaults where there is none. Paths in it are relative to it.

    Raises GatewayInvalid with the field and what to change.
    """
    if path is None:
        return GatewayConfig()
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise GatewayInvalid(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise GatewayInvalid(f"{path} is not YAML: {error}") from error
    try:
        config = GatewayConfig.model_validate(content or {})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise GatewayInvalid(f"{path}: {place}: {first['msg'].removeprefix('Value error, ')}") from error
    updates: dict[str, object] = {}
    if config.prices is not None:
        updates["prices"] = path.parent / config.prices
    updates["providers"] = {name: _beside(provider, path.parent) for name, provider in config.providers.items()}
    return config.model_copy(update=updates)


def _beside(provider: Provider, folder: Path) -> Provider:
    if provider.key is None or provider.key.file is None:
        return provider
    return provider.model_copy(update={"key": KeyPlace(file=folder / provider.key.file, header=provider.key.header)})
