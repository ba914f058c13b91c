"""The naive ledger's clock on the wall: which window a moment is in, by asking the clock and nothing else.

Times in microseconds since 1970 UTC. Two moments are in the same calendar window when the clock has the same words for
them; a rolling window is a list of moments with their distance from now.
"""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

SECOND = 1_000_000
HOUR = 3_600 * SECOND
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# Seconds that a part of a rolling window lasts, and how many parts make one; as the documentation has them.
PARTS = {
    "minute": (1, 60), "hour": (60, 60), "day": (1_800, 48), "week": (10_800, 56), "month": (43_200, 60),
    "year": (432_000, 73),
}  # fmt: skip


def wall(zone: str, moment: int) -> datetime:
    """What the clock on the wall shows."""
    return datetime.fromtimestamp(moment // SECOND, ZoneInfo(zone))


def date_begun(zone: str, moment: int) -> date:
    """The latest date that the clock has shown: where it goes back over midnight the day that has begun goes on."""
    return max(wall(zone, moment - back * HOUR // 2).date() for back in range(7))


def words(per: str, zone: str, moment: int) -> object:
    """The name of the calendar window that a moment is in; the same for all moments of one window."""
    if per == "lifetime":
        return "always"
    if per in ("minute", "hour"):
        shown = wall(zone, moment)
        fields = (shown.year, shown.month, shown.day, shown.hour, shown.minute if per == "minute" else None)
        return (*fields, shown.utcoffset())
    day = date_begun(zone, moment)
    if per == "week":
        return tuple(day.isocalendar())[:2]
    return {"day": day, "month": (day.year, day.month), "year": day.year}[per]


def part_counts(seconds: float, parts: int, moment: int, now: int) -> bool:
    """Whether the part of a rolling window that ``moment`` lies in touches the window that ends at ``now``."""
    width = int(seconds * SECOND)
    last_of_its_part = moment // width * width + width - 1
    return moment <= now and last_of_its_part > now - width * parts


def within(seconds: float, parts: int, moment: int, now: int, *, more: int = 0) -> bool:
    """Whether ``moment`` is in the window to the microsecond, or in one that is ``more`` parts longer."""
    return now - int(seconds * SECOND) * (parts + more) < moment <= now


def is_open(hours: dict[str, object], zone: str, moment: int) -> bool:
    """Whether the clock on the wall says that spending is allowed."""
    shown = wall(zone, moment)
    minute = shown.hour * 60 + shown.minute
    begins, ends = (int(str(hours[name])[:2]) * 60 + int(str(hours[name])[3:]) for name in ("from", "to"))
    days = hours["days"]
    assert isinstance(days, list)
    today, yesterday = DAYS[shown.weekday()] in days, DAYS[shown.weekday() - 1] in days
    if begins == ends:
        return today
    if begins < ends:
        return today and begins <= minute < ends
    return (today and minute >= begins) or (yesterday and minute < ends)
