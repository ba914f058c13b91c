"""What each kind of file says: opening balances, history with a mapping, LiteLLM's spend logs.

Invariant: a row gives the same body and the same key in every run, whatever stands around it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

from ledger.cli.take_over.rows import (
    FileUnusable,
    Nothing,
    Outcome,
    Record,
    Refusal,
    Repeats,
    Row,
    RowRefused,
    amount_of,
    key_of,
    moment_of,
    shown,
    text_of,
)
from ledger.core.account import OPENING_NAME, ROLE_REAL, classify
from ledger.core.ids import is_name

FIELDS: Final = (
    "effective_at", "amount", "currency", "payee", "category", "agent", "budget", "run", "resource", "id",
)  # fmt: skip
NEEDED: Final = ("effective_at", "amount", "currency", "payee", "category")
OPENING_COLUMNS: Final = ("account", "debit", "credit", "currency")
LITELLM_COLUMNS: Final = ("request_id", "spend", "startTime")
"""What a CSV of each must have."""
LABELS: Final = ("team", "key", "tags", "user", "end_user", "organization", "session")
"""What LiteLLM says of whose a call was."""
LABELS_KEPT: Final = ("team", "key", "tags")
"""Those that name no person; they stay in the log for good."""
_LABEL_LENGTH_MAX: Final = 256
_MAPPING_BYTES_MAX: Final = 65_536


@dataclass(frozen=True, slots=True)
class Mapping:
    """Which column is which field, what is the same for every row, and which columns become labels and counts."""

    columns: dict[str, str] = field(default_factory=lambda: {name: name for name in FIELDS})
    constants: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    metering: dict[str, str] = field(default_factory=dict)
    delimiter: str = ","

    @property
    def needed(self) -> set[str]:
        """The columns that a file must have: those of fields that nothing else says, and all that were named."""
        return {
            column
            for name, column in self.columns.items()
            if column != name or (name in NEEDED and name not in self.constants)
        }.union(self.labels.values(), self.metering.values())


def read_mapping(path: Path | None) -> Mapping:
    """The mapping in a YAML file; without one, columns are named as fields are. Raises FileUnusable."""
    if path is None:
        return Mapping()
    try:
        text = path.read_text(encoding="utf-8")
        said = yaml.safe_load(text) if len(text) <= _MAPPING_BYTES_MAX else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise FileUnusable(f"{path.name} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(said, dict):
        raise FileUnusable(f"{path.name} is no mapping: it has columns, constants, labels, metering and delimiter")
    parts = {"columns": FIELDS, "constants": FIELDS, "labels": None, "metering": None}
    strange = sorted(str(name) for name in said if name not in (*parts, "delimiter"))
    if strange:
        raise FileUnusable(f"{path.name}: {shown(strange[0])} is no part of a mapping")
    made: dict[str, Any] = {}
    for part, names in parts.items():
        found = said.get(part) or {}
        if not isinstance(found, dict) or not all(isinstance(value, (str, int)) for value in found.values()):
            raise FileUnusable(f"{path.name}: {part} maps names to texts")
        for name in found:
            if names is not None and name not in names:
                raise FileUnusable(f"{path.name}: {shown(name)} is no field; those are {', '.join(names)}")
        made[part] = {str(name): str(value) for name, value in found.items()}
    delimiter = said.get("delimiter", ",")
    if not isinstance(delimiter, str) or len(delimiter) != 1:
        raise FileUnusable(f"{path.name}: the delimiter is one character")
    made["columns"] = made["columns"] or {name: name for name in FIELDS}
    return Mapping(**made, delimiter=delimiter)


def opening_rows(records: Iterable[tuple[int, Record]]) -> Iterator[Outcome]:
    """Opening balances: ``account``, ``currency``, and ``debit`` or ``credit``; perhaps ``effective_at``. Each becomes
    an adjustment against ``equity:opening``."""
    repeats = Repeats()
    for line, said in records:
        try:
            yield _opening(line, said, repeats)
        except RowRefused as error:
            yield Refusal(line, str(error))


def _opening(line: int, said: Record, repeats: Repeats) -> Outcome:
    account, currency = text_of(said.get("account")), text_of(said.get("currency"))
    sort = classify(account) if account is not None else None
    if account is None or sort is None or sort[1] != ROLE_REAL:
        raise RowRefused(f"{shown(account)} is no account of money; a budget gets its authority by allocations")
    if account == OPENING_NAME:
        raise RowRefused(f"{OPENING_NAME} is the other side of every opening balance, and needs no row")
    if currency is None:
        raise RowRefused("it names no currency")
    sides = {side: text_of(said.get(side)) for side in ("debit", "credit")}
    given = {side: text for side, text in sides.items() if text is not None and number_or_none(text) != 0}
    if not given:
        return Nothing(line)
    if len(given) > 1:
        raise RowRefused("it has a debit and a credit; write one of the two")
    side, text = next(iter(given.items()))
    amount, rounded = amount_of(text, currency)
    if rounded:
        raise RowRefused(f"{shown(text)} has more digits than {currency} has")
    debit, credit = (account, OPENING_NAME) if side == "debit" else (OPENING_NAME, account)
    body: dict[str, Any] = {
        "transfers": [{"debit": debit, "credit": credit, "amount": {"amount": amount, "currency": currency}}],
        "reason": "opening balance",
    }
    if text_of(said.get("effective_at")) is not None:
        body["effective_at"] = moment_of(said["effective_at"])
    parts = [account, currency, side, amount, body.get("effective_at")]
    return Row(line, key_of("opening", *parts, repeats.number(parts)), body)


def number_or_none(text: str) -> Decimal | None:
    """A number, None for what is none."""
    try:
        return Decimal(text)
    except ArithmeticError:
        return None


def history_rows(records: Iterable[tuple[int, Record]], mapping: Mapping) -> Iterator[Outcome]:
    """Spend from before the book, out of any table."""
    repeats = Repeats()
    for line, said in records:
        try:
            yield _history(line, said, mapping, repeats)
        except RowRefused as error:
            yield Refusal(line, str(error))


def _history(line: int, said: Record, mapping: Mapping, repeats: Repeats) -> Outcome:
    found: dict[str, str] = {}
    for name in FIELDS:
        column = mapping.columns.get(name)
        text = text_of(said.get(column)) if column is not None else None
        text = mapping.constants.get(name) if text is None else text
        if text is not None:
            found[name] = text
    for name in NEEDED:
        if name not in found:
            raise RowRefused(f"it has no {name}; name its column, or say it once for all, in a mapping")
    labels = {name: text_of(said.get(column)) for name, column in mapping.labels.items()}
    metering = {name: text_of(said.get(column)) for name, column in mapping.metering.items()}
    body, rounded = _item(found, labels, metering)
    if body is None:
        return Nothing(line)
    identity = found.get("id")
    parts = [identity] if identity is not None else [body]
    number = 0 if identity is not None else repeats.number(parts)
    return Row(line, key_of("history", *parts, number), body, rounded)


def _item(
    found: Record, labels: dict[str, str | None], metering: dict[str, str | None]
) -> tuple[dict[str, Any] | None, Decimal]:
    """(an item for the server, what rounding changed); None for one of zero. Raises RowRefused."""
    currency = found["currency"].upper()
    amount, rounded = amount_of(found["amount"], currency)
    for name in ("payee", "category"):
        if not is_name(found[name]):
            raise RowRefused(f"{shown(found[name])} is no name of a {name}: small letters, digits and . _ - only")
    body: dict[str, Any] = {
        "amount": {"amount": amount, "currency": currency},
        "category": found["category"],
        "payee": found["payee"],
        "effective_at": moment_of(found["effective_at"]),
    }
    for name in ("agent", "budget", "run", "resource"):
        if found.get(name) is not None:
            body[name] = found[name]
    for name, pairs in (("labels", labels), ("metering", metering)):
        kept = {key: value[:_LABEL_LENGTH_MAX] for key, value in pairs.items() if value is not None}
        if kept:
            body[name] = kept
    return (None if not amount.strip("0.") else body), rounded


@dataclass(frozen=True, slots=True)
class LiteLLM:
    """How LiteLLM's spend logs are taken over: fields that are the same for every row, and which labels are kept."""

    category: str
    payee: str | None = None
    budget: str | None = None
    agent: str | None = None
    labels: tuple[str, ...] = LABELS_KEPT


def litellm_rows(records: Iterable[tuple[int, Record]], how: LiteLLM) -> Iterator[Outcome]:
    """Rows of ``LiteLLM_SpendLogs``, as its table is exported or its API returns them."""
    for line, said in records:
        try:
            yield _litellm(line, said, how)
        except RowRefused as error:
            yield Refusal(line, str(error))


def _litellm(line: int, said: Record, how: LiteLLM) -> Outcome:
    identity = text_of(said.get("request_id"))
    if identity is None:
        raise RowRefused("it has no request_id; is this an export of LiteLLM_SpendLogs?")
    model = text_of(said.get("model"))
    found: Record = {
        "amount": said.get("spend"),
        # LiteLLM counts in US dollars, whatever a provider bills in.
        "currency": "USD",
        "effective_at": said.get("startTime") or said.get("endTime"),
        "payee": how.payee or _provider(said, model),
        "category": how.category,
        "resource": model[:_LABEL_LENGTH_MAX] if model is not None else None,
        "budget": how.budget,
        "agent": how.agent,
    }
    said_of = _whose(said)
    labels = {name: said_of[name] for name in how.labels}
    counts = {"input_tokens": said.get("prompt_tokens"), "output_tokens": said.get("completion_tokens")}
    texts = {name: text_of(value) for name, value in counts.items()}
    metering = {name: None if text == "0" else text for name, text in texts.items()}
    body, rounded = _item(found, labels, metering)
    return Nothing(line) if body is None else Row(line, key_of("litellm", identity), body, rounded)


def _provider(said: Record, model: str | None) -> str:
    """Who was paid: the provider that LiteLLM names, the one before the model's name, or the host that was called."""
    named = text_of(said.get("custom_llm_provider"))
    if named is None and model is not None and "/" in model:
        named = model.partition("/")[0]
    if named is None:
        host = urlsplit(text_of(said.get("api_base")) or "").hostname or ""
        parts = host.split(".")
        named = parts[-2] if len(parts) > 1 else host
    return re.sub(r"[^a-z0-9._-]+", "-", (named or "").lower()).strip("-._")[:64] or "litellm"


def _whose(said: Record) -> dict[str, str | None]:
    """What LiteLLM says of whose a call was, by label."""
    metadata = _decoded(said.get("metadata"))
    tags = _decoded(said.get("request_tags"))
    alias = text_of(metadata.get("user_api_key_alias")) if isinstance(metadata, dict) else None
    team = text_of(metadata.get("user_api_key_team_alias")) if isinstance(metadata, dict) else None
    return {
        "team": team or text_of(said.get("team_id")),
        "key": alias or text_of(said.get("api_key")),
        "tags": ",".join(sorted(map(str, tags))) or None if isinstance(tags, list) else None,
        "user": text_of(said.get("user")),
        "end_user": text_of(said.get("end_user")),
        "organization": text_of(said.get("organization_id")),
        "session": text_of(said.get("session_id")),
    }


def _decoded(value: Any) -> Any:
    """JSON that may stand as text in a column."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None
