"""Which facts the commands that set up a book lack.

Owns the rows of ``missing`` about agents, keys, budgets, runs, units, names, webhooks and signing keys.
Invariant: as in ``missing``.
"""

from typing import Any, Final

from ledger.core import command, command_signing, command_webhooks
from ledger.core.planning import run_meters
from ledger.core.principal import Agent
from ledger.core.seeking import Seeker
from ledger.core.signing_key import ALGORITHM_ED25519


def _seek_create_agent(seeker: Seeker, asked: command.CreateAgent, own_agent: Agent | None) -> None:
    seeker.agent(asked.name)
    seeker.agent(asked.parent)


def _seek_freeze_agent(seeker: Seeker, asked: command.FreezeAgent, own_agent: Agent | None) -> None:
    seeker.agent(asked.agent)


def _seek_create_key(seeker: Seeker, asked: command.CreateKey, own_agent: Agent | None) -> None:
    if asked.digest not in seeker.snapshot.keys:
        seeker.needs.keys.add(asked.digest)
    seeker.agent(asked.agent)
    seeker.run(asked.run, None)
    if asked.person is not None and asked.person not in seeker.snapshot.persons:
        seeker.needs.persons.add(asked.person)


def _seek_key_by_id(seeker: Seeker, asked: command.RotateKey | command.RevokeKey, own_agent: Agent | None) -> None:
    if asked.key not in seeker.snapshot.keys_by_id:
        seeker.needs.key_ids.add(asked.key)


def _seek_create_budget(seeker: Seeker, asked: command.CreateBudget, own_agent: Agent | None) -> None:
    seeker.money(asked.currency)
    seeker.budget(asked.name)
    seeker.budget(asked.parent)
    for agent in asked.agents:
        seeker.agent(agent)


def _seek_assign_budget(seeker: Seeker, asked: command.AssignBudget, own_agent: Agent | None) -> None:
    seeker.budget(asked.budget)
    for agent in asked.agents:
        seeker.agent(agent)


def _seek_open_run(seeker: Seeker, asked: command.OpenRun, own_agent: Agent | None) -> None:
    seeker.run(asked.name, None)
    if asked.cap_currency is not None:
        seeker.money(asked.cap_currency)
    agent = seeker.agent(asked.agent) if asked.agent is not None else own_agent
    if agent is not None:
        plan = seeker.plan(agent, None)
        if plan is not None:
            seeker.counters(run_meters(plan, agent.name))


def _seek_define_unit(seeker: Seeker, asked: command.DefineUnit, own_agent: Agent | None) -> None:
    if asked.name not in seeker.snapshot.units:
        seeker.needs.units.add(asked.name)


def _seek_add_name(seeker: Seeker, asked: command.AddName, own_agent: Agent | None) -> None:
    if (asked.kind, asked.name) not in seeker.snapshot.names:
        seeker.needs.names.add((asked.kind, asked.name))


def _seek_webhook(
    seeker: Seeker,
    asked: command_webhooks.RotateWebhook | command_webhooks.RemoveWebhook,
    own_agent: Agent | None,
) -> None:
    if asked.webhook not in seeker.snapshot.webhooks:
        seeker.needs.webhooks.add(asked.webhook)


def _seek_signing_keys(seeker: Seeker, asked: command_signing.AdoptSigningKey, own_agent: Agent | None) -> None:
    if ALGORITHM_ED25519 not in seeker.snapshot.signing_keys:
        seeker.needs.signing_keys.add(ALGORITHM_ED25519)


SEEK: Final[dict[type, Any]] = {
    command.CreateAgent: _seek_create_agent,
    command.FreezeAgent: _seek_freeze_agent,
    command.CreateKey: _seek_create_key,
    command.RotateKey: _seek_key_by_id,
    command.RevokeKey: _seek_key_by_id,
    command.CreateBudget: _seek_create_budget,
    command.AssignBudget: _seek_assign_budget,
    command.OpenRun: _seek_open_run,
    command.DefineUnit: _seek_define_unit,
    command.AddName: _seek_add_name,
    command_webhooks.RotateWebhook: _seek_webhook,
    command_webhooks.RemoveWebhook: _seek_webhook,
    command_signing.AdoptSigningKey: _seek_signing_keys,
}
"""What each command refers to, beside its caller."""
