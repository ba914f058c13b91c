"""The JSON Schema (draft 2020-12) that editors complete and check policy files with.

Invariant: every document that the schema's examples, the shipped policies or the pages show is valid by it, and every
field has a description. What only a look at several parts can tell (unique ids, a currency for each amount) is left to
``bursar policy check``.
"""

from __future__ import annotations

from typing import Any, Final

import orjson
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from ledger.services.policies.document import PolicyDocument

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
IDENTIFIER: Final = "urn:bursar:policy:1"


class _EditorSchema(GenerateJsonSchema):
    """A field that may be left out is not one that may be null."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        found = super().default_schema(schema)
        return {name: value for name, value in found.items() if (name, value) != ("default", None)}


def json_schema() -> dict[str, Any]:
    """The schema of a policy as YAML says it, shorthands included; a new object at each call."""
    generated = PolicyDocument.model_json_schema(
        by_alias=True, mode="validation", schema_generator=_EditorSchema, ref_template="#/$defs/{model}"
    )
    definitions = generated.pop("$defs")
    _tighten(definitions)
    for part in (generated, *definitions.values()):
        for field in part["properties"].values():
            field.pop("title", None)
    generated.pop("title")
    return {"$schema": DIALECT, "$id": IDENTIFIER, "title": "Bursar policy", **generated, "$defs": definitions}


def _tighten(definitions: dict[str, Any]) -> None:
    """Say what the models leave to checks of their own."""
    definitions["Scope"] |= {"minProperties": 1, "maxProperties": 1}
    definitions["Lists"] |= {"minProperties": 1}
    definitions["Match"] |= {"minProperties": 1}
    definitions["Inference"] |= {"minProperties": 1}
    definitions["Ceilings"] |= {"minProperties": 1}
    definitions["Limit"] |= {"anyOf": [{"required": ["max"]}, {"required": ["max_count"]}]}
    # The id of an approval rule has a default that depends on its position.
    definitions["Approval"]["required"].remove("id")


def published_text() -> str:
    """The schema as the text that ``bursar policy schema`` prints and policies/policy.schema.json holds."""
    return orjson.dumps(json_schema(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
