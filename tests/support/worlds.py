"""Books that tests begin with: a team with agents and keys, budgets with money, people."""

from __future__ import annotations

from ledger.core.command import AddName, Caller
from tests.support.ledger import Ledger


class World(Ledger):
    """Team ``research`` with agents ``crawler`` and ``writer``, who share budget ``research`` of 100 USD; finance
    ``fred``, auditor ``ada``. With strict names the book knows category ``inference`` and payee ``openai`` only."""

    def __init__(self, *, strict_names: bool = False, due_max: int = 500, amount: str = "100") -> None:
        super().__init__(strict_names=strict_names, due_max=due_max)
        self.agent("research", kind="team")
        self.crawler = self.agent("crawler", "research")
        self.writer = self.agent("writer", "research")
        self.finance = self.key("finance", "fred")
        self.auditor = self.key("auditor", "ada")
        self.nobody = Caller(b"\xff" * 32)
        self.budget("research", amount, "research")
        if strict_names:
            for kind, name in (("category", "inference"), ("payee", "openai")):
                assert self.do(AddName, self.admin, kind=kind, name=name).status.value == "done"
