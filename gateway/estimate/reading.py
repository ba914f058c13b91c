"""What has been read of a request so far: texts to count, tokens that stand fixed, and what cannot be bounded.

Invariant: every string that a model may read enters ``texts`` or is charged at one token a byte; nothing that was seen
is dropped in silence.
"""

import base64
import binascii

from gateway.estimate.document import json_text
from gateway.estimate.models import Family

# Between two pieces of one message a provider puts its own marks; joining two pieces may also split them differently.
PIECE_TOKENS = 8
# A definition becomes text of the provider's making. OpenAI's recipe for tools (cookbook, "How to count tokens with
# tiktoken") adds 7 to 12 tokens for each tool and 3 for each property on top of names and descriptions.
DEFINITION_TOKENS = 32
OBJECT_TOKENS = 8
# A number in JSON text has at most 25 characters (a double) or 20 (an integer).
NUMBER_TOKENS = 25
# Audio is read at 10 tokens a second by OpenAI (Realtime guide) and 32 by Gemini. An MP3 carries at least 8 kbit/s
# (ISO/IEC 13818-3), so 1,000 bytes a second: one token for every 25 bytes is more than either.
AUDIO_BYTES_A_TOKEN = 25
_LEAST_AUDIO_BYTES_A_SECOND = 1_000
_WAV_HEADER_BYTES = 36

PREVIOUS_RESPONSE = "previous_response"
CONVERSATION = "conversation"
BACKGROUND = "background"
URL_INPUT = "url_input"
FILE_INPUT = "file_input"
SERVER_TOOLS = "server_tools"
STORED_PROMPT = "stored_prompt"
ITEM_REFERENCE = "item_reference"
WEB_SEARCH = "web_search_options"
FAST_MODE = "fast_mode"
COMPACTION = "compaction"
OTHER_MODELS = "other_models"
DATA_RESIDENCY = "data_residency"
SERVICE_TIER = "service_tier"
# Of these the size of each counts: a request may hold any number.
_EACH = frozenset({URL_INPUT, FILE_INPUT})


class Unbounded:
    """What a request holds that nothing bounds, by its name; inputs that stand elsewhere as often as they are there."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def add(self, name: str) -> None:
        """One more of it."""
        self._counts[name] = self._counts.get(name, 0) + 1 if name in _EACH else 1

    @property
    def names(self) -> tuple[str, ...]:
        """In order, each as often as it counts."""
        return tuple(name for name in sorted(self._counts) for _ in range(self._counts[name]))


class Reading:
    """The accumulator that the readers of all wires write to."""

    __slots__ = ("audio_tokens", "family", "fixed_tokens", "image_tokens", "prediction", "texts", "unbounded")

    def __init__(self, family: Family) -> None:
        self.family = family
        self.texts: list[str] = []
        self.prediction: list[str] = []
        self.fixed_tokens = family.call_tokens
        self.image_tokens = 0
        self.audio_tokens = 0
        self.unbounded = Unbounded()
        if family.runs_tools:
            self.unbounded.add(SERVER_TOOLS)

    def piece(self, text: str) -> None:
        """One text among others in a message."""
        self.texts.append(text)
        self.fixed_tokens += PIECE_TOKENS

    def definition(self, node: object) -> None:
        """A tool, a schema, a call: counted as its JSON text, and more for each object in it."""
        text = json_text(node)
        self.texts.append(text)
        self.fixed_tokens += DEFINITION_TOKENS + OBJECT_TOKENS * text.count("{")

    def opaque(self, data: str) -> None:
        """Encrypted content: what is in it cannot have more tokens than it has bytes."""
        self.fixed_tokens += len(data) + PIECE_TOKENS

    def anything(self, node: object) -> None:
        """All text in a part of the document that nobody here knows: names and strings, numbers by their length."""
        waiting = [node]
        while waiting:
            item = waiting.pop()
            kind = type(item)
            if kind is str:
                self.piece(item)  # type: ignore[arg-type]
            elif kind is dict:
                self.texts.extend(item)  # type: ignore[arg-type]
                self.fixed_tokens += PIECE_TOKENS * (1 + len(item))  # type: ignore[arg-type]
                waiting.extend(item.values())  # type: ignore[attr-defined]
            elif kind is list:
                self.fixed_tokens += 2 + len(item)  # type: ignore[arg-type]
                waiting.extend(item)  # type: ignore[arg-type]
            else:
                self.fixed_tokens += NUMBER_TOKENS

    def image(self) -> None:
        """An image whose pixels are in the request."""
        self.image_tokens += self.family.image_tokens
        self.fixed_tokens += PIECE_TOKENS

    def image_at(self, address: object) -> None:
        """An image by its address: a data URL is here, anything else is fetched by the provider, who knows what."""
        if type(address) is not str:
            self.unbounded.add(FILE_INPUT)
        elif address[:11].lower() == "data:image/":
            self.image()
        elif address[:5].lower() == "data:":
            self.unbounded.add(FILE_INPUT)
        else:
            self.unbounded.add(URL_INPUT)

    def remote(self, address: object) -> None:
        """A file by its address: fetched by the provider, or data whose tokens its bytes do not bound (PDF, video)."""
        is_address = type(address) is str and not address.startswith("data:")
        self.unbounded.add(URL_INPUT if is_address else FILE_INPUT)

    def audio(self, data: object, *, encoding: object) -> None:
        """Audio in base64. Only what cannot hide long silence in few bytes is bounded: MP3, and WAV by its own
        header."""
        if type(data) is not str or encoding not in ("mp3", "wav") or (encoding == "wav" and not _steady_wav(data)):
            self.unbounded.add(FILE_INPUT)
            return
        self.audio_tokens += len(data) * 3 // 4 // AUDIO_BYTES_A_TOKEN + 1
        self.fixed_tokens += PIECE_TOKENS


def _steady_wav(data: str) -> bool:
    """Whether these are WAV bytes of a steady rate that the bound rests on, by a header that agrees with itself."""
    try:
        header = base64.b64decode(data[:64], validate=True)
    except (binascii.Error, ValueError):
        return False
    if len(header) < _WAV_HEADER_BYTES or header[:4] != b"RIFF" or header[8:16] != b"WAVEfmt ":
        return False
    channels, bits = int.from_bytes(header[22:24], "little"), int.from_bytes(header[34:36], "little")
    samples, rate = int.from_bytes(header[24:28], "little"), int.from_bytes(header[28:32], "little")
    return rate >= _LEAST_AUDIO_BYTES_A_SECOND and rate * 8 == samples * channels * bits
