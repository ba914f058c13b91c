"""A gateway for tests as its users have it: a real server, the fake provider behind it, a book with an agent.

Owns ``GatewayWorld``. Invariants: the provider's bill and the ledger's books are kept by two programs that share no
code for money; nothing is left running at the end.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ledger.core.money import parse_atoms
from tests.support.clients import Office
from tests.support.fake_provider import KEY, FakeProvider
from tests.support.server import OpenBook, ServerProcess, open_book, verified, wait_until

KEY_VARIABLE = "FAKE_PROVIDER_KEY"
MODEL = "gpt-4o-mini"


@dataclass
class GatewayWorld:
    """One gateway, its provider, and who sets its book up. ``key`` is the agent ``crawler``'s."""

    provider: FakeProvider
    server: ServerProcess
    book: OpenBook
    office: Office
    key: str
    budget: str = "research"

    @property
    def openai_url(self) -> str:
        """What ``OPENAI_BASE_URL`` is set to."""
        return f"{self.server.url}/openai/v1"

    @property
    def anthropic_url(self) -> str:
        """What ``ANTHROPIC_BASE_URL`` is set to."""
        return f"{self.server.url}/anthropic"

    def balances(self, budget: str | None = None) -> dict[str, int]:
        """``available``, ``held`` and ``spent`` of a budget, in atoms."""
        found = self.office.get(f"/v1/budgets/{budget or self.budget}")
        return {name: parse_atoms(found[name]["amount"], 9) for name in ("available", "held", "spent")}

    def authorizations(self, **query: str) -> list[dict[str, Any]]:
        """Every authorization that the query finds, newest first."""
        found: list[dict[str, Any]] = []
        wanted = "&".join(f"{name}={value}" for name, value in query.items())
        path = f"/v1/authorizations?limit=200&{wanted}"
        page = self.office.get(path)
        found += page["items"]
        while page["next_cursor"] is not None:
            page = self.office.get(f"{path}&cursor={page['next_cursor']}")
            found += page["items"]
        return found

    def settled(self) -> None:
        """Wait until nothing is held any more, in any budget: what ends a call may still be on its way to the books."""
        wait_until(lambda: not self.authorizations(state="held"), seconds=30, what="the end of every hold")

    def insist_that_the_bill_is_spent(self) -> int:
        """The provider's bill equals what the ledger has spent, to the atom, and the books verify; that amount."""
        self.settled()
        billed, spent = self.provider.billed_atoms(), self.balances()["spent"]
        if billed != spent:
            raise AssertionError(f"the provider billed {billed} atoms, the ledger has spent {spent}")
        verified(self.book.database_url)
        return spent


@contextlib.contextmanager
def gateway_world(
    database_url: str,
    directory: Path,
    *,
    allocated: str = "1.00",
    provider: FakeProvider | None = None,
    flags: tuple[str, ...] = (),
    config: dict[str, Any] | None = None,
    provider_options: dict[str, Any] | None = None,
    more_providers: dict[str, Any] | None = None,
) -> Iterator[GatewayWorld]:
    """A gateway on a new database. ``config`` is added to ``gateway.yaml``, ``provider_options`` to each of its
    providers: ``openai``, ``anthropic`` and ``local`` (one by name), all of them the fake one. ``more_providers`` are
    others by name."""
    with contextlib.ExitStack() as stack:
        fake = provider or stack.enter_context(FakeProvider())
        path = directory / "gateway.yaml"
        content = gateway_file(fake, config or {}, provider_options or {})
        content["providers"] |= more_providers or {}
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        book = open_book(database_url)
        server = ServerProcess(
            database_url, "--gateway-file", str(path), *flags, directory=directory, environment={KEY_VARIABLE: KEY}
        )
        stack.enter_context(server)
        office = Office(server.port, book.admin_key)
        office.make("/v1/teams", {"name": "research"})
        office.make("/v1/agents", {"name": "crawler", "parent": "research"})
        office.make("/v1/budgets", {"name": "research", "currency": "USD", "agents": ["crawler"]})
        amount = {"amount": allocated, "currency": "USD"}
        office.make("/v1/budgets/research/allocations", {"amount": amount})
        key = str(office.make("/v1/keys", {"role": "agent", "agent": "crawler"})["key"])
        yield GatewayWorld(fake, server, book, office, key)


def gateway_file(fake: FakeProvider, config: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """The content of a ``gateway.yaml`` whose every provider is the fake one."""
    key = {"env": KEY_VARIABLE}
    openai: dict[str, Any] = {"base_url": fake.openai_url, "key": key, "output_limit_field": "max_completion_tokens"}
    openai["output_limit_fields"] = "both"
    return {
        "providers": {
            "openai": openai | options,
            "anthropic": {"base_url": fake.url, "wire": "anthropic", "key": key} | options,
            "local": {"base_url": fake.openai_url, "key": key, "prices": "openai"} | options,
        },
        **config,
    }


def chat(prompt: str = "hello", *, model: str = MODEL, **more: Any) -> dict[str, Any]:
    """The body of a chat call."""
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **more}


def error_of(body: bytes) -> dict[str, Any]:
    """The error in an answer of either family."""
    error: dict[str, Any] = json.loads(body)["error"]
    return error
