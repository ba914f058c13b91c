"""Policy files in folders: which there are, and whether each is well formed and answers as its cases say.

Owns the names of files (``NAME.yaml`` with ``NAME_cases.yaml`` beside it) and the report on each. Invariant: files are
reported in the order of their paths, and one that cannot be read is a report, never an exception.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.services.policies.cases import Difference, differences, judge_case, load_cases
from ledger.services.policies.document import BYTES_MAX, PolicyDocument, PolicyFileError, Problem, load_policy

SUFFIXES: Final = (".yaml", ".yml")
CASES_MARK: Final = "_cases"
NO_POLICIES: Final = frozenset({"prices.yaml", "prices.yml"})
"""Files that stand beside policies and are none: the gateway's own prices, which `bursar prices --check` checks."""


@dataclass(frozen=True, slots=True)
class FileReport:
    """What was found in one policy file and in the cases beside it. ``policy`` is the policy's name, None where the
    file could not be read; ``problems`` are lines for people; ``warnings`` do not make it wrong."""

    path: Path
    policy: str | None = None
    cases_path: Path | None = None
    cases: int = 0
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems and not self.differences


def read_policy(path: Path) -> PolicyDocument:
    """The policy in a file. Raises PolicyFileError, also where the file cannot be read."""
    return load_policy(_read(path), source=str(path))


def policy_files(paths: Iterable[Path]) -> list[Path]:
    """The policy files that ``paths`` (files, and folders with all below them) stand for, each once, sorted.

    A file of cases stands for the policy it is about; hidden files and folders, and prices.yaml, are passed over.
    """
    found: set[Path] = set()
    for path in paths:
        if not path.is_dir():
            found.add(_policy_of(path) if _is_cases(path) else path)
            continue
        for inner in path.rglob("*"):
            hidden = any(part.startswith(".") for part in inner.relative_to(path).parts)
            if inner.suffix in SUFFIXES and inner.is_file() and not hidden and inner.name not in NO_POLICIES:
                # Cases whose policy is missing stand for it, so that the report tells that it is missing.
                found.add(_policy_of(inner) if _is_cases(inner) else inner)
    return sorted(found)


def check_files(files: Sequence[Path]) -> list[FileReport]:
    """Check each file and run its cases; two files with one policy's name are wrong together."""
    reports: list[FileReport] = []
    first: dict[str, Path] = {}
    for path in files:
        report = _check_file(path)
        if report.policy is not None:
            if report.policy in first:
                problem = f'{path}: the policy is named "{report.policy}" as in {first[report.policy]}: rename one'
                report = FileReport(path, report.policy, report.cases_path, problems=(problem,))
            first.setdefault(report.policy or "", path)
        reports.append(report)
    return reports


def _check_file(path: Path) -> FileReport:
    beside = _cases_of(path)
    if not path.exists():
        return FileReport(path, problems=(f"{path}: there is no such policy, and cases for it in {beside}",))
    try:
        document = read_policy(path)
    except PolicyFileError as error:
        return FileReport(path, problems=tuple(error.lines()))
    if beside is None:
        warning = f"no cases: write {path.stem}{CASES_MARK}.yaml, which says what the policy must answer"
        return FileReport(path, document.policy, warnings=(warning,))
    try:
        file = load_cases(_read(beside), source=str(beside), document=document)
    except PolicyFileError as error:
        return FileReport(path, document.policy, beside, problems=tuple(error.lines()))
    found = differences(document, file, judge=judge_case)
    return FileReport(path, document.policy, beside, len(file.cases), differences=tuple(found))


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(BYTES_MAX + 1).decode()
    except UnicodeDecodeError as error:
        problem = Problem("", f"byte {error.start} is not UTF-8: save the file as UTF-8")
        raise PolicyFileError(str(path), [problem]) from error
    except OSError as error:
        raise PolicyFileError(str(path), [Problem("", f"the file cannot be read: {error.strerror}")]) from error


def _is_cases(path: Path) -> bool:
    return path.stem.endswith(CASES_MARK)


def _policy_of(cases: Path) -> Path:
    """The policy that a file of cases is about."""
    stem = cases.stem.removesuffix(CASES_MARK)
    for suffix in SUFFIXES:
        if (path := cases.with_name(stem + suffix)).exists():
            return path
    return cases.with_name(stem + cases.suffix)


def _cases_of(path: Path) -> Path | None:
    """The file of cases beside a policy, or None."""
    for suffix in SUFFIXES:
        if (beside := path.with_name(f"{path.stem}{CASES_MARK}{suffix}")).exists():
            return beside
    return None
