"""Where the gateway is: the parts of the address that `--url` gives.

Pure. Invariant: what is taken for an address has a scheme that can be spoken, a host and a port, and nothing behind
its path.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit


class GatewayUrl(NamedTuple):
    """An address: ``https`` or ``http``, the host without brackets, the port, the path without a slash at its end."""

    scheme: str
    host: str
    port: int
    prefix: str

    @property
    def authority(self) -> str:
        """The host and port as they stand in an address and in the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = 443 if self.scheme == "https" else 80
        return host if self.port == usual else f"{host}:{self.port}"

    @property
    def text(self) -> str:
        """The whole address, without a slash at its end."""
        return f"{self.scheme}://{self.authority}{self.prefix}"


def gateway_url(text: str) -> GatewayUrl:
    """The parts of an address. Raises ValueError, with a sentence."""
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{text} is no address of a server: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{text} is no address of a server; it begins with http:// or https://")
    if not text.isascii():
        raise ValueError(f"{text} is no address of a server; write a name outside ASCII in its xn-- form")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"{text} is no address of a server; it has no user, no question mark and no hash")
    usual = 443 if parts.scheme == "https" else 80
    return GatewayUrl(parts.scheme, parts.hostname, usual if port is None else port, parts.path.rstrip("/"))
