"""How months and closings are told, in one shape for the API and the command line.

Invariant: a closing says the same for ever, because it is read from its record.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ledger.core.closing import OPEN, REOPEN_SECONDS, CheckResult, Month
from ledger.core.moment import SECOND, moment_text
from ledger.core.period import Period

REOPENING: Final = "reopening"
"""A month that is closed, and that somebody asked to open again."""


class MonthSeen(NamedTuple):
    """A month as a reader sees it: ``row`` where it is on record."""

    period: Period
    row: Month | None

    @property
    def state(self) -> str:
        """``open`` or ``closed``."""
        return self.row.state if self.row is not None else OPEN


def month_said(seen: MonthSeen, now: int) -> dict[str, Any]:
    """A month in a list."""
    period, row = seen.period, seen.row
    said: dict[str, Any] = {
        "period": period.text,
        "state": seen.state,
        "first_day": period.first.isoformat(),
        "last_day": period.last.isoformat(),
        "from": moment_text(period.starts_at),
        "to": moment_text(period.ends_at),
        "is_over": period.ends_at <= now,
        "closed": None,
        "reopening": None,
        "reopened_index": row.reopened_index if row is not None else None,
    }
    if row is None or row.closed_at is None:
        return said
    said["closed"] = {
        "by": row.closed_by,
        "at": moment_text(row.closed_at),
        "log_index": row.closed_index,
        "size": row.size,
        "root": (row.root or b"").hex(),
        "digest": (row.digest or b"").hex(),
    }
    if row.asks_to_reopen(now):
        said["state"] = REOPENING
        requested_at = row.reopen_at or 0
        said["reopening"] = {
            "requested_by": row.reopen_by,
            "requested_at": moment_text(requested_at),
            "lapses_at": moment_text(requested_at + REOPEN_SECONDS * SECOND),
        }
    return said


def closing_said(body: Mapping[str, Any]) -> dict[str, Any]:
    """What the record of a closing says."""
    return {
        "size": body["size"],
        "root": body["root"],
        "digest": body["digest"],
        "statements": [{"scope": scope, "digest": digest} for scope, digest in body.get("statements", ())],
        "statements_count": body["count"],
        "checks": [check_said(CheckResult(name, failing, tuple(items))) for name, failing, items in body["checks"]],
        "accepted": body["accepted"],
    }


def check_said(check: CheckResult) -> dict[str, Any]:
    """What one check found."""
    return {"name": check.name, "failing": check.failing, "items": list(check.items)}


def detail_said(body: Mapping[str, Any], reasons: Mapping[str, str]) -> dict[str, Any]:
    """What the closing of a month found, with the reasons for what was accepted, where they are still there."""
    said = closing_said(body)
    checks = []
    for check in said["checks"]:
        name = check["name"]
        accepted = name in said["accepted"]
        reason = {"reason": reasons[name]} if accepted and name in reasons else {}
        checks.append({**check, "accepted": accepted, **reason})
    return {"checks": checks, "statements": said["statements"], "statements_count": said["statements_count"]}


def detail_found(checks: tuple[CheckResult, ...]) -> dict[str, Any]:
    """What the checks of a month that is open find now."""
    found = [{**check_said(check), "accepted": False} for check in checks]
    return {"checks": found, "statements": [], "statements_count": 0}
