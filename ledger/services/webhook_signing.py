"""Signatures as Standard Webhooks has them: HMAC-SHA256 over ``id.timestamp.body``.

Source: the Standard Webhooks specification, version 1. Invariant: with two secrets valid there are two signatures, so
a receiver that knows either of them can verify.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

SECRET_PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
USER_AGENT: Final = "Bursar-Webhooks/1"


def secret_text(secret: bytes) -> str:
    """A secret as its receiver is given it."""
    return SECRET_PREFIX + base64.b64encode(secret).decode()


def signature(secret: bytes, *, identity: str, timestamp: int, body: bytes) -> str:
    """One signature. ``timestamp`` in seconds since 1970 UTC."""
    signed = f"{identity}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()


def signed_headers(secrets: Sequence[bytes], *, identity: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a delivery. ``identity`` is the event's id, the same at every attempt."""
    signatures = (signature(secret, identity=identity, timestamp=timestamp, body=body) for secret in secrets)
    return {
        "content-type": "application/json",
        "user-agent": USER_AGENT,
        "webhook-id": identity,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }
