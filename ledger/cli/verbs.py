"""What the server's verbs do, one line each, for `bursar --help`.

Invariant: imports nothing, because the command reads this whenever it prints its help. The command itself lives in
the client distribution; it finds this table through the entry-point group `bursar.summaries` and the verbs through
`bursar.commands`.
"""

from __future__ import annotations

from typing import Final

# The order is the one in which a newcomer needs the verbs.
SUMMARIES: Final[dict[str, str]] = {
    "init": "Make a book in a new or existing database, and its first admin key.",
    "serve": "Serve the HTTP API: agents ask here before they spend.",
    "verify": "Prove the books: recompute every record, balance and root.",
    "export": "Write a book into one file that others verify, and that is a backup.",
    "import": "Make a book out of such a file, once it is proved.",
    "statement": "Write the statement of a budget, an agent, a payee or the book for a month.",
    "close": "Close a month: check it, and record the digests of its statements.",
    "reopen": "Open the month again that was closed last, by two persons.",
    "periods": "See which months are closed, and compare their statements with the digests on record.",
    "report": "Write a trial balance, payables, budgets, chargeback or what a success costs.",
    "journal": "Write the journal for other programs: beancount, hledger, CSV, FOCUS, OpenTelemetry.",
    "reconcile": "Compare a provider's figures with the ledger, and book what is accepted.",
    "take-over": "Begin a book with opening balances and the spend of earlier days.",
    "rebuild": "Make again what statements are read from, out of the log.",
    "checkpoint": "Sign the log as it is now, and rotate the key that signs.",
    "prove": "Print proof of an authorization: a file that anybody can check.",
    "verify-proof": "Check a proof file, with no server and no database.",
    "witness": "Watch a book's checkpoints from elsewhere, and shout when its log is rewritten.",
    "migrate": "Bring the database's tables up to this version.",
    "partitions": "See and make the partitions of the log on PostgreSQL, archive and detach old ones.",
    "keys": "Recover an admin key as the owner of the database.",
    "freeze": "Stop an agent, a team, a budget or the whole book.",
    "unfreeze": "Let go on what was frozen, with a reason.",
    "replay": "Decide again what was decided, and show what comes out otherwise.",
    "redact": "Remove free texts for good, on record, and leave every proof good.",
    "rates": "Give rates of exchange, by hand or from a file of the ECB, and list them.",
    "approvals": "See the requests that wait for people, and grant or refuse them.",
    "corrections": "See the corrections that wait for a second person, and decide on them.",
    "delegations": "Let somebody approve in your place for a time.",
    "policy": "Write, try and change the rules of who may spend what.",
    "explain": "Tell why a request to spend was approved or denied.",
    "gateway": "Settle or release inference calls whose outcome is not known.",
    "prices": "Show what a model costs, today or on a date, and where the price comes from.",
    "reprice": "Correct what calls were settled for at a wrong price, without editing history.",
    "demo": "Run a day of agent work against a real server.",
}
