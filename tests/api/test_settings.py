"""Settings: flags, environment and the page say the same, because they come from one model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from api.serve import ServeRefused, settings_of
from api.settings import Settings, bounds, flags, shown_default

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTED = re.compile(r"^\| `([a-z_]+)` \| `([^`]*)` \| ([^|]*) \| ([^|]+) \|$", re.MULTILINE)


def test_the_page_shows_the_model() -> None:
    """docs/settings.md has each setting with its default, bounds and meaning, in order, and no other."""
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    shown = [(name, default, values.strip(), meaning) for name, default, values, meaning in DOCUMENTED.findall(page)]
    assert shown == [
        (name, shown_default(name), bounds(name), information.description)
        for name, information in Settings.model_fields.items()
    ]


def test_there_is_one_flag_for_each_setting() -> None:
    """No setting without a flag, no flag without a setting."""
    assert [parameter.name for parameter in flags()] == list(Settings.model_fields)


def test_a_flag_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the environment over the default."""
    monkeypatch.setenv("BURSAR_PORT", "9001")
    monkeypatch.setenv("BURSAR_LOG_FORMAT", "json")
    settings = settings_of({"port": 9002, "host": None})
    assert (settings.port, settings.log_format, settings.host) == (9002, "json", "127.0.0.1")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"port": 70_000}, "--port"),
        ({"workers": 0}, "--workers"),
        ({"tls_cert_file": Path("cert.pem")}, "tls_key_file"),
        ({"queue_commands_max": 1000, "batch_commands_max": 1001}, "batch_commands_max"),
        ({"queue_commands_max": 999}, "--queue-commands-max"),
    ],
)
def test_a_setting_that_cannot_be_is_named(given: dict[str, object], named: str) -> None:
    """The server does not start, and says which setting to change."""
    with pytest.raises(ServeRefused) as refused:
        settings_of(given)
    assert named in refused.value.format_message()
