"""Forgeries of the log: bodies, places and ends, each as far as a forger goes; and rows moved so that sums stay right.

Owns what each of them must be named as. Invariants: whatever a forger does to the log is told by the checkpoint that
somebody kept, which says between which sizes; what verify alone must say of it stands with each forgery.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from typing import Any

from ledger.core.canonical import canonical_bytes
from tests.tamper.attacker import Attacker, Row
from tests.tamper.cells import ALL
from tests.tamper.covered import is_free
from tests.tamper.forging import BODY, FOLDED, HEAD, LEAF, REACHES, SIGNED, TILES, body_of, record, write
from tests.tamper.tampers import Place, Tamper, place_of

Path = tuple[Any, ...]
FLIPPED = (0, 5, 100, 255, 256, -1)
PLACES = (1, 40, 100, 254, 255, 256, -4)
CUTS = (1, 2, 7, 30, 100)
REPEATED = ("settlement", "hold", "charge", "allocation", "refund", "key", "budget", "approval_vote")
LOG = frozenset(("log_records",))


def forged_tampers(attacker: Attacker) -> Iterator[Tamper]:
    """Every forgery."""
    yield from _flips(attacker)
    yield from _fields(attacker)
    yield from _moves(attacker)
    yield from _repeats(attacker)
    yield from _ends(attacker)


def _tamper(identity: str, act: Callable[[Attacker], None], *names: Place, **more: Any) -> Tamper:
    more = {"only": ALL, "cell": ("log_records", identity.split(":")[0]), "differences_max": 40} | more
    return Tamper(f"log_records:{identity}", act, names, **more)


def _replaced(records: Sequence[Row], *made: Row) -> list[Row]:
    """The log with some records in place of those of the same index."""
    found = list(records)
    for row in made:
        found[row["log_index"]] = row
    return found


def _forge(attacker: Attacker, *, records: Sequence[Row], reach: int, sign: bool = True) -> None:
    write(attacker, records, reach, sign=sign)


# Bodies.


def _flips(attacker: Attacker) -> Iterator[Tamper]:
    """One bit of a body, with what derives from it right up to each reach."""
    records = attacker.rows["log_records"]
    for index in FLIPPED:
        row = records[index]
        size = len(row["body"])
        for at in (0, size // 3, size - 2):
            body = row["body"][:at] + bytes([row["body"][at] ^ 1]) + row["body"][at + 1 :]
            for reach in (BODY, LEAF, HEAD, TILES):
                made = row | {"body": body} if reach == BODY else record(row, body)
                act = partial(_forge, records=_replaced(records, made), reach=reach)
                names = _named_at(attacker, row["log_index"], reach)
                first = {"first": LOG} if reach == BODY else {}
                yield _tamper(f"bit:{row['log_index']}.{at}.{REACHES[reach]}", act, *names,
                              forks_at=row["log_index"], **first)  # fmt: skip


def _named_at(attacker: Attacker, index: int, reach: int) -> list[Place]:
    """What tells that a body is another one, by how far its forger went."""
    if reach == BODY:
        return [Place("log_records", index, "", "leaf_hash"), Place("book_heads", None, "", "root")]
    behind = [row for row in attacker.rows["checkpoints"] if row["size"] > index]
    names = [place_of("checkpoints", behind[0], "root")]
    if reach < TILES and index < 256 * len(attacker.rows["merkle_tiles"]):
        names.append(Place("merkle_tiles", index))
    if reach < HEAD:
        names.append(Place("book_heads", None, "", "root"))
    return names


def _fields(attacker: Attacker) -> Iterator[Tamper]:
    """Every field of every kind of record with another value, and all that is made of the log right again: with the
    projections as they were, and with them folded anew. Only the second can pass, where nothing in the log speaks
    against what the record now says."""
    records = attacker.rows["log_records"]
    seen: set[tuple[str, str]] = set()
    for row in sorted(records, key=lambda one: (-len(one["body"]), one["log_index"])):
        body = body_of(row)
        for path in paths(body):
            name = _name(path)
            if (row["kind"], name) in seen or path == ("index",):
                continue
            seen.add((row["kind"], name))
            body = changed(body_of(row), path)
            if path[0] == "request" and "idempotency" in body:
                # Anybody can make the digest of a request.
                body["idempotency"][1] = sha256(canonical_bytes(body["request"])).hexdigest()
            made = record(row, body)
            for reach in (SIGNED, FOLDED):
                # What no table has is not seen either where the tables were left as they are.
                free = is_free(row["kind"], name) and (reach == FOLDED or None)
                identity = f"field:{row['kind']}.{name}.{REACHES[reach]}"
                act = partial(_forge, records=_replaced(records, made), reach=reach)
                yield _tamper(identity, act, forks_at=row["log_index"], free=free, differences_max=3,
                              cell=("log_records", f"{row['kind']}.{REACHES[reach]}"))  # fmt: skip


def _name(path: Path) -> str:
    """A path as a list of free facts names it: places in a list are all alike, but for the two digests of a request."""
    return ".".join("#" if isinstance(step, int) and path[0] != "idempotency" else str(step) for step in path)


def paths(value: Any, at: Path = ()) -> Iterator[Path]:
    """The paths to every value of a body that holds no other."""
    items: Any = ()
    if isinstance(value, dict):
        items = sorted(value.items())
    elif isinstance(value, list):
        items = enumerate(value)
    if not items or not value:
        yield at
    for step, inner in items:
        yield from paths(inner, (*at, step))


def changed(body: dict[str, Any], path: Path) -> dict[str, Any]:
    """The body with another value of the same sort at a path."""
    place: Any = body
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = _another(place[path[-1]])
    return body


def _another(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, (list, dict)):
        return ["x"] if isinstance(value, list) else {"x": "x"}
    if len(value) >= 24 and set(value) <= set("0123456789abcdef"):
        return value[:-1] + ("1" if value[-1] == "0" else "0")
    if value.isdigit():
        return str(int(value) + 1)
    if value.endswith("Z") and value[10:11] == "T":
        return value[:-2] + ("2" if value[-2] == "1" else "1") + "Z"
    return f"{value}x"


# Places.


def _moves(attacker: Attacker) -> Iterator[Tamper]:
    """Records that change places or are taken out: as they are, and with the index of their place in each body."""
    records = attacker.rows["log_records"]
    for place in PLACES:
        at = place % len(records)
        for turned in (2, 3):
            rows = records[at : at + turned]
            mixed = [*rows[1:], rows[0]]
            bodies = [row | {"body": other["body"]} for row, other in zip(rows, mixed, strict=True)]
            whole = [other | {"log_index": row["log_index"]} for row, other in zip(rows, mixed, strict=True)]
            patched = [
                record(other, body_of(other) | {"index": row["log_index"]}, index=row["log_index"])
                for row, other in zip(rows, mixed, strict=True)
            ]
            leaf, there = Place("log_records", at, "", "leaf_hash"), Place("log_records", at)
            for name, made, reach, names in (
                ("bodies", bodies, BODY, [leaf]), ("whole", whole, BODY, [there]), ("whole", whole, SIGNED, [there]),
                ("patched", patched, SIGNED, []), ("patched", patched, FOLDED, []),
            ):  # fmt: skip
                act = partial(_forge, records=_replaced(records, *made), reach=reach)
                identity = f"turned:{at}.{turned}.{name}.{REACHES[reach]}"
                yield _tamper(identity, act, *names, forks_at=at, free=None if not names else False)
        # Where no checkpoint that the witness saw stands between, only the number of records tells.
        between = any(at < row["size"] < len(records) for row in attacker.rows["checkpoints"])
        told: dict[str, Any] = {"differences_max": 5_000} | ({"forks_at": at} if between else {"missing": 1})
        rest = [row | {"log_index": index} for index, row in enumerate([*records[:at], *records[at + 1 :]])]
        for reach in (BODY, SIGNED):
            act = partial(_forge, records=rest, reach=reach)
            # A log that lacks a record which the head counts has no root to compare.
            more = told if reach > BODY else {}
            yield _tamper(f"taken_out:{at}.{REACHES[reach]}", act, Place("log_records", at), **more)
        patched = [
            record(row, body_of(row) | {"index": row["log_index"]}) if row["log_index"] >= at else row for row in rest
        ]
        act = partial(_forge, records=patched, reach=FOLDED)
        yield _tamper(f"taken_out:{at}.patched.folded", act, free=None, **told)


def _repeats(attacker: Attacker) -> Iterator[Tamper]:
    """A record that is there is recorded once more at the end, as it is and with the index that it then has; and one
    of the other book."""
    records = attacker.rows["log_records"]
    size = len(records)
    last = {row["kind"]: row for row in records}
    foreign = attacker.others["log_records"][-1] | {"book_id": attacker.book_id}
    for name, row in [*((kind, last[kind]) for kind in REPEATED), ("foreign", foreign)]:
        body = body_of(row)
        if name != "foreign":
            # The time is that of the end, so that it is not what tells.
            body["time"] = body_of(records[-1])["time"]
        for patched in (False, True):
            made = record(row, body | ({"index": size} if patched else {}), index=size)
            for reach in (HEAD, FOLDED):
                act = partial(_forge, records=[*records, made], reach=reach)
                identity = f"once_more:{name}.{'patched' if patched else 'as_is'}.{REACHES[reach]}"
                yield _tamper(identity, act, Place("log_records", size), forks_at=None)


# Ends.


def _ends(attacker: Attacker) -> Iterator[Tamper]:
    """The end of the log is cut off: of the log alone, with what belongs to its records, with the head, with every
    projection, and with the checkpoints. The last is an older database, which nothing but a kept checkpoint tells."""
    records = attacker.rows["log_records"]
    for count in CUTS:
        left = records[:-count]
        for name, tables in (("log", ("log_records",)), ("rows", ("log_records", "transfers", "texts"))):
            act = partial(_cut, size=len(left), tables=tables)
            yield _tamper(f"cut:{count}.{name}", act, Place("log_records", len(left)), forks_at=None)
        checkpoint = place_of("checkpoints", attacker.rows["checkpoints"][-1])
        for reach in (HEAD, FOLDED):
            act = partial(_forge, records=left, reach=reach, sign=False)
            yield _tamper(f"cut:{count}.{REACHES[reach]}", act, checkpoint, missing=count, differences_max=1_000)
        act = partial(_forge, records=left, reach=FOLDED)
        yield _tamper(f"cut:{count}.everything", act, missing=count, free=True)


def _cut(attacker: Attacker, *, size: int, tables: Sequence[str]) -> None:
    for table in tables:
        attacker.execute(f"DELETE FROM {table} WHERE book_id = ? AND log_index >= ?", (attacker.book_id, size))
