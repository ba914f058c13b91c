"""A provider of inference that is not one: it answers as the real ones do, and keeps its own bill.

It stands behind the gateway in tests and measurements. Invariants: it shares no rule with what it judges (its prices
come from genai-prices itself, or from a table given to it); nothing is billed before anything was generated; and
whatever was generated is on the bill before the client can see its end.

    python -m bench.fake_provider --port 0 --bill bill.jsonl

docs/fake-provider.md lists what a request may ask for.
"""
