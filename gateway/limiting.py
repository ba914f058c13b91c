"""Writing the limit that is held into the body that is forwarded.

Pure. Invariant: after ``limited`` the field that the provider reads says no more than the limit; every byte that does
not have to change stays the client's own.
"""

from __future__ import annotations

from gateway.config import Provider
from gateway.estimate import Request
from gateway.splice import set_members, without_member
from gateway.wires import Wire

_NEWER = "max_completion_tokens"


def limited(body: bytes, request: Request, provider: Provider, limit: int) -> bytes:
    """The body with this limit on its output, under a name that the provider reads."""
    named = request.output_fields
    changed = named if limit != request.output_limit else ()
    fields = dict.fromkeys(changed, b"%d" % limit)
    own = provider.output_limit_field if request.wire is Wire.CHAT else request.new_output_field
    knows_both = request.wire is Wire.CHAT and provider.output_limit_fields == "both"
    if own not in named and not (named and knows_both):
        if named and own == _NEWER:
            # Who reads the newer name alone may refuse both together, as OpenAI does.
            body, fields = without_member(body, named[0]), {}
        fields[own] = b"%d" % limit
    return set_members(body, fields) if fields else body
