"""Every setting of the server: its name, bounds, default and meaning, stated once.

Owns ``Settings``. Invariant: a flag of ``bursar serve``, a variable of the environment and a line of
``docs/settings.md`` exist for each field of this model and for nothing else, because the flags are made from it
(``flags``) and a test compares the page with it.
"""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Any, Literal

import click
from annotated_types import Ge, Le
from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ledger.core.signing_key import ORIGIN_PREFIX_MAX

ENVIRONMENT_PREFIX = "BURSAR_"


class Settings(BaseSettings):
    """What `bursar serve` can be told. Sizes in bytes, times in seconds; names carry their unit."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, extra="ignore")

    database_url: str = Field(
        default="sqlite:///bursar.db",
        description="Where the books are: sqlite:///FILE or postgresql://USER@HOST/NAME.",
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="TCP port to listen on; 0 takes a free one.")
    workers: int = Field(default=1, ge=1, le=64, description="Server processes that share the port.")
    tls_cert_file: Path | None = Field(
        default=None, description="Certificate chain in PEM; with it and the key file, HTTPS is served."
    )
    tls_key_file: Path | None = Field(default=None, description="Private key in PEM of the certificate.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least severe message that is logged."
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="Log lines for people, or one JSON object a line."
    )
    access_log: bool = Field(
        default=False,
        description="Log a line for every request. Failures of the server itself are always logged.",
    )
    body_bytes_max: int = Field(
        default=2_097_152, ge=1024, le=67_108_864, description="Longest request body taken; beyond it 413."
    )
    header_bytes_max: int = Field(
        default=16_384, ge=1024, le=1_048_576, description="Longest request head taken; beyond it 431."
    )
    request_timeout_seconds: int = Field(
        default=20, ge=1, le=600, description="Time a client has to send a whole request; beyond it 408."
    )
    keep_alive_seconds: int = Field(default=75, ge=1, le=3600, description="How long an idle connection is kept.")
    queue_commands_max: int = Field(
        default=10_000,
        ge=1000,
        le=1_000_000,
        description="Commands that may wait to be decided; beyond it 503. A whole batch of 1000 fits.",
    )
    waiting_commands_max: int = Field(
        default=10_000,
        ge=0,
        le=1_000_000,
        description="Commands that may wait in line for held money; beyond it they are decided at once.",
    )
    batch_commands_max: int = Field(
        default=1024, ge=1, le=10_000, description="Commands decided and committed in one transaction at most."
    )
    postgresql_writers: int = Field(
        default=2, ge=1, le=64, description="Writing connections of each process on PostgreSQL; SQLite has one."
    )
    read_connections_max: int = Field(
        default=8, ge=1, le=256, description="Connections of each process that answer reads."
    )
    sweep_interval_seconds: int = Field(
        default=5,
        ge=0,
        le=3600,
        description="How often holds whose time has come are ended on record; 0 leaves it to the next decision.",
    )
    clock_jump_seconds: int = Field(
        default=300,
        ge=1,
        le=31_536_000,
        description="A clock that jumps ahead by more than this refuses with 503 instead of expiring every hold.",
    )
    shutdown_seconds: int = Field(
        default=15, ge=0, le=600, description="Time that queued work has to finish after SIGTERM."
    )
    rate_limit_per_second: int = Field(
        default=0, ge=0, le=1_000_000, description="Requests a second that one key may send; 0 sets no bound."
    )
    rate_limit_burst: int = Field(
        default=100, ge=1, le=1_000_000, description="Requests that one key may send at once before the rate counts."
    )
    webhook_poll_seconds: int = Field(
        default=1,
        ge=0,
        le=60,
        description="How often alerts are looked for and what is due is sent; 0 leaves it to other processes.",
    )
    webhook_timeout_seconds: int = Field(
        default=10, ge=1, le=60, description="Time that one attempt to deliver a webhook may take."
    )
    webhook_sending_max: int = Field(
        default=16, ge=1, le=256, description="Webhooks that each process sends at once at most."
    )
    webhook_disable_after_days: int = Field(
        default=5, ge=1, le=365, description="An endpoint that has only failed for so many days is disabled."
    )
    webhook_kept_days: int = Field(
        default=30, ge=1, le=3650, description="How long events and their deliveries are kept."
    )
    webhook_allow_http: bool = Field(default=False, description="Let webhooks go to plain http URLs.")
    webhook_allow_private: bool = Field(
        default=False, description="Let webhooks go to private, loopback and link-local addresses."
    )
    lines_poll_seconds: int = Field(
        default=5,
        ge=0,
        le=3600,
        description="How often the lines that statements are made of are written behind the log; 0 leaves it to other "
        "processes, and to whoever asks for a statement.",
    )
    checkpoint_interval_seconds: int = Field(
        default=60,
        ge=0,
        le=86_400,
        description="A book with activity has a checkpoint signed this often at most; 0 leaves it to other processes.",
    )
    checkpoint_origin: str | None = Field(
        default=None,
        max_length=ORIGIN_PREFIX_MAX,
        pattern=r"^[!-*,-~]+$",
        description="What the origin of checkpoints begins with, such as ledger.example.com; fixed with a book's first "
        "signing key.",
    )
    checkpoint_key_file: Path | None = Field(
        default=None,
        description="Ed25519 private key that signs checkpoints, PKCS#8 PEM; without it each book's key is made on "
        "first use and kept in the database.",
    )
    checkpoint_key: SecretStr | None = Field(
        default=None, description="The signing key itself in place of a file; for the environment."
    )
    partition_look_seconds: int = Field(
        default=60,
        ge=0,
        le=86_400,
        description="How often is looked whether the log needs partitions ahead, on PostgreSQL; 0 leaves it to other "
        "processes.",
    )
    gateway: bool = Field(default=True, description="Answer /openai, /anthropic and /providers: the inference gateway.")
    gateway_file: Path | None = Field(
        default=None,
        description="The gateway's providers and bounds (gateway.yaml); without it OpenAI and Anthropic, with the keys "
        "that the environment has for them.",
    )
    gateway_telemetry: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Tell OpenTelemetry of each call: where the environment names an OTEL_EXPORTER_OTLP_ENDPOINT "
        "(auto), or to this machine where it names none (on).",
    )
    metrics: bool = Field(default=True, description="Answer GET /metrics.")
    metrics_token: SecretStr | None = Field(
        default=None,
        description="Bearer token that GET /metrics then asks for; without it anyone may read, but what books hold and "
        "have spent is shown on a loopback host only.",
    )

    @model_validator(mode="after")
    def _check_pairs(self) -> Settings:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_cert_file and tls_key_file go together: set both or neither")
        if self.checkpoint_key_file is not None and self.checkpoint_key is not None:
            raise ValueError("checkpoint_key_file and checkpoint_key exclude each other: set one")
        if self.batch_commands_max > self.queue_commands_max:
            raise ValueError("batch_commands_max must not exceed queue_commands_max")
        return self


def shown_default(name: str) -> str:
    """A field's default as the help and the documentation write it."""
    default = Settings.model_fields[name].default
    if default is None:
        return "none"
    return str(default).lower() if isinstance(default, bool) else str(default)


def bounds(name: str) -> str:
    """A field's bounds as the documentation writes them: ``1 to 64``, choices, or nothing."""
    information = Settings.model_fields[name]
    choices = _choices(information.annotation)
    if choices:
        return ", ".join(choices)
    low = next((item.ge for item in information.metadata if isinstance(item, Ge)), None)
    high = next((item.le for item in information.metadata if isinstance(item, Le)), None)
    return "" if low is None else f"{low} to {high}"


def _choices(annotation: Any) -> tuple[str, ...]:
    return typing.get_args(annotation) if typing.get_origin(annotation) is Literal else ()


def _click_type(annotation: Any) -> Any:
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        annotation = next(part for part in typing.get_args(annotation) if part is not type(None))
    choices = _choices(annotation)
    if choices:
        return click.Choice(choices)
    return {int: int, Path: click.Path(path_type=Path, dir_okay=False)}.get(annotation, str)


def flags() -> list[click.Parameter]:
    """One click option for each setting. An option that was not given is None, so that the model's own default
    and the environment decide."""
    options: list[click.Parameter] = []
    for name, information in Settings.model_fields.items():
        flag = "--" + name.replace("_", "-")
        text = f"{information.description}  [default: {shown_default(name)}]"
        if information.annotation is bool:
            options.append(click.Option([f"{flag}/--no-{flag[2:]}"], default=None, help=text))
        else:
            options.append(click.Option([flag], type=_click_type(information.annotation), default=None, help=text))
    return options
