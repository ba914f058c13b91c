"""Conditions of policies: what an expression says, that every error is a denial, and that hostile text is bounded."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from cel_expr_python import cel
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.core.conditions import (
    FUNCTIONS,
    LARGEST_INTEGER,
    LONGEST_EXPRESSION,
    NOT_IN_64_BITS,
    NOT_TEXT,
    OTHER_FAILURE,
    OVERLOADS,
    SMALLEST_INTEGER,
    VARIABLES,
    Condition,
    ConditionError,
    ConditionFacts,
    ConditionVerdict,
    _check_meaning,
    _environment,
    compile_condition,
)

FACTS = ConditionFacts(
    amount=5_000_000_000,
    currency="USD",
    category="inference",
    payee="openai",
    agent="ada",
    budget="research",
    hour=9,
    weekday=1,
    resource="gpt-5",
    labels=(("cost-center", "r7"), ("env", "prod")),
)
TOO_LARGE = "the result of an operation does not fit in 64 bits"
BY_ZERO = "division by zero"
NO_KEY = "a key is absent from the map it is read from: ask with has(labels.key) or in first"


def verdict(expression: str, facts: ConditionFacts = FACTS) -> ConditionVerdict:
    """What an expression says of these facts."""
    return compile_condition(expression).holds(facts)


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("true", True),
        ("false", False),
        ("amount <= 5000000000", True),
        ("amount < 5000000000", False),
        ("amount == 0x12A05F200", True),
        ("-amount < 0 && amount - 1 == 4999999999", True),
        ("amount / 3 == 1666666666 && amount % 3 == 2", True),
        ("-7 / 2 == -3 && -7 % 2 == -1", True),
        ("9007199254740993 == 9007199254740992", False),
        ("amount + 9223372031854775807 == 9223372036854775807", True),
        ('currency == "USD" && category == "inference"', True),
        ('payee in ["openai", "anthropic"]', True),
        ('payee in ["anthropic"]', False),
        ("payee in []", False),
        ('resource.startsWith("gpt-") && resource.endsWith("-5") && resource.contains("t-")', True),
        ('size(resource) == 5 && "é😀".size() == 2', True),
        ('agent + "/" + budget == "ada/research"', True),
        ('run == ""', True),
        ('"a" < "b" && "b" >= "a"', True),
        ('labels.env == "prod"', True),
        ('labels["cost-center"] == "r7"', True),
        ('labels == {"env": "prod", "cost-center": "r7"}', True),
        ("size(labels) == 2", True),
        ('"env" in labels && !("team" in labels)', True),
        ('has(labels.team) && labels.team == "x"', False),
        ('!has(labels.team) || labels.team == "x"', True),
        ("hour >= 9 && hour < 17 && weekday <= 5", True),
        ("weekday >= 6 || hour == 8", False),
        ('category == "inference" ? amount <= 1 : true', False),
        ('amount <= {"openai": 9000000000, "other": 1}[payee]', True),
        ('payee == "openai" // the one we pay\n && hour > 1', True),
        ("payee == r'openai' && '''openai''' == payee", True),
        ('payee == "\\u006fpenai"', True),
        ("false && amount / 0 == 1", False),
        ("true || amount / 0 == 1", True),
        ("amount / 0 == 1 || true", True),
        ("false ? amount / 0 == 1 : true", True),
    ],
)
def test_what_an_expression_says(expression: str, holds: bool) -> None:
    """No error, and the answer that CEL defines."""
    assert verdict(expression) == ConditionVerdict(holds=holds, error="")


@pytest.mark.parametrize(
    ("expression", "changes", "error"),
    [
        ("amount + 9223372036854775807 > 0", {}, TOO_LARGE),
        ("amount * amount > 0", {}, TOO_LARGE),
        ("amount - 1 < 0", {"amount": SMALLEST_INTEGER}, TOO_LARGE),
        ("-amount > 0", {"amount": SMALLEST_INTEGER}, TOO_LARGE),
        ("amount / -1 > 0", {"amount": SMALLEST_INTEGER}, TOO_LARGE),
        ("amount % -1 == 0", {"amount": SMALLEST_INTEGER}, TOO_LARGE),
        ("-9223372036854775808 / -1 != 0", {}, TOO_LARGE),
        ("!(amount * amount > 0)", {}, TOO_LARGE),
        ("amount * amount > 0 || false", {}, TOO_LARGE),
        ("amount * amount > 0 && true", {}, TOO_LARGE),
        ("amount * amount > 0 ? true : true", {}, TOO_LARGE),
        ("[amount * amount] != [1]", {}, TOO_LARGE),
        ("amount / 0 != 1", {}, BY_ZERO),
        ("amount % (hour - 9) != 1", {}, BY_ZERO),
        ('labels.team != "x"', {}, NO_KEY),
        ('labels["env"] != "x"', {"labels": ()}, NO_KEY),
        ('{"anthropic": 1}[payee] == 1', {}, NO_KEY),
        ("amount > 0", {"amount": LARGEST_INTEGER + 1}, NOT_IN_64_BITS),
        ("amount < 0", {"amount": SMALLEST_INTEGER - 1}, NOT_IN_64_BITS),
        ("hour >= 0", {"hour": 10**40}, NOT_IN_64_BITS),
        ('payee == "openai"', {"payee": "openai\0evil"}, NOT_TEXT),
        ('payee != "openai"', {"payee": "\ud800"}, NOT_TEXT),
        ('labels.env == "prod"', {"labels": (("env", "prod\0"),)}, NOT_TEXT),
        ("size(labels) == 1", {"labels": (("e\udfff", "prod"),)}, NOT_TEXT),
        # The facts are typed; a mistake of the caller is a denial all the same.
        ("amount > 0", {"amount": "5"}, OTHER_FAILURE),
        ("amount > 0", {"amount": None}, OTHER_FAILURE),
        ("amount > 0", {"amount": 1.5}, OTHER_FAILURE),
        ('payee != ""', {"payee": None}, OTHER_FAILURE),
        ("size(labels) >= 0", {"labels": 5}, OTHER_FAILURE),
        ('labels.env != ""', {"labels": (("env", 5),)}, OTHER_FAILURE),
    ],
)
def test_every_error_is_a_denial(expression: str, changes: dict[str, object], error: str) -> None:
    """It does not hold, whatever the answer would be, and says why in words that do not come from the library."""
    assert verdict(expression, replace(FACTS, **changes)) == ConditionVerdict(holds=False, error=error)


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        (" " * LONGEST_EXPRESSION + "1", "has at most 1000 characters, this one has 1001"),
        ('payee == "\ud800"', "half character"),
        ('payee == "\0"', "remove the NUL"),
        ("amount", "this one gives int"),
        ("payee", "this one gives string"),
        ("labels", "this one gives map"),
        ("amuont > 1", "line 1, column 1: undeclared reference to 'amuont'; variables are agent, amount"),
        ("true &&\n\n  x", "line 3, column 3: undeclared reference to 'x'"),
        ("amount.foo()", "undeclared reference to 'foo'"),
        ("payee.name == payee", "cannot be the operand of a select"),
        ("amount > payee", "no matching overload"),
        ("amount == payee", "a number is never compared with text"),
        ("amount && true", "no matching overload"),
        ("true +", "Syntax error"),
        ('payee == "openai', "Syntax error"),
        ("9223372036854775808 > amount", "invalid int literal"),
        ("amount as x", "Syntax error"),
        # Fractions, however they come.
        ("amount > 1.5", "(int, double)"),
        ("1.5 == 1.5", "no fractions"),
        ("5e9 != 1e400", "no fractions"),
        ("amount in [1.5]", "no matching overload"),
        ('{"a": 1.5} == {"a": 1.5}', "no fractions"),
        ("[[.5]] == [[.5]] || true", "no fractions"),
        ("double(amount) > 1", "undeclared reference"),
        # What has no place here, though CEL knows it.
        ("1u == 1u", "unsigned numbers"),
        ('b"a" == b"a"', "bytes"),
        ("null == null", "null"),
        ("int == int", "types"),
        ("google.protobuf.Int64Value{value: 1} == 1", "messages"),
        ("[1, payee] == [1]", "mixed or empty lists"),
        ("[] == []", "mixed or empty lists"),
        ("[1][0] == 1", "no matching overload"),
        ("[1] + [2] == [1]", "no matching overload"),
        ("true < false", "no matching overload"),
        ("dyn(amount) == 1", "undeclared reference"),
        ("type(amount) == int", "undeclared reference"),
        ('payee.matches("(a+)+")', "'matches'; variables are"),
        ("[1, 2].all(x, x > 0)", "undeclared reference"),
        ("labels.exists(x, true)", "undeclared reference"),
        ("[1].map(x, x + 1) == [2]", "undeclared reference"),
        ("cel.bind(x, 1, x > 0)", "undeclared reference"),
        ('timestamp("2026-01-01T00:00:00Z") == timestamp("2026-01-01T00:00:00Z")', "undeclared reference"),
        ('int("5") == amount', "undeclared reference"),
        ('string(amount) == "5"', "undeclared reference"),
        ("has(amount)", "must be a field selection"),
        ("labels[?'env'] == 1", "unsupported syntax"),
        ("(" * 40 + "true" + ")" * 40, "nested too deeply"),
        ("+".join(["amount"] * 142) + " > 0", "nested too deeply"),
    ],
)
def test_what_is_refused_when_it_is_loaded(expression: str, said: str) -> None:
    """The error says what to change."""
    with pytest.raises(ConditionError) as refused:
        compile_condition(expression)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("value", [None, 5, True, b"true", ["true"]])
def test_an_expression_is_text(value: object) -> None:
    """Also where a caller skipped the types."""
    with pytest.raises(ConditionError, match="an expression is text"):
        compile_condition(value)  # type: ignore[arg-type]


def test_each_variable_and_function_can_be_used() -> None:
    """The names that errors and documentation list are the ones that the checker knows."""
    for name in VARIABLES:
        assert verdict(f"{name} == {name}").holds
    for name in FUNCTIONS:
        call = {"has": "has(labels.env)", "size": "size(payee) > 0"}.get(name, f'payee.{name}("")')
        assert verdict(call).holds


def test_each_overload_can_be_called() -> None:
    """A table with names that the library does not know would forbid in silence what it means to allow."""
    calls = [
        "true && (true || !false) ? amount != 1 : amount == 1",
        *(f"1 {sign} 2 != ('a' {sign} 'b')" for sign in ("<", "<=", ">", ">=")),
        "1 + 2 - 3 * 4 / 5 % 6 != -amount",
        "'a' + 'b' in ['ab'] && 'env' in labels && labels['env'] == 'prod'",
        "size('a') + 'a'.size() + size(labels) + labels.size() + size([1]) + [1].size() == 8",
        "payee.contains('') && payee.startsWith('') && payee.endsWith('')",
    ]
    checked = b" ".join(_environment().compile(call).serialize() for call in calls)
    for overload in (overload for overloads in OVERLOADS.values() for overload in overloads):
        assert overload.encode() in checked, overload


def test_the_facts_are_not_changed_and_the_answer_depends_on_nothing_else() -> None:
    """Many times, in another order, from a new compilation: the same."""
    expressions = ['labels.env == "prod"', "amount * amount > 0", "hour < 9", 'labels.team == "x"', "size(labels) == 2"]
    before = repr(FACTS)
    first = [verdict(expression) for expression in expressions]
    kept = [compile_condition(expression) for expression in expressions]
    for _ in range(50):
        assert [condition.holds(FACTS) for condition in reversed(kept)] == first[::-1]
    assert [verdict(expression) for expression in expressions] == first
    assert repr(FACTS) == before


def test_threads_may_share_a_condition() -> None:
    """One compiled condition, four threads, each with amounts of its own, while others compile."""
    condition = compile_condition('amount <= 1000 && labels.env == "prod"')
    wrong: list[int] = []

    def ask(start: int) -> None:
        for amount in range(start, start + 500):
            if condition.holds(replace(FACTS, amount=amount)).holds != (amount <= 1000):
                wrong.append(amount)
            if amount % 100 == 0:
                compile_condition(f"amount <= {amount}")

    threads = [threading.Thread(target=ask, args=(start,)) for start in (0, 600, 800, 1000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


HOSTILE = [
    "(" * 999,
    "[" * 500 + "]" * 500,
    "{1:" * 200 + "1" + "}" * 200,
    "!" * 990 + "(",
    "-" * 990 + "amount == 1",
    "!!(" * 200 + "true" + ")" * 200,
    "!!((!!!(" * 120 + "1",
    "<" + "{" * 70 + "?[" + "(" * 12 + "{" * 30 + "a?(-",
    "a" * 1000,
    '"' * 999,
    "\\" * 999,
    "`" * 999,
    "true?" * 190 + "true",
    "labels" + ".a" * 490,
    "labels" + "[labels" * 140,
    "||".join(["amount<1"] * 99),
    "==".join(["true"] * 190),
    "+".join(["payee"] * 160),
    "(" + "+".join(["resource"] * 16) + ').contains("ra")',
    "||".join(["labels!=labels"] * 60),
    "[" + ",".join(["labels"] * 60) + "] == [" + ",".join(["labels"] * 60) + "]",
    "payee in [" + ",".join(['"x"'] * 240) + "]",
    '["x"]' + ".map(x,x+x+x+x+x+x+x+x+x+x)" * 20,
    "".join(f"[1,2,3,4,5,6,7,8,9].all({name}," for name in "abcdefgh") + "true" + ")" * 8,
    '"' + "a" * 100 + '!".matches("(a+)+$")',
    "1" * 999,
    "0." + "1" * 990,
    "1e999999999 > 1e999999999",
    '"\\U0010FFFF\\uD800" == "x"',
    '"\\xff\\377" == payee',
    "é" * 999,
    "\u202e\u2066" * 400,
]


def outlast(size_bytes: int | None, texts: list[str]) -> None:
    """Compile and ask each text, on a thread whose stack has this many bytes; print how many were ready to be asked."""
    facts = replace(FACTS, resource="r" * 2_000, labels=tuple((f"k{number}", "v" * 64) for number in range(64)))
    ready: list[Condition] = []

    def attack() -> None:
        for text in texts:
            try:
                ready.append(compile_condition(text))
            except ConditionError:
                continue
            ready[-1].holds(facts)

    threading.stack_size(size_bytes or 0)
    thread = threading.Thread(target=attack)
    thread.start()
    thread.join()
    sys.stdout.write(str(len(ready)))


@pytest.mark.parametrize("size_bytes", [None, 256 * 1024])
def test_hostile_text_neither_crashes_nor_outlasts(size_bytes: int | None) -> None:
    """In a process of its own, also on a small stack: no abort, no fault, and all of it within seconds."""
    program = (
        "import sys\n"
        f"sys.path[:0] = {sys.path!r}\n"
        "from tests.core.test_conditions import HOSTILE, outlast\n"
        f"outlast({size_bytes!r}, HOSTILE)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-1000:]
    assert int(done.stdout) >= 5


def test_the_longest_evaluations_are_bounded() -> None:
    """The dearest expressions of 1,000 characters we know, on a large request: well below a tenth of a second."""
    facts = replace(FACTS, resource="r" * 256, labels=tuple((f"k{number}", "v" * 64) for number in range(20)))
    for text in HOSTILE:
        try:
            condition = compile_condition(text)
        except ConditionError:
            continue
        started = time.process_time()
        for _ in range(20):
            condition.holds(facts)
        assert time.process_time() - started < 2, text[:80]


PIECES = st.sampled_from(
    [
        *sorted(VARIABLES),
        *("has(labels.env)", ".size()", "size(", ".contains(", ".startsWith(", "labels.env", 'labels["env"]'),
        *("0", "1", "-1", "9223372036854775807", "-9223372036854775808", "1.5", "1u", "0x1F", '"a"', "'b'", 'b"a"'),
        *("true", "false", "null", "(", ")", "[", "]", "{", "}", ".", ",", "?", ":", " in ", "//", "\n", '"', "\\"),
        *("+", "-", "*", "/", "%", "!", "&&", "||", "==", "!=", "<", "<=", ">", ">=", ".map(x,", "matches(", "dyn("),
    ]
)
NUMBERS = st.recursive(
    st.sampled_from(["amount", "hour", "weekday", "0", "1", "9223372036854775807", "size(payee)"]),
    lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from("+-*/%"), inner),
    max_leaves=6,
)
SENTENCES = st.recursive(
    st.builds("{} {} {}".format, NUMBERS, st.sampled_from(["==", "<", ">=", "!="]), NUMBERS)
    | st.sampled_from(['labels.env == "prod"', "has(labels.env)", 'labels.team == "x"', 'payee in ["a", resource]']),
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["&&", "||", "=="]), inner)
        | st.builds("!({})".format, inner)
        | st.builds("({} ? {} : {})".format, inner, inner, inner)
    ),
    max_leaves=8,
)
FACTS_OF_ANY_SORT = st.builds(
    ConditionFacts,
    amount=st.integers(),
    currency=st.text(max_size=5),
    category=st.text(max_size=5),
    payee=st.text(st.characters(), max_size=20),
    agent=st.text(max_size=5),
    budget=st.text(max_size=5),
    hour=st.integers(0, 23),
    weekday=st.integers(1, 7),
    resource=st.text(st.characters(), max_size=20),
    labels=st.dictionaries(st.sampled_from(["env", "team"]), st.text(max_size=5)).map(lambda map_: tuple(map_.items())),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    expression=st.text(st.characters(), max_size=60) | st.lists(PIECES, max_size=30).map("".join) | SENTENCES,
    facts=FACTS_OF_ANY_SORT,
)
def test_any_text_is_refused_or_answered(expression: str, facts: ConditionFacts) -> None:
    """Nothing but ConditionError when it is loaded, nothing at all when it is asked, and the same answer twice."""
    try:
        condition = compile_condition(expression)
    except ConditionError:
        return
    answer = condition.holds(facts)
    assert answer == condition.holds(facts) == compile_condition(expression).holds(facts)
    assert not (answer.holds and answer.error)


def whole(left: int, sign: str, right: int) -> int | None:
    """What an operation gives in 64 bits, truncating towards zero; nothing where it fails."""
    if sign in "/%" and right == 0:
        return None
    if sign == "/":
        value = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
    elif sign == "%":
        if (left, right) == (SMALLEST_INTEGER, -1):
            return None
        value = abs(left) % abs(right) * (-1 if left < 0 else 1)
    else:
        value = {"+": left + right, "-": left - right, "*": left * right}[sign]
    return value if SMALLEST_INTEGER <= value <= LARGEST_INTEGER else None


EDGES = st.sampled_from([SMALLEST_INTEGER, SMALLEST_INTEGER + 1, -1, 0, 1, 2**53 + 1, LARGEST_INTEGER])
SIXTY_FOUR_BITS = EDGES | st.integers(SMALLEST_INTEGER, LARGEST_INTEGER)


@settings(max_examples=300, deadline=None)
@given(left=SIXTY_FOUR_BITS, sign=st.sampled_from("+-*/%"), right=SIXTY_FOUR_BITS)
def test_whole_numbers_are_exact_or_an_error(left: int, sign: str, right: int) -> None:
    """No wrap, no rounding through a fraction: the exact result, or a denial."""
    expected = whole(left, sign, right)
    answer = verdict(f"amount {sign} {right} == {0 if expected is None else expected}", replace(FACTS, amount=left))
    if expected is None:
        assert answer == ConditionVerdict(holds=False, error=BY_ZERO if right == 0 and sign in "/%" else TOO_LARGE)
    else:
        assert answer == ConditionVerdict(holds=True)


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ('payee.matches("a+")', "matches_string is not for conditions"),
        ("[1, 2].all(x, x > 0)", "is not for conditions"),
        ("dyn(amount) == 1", "is not for conditions"),
        ("1.5 == 1.5", "no fractions"),
        ("secret == amount", "secret is not a variable"),
    ],
)
def test_the_checked_tree_is_judged_again(expression: str, said: str) -> None:
    """Should the library ever check against more than we listed, its own tree still gives it away."""
    kind = cel.Type
    everything = cel.NewEnv(variables={"amount": kind.INT, "secret": kind.INT, "payee": kind.STRING})
    with pytest.raises(ConditionError) as refused:
        _check_meaning(everything.compile(expression).serialize())
    assert said in str(refused.value)


@pytest.mark.parametrize("garbage", [b"", b"\xff", b"\x0a\x03abc", b"\x0b", b"\x12\x7f", b"\x80" * 20])
def test_a_tree_that_cannot_be_read_is_refused(garbage: bytes) -> None:
    """Another format than the one we know is an error, not an expression without types."""
    with pytest.raises(ConditionError, match="could not be checked"):
        _check_meaning(garbage)
