"""The only transactions: each service reads facts, lets the core decide, writes once."""
