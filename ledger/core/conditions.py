"""The conditions of a policy (``when:``): what an expression may say, and what it says of one request.

Owns the language of conditions: CEL (the Common Expression Language, ``cel-expr-python``) cut down to true and false,
whole numbers and text. A condition is a function of its text and the facts alone: it has no clock, no floating point,
no regular expression, no loop and no variable of its own. Whatever goes wrong while it is evaluated is a denial.

Variables: ``amount`` (int, atoms of the currency), ``currency``, ``category``, ``payee``, ``resource`` ("" where the
request names none), ``agent``, ``budget``, ``run`` ("" where there is none), ``labels`` (map of text to text), ``hour``
(int, 0 to 23, in the policy's time zone) and ``weekday`` (int, 1 is Monday, 7 is Sunday).

Operators: ``&& || ! ?:``, ``== !=``, ``< <= > >=`` on numbers and text, ``+ - * / %`` on numbers in 64 bits, ``+`` on
text, ``in`` on lists and maps, ``labels["key"]`` or ``labels.key``. Functions: ``has(labels.key)``, ``size``,
``contains``, ``startsWith``, ``endsWith``. As everywhere in CEL, ``||`` and ``&&`` give their answer where one side
alone decides it, even if the other side fails.

Invariant: the cost is bounded by construction. A text of at most 1,000 characters without loops has at most that many
operations, each linear in its operands, and nesting that the library limits on its own stack.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any, Final

from cel_expr_python import cel

LONGEST_EXPRESSION: Final = 1_000
SMALLEST_INTEGER: Final = -(2**63)
LARGEST_INTEGER: Final = 2**63 - 1

INTEGERS: Final = ("amount", "hour", "weekday")
TEXTS: Final = ("currency", "category", "payee", "resource", "agent", "budget", "run")
VARIABLES: Final = frozenset({*INTEGERS, *TEXTS, "labels"})
FUNCTIONS: Final = ("has", "size", "contains", "startsWith", "endsWith")

# Which overloads of the standard library a condition may call; the checker of the library knows no others.
OVERLOADS: Final[dict[str, tuple[str, ...]]] = {
    "_&&_": ("logical_and",),
    "_||_": ("logical_or",),
    "!_": ("logical_not",),
    "_?_:_": ("conditional",),
    "_==_": ("equals",),
    "_!=_": ("not_equals",),
    "_<_": ("less_int64", "less_string"),
    "_<=_": ("less_equals_int64", "less_equals_string"),
    "_>_": ("greater_int64", "greater_string"),
    "_>=_": ("greater_equals_int64", "greater_equals_string"),
    "_+_": ("add_int64", "add_string"),
    "_-_": ("subtract_int64",),
    "_*_": ("multiply_int64",),
    "_/_": ("divide_int64",),
    "_%_": ("modulo_int64",),
    "-_": ("negate_int64",),
    "_[_]": ("index_map",),
    "@in": ("in_list", "in_map"),
    "size": ("size_string", "string_size", "size_map", "map_size", "size_list", "list_size"),
    "contains": ("contains_string",),
    "startsWith": ("starts_with_string",),
    "endsWith": ("ends_with_string",),
}

# Numbers of fields in the messages of the CEL specification's checked.proto and of protobuf's any.proto.
ANY_TYPE, ANY_VALUE = 1, 2
CHECKED_REFERENCES, CHECKED_TYPES, ENTRY_VALUE = 2, 3, 2
REFERENCE_NAME, REFERENCE_OVERLOAD = 1, 3
TYPE_PRIMITIVE, TYPE_LIST, TYPE_MAP = 3, 6, 7
ALLOWED_PRIMITIVES: Final = frozenset({1, 2, 5})  # bool, int64 and string; not uint64 (3), double (4) and bytes (6)

# What the log keeps of a failed evaluation is said in our words, so that a new version of the library, with other
# words, replays to the same bytes.
FAILURES: Final = (
    ("OUT_OF_RANGE: integer overflow", "the result of an operation does not fit in 64 bits"),
    ("INVALID_ARGUMENT: divide by zero", "division by zero"),
    ("INVALID_ARGUMENT: modulus by zero", "division by zero"),
    ("NOT_FOUND:", "a key is absent from the map it is read from: ask with has(labels.key) or in first"),
)
OTHER_FAILURE: Final = "the condition could not be evaluated"
NOT_ONE_ANSWER: Final = "the condition gave neither true nor false"
NOT_IN_64_BITS: Final = "a number of the request does not fit in 64 bits"
NOT_TEXT: Final = "a text of the request has a NUL or half a character"


class ConditionError(ValueError):
    """An expression that is refused when the policy is loaded; the message says what to change."""


@dataclass(frozen=True, slots=True)
class ConditionFacts:
    """What a condition may know of a request. ``amount`` in atoms, ``labels`` pairs without a key given twice."""

    amount: int
    currency: str
    category: str
    payee: str
    agent: str
    budget: str
    hour: int
    weekday: int
    resource: str = ""
    run: str = ""
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ConditionVerdict:
    """Whether a condition holds; where it does not because it failed, ``error`` says how, else it is empty."""

    holds: bool
    error: str = ""


HOLDS: Final = ConditionVerdict(holds=True)
DOES_NOT_HOLD: Final = ConditionVerdict(holds=False)


class Condition:
    """One compiled expression: made once for a version of a policy, asked for each request. It keeps no state."""

    __slots__ = ("_ask", "_uses", "expression")

    def __init__(self, *, expression: str, program: Any, uses: tuple[str, ...]) -> None:
        self.expression = expression
        self._uses = tuple((name, attrgetter(name)) for name in uses)
        self._ask = program.eval

    def holds(self, facts: ConditionFacts) -> ConditionVerdict:
        """What the condition says of these facts. Raises nothing: an error is a verdict that does not hold."""
        try:
            values: dict[str, Any] = {name: read(facts) for name, read in self._uses}
            if "labels" in values:
                values["labels"] = dict(values["labels"])
            refusal = _unreadable(values)
            if refusal:
                return ConditionVerdict(holds=False, error=refusal)
            answer = self._ask(data=values)
            kind = answer.type().name()
            if kind == "BOOL":
                return HOLDS if answer.value() is True else DOES_NOT_HOLD
            error = _failure(str(answer.value())) if kind == "ERROR" else NOT_ONE_ANSWER
            return ConditionVerdict(holds=False, error=error)
        except Exception:  # Whatever the library raises, now or in a version to come, is a denial.
            return ConditionVerdict(holds=False, error=OTHER_FAILURE)


def compile_condition(expression: str) -> Condition:
    """The condition that an expression of at most 1,000 characters says. Raises ConditionError, nothing else."""
    _check_text(expression)
    try:
        program = _environment().compile(expression)
        checked = program.serialize()
        result = program.return_type().name()
        uses = _check_meaning(checked)
    except ConditionError:
        raise
    except Exception as error:  # The library raises RuntimeError for a fault of the text; no other may pass either.
        raise ConditionError(_complaint(str(error))) from None
    if result != "BOOL":
        raise ConditionError(f"a condition is true or false, this one gives {result.lower()}: compare it to something")
    condition = Condition(expression=expression, program=program, uses=uses)
    # The library plans a program when it is first asked, so ask now: what cannot be planned is refused here.
    probe = ConditionFacts(amount=0, currency="", category="", payee="", agent="", budget="", hour=0, weekday=1)
    if condition.holds(probe).error == OTHER_FAILURE:
        raise ConditionError("the expression cannot be evaluated: say it in a simpler way")
    return condition


@cache
def _environment() -> Any:
    """The variables, operators and functions of conditions, as the library's checker knows them."""
    lines = ["name: bursar", "stdlib:", '  include_macros: ["has"]', "  include_functions:"]
    for name, overloads in OVERLOADS.items():
        listed = ", ".join(f'{{id: "{overload}"}}' for overload in overloads)
        lines.append(f'    - {{name: "{name}", overloads: [{listed}]}}')
    kind = cel.Type
    variables = dict.fromkeys(INTEGERS, kind.INT) | dict.fromkeys(TEXTS, kind.STRING)
    variables["labels"] = kind.Map(kind.STRING, kind.STRING)
    return cel.NewEnv(config=cel.NewEnvConfigFromYaml("\n".join(lines)), variables=variables)


def _check_text(expression: str) -> None:
    """Refuse what the parser need not see."""
    if not isinstance(expression, str):
        raise ConditionError(f"an expression is text, not {type(expression).__name__}")
    if not expression.strip():
        raise ConditionError("an expression is empty: say what must be true, or leave the condition out")
    if len(expression) > LONGEST_EXPRESSION:
        raise ConditionError(
            f"an expression has at most {LONGEST_EXPRESSION} characters, this one has {len(expression)}: "
            "split it into several conditions, which must all be true"
        )
    if _is_broken(expression):
        raise ConditionError("an expression is Unicode text without NUL: remove the NUL or half character")


def _complaint(message: str) -> str:
    """The library's message about a text, in one line with what to change."""
    if "recursion" in message:
        return "the expression is nested too deeply: use fewer brackets, or split it into several conditions"
    found = re.search(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)", message)
    if found is None:
        return "the expression cannot be read as CEL"
    line, column, said = found.groups()
    said = said.replace(" (in container '')", "")
    if said.startswith("undeclared reference"):
        said += f"; variables are {', '.join(sorted(VARIABLES))}; functions are {', '.join(FUNCTIONS)}"
    if "no matching overload" in said:
        said += "; numbers are whole, and a number is never compared with text"
    return f"line {line}, column {column}: {said}"


def _check_meaning(serialized: bytes) -> tuple[str, ...]:
    """The variables that a checked expression reads, in order of name. Refuses every type and function but ours.

    Reads the library's own checked tree (``cel.expr.CheckedExpr``), so text cannot be written to mislead it.
    """
    packed = dict(_fields(serialized))
    if not bytes(packed.get(ANY_TYPE, b"")).endswith(b".CheckedExpr"):
        raise ConditionError("the expression could not be checked: say it in a simpler way")
    allowed = {overload for overloads in OVERLOADS.values() for overload in overloads}
    uses = set()
    for field, entry in _fields(packed[ANY_VALUE]):
        if field == CHECKED_REFERENCES:
            reference = list(_fields(dict(_fields(entry)).get(ENTRY_VALUE, b"")))
            overloads = {value.decode() for number, value in reference if number == REFERENCE_OVERLOAD}
            if not overloads <= allowed:
                raise ConditionError(f"{', '.join(sorted(overloads - allowed))} is not for conditions")
            name = next((value.decode() for number, value in reference if number == REFERENCE_NAME), "")
            if not overloads:
                uses.add(name)
        elif field == CHECKED_TYPES and not _is_allowed_type(dict(_fields(entry)).get(ENTRY_VALUE, b"")):
            raise ConditionError(
                "conditions know true and false, whole numbers, text, and lists and maps of one of them: "
                "no fractions (1.5), unsigned numbers (1u), bytes, null, mixed or empty lists, types or messages"
            )
    if not uses <= VARIABLES:
        raise ConditionError(f"{', '.join(sorted(uses - VARIABLES))} is not a variable of conditions")
    return tuple(sorted(uses))


def _is_allowed_type(message: bytes) -> bool:
    """Whether a ``cel.expr.Type`` is bool, int, string, or a list or map of those."""
    fields = list(_fields(message))
    if len(fields) != 1:
        return False
    number, value = fields[0]
    if number == TYPE_PRIMITIVE:
        return value in ALLOWED_PRIMITIVES
    if number in (TYPE_LIST, TYPE_MAP):
        return all(_is_allowed_type(inner) for _, inner in _fields(value))
    return False


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a protobuf message, in order: (number, int) or (number, bytes)."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        wire = key & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if wire == 2:
            length, at = _varint(message, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ConditionError("the expression could not be checked: say it in a simpler way")
        yield key >> 3, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """The number written at this place in base 128, and the place after it."""
    value = shift = 0
    while at < len(message):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ConditionError("the expression could not be checked: say it in a simpler way")


def _unreadable(values: dict[str, Any]) -> str:
    """Why the library would misread these values, or nothing: it ends a text at a NUL, which hides what follows."""
    for name, value in values.items():
        if name in INTEGERS:
            if not SMALLEST_INTEGER <= value <= LARGEST_INTEGER:
                return NOT_IN_64_BITS
        elif name == "labels":
            if any(_is_broken(key) or _is_broken(text) for key, text in value.items()):
                return NOT_TEXT
        elif _is_broken(value):
            return NOT_TEXT
    return ""


def _is_broken(text: str) -> bool:
    """Whether a text holds a NUL or a lone surrogate."""
    if "\0" in text:
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _failure(message: str) -> str:
    """Our words for the library's error value."""
    return next((ours for theirs, ours in FAILURES if message.startswith(theirs)), OTHER_FAILURE)
