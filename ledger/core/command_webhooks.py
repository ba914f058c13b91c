"""The commands on webhook endpoints. A secret is made and kept by whoever asks; here it only has a name."""

from dataclasses import dataclass
from typing import ClassVar

from ledger.core.command import Command


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterWebhook(Command):
    """Send alerts of these types (``*``: all) to an address. ``secret`` names what signs them."""

    operation: ClassVar[str] = "register_webhook"
    id: str
    url: str
    events: tuple[str, ...]
    secret: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateWebhook(Command):
    """Sign with another secret from now on; the old one signs too for ``overlap_seconds``."""

    operation: ClassVar[str] = "rotate_webhook"
    webhook: str
    secret: str
    overlap_seconds: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveWebhook(Command):
    """Send nothing more to an address."""

    operation: ClassVar[str] = "remove_webhook"
    webhook: str
