"""gateway.yaml: what it may say, what it is told when it says something else, and that keys are read, not written."""

from pathlib import Path

import pytest

from gateway.config import GatewayInvalid, load_config


def written(folder: Path, text: str) -> Path:
    path = folder / "gateway.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_a_file_there_are_two_providers() -> None:
    config = load_config(None)
    assert {name: provider.base_url for name, provider in config.providers.items()} == {
        "openai": "https://api.openai.com/v1",
        "anthropic": "https://api.anthropic.com",
    }


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-from-a-file\n", encoding="utf-8")
    config = load_config(
        written(
            tmp_path,
            "prices: prices.yaml\nproviders:\n  local: {base_url: 'http://127.0.0.1:9/v1/', key: {file: key}}\n",
        )
    )
    provider = config.providers["local"]
    assert config.prices == tmp_path / "prices.yaml"
    assert provider.base_url == "http://127.0.0.1:9/v1"
    assert provider.key is not None
    secret = provider.key.read()
    assert secret is not None
    assert secret.get_secret_value() == "sk-from-a-file"
    assert "sk-from-a-file" not in repr(config) + repr(secret)


def test_a_key_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_KEY", "gsk_1")
    config = load_config(written(tmp_path, "providers: {groq: {base_url: 'https://g.example', key: {env: GROQ_KEY}}}"))
    key = config.providers["groq"].key
    assert key is not None
    secret = key.read()
    assert secret is not None
    assert secret.get_secret_value() == "gsk_1"
    monkeypatch.delenv("GROQ_KEY")
    assert key.read() is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("providers: {openai: {base_url: 'ftp://x'}}", "providers.openai.base_url: a base URL is http(s)://HOST"),
        ("providers: {openai: {base_url: 'https://user:pw@x/v1'}}", "without credentials"),
        ("providers: {OpenAI: {base_url: 'https://x'}}", "is no provider's name"),
        ("providers: {a_b: {base_url: 'https://x'}}", "is no provider's name"),
        ("providers: {x: {base_url: 'https://x', key: sk-123}}", "providers.x.key"),
        ("providers: {x: {base_url: 'https://x', key: {env: A, file: b}}}", "exactly one of env and file"),
        ("providers: {x: {base_url: 'https://x', headers: {'a b': c}}}", "is not one that can be sent"),
        ("wait_seconds: 31", "wait_seconds: Input should be less than or equal to 30"),
        ("idle_seconds: 400\ntotal_seconds: 300", "idle_seconds must not exceed total_seconds"),
        ("bodies_bytes_max: 1048576", "body_bytes_max must not exceed bodies_bytes_max"),
        ("unknown_field: 1", "unknown_field: Extra inputs are not permitted"),
        ("- a list", "the file: Input should be a valid dictionary"),
        ("a: [", "is not YAML"),
    ],
)
def test_what_is_refused_and_why(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(GatewayInvalid) as caught:
        load_config(written(tmp_path, text))
    assert says in str(caught.value)
    assert "sk-123" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(GatewayInvalid, match="cannot be read"):
        load_config(tmp_path / "none.yaml")


@pytest.mark.parametrize("name", ["api-key", "Authorization", "X-Api-Key"])
def test_a_key_is_not_written_among_the_headers(tmp_path: Path, name: str) -> None:
    with pytest.raises(GatewayInvalid, match="use key with header"):
        load_config(written(tmp_path, f"providers: {{a: {{base_url: 'https://a.example', headers: {{{name}: x}}}}}}"))


def test_a_key_in_a_file_keeps_its_header(tmp_path: Path) -> None:
    text = "providers: {a: {base_url: 'https://a.example', key: {file: key, header: api-key}}}"
    key = load_config(written(tmp_path, text)).providers["a"].key
    assert key is not None
    assert (key.file, key.header) == (tmp_path / "key", "api-key")
