"""The one request that every server is asked, and an answer of the size that a real approval has.

Invariant: compared servers receive the same bytes but for the port, the budgets' names and the keys.
"""

from typing import Any

CURRENCY = "USD"
CATEGORY = "inference"
PAYEE = "openai"
HOLD_SECONDS = 86_400
"""Long enough that no hold expires while the bench runs: expiry is work of its own."""


def authorization_request(currency: str = CURRENCY) -> dict[str, Any]:
    """The body of an authorization, without the budget."""
    return {
        "amount": {"amount": "0.000050000", "currency": currency},
        "category": CATEGORY,
        "payee": PAYEE,
        "resource": "gpt-5-mini",
        "intent": "summarize ticket 4711",
        "ttl_seconds": HOLD_SECONDS,
        "labels": {"prompt": "v7"},
    }


def settle_request(currency: str = CURRENCY) -> dict[str, Any]:
    """The body of a final settlement for half of what was held."""
    return {"amount": {"amount": "0.000025000", "currency": currency}, "final": True}


def authorization_response() -> dict[str, Any]:
    """An approval as the HTTP contract describes it."""

    def money(amount: str) -> dict[str, str]:
        return {"amount": amount, "currency": CURRENCY}

    return {
        "id": "auth_01JD3Z8XK4T7Q2M9V6B5N1C0FG",
        "state": "held",
        "amount": money("0.000050000"),
        "approved": money("0.000050000"),
        "expires_at": "2026-11-02T10:00:00.000000Z",
        "decision": {"outcome": "approved", "reasons": [], "policies": [], "limits": []},
        "budget": {
            "id": "bench-0001",
            "available": money("999999.950000000"),
            "held": money("0.050000000"),
            "spent": money("0.000000000"),
        },
        "log": {
            "index": 1234,
            "leaf_hash": "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        },
    }
