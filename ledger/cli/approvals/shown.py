"""What `bursar approvals` and `bursar delegations` print for people.

Invariant: text from agents (an intent, a name, a reason) is printed as it is, never as markup or as a control sequence.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def plain(value: object) -> Text:
    """Text that no terminal takes for a command: control characters are shown as a middle dot."""
    return Text("".join(one if one.isprintable() or one == "\n" else "·" for one in str(value)))


def amount(money: dict[str, str]) -> str:
    """An amount for people."""
    return f"{money['amount']} {money['currency']}"


def moment(text: str | None) -> str:
    """A moment to the second, in UTC; a dash for none."""
    return "-" if text is None else text[:19].replace("T", " ") + " UTC"


def _console() -> Console:
    # Piped, the lines are as long as they are: whoever reads them with a program wants them whole.
    return Console() if sys.stdout.isatty() else Console(width=200)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows under the names of their columns."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column == "amount" else "left")
    for row in rows:
        table.add_row(*map(plain, row))
    _console().print(table)


def print_queue(items: list[dict[str, Any]], state: str) -> None:
    """The list of approvals, or a sentence that there are none."""
    if not items:
        _console().print("Nothing waits for a decision." if state == "open" else f"No approval is {state}.")
        return
    print_table(
        ("approval", "amount", "agent", "for", "asked of", "votes", "until"),
        (
            (
                item["id"],
                amount(item["request"]["approved"]),
                item["request"]["agent"] or "-",
                f"{item['request']['category']} · {item['request']['payee']}",
                ", ".join(item["approvers"]),
                f"{item['granted']} of {item['quorum']}",
                moment(item["expires_at"]),
            )
            for item in items
        ),
    )


def print_approval(item: dict[str, Any]) -> None:
    """One approval, line by line."""
    request = item["request"]
    lines: list[tuple[str, object]] = [
        ("approval", f"{item['id']} ({item['state']}, tier {item['tier']} of {item['tiers']})"),
        ("request", f"{request['authorization']} ({request['state']})"),
        ("amount", amount(request["approved"])),
    ]
    if request["approved"] != request["amount"]:
        lines.append(("asked for", amount(request["amount"])))
    lines += [
        ("agent", request["agent"] or "-"),
        ("budget", request["budget"]),
        ("category", request["category"]),
        ("payee", request["payee"]),
    ]
    for name in ("resource", "run", "intent"):
        if request[name] is not None:
            lines.append((name, request[name]))
    lines += _redacted(request)
    lines += [(f"label {name}", value) for name, value in request["labels"].items()]
    lines += [
        ("rule", f"{item['policy']} version {item['version']}, {item['rule']}"),
        ("asked of", ", ".join(item["approvers"])),
        ("granted", f"{item['granted']} of {item['quorum']}"),
        ("decide until", moment(item["expires_at"])),
        ("digest", item["request_digest"]),
    ]
    lines += [("vote", _vote_line(vote)) for vote in item["votes"]]
    if item.get("forced"):
        forced = item["forced"]
        lines.append(("forced", f"by {forced['by']} at {moment(forced['at'])}: {forced['reason'] or _gone(forced)}"))
    print_lines(lines)


def print_lines(lines: Iterable[tuple[str, object]]) -> None:
    """Names and values, a line each."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in lines:
        table.add_row(plain(name), plain(value))
    _console().print(table)


def said(sentence: str) -> None:
    """A sentence in the place of a table."""
    _console().print(plain(sentence))


def _redacted(item: dict[str, Any]) -> list[tuple[str, object]]:
    """A line for each free text that was removed."""
    return [(name, f"(redacted by log record {index})") for name, index in (item.get("redacted") or {}).items()]


def _gone(item: dict[str, Any]) -> str:
    """What stands in the place of a reason that is not there."""
    index = (item.get("redacted") or {}).get("reason")
    return "(removed)" if index is None else f"(redacted by log record {index})"


def _vote_line(vote: dict[str, Any]) -> str:
    who = vote["person"] if vote["person"] == vote["seat"] else f"{vote['person']} in place of {vote['seat']}"
    what = "granted" if vote["verdict"] == "grant" else "refused"
    why = f": {vote['reason'] or _gone(vote)}" if vote["reason"] or vote.get("redacted") else ""
    return f"{who} {what} at {moment(vote['at'])}{why}"


def print_vote(done: dict[str, Any]) -> None:
    """What a vote did, in a sentence."""
    state = done["authorization_state"]
    if done["state"] == "forced":
        said = f"Forced. {done['authorization']} may be spent until {moment(done['expires_at'])}, flagged as forced."
    elif state == "held":
        said = f"Granted. {done['authorization']} may be spent until {moment(done['expires_at'])}."
    elif state == "refused":
        said = f"Refused. {done['authorization']} ends here, and what it held is free again."
    elif done["state"] == "granted":
        said = f"Granted. {done['authorization']} now waits for the next tier."
    else:
        said = f"Your vote counts: {done['granted']} of {done['quorum']} that are needed."
    _console().print(plain(said))


def print_delegations(items: list[dict[str, Any]]) -> None:
    """The list of delegations, or a sentence that there are none."""
    if not items:
        _console().print("There are no delegations.")
        return
    print_table(
        ("delegation", "from", "to", "role", "starts", "ends", "stands now"),
        (
            (
                item["id"],
                item["from"],
                item["to"],
                item["role"],
                moment(item["starts_at"]),
                moment(item["ends_at"]) if item["revoked_at"] is None else f"revoked {moment(item['revoked_at'])}",
                "yes" if item["live"] else "no",
            )
            for item in items
        ),
    )


def print_delegation(item: dict[str, Any]) -> None:
    """What was given or ended, in a sentence."""
    if item.get("revoked_at"):
        said = f"Ended. {item['to']} no longer approves in place of {item['from']}."
    else:
        said = (
            f"{item['id']}: {item['to']} may approve in place of {item['from']} (role {item['role']}) "
            f"from {moment(item['starts_at'])} until {moment(item['ends_at'])}."
        )
    _console().print(plain(said))
