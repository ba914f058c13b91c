"""The naive ledger's agents, keys, budgets, runs, units and names."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from ledger.core import command as c
from tests.model.naive_book import NaiveFrame
from tests.model.naive_parts import Answer, Refused


class NaiveSetup(NaiveFrame):
    """What an admin sets up."""

    def in_budget(self, name: str, currency: str) -> list[str]:
        """What is wrong with naming this budget for this currency."""
        if name not in self.budgets:
            return ["unknown_budget"]
        return [] if self.budgets[name]["currency"] == currency else ["currency_mismatch"]

    def create_agent(self, asked: c.CreateAgent, principal: str) -> Answer:
        """A team or an agent."""
        parent = self.agents.get(asked.parent) if asked.parent else None
        codes = []
        if asked.parent and (parent is None or (parent["kind"] == "agent" and asked.kind == "team")):
            codes.append("unknown_agent")
        elif asked.parent and len(self.above(asked.parent)) > 16:
            codes.append("tree_too_deep")
        if asked.name in self.agents:
            codes.append("name_taken")
        if codes:
            raise Refused(*codes)
        self.agents[asked.name] = {"parent": asked.parent, "kind": asked.kind, "frozen": False}
        return Answer("done")

    def freeze_agent(self, asked: c.FreezeAgent, principal: str) -> Answer:
        """Freeze or unfreeze."""
        if asked.agent not in self.agents:
            raise Refused("not_found")
        if self.agents[asked.agent]["frozen"] == asked.frozen:
            raise Refused("wrong_state")
        self.agents[asked.agent]["frozen"] = asked.frozen
        return Answer("done")

    def create_key(self, asked: c.CreateKey, principal: str) -> Answer:
        """A key."""
        codes = []
        own = self.keys[asked.caller.key_digest or b""]
        is_agents = own["role"] == "agent"
        names_agent = asked.agent is not None or asked.run is not None
        if (asked.role == "agent") != names_agent or names_agent == (asked.person is not None):
            raise Refused("role_principal_mismatch")
        agent = asked.agent or (principal.removeprefix("agent:") if is_agents else self.runs.get(asked.run or ""))
        if asked.role == "agent":
            if asked.agent is not None and self.agents.get(asked.agent, {}).get("kind") != "agent":
                codes.append("unknown_agent")
            elif is_agents and principal != f"agent:{agent}":
                codes.append("not_yours")
            if asked.run is not None and not self.on_one_line(agent, self.runs.get(asked.run)):
                codes.append("unknown_run")
        if is_agents and asked.ttl_seconds is not None and asked.ttl_seconds > 7 * 86_400:
            codes.append("ttl_too_long")
        if codes:
            raise Refused(*codes)
        who = f"agent:{agent}" if asked.role == "agent" else f"person:{asked.person}"
        seconds = asked.ttl_seconds or (86_400 if is_agents else None)
        expires = None if seconds is None else self.now + seconds * 1_000_000
        if is_agents and own["expires"] is not None and expires is not None:
            expires = min(expires, own["expires"])
        self.keys[asked.digest] = {
            "id": asked.id, "role": asked.role, "principal": who, "revoked": False, "expires": expires,
            "run": asked.run, "maker": principal,
        }  # fmt: skip
        return Answer("done")

    def on_one_line(self, agent: str | None, other: str | None) -> bool:
        """Whether one of two agents stands above the other, or is it."""
        if agent is None or other is None or agent not in self.agents:
            return False
        return agent in self.above(other) or other in self.above(agent)

    def living(self, key_id: str) -> dict[str, Any]:
        """The key that a command names."""
        key = next((one for one in self.keys.values() if one["id"] == key_id), None)
        if key is None:
            raise Refused("not_found")
        if key["revoked"]:
            raise Refused("wrong_state")
        return key

    def rotate_key(self, asked: c.RotateKey, principal: str) -> Answer:
        """A successor."""
        key = self.living(asked.key)
        if key["expires"] is not None and key["expires"] <= self.now:
            raise Refused("wrong_state")
        self.keys[asked.digest] = key | {"id": asked.id, "expires": None, "maker": principal}
        ends = self.now + asked.overlap_seconds * 1_000_000
        key["expires"] = ends if key["expires"] is None else min(ends, key["expires"])
        return Answer("done")

    def revoke_key(self, asked: c.RevokeKey, principal: str) -> Answer:
        """The end of a key; an agent ends what it made."""
        key = next((one for one in self.keys.values() if one["id"] == asked.key), None)
        if key is not None and principal.startswith("agent:") and key["maker"] != principal:
            raise Refused("not_yours")
        self.living(asked.key)["revoked"] = True
        return Answer("done")

    def create_budget(self, asked: c.CreateBudget, principal: str) -> Answer:
        """A budget."""
        codes = ["unknown_agent"] if set(asked.agents) - set(self.agents) else []
        if asked.parent is not None:
            codes += self.in_budget(asked.parent, asked.currency)
        if asked.name in self.budgets:
            codes.append("name_taken")
        if codes:
            raise Refused(*codes)
        self.budgets[asked.name] = {"parent": asked.parent, "currency": asked.currency, "agents": set(asked.agents)}
        return Answer("done")

    def assign_budget(self, asked: c.AssignBudget, principal: str) -> Answer:
        """Further agents for a budget."""
        codes = ["unknown_agent"] if set(asked.agents) - set(self.agents) else []
        if asked.budget not in self.budgets:
            codes.append("unknown_budget")
        if codes:
            raise Refused(*codes)
        self.budgets[asked.budget]["agents"] |= set(asked.agents)
        return Answer("done")

    def open_run(self, asked: c.OpenRun, principal: str) -> Answer:
        """A run."""
        own = principal.removeprefix("agent:") if principal.startswith("agent:") else None
        agent = asked.agent or own
        codes = []
        if agent is None or agent not in self.agents:
            codes.append("unknown_agent")
        elif own is not None and own not in self.above(agent):
            codes.append("not_yours")
        if asked.name in self.runs:
            codes.append("name_taken")
        if codes:
            raise Refused(*codes)
        denial = self.run_ruling(str(agent))
        if denial is not None:
            return Answer(denial)
        self.runs[asked.name] = str(agent)
        if asked.cap_amount is not None:
            self.caps[asked.name] = (Decimal(asked.cap_amount), str(asked.cap_currency))
        self.run_openings.append((str(agent), self.now))
        return Answer("done")

    def run_ruling(self, agent: str) -> str | None:
        """The code by which policies refuse that a run is opened, if they do."""
        return None

    def define_unit(self, asked: c.DefineUnit, principal: str) -> Answer:
        """A unit that is not money."""
        if asked.name in self.units:
            raise Refused("name_taken")
        self.units[asked.name] = asked.digits
        return Answer("done")

    def add_name(self, asked: c.AddName, principal: str) -> Answer:
        """A category or payee."""
        if (asked.kind, asked.name) in self.names:
            raise Refused("name_taken")
        self.names.add((asked.kind, asked.name))
        return Answer("done")
