"""What is known of a model by its name: its encoding, what an image costs at most, whether it reasons unseen.

Invariant: a name that is not known for certain gets the weaker claim (bytes instead of an encoding, the dearest image,
hidden reasoning), so that not knowing never makes a bound too low.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

O200K = "o200k_base"
CL100K = "cl100k_base"

# Which model uses which encoding: tiktoken's model table (tiktoken/model.py), which OpenAI maintains. gpt-oss counts as
# o200k_base: its harmony encoding differs in special tokens only.
_O200K = re.compile(
    r"(?:openai/)?(?:ft:)?(?:chatgpt-.+|(?:gpt-4o|gpt-4\.1|gpt-4\.5|gpt-5|gpt-oss|o[134])(?:[-.:@].*)?)"
)
_CL100K = re.compile(r"(?:openai/)?(?:ft:)?(?:gpt-4|gpt-3\.5|gpt-35|text-embedding-(?:3|ada))(?:[-:@].*)?")
_HARMONY = re.compile(r"(?:openai/)?gpt-oss")

# These models think only when they are asked to (OpenAI's model pages; Anthropic, "Extended thinking").
_ANSWERS_AT_ONCE = re.compile(
    r"(?:openai/)?(?:ft:)?(?:chatgpt-4o|gpt-4o|gpt-4\.1|gpt-4\.5|gpt-4|gpt-3\.5|gpt-35)(?:[-:@].*)?"
    r"|(?:anthropic/)?claude-(?:3.*|(?:opus|sonnet|haiku)-4(?:[-.][0-7])?(?:-\d{8}|-latest)?)"
)
# Only these know the reasoning effort "none" (OpenAI, "Reasoning models"; gpt-5 itself has "minimal").
_EFFORT_NONE = re.compile(r"(?:openai/)?gpt-5\.\d.*")
# These search, browse or run code at the provider without being given a tool: OpenAI's search and deep research models,
# Perplexity's Sonar, Groq's Compound, OpenRouter's ":online".
_RUNS_TOOLS = re.compile(r"search|deep-research|sonar|compound|:online", re.IGNORECASE)


def _patched(patches: int, multiplier_percent: int) -> int:
    """Tokens of an image of so many patches, rounded up."""
    return -(-patches * multiplier_percent // 100)


# The largest cost of one image, by family: OpenAI, "Images and vision", "Calculating costs". Tiled models: base and
# eight tiles, because an image fits in 2048 x 2048 with its shorter side at 768, which eight of 512 x 512 cover.
# Patched models: patches times a multiplier, with 1,536 patches at most, and 10,000 in the original detail of later
# models, whose multiplier (1.2 where it is documented) is taken as the largest of all.
_TILES = 8
_PATCHES = 1_536
_ORIGINAL_PATCHES = 10_000
_IMAGES: tuple[tuple[re.Pattern[str], int], ...] = tuple(
    (re.compile(r"(?:openai/)?(?:ft:)?" + name), tokens)
    for name, tokens in (
        (r"gpt-4o-mini", 2_833 + _TILES * 5_667),
        (r"gpt-4\.1-mini", _patched(_PATCHES, 162)),
        (r"gpt-4\.1-nano", _patched(_PATCHES, 246)),
        (r"o4-mini", _patched(_PATCHES, 172)),
        (r"gpt-(?:5\.|6)", _patched(_ORIGINAL_PATCHES, 246)),
        (r"gpt-5(?:$|[-:@])", _patched(_PATCHES, 246)),
        (r"(?:chatgpt-4o|gpt-4o|gpt-4\.1|gpt-4\.5|gpt-4-)", 85 + _TILES * 170),
        (r"(?:o1|o3)(?:$|[-:@])", 75 + _TILES * 150),
    )
)
# Anthropic, "Vision": an image costs a token for each patch of 28 x 28 after it was scaled down, up to 4,784 with the
# high resolution of Claude 4.7 and later, up to 1,568 before.
CLAUDE_IMAGE_TOKENS = 4_784
# For families without a documented bound: above every one above, and four times the largest of Qwen-VL (16,384).
OTHER_IMAGE_TOKENS = 65_536


@dataclass(frozen=True, slots=True)
class Family:
    """What a model's name says. Overheads are tokens: once a call (the provider's own preamble), and for each message.

    ``known``: OpenAI's recipe for messages and tools holds for it.
    """

    known: bool
    encoding: str | None
    image_tokens: int
    reasons_unseen: bool
    knows_effort_none: bool
    runs_tools: bool
    call_tokens: int
    message_tokens: int


@lru_cache(maxsize=1024)
def family_of(model: str) -> Family:
    """The family of a model of the OpenAI wires.

    Overheads: OpenAI's recipe ("How to count tokens with tiktoken", OpenAI cookbook) has 3 or 4 tokens for each
    message, 1 for a name and 3 for the reply; chat templates of other models begin with a preamble of up to about a
    hundred tokens (Llama's date lines, harmony's system message) and wrap messages in longer marks.
    """
    encoding = encoding_of(model)
    known = encoding is not None and not _HARMONY.match(model)
    return Family(
        known=known,
        encoding=encoding,
        image_tokens=next((tokens for name, tokens in _IMAGES if name.match(model)), OTHER_IMAGE_TOKENS),
        reasons_unseen=_ANSWERS_AT_ONCE.fullmatch(model) is None,
        knows_effort_none=_EFFORT_NONE.fullmatch(model) is not None,
        runs_tools=_RUNS_TOOLS.search(model) is not None,
        call_tokens=16 if known else 256,
        message_tokens=8 if known else 32,
    )


@lru_cache(maxsize=1024)
def claude_of(model: str) -> Family:
    """The family of a model of the Messages wire. Anthropic publishes no encoding, so text is bounded by its bytes."""
    return Family(
        known=False,
        encoding=None,
        image_tokens=CLAUDE_IMAGE_TOKENS if "claude" in model else OTHER_IMAGE_TOKENS,
        reasons_unseen=_ANSWERS_AT_ONCE.fullmatch(model) is None,
        knows_effort_none=False,
        runs_tools=_RUNS_TOOLS.search(model) is not None,
        call_tokens=32 if "claude" in model else 256,
        message_tokens=32,
    )


def encoding_of(model: str) -> str | None:
    """The public encoding that the model is known to use, or None: then its tokens are bounded by bytes."""
    if _O200K.fullmatch(model):
        return O200K
    return CL100K if _CL100K.fullmatch(model) else None
