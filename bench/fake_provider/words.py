"""The text that the fake provider generates, and how it counts what it is sent.

Invariant: a generated text of n pieces is exactly n tokens in both of OpenAI's encodings (o200k_base and cl100k_base),
so a gateway that counts what it saw of a broken stream counts what was generated.
"""

from collections.abc import Iterable
from functools import lru_cache

# Each word with the space before it is one token in both encodings; a test counts them.
WORDS = tuple(
    (
        "budget ledger river stone paper light garden window market bridge number letter silver morning country simple "
        "answer travel winter summer metal island orange circle valley engine signal planet forest mirror harbor ticket"
    ).split()
)
TOKENS_PER_MESSAGE = 3
TOKENS_PER_REPLY = 3
_SHORTEST_ARGUMENTS = 5


@lru_cache(maxsize=512)
def text_pieces(tokens: int) -> tuple[str, ...]:
    """That many tokens of prose, one string each; they join to the text."""
    return tuple(" " + WORDS[number % len(WORDS)] for number in range(tokens))


@lru_cache(maxsize=512)
def argument_pieces(tokens: int) -> tuple[str, ...]:
    """That many tokens, one string each, that join to a JSON object: a tool call's arguments. None for 0 tokens."""
    if tokens == 0:
        return ()
    if tokens == 1:
        return ("{}",)
    if tokens < _SHORTEST_ARGUMENTS:
        return ("{", *[" "] * (tokens - 2), "}")
    return ('{"', "text", '":"', *text_pieces(tokens - 4), '"}')


def counted_tokens(texts: Iterable[str], *, messages: int) -> int:
    """Tokens to bill for texts that came in so many messages; with no message, the texts alone.

    One for each word, three for each message and three for the reply. Byte-pair encodings never join two words, so this
    is never more than the exact count of https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken.
    """
    words = sum(len(text.split()) for text in texts)
    return words + (TOKENS_PER_MESSAGE * messages + TOKENS_PER_REPLY if messages else 0)
