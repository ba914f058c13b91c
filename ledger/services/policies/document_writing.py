"""Writing a policy: its canonical document as the YAML that people read, edit and compare.

Owns the one layout of a written policy. Invariant: what is written reads back as the same document, whatever its texts
look like.
"""

from __future__ import annotations

import difflib
from typing import Any, Final

import yaml

LINE_WIDTH: Final = 120


def policy_yaml(document: dict[str, Any]) -> str:
    """A canonical document as YAML that reads back as the same document, its fields in the order of the guide."""
    laid_out = {name: _laid_out(name, value) for name, value in _ordered(document).items()}
    return yaml.dump(laid_out, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=LINE_WIDTH)


class _Dumper(yaml.SafeDumper):
    """Writes a rule on one line, as people do; quotes what looks like a number, which the reader of policy files and
    this library tell differently."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Indent the items of a list under its name."""
        super().increase_indent(flow, False)


class _OneLine(dict[str, Any]):
    """An object that stands on one line."""


class _Row(list[Any]):
    """A list that stands on one line."""


def _laid_out(name: str, value: Any) -> Any:
    """A field of the document as it is to stand."""
    if name in ("allow", "deny"):
        return {inner: _Row(items) for inner, items in value.items()}
    if name == "inference":
        return {inner: _OneLine(item) if isinstance(item, dict) else item for inner, item in value.items()}
    if name in ("limits", "approval", "when"):
        return [_OneLine(item) for item in value]
    return _OneLine(value) if isinstance(value, dict) else value


def _one_line(dumper: yaml.SafeDumper, value: _OneLine) -> yaml.nodes.Node:
    return dumper.represent_mapping("tag:yaml.org,2002:map", value.items(), flow_style=True)


def _row(dumper: yaml.SafeDumper, value: _Row) -> yaml.nodes.Node:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=True)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.nodes.Node:
    style = '"' if text[:1] in _LIKE_NUMBERS else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_LIKE_NUMBERS: Final = tuple("0123456789+-.~=")
_Dumper.add_representer(str, _text)
_Dumper.add_representer(_OneLine, _one_line)
_Dumper.add_representer(_Row, _row)


_ORDER: Final = (
    "policy", "description", "applies_to", "currency", "timezone", "shadow", "allow", "deny", "hours", "limits",
    "approval", "when", "loops", "overrun", "mismatch", "inference", "default_max_output_tokens", "min_output_tokens",
    "ceilings", "fallback_price", "unknown", "stream", "input_mtok", "output_mtok", "start_tokens", "lookahead_tokens",
    "id", "per", "rolling", "on", "above", "max", "max_count", "match", "by", "same_request", "within",
    "tolerance_percent", "more_than", "then",
)  # fmt: skip
"""Fields that come first, in this order; others follow by name."""
_PLACES: Final = {name: place for place, name in enumerate(_ORDER)}


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: (_PLACES.get(name, len(_ORDER)), name))
        return {name: _ordered(value[name]) for name in names}
    if isinstance(value, list):
        return [_ordered(item) for item in value]
    return value


def difference_of(old: dict[str, Any] | None, new: dict[str, Any], *, before: str, after: str) -> str:
    """A unified diff of two documents as YAML; ``before`` and ``after`` name them. Empty where they are the same."""
    lines = difflib.unified_diff(
        policy_yaml(old).splitlines() if old is not None else [],
        policy_yaml(new).splitlines(),
        fromfile=before,
        tofile=after,
        lineterm="",
    )
    return "".join(f"{line}\n" for line in lines)
