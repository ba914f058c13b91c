"""The wire formats that the gateway speaks.

Invariant: a call whose wire is not named here is not forwarded, so that no route evades the budget.
"""

from enum import Enum


class Wire(Enum):
    """One wire format of a call that costs money. The value is what records and settings say."""

    CHAT = "openai-chat"
    RESPONSES = "openai-responses"
    EMBEDDINGS = "openai-embeddings"
    MESSAGES = "anthropic-messages"
