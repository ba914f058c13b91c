"""Which cache writes a request asks for: they cost more than reading the same tokens.

Invariant: a mark is found wherever it stands, in tools and tool results too; a name that merely looks like one (in a
tool's schema, say) counts as one.
"""

from typing import Any


def lifetimes_in(document: dict[str, Any], *, body: bytes, marks: dict[str, str]) -> set[str]:
    """The lifetimes that cache marks anywhere in the document name.

    ``marks`` maps the name of a mark to the lifetime of one that names none. ``body`` is what the document was read
    from: it is searched only where the bytes can hold a mark, as it is or escaped (these names are ASCII, so \\u00
    stands there).
    """
    escaped = b"\\u00" in body
    sought = {name: lifetime for name, lifetime in marks.items() if escaped or name.encode() in body}
    found: set[str] = set()
    waiting: list[Any] = [document] if sought else []
    while waiting:
        item = waiting.pop()
        if type(item) is list:
            waiting.extend(item)
        elif type(item) is dict:
            waiting.extend(item.values())
            for name in sought.keys() & item.keys():
                mark = item[name]
                if mark is not None:
                    lifetime = mark.get("ttl") if type(mark) is dict else None
                    found.add(lifetime if type(lifetime) is str else sought[name])
    return found
