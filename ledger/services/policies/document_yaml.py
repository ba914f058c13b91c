"""YAML text as plain data with the place of each value, read the way YAML 1.2 means it.

Owns the loader. Invariant: only ``true``, ``false``, ``null`` and whole decimal numbers are anything but text, so that
``on``, ``no`` and ``07:00`` stay what was typed; a number with a point is refused wherever it stands, because it would
be a binary fraction in other tools; and whatever the text holds, the work is bounded (bytes, depth, number of values).
"""

from __future__ import annotations

import re
from typing import Any, Final

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ledger.services.policies.document_errors import Path, Place, PolicyFileError, Problem, shown, written

BYTES_MAX: Final = 256 * 1024
DEPTH_MAX: Final = 16
VALUES_MAX: Final = 50_000

_TAG: Final = "tag:yaml.org,2002:"
_TEXT: Final = f"{_TAG}str"
_NULL: Final = f"{_TAG}null"
_BOOLEAN: Final = f"{_TAG}bool"
_WHOLE: Final = f"{_TAG}int"
_FRACTION: Final = f"{_TAG}float"
_INTEGER_DIGITS_MAX: Final = 15


class _TooDeep(Exception):
    """The text nests deeper than any policy does."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place


class _CoreLoader(yaml.SafeLoader):
    """Composes nodes only (nothing is constructed), with the scalars of YAML 1.2 and a bounded depth."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """Compose one node, counting how deep it is."""
        self._depth += 1
        if self._depth > DEPTH_MAX:
            mark = self.peek_event().start_mark
            raise _TooDeep(Place(mark.line + 1, mark.column + 1))
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


# Without this the loader would add to the resolvers of YAML 1.1, which every other loader has too.
_CoreLoader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    (_BOOLEAN, r"true|True|TRUE|false|False|FALSE", "tTfF"),
    (_NULL, r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    (_WHOLE, r"[-+]?[0-9]+", "-+0123456789"),
    (_FRACTION, r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    (_FRACTION, r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
):
    _CoreLoader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), list(_first))


class YamlText:
    """The value of a text (``data``) and where each part of it stands."""

    def __init__(self, text: str, *, source: str) -> None:
        """Read ``text``. Raises PolicyFileError for what is not one small YAML document without surprises."""
        self.source = source
        self._places: dict[Path, Place] = {}
        self._keys: dict[Path, Place] = {}
        self._problems: list[tuple[Path, Place, str]] = []
        self._values = 0
        self.data: Any = None
        root = self._compose(text)
        if root is None:
            raise PolicyFileError(source, [Problem("", "the file is empty: write a document", 1, 1)])
        self.data = self._value(root, (), ())
        if self._problems:
            raise PolicyFileError(
                source, [Problem(written(path), message, *place) for path, place, message in self._problems]
            )

    def place(self, path: Path) -> Place:
        """Where the value at ``path`` starts; of what is not there, where the nearest thing around it starts."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._keys:
                return self._keys[path[:length]]
            if path[:length] in self._places:
                return self._places[path[:length]]
        return self._places.get((), Place(1, 1))

    def _compose(self, text: str) -> Node | None:
        size = len(text.encode("utf-8", "surrogatepass"))
        if size > BYTES_MAX:
            message = f"the file has {size} bytes: at most {BYTES_MAX} are taken, so split it into several"
            raise PolicyFileError(self.source, [Problem("", message)])
        try:
            loader = _CoreLoader(text)
            try:
                return loader.get_single_node()
            finally:
                loader.dispose()
        except _TooDeep as error:
            message = f"this nests deeper than {DEPTH_MAX} levels: no policy needs that, so check the brackets"
            raise PolicyFileError(self.source, [Problem("", message, *error.place)]) from error
        except yaml.reader.ReaderError as error:
            before = text[: error.position]
            place = Place(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
            message = "there is a character here that YAML does not take: remove it, or write it as an escape in quotes"
            raise PolicyFileError(self.source, [Problem("", message, *place)]) from error
        except yaml.YAMLError as error:
            raise PolicyFileError(self.source, [_of_syntax(error)]) from error

    def _value(self, node: Node, path: Path, around: tuple[Node, ...]) -> Any:
        self._values += 1
        if self._values > VALUES_MAX:
            message = f"the file has more than {VALUES_MAX} values once its aliases (*) are put in: write fewer"
            raise PolicyFileError(self.source, [Problem(written(path), message, *_start(node))])
        self._places.setdefault(path, _start(node))
        if any(node is outer for outer in around):
            return self._refuse(path, node, "this alias (*) stands inside what it repeats: write the values out")
        if isinstance(node, MappingNode):
            return self._object(node, path, (*around, node))
        if isinstance(node, SequenceNode):
            return [self._value(item, (*path, position), (*around, node)) for position, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _object(self, node: MappingNode, path: Path, around: tuple[Node, ...]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode) or key.tag == _NULL:
                self._refuse(path, key, "a field's name is one word: write name: value")
                continue
            name = str(key.value)
            if name in found:
                first = self._keys[(*path, name)].line
                self._refuse(
                    (*path, name), key, f'"{name}" stands here a second time, first in line {first}: keep one of them'
                )
                continue
            self._keys[(*path, name)] = _start(key)
            found[name] = self._value(value, (*path, name), around)
        return found

    def _scalar(self, node: Node, path: Path) -> Any:
        text, name = str(node.value), next((step for step in reversed(path) if isinstance(step, str)), "")
        if node.tag == _TEXT:
            return text
        if node.tag == _BOOLEAN:
            return text.lower() == "true"
        if node.tag == _NULL:
            return self._refuse(path, node, "there is no value here: write one, or leave the field out")
        if node.tag == _WHOLE and len(text) <= _INTEGER_DIGITS_MAX and text.lstrip("+-").isdigit():
            return int(text)
        if node.tag == _WHOLE:
            return self._refuse(path, node, "this number is too long: write a smaller number, or an amount in quotes")
        if node.tag == _FRACTION:
            return self._refuse(
                path,
                node,
                f"{shown(node.value)[1:-1]} without quotes is read as a binary fraction by other tools: "
                f'put it in quotes, {name}: "{shown(node.value)[1:-1]}"',
            )
        return self._refuse(path, node, f"tags such as {shown(node.tag)[1:-1]} are not taken: write the plain value")

    def _refuse(self, path: Path, node: Node, message: str) -> None:
        self._problems.append((path, _start(node), message))


def _start(node: Node) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)


def _of_syntax(error: yaml.YAMLError) -> Problem:
    """PyYAML's error as a problem; it is precise about the place and about what it expected."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return Problem("", f"this is not YAML: {error}")
    mark = error.problem_mark or error.context_mark
    place = Place() if mark is None else Place(mark.line + 1, mark.column + 1)
    reason = error.problem or "it cannot be read"
    if "undefined alias" in reason:
        hint = "name an anchor (&) that stands above, or put a text that starts with * in quotes"
    elif "expected a single document" in (error.context or ""):
        return Problem("", "a second document starts here (---): write one document in each file", *place)
    elif "found character '\\t'" in reason:
        hint = "indent with spaces instead of tabs"
    elif "while scanning an alias" in (error.context or ""):
        hint = 'put a text that starts with * in quotes, "*"'
    elif "mapping values are not allowed" in reason:
        hint = "check the indentation, and put a text with a colon in quotes"
    else:
        hint = "check the indentation, brackets and quotes at this place"
    context = f"{error.context}: " if error.context else ""
    return Problem("", f"this is not YAML: {context}{reason}; {hint}", *place)
