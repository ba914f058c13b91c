"""What a request may ask the fake provider to do: one flat list of settings, read from `k=v` words.

Owns the names, types and defaults. Invariant: a name or value that is not understood is refused, never ignored, so that
a test with a misspelt fault cannot pass by testing nothing.
"""

import re
from dataclasses import dataclass, field, fields, replace
from typing import Any

HEADER = "x-fake"
_IN_PROMPT = re.compile(rb"\[\[fake ([^\]\"\\]*)\]\]")
_REMEMBERED = 4096
USAGES = ("normal", "none", "null", "malformed", "every", "groq", "openrouter", "deepseek")
HANGS = ("no", "yes", "billed")
DROPS = ("pace", "whole")
FAULTS = ("status", "overloaded", "close", "hang", "error", "cut")


class UnknownDirective(ValueError):
    """A word of the list is no setting, or its value is not one that the setting takes."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How one call is answered. Counts are tokens, times milliseconds; None: not asked for.

    A field whose name ends with an underscore is written without it. `docs/fake-provider.md` says what each does.
    """

    out: int = 16
    in_: int | None = None
    cached: int = 0
    write5m: int = 0
    write1h: int = 0
    reasoning: int = 0
    audio_in: int = 0
    audio_out: int = 0
    searches: int = 0
    compaction_in: int = 0
    compaction_out: int = 0
    unknown: int = 0
    unknown_detail: int = 0
    tier: str = ""
    speed: str = ""
    geo: str = ""
    model: str = ""
    provider: str = ""
    tools: int = 0
    refusal: bool = False
    finish: str = ""
    usage: str = "normal"
    deltas: int = 1
    interval: float = 0.0
    ttfb: float = 0.0
    group: int = 0
    split: int = 0
    split_ms: float = 0.0
    gzip: bool = False
    length: int = 0
    status: int = 0
    retry_after: int | None = None
    error_after: int | None = None
    fail_after: int | None = None
    close: bool = False
    close_after: int | None = None
    end_after: int | None = None
    reset: bool = False
    hang: str = "no"
    hang_after: int | None = None
    drop: str = "pace"
    fail_percent: float = 0.0
    fail_with: str = "status"
    cut: tuple[str, int] | None = field(init=False, default=None)
    """How the answer breaks off, and after how many generated tokens; None: it does not."""

    @property
    def paced(self) -> bool:
        """Whether the answer takes time of its own."""
        return self.interval > 0 or self.ttfb > 0

    def __post_init__(self) -> None:
        for kind in ("error", "fail", "close", "end", "hang"):
            after = getattr(self, f"{kind}_after")
            if after is not None:
                object.__setattr__(self, "cut", (kind, after))
                return


_FIELDS = {each.name.rstrip("_"): each for each in fields(Behaviour) if each.init}
_CHOICES = {"usage": USAGES, "hang": HANGS, "drop": DROPS}
NAMES = tuple(_FIELDS)


def parse(text: str) -> dict[str, Any]:
    """The settings that a list of `k=v` words names, by field. Words are parted by spaces, commas or semicolons.

    A flag may stand without a value. Raises UnknownDirective.
    """
    settings: dict[str, Any] = {}
    for word in re.split(r"[\s,;]+", text.strip()):
        if word:
            name, _, value = word.partition("=")
            known = _FIELDS.get(name)
            if known is None:
                raise UnknownDirective(f"unknown directive {name!r}; known are {', '.join(NAMES)}")
            settings[known.name] = _value(name, _kind(known.type), value)
    return settings


def _kind(annotation: Any) -> str:
    """The name of a field's type, such as `int` or `int | None`."""
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _value(name: str, kind: str, value: str) -> Any:
    """The value of a setting, as its field has it."""
    if kind == "bool":
        if value not in ("", "0", "1"):
            raise UnknownDirective(f"directive {name} takes 0 or 1, not {value!r}")
        return value != "0"
    if kind == "str":
        allowed = _CHOICES.get(name)
        if (allowed is not None and value not in allowed) or (
            name == "fail_with" and not set(value.split("|")) <= set(FAULTS)
        ):
            raise UnknownDirective(f"directive {name} takes {', '.join(allowed or FAULTS)}, not {value!r}")
        return value
    if value == "" and kind.endswith("None"):
        return None
    try:
        number: float = float(value) if kind == "float" else int(value)
    except ValueError:
        raise UnknownDirective(f"directive {name} takes a number, not {value!r}") from None
    if number < 0 and name != "length":
        raise UnknownDirective(f"directive {name} is never negative")
    return number


class Directives:
    """The server-wide defaults, and each request's own settings over them: header over prompt over defaults."""

    def __init__(self, defaults: str = "") -> None:
        self._defaults = replace(Behaviour(), **parse(defaults))
        self._remembered: dict[tuple[bytes, bytes], Behaviour] = {}

    def change(self, text: str) -> None:
        """Change the defaults that the list names and keep the others. Raises UnknownDirective."""
        self._defaults = replace(self._defaults, **parse(text))
        self._remembered.clear()

    def reset(self, text: str) -> None:
        """Set all defaults anew. Raises UnknownDirective."""
        self._defaults = replace(Behaviour(), **parse(text))
        self._remembered.clear()

    def of(self, *, header: bytes, body: bytes) -> Behaviour:
        """How to answer a request with this `x-fake` header (b"" for none) and body. Raises UnknownDirective.

        Of several lists in the prompt the last counts: a conversation repeats what was said before.
        """
        prompt = b""
        if b"[[fake " in body:
            found = _IN_PROMPT.findall(body)
            prompt = found[-1] if found else b""
        if not header and not prompt:
            return self._defaults
        behaviour = self._remembered.get((header, prompt))
        if behaviour is None:
            own = parse(prompt.decode("utf-8", "replace")) | parse(header.decode("latin-1"))
            behaviour = replace(self._defaults, **own)
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[header, prompt] = behaviour
        return behaviour
