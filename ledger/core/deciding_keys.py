"""Decisions on keys: made, replaced and ended.

Invariants: no secret is written, only a key's digest; each is one log record; what an agent makes can do no more than
the key it was made with, is for one run, ends with that key or sooner, and leads back to whoever made that key.
"""

from typing import Any, Final

from ledger.core.beginning import begin
from ledger.core.changeset import copy_of, row_of
from ledger.core.command import CreateKey, RevokeKey, RotateKey
from ledger.core.finishing import finish
from ledger.core.moment import SECOND, moment_text
from ledger.core.outcome import Outcome, Status
from ledger.core.principal import KIND_AGENT, Agent, Key, Person, agent_name, lineage
from ledger.core.refusal import refuse
from ledger.core.roles import AGENT as ROLE_AGENT
from ledger.core.run import Run
from ledger.core.working import Batch

AGENT_TTL_SECONDS_MAX: Final = 7 * 24 * 3600
AGENT_TTL_SECONDS_DEFAULT: Final = 24 * 3600
"""How long a key lasts that an agent makes for one of its runs: at most, and where it does not say."""


def key_body(key: Key) -> dict[str, Any]:
    """A key as its record says it."""
    body: dict[str, Any] = {
        "key": key.id,
        "digest": key.digest.hex(),
        "role": key.role,
        "principal": key.principal,
        "made_by": key.made_by,
    }
    if key.expires_at is not None:
        body["expires_at"] = moment_text(key.expires_at)
    if key.run is not None:
        body["run"] = key.run
    if key.vouched_by is not None:
        body["vouched_by"] = key.vouched_by
    return body


def add_person(batch: Batch, name: str) -> None:
    """Know a person from their first key on."""
    if batch.fact("persons", name) is None:
        person = Person(batch.book_id, name, batch.index)
        batch.make("persons", name, person)
        batch.inserts["persons"].append(row_of(person))


def create_key(batch: Batch, asked: CreateKey) -> Outcome:
    """Make a key for an agent or a person; an agent makes one for itself and one run."""
    own = agent_name(batch.admit(asked)[0])
    if own is not None and (asked.role != ROLE_AGENT or asked.run is None):
        refuse(Status.ROLE_NOT_ALLOWED, "an agent makes keys with role agent only, for itself and a run that it names")
    request: dict[str, Any] = {"role": asked.role}
    for field in ("agent", "person", "ttl_seconds", "run"):
        value = getattr(asked, field)
        if value is not None:
            request[field] = value
    who, packed, replay = begin(batch, asked, request)
    if replay is not None:
        return replay
    is_agents = asked.role == ROLE_AGENT
    names_agent = asked.agent is not None or asked.run is not None
    if is_agents != names_agent or is_agents == (asked.person is not None):
        refuse(
            Status.ROLE_PRINCIPAL_MISMATCH,
            "a key with role agent names an agent or a run; a key with any other role names a person and no run",
        )
    run = None
    principal = f"person:{asked.person}"
    if is_agents:
        agent, run = _agent_and_run(batch, asked, own)
        principal = f"agent:{agent.name}"
    expires_at, vouched_by = _bounds(batch, asked, own)
    key = Key(
        batch.book_id, asked.digest, asked.id, asked.role, principal, who[0], batch.now, expires_at, None,
        batch.index, batch.index, run.name if run is not None else None, vouched_by,
    )  # fmt: skip
    if asked.person is not None:
        add_person(batch, asked.person)
    batch.keys[asked.digest] = key
    return finish(batch, asked, who, packed, "key", asked.id, key_body(key), [])


def _agent_and_run(batch: Batch, asked: CreateKey, own: str | None) -> tuple[Agent, Run | None]:
    """The agent that a key is for and its run, if it is for one; the two stand on one line of the tree, because whoever
    makes the key can already spend in a run from above, and open one for those below."""
    name = batch.name_of("runs", asked.run) if asked.run is not None else None
    run: Run | None = batch.fact("runs", name) if name is not None else None
    reference = asked.agent or own or (run.agent if run is not None else None)
    agent_known = batch.name_of("agents", reference) if reference is not None else None
    if own is not None and agent_known is not None and agent_known != own:
        refuse(Status.NOT_YOURS, f"agent {own} makes keys for itself only")
    if reference is not None and (agent_known is None or batch.agent(agent_known).kind != KIND_AGENT):
        refuse(Status.UNKNOWN_AGENT, f"there is no agent {reference}")
    if agent_known is None:
        refuse(Status.UNKNOWN_RUN, f"there is no run {asked.run}")
    agent = batch.agent(agent_known)
    if asked.run is not None:
        above = (agent.name, *lineage(agent.path))
        if run is None or (run.agent not in above and agent.name not in lineage(batch.agent(run.agent).path)):
            refuse(Status.UNKNOWN_RUN, f"there is no run {asked.run} of {agent.name}, of one above it or of one below")
    return agent, run


def _bounds(batch: Batch, asked: CreateKey, own: str | None) -> tuple[int | None, str | None]:
    """(when a new key expires, who vouches for it where an agent makes it)."""
    if own is None:
        return None if asked.ttl_seconds is None else batch.now + asked.ttl_seconds * SECOND, None
    ttl_seconds = AGENT_TTL_SECONDS_DEFAULT if asked.ttl_seconds is None else asked.ttl_seconds
    if ttl_seconds > AGENT_TTL_SECONDS_MAX:
        refuse(Status.TTL_TOO_LONG, f"a key that an agent makes lasts at most {AGENT_TTL_SECONDS_MAX} seconds")
    digest = asked.caller.key_digest
    used = batch.key_of(digest) if digest is not None else None
    if used is None:
        raise LookupError("the key of the request vanished from the facts")
    expires_at = batch.now + ttl_seconds * SECOND
    return expires_at if used.expires_at is None else min(expires_at, used.expires_at), used.made_by


def _known_key(batch: Batch, key_id: str) -> Key:
    found: Key | None = next((key for key in batch.keys.values() if key.id == key_id), None)
    found = found or batch.snapshot.keys_by_id[key_id]
    if found is None:
        refuse(Status.NOT_FOUND, f"there is no key {key_id}")
    return found


def _refuse_revoked(key: Key) -> None:
    if key.revoked_at is not None:
        refuse(Status.WRONG_STATE, f"{key.id} was revoked at {moment_text(key.revoked_at)}", state="revoked")


def rotate_key(batch: Batch, asked: RotateKey) -> Outcome:
    """Make a key's successor; the old key ends after the overlap, or sooner if it was to expire before. What is for one
    run stays so."""
    request: dict[str, Any] = {"key": asked.key, "overlap_seconds": asked.overlap_seconds}
    if asked.ttl_seconds is not None:
        request["ttl_seconds"] = asked.ttl_seconds
    who, packed, replay = begin(batch, asked, request)
    if replay is not None:
        return replay
    found = _known_key(batch, asked.key)
    _refuse_revoked(found)
    ends_at = batch.now + asked.overlap_seconds * SECOND
    if found.expires_at is not None:
        if found.expires_at <= batch.now:
            refuse(Status.WRONG_STATE, f"{asked.key} expired at {moment_text(found.expires_at)}", state="expired")
        ends_at = min(ends_at, found.expires_at)
    old = batch.keys.get(found.digest) or copy_of(found)
    old.expires_at = ends_at
    old.changed_index = batch.index
    expires_at = None if asked.ttl_seconds is None else batch.now + asked.ttl_seconds * SECOND
    successor = Key(
        batch.book_id, asked.digest, asked.id, old.role, old.principal, who[0], batch.now, expires_at, None,
        batch.index, batch.index, old.run, None,
    )  # fmt: skip
    batch.keys[old.digest] = old
    batch.keys[asked.digest] = successor
    body = key_body(successor) | {"replaces": old.id, "replaced_expires_at": moment_text(ends_at)}
    return finish(batch, asked, who, packed, "key_rotation", asked.id, body, [])


def revoke_key(batch: Batch, asked: RevokeKey) -> Outcome:
    """End a key at once, in every process. An agent ends those that it made."""
    who, packed, replay = begin(batch, asked, {"key": asked.key})
    if replay is not None:
        return replay
    found = _known_key(batch, asked.key)
    if agent_name(who[0]) is not None and found.made_by != who[0]:
        refuse(Status.NOT_YOURS, f"there is no key {asked.key}")
    _refuse_revoked(found)
    key = batch.keys.get(found.digest) or copy_of(found)
    key.revoked_at = batch.now
    key.changed_index = batch.index
    batch.keys[key.digest] = key
    body = {"key": key.id, "role": key.role, "principal": key.principal}
    return finish(batch, asked, who, packed, "key_revocation", key.id, body, [])
