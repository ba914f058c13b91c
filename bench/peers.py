"""Which other gateways take the gateway's load: read from `--peer`, `--peer-key` and `--peer-model`.

Invariant: what a peer is not told by its own name, it is told by the entry without a name, or by the default.
"""

from collections.abc import Sequence

import click

from bench.context import Peer

DEFAULT_KEY = "sk-bench"
DEFAULT_MODEL = "gpt-4o-mini"


def read_peer(text: str, *, keys: Sequence[str], models: Sequence[str]) -> Peer:
    """The peer that `NAME=URL` names, with what `[NAME=]KEY` and `[NAME=]MODEL` say of it. Raises click.UsageError."""
    name, _, url = text.partition("=")
    if not name or not url.startswith("http://"):
        raise click.UsageError(f"--peer {text!r} is not NAME=http://HOST:PORT/PATH")
    return Peer(
        name=name,
        url=url.rstrip("/"),
        key=_said_of(name, keys) or DEFAULT_KEY,
        model=_said_of(name, models) or DEFAULT_MODEL,
    )


def _said_of(name: str, entries: Sequence[str]) -> str:
    """What was said of this name last, else what was said of none."""
    own = [entry.removeprefix(f"{name}=") for entry in entries if entry.startswith(f"{name}=")]
    for_all = [entry for entry in entries if "=" not in entry]
    return (own or for_all or [""])[-1]
