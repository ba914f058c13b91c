"""Bodies of policies: versions, what a document would change, rolling back and retiring; and the way from a request's
body to a checked document.

Invariant: whatever the bytes, the result is a document that the log can keep or a ``ProblemError`` that names fields.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.problems import ProblemError
from api.schemas.answers import Log, Redacted
from api.schemas.fields import RequestModel, Text
from api.schemas.lists import PageModel
from api.schemas.remaining import ScopeView
from ledger.core.outcome import Status
from ledger.services.policies.document import PolicyDocument, PolicyFileError, document_from_json
from ledger.services.policies.document_errors import Problem

VERSION_MAX: Final = 2**31 - 1
_EXAMPLE: Final[dict[str, Any]] = {
    "policy": "research-agents",
    "applies_to": {"team": "research"},
    "currency": "USD",
    "limits": [{"id": "day", "per": "day", "max": "50.00"}],
}


class RetirePolicyRequest(RequestModel):
    """Let a policy bind nobody any more; its versions stay on record."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "the project ended"}]})

    reason: Text | None = None


class RollbackRequest(RequestModel):
    """Make the document of an earlier version the next version."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"version": 3, "reason": "the new limit was a typo"}]})

    version: Annotated[int, Field(ge=1, le=VERSION_MAX)]
    after_version: Annotated[int, Field(ge=0, le=VERSION_MAX)] | None = Field(
        default=None, description="Refuse with policy_changed unless this is the live version; 0: none is."
    )
    reason: Text | None = None


class PolicyVersionResponse(BaseModel):
    """A version that was just made, or with ``retired`` the policy that was just retired."""

    id: str
    name: str
    version: int
    retired: bool
    digest: str | None = Field(default=None, description="SHA-256, in hex, of the canonical document.")
    scope: ScopeView | None = None
    shadow: bool | None = None
    document: dict[str, Any] | None = Field(default=None, description="As the log keeps it, defaults written out.")
    log: Log


class PolicyView(BaseModel):
    """A policy in its live version; of a retired policy, in its last one."""

    id: str
    name: str
    version: int
    digest: str
    scope: ScopeView
    shadow: bool
    retired: bool
    made_by: str
    recorded_at: str
    document: dict[str, Any] | None = Field(default=None, description="Only where one policy is asked for.")
    log: Log


class PolicyList(PageModel):
    """A page of policies."""

    items: list[PolicyView]


class PolicyVersionView(BaseModel):
    """One version. ``live`` says that it decides now."""

    name: str
    version: int
    digest: str
    live: bool
    made_by: str
    recorded_at: str
    reason: str | None = None
    redacted: Redacted = None
    document: dict[str, Any] | None = Field(default=None, description="Only where one version is asked for.")
    log: Log


class PolicyVersionList(PageModel):
    """A page of versions, newest first."""

    items: list[PolicyVersionView]


class RuleView(BaseModel):
    """A rule that counts. Kind ``runs`` limits the opening of runs."""

    kind: Literal["limit", "runs", "approval", "loops"]
    id: str


class CountedRuleView(RuleView):
    """A rule of the new document. Use ``kept``: it goes on with what it has counted; ``filled``: it is filled from
    history before it takes effect; ``new``: it starts with nothing (loops)."""

    use: Literal["kept", "filled", "new"]


class PolicyCheckResponse(BaseModel):
    """What applying the document would change. ``dropped`` are rules of the live version that stop counting."""

    name: str
    digest: str
    live_version: int | None = None
    next_version: int = Field(description="The version that applying it would make.")
    unchanged: bool
    difference: str = Field(description="A unified diff to the live version, both as YAML; empty where unchanged.")
    limits: list[CountedRuleView]
    dropped: list[RuleView]


def document_of(body: bytes) -> PolicyDocument:
    """The checked document that a body's bytes stand for. Raises ProblemError: ``malformed_json``, ``json_too_deep``,
    ``duplicate_field``, or ``policy_invalid`` with every field that cannot be taken."""
    try:
        value = json.loads(body, object_pairs_hook=_once, parse_constant=_no_number)
    except RecursionError:
        raise ProblemError("json_too_deep") from None
    except ValueError:
        raise ProblemError("malformed_json") from None
    try:
        return document_from_json(value)
    except PolicyFileError as error:
        raise _problem_of(error) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ProblemError("duplicate_field")
    return made


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _problem_of(error: PolicyFileError) -> ProblemError:
    errors = [
        {
            "pointer": pointer_of(problem),
            "code": Status.POLICY_INVALID.value,
            "detail": problem.message,
            "path": problem.path,
        }
        for problem in error.problems
    ]
    return ProblemError(Status.POLICY_INVALID.value, error.problems[0].sentence(), facts={"errors": errors})


def pointer_of(problem: Problem) -> str:
    """The JSON pointer of a problem whose path is written ``limits[2].max``. (A label whose name has a point in it is
    taken for two steps; ``path`` has it whole.)"""
    steps = problem.path.replace("[", ".").replace("]", "").split(".") if problem.path else []
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)
