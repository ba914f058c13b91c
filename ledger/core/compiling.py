"""Policies compiled from their canonical documents.

Owns ``compile_policy``. Invariants: compiling is pure; a document that cannot be compiled becomes a policy that denies
everything it is asked (``error`` says why); what a meter counts is said by its ``basis``, so that an edit which leaves
the basis as it was keeps the meter and what it has counted.
"""

from typing import Any, Final

from ledger.core.canonical import digest_hex, parse
from ledger.core.conditions import compile_condition
from ledger.core.money import parse_atoms
from ledger.core.policy import (
    APPROVAL,
    LIMIT,
    LOOPS,
    RUNS,
    THEN_DENY,
    THEN_FLAG,
    ApprovalRule,
    CompiledPolicy,
    Globs,
    Match,
    Meter,
    globs_of,
    scope_of,
)
from ledger.core.policy_row import Policy
from ledger.core.windows import AUTHORIZATION, LIFETIME, ROLLING, RUN, WINDOWS, Hours, is_timezone

DEFAULT_APPROVERS: Final = ("approver",)
BY_WORDS: Final = ("agent", "run", "payee", "category", "resource")
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class PolicyInvalid(ValueError):
    """The document cannot be compiled; the text says what to change."""


def compile_row(row: Policy, *, timezone: str) -> CompiledPolicy:
    """The policy behind a row; ``timezone`` is the book's. Never raises: what cannot be compiled denies."""
    try:
        packed = parse(row.packed.encode())
        return compile_policy(
            packed["document"],
            digits=packed["digits"],
            meters={(item[0], item[1]): item[3] for item in packed["meters"]},
            version=row.version,
            digest=row.digest,
            timezone=timezone,
        )
    except Exception as error:
        return CompiledPolicy(
            row.name, row.version, row.digest, row.scope_kind, row.scope, error=f"{type(error).__name__}: {error}"
        )


def compile_policy(
    document: dict[str, Any],
    *,
    digits: dict[str, int],
    meters: dict[tuple[str, str], int],
    version: int,
    digest: str,
    timezone: str,
) -> CompiledPolicy:
    """Compile a canonical document. ``digits`` are those of each currency named; ``meters`` maps (kind, rule id) to a
    meter's number; ``timezone`` is the book's. Raises PolicyInvalid, or whatever a malformed document makes go wrong.
    """
    reader = _Reader(document, digits, meters, timezone)
    name = document["policy"]
    scope_kind, scope = scope_of(document["applies_to"])
    limits = [reader.limit(item) for item in document.get("limits", ())]
    approvals = tuple(reader.approval(item) for item in document.get("approval", ()))
    loops = reader.loops()
    overrun = document.get("overrun", {})
    mismatch = document.get("mismatch", {})
    spend = tuple(meter for meter in limits if meter.kind == LIMIT)
    runs = tuple(meter for meter in limits if meter.kind == RUNS)
    counted = (*limits, *(rule.meter for rule in approvals), *((loops,) if loops is not None else ()))
    return CompiledPolicy(
        name=name,
        version=version,
        digest=digest,
        scope_kind=scope_kind,
        scope=scope,
        shadow=bool(document.get("shadow", False)),
        timezone=reader.timezone,
        allow=_match_of(document.get("allow")),
        deny=_match_of(document.get("deny")),
        hours=_hours_of(document.get("hours")),
        limits=spend,
        run_limits=runs,
        approvals=approvals,
        loops=loops,
        loops_then=document.get("loops", {}).get("then", THEN_DENY),
        overrun_percent=overrun.get("tolerance_percent"),
        overrun_then=overrun.get("then", THEN_FLAG),
        mismatch_above=mismatch.get("more_than"),
        mismatch_then=mismatch.get("then", THEN_FLAG),
        conditions=tuple((item["id"], compile_condition(item["expression"])) for item in document.get("when", ())),
        meters=tuple(meter for meter in counted if meter.number),
    )


def currencies_of(document: dict[str, Any]) -> list[str]:
    """Every currency or unit that a document counts in, sorted."""
    named = {document["currency"]} if "currency" in document else set()
    for item in (*document.get("limits", ()), *document.get("approval", ())):
        if "currency" in item:
            named.add(item["currency"])
    return sorted(named)


def bases_of(document: dict[str, Any], *, timezone: str) -> list[tuple[str, str, str]]:
    """(kind, rule id, basis) of each rule of a document that counts. The basis is a digest of all that says what is
    counted; two versions with the same basis share a meter. ``timezone`` is the book's."""
    zone = document.get("timezone", timezone)
    found: list[tuple[str, str, str]] = []
    for kind, items in ((LIMIT, document.get("limits", ())), (APPROVAL, document.get("approval", ()))):
        for item in items:
            per = item.get("per", AUTHORIZATION)
            if per == AUTHORIZATION:
                continue
            basis: dict[str, Any] = {"applies_to": document["applies_to"], "per": per, "kind": kind}
            for name in ("rolling", "match", "by", "on"):
                if name in item:
                    basis[name] = item[name]
            if "max" in item or "above" in item:
                basis["currency"] = item.get("currency", document.get("currency", ""))
            if not item.get("rolling") and per not in (RUN, LIFETIME):
                basis["timezone"] = zone
            found.append((RUNS if item.get("on") == "runs" else kind, item["id"], digest_hex(basis)[:32]))
    if "loops" in document:
        basis = {"applies_to": document["applies_to"], "within": document["loops"]["within"]}
        found.append((LOOPS, "loops", digest_hex(basis)[:32]))
    return found


class _Reader:
    """Reads the rules of one document."""

    def __init__(
        self, document: dict[str, Any], digits: dict[str, int], meters: dict[tuple[str, str], int], timezone: str
    ) -> None:
        self.document = document
        self.digits = digits
        self.meters = meters
        self.timezone = str(document.get("timezone", timezone))
        if not is_timezone(self.timezone):
            raise PolicyInvalid(f'there is no time zone "{self.timezone}"')
        self.shadow = bool(document.get("shadow", False))

    def _currency(self, item: dict[str, Any]) -> str:
        currency = item.get("currency", self.document.get("currency"))
        if currency is None:
            raise PolicyInvalid(f"{item['id']} has an amount and no currency; give the policy a currency")
        return str(currency)

    def _meter(self, kind: str, item: dict[str, Any], currency: str | None) -> Meter:
        per = item.get("per", AUTHORIZATION)
        # What could not be counted when money is spent must not be applied: the spending would fail with it.
        if per not in (ROLLING if item.get("rolling") else WINDOWS):
            raise PolicyInvalid(f'{item["id"]} has no window "{per}"')
        for word in item.get("by", ()):
            if word not in BY_WORDS and not word.startswith("label."):
                raise PolicyInvalid(f'{item["id"]} counts by "{word}", which requests do not have')
        return Meter(
            number=0 if per == AUTHORIZATION else self.meters[kind, item["id"]],
            kind=kind,
            policy=self.document["policy"],
            id=item["id"],
            per=per,
            rolling=bool(item.get("rolling", False)),
            timezone=self.timezone,
            currency=currency,
            match=_match_of(item.get("match")),
            by=("run", *item.get("by", ())) if per == RUN else tuple(item.get("by", ())),
            maximum=None,
            max_count=item.get("max_count"),
            shadow=self.shadow,
        )

    def limit(self, item: dict[str, Any]) -> Meter:
        """One limit."""
        kind = RUNS if item.get("on") == "runs" else LIMIT
        currency = self._currency(item) if "max" in item else None
        meter = self._meter(kind, item, currency)
        if currency is not None:
            meter.maximum = parse_atoms(item["max"], self.digits[currency])
        return meter

    def approval(self, item: dict[str, Any]) -> ApprovalRule:
        """One approval rule."""
        currency = self._currency(item)
        meter = self._meter(APPROVAL, item, currency)
        return ApprovalRule(
            item["id"], meter, parse_atoms(item["above"], self.digits[currency]),
            tuple(item.get("approvers", DEFAULT_APPROVERS)), item.get("quorum", 1), item["expires_after"],
        )  # fmt: skip

    def loops(self) -> Meter | None:
        """The loop rule."""
        rule = self.document.get("loops")
        if rule is None:
            return None
        if rule["within"] < 1:
            raise PolicyInvalid("loops looks within at least one second")
        return Meter(
            self.meters[LOOPS, "loops"], LOOPS, self.document["policy"], "loops", "within", True, self.timezone, None,
            None, (), None, rule["same_request"], self.shadow, rule["within"],
        )  # fmt: skip


def _match_of(item: dict[str, Any] | None) -> Match | None:
    if item is None:
        return None
    categories, payees, resources, agents, currencies = (
        globs_of(item.get(name)) for name in ("categories", "payees", "resources", "agents", "currencies")
    )
    return Match(
        categories, payees, resources, agents, currencies,
        tuple((key, _listed(patterns)) for key, patterns in sorted(item.get("labels", {}).items())),
    )  # fmt: skip


def _listed(patterns: list[str]) -> Globs:
    globs = globs_of(patterns)
    if globs is None:
        raise PolicyInvalid("a label is matched against a list of globs")
    return globs


def _hours_of(item: dict[str, Any] | None) -> Hours | None:
    if item is None:
        return None
    minutes = []
    for name in ("from", "to"):
        hour, _, minute = item[name].partition(":")
        minutes.append(int(hour) * 60 + int(minute))
    return Hours(frozenset(_DAYS.index(day) for day in item["days"]), *minutes)
