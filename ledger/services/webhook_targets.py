"""Where webhooks may go: what an address must look like, and which machines are none of ours to reach.

Owns the refusal of targets inside (SSRF). Invariants: every address that a name resolves to must be public, else none
is used; what is connected to is an address that was checked, never the name again, so a name that changes its answer
gains nothing.
"""

import ipaddress
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from ledger.core.webhook import URL_LENGTH_MAX

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], list[str]]
"""From a host name and a port to the addresses behind it, as text. Raises OSError when there is none."""

ADDRESSES_MAX: Final = 4
PORT_MIN: Final = 1024
"""Below it only 80 and 443 are taken: what else listens there speaks no HTTP."""
_PORTS: Final = frozenset((80, 443))
_VISIBLE: Final = re.compile(r"[!-~]+")
_FORBIDDEN: Final = re.compile(r"[\\\"<>^`{|}]")
_HOST: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,251}[a-z0-9])?\.?")

_EMBEDS_IPV4: Final = ipaddress.ip_network("64:ff9b::/96")
"""NAT64 (RFC 6052): what a resolver makes of an IPv4 address in a network that has none; judged by what it embeds."""
_NEVER: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        # Local NAT64, IPv4-compatible, 6to4 and its relays, Teredo, documentation, old site-local: ways to write an
        # address of another network, or none at all.
        *("64:ff9b:1::/48", "::/96", "2002::/16", "192.88.99.0/24", "2001::/32", "2001:db8::/32", "fec0::/10"),
        # Protocol assignments, carrier-grade NAT, and the address at which one cloud's machines find their host.
        *("192.0.0.0/24", "100.64.0.0/10", "168.63.129.16/32"),
    )
)


class TargetRefused(ValueError):
    """An address that nothing is sent to, with a sentence that says what to change. ``code`` is for records."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart. ``host`` is in lower case without a final dot; ``path`` includes the query."""

    secure: bool
    host: str
    port: int
    path: str

    @property
    def host_header(self) -> str:
        """The Host header: with the port where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


def parse_target(url: str, *, allow_http: bool) -> Target:
    """Take a URL apart. Raises TargetRefused for what is no address that could be sent to."""
    if len(url) > URL_LENGTH_MAX or not _VISIBLE.fullmatch(url) or _FORBIDDEN.search(url):
        raise TargetRefused(
            "url_malformed", f"write a URL of at most {URL_LENGTH_MAX} ASCII characters, others percent-encoded"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").lower()
    except ValueError as error:
        raise TargetRefused("url_malformed", "this is no URL such as https://alerts.example.com/bursar") from error
    if parts.scheme not in ("https", "http"):
        raise TargetRefused("url_scheme", "a webhook goes to an https URL")
    if parts.scheme == "http" and not allow_http:
        raise TargetRefused("url_scheme", "use https; plain http is allowed by the setting webhook_allow_http only")
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise TargetRefused("url_userinfo", "leave out the name and password: deliveries are signed")
    if parts.fragment or url.endswith("#"):
        raise TargetRefused("url_fragment", "leave out what follows #: it is never sent")
    if ":" in host:
        if "%" in host or not _is_address(host):
            raise TargetRefused("url_malformed", "this is no address of a machine")
    elif not _HOST.fullmatch(host) or ".." in host:
        raise TargetRefused("url_malformed", "the URL names no host; write names in ASCII (IDNA)")
    secure = parts.scheme == "https"
    port = port if port is not None else 443 if secure else 80
    if port not in _PORTS and port < PORT_MIN:
        raise TargetRefused("url_port", f"use port 80, 443, or one from {PORT_MIN} on")
    path = parts.path or "/"
    return Target(secure, host.removesuffix("."), port, f"{path}?{parts.query}" if parts.query else path)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def resolve(host: str, port: int) -> list[str]:
    """The addresses behind a host, as the system resolves them. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def checked_addresses(target: Target, *, allow_private: bool, resolver: Resolver = resolve) -> list[str]:
    """The addresses to connect to, at most ``ADDRESSES_MAX``. Raises TargetRefused when the name resolves to nothing,
    or to any address that is not public (unless ``allow_private``)."""
    try:
        found = resolver(target.host, target.port)
    except (OSError, UnicodeError) as error:
        raise TargetRefused("no_address", f"{target.host} has no address") from error
    if not found:
        raise TargetRefused("no_address", f"{target.host} has no address")
    if not allow_private and not all(map(is_public, found)):
        raise TargetRefused(
            "address_refused",
            f"{target.host} is, or may be, inside a private network; the setting webhook_allow_private allows that",
        )
    return found[:ADDRESSES_MAX]


def is_public(text: str) -> bool:
    """Whether an address is one that anybody on the internet may be found at. What cannot be read is not."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return _is_public(address)


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return False
        if address.ipv4_mapped is not None:
            return _is_public(address.ipv4_mapped)
        if address in _EMBEDS_IPV4:
            return _is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if any(address in network for network in _NEVER if network.version == address.version):
        return False
    return address.is_global and not (
        address.is_multicast
        or address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_reserved
        or address.is_unspecified
    )
