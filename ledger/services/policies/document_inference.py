"""The section of a policy that is about inference calls, as pydantic models.

Owns its fields and their descriptions. Invariant: what it says shapes calls through the gateway and no decision; a part
by itself is well formed, and what it must keep to beside the rest of the policy stands in ``document_checks``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ledger.services.policies.document_fields import AmountText, StrictModel

TOKENS_MAX = 1_000_000_000

Tokens = Annotated[int, Field(ge=1, le=TOKENS_MAX)]


class Ceilings(StrictModel):
    """What a call is held at whose cost cannot be bounded before; a thing without a ceiling denies the call."""

    previous_response: AmountText | None = Field(
        default=None, description="An earlier response whose length is not known (previous_response_id)."
    )
    conversation: AmountText | None = Field(default=None, description="A conversation that the provider keeps.")
    background: AmountText | None = Field(default=None, description="A call that goes on after its answer.")
    url_input: AmountText | None = Field(default=None, description="Images, files or documents by address.")
    file_input: AmountText | None = Field(default=None, description="Files by id, and documents of unknown length.")
    server_tools: AmountText | None = Field(
        default=None, description="Tools that run at the provider: web search, code execution, MCP and the like."
    )
    stored_prompt: AmountText | None = Field(default=None, description="A prompt that the provider keeps.")
    item_reference: AmountText | None = Field(default=None, description="Items of earlier responses, by id.")
    web_search_options: AmountText | None = Field(default=None, description="Web search in Chat Completions.")
    fast_mode: AmountText | None = Field(default=None, description="A faster mode at a price of its own.")
    compaction: AmountText | None = Field(
        default=None, description="A context that the provider compacts with further runs of a model."
    )
    other_models: AmountText | None = Field(default=None, description="Fallbacks to other models, routing and presets.")
    data_residency: AmountText | None = Field(default=None, description="Inference in one region, priced apart.")
    service_tier: AmountText | None = Field(default=None, description="A service tier whose price is not known.")
    any: AmountText | None = Field(default=None, description="Whatever cannot be bounded and is not named here.")


class FallbackPrice(StrictModel):
    """Prices for models that nobody has a price for."""

    input_mtok: AmountText = Field(description='A million tokens of input, as text in quotes: "5.00".')
    output_mtok: AmountText = Field(description='A million tokens of output: "25.00".')


class Stream(StrictModel):
    """Let streams start on a smaller hold that is extended ahead of what was seen."""

    start_tokens: Tokens = Field(description="Tokens of output that the first hold covers.")
    lookahead_tokens: Tokens = Field(description="How many tokens ahead of what was seen the hold is kept.")


class Inference(StrictModel):
    """How the gateway treats inference calls of those the policy applies to."""

    default_max_output_tokens: Tokens | None = Field(
        default=None,
        description="Held, and forwarded as the limit, where the client names none; left out: the model's largest.",
    )
    min_output_tokens: Tokens | None = Field(
        default=None,
        description="A call that the budget affords fewer tokens of output is denied, not lowered; left out: 16.",
    )
    ceilings: Ceilings | None = Field(
        default=None,
        description="What a call is held at whose cost cannot be bounded before.",
        json_schema_extra={"minProperties": 1},
    )
    fallback_price: FallbackPrice | None = Field(
        default=None, description="For models that nobody has a price for; left out, they are denied."
    )
    unknown: Literal["keep", "settle"] = Field(
        default="keep",
        description="A call whose outcome is not known, once its time has run out: keep it held until somebody "
        "reconciles it, or settle it at its amount.",
    )
    stream: Stream | None = Field(
        default=None, description="Streams may start on a smaller hold; left out, they hold all that they can cost."
    )
