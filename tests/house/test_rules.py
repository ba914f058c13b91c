"""House rules that no off-the-shelf linter checks, one test for each file and rule."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("client", "ledger", "gateway", "api", "migrations")
FORBIDDEN_NAMES = ("util", "utils", "helper", "helpers", "manager", "managers", "common", "misc")
LONGEST_FILE_LINES = 400
# Standard modules that read a clock, chance, a file, a socket, another process or a thread.
IMPURE_MODULES = frozenset(
    {
        *(
            "asyncio",
            "concurrent",
            "http",
            "queue",
            "sched",
            "select",
            "selectors",
            "socket",
            "ssl",
            "urllib",
        ),
        *("glob", "io", "logging", "os", "pathlib", "shutil", "sqlite3", "sys", "tempfile"),
        *("multiprocessing", "random", "secrets", "signal", "subprocess", "threading", "time"),
    }
)
OUTSIDE_IMPORTS = {"canonical.py": frozenset({"orjson"}), "conditions.py": frozenset({"cel_expr_python"})}
# Estimates for reports, which no decision and no record is made from. Amounts go in as integers, and come out rounded.
ESTIMATES = frozenset({"burning.py", "judging_outcomes.py", "probability.py", "proportions.py", "success_cost.py"})
CLOCK_READS = frozenset({"now", "utcnow", "today"})
IMPURE_CALLS = frozenset({"open", "print", "input", "eval", "exec", "uuid1", "uuid4"})


def python_files(*folders: str) -> list[Path]:
    """Every Python file below these folders of the project, as paths relative to it."""
    found = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return sorted(path.relative_to(ROOT) for path in found)


def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a file of the project."""
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), filename=str(path))


def at(path: Path, nodes: list[ast.AST]) -> list[str]:
    """Where the nodes are, as file:line."""
    return [f"{path}:{getattr(node, 'lineno', 0)}" for node in nodes]


def bare_asserts(tree: ast.Module) -> list[ast.AST]:
    """Every assert statement."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]


def floats(tree: ast.Module) -> list[ast.AST]:
    """Every float literal, every use of the name float, and every true division."""
    return [
        node
        for node in ast.walk(tree)
        if (isinstance(node, ast.Constant) and isinstance(node.value, float | complex))
        or (isinstance(node, ast.Name) and node.id == "float")
        or (isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div))
    ]


def foreign_imports(tree: ast.Module, *, allowed: frozenset[str]) -> list[ast.AST]:
    """Every import of what is neither pure standard library, nor ledger.core, nor allowed by name."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        and not all(is_pure(name, allowed=allowed) for name in imported_modules(node))
    ]


def imported_modules(node: ast.Import | ast.ImportFrom) -> list[str]:
    """The dotted names of the modules that an import statement reads; relative imports start with a dot."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    module = "." * node.level + (node.module or "")
    return [f"ledger.{alias.name}" for alias in node.names] if module == "ledger" else [module]


def is_pure(module: str, *, allowed: frozenset[str]) -> bool:
    """Whether the core may import this module."""
    if module == "ledger.core" or module.startswith("ledger.core."):
        return True
    top = module.partition(".")[0]
    return top in allowed or (top in sys.stdlib_module_names and top not in IMPURE_MODULES)


def impure_calls(tree: ast.Module) -> list[ast.AST]:
    """Every call that reads a clock or chance, or does input or output."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (
            (isinstance(node.func, ast.Attribute) and node.func.attr in CLOCK_READS)
            or (isinstance(node.func, ast.Name | ast.Attribute) and called_name(node.func) in IMPURE_CALLS)
        )
    ]


def called_name(function: ast.Name | ast.Attribute) -> str:
    """The last name of what is called: uuid4 for uuid.uuid4()."""
    return function.id if isinstance(function, ast.Name) else function.attr


@pytest.mark.parametrize("path", python_files(*SHIPPED, "bench"), ids=str)
def test_no_bare_assert_outside_tests(path: Path) -> None:
    """python -O removes asserts, and an invariant must hold in production too."""
    assert at(path, bare_asserts(tree_of(path))) == []


@pytest.mark.parametrize("path", python_files(*SHIPPED, "bench", "tests"), ids=str)
def test_a_module_is_named_after_what_it_owns(path: Path) -> None:
    """A module called utils owns nothing, so everything ends up in it."""
    assert not set(path.with_suffix("").parts) & set(FORBIDDEN_NAMES)


@pytest.mark.parametrize("path", python_files(*SHIPPED, "bench"), ids=str)
def test_a_module_says_what_it_owns(path: Path) -> None:
    """Every module starts with a docstring."""
    assert ast.get_docstring(tree_of(path)), f"{path} has no module docstring"


@pytest.mark.parametrize("path", python_files("client", "ledger", "gateway", "api"), ids=str)
def test_a_file_is_short_enough_to_read(path: Path) -> None:
    """At 400 lines a file has a seam somewhere."""
    lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST_FILE_LINES, f"{path} has {lines} lines: look for the seam"


@pytest.mark.parametrize("path", [path for path in python_files("ledger/core") if path.name not in ESTIMATES], ids=str)
def test_no_float_near_money(path: Path) -> None:
    """Amounts are integers of atoms; true division would make a float of them."""
    assert at(path, floats(tree_of(path))) == []


def test_estimates_are_for_reports_only() -> None:
    """Nothing that decides, records, folds or verifies stands on a module with floats in it."""
    names = {f"ledger.core.{Path(name).stem}" for name in ESTIMATES}
    users = {
        path
        for path in python_files("ledger", "gateway", "api")
        if path.name not in ESTIMATES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ImportFrom) and node.module in names
    }
    allowed = {Path("api/routes/reports.py"), Path("ledger/cli/report.py")}
    assert users
    assert [path for path in users - allowed if path.parent != Path("ledger/services/reports")] == []


@pytest.mark.parametrize("path", python_files("ledger/core"), ids=str)
def test_the_core_imports_only_pure_standard_modules(path: Path) -> None:
    """orjson may write canonical bytes, CEL may evaluate conditions, and nothing else comes from outside."""
    allowed = OUTSIDE_IMPORTS.get(path.name, frozenset())
    assert at(path, foreign_imports(tree_of(path), allowed=allowed)) == []


@pytest.mark.parametrize("path", python_files("ledger/core"), ids=str)
def test_the_core_reads_no_clock_and_does_no_input_or_output(path: Path) -> None:
    """What a decision depends on is in its arguments, so that it can be replayed to the same bytes."""
    assert at(path, impure_calls(tree_of(path))) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("assert True", bare_asserts),
        ("x = 0.5", floats),
        ("x = float('1')", floats),
        ("x = 1 / 2", floats),
        ("x = datetime.now(UTC)", impure_calls),
        ("x = uuid.uuid4()", impure_calls),
        ("open('x')", impure_calls),
        ("import time", lambda tree: foreign_imports(tree, allowed=frozenset())),
        ("import orjson", lambda tree: foreign_imports(tree, allowed=frozenset())),
        ("from cel_expr_python import cel", lambda tree: foreign_imports(tree, allowed=frozenset({"orjson"}))),
        ("from sqlalchemy import select", lambda tree: foreign_imports(tree, allowed=frozenset())),
        ("from ledger import storage", lambda tree: foreign_imports(tree, allowed=frozenset())),
        ("from ledger.storage import tables", lambda tree: foreign_imports(tree, allowed=frozenset())),
        ("from ..storage import tables", lambda tree: foreign_imports(tree, allowed=frozenset())),
    ],
)
def test_each_rule_finds_what_it_forbids(source, found) -> None:
    """A lint that finds nothing anywhere would pass too."""
    assert len(found(ast.parse(source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "x = 7 // 2",
        "from datetime import datetime",
        "import ledger.core.money",
        "from ledger.core import money",
    ],
)
def test_the_rules_of_the_core_allow_what_it_needs(source: str) -> None:
    """Integers, values of the standard library, and its own modules."""
    tree = ast.parse(source)
    assert floats(tree) + impure_calls(tree) + foreign_imports(tree, allowed=frozenset()) == []


def test_there_are_files_to_check() -> None:
    """The folders exist where the rules look for them."""
    assert {path.parts[0] for path in python_files(*SHIPPED)} == set(SHIPPED)
