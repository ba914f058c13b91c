"""The ledger: accounts, budgets, holds and the append-only log; it knows nothing of HTTP."""
